"""Scores to moments: clips that belong together become one answer.

Shape legend: N clips of the library, S clips that stand for all that are searched, D embedding.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from vlrlt.index.library.catalog import FrameRunTable
from vlrlt.index.vectors.protocol import SAMPLE_VECTORS, Hits, Mask, VectorStore, evenly
from vlrlt.types import ClipSpan, Float32Array, Float64Array

TOUCH_S = 1e-3
"""Clips that lie no further apart than this touch each other; clips that share less than this do not overlap."""
_FIRST_DEPTH = 256
"""How deep a search looks at first; it goes deeper where too many hits fall into the same moments."""
_DEEPER = 2
_WINDOW = 8
"""Clips on either side whose scores are looked up together."""
CORE_HEIGHT = 0.85
"""A clip is of a moment's core from this height on, where 0 is the library's median and 1 the seed's score."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """A moment before it has a rank."""

    seed: int
    """Position of its best clip in the library."""
    score: float
    percentile: float
    start_s: float
    end_s: float
    steps: tuple[ClipSpan, ...] = ()
    """Of a sequence: where each step was found."""
    step_seeds: tuple[int, ...] = ()
    """Of a sequence: position of each step's clip."""
    sources: tuple[str, ...] = ("visual",)
    text: str | None = None
    """What the text source found."""
    confidence: float | None = None


