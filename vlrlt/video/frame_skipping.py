"""How a video is read: every frame, only those that others are predicted from, or only key frames.

A sampled clip looks at a frame now and then. Where a key frame lies near enough to a time that is looked at, nothing
else has to be decoded, which is 10 to 40 times cheaper; where none does, decoding from the key frame before it can stop
at the first frame that is near enough. Leaving out the frames that no other frame needs saves about a third. What is
chosen depends on the file alone, so that a run that goes on later reads it in the same way.
"""

from typing import Literal

import numpy as np

from vlrlt.types import Float64Array

FrameSkipping = Literal["every frame", "reference frames", "key frames"]

EVERY_FRAME: FrameSkipping = "every frame"

LONGEST_GAP_FRAMES = 8
"""Encoders put no more frames in a row that no other frame needs."""


def choose_frame_skipping(
    times_s: Float64Array, *, key_times_s: Float64Array, average_fps: float, max_shift_s: float
) -> FrameSkipping:
    """The cheapest way to read a video that gives a frame no further than max_shift_s from each time.

    Key frames, if no more than half as much has to be decoded between them as otherwise.

    Args:
        times_s: when the video is looked at, in seconds of its clock.
        key_times_s: when its key frames come, ascending; empty: the container does not say.
        average_fps: frames a second.
        max_shift_s: >= 0; 0 is the frame on screen at each time.
    """
    if max_shift_s <= 0:
        return "every frame"
    if len(key_times_s):
        times_s = np.sort(times_s)
        after_key_s = times_s - key_times_s[np.searchsorted(key_times_s, times_s, side="right") - 1]
        is_far = distance_to_nearest_s(times_s, key_times_s) > max_shift_s
        between_s = (after_key_s - max_shift_s)[is_far].sum()
        if between_s <= np.minimum(after_key_s, np.diff(times_s, prepend=0.0)).sum() / 2:
            return "key frames"
    return "reference frames" if average_fps * max_shift_s >= LONGEST_GAP_FRAMES else "every frame"


def distance_to_nearest_s(times_N: Float64Array, places_K: Float64Array) -> Float64Array:
    """How far each time lies from the nearest of some ascending places, (N,)."""
    after_N = np.searchsorted(places_K, times_N).clip(1, max(1, len(places_K) - 1))
    before_N = places_K[after_N - 1]
    distance_N: Float64Array = np.minimum(
        np.abs(times_N - before_N), np.abs(times_N - places_K[after_N % len(places_K)])
    )
    return distance_N
