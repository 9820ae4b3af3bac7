"""One thing, then another: chains of clips in one video. Shape legend: K clips of a step, by position."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from vlrlt.index.library.catalog import FrameRunTable
from vlrlt.index.search.moments import TOUCH_S, Found, Scores
from vlrlt.types import ClipSpan, Float64Array, Int64Array

STEP_CLIPS = 2048
"""So many of the best clips of every step take part."""


@dataclass(frozen=True)
class _Step:
    """The best clips of one step, each with the best chain that ends there."""

    positions_K: Int64Array
    strength_K: Float64Array
    """Of the chain's weakest step, in standard deviations above that step's mean."""
    previous_K: Int64Array
    """Index of the clip before it in the step before; -1 in the first step."""


def find_sequences(steps: Sequence[Scores], clips: FrameRunTable, *, within_s: float) -> Iterator[Found]:
    """Chains of one clip a step, each starting at most within_s after the one before has ended.

    Clips overlap where the stride is shorter than a clip, and what follows quickly is shown best by overlapping clips:
    so a clip may begin from the middle of the one before it on, and both are shown up to the middle of what they share.

    A chain is as strong as its weakest step. Among chains that end in the same clip the strongest counts.

    Yields:
        The strongest chain first; those of one video do not overlap. Score and percentile are of the weakest step.
    """
    chained: list[_Step] = []
    for scores in steps:
        chained.append(_extend(chained[-1] if chained else None, scores, clips, within_s))
    taken: dict[int, list[ClipSpan]] = {}
    last = chained[-1]
    for end in np.argsort(-last.strength_K, kind="stable"):
        if not np.isfinite(last.strength_K[end]):
            return
        found = _chain(chained, steps, clips, int(end))
        video, span = int(clips.video_N[found.seed]), ClipSpan(found.start_s, found.end_s)
        others = taken.setdefault(video, [])
        if all(span.end_s <= other.start_s + TOUCH_S or span.start_s >= other.end_s - TOUCH_S for other in others):
            others.append(span)
            yield found


def _extend(before: _Step | None, scores: Scores, clips: FrameRunTable, within_s: float) -> _Step:
    hits = scores.best(STEP_CLIPS)
    positions_K = hits.positions_K
    strength_K = (hits.scores_K.astype(np.float64) - scores.mean) / max(scores.std, 1e-6)
    previous_K = np.full(len(positions_K), -1, np.int64)
    if before is None:
        return _Step(positions_K, strength_K, previous_K)
    # Video and time as one number: neighbours in time of one video are neighbours in the sorted order.
    longest_s = float(clips.end_s_N.max(initial=0.0)) + within_s + 1.0
    video_s = clips.video_N * (2 * longest_s)
    ends, starts = (video_s + clips.end_s_N)[before.positions_K], (video_s + clips.start_s_N)[positions_K]
    middles = (video_s + (clips.start_s_N + clips.end_s_N) / 2)[before.positions_K]
    order = np.argsort(ends, kind="stable")
    first_K = np.searchsorted(ends[order], starts - within_s - TOUCH_S, side="left")
    after_K = np.searchsorted(middles[order], starts + TOUCH_S, side="right")
    for clip, (first, after) in enumerate(zip(first_K, after_K, strict=True)):
        window = order[first:after]
        if len(window):
            strengths = before.strength_K[window]
            previous_K[clip] = window[np.flatnonzero(strengths == strengths.max())[-1]]  # the nearest of the strongest
            strength_K[clip] = min(strength_K[clip], before.strength_K[previous_K[clip]])
        else:
            strength_K[clip] = -np.inf
    return _Step(positions_K, strength_K, previous_K)


def _chain(chained: Sequence[_Step], steps: Sequence[Scores], clips: FrameRunTable, end: int) -> Found:
    """Walk back from the last step's clip."""
    positions = []
    for step in reversed(chained):
        positions.append(int(step.positions_K[end]))
        end = int(step.previous_K[end])
    positions.reverse()
    spans = _apart([ClipSpan(float(clips.start_s_N[at]), float(clips.end_s_N[at])) for at in positions])
    values = [scores.of(position) for scores, position in zip(steps, positions, strict=True)]
    return Found(
        seed=positions[0],
        score=min(values),
        percentile=min(scores.percentile(value) for scores, value in zip(steps, values, strict=True)),
        start_s=spans[0].start_s,
        end_s=spans[-1].end_s,
        steps=spans,
        step_seeds=tuple(positions),
    )


def _apart(spans: Sequence[ClipSpan]) -> tuple[ClipSpan, ...]:
    """Spans that overlap their successors end where these begin: in the middle of what they share."""
    cuts_s = [(one.end_s + next_.start_s) / 2 if one.end_s > next_.start_s else None for one, next_ in pairwise(spans)]
    return tuple(
        ClipSpan(span.start_s if before_s is None else before_s, span.end_s if after_s is None else after_s)
        for span, before_s, after_s in zip(spans, (None, *cuts_s), (*cuts_s, None), strict=True)
    )
