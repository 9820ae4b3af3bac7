"""Choose the looks of a video from the sizes of its packets, before anything is decoded.

An encoder spends bytes on what it cannot predict. A new picture costs about as much as a key frame, wherever it comes;
a picture in which nothing moves costs next to nothing. So

- *regular* looks come after every PICTURES_A_LOOK new pictures' worth of bytes, within the distances of the sampling:
  key frames where there are some, since those decode alone;
- *bursts* are looked at in any case: more bytes within BURST_S than Tukey's fence of the seconds around allows. What
  happens for a third of a second is seen although the looks are seconds apart;
- *cuts*, key frames that come sooner than usual, are looked at where the video is calm otherwise.

    bytes     _.._._.|._.__._.___|X|_._._|X|_.._._._.___._|._._.
    looks     r      r            b      b                r         r regular, at key frames |    b burst

The rules and their constants were found on real videos in eight encodings (docs/experiments/looks.md).
Legend: P pictures in the order in which they are shown, K key frames, S seconds.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from vlrlt.types import BoolArray, Float64Array, Int64Array
from vlrlt.video.packets import PacketTable
from vlrlt.video.sampling import MotionSampling

PICTURES_A_LOOK = 12.0
"""New pictures, by their bytes, from one regular look to the next."""
BURST_S = 0.1
_AROUND_S = 4.0
"""What a burst is compared with lies no further away."""
_FENCE, _FENCE_IN_MOTION = 1.5, 3.0
"""A burst lies so many interquartile ranges above the third quartile; in motion it takes more."""
_LEAST_RATIO = 2.0
"""And has so many times the median's bytes,"""
_LEAST_SHARE_OF_KEY = 0.3
"""and exceeds the median by this share of a key frame's bytes."""
_LEAST_APART_S = 0.25
"""Bursts that lie closer are one."""
_RATE_S = 15.0
"""The rate of new pictures is that of so many seconds on either side."""
_RATE_STEP_S = 2.0
_DENSE_KEYS_S = 1.0
"""Where key frames come this often, as where every picture is one, a change shows in their own sizes."""
_LEAST_KEY_CHANGE = 0.01
"""Such a change is at least this share of the size of the key frames around."""
_USUAL_DISTANCE = 0.95
"""A key frame that comes before this share of the usual distance is a cut."""


@dataclass(frozen=True, kw_only=True)
class LookPlan:
    """What is looked at, in the order of time."""

    picture_L: Int64Array
    """(L,) places in the packet table, ascending."""
    is_change_L: BoolArray
    """Whether what is shown changes at that very picture: a burst or a cut."""

    def starts_s(self, packets: PacketTable) -> Float64Array:
        """(L,) from when on each look stands for the video: a change from itself on, others from half way."""
        time_s_L = packets.time_s_P[self.picture_L]
        half_way_s_L = (time_s_L + np.concatenate([[0.0], time_s_L[:-1]])) / 2
        return np.where(self.is_change_L | (time_s_L <= 0), time_s_L, half_way_s_L)


def plan_looks(packets: PacketTable, sampling: MotionSampling) -> LookPlan:
    """Decide which pictures are looked at; depends on the file and the sampling only."""
    distance_s_P = _distances_s(packets, sampling)
    is_calm_P = distance_s_P > sampling.closest_s * 1.000001
    changes = np.union1d(_bursts(packets, is_calm_P), _cuts(packets, is_calm_P)).astype(np.int64)
    regular = _regular(packets, distance_s_P, changes)
    picture_L = np.union1d(np.union1d(regular, changes), [0]).astype(np.int64)
    return LookPlan(picture_L=picture_L, is_change_L=np.isin(picture_L, changes))


