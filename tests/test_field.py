"""Files as cameras, recorders and people who join files leave them; the kinds come from reports of other tools."""

import io
import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from media import Recipe, picture, shown_index, write_video
from PIL import Image

from vlrlt.errors import ConfigError, NotAVideoError
from vlrlt.export.cut import cut_video
from vlrlt.types import Clip, ClipSpan
from vlrlt.video.clip_request import ClipRequest
from vlrlt.video.media import cut_preview, thumbnail
from vlrlt.video.pyav import PyAVDecoder
from vlrlt.video.samples import RATE_HZ, read_samples
from vlrlt.video.sampling import ClipSampling, MotionSampling, Sampling
from vlrlt.video.transforms import Preprocess
from vlrlt.video.worker import DecodeProcess

FPS, HZ, BEEP_S = 25, 16_000, 0.4
PREPROCESS = Preprocess(image_size_px=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def write_film(
    path: Path, *, first: int, length_s: float, beep_s: float, picture_from_s: float = 0.0, clock_s: float = 0.0
) -> Path:
    """Pictures that show their numbers from `first` on, sound from 0 s on with a tone; times count from clock_s."""
    options = {"fragments": {"movflags": "frag_keyframe+empty_moov+default_base_moof"}}.get(path.stem, {})
    with av.open(path, "w", container_options=options | {"muxdelay": "0", "muxpreload": "0"}) as output:
        codec = "mpeg2video" if path.suffix == ".mpg" else "libx264"
        pictures = output.add_stream(codec, rate=FPS, options={"bf": "2", "preset": "veryfast"})
        assert isinstance(pictures, av.VideoStream)
        pictures.width, pictures.height, pictures.pix_fmt, pictures.gop_size = 128, 96, "yuv420p", FPS
        sound = output.add_stream("aac" if path.suffix == ".mp4" else "mp2", rate=HZ, layout="mono")
        for number in range(round(length_s * FPS)):
            times_s = number / FPS + np.arange(HZ // FPS) / HZ
            tone_N = np.sin(times_s * 2 * np.pi * 440) * ((times_s >= beep_s) & (times_s < beep_s + BEEP_S)) * 16_000
            audio = av.AudioFrame.from_ndarray(tone_N.astype(np.int16)[None], format="s16", layout="mono")
            audio.sample_rate, audio.pts = HZ, number * HZ // FPS + round(clock_s * HZ)
            output.mux(sound.encode(audio))
            shown = number - round(picture_from_s * FPS)
            if shown >= 0:
                frame = av.VideoFrame.from_ndarray(picture(first + shown), format="rgb24")
                frame.pts = number + round(clock_s * FPS)
                output.mux(pictures.encode(frame))
        output.mux(pictures.encode(None))
        output.mux(sound.encode(None))
    return path


def join(out: Path, *parts: Path) -> Path:
    """As `cat` does it."""
    out.write_bytes(b"".join(part.read_bytes() for part in parts))
    return out


def shown_at(path: Path, times_s: Sequence[float]) -> list[int]:
    with PyAVDecoder(path) as decoder:
        shown = [shown_index(frame.rgb_HWC) for frame in decoder.frames_at(times_s)]
        assert decoder.partial_reason is None
    return shown


def beeps(path: Path, span: ClipSpan) -> list[float]:
    """When tones begin, in seconds of the file's clock."""
    sound = read_samples(path, span)
    assert sound.problem is None or "FFmpeg leaves out" in sound.problem
    loud = np.flatnonzero(np.abs(sound.samples_N) > 0.2)
    starts = loud[np.diff(loud, prepend=-RATE_HZ) > RATE_HZ // 10]
    return [round(span.start_s + at / RATE_HZ, 2) for at in starts.tolist()]


def clips_of(path: Path, sampling: Sampling) -> tuple[list[Clip], str | None]:
    with DecodeProcess() as process:
        process.start(ClipRequest(path=path, sampling=sampling, preprocess=PREPROCESS, max_shift_s=0.0))
        decoded = process.open(ClipRequest(path=path, sampling=sampling, preprocess=PREPROCESS))
        return list(decoded), decoded.partial_reason


# A clock that restarts.


MORE_JOINED = [
    pytest.param(name, marks=pytest.mark.attack) for name in ("joined.mpg", "fragments.mp4", "wrapped.ts", "ahead.ts")
]


@pytest.fixture(scope="module", params=["joined.ts", "joined.mkv", *MORE_JOINED])
def joined(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """7 s that show 0 to 174 and beep at 2 s, then 9 s that show 1000 to 1224 and beep at 3 s."""
    folder = tmp_path_factory.mktemp("joined")
    name = request.param
    suffix = Path(name).suffix
    first_clock_s, second_clock_s = {"wrapped.ts": (5000, 0), "ahead.ts": (0, 5000)}.get(name, (0, 0))
    stem = Path(name).stem
    (folder / "a").mkdir()
    (folder / "b").mkdir()
    one = write_film(folder / "a" / f"{stem}{suffix}", first=0, length_s=7, beep_s=2, clock_s=first_clock_s)
    two = write_film(folder / "b" / f"{stem}{suffix}", first=1000, length_s=9, beep_s=3, clock_s=second_clock_s)
    return join(folder / name, one, two)


def expected(time_s: float) -> int:
    return int(time_s * FPS) if time_s < 7 else 1000 + int((time_s - 7) * FPS)


def test_pictures_behind_a_restart_have_their_time(joined: Path) -> None:
    is_fragmented = joined.stem == "fragments"  # FFmpeg leaves out the first second behind the restart
    times_s = [0.5, 3.1, 6.5, *([] if is_fragmented else [7.5]), 9.1, 12.3, 15.5]
    for wanted_s in (times_s, [12.3], [9.1, 15.5]):
        with PyAVDecoder(joined) as decoder:
            assert decoder.info.duration_s == pytest.approx(16, abs=0.2)
            shown = [shown_index(frame.rgb_HWC) for frame in decoder.frames_at(wanted_s)]
            assert ("FFmpeg leaves out what follows" in (decoder.partial_reason or "")) == is_fragmented
        np.testing.assert_allclose(shown, [expected(time_s) for time_s in wanted_s], atol=3)


@pytest.mark.parametrize(
    "sampling", [MotionSampling(), ClipSampling(clip_s=2.0, stride_s=2.0, num_frames=2)], ids=["motion", "equal"]
)
def test_clips_cover_what_follows_a_restart(joined: Path, sampling: Sampling) -> None:
    clips, partial_reason = clips_of(joined, sampling)
    assert (partial_reason is None) == (joined.stem != "fragments")
    assert clips[-1].span.end_s == pytest.approx(16, abs=0.2)
    shown = {int(time_s) for clip in clips for time_s in clip.pts_s}
    assert max(np.diff(sorted(shown))) <= 3
    assert max(shown) >= 12


def test_sound_behind_a_restart_stays_with_its_pictures(joined: Path) -> None:
    assert beeps(joined, ClipSpan(0, 16)) == pytest.approx([2, 10], abs=0.15)
    assert beeps(joined, ClipSpan(9, 12)) == pytest.approx([10], abs=0.15)


def test_cuts_behind_a_restart(joined: Path, tmp_path: Path) -> None:
    exact = cut_video(joined, ClipSpan(9.1, 11), tmp_path / "exact.mp4")
    assert (exact.start_s, exact.end_s, exact.sound) == (9.1, 11, True)
    assert (exact.problem is None) == (joined.stem != "fragments")
    np.testing.assert_allclose(shown_at(exact.out, [0.1, 1.5]), [expected(9.2), expected(10.6)], atol=3)
    assert beeps(exact.out, ClipSpan(0, 1.9)) == pytest.approx([0.9], abs=0.15)
    with pytest.raises(ConfigError, match="restarts, so players would lose the copied part; cut it exactly"):
        cut_video(joined, ClipSpan(9.1, 11), tmp_path / "copied.mkv", mode="copy")


def test_a_camera_whose_clock_is_set_back(tmp_path: Path) -> None:
    film = write_film(tmp_path / "a.ts", first=0, length_s=12, beep_s=9)
    with (
        av.open(film) as source,
        av.open(tmp_path / "part.ts", "w") as early,
        av.open(tmp_path / "rest.ts", "w") as late,
    ):
        outputs = [
            {stream.index: output.add_stream_from_template(stream) for stream in source.streams}
            for output in (early, late)
        ]
        for packet in source.demux():
            if packet.dts is not None and packet.pts is not None and packet.time_base is not None:
                is_late = packet.dts * packet.time_base >= 6.6
                if is_late:  # half a second back
                    back = round(0.5 / packet.time_base)
                    packet.pts, packet.dts = packet.pts - back, packet.dts - back
                packet.stream = outputs[is_late][packet.stream_index]
                (late if is_late else early).mux(packet)
    path = join(tmp_path / "set.ts", tmp_path / "part.ts", tmp_path / "rest.ts")
    times_s = [1.0, 6.0, 8.0, 11.0]
    np.testing.assert_allclose(shown_at(path, times_s), [time_s * FPS for time_s in times_s], atol=3)
    assert beeps(path, ClipSpan(0, 12)) == pytest.approx([9], abs=0.15)


def test_one_wrong_time_does_not_move_what_follows(tmp_path: Path) -> None:
    """A packet of ten minutes ago, as interference writes it."""
    film = write_film(tmp_path / "a.ts", first=0, length_s=6, beep_s=4, clock_s=1000)
    content = bytearray(film.read_bytes())
    with av.open(film) as source:
        packets = [packet for packet in source.demux(video=0) if packet.size]
    place = packets[75].pos
    assert place is not None
    header = content.index(b"\x00\x00\x01\xe0", place)
    ticks = (packets[75].pts or 0) - 600 * 90_000
    dts = (packets[75].dts or 0) - 600 * 90_000
    both = bool(content[header + 7] & 0x40)
    content[header + 9 : header + 14] = _stamp(ticks, 3 if both else 2)
    if both:
        content[header + 14 : header + 19] = _stamp(dts, 1)
    path = tmp_path / "wrong.ts"
    path.write_bytes(content)
    with PyAVDecoder(path) as decoder:
        assert decoder.info.duration_s == pytest.approx(6, abs=0.3)
    np.testing.assert_allclose(shown_at(path, [1.0, 5.0]), [25, 125], atol=3)
    assert beeps(path, ClipSpan(0, 6)) == pytest.approx([4], abs=0.15)


def _stamp(ticks: int, kind: int) -> bytes:
    """33 bits of time as a packet of an MPEG transport stream has them (ISO/IEC 13818-1, 2.4.3.6)."""
    high, middle, low = ticks >> 30 & 7, ticks >> 15 & 0x7FFF, ticks & 0x7FFF
    return bytes([kind << 4 | high << 1 | 1, middle >> 7, (middle & 0x7F) << 1 | 1, low >> 7, (low & 0x7F) << 1 | 1])


# Pictures that begin later than the sound.


@pytest.mark.parametrize("suffix", [".mp4", pytest.param(".mkv", marks=pytest.mark.attack), ".ts"])
def test_pictures_that_begin_late_have_the_time_of_the_file(tmp_path: Path, suffix: str) -> None:
    film = write_film(tmp_path / f"a{suffix}", first=0, length_s=9, beep_s=6, picture_from_s=4)
    with PyAVDecoder(film) as decoder:
        assert decoder.info.start_s == pytest.approx(4, abs=0.1)
        assert decoder.info.duration_s == pytest.approx(9, abs=0.1)
        assert decoder.partial_reason is None
    np.testing.assert_allclose(shown_at(film, [0, 5, 8]), [0, 25, 100], atol=3)
    assert beeps(film, ClipSpan(0, 9)) == pytest.approx([6], abs=0.15)
    for sampling in (MotionSampling(), ClipSampling(clip_s=2.0, stride_s=2.0, num_frames=2)):
        clips, partial_reason = clips_of(film, sampling)
        assert partial_reason is None
        assert clips[0].span.start_s == pytest.approx(4, abs=0.1)
        assert clips[-1].span.end_s == pytest.approx(9, abs=0.1)
        assert all((np.abs(clip.pts_s - 6.5) <= 2.6).all() for clip in clips)
    for mode in ("exact", "copy"):
        cut = cut_video(film, ClipSpan(5.5, 8), tmp_path / f"{mode}.mkv", mode=mode)
        assert shown_at(cut.out, [6.5 - cut.start_s])[0] == pytest.approx(62, abs=3)
        assert beeps(cut.out, ClipSpan(0, 2))[0] == pytest.approx(6 - cut.start_s, abs=0.15)
    whole = cut_video(film, ClipSpan(0, 9), tmp_path / "whole.mp4")
    assert shown_at(whole.out, [5])[0] == pytest.approx(25, abs=3)
    assert beeps(whole.out, ClipSpan(0, 9)) == pytest.approx([6], abs=0.15)


# No presentation times.


@pytest.mark.parametrize(
    ("name", "muxer", "codec"),
    [
        ("divx.avi", "avi", "mpeg4"),
        ("a.avi", "avi", "libx264"),
        ("a.mpg", "mpeg", "mpeg2video"),
        ("a.h264", "h264", "libx264"),
    ],
)
def test_no_look_is_missing_where_frames_come_out_of_order_without_times(
    tmp_path: Path, name: str, muxer: str, codec: str
) -> None:
    with av.open(tmp_path / name, "w", format=muxer) as output:
        stream = output.add_stream(codec, rate=FPS, options={"bf": "2"})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 128, 96, "yuv420p", FPS
        for number in range(10 * FPS):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    clips, partial_reason = clips_of(tmp_path / name, MotionSampling())
    assert partial_reason is None
    times_s = np.concatenate([clip.pts_s for clip in clips])
    assert len(times_s) >= 4
    assert times_s[-1] > 7
    np.testing.assert_allclose(shown_at(tmp_path / name, [0.5, 5.1, 9.5]), [12, 127, 237], atol=2)


# Space that was reserved, and files that are cut short.


def padded(path: Path, num_bytes: int) -> Path:
    """With zeros behind it, which take no room on the disk."""
    os.truncate(path, path.stat().st_size + num_bytes)
    return path


@pytest.mark.parametrize("name", ["a.ts", "a.mkv", "a.avi", "a.mpg", "a.flv", "a.mp4"])
def test_a_recording_before_gigabytes_of_zeros(tmp_path: Path, name: str) -> None:
    recipe = Recipe(codec="mpeg2video" if name == "a.mpg" else "libx264", fps=25, num_frames=50)
    film = padded(write_video(tmp_path / name, recipe), 30 * 10**9)
    with PyAVDecoder(film) as decoder:
        assert decoder.info.duration_s == pytest.approx(2, abs=0.05)
        assert [shown_index(frame.rgb_HWC) for frame in decoder.frames_at([0.5, 1.5])] == [12, 37]
        assert ("it holds only zeros" in (decoder.partial_reason or "")) == (name != "a.mp4")


def test_zeros_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(bytes(100_000))
    with pytest.raises(NotAVideoError, match="it begins with zeros: it was never written, or is not written yet"):
        PyAVDecoder(tmp_path / "a.mp4")


def test_an_avi_that_is_cut_short_is_partial(tmp_path: Path) -> None:
    film = write_video(tmp_path / "a.avi", Recipe(codec="mpeg4", num_frames=100))
    with PyAVDecoder(film) as decoder:
        assert decoder.partial_reason is None
    os.truncate(film, film.stat().st_size * 6 // 10)
    with PyAVDecoder(film) as decoder:
        assert decoder.partial_reason is not None
        assert decoder.partial_reason.startswith("the header promises 10.00 s, the file ends after 5")


# More than one track of pictures.


def write_tracks(path: Path, *codecs: str, lengths: Sequence[int]) -> Path:
    """Tracks of so many pictures; the n-th shows 100 n and so on."""
    with av.open(path, "w") as output:
        streams = []
        for codec in codecs:
            stream = output.add_stream(codec, rate=10)
            assert isinstance(stream, av.VideoStream)
            stream.width, stream.height = (128, 96) if codec == "libx264" else (640, 480)
            stream.pix_fmt = {"libx264": "yuv420p", "mjpeg": "yuvj420p", "png": "rgb24"}[codec]
            streams.append(stream)
        for track, (stream, length) in enumerate(zip(streams, lengths, strict=True)):
            for number in range(length):
                shown_HWC = picture(100 * track + number, width_px=stream.width, height_px=stream.height)
                frame = av.VideoFrame.from_ndarray(shown_HWC, format="rgb24")
                frame.pts = number
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(("suffix", "codec"), [(".mkv", "mjpeg"), (".mp4", "mjpeg"), (".mp4", "png")])
@pytest.mark.parametrize("cover_first", [True, False])
def test_a_cover_that_nobody_flagged_is_no_film(tmp_path: Path, suffix: str, codec: str, cover_first: bool) -> None:
    codecs, lengths = [codec, "libx264"], [1, 30]
    order = slice(None, None, 1 if cover_first else -1)
    film = write_tracks(tmp_path / f"a{suffix}", *codecs[order], lengths=lengths[order])
    assert shown_at(film, [0.05, 2.55]) == [100 * cover_first, 100 * cover_first + 25]


def test_a_second_track_of_pictures_is_told(tmp_path: Path) -> None:
    film = write_tracks(tmp_path / "dashcam.mp4", "libx264", "libx264", lengths=[30, 30])
    with PyAVDecoder(film) as decoder:
        assert decoder.partial_reason == "more than one track of pictures: it has 2"


# Turned, mirrored and stretched.

EIGHT = [(degrees, mirrored) for mirrored in (False, True) for degrees in (0, 90, 180, 270)]


@pytest.mark.parametrize(("degrees", "mirrored"), EIGHT)
def test_pictures_are_shown_as_the_display_matrix_says(tmp_path: Path, degrees: int, mirrored: bool) -> None:
    film = tmp_path / "a.mp4"
    with av.open(film, "w") as output:
        stream = output.add_stream("libx264", rate=10)
        assert isinstance(stream, av.VideoStream)
        # Mirrored after it was turned, as cameras do it that look at who holds them.
        stream.set_display_rotation(-degrees, hflip=mirrored)
        stream.width, stream.height = (96, 128) if degrees % 180 else (128, 96)
        stream.pix_fmt = "yuv420p"
        for number in range(20):
            upright_HWC = picture(number)
            turned_HWC = np.rot90(upright_HWC[:, ::-1] if mirrored else upright_HWC, degrees // 90)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(turned_HWC), format="rgb24")
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    assert shown_at(film, [0.55, 1.25]) == [5, 12]
    with PyAVDecoder(film) as decoder:
        assert (decoder.info.width_px, decoder.info.height_px) == (128, 96)
    for mode in ("exact", "copy"):
        cut = cut_video(film, ClipSpan(0, 1.5), tmp_path / f"{mode}.mp4", mode=mode)
        assert shown_at(cut.out, [0.55, 1.25]) == [5, 12]


@pytest.mark.parametrize("degrees", [0, 90])
def test_pixels_that_are_not_square_are_stretched_for_people(tmp_path: Path, degrees: int) -> None:
    film = write_video(tmp_path / "a.mp4", Recipe(rotation_deg=degrees, pixel_aspect=Fraction(4, 3)))
    width_px, height_px = 128 * (4 / 3 if degrees == 0 else 3 / 4), 96
    image = Image.open(io.BytesIO(thumbnail(film, 0.5, width_px=64)))
    assert image.width == 64
    assert image.height == pytest.approx(64 * height_px / width_px, abs=1)
    assert shown_index(np.asarray(image)) == 5
    cut_preview(film, 0.0, 1.0, tmp_path / "preview.mp4")
    with PyAVDecoder(tmp_path / "preview.mp4") as decoder:
        assert decoder.info.width_px / decoder.info.height_px == pytest.approx(width_px / height_px, abs=0.05)
