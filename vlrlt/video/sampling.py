"""How a video is sampled: at equal distances, or by motion, which its packets show. Arithmetic only."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from vlrlt.errors import ConfigError
from vlrlt.types import ClipSpan, Float64Array

MIN_STRIDE_S, MAX_CLIP_S, MAX_FRAMES = 0.05, 3600.0, 1024
"""Beyond these nothing is gained, and a video of hours is cut into clips without end."""
CLIP_LOOKS = 16
"""Looks that follow motion are encoded so many together: run lengths reach no further."""
QUERY_CLIP_S = 4.0
"""A longer query is cut into clips of this length by models that have none of their own."""
_STRIDE_TOLERANCE = 1e-6
"""Share of a stride below which two starts are the same start (10 s / 0.1 s must be 100 strides, not 99.999...)."""


@dataclass(frozen=True, kw_only=True)
class ClipSampling:
    """How a video is cut into clips, and a clip into frames.

    Raises:
        ConfigError: a length is not a positive number, or the strides would leave gaps.
    """

    clip_s: float
    """Length of a clip in seconds, MIN_STRIDE_S to MAX_CLIP_S."""
    stride_s: float
    """Seconds from the start of a clip to the start of the next, MIN_STRIDE_S <= stride_s <= clip_s."""
    num_frames: int
    """Frames per clip, 1 to MAX_FRAMES."""

    def __post_init__(self) -> None:
        if not MIN_STRIDE_S <= self.clip_s <= MAX_CLIP_S:
            raise ConfigError(f"clip_s must be {MIN_STRIDE_S} to {MAX_CLIP_S:g} seconds, got {self.clip_s}; try 4")
        if not MIN_STRIDE_S <= self.stride_s <= self.clip_s:
            raise ConfigError(
                f"stride_s must be in [{MIN_STRIDE_S}, clip_s = {self.clip_s}], got {self.stride_s}; "
                f"try {self.clip_s} (clips end to end) or {self.clip_s / 2} (half overlapping)"
            )
        if not 1 <= self.num_frames <= MAX_FRAMES:
            raise ConfigError(f"num_frames must be 1 to {MAX_FRAMES}, got {self.num_frames:.6g}; try 8")

    def __str__(self) -> str:
        return f"{self.num_frames} frames in {self.clip_s:g} s, every {self.stride_s:g} s"


@dataclass(frozen=True, kw_only=True)
class MotionSampling:
    """Looks that follow motion (looks.py): frequent where frames cost many bytes, rare where they cost few.

    Raises:
        ConfigError: a distance is not a positive number, or they contradict each other.
    """

    closest_s: float = 2.0
    """Regular looks are no closer than this, > 0; sudden changes are looked at in any case."""
    furthest_s: float = 20.0
    """And no further apart than this, >= closest_s."""
    num_frames: int = 8
    """Frames of a span that is encoded by itself, such as a query or an annotated action, 1 to MAX_FRAMES."""

    def __post_init__(self) -> None:
        if not 0 < self.closest_s <= self.furthest_s < math.inf:
            raise ConfigError(
                f"closest_s must be positive and at most furthest_s, got {self.closest_s} and {self.furthest_s}; "
                "try 2 and 20"
            )
        if not 1 <= self.num_frames <= MAX_FRAMES:
            raise ConfigError(f"num_frames must be 1 to {MAX_FRAMES}, got {self.num_frames:.6g}; try 8")

    def __str__(self) -> str:
        return f"looks that follow motion, {self.closest_s:g} to {self.furthest_s:g} s apart"


Sampling = ClipSampling | MotionSampling


def sampling_class(fields: Mapping[str, Any]) -> type[ClipSampling] | type[MotionSampling]:
    """Which way to look at videos has these fields."""
    return MotionSampling if "closest_s" in fields else ClipSampling


def sampling_from_json(fields: Mapping[str, Any]) -> Sampling:
    """The inverse of dataclasses.asdict.

    Raises:
        ConfigError: a field is missing, unknown or out of its range.
    """
    try:
        return sampling_class(fields)(**fields)
    except TypeError as error:
        raise ConfigError(f"sampling needs the fields of ClipSampling or MotionSampling, got {dict(fields)}") from error


def check_max_shift(sampling: Sampling, max_shift_s: float) -> None:
    """Refuse to shift looks that lie where the cheap pictures are already.

    Raises:
        ConfigError: looks follow motion, and max_shift_s is not 0.
    """
    if max_shift_s and isinstance(sampling, MotionSampling):
        raise ConfigError(
            f"max_shift_s = {max_shift_s:g} needs clips of equal length, but looks follow motion here and use "
            "key frames anyway; leave it out, or set the length of a clip (--clip-seconds)"
        )


def frames_per_clip(sampling: Sampling) -> int:
    """Frames that are encoded together, at most."""
    return sampling.num_frames if isinstance(sampling, ClipSampling) else CLIP_LOOKS


def query_sampling(sampling: Sampling) -> ClipSampling:
    """How a piece of video is cut into clips that is asked for by itself."""
    if isinstance(sampling, ClipSampling):
        return sampling
    return ClipSampling(clip_s=QUERY_CLIP_S, stride_s=QUERY_CLIP_S, num_frames=sampling.num_frames)


def clip_spans(duration_s: float, sampling: ClipSampling) -> tuple[ClipSpan, ...]:
    """Cut [0, duration_s) into clips that cover it, in order.

    Every clip is clip_s long and starts at a multiple of stride_s, except that the last one is shifted back so that it
    ends with the video. A video no longer than a clip is one clip. With clip_s = 4 and stride_s = 2:

        0 1 2 3 4 5 6 7 8 9      duration_s = 9
        [ 0     )
            [ 1     )
                [ 2     )
                  [ 3     )      would start at 6 and end at 10: shifted back to [5, 9)

    Args:
        duration_s: length of the video in seconds, > 0.
        sampling: clip length and stride.

    Returns:
        1 + ceil((duration_s - clip_s) / stride_s) spans, or one; the first starts at 0, the last ends at duration_s.

    Raises:
        ConfigError: duration_s is not a positive number.
    """
    if not (math.isfinite(duration_s) and duration_s > 0):
        raise ConfigError(f"duration_s must be a positive number of seconds, got {duration_s}; try probe(path)")
    last_start_s = max(0.0, duration_s - sampling.clip_s)
    num_before_last = math.ceil(last_start_s / sampling.stride_s - _STRIDE_TOLERANCE)
    if num_before_last < 1:  # longer than a clip by a rounding error at most
        return (ClipSpan(0.0, duration_s),)
    starts_s = (float(index * sampling.stride_s) for index in range(num_before_last))
    return (*(ClipSpan(start_s, start_s + sampling.clip_s) for start_s in starts_s), ClipSpan(last_start_s, duration_s))


def own_spans(spans: Sequence[ClipSpan]) -> tuple[ClipSpan, ...]:
    """The part of each clip for which it answers: the times whose nearest clip, by its centre, it is.

        [ 0     )                centres 2, 4, 6, 7
            [ 1     )
                [ 2     )
                  [ 3     )
        0     3   5   6.5   9    own spans [0, 3) [3, 5) [5, 6.5) [6.5, 9)

    Args:
        spans: clips that cover a stretch of video, in their order.

    Returns:
        As many spans, end to end, which cover the same stretch.
    """
    centres_s = [(span.start_s + span.end_s) / 2 for span in spans]
    borders_s = [(one_s + next_s) / 2 for one_s, next_s in pairwise(centres_s)]
    edges_s = [spans[0].start_s, *borders_s, spans[-1].end_s] if spans else []
    return tuple(ClipSpan(start_s, end_s) for start_s, end_s in pairwise(edges_s))


def clips_within(duration_s: float, sampling: ClipSampling, within: ClipSpan | None) -> tuple[ClipSpan, ...]:
    """Clips of a video of this length, or of a part of it; none where that lies behind its end."""
    if within is None:
        return clip_spans(duration_s, sampling)
    length_s = min(within.end_s, duration_s) - within.start_s
    spans = clip_spans(length_s, sampling) if length_s > 0 else ()
    return tuple(ClipSpan(within.start_s + span.start_s, within.start_s + span.end_s) for span in spans)


def frame_times(span: ClipSpan, num_frames: int) -> Float64Array:
    """Times at which a clip is looked at: the centres of num_frames equal segments of the span.

    Args:
        span: the clip.
        num_frames: number of segments, >= 1.

    Returns:
        (num_frames,) ascending seconds, all strictly inside the span.

    Raises:
        ConfigError: num_frames is not positive.
    """
    if num_frames < 1:
        raise ConfigError(f"num_frames must be 1 or more, got {num_frames}; try 8")
    centres_T = (np.arange(num_frames, dtype=np.float64) + 0.5) / num_frames
    return span.start_s + centres_T * span.duration_s
