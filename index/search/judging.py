"""Moments as a moment head sees them: what it is shown around a run, and what becomes of moments by its word.

Shape legend: B moments, F features, G points in time, K runs around, D embedding.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from vlrlt.index.library.catalog import FrameRunTable
from vlrlt.index.search.moments import TOUCH_S, Found, Scores, same_video
from vlrlt.index.vectors.protocol import VectorStore
from vlrlt.models.moment_head import MomentHead, times_s
from vlrlt.types import Float32Array, Float64Array, Int64Array

JUDGED_TOGETHER = 16
_SHORTEST_S = 0.01


class RunContext:
    """What a head sees around the runs of one query.

    Args:
        scores: of the query.
        runs: all frame runs of the library.
        store: their vectors.
        compare: score of a vector compared with those of background queries; see Confidence.features.
        spacing_s: between points.
    """

    def __init__(
        self,
        scores: Scores,
        runs: FrameRunTable,
        store: VectorStore,
        compare: Callable[[Float32Array], tuple[float, float]],
        *,
        spacing_s: float,
    ) -> None:
        self._scores, self._runs, self._store = scores, runs, store
        self._compare = compare
        self._compared: dict[int, tuple[float, float]] = {}
        self._spacing_s = spacing_s

    def features(self, seed: int, *, shift_s: float = 0.0) -> Float32Array:
        """The numbers around a run, (F, G); the last feature says which points lie inside the video.

        Args:
            seed: position of the run.
            shift_s: by how much the points lie later than around the run's middle; only training shifts them.
        """
        runs = self._runs
        points_s_G = middle_s(runs, seed) + shift_s + times_s(self._spacing_s)
        near_K = self._runs_at(seed, points_s_G[0], points_s_G[-1])
        start_s_K, end_s_K = runs.start_s_N[near_K], runs.end_s_N[near_K]
        middles_s_K = (start_s_K + end_s_K) / 2
        at_G = np.clip(np.searchsorted(start_s_K, points_s_G, side="right") - 1, 0, len(near_K) - 1)
        inside_G = (points_s_G >= start_s_K[0]) & (points_s_G < end_s_K[-1])
        vectors_KD = self._store.vectors(near_K)
        seed_D = vectors_KD[int(np.searchsorted(near_K, seed))]
        for run, vector_D in zip(near_K.tolist(), vectors_KD, strict=True):
            if run not in self._compared:  # the surroundings of moments of one video overlap
                self._compared[run] = self._compare(vector_D)
        compared_K2 = np.array([self._compared[run] for run in near_K.tolist()]).clip(-8, 8) / 4
        score_K = self._scores.of_all(near_K)
        score_K = np.where(np.isfinite(score_K), score_K, self._scores.median)
        above = max(self._scores.of(seed) - self._scores.median, 1e-6)
        height_K = ((score_K - self._scores.median) / above).clip(-1, 2)
        like_K = vectors_KD @ seed_D
        next_K = np.append((vectors_KD[1:] * vectors_KD[:-1]).sum(1), 1.0)
        deviations_K = ((score_K - self._scores.median) / max(self._scores.std, 1e-6) / 5).clip(-2, 4)

        def between(values_K: Float64Array) -> Float64Array:
            return np.interp(points_s_G, middles_s_K, values_K)

        features_FG = np.stack(
            [
                *(between(compared_K2[:, 0]), between(compared_K2[:, 1]), compared_K2[at_G, 1]),
                *(height_K[at_G], between(height_K), like_K[at_G], between(like_K)),
                *(next_K[at_G], np.append(1.0, next_K[:-1])[at_G]),
                ((points_s_G - start_s_K[at_G]) / self._spacing_s / 4).clip(0, 4),
                ((end_s_K[at_G] - points_s_G) / self._spacing_s / 4).clip(0, 4),
                deviations_K[at_G],
                np.full(len(points_s_G), math.log10(max(self._scores.num_searched, 1)) / 4),
                np.ones(len(points_s_G)),
            ]
        )
        return np.asarray(np.where(inside_G, features_FG, 0.0), np.float32)

    def _runs_at(self, seed: int, from_s: float, to_s: float) -> Int64Array:
        """Runs of the seed's video in a window and one more on either side, the seed among them, by start."""
        first = last = seed
        while same_video(self._runs, first - 1, seed) and self._runs.end_s_N[first] > from_s:
            first -= 1
        while same_video(self._runs, last + 1, seed) and self._runs.start_s_N[last] < to_s:
            last += 1
        return np.arange(first, last + 1)


def judged_moments(
    moments: Iterator[Found], *, head: MomentHead, context: RunContext, runs: FrameRunTable
) -> Iterator[Found]:
    """Give moments the head's borders and probabilities; their order stays.

    Args:
        moments: the best first.
        head: the judge.
        context: what it is shown.
        runs: all frame runs of the library.

    Yields:
        Moments with a confidence; those of one video never overlap: a moment gets what a better one leaves of it, and
        one whose run has its middle in a better one is left out.
    """
    given: dict[int, list[tuple[float, float]]] = defaultdict(list)
    while batch := list(islice(moments, JUDGED_TOGETHER)):
        judged = head.judge(np.stack([context.features(found.seed) for found in batch]))
        for place, found in enumerate(batch):
            middle, others = middle_s(runs, found.seed), given[int(runs.video_N[found.seed])]
            start_s, end_s = middle + float(judged.start_s_B[place]), middle + float(judged.end_s_B[place])
            span = _free((start_s, end_s), middle, others)
            if span is not None:
                others.append(span)
                yield replace(found, start_s=span[0], end_s=span[1], confidence=float(judged.probability_B[place]))


def _free(span: tuple[float, float], middle: float, given: Sequence[tuple[float, float]]) -> tuple[float, float] | None:
    """What others leave of a moment around the middle of its run; None: that middle is taken."""
    start_s, end_s = min(span[0], middle - _SHORTEST_S / 2), max(span[1], middle + _SHORTEST_S / 2)
    for other_start_s, other_end_s in given:
        if other_start_s - TOUCH_S < middle < other_end_s + TOUCH_S:
            return None
        if other_end_s <= middle:
            start_s = max(start_s, other_end_s)
        else:
            end_s = min(end_s, other_start_s)
    return (start_s, end_s) if end_s - start_s >= _SHORTEST_S / 2 else None


def middle_s(runs: FrameRunTable, run: int) -> float:
    """Middle of a run."""
    return float(runs.start_s_N[run] + runs.end_s_N[run]) / 2