def _distances_s(packets: PacketTable, sampling: MotionSampling) -> Float64Array:
    """How far apart regular looks are at each picture, (P,)."""
    time_s_P, between_P = packets.time_s_P, np.where(packets.is_key_P, 0.0, packets.size_P)
    sum_P = np.concatenate([[0.0], np.cumsum(between_P)])
    key_time_s_K, key_size_K = time_s_P[packets.is_key_P], packets.size_P[packets.is_key_P]
    place_s_S = np.arange(0.0, time_s_P[-1] + _RATE_STEP_S, _RATE_STEP_S)
    first_S = np.searchsorted(time_s_P, place_s_S - _RATE_S)
    after_S = np.searchsorted(time_s_P, place_s_S + _RATE_S, side="right")
    length_s_S = np.minimum(place_s_S + _RATE_S, time_s_P[-1]) - np.maximum(place_s_S - _RATE_S, 0.0)
    key_S = _medians(key_time_s_K, key_size_K, place_s_S, around_s=_RATE_S)
    rate_S = (sum_P[after_S] - sum_P[first_S]) / np.maximum(length_s_S, _RATE_STEP_S) / key_S
    distance_s_S = np.clip(PICTURES_A_LOOK / np.maximum(rate_S, 1e-9), sampling.closest_s, sampling.furthest_s)
    if packets.is_key_P.all():  # their sizes do not tell how much moves
        distance_s_S[:] = sampling.closest_s
    nearest_P = np.round(time_s_P / _RATE_STEP_S).astype(np.int64).clip(0, len(place_s_S) - 1)
    return np.asarray(distance_s_S[nearest_P], np.float64)


def _medians(
    time_s_K: Float64Array, value_K: Float64Array, place_s_S: Float64Array, *, around_s: float
) -> Float64Array:
    """Median of the values around each place; of all where there is none around."""
    first_S = np.searchsorted(time_s_K, place_s_S - around_s)
    after_S = np.searchsorted(time_s_K, place_s_S + around_s, side="right")
    overall = float(np.median(value_K))
    return np.array(
        [
            np.median(value_K[first:after]) if after > first else overall
            for first, after in zip(first_S, after_S, strict=True)
        ]
    )


def _quartiles(time_s_P: Float64Array, value_P: Float64Array) -> tuple[Float64Array, Float64Array, Float64Array]:
    """First quartile, median and third of the values within _AROUND_S of each, (P,) each."""
    place_s_S = np.arange(0.0, time_s_P[-1] + _AROUND_S, _AROUND_S)
    first_S = np.searchsorted(time_s_P, place_s_S - _AROUND_S)
    after_S = np.searchsorted(time_s_P, place_s_S + _AROUND_S, side="right")
    quartiles_S3 = np.array(
        [
            np.percentile(value_P[first:after], (25, 50, 75)) if after > first else (0.0, 0.0, 0.0)
            for first, after in zip(first_S, after_S, strict=True)
        ]
    )
    nearest_P = np.round(time_s_P / _AROUND_S).astype(np.int64).clip(0, len(place_s_S) - 1)
    first_P, median_P, third_P = quartiles_S3[nearest_P].T
    return first_P, median_P, third_P


def _bursts(packets: PacketTable, is_calm_P: BoolArray) -> Int64Array:
    """Pictures that came with a burst of bytes: the largest of each burst."""
    if packets.is_key_P.all():
        return np.zeros(0, np.int64)
    time_s_P, between_P = packets.time_s_P, np.where(packets.is_key_P, 0.0, packets.size_P)
    sum_P = np.concatenate([[0.0], np.cumsum(between_P)])
    after_P = np.searchsorted(time_s_P, time_s_P + BURST_S - 1e-9)
    spent_P = sum_P[after_P] - sum_P[:-1]
    first_P, median_P, third_P = _quartiles(time_s_P, spent_P)
    fence_P = third_P + np.where(is_calm_P, _FENCE, _FENCE_IN_MOTION) * (third_P - first_P)
    key_size_G = np.zeros(len(packets.first_number_G))
    np.maximum.at(key_size_G, packets.group_P, np.where(packets.is_key_P, packets.size_P, 0.0))
    key_size_P = np.where(key_size_G > 0, key_size_G, packets.size_P.max())[packets.group_P]
    is_burst_P = (
        (spent_P > fence_P)
        & (spent_P > _LEAST_RATIO * median_P)
        & (spent_P - median_P > _LEAST_SHARE_OF_KEY * key_size_P)
    )
    return np.array([*_largest(np.flatnonzero(is_burst_P), after_P, time_s_P, between_P)], np.int64)


