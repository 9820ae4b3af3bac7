"""The interface of vector stores.

A store is opened on a snapshot of the catalog and speaks in *positions*: places in the snapshot's clip table. What
exists is decided by the catalog, never by a store, and every store can be rebuilt from the segments.
Shape legend: N clips of the snapshot, K hits, S clips of the sample, D embedding.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from vlrlt.types import Float32Array

PositionArray = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

SAMPLE_VECTORS = 4096
"""How many clips stand for the whole library where its distribution of scores is asked for."""


@dataclass(frozen=True)
class Hits:
    """The best clips for a query, by falling score."""

    positions_K: PositionArray
    scores_K: Float32Array
    """Inner products with the stored vectors."""


@dataclass(frozen=True, kw_only=True)
class StoreInfo:
    """How a library is searched, for `vlrlt status`."""

    kind: str
    """FAISS factory string, or the server's URL."""
    reason: str
    """Why this kind."""
    recall_at_10: dict[str, float]
    """Measured when the index was written, for "clip" and "text-like" queries; empty: the search is exact."""

    def as_text(self) -> str:
        """One line."""
        recall = ", ".join(f"{value:.3f} for {name} queries" for name, value in self.recall_at_10.items())
        return f"{self.kind}: {self.reason}" + (f"; recall@10 {recall}" if recall else "")


class VectorStore(Protocol):
    """Nearest clips of one snapshot. Safe to search from several threads."""

    info: StoreInfo
    sample_SD: Float32Array
    """Vectors of clips drawn evenly from the library: all of a small one."""

    def __len__(self) -> int:
        """How many clips can be found."""

    def search(self, query_D: Float32Array, *, k: int, within_N: Mask | None = None) -> Hits:
        """The k best clips, fewer where there are fewer.

        Args:
            query_D: L2-normalised.
            k: how many, >= 1.
            within_N: which clips take part; None: all. The filter runs inside the index.
        """

    def vectors(self, positions_K: PositionArray) -> Float32Array:
        """Stored vectors, (K, D).

        Raises:
            LibraryError: they cannot be read.
        """

    def close(self) -> None:
        """Let go of files and connections."""


def evenly(num: int, *, most: int) -> PositionArray:
    """At most `most` of num positions, evenly spread, ascending."""
    return np.linspace(0, num - 1, min(num, most)).astype(np.int64)


def best(positions_K: PositionArray, scores_K: Float32Array, k: int) -> Hits:
    """The k best of some hits; equal scores by position, so that every store gives one order."""
    order = np.lexsort((positions_K, -scores_K))[:k]
    return Hits(positions_K[order], scores_K[order])