class Scores:
    """The scores of one query: the best are searched, others looked up, and a sample tells how all are distributed.

    Args:
        store: the vectors.
        query_D: unit vector.
        within_N: which clips take part; None: all.

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
        """The best clips, fewer where there are fewer."""
        if len(self._hits.positions_K) < min(num, self.num_searched):
            self._hits = self._store.search(self._query_D, k=num, within_N=self._within_N)
            self._known |= zip(self._hits.positions_K.tolist(), self._hits.scores_K.tolist(), strict=True)
        return Hits(self._hits.positions_K[:num], self._hits.scores_K[:num])

    def of(self, clip: int) -> float:
        """The score of any clip; -inf for one that does not take part."""
        if clip not in self._known:
            window_K = np.arange(max(clip - _WINDOW, 0), min(clip + _WINDOW + 1, len(self._store)))
            scores_K = self._store.vectors(window_K) @ self._query_D
            if self._within_N is not None:
                scores_K[~self._within_N[window_K]] = -np.inf
            self._known = dict(zip(window_K.tolist(), scores_K.tolist(), strict=True)) | self._known
        return self._known[clip]

    def percentile(self, score: float) -> float:
        """Share, in percent, of the searched clips that score lower: counted among the best, else estimated."""
        if not len(self._hits.scores_K) or score < self._hits.scores_K[-1]:
            return 100 * float((self._sample_S < score).mean())
        num_not_lower = int(np.searchsorted(-self._hits.scores_K, -np.float32(score), side="right"))
        return 100 * (self.num_searched - num_not_lower) / self.num_searched


def sample_of(store: VectorStore, within_N: Mask | None) -> Float32Array:
    """Vectors that stand for all clips that take part, (S, D)."""
    if within_N is None:
        return store.sample_SD
    positions_N = np.flatnonzero(within_N)
    return store.vectors(positions_N[evenly(len(positions_N), most=SAMPLE_VECTORS)])


def grow_moments(scores: Scores, clips: FrameRunTable) -> Iterator[Found]:
    """Merge clips into moments, by seed and grow, the best first.

    The best hit that is not taken yet is the seed of the next moment. The moment grows from it to both sides, clip by
    clip, as long as the neighbour touches or overlaps it in time, is not taken and scores at least half way between the
    library's median and the seed. All these clips, and every clip that overlaps them, are taken: no other moment
    begins there. The seed's score is the moment's, and its core alone is its span: the clips around the seed that score
    nearly as much (CORE_HEIGHT). Where clips overlap, each end is then moved towards the neighbours that score well.

        clip of one video     0    1    2    3    4    5    6    7    8    9      clips end to end, library median .1
        score                .1   .6   .9   .8   .1   .1   .6   .1   .1   .1

        seed 2 (.9): half way to .1 is .5, so it takes 1 (.6) and 3 (.8)   ->  #1  clips 2 and 3, score .9
        seed 6 (.6): half way to .1 is .35, so it stays alone              ->  #2  clip 6, score .6

    Args:
        scores: of all clips that take part.
        clips: all N clips of the library.

    Yields:
        Moments by falling score; those of one video never overlap.
    """
    taken: set[int] = set()
    for seed, score in _descending(scores):
        if seed in taken:
            continue
        half = (score + scores.median) / 2
        first, last = _grow(seed, clips, _joins(taken, scores, half))
        start_s, end_s = _tight_span(seed, range(first, last + 1), scores, clips, half=half)
        taken.update(_overlapping(first, last, clips))
        yield Found(seed=seed, score=score, percentile=scores.percentile(score), start_s=start_s, end_s=end_s)


def _tight_span(seed: int, grown: range, scores: Scores, clips: FrameRunTable, *, half: float) -> tuple[float, float]:
    """Start and end of the core of a grown moment (docs/experiments.md, tight moments)."""
    core = scores.median + CORE_HEIGHT * (scores.of(seed) - scores.median)
    first, last = _grow(seed, clips, lambda clip: clip in grown and scores.of(clip) >= core)
    return (
        _shifted(first, grown, scores, clips, clips.start_s_N, half=half),
        _shifted(last, grown, scores, clips, clips.end_s_N, half=half),
    )


def _shifted(
    clip: int, grown: range, scores: Scores, clips: FrameRunTable, time_s_N: Float64Array, *, half: float
) -> float:
    """A time of a clip, averaged with those of its neighbours that overlap it; weights are heights above half way."""
    around = [
        other
        for other in (clip - 1, clip, clip + 1)
        if other in grown
        and min(clips.end_s_N[other], clips.end_s_N[clip]) - max(clips.start_s_N[other], clips.start_s_N[clip])
        > TOUCH_S
    ]
    heights = [max(scores.of(other) - half, 1e-6) for other in around]
    shifts_s = [float(time_s_N[other] - time_s_N[clip]) for other in around]
    return float(time_s_N[clip]) + sum(
        height * shift_s for height, shift_s in zip(heights, shifts_s, strict=True)
    ) / sum(heights)


def _descending(scores: Scores) -> Iterator[tuple[int, float]]:
    """Every clip that takes part with its score, the best first; searched deeper and deeper."""
    seen: set[int] = set()
    depth = _FIRST_DEPTH
    while True:
        hits = scores.best(depth)
        for position, score in zip(hits.positions_K.tolist(), hits.scores_K.tolist(), strict=True):
            if position not in seen:
                seen.add(position)
                yield position, score
        if len(hits.positions_K) < depth:
            return
        depth *= _DEEPER


def _joins(taken: set[int], scores: Scores, threshold: float) -> Callable[[int], bool]:
    return lambda clip: clip not in taken and scores.of(clip) >= threshold


def _grow(seed: int, clips: FrameRunTable, joins: Callable[[int], bool]) -> tuple[int, int]:
    """First and last clip of the moment around a seed."""
    first = last = seed
    while (
        _same_video(clips, first - 1, seed)
        and clips.end_s_N[first - 1] >= clips.start_s_N[first] - TOUCH_S
        and joins(first - 1)
    ):
        first -= 1
    while (
        _same_video(clips, last + 1, seed)
        and clips.start_s_N[last + 1] <= clips.end_s_N[last] + TOUCH_S
        and joins(last + 1)
    ):
        last += 1
    return first, last


def _overlapping(first: int, last: int, clips: FrameRunTable) -> range:
    """The clips first..last, and those around them that overlap them."""
    before, after = first, last
    while _same_video(clips, before - 1, first) and clips.end_s_N[before - 1] > clips.start_s_N[first] + TOUCH_S:
        before -= 1
    while _same_video(clips, after + 1, last) and clips.start_s_N[after + 1] < clips.end_s_N[last] - TOUCH_S:
        after += 1
    return range(before, after + 1)


def _same_video(clips: FrameRunTable, clip: int, other: int) -> bool:
    return 0 <= clip < len(clips.video_N) and bool(clips.video_N[clip] == clips.video_N[other])
