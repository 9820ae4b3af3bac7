"""Looks are planned from packet sizes alone: regular ones within their distances, and every sudden change."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlrlt.errors import ConfigError
from vlrlt.types import BoolArray, Float64Array
from vlrlt.video.looks import plan_looks
from vlrlt.video.packets import PacketTable
from vlrlt.video.sampling import ClipSampling, MotionSampling, check_max_shift, query_sampling, sampling_from_json

SAMPLING = MotionSampling(closest_s=4.0, furthest_s=20.0)
FPS = 25


def table(size_P: Float64Array, *, gop: int, fps: float = FPS) -> PacketTable:
    """Pictures at equal distances, shown in the order of the file, with a key frame every so many."""
    return keyed(size_P, np.arange(len(size_P)) % gop == 0, fps=fps)


def keyed(size_P: Float64Array, is_key_P: BoolArray, *, fps: float = FPS) -> PacketTable:
    places = np.arange(len(size_P))
    return PacketTable(
        ticks_P=places,
        time_s_P=places / fps,
        size_P=np.asarray(size_P, np.float64),
        is_key_P=is_key_P,
        number_P=places,
        group_P=np.cumsum(is_key_P) - 1,
        first_number_G=np.flatnonzero(is_key_P),
    )


def quiet(seconds: int, *, gop: int, between: float, key: float = 10_000, seed: int = 0) -> Float64Array:
    """Bytes of a video in which little happens: noise around a level, key frames of one size."""
    random = np.random.default_rng(seed)
    size_P = between * random.uniform(0.8, 1.2, seconds * FPS)
    size_P[::gop] = key
    return size_P


def times_s(packets: PacketTable, sampling: MotionSampling = SAMPLING) -> list[float]:
    return [float(packets.time_s_P[place]) for place in plan_looks(packets, sampling).picture_L]


def test_a_quiet_video_is_looked_at_seldom_and_at_key_frames() -> None:
    packets = table(quiet(60, gop=125, between=20), gop=125)
    plan = plan_looks(packets, SAMPLING)
    assert plan.is_change_L.sum() == 0
    assert packets.is_key_P[plan.picture_L].all()
    gaps_s = np.diff(times_s(packets))
    assert gaps_s.min() >= 10
    assert gaps_s.max() <= 20


def test_a_moving_camera_is_looked_at_as_often_as_it_may_be() -> None:
    packets = table(quiet(60, gop=250, between=3000), gop=250)
    gaps_s = np.diff(times_s(packets))
    assert np.median(gaps_s) == pytest.approx(4)
    assert gaps_s.max() <= 4 + 1e-6


@pytest.mark.parametrize("gop", [50, 250, 100_000])
@pytest.mark.parametrize("length_s", [0.3, 1.0])
def test_what_happens_for_a_third_of_a_second_is_seen_from_its_first_to_its_last_picture(
    gop: int, length_s: float
) -> None:
    size_P = quiet(60, gop=gop, between=50)
    begins, ends = round(31.0 * FPS) + 3, round((31.0 + length_s) * FPS) + 3
    size_P[begins] = 9000  # a new picture
    size_P[ends] = 7000  # and the old one again
    packets = table(size_P, gop=gop)
    plan = plan_looks(packets, SAMPLING)
    assert {begins, ends} <= set(plan.picture_L[plan.is_change_L].tolist())
    assert plan.is_change_L.sum() == 2
    at = plan.picture_L.tolist().index(begins)
    starts_s = plan.starts_s(packets)
    assert (starts_s[at], starts_s[at + 1]) == (begins / FPS, ends / FPS)


def test_a_key_frame_that_comes_early_is_a_cut_where_it_is_calm() -> None:
    cut = 30 * FPS + 7
    size_P = quiet(60, gop=100_000, between=20)
    is_key_P = np.zeros(len(size_P), np.bool_)
    is_key_P[:cut:125] = is_key_P[cut::125] = True  # the encoder counts anew from the cut
    size_P[is_key_P] = 10_000
    plan = plan_looks(keyed(size_P, is_key_P), SAMPLING)
    assert plan.picture_L[plan.is_change_L].tolist() == [cut]


def test_where_every_picture_is_a_key_frame_a_change_shows_in_their_sizes() -> None:
    random = np.random.default_rng(1)
    size_P = 50_000 + random.uniform(-50, 50, 60 * FPS)
    size_P[800:810] = 56_000
    plan = plan_looks(table(size_P, gop=1), SAMPLING)
    assert {800, 810} <= set(plan.picture_L.tolist())
    assert plan.is_change_L.sum() < 20


@st.composite
def tables(draw: st.DrawFn) -> PacketTable:
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    num = draw(st.integers(1, 600))
    gop = draw(st.integers(1, 700))
    size_P = random.lognormal(draw(st.floats(0, 10)), draw(st.floats(0, 2)), num)
    return table(size_P, gop=gop, fps=draw(st.floats(0.5, 60)))


@given(tables(), st.floats(0.2, 5), st.floats(5, 30))
def test_no_stretch_is_longer_unseen_than_the_sampling_allows(
    packets: PacketTable, closest_s: float, furthest_s: float
) -> None:
    sampling = MotionSampling(closest_s=closest_s, furthest_s=furthest_s)
    plan = plan_looks(packets, sampling)
    assert plan.picture_L[0] == 0
    assert (np.diff(plan.picture_L) > 0).all()
    frame_s = float(np.diff(packets.time_s_P, append=packets.time_s_P[-1] + 2).max())
    looked_s = np.append(packets.time_s_P[plan.picture_L], packets.time_s_P[-1])
    assert np.diff(looked_s).max() <= furthest_s + 0.5 + frame_s
    starts_s = plan.starts_s(packets)
    assert starts_s[0] == 0
    assert (np.diff(starts_s) > 0).all()


def test_ways_to_look_are_written_down_and_read_again() -> None:
    uniform = ClipSampling(clip_s=2.0, stride_s=1.0, num_frames=4)
    for sampling in (uniform, MotionSampling(), MotionSampling(closest_s=1.0, furthest_s=2.0, num_frames=3)):
        assert sampling_from_json(vars(sampling)) == sampling
    assert query_sampling(uniform) == uniform
    assert query_sampling(MotionSampling(num_frames=5)) == ClipSampling(clip_s=4.0, stride_s=4.0, num_frames=5)
    check_max_shift(uniform, 5.0)
    check_max_shift(MotionSampling(), 0.0)
    with pytest.raises(ConfigError, match="max_shift_s = 5 needs clips of equal length"):
        check_max_shift(MotionSampling(), 5.0)
    with pytest.raises(ConfigError, match="closest_s must be positive and at most furthest_s, got 5 and 4"):
        MotionSampling(closest_s=5, furthest_s=4)
    with pytest.raises(ConfigError, match="num_frames must be 1 to 1024, got 0"):
        MotionSampling(num_frames=0)
    with pytest.raises(ConfigError, match="sampling needs the fields of"):
        sampling_from_json({"closest_s": 1, "clip_s": 2})
