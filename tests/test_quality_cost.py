"""The pure parts of benchmarks/quality_cost.py, and its reading of videos."""

from pathlib import Path

import numpy as np
import pytest
from media import Recipe, picture, write_video
from quality.archive import GRID_FPS, find_sources, grid_times, measure_camera, read_footage
from quality.arms import Encoded, sampled
from quality.curves import interval, share_of_dense_time, values_at
from quality.events import draw_span, frames_in
from quality.tasks import Cost, Result, average_precision, frames_of

from vlrlt.types import ClipSpan


@pytest.mark.parametrize("num_frames", [1, 2, 3, 31, 32, 80])
def test_frames_of_a_slower_sampling_are_among_those_of_a_faster_one(num_frames: int) -> None:
    faster = sampled(num_frames, GRID_FPS)
    assert list(faster) == list(range(num_frames))
    for halvings in range(1, 6):
        slower = sampled(num_frames, GRID_FPS / 2**halvings)
        assert set(slower) <= set(faster)
        assert abs(len(slower) - len(faster) / 2) <= 0.5 or len(faster) == 1
        faster = slower


def test_the_only_frame_of_a_clip_is_near_its_middle() -> None:
    assert list(sampled(64, 0.25)) == [21, 53]


def curve(points: dict[str, tuple[float, list[float]]]) -> Result:
    return Result(
        task="text",
        split="all",
        values_Q={arm: np.array(values) for arm, (_, values) in points.items()},
        costs={arm: Cost(kept=1.0, encode_s_per_video_minute=cost) for arm, (cost, _) in points.items()},
    )


def test_a_control_is_interpolated_over_the_logarithm_of_time() -> None:
    result = curve({"fewer @ 1 fps": (1.0, [0.0, 1.0]), "fewer @ 2 fps": (4.0, [1.0, 1.0])})
    arms = list(result.values_Q)
    assert values_at(result, arms, 2.0) == pytest.approx([0.5, 1.0])
    assert values_at(result, arms, 1.0) == pytest.approx([0.0, 1.0])
    assert values_at(result, arms, 9.0) == pytest.approx([1.0, 1.0])  # a dearer control does not exist
    assert values_at(result, arms, 0.5) is None


def test_time_at_which_the_quality_of_dense_is_reached() -> None:
    result = curve(
        {
            "fewer frames @ 2 fps": (16.0, [0.75]),
            "runs @ 1 fps": (1.0, [0.5]),
            "runs @ 2 fps": (4.0, [1.0]),
            "worse @ 2 fps": (2.0, [0.7]),
            "cheap @ 1 fps": (2.0, [0.8]),
        }
    )
    dense = "fewer frames @ 2 fps"
    assert share_of_dense_time(result, "runs", dense) == pytest.approx(2 / 16)
    assert share_of_dense_time(result, "cheap", dense) == pytest.approx(2 / 16)
    assert share_of_dense_time(result, "worse", dense) is None


def test_an_interval_holds_the_mean_and_shrinks_with_certainty() -> None:
    rng = np.random.default_rng(0)
    low, high = interval(np.array([0.0, 1.0] * 50), rng)
    assert 0.35 < low < 0.5 < high < 0.65
    assert interval(np.full(10, 0.25), rng) == (0.25, 0.25)


def test_average_precision_by_hand() -> None:
    similarity = np.array([[0.9, 0.8, 0.7, -np.inf], [0.1, 0.2, 0.3, 0.4]], np.float32)
    relevant = np.array([[True, False, True, False], [True, False, False, False]])
    assert average_precision(similarity, relevant) == pytest.approx([(1 + 2 / 3) / 2, 1 / 4])


def test_a_clip_without_frames_shows_the_one_before() -> None:
    one = Encoded(vectors_FD=np.eye(3, dtype=np.float32), times_F=np.array([1.0, 4.5, 9.0]), num_tokens=3, cpu_s=1.0)
    assert list(frames_of(one, ClipSpan(0, 5))) == [0, 1]
    assert list(frames_of(one, ClipSpan(5, 9))) == [1]
    assert list(frames_of(one, ClipSpan(0, 0.5))) == [0]


def test_events_are_short_and_inside_their_segment() -> None:
    rng = np.random.default_rng(0)
    for segment in range(50):
        span = draw_span(rng, segment)
        assert 10 * segment <= span.start_s < span.end_s <= 10 * segment + 10
        assert span.duration_s + 1e-9 >= 0.3
        assert span.duration_s <= 1
        assert frames_in(span, 8000)  # none falls between two frames of the grid


def test_reads_any_folder_of_videos(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", Recipe(fps=10, num_frames=20, gop=4, options={"sc_threshold": "0"}))
    (tmp_path / "b.mp4").write_bytes(b"no video")
    (tmp_path / "notes.txt").write_text("no video either")
    sources = find_sources(tmp_path)
    assert [source.path.name for source in sources] == ["a.mp4", "b.mp4"]
    footage = read_footage(sources[0])
    assert footage is not None
    assert footage.rgb_THWC.shape == (16, 224, 224, 3)
    assert footage.key_times_K == pytest.approx([0.0, 0.4, 0.8, 1.2, 1.6])
    assert len(footage.keys_KHWC) == 5
    assert read_footage(sources[1]) is None


def test_a_still_border_means_a_fixed_camera() -> None:
    still = np.repeat(picture(0, width_px=224, height_px=224)[None], 4, axis=0)
    still[1::2, 64:160, 64:160] = 0
    assert measure_camera(still) == "fixed"
    still[1::2] = 255 - still[1::2]
    assert measure_camera(still) == "hand-held"


def test_grid_times_are_centres() -> None:
    assert grid_times(2) == pytest.approx([0.5 / GRID_FPS, 1.5 / GRID_FPS])
