"""Merge frame runs that belong together into moments, by their scores.

A frame run has its own score, its cosine with the query. Words mostly tell what a longer stretch of a video is about:
for them a run is ranked by the mean of its own score and of that of its surroundings, which are the stored runs around
it. A picture or a clip tells what one look shows: for those the run's own score alone counts.

Shape legend: N frame runs of the library, S runs that stand for all that are searched, K runs that are ranked, M runs
around them, D embedding.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from vlrlt.index.library.catalog import FrameRunTable
from vlrlt.index.library.timed_texts import TextHit
from vlrlt.index.vectors.protocol import SAMPLE_VECTORS, Hits, Mask, VectorStore, evenly
from vlrlt.types import ClipSpan, Float32Array, Float64Array, Int64Array

TOUCH_S = 1e-3
"""Runs that lie no further apart than this touch each other."""
SURROUNDINGS_S = 32.0
"""Length of the window around the middle of a run; 16 s to a whole video are as good (docs/experiments/looks.md)."""
OWN_SHARE = 0.5
"""Weight of a run's own score for words; the rest is that of its surroundings."""
_FIRST_DEPTH = 256
"""How deep a search looks at first; it goes deeper where too many hits fall into the same moments."""
_DEEPER = 2
_WINDOW = 8
"""Runs on either side whose scores are looked up together."""
CORE_HEIGHT = 0.85
"""A run is of a moment's core from this height on, where 0 is the library's median and 1 the seed's own score."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """A moment before it has a rank."""

    seed: int
    """Position of its best run in the library."""
    score: float
    """What it is ranked by."""
    percentile: float
    """Of the best run's own score."""
    start_s: float
    end_s: float
    steps: tuple[ClipSpan, ...] = ()
    """Of a sequence: where each step was found."""
    step_seeds: tuple[int, ...] = ()
    """Of a sequence: position of each step's run."""
    sources: tuple[str, ...] = ("picture",)
    text: TextHit | None = None
    """The line that was found there."""
    confidence: float | None = None


class Scores:
    """The scores of one query: the best are searched, others looked up, and a sample tells how all are distributed.

    Args:
        store: the vectors.
        query_D: unit vector.
        within_N: which runs take part; None: all.

    Raises:
        LibraryError: vectors cannot be read.
    """

    def __init__(self, store: VectorStore, query_D: Float32Array, within_N: Mask | None = None) -> None:
        self.num_searched = len(store) if within_N is None else int(within_N.sum())
        self.sample_SD = sample_of(store, within_N)
        self._sample_S = self.sample_SD @ query_D if self.num_searched else np.zeros(1, np.float32)
        self.median, self.mean = float(np.median(self._sample_S)), float(self._sample_S.mean())
        self.std = float(self._sample_S.std())
        self._store, self._query_D, self._within_N = store, query_D, within_N
        self._hits = Hits(np.empty(0, np.int64), np.empty(0, np.float32))
        self._known: dict[int, float] = {}

    def best(self, num: int) -> Hits:
        """The best runs by their own scores, fewer where there are fewer."""
        if len(self._hits.positions_K) < min(num, self.num_searched):
            self._hits = self._store.search(self._query_D, k=num, within_N=self._within_N)
            self._known |= zip(self._hits.positions_K.tolist(), self._hits.scores_K.tolist(), strict=True)
        return Hits(self._hits.positions_K[:num], self._hits.scores_K[:num])

    def of(self, run: int) -> float:
        """A run's own score; -inf for one that does not take part."""
        if run not in self._known:
            self._look_up(np.arange(max(run - _WINDOW, 0), min(run + _WINDOW + 1, len(self._store))))
        return self._known[run]

    def of_all(self, runs_M: Int64Array) -> Float64Array:
        """The same for many runs at once."""
        runs = runs_M.tolist()
        unknown = {run for run in runs if run not in self._known}
        if unknown:
            self._look_up(np.array(sorted(unknown)))
        return np.array([self._known[run] for run in runs], np.float64)

    def _look_up(self, runs_K: Int64Array) -> None:
        scores_K = self._store.vectors(runs_K) @ self._query_D
        if self._within_N is not None:
            scores_K[~self._within_N[runs_K]] = -np.inf
        self._known = dict(zip(runs_K.tolist(), scores_K.tolist(), strict=True)) | self._known

    def percentile(self, score: float) -> float:
        """Share, in percent, of the searched runs that score lower: counted among the best, else estimated."""
        if not len(self._hits.scores_K) or score < self._hits.scores_K[-1]:
            return 100 * float((self._sample_S < score).mean())
        num_not_lower = int(np.searchsorted(-self._hits.scores_K, -np.float32(score), side="right"))
        return 100 * (self.num_searched - num_not_lower) / self.num_searched


def sample_of(store: VectorStore, within_N: Mask | None) -> Float32Array:
    """Vectors that stand for all runs that take part, (S, D)."""
    if within_N is None:
        return store.sample_SD
    positions_N = np.flatnonzero(within_N)
    return store.vectors(positions_N[evenly(len(positions_N), most=SAMPLE_VECTORS)])


