"""One thing, then another: chains of frame runs in one video. Shape legend: K runs of a step, by position."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from vlrlt.index.library.catalog import FrameRunTable
from vlrlt.index.search.moments import TOUCH_S, Found, Scores
from vlrlt.types import ClipSpan, Float64Array, Int64Array

STEP_RUNS = 2048
"""So many of the best runs of every step take part."""


@dataclass(frozen=True)
class _Step:
    """The best runs of one step, each with the best chain that ends there."""

    positions_K: Int64Array
    strength_K: Float64Array
    """Of the chain's weakest step, in standard deviations above that step's mean."""
    previous_K: Int64Array
    """Index of the run before it in the step before; -1 in the first step."""


def find_sequences(steps: Sequence[Scores], runs: FrameRunTable, *, within_s: float) -> Iterator[Found]:
    """Chains of one run a step, each starting at most within_s after the one before has ended.

    A chain is as strong as its weakest step. Among chains that end in the same run the strongest counts.

    Yields:
        The strongest chain first; those of one video do not overlap. Score and percentile are of the weakest step.
    """
    chained: list[_Step] = []
    for scores in steps:
        chained.append(_extend(chained[-1] if chained else None, scores, runs, within_s))
    taken: dict[int, list[ClipSpan]] = {}
    last = chained[-1]
    for end in np.argsort(-last.strength_K, kind="stable"):
        if not np.isfinite(last.strength_K[end]):
            return
        found = _chain(chained, steps, runs, int(end))
        video, span = int(runs.video_N[found.seed]), ClipSpan(found.start_s, found.end_s)
        others = taken.setdefault(video, [])
        if all(span.end_s <= other.start_s + TOUCH_S or span.start_s >= other.end_s - TOUCH_S for other in others):
            others.append(span)
            yield found


def _extend(before: _Step | None, scores: Scores, runs: FrameRunTable, within_s: float) -> _Step:
    hits = scores.best(STEP_RUNS)
    positions_K = hits.positions_K
    strength_K = (hits.scores_K.astype(np.float64) - scores.mean) / max(scores.std, 1e-6)
    previous_K = np.full(len(positions_K), -1, np.int64)
    if before is None:
        return _Step(positions_K, strength_K, previous_K)
    # Video and time as one number: neighbours in time of one video are neighbours in the sorted order.
    longest_s = float(runs.end_s_N.max(initial=0.0)) + within_s + 1.0
    video_s = runs.video_N * (2 * longest_s)
    ends, starts = (video_s + runs.end_s_N)[before.positions_K], (video_s + runs.start_s_N)[positions_K]
    order = np.argsort(ends, kind="stable")
    first_K = np.searchsorted(ends[order], starts - within_s - TOUCH_S, side="left")
    after_K = np.searchsorted(ends[order], starts + TOUCH_S, side="right")
    for run, (first, after) in enumerate(zip(first_K, after_K, strict=True)):
        window = order[first:after]
        if len(window):
            strengths = before.strength_K[window]
            previous_K[run] = window[np.flatnonzero(strengths == strengths.max())[-1]]  # the nearest of the strongest
            strength_K[run] = min(strength_K[run], before.strength_K[previous_K[run]])
        else:
            strength_K[run] = -np.inf
    return _Step(positions_K, strength_K, previous_K)


def _chain(chained: Sequence[_Step], steps: Sequence[Scores], runs: FrameRunTable, end: int) -> Found:
    """Walk back from the last step's run."""
    positions = []
    for step in reversed(chained):
        positions.append(int(step.positions_K[end]))
        end = int(step.previous_K[end])
    positions.reverse()
    spans = tuple(ClipSpan(float(runs.start_s_N[at]), float(runs.end_s_N[at])) for at in positions)
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
