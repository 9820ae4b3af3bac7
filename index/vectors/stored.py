"""Exact vectors of a snapshot, read row by row from the segments without loading them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vlrlt.index.library.catalog import Snapshot
from vlrlt.index.library.segments import read_rows, read_segment
from vlrlt.index.vectors.protocol import PositionArray
from vlrlt.types import Float32Array


class StoredVectors:
    """The vectors of the clip table's positions. Shape legend: K positions, D embedding, G segments."""

    def __init__(self, library_dir: Path, snapshot: Snapshot) -> None:
        self._library_dir = library_dir
        self._segments = snapshot.segments
        self.embed_dim = snapshot.settings.embed_dim
        self._first_G = np.cumsum([0, *(segment.rows for segment in snapshot.segments)])

    def __len__(self) -> int:
        return int(self._first_G[-1])

    def at(self, positions_K: PositionArray, *, verified: bool = False) -> Float32Array:
        """Vectors in the order of the positions, (K, D).

        Args:
            positions_K: in the clip table.
            verified: compare checksums; this reads the whole of every segment.

        Raises:
            LibraryError: a segment is missing or damaged.
        """
        vectors_KD = np.empty((len(positions_K), self.embed_dim), np.float32)
        segment_K = np.searchsorted(self._first_G, positions_K, side="right") - 1
        order_K = np.argsort(segment_K, kind="stable")
        edges = np.flatnonzero(np.diff(segment_K[order_K])) + 1
        for places in np.split(order_K, edges) if len(order_K) else ():
            segment = int(segment_K[places[0]])
            rows = positions_K[places] - self._first_G[segment]
            vectors_KD[places] = self._read(segment)[rows] if verified else self._read_rows(segment, rows)
        return vectors_KD

    def chunks(self, rows: int) -> Iterator[tuple[int, Float32Array]]:
        """Everything in order, about `rows` vectors at a time, checksums compared: (first position, vectors).

        Raises:
            LibraryError: a segment is missing or damaged.
        """
        first, parts, num = 0, [], 0
        for number, segment in enumerate(self._segments):
            parts.append(self._read(number))
            num += segment.rows
            if num >= rows:
                yield first, np.concatenate(parts)
                first, parts, num = first + num, [], 0
        if num:
            yield first, np.concatenate(parts)

    def _read(self, segment: int) -> Float32Array:
        return read_segment(self._library_dir, self._segments[segment], embed_dim=self.embed_dim)

    def _read_rows(self, segment: int, rows_K: PositionArray) -> npt.NDArray[np.float16]:
        return read_rows(self._library_dir, self._segments[segment], rows_K, embed_dim=self.embed_dim)