def grow_moments(scores: Scores, runs: FrameRunTable, *, surrounded: bool) -> Iterator[Found]:
    """Merge frame runs into moments, by seed and grow, the best first.

    The best run that is not taken yet is the seed of the next moment. Runs around it are taken, one by one to both
    sides, as long as the neighbour touches in time, is not taken and scores at least half way between the library's
    median and the seed: no other moment begins there. The moment itself is its core, the runs around the seed that
    score nearly as much (CORE_HEIGHT). Its borders are borders of runs: times at which the picture has changed.

        runs of one video         0    1    2    3    4    5    6    7    library median .1
        own score                .1   .6   .9   .8   .1   .1   .6   .1

        seed 2 (.9): half way to .1 is .5, so it takes 1 (.6) and 3 (.8)   ->  #1  runs 2 and 3, score .9
        seed 6 (.6): half way to .1 is .35, so it stays alone              ->  #2  run 6, score .6

    Args:
        scores: of all runs that take part.
        runs: all N frame runs of the library; those of a video are end to end.
        surrounded: whether runs are ranked with their surroundings.

    Yields:
        Moments by falling score among those that one depth of search finds; those of one video never overlap.
    """
    taken: set[int] = set()
    for seed, score in _ranking(scores, runs, surrounded=surrounded):
        if seed in taken:
            continue
        own = scores.of(seed)
        half, core = (_between(scores.median, own, height) for height in (0.5, CORE_HEIGHT))
        grown = _grow(seed, runs, _joins(taken, scores, half))
        first, last = _grow(seed, runs, _joins(taken, scores, core))
        taken.update(range(grown[0], grown[1] + 1))
        yield Found(
            seed=seed,
            score=score,
            percentile=scores.percentile(own),
            start_s=float(runs.start_s_N[first]),
            end_s=float(runs.end_s_N[last]),
        )


def surrounded_scores(scores: Scores, runs: FrameRunTable, positions_K: Int64Array) -> Float64Array:
    """What runs are ranked by for words, (K,): their own scores averaged with those of their surroundings.

    The surroundings' score is the mean over the runs in a window around the middle of the run, each weighted with the
    seconds that it shares with the window. A run that fills the window is its own surroundings.
    """
    owner_M, around_M, shared_s_M = _surroundings(runs, positions_K)
    scores_M = scores.of_all(around_M)
    takes_part_M = np.isfinite(scores_M)
    weight_M = np.where(takes_part_M, shared_s_M, 0.0)
    sum_K = np.bincount(owner_M, weight_M * np.where(takes_part_M, scores_M, 0.0), len(positions_K))
    mean_K = sum_K / np.bincount(owner_M, weight_M, len(positions_K))
    return OWN_SHARE * scores.of_all(positions_K) + (1 - OWN_SHARE) * mean_K


def _surroundings(runs: FrameRunTable, positions_K: Int64Array) -> tuple[Int64Array, Int64Array, Float64Array]:
    """Index of a run among K, position of a run around it, and the seconds that this one shares with its window."""
    middle_s_K = (runs.start_s_N[positions_K] + runs.end_s_N[positions_K]) / 2
    from_s_K, to_s_K = middle_s_K - SURROUNDINGS_S / 2, middle_s_K + SURROUNDINGS_S / 2
    found = []
    for step in (-1, 1):
        owner_K, at_K = np.arange(len(positions_K)), positions_K if step > 0 else positions_K - 1
        while len(owner_K):
            inside_K = (at_K >= 0) & (at_K < len(runs.video_N))
            owner_K, at_K = owner_K[inside_K], at_K[inside_K]
            starts_s_K = np.maximum(runs.start_s_N[at_K], from_s_K[owner_K])
            shared_s_K = np.minimum(runs.end_s_N[at_K], to_s_K[owner_K]) - starts_s_K
            within_K = (runs.video_N[at_K] == runs.video_N[positions_K[owner_K]]) & (shared_s_K > 0)
            owner_K, at_K, shared_s_K = owner_K[within_K], at_K[within_K], shared_s_K[within_K]
            found.append((owner_K, at_K, shared_s_K))
            at_K = at_K + step
    owner_M, around_M, shared_s_M = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return owner_M, around_M, shared_s_M


def _between(median: float, score: float, height: float) -> float:
    return median + height * (score - median)


def _ranking(scores: Scores, runs: FrameRunTable, *, surrounded: bool) -> Iterator[tuple[int, float]]:
    """Every run that takes part with what it is ranked by, the best first; searched deeper and deeper."""
    seen: set[int] = set()
    depth = _FIRST_DEPTH
    while True:
        hits = scores.best(depth)
        new_K = np.array([position for position in hits.positions_K.tolist() if position not in seen], np.int64)
        seen.update(new_K.tolist())
        if len(new_K):
            ranked_K = surrounded_scores(scores, runs, new_K) if surrounded else scores.of_all(new_K)
            order_K = np.argsort(-ranked_K, kind="stable")
            yield from zip(new_K[order_K].tolist(), ranked_K[order_K].tolist(), strict=True)
        if len(hits.positions_K) < depth:
            return
        depth *= _DEEPER


def _joins(taken: set[int], scores: Scores, threshold: float) -> Callable[[int], bool]:
    return lambda run: run not in taken and scores.of(run) >= threshold


def _grow(seed: int, runs: FrameRunTable, joins: Callable[[int], bool]) -> tuple[int, int]:
    """First and last run of the moment around a seed."""
    first = last = seed
    while (
        same_video(runs, first - 1, seed)
        and runs.end_s_N[first - 1] >= runs.start_s_N[first] - TOUCH_S
        and joins(first - 1)
    ):
        first -= 1
    while (
        same_video(runs, last + 1, seed)
        and runs.start_s_N[last + 1] <= runs.end_s_N[last] + TOUCH_S
        and joins(last + 1)
    ):
        last += 1
    return first, last


def same_video(runs: FrameRunTable, run: int, other: int) -> bool:
    """Whether there is such a run, and it is of the other run's video."""
    return 0 <= run < len(runs.video_N) and bool(runs.video_N[run] == runs.video_N[other])
