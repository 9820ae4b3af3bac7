"""Searching one FAISS index: rows to positions, masks to selectors, candidates to exact scores.

Legend: R rows of the index, N clips of the snapshot, K hits, D embedding.
"""

from typing import Any

import numpy as np

from vlrlt.index.vectors.faiss_base import search_rows
from vlrlt.index.vectors.gpu import GPU_MOST, gpu_copy
from vlrlt.index.vectors.plan import IndexPlan
from vlrlt.index.vectors.protocol import Hits, Mask, PositionArray, best
from vlrlt.index.vectors.stored import StoredVectors
from vlrlt.types import Float32Array


class IndexPart:
    """An index that holds some of a snapshot's clips.

    Args:
        index: of FAISS.
        plan: of that index.
        positions_R: of its rows in the clip table; -1: the clip is gone.
        stored: for exact scores.
    """

    def __init__(self, index: Any, plan: IndexPlan, positions_R: PositionArray, stored: StoredVectors) -> None:  # noqa: ANN401
        self._index = index
        self._gpu_index = gpu_copy(index, plan)
        self._plan = plan
        self._positions_R = positions_R
        alive_R = positions_R >= 0
        self._alive_R = None if alive_R.all() else alive_R
        self._stored = stored

    def search(self, query_D: Float32Array, *, k: int, num_probes: int, within_N: Mask | None = None) -> Hits:
        """The k best of its clips, all if they are fewer.

        At least num_probes lists are looked into, more where a filter thins them out or many hits are asked for.
        """
        within_R = self._alive_R
        if within_N is not None:
            within_R = within_N[self._positions_R] & (self._positions_R >= 0)
            num_probes = min(round(num_probes / max(float(within_N.mean()), 1e-9)), self._plan.num_lists)
        num_rows = len(self._positions_R) if within_R is None else int(np.count_nonzero(within_R))
        depth = min(k * self._plan.overfetch, num_rows)
        while True:
            on_gpu = self._gpu_index is not None and within_R is None and max(depth, num_probes) <= GPU_MOST
            index = self._gpu_index if on_gpu else self._index
            rows_K, scores_K = search_rows(index, query_D, k=depth, num_probes=num_probes, within_R=within_R)
            if len(rows_K) == depth or num_probes == self._plan.num_lists:
                break
            num_probes = min(2 * num_probes, self._plan.num_lists)
        positions_K = self._positions_R[rows_K]
        if on_gpu or not self._plan.exact:
            scores_K = self._stored.at(positions_K) @ query_D
        return best(positions_K, scores_K, k)
