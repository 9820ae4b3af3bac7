"""What follows from the curves: run lengths against every control at equal time, and against dense at equal quality.

A control is a curve: its arms by encode time, joined by straight lines over the logarithm of time. At the time of an
arm of run lengths, each query has an interpolated value of the control, so differences are of pairs; their confidence
intervals come from resampling the queries.

Shape legend: Q queries, R resamplings.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quality.arms import FEWER, KEYS, RANDOM
from quality.tasks import Result
from vlrlt.types import Float64Array

CONTROLS = (FEWER, RANDOM, KEYS)
DENSE_FPS = 2.0
"""What the product encodes of a clip without run lengths: 8 frames of 4 s."""

LOSS_ALLOWED = 0.005
_NUM_RESAMPLINGS = 2000


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One arm of run lengths and one control at the arm's encode time."""

    arm: str
    control: str
    difference: float
    """Quality of the arm minus that of the control."""
    low: float
    high: float
    """95 % interval of the difference."""

    @property
    def verdict(self) -> str:
        """Wins and loses: the interval leaves out 0."""
        if self.low > 0:
            return "wins"
        return "loses" if self.high < 0 else "tie"

    def __str__(self) -> str:
        low, difference, high = (f"{100 * value:+.1f}" for value in (self.low, self.difference, self.high))
        return f"{self.control} {difference} [{low}, {high}] {self.verdict}"


def families(names: Sequence[str]) -> dict[str, list[str]]:
    """Arms that differ only in how often they look."""
    grouped: dict[str, list[str]] = {}
    for name in names:
        grouped.setdefault(name.partition(" @ ")[0], []).append(name)
    return grouped


def compare(result: Result, arm: str, rng: np.random.Generator) -> list[Comparison]:
    """One arm with every control that costs as much or, where the whole control costs less, with its dearest arm."""
    comparisons = []
    grouped = families(list(result.values_Q))
    for control in CONTROLS:
        if control in grouped:
            control_Q = values_at(result, grouped[control], result.costs[arm].encode_s_per_video_minute)
            if control_Q is not None:
                difference_Q = result.values_Q[arm] - control_Q
                low, high = interval(difference_Q, rng)
                comparisons.append(
                    Comparison(arm=arm, control=control, difference=float(difference_Q.mean()), low=low, high=high)
                )
    return comparisons


def values_at(result: Result, arms: Sequence[str], encode_s: float) -> Float64Array | None:
    """(Q,) values of a curve at an encode time; None where all of the curve costs more."""
    ordered = sorted(arms, key=lambda arm: result.costs[arm].encode_s_per_video_minute)
    times_A = np.array([result.costs[arm].encode_s_per_video_minute for arm in ordered])
    if encode_s < times_A[0]:
        return None
    upper = int(np.searchsorted(times_A, encode_s))
    if upper == len(ordered):
        return result.values_Q[ordered[-1]]
    if upper == 0:
        return result.values_Q[ordered[0]]
    share = np.log(encode_s / times_A[upper - 1]) / np.log(times_A[upper] / times_A[upper - 1])
    below_Q, above_Q = result.values_Q[ordered[upper - 1]], result.values_Q[ordered[upper]]
    mixed_Q: Float64Array = below_Q + share * (above_Q - below_Q)
    return mixed_Q


def interval(difference_Q: Float64Array, rng: np.random.Generator) -> tuple[float, float]:
    """95 % bootstrap interval of a mean."""
    drawn_RQ: npt.NDArray[np.int64] = rng.integers(len(difference_Q), size=(_NUM_RESAMPLINGS, len(difference_Q)))
    low, high = np.quantile(difference_Q[drawn_RQ].mean(1), (0.025, 0.975))
    return float(low), float(high)


def share_of_dense_time(result: Result, family: str, dense: str) -> float | None:
    """Encode time, over that of dense, at which a family first reaches dense's quality; None if it never does."""
    wanted = result.values_Q[dense].mean()
    arms = families(list(result.values_Q))[family]
    points = sorted((result.costs[arm].encode_s_per_video_minute, result.values_Q[arm].mean()) for arm in arms)
    dense_s = result.costs[dense].encode_s_per_video_minute
    before: tuple[float, float] | None = None
    for encode_s, quality in points:
        if quality >= wanted:
            if before is None:
                return float(encode_s / dense_s)
            share = (wanted - before[1]) / (quality - before[1])
            return float(before[0] * (encode_s / before[0]) ** share / dense_s)
        before = (encode_s, quality)
    return None
