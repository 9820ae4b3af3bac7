"""Proves that clips cover a video exactly, in order and inside it, and that frame times are centres of equal parts."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vlrlt.errors import ConfigError
from vlrlt.types import ClipSpan
from vlrlt.video.sampling import ClipSampling, clip_spans, frame_times

durations_s = st.floats(0.01, 300)


@st.composite
def samplings(draw: st.DrawFn) -> ClipSampling:
    clip_s = draw(st.floats(1, 60))
    return ClipSampling(clip_s=clip_s, stride_s=clip_s * draw(st.floats(0.2, 1)), num_frames=draw(st.integers(1, 32)))


def sampling(clip_s: float, stride_s: float, num_frames: int = 8) -> ClipSampling:
    return ClipSampling(clip_s=clip_s, stride_s=stride_s, num_frames=num_frames)


def test_example_of_the_docstring() -> None:
    spans = clip_spans(9, sampling(4, 2))
    assert spans == (ClipSpan(0, 4), ClipSpan(2, 6), ClipSpan(4, 8), ClipSpan(5, 9))


@pytest.mark.parametrize(
    ("duration_s", "clip_s", "stride_s", "starts_s"),
    [
        (3.0, 4.0, 2.0, [0.0]),
        (4.0, 4.0, 2.0, [0.0]),
        (4.5, 4.0, 2.0, [0.0, 0.5]),
        (8.0, 4.0, 4.0, [0.0, 4.0]),
        (8.0, 4.0, 2.0, [0.0, 2.0, 4.0]),
        (9.0, 4.0, 4.0, [0.0, 4.0, 5.0]),
        (1.0, 0.1, 0.1, [index / 10 for index in range(10)]),
    ],
)
def test_starts(duration_s: float, clip_s: float, stride_s: float, starts_s: list[float]) -> None:
    assert [span.start_s for span in clip_spans(duration_s, sampling(clip_s, stride_s))] == pytest.approx(starts_s)


@settings(deadline=None)
@example(1.0000000000000002, ClipSampling(clip_s=1, stride_s=1, num_frames=1))
@given(durations_s, samplings())
def test_clips_cover_the_video_and_nothing_else(duration_s: float, sampling: ClipSampling) -> None:
    spans = clip_spans(duration_s, sampling)
    assert spans[0].start_s == 0
    assert spans[-1].end_s == duration_s
    for before, after in itertools.pairwise(spans):
        assert before.start_s < after.start_s
        assert before.end_s < after.end_s
        assert after.start_s <= before.end_s + 1e-9
    for span in spans:
        assert span.duration_s == pytest.approx(min(sampling.clip_s, duration_s))


@settings(deadline=None)
@given(durations_s, samplings())
def test_clips_start_at_multiples_of_the_stride(duration_s: float, sampling: ClipSampling) -> None:
    spans = clip_spans(duration_s, sampling)
    assert [span.start_s for span in spans[:-1]] == [index * sampling.stride_s for index in range(len(spans) - 1)]


@settings(deadline=None)
@example(8, 1, 1)  # (0.8 - 0.1) / 0.1 > 7
@given(st.integers(1, 200), st.integers(1, 200), st.integers(1, 200))
def test_number_of_clips(duration_tenths: int, clip_tenths: int, stride_tenths: int) -> None:
    stride_tenths = min(stride_tenths, clip_tenths)
    spans = clip_spans(duration_tenths / 10, sampling(clip_tenths / 10, stride_tenths / 10))
    assert len(spans) == 1 + math.ceil(max(0, duration_tenths - clip_tenths) / stride_tenths)


@given(st.floats(0, 10_000), st.floats(0.01, 100), st.integers(1, 64))
def test_frame_times_are_centres_of_equal_parts(start_s: float, length_s: float, num_frames: int) -> None:
    span = ClipSpan(start_s, start_s + length_s)
    times_T = frame_times(span, num_frames)
    edges = np.linspace(span.start_s, span.end_s, num_frames + 1)
    np.testing.assert_allclose(times_T, (edges[:-1] + edges[1:]) / 2)
    assert times_T.dtype == np.float64
    assert span.start_s < times_T[0]
    assert times_T[-1] < span.end_s


@pytest.mark.parametrize(
    ("clip_s", "stride_s", "num_frames", "message"),
    [
        (0.0, 0.0, 8, "clip_s must be 0.05 to 3600 seconds, got 0.0; try 4"),
        (math.inf, 1.0, 8, "clip_s must be 0.05"),
        (math.nan, 1.0, 8, "clip_s must be 0.05"),
        (4.0, 0.0, 8, r"stride_s must be in \[0.05, clip_s = 4.0\], got 0.0; try 4.0 .* or 2.0"),
        (4.0, 4.1, 8, r"stride_s must be in \[0.05, clip_s = 4.0\], got 4.1"),
        (4.0, math.nan, 8, "stride_s must be in"),
        (4.0, 4.0, 0, "num_frames must be 1 to 1024, got 0; try 8"),
        (4.0, 1e-6, 8, "stride_s must be in"),
        (4.0, 4.0, 10**20, r"num_frames must be 1 to 1024, got 1e\+20"),
    ],
)
def test_impossible_samplings_are_refused(clip_s: float, stride_s: float, num_frames: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ClipSampling(clip_s=clip_s, stride_s=stride_s, num_frames=num_frames)


@pytest.mark.parametrize("duration_s", [0.0, -1.0, math.inf, math.nan])
def test_a_video_without_length_is_refused(duration_s: float) -> None:
    with pytest.raises(ConfigError, match="duration_s must be a positive number of seconds, got"):
        clip_spans(duration_s, sampling(4, 4))


def test_no_frames_are_refused() -> None:
    with pytest.raises(ConfigError, match="num_frames must be 1 or more, got 0"):
        frame_times(ClipSpan(0, 1), 0)
