"""Looks that follow motion, out of the decoder process: what is seen, from when on, and what is left out."""

from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from colour import COLOURS
from media import spoil_packet

from vlrlt.errors import CorruptVideoError
from vlrlt.types import Clip, UInt8Array
from vlrlt.video.clip_request import ClipRequest
from vlrlt.video.sampling import CLIP_LOOKS, MotionSampling
from vlrlt.video.transforms import Preprocess
from vlrlt.video.worker import DecodeProcess

PREPROCESS = Preprocess(image_size_px=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
FPS = 10
SIDE_PX = 96


def noisy(colour: str, number: int) -> UInt8Array:
    """A picture of one colour with a texture that trembles, as a camera's does."""
    random = np.random.default_rng(number)
    texture_HW1 = np.random.default_rng(len(colour)).normal(0, 25, (SIDE_PX, SIDE_PX, 1))
    rgb_HWC = np.array(COLOURS[colour]) * 0.5 + 60 + texture_HW1 + random.normal(0, 2, (SIDE_PX, SIDE_PX, 3))
    return np.clip(rgb_HWC, 0, 255).astype(np.uint8)


def write_scenes(path: Path, scenes: list[tuple[str, float]], *, gop: int = 100, still: bool = False) -> Path:
    """Scenes of so many seconds; no key frame but every gop-th picture."""
    options = {"sc_threshold": "0", "preset": "veryfast", "g": str(gop), "bf": "0", "crf": "8" if still else "23"}
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = SIDE_PX, SIDE_PX, "yuv420p"
        number = 0
        for colour, seconds in scenes:
            for _ in range(round(seconds * FPS)):
                frame = av.VideoFrame.from_ndarray(noisy(colour, 0 if still else number))
                container.mux(stream.encode(frame))
                number += 1
        container.mux(stream.encode(None))
    return path


def clips_of(path: Path, **options: object) -> tuple[list[Clip], str | None]:
    request = ClipRequest(path=path, sampling=MotionSampling(), preprocess=PREPROCESS, **options)  # type: ignore[arg-type]
    with DecodeProcess() as process:
        process.start(request)
        decoded = process.open(request)
        return list(decoded), decoded.partial_reason


def shown(clip: Clip) -> list[str]:
    """The colour of each frame."""
    means_TC = clip.rgb_THWC.reshape(len(clip.rgb_THWC), -1, 3).mean(1)
    return [min(COLOURS, key=lambda name: abs(np.array(COLOURS[name]) * 0.5 + 60 - mean).sum()) for mean in means_TC]


def test_a_visitor_of_a_third_of_a_second_is_seen_when_it_comes_and_goes(tmp_path: Path) -> None:
    path = write_scenes(tmp_path / "a.mp4", [("blue", 23.4), ("yellow", 0.3), ("blue", 16.3)])
    clips, reason = clips_of(path)
    assert reason is None
    (clip,) = clips
    seen = shown(clip)
    assert seen.count("yellow") == 1
    at = seen.index("yellow")
    np.testing.assert_allclose(clip.starts_s[at : at + 2], [23.4, 23.7])
    assert len(seen) <= 8
    np.testing.assert_allclose([clip.own.start_s, clip.own.end_s], [0, 40])
    assert clip.num_looks == clip.num_looks_T.sum() == len(seen)


def test_what_costs_no_bytes_when_it_comes_is_seen_when_it_goes(tmp_path: Path) -> None:
    """A flat picture is cheap; the texture that comes back after it is not."""
    path = tmp_path / "a.mp4"
    options = {"sc_threshold": "0", "preset": "veryfast", "g": "400", "bf": "0"}
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = SIDE_PX, SIDE_PX, "yuv420p"
        for number in range(300):
            flat = np.full((SIDE_PX, SIDE_PX, 3), COLOURS["red"], np.uint8)
            rgb_HWC = flat if 171 <= number < 176 else noisy("blue", number)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb_HWC)))
        container.mux(stream.encode(None))
    (clip,), _ = clips_of(path)
    reds = [
        start_s for rgb_HWC, start_s in zip(clip.rgb_THWC, clip.starts_s, strict=True) if rgb_HWC[..., 2].max() < 50
    ]
    assert len(reds) == 1
    assert 16.5 <= reds[0] < 17.6


