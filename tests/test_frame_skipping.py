"""Reading less of a video: the nearest key or reference frame, with its own time, wherever that is near enough."""

from pathlib import Path

import numpy as np
import pytest
from media import Recipe, shown_index, spoil_packet, spoil_rest, write_video

from vlrlt.types import Clip
from vlrlt.video.clip_request import ClipRequest
from vlrlt.video.frame_skipping import FrameSkipping, choose_frame_skipping
from vlrlt.video.pyav import PyAVDecoder
from vlrlt.video.sampling import ClipSampling, frame_times
from vlrlt.video.transforms import Preprocess
from vlrlt.video.worker import DecodeProcess

GOP = 20
KEYS = Recipe(
    num_frames=400, size_px=(64, 48), options={"x264-params": f"keyint={GOP}:min-keyint={GOP}:scenecut=0:bframes=2"}
)
FAR_KEYS = Recipe(
    num_frames=400, size_px=(64, 48), options={"x264-params": "keyint=160:min-keyint=160:scenecut=0:bframes=2"}
)
MPEG4 = Recipe(num_frames=400, size_px=(64, 48), codec="mpeg4", gop=GOP, options={"sc_threshold": "1000000000"})
FILES = {"h264.mp4": KEYS, "h264.mkv": KEYS, "mpeg4.avi": MPEG4}


@pytest.mark.parametrize("name", FILES)
def test_the_nearest_key_frames_come_with_their_own_times(tmp_path: Path, name: str) -> None:
    path = write_video(tmp_path / name, FILES[name])
    times_s = np.array([0.3, 0.9, 1.1, 4.9, 17.2, 17.3, 17.4, 39.9])
    nearest = np.round(times_s / 2).clip(max=19) * GOP
    with PyAVDecoder(path) as decoder:
        frames = list(decoder.frames_at(times_s, skipping="key frames"))
        from_later_on = next(decoder.frames_at(times_s[-1:], skipping="key frames"))
    assert [shown_index(frame.rgb_HWC) for frame in frames] == nearest.tolist()
    assert [frame.pts_s for frame in frames] == pytest.approx(nearest / 10)
    assert from_later_on.pts_s == frames[-1].pts_s


@pytest.mark.parametrize("name", FILES)
def test_where_no_key_frame_is_near_the_first_frame_that_is(tmp_path: Path, name: str) -> None:
    path = write_video(tmp_path / name, FILES[name])
    times_s = [0.95, 2.45, 2.55, 4.96, 39.95]
    with PyAVDecoder(path) as decoder:
        frames = list(decoder.frames_at(times_s, skipping="key frames", max_shift_s=0.5))
    assert [shown_index(frame.rgb_HWC) for frame in frames] == [5, 20, 21, 45, 395]
    assert [frame.pts_s for frame in frames] == pytest.approx([0.5, 2.0, 2.1, 4.5, 39.5])


def test_reading_on_from_a_key_frame_ends_at_damage(tmp_path: Path) -> None:
    path = spoil_packet(write_video(tmp_path / "a.mp4", KEYS), 43)
    with PyAVDecoder(path) as decoder:
        frames = list(decoder.frames_at([0.95, 2.55, 4.96, 39.95], skipping="key frames", max_shift_s=0.5))
    assert [frame.pts_s for frame in frames] == pytest.approx([0.5, 2.1])


def test_no_other_key_frame_is_decoded(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", KEYS)
    for number in (1, 3, 4):
        spoil_packet(path, number * GOP)
    with PyAVDecoder(path) as decoder:
        frames = list(decoder.frames_at([0.0, 4.0, 12.0], skipping="key frames"))
        assert [frame.pts_s for frame in frames] == [0.0, 4.0, 12.0]
        assert len(list(decoder.frames_at([0.0, 2.0, 12.0], skipping="key frames"))) == 1, "it ends before the damage"


@pytest.mark.parametrize(
    ("times_s", "max_shift_s", "skipping"),
    [
        ([0.3, 6.0], 0.0, "every frame"),
        ([0.3, 6.0], 0.3, "key frames"),
        ([0.3, 6.4], 0.3, "key frames"),
        ([0.7, 7.3], 0.3, "every frame"),
        ([17.0, 33.0], 0.9, "key frames"),
        ([9.0, 31.0], 0.9, "reference frames"),
        ([0.3, 39.9], 2.0, "key frames"),
    ],
)
def test_the_cheapest_way_to_read_that_is_near_enough(
    tmp_path: Path, times_s: list[float], max_shift_s: float, skipping: FrameSkipping
) -> None:
    recipe = FAR_KEYS if times_s[0] > 1 else KEYS
    with PyAVDecoder(write_video(tmp_path / "a.mp4", recipe)) as decoder:
        chosen = choose_frame_skipping(
            np.array(times_s),
            key_times_s=decoder.key_times_s,
            average_fps=decoder.info.average_fps,
            max_shift_s=max_shift_s,
        )
        assert chosen == skipping


def test_reference_frames_are_near_enough(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", KEYS)
    times_s = np.arange(0.05, 40, 0.5)
    with PyAVDecoder(path) as decoder:
        shown = [shown_index(frame.rgb_HWC) for frame in decoder.frames_at(times_s, skipping="reference frames")]
        assert decoder.partial_reason is None
    late = (times_s * 10).astype(int) - shown
    assert 0 <= late.min() <= late.max() <= 2
    assert late.max() > 0, "some are left out"


SAMPLING = ClipSampling(clip_s=4.0, stride_s=4.0, num_frames=2)
PREPROCESS = Preprocess(image_size_px=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def clips_of(process: DecodeProcess, path: Path, *, start_s: float = 0.0) -> list[Clip]:
    request = ClipRequest(path=path, sampling=SAMPLING, preprocess=PREPROCESS, start_s=start_s, max_shift_s=1.0)
    process.start(request)
    return list(process.open(request))


def test_clips_from_key_frames_also_behind_damage_and_from_the_middle(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", KEYS)
    with DecodeProcess() as process:
        whole = clips_of(process, path)
        late = clips_of(process, path, start_s=28.0)
        spoil_rest(path, 4 * GOP)  # wanted by the third clip
        damaged = clips_of(process, path)
    assert len(whole) == 10
    for clip in whole:
        assert np.abs(clip.pts_s - frame_times(clip.span, 2)).max() <= 1.0
        assert set(clip.pts_s % 2) == {0.0}
    for expected, clip in zip(whole[7:], late, strict=True):
        np.testing.assert_array_equal(clip.rgb_THWC, expected.rgb_THWC)
    assert [clip.span for clip in damaged[:2]] == [clip.span for clip in whole[:2]]
    assert max(clip.span.end_s for clip in damaged) <= 8.5, "decoding every frame gets no further here"
