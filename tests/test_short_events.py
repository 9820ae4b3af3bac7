"""benchmarks/short_events.py: what is written is what is said, and how answers are counted."""

from pathlib import Path

import numpy as np
import pytest
import short_events
from media import Recipe, write_video
from short_events import Event, Source, cast, find_sources, insert, interval, make_archive, overlap

from vlrlt.types import ClipSpan, Float64Array, Int64Array, Moment
from vlrlt.video.decode import open_decoder


def source(scene: str, motion_255: float, path: Path = Path("a.mp4")) -> Source:
    return Source(path=path, scene=scene, duration_s=10, quiet_s=0, motion_255=motion_255)


def test_no_scene_is_both_host_and_guest_and_each_event_has_its_own_guest() -> None:
    sources = [source(f"scene {number // 2}", number) for number in range(20)]
    hosts, guests = cast(sources)
    assert [host.motion_255 for host in hosts] == [0, 2]  # the quietest of each scene
    assert len({one.scene for one in (*hosts, *guests)}) == len(hosts) + len(guests) == 10
    assert len(guests) >= 3 * len(hosts)


def test_too_few_scenes_end_the_benchmark() -> None:
    with pytest.raises(SystemExit, match="3 scenes can be read; 4 or more are needed"):
        cast([source(f"scene {number}", number) for number in range(3)])


@pytest.mark.parametrize(("sides", "covered"), [(1, 1.0), (3, 1 / 9), (4, 1 / 16)])
def test_a_guest_covers_its_share_of_the_picture(sides: int, covered: float) -> None:
    frame_HWC = np.zeros((144, 192, 3), np.uint8)
    insert(frame_HWC, np.full((50, 40, 3), 255, np.uint8), sides=sides, corner=np.array([0.3, 1.0]))
    assert frame_HWC.mean() / 255 == pytest.approx(covered)
    assert frame_HWC[:, -1].any()


def test_events_are_in_the_archive_when_they_are_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(short_events, "SEGMENT_S", 4.0)
    monkeypatch.setattr(short_events, "HOST_S", 13.0)
    for name in "abcd":
        write_video(tmp_path / f"{name}.mp4", Recipe(fps=10, num_frames=60))
    sources = find_sources(tmp_path, half="all")
    events = make_archive(sources, tmp_path / "out", size="whole", seed=0)
    assert sorted(event.length_s for event in events) == [0.3, 0.5, 1.0]
    assert all(event.span.duration_s == pytest.approx(event.length_s, abs=0.021) for event in events)
    # Archives of two sizes differ in an event, and nowhere else.
    others = make_archive(sources, tmp_path / "other", size="sixteenth", seed=0)
    assert [event.span for event in others] == [event.span for event in events]
    times_s = (np.arange(13 * short_events.FPS) + 0.5) / short_events.FPS
    archives = [tmp_path / "out" / "whole" / "00.mp4", tmp_path / "other" / "sixteenth" / "00.mp4"]
    whole_THWC, small_THWC = (decoded(path, times_s) for path in archives)
    differs_T = np.abs(whole_THWC - small_THWC).mean((1, 2, 3)) > 10
    shown_T = np.array([any(event.span.start_s <= time_s < event.span.end_s for event in events) for time_s in times_s])
    assert (differs_T == shown_T).all()


def test_only_a_moment_of_the_right_video_that_overlaps_counts() -> None:
    event = Event(host="00.mp4", span=ClipSpan(2, 3), length_s=1, query=Path("a.png"))

    def moment(video: str, start_s: float, end_s: float) -> Moment:
        return Moment(
            rank=1, score=1, percentile=100, clip_id=1, video=video, video_id="a", start_s=start_s, end_s=end_s
        )

    assert overlap(moment("/x/00.mp4", 2.5, 4.5), event) == pytest.approx(0.5 / 2.5)
    assert overlap(moment("/x/00.mp4", 3, 4), event) == 0
    assert overlap(moment("/x/01.mp4", 2, 3), event) == 0
    assert overlap(None, event) == 0


def test_an_interval_is_drawn_over_hosts() -> None:
    assert interval([0.25] * 6, ["a", "b"] * 3) == (0.25, 0.25)
    assert interval([1, 1, 1, 0, 0, 0], ["a", "a", "a", "b", "b", "b"]) == (0, 1)


def decoded(path: Path, times_s: Float64Array) -> Int64Array:
    with open_decoder(path) as decoder:
        return np.stack([frame.rgb_HWC.astype(np.int64) for frame in decoder.frames_at(times_s.tolist())])