def test_looks_in_which_nothing_changes_are_counted_but_not_sent(tmp_path: Path) -> None:
    path = write_scenes(tmp_path / "a.mp4", [("blue", 57), ("red", 33)], still=True)
    (clip,), _ = clips_of(path, static_255=5.76)
    assert shown(clip) == ["blue", "red"]
    assert clip.starts_s.tolist() == [0, pytest.approx(57)]
    assert clip.num_looks == clip.num_looks_T.sum() == clip.num_static + 2 >= 6
    (all_of_them,), _ = clips_of(path)
    assert (all_of_them.num_static, len(all_of_them.rgb_THWC)) == (0, clip.num_looks)


def test_chunks_can_be_read_one_by_one(tmp_path: Path) -> None:
    path = write_scenes(tmp_path / "a.mp4", [("blue", 20), ("red", 25), ("green", 45), ("cyan", 30)], gop=30)
    whole, _ = clips_of(path, chunk_s=40.0, static_255=5.76)
    starts_s = [clip.own.start_s for clip in whole]
    assert all(one.own.end_s == other.own.start_s for one, other in pairwise(whole))
    assert whole[-1].own.end_s == pytest.approx(120)
    assert {int(start_s // 40) for start_s in starts_s} == {0, 1, 2}
    parts = [clips_of(path, chunk_s=40.0, static_255=5.76, start_s=at, stop_s=at + 40.0)[0] for at in (0.0, 40.0, 80.0)]
    for one, other in zip(whole, [clip for part in parts for clip in part], strict=True):
        assert one.own == other.own
        np.testing.assert_array_equal(one.rgb_THWC, other.rgb_THWC)
        np.testing.assert_array_equal(one.starts_s, other.starts_s)


def test_clips_hold_so_many_looks_and_no_more(tmp_path: Path) -> None:
    path = write_scenes(
        tmp_path / "a.mp4", [(name, 1.5) for _ in range(8) for name in ("blue", "red", "green", "cyan")]
    )
    clips, _ = clips_of(path)
    assert [len(clip.rgb_THWC) for clip in clips][:-1] == [CLIP_LOOKS] * (len(clips) - 1)
    assert len(clips) > 1


def test_a_video_of_one_frame(tmp_path: Path) -> None:
    (clip,), reason = clips_of(write_scenes(tmp_path / "a.mp4", [("red", 0.1)]))
    assert (shown(clip), reason) == (["red"], None)
    np.testing.assert_allclose([clip.own.start_s, clip.own.end_s], [0, 0.1])


def test_damage_costs_the_looks_behind_it_and_is_told(tmp_path: Path) -> None:
    path = write_scenes(tmp_path / "a.mp4", [("blue", 60)], gop=50)
    whole, _ = clips_of(path)
    keys = [round(pts_s * FPS) for clip in whole for pts_s in clip.pts_s.tolist() if round(pts_s * FPS) % 50 == 0]
    spoil_packet(path, keys[len(keys) // 2])
    damaged, reason = clips_of(path)
    assert reason is not None
    assert "packets cannot be decoded, and 0 of" in reason, "the picture before stands for it"
    assert sum(len(clip.rgb_THWC) for clip in damaged) >= sum(len(clip.rgb_THWC) for clip in whole)
    assert damaged[-1].own.end_s > 50, "it goes on behind the damage"


def test_a_video_of_which_nothing_can_be_decoded_is_refused(tmp_path: Path) -> None:
    path = write_scenes(tmp_path / "a.mp4", [("blue", 10)], gop=50)
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 4
    data[start : start + len(data) * 9 // 10] = bytes([255]) * len(data[start : start + len(data) * 9 // 10])
    path.write_bytes(data)
    with pytest.raises(CorruptVideoError):
        clips_of(path)