def _largest(bursts: Int64Array, after_P: Int64Array, time_s_P: Float64Array, between_P: Float64Array) -> Iterable[int]:
    """The largest picture of each burst; what begins within _LEAST_APART_S, or before that picture, is the same."""
    done_s = -np.inf
    at = 0
    while at < len(bursts):
        begin = last = at
        while last + 1 < len(bursts) and time_s_P[bursts[last + 1]] - time_s_P[bursts[begin]] <= _LEAST_APART_S:
            last += 1
        first = int(bursts[begin])
        largest = first + int(np.argmax(between_P[first : max(first + 1, int(after_P[bursts[last]]))]))
        if time_s_P[largest] > done_s:
            yield largest
            done_s = time_s_P[largest]
        at = last + 1


def _cuts(packets: PacketTable, is_calm_P: BoolArray) -> Int64Array:
    """Key frames at which what is shown changes."""
    keys_K = np.flatnonzero(packets.is_key_P)
    if len(keys_K) < 3:
        return np.zeros(0, np.int64)
    if np.median(np.diff(packets.time_s_P[keys_K])) <= _DENSE_KEYS_S:
        return _changed_keys(packets, keys_K)
    distance_K = np.diff(keys_K)
    is_early_K = distance_K < _USUAL_DISTANCE * np.percentile(distance_K, 90)
    early: Int64Array = keys_K[1:][is_early_K & is_calm_P[keys_K[1:]]]
    return early


def _changed_keys(packets: PacketTable, keys_K: Int64Array) -> Int64Array:
    """Key frames whose size differs from that of the one before by more than is usual, and the ones before them."""
    time_s_K, size_K = packets.time_s_P[keys_K], packets.size_P[keys_K]
    change_K = np.abs(np.diff(size_K, prepend=size_K[0]))
    first_K, _, third_K = _quartiles(time_s_K, change_K)
    _, usual_K, _ = _quartiles(time_s_K, size_K)
    places = np.flatnonzero(
        (change_K > third_K + _FENCE * (third_K - first_K)) & (change_K > _LEAST_KEY_CHANGE * usual_K)
    )
    changed: Int64Array = keys_K[np.union1d(places, (places - 1).clip(0))]
    return changed


def _regular(packets: PacketTable, distance_s_P: Float64Array, changes: Int64Array) -> Int64Array:
    """Key frames at least half the distance apart, and pictures between where a gap is longer than the distance."""
    time_s_P = packets.time_s_P
    is_change_P = np.zeros(len(packets), np.bool_)
    is_change_P[changes] = True
    keys, last_s = [0], 0.0
    for key in np.flatnonzero(packets.is_key_P).tolist():
        if is_change_P[key] or time_s_P[key] - last_s >= distance_s_P[key] / 2 - 1e-6:
            keys.append(key)
            last_s = time_s_P[key]
    looked = np.unique(np.concatenate([np.array(keys, np.int64), changes]))
    between: list[int] = []
    ends_s = np.append(time_s_P[looked[1:]], time_s_P[-1])
    for begin, begin_s, end_s in zip(looked.tolist(), time_s_P[looked].tolist(), ends_s.tolist(), strict=True):
        distance_s = float(distance_s_P[begin])
        num_gaps = int(np.ceil((end_s - begin_s) / distance_s - 1e-6))
        for left in range(num_gaps - 1, 0, -1):  # as early as the distance allows: less of a group has to be decoded
            at_s = max(end_s - distance_s * left, begin_s + 0.5)
            between.append(int(np.searchsorted(time_s_P, at_s + 1e-6, side="right")) - 1)
    return np.union1d(looked, np.array(between, np.int64)).astype(np.int64)
