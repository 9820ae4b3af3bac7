"""The FAISS store: a large index, rewritten rarely, a small exact one of later vectors, and a mask of removed ones.

    catalog's clips    |==================== base ====================|== fresh ==|
                              x gone     x gone

A new video costs its own vectors only; when a tenth has changed, the fresh part is merged into the base.
Legend: N clips of the snapshot, K hits, D embedding.
"""

from pathlib import Path

import numpy as np

from vlrlt.index.library.catalog import Snapshot
from vlrlt.index.vectors import faiss_base
from vlrlt.index.vectors.faiss_base import BaseFacts
from vlrlt.index.vectors.faiss_build import current_base, missing_from
from vlrlt.index.vectors.faiss_part import IndexPart
from vlrlt.index.vectors.plan import plan_index
from vlrlt.index.vectors.protocol import Hits, Mask, PositionArray, StoreInfo, best
from vlrlt.index.vectors.stored import StoredVectors
from vlrlt.types import Float32Array

_SCAN_CLIPS = 5_000
"""A filter that leaves fewer clips is answered exactly from their vectors."""


class FaissStore:
    """A VectorStore in this process, beside the library.

    Raises:
        MissingExtraError: faiss is not installed.
        LibraryError: a segment is missing or damaged.
    """

    def __init__(self, library_dir: Path, snapshot: Snapshot) -> None:
        self._stored = StoredVectors(library_dir, snapshot)
        base, positions_R = current_base(library_dir, snapshot, self._stored)
        self._base = IndexPart(base.index, base.facts.plan, positions_R, self._stored)
        self._fresh = _exact_part(self._stored, missing_from(positions_R, len(self)))
        self._num_probes = base.facts.tuning.num_probes
        self.sample_SD = base.sample_SD
        self.info = _info(base.facts)

    def __len__(self) -> int:
        return len(self._stored)

    def search(self, query_D: Float32Array, *, k: int, within_N: Mask | None = None) -> Hits:
        """As VectorStore has it."""
        if within_N is not None and np.count_nonzero(within_N) <= _SCAN_CLIPS:
            positions_K = np.flatnonzero(within_N)
            return best(positions_K, self.vectors(positions_K) @ query_D, k)
        base = self._base.search(query_D, k=k, num_probes=self._num_probes, within_N=within_N)
        fresh = self._fresh.search(query_D, k=k, num_probes=0, within_N=within_N)
        positions_K = np.concatenate([base.positions_K, fresh.positions_K])
        return best(positions_K, np.concatenate([base.scores_K, fresh.scores_K]), k)

    def vectors(self, positions_K: PositionArray) -> Float32Array:
        """As VectorStore has it."""
        return self._stored.at(positions_K)

    def close(self) -> None:
        """As VectorStore has it; memory is all that is held."""


def info_of(library_dir: Path, fingerprint: str) -> StoreInfo | None:
    """How a library is searched, without opening its index; None: it has none yet."""
    facts = map(faiss_base.read_facts, faiss_base.bases(library_dir, fingerprint))
    return next((_info(found) for found in facts if found is not None), None)


def _info(facts: BaseFacts) -> StoreInfo:
    plan, tuning = facts.plan, facts.tuning
    lists = "" if plan.exact else f" ({tuning.num_probes} of {plan.num_lists})"
    return StoreInfo(kind=plan.factory, reason=f"{plan.reason}{lists}", recall_at_10=tuning.recall_at_10)


def _exact_part(stored: StoredVectors, positions_R: PositionArray) -> IndexPart:
    """An exact index of a few clips."""
    plan, vectors_RD = plan_index(0), stored.at(positions_R, verified=True)
    index = faiss_base.new_index(plan, embed_dim=stored.embed_dim, training_MD=vectors_RD)
    faiss_base.add_rows(index, plan, vectors_RD)
    return IndexPart(index, plan, positions_R, stored)
