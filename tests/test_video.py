"""Proves that both decoders give exactly the frame on screen at a time, upright, with its real presentation time; that
damaged files give what they hold and say what is missing; and that everything else is refused with a reason.
"""

import csv
import io
import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import cast

import av
import numpy as np
import pytest
from media import Recipe, picture, shown_index, spoil_packet, spoil_rest, write_audio, write_video
from PIL import Image

from vlrlt.errors import ConfigError, CorruptVideoError, DecodeError, NotAVideoError
from vlrlt.index.library.files import walk_videos
from vlrlt.types import VideoInfo
from vlrlt.video import container, frame_pass
from vlrlt.video.decode import DecoderName, open_decoder, probe
from vlrlt.video.media import cut_preview, thumbnail
from vlrlt.video.pyav import PyAVDecoder

BACKENDS: tuple[DecoderName, ...] = ("pyav", "decord")
REAL_VIDEOS = Path(__file__).parents[2] / "shared" / "videos"
QUICK_VP9 = {"deadline": "realtime", "cpu-used": "8"}
QUIET_X265 = {"x265-params": "log-level=none:bframes=2"}
IRREGULAR_MS = (0, 10, 250, 260, 900, 1500, 1501, 3000)

# Read alike by both decoders.
COMMON = {
    "h264.mp4": Recipe(),
    "h264_b_frames.mkv": Recipe(options={"bf": "3"}),
    "hevc.mp4": Recipe(codec="libx265", options=QUIET_X265),
    "vp9.webm": Recipe(codec="libvpx-vp9", options=QUICK_VP9),
    "vp8.webm": Recipe(codec="libvpx"),
    "av1.mkv": Recipe(codec="libsvtav1", options={"preset": "10", "crf": "20"}),
    "mpeg4.avi": Recipe(codec="mpeg4"),
    "mpeg4_b_frames.mp4": Recipe(codec="mpeg4", options={"bf": "2"}),
    "h263.3gp": Recipe(codec="h263", size_px=(176, 144)),
    "hevc_10_bit.mp4": Recipe(codec="libx265", options=QUIET_X265, pix_fmt="yuv420p10le"),
    "hevc_12_bit.mp4": Recipe(codec="libx265", options=QUIET_X265, pix_fmt="yuv422p12le"),
    "h264_10_bit_444.mp4": Recipe(pix_fmt="yuv444p10le"),
    "full_range.mp4": Recipe(pix_fmt="yuvj420p"),
    "alpha.webm": Recipe(codec="libvpx-vp9", options=QUICK_VP9, pix_fmt="yuva420p"),
    "odd_sizes.webm": Recipe(codec="libvpx-vp9", options=QUICK_VP9, size_px=(127, 95)),
    "odd_444.mp4": Recipe(pix_fmt="yuv444p", size_px=(129, 97)),
    "irregular.mp4": Recipe(pts_ms=IRREGULAR_MS),
    "irregular.mkv": Recipe(pts_ms=IRREGULAR_MS, options={"bf": "2"}),
    "late_start.mp4": Recipe(pts_ms=[8300 + 100 * index for index in range(20)]),
    "late_start.mkv": Recipe(pts_ms=[8300 + 100 * index for index in range(20)], options={"bf": "2"}),
    "turned_90.mp4": Recipe(rotation_deg=90),
    "turned_180.mp4": Recipe(rotation_deg=180),
    "turned_270.mp4": Recipe(rotation_deg=270, size_px=(90, 160)),
    "one_frame.mp4": Recipe(num_frames=1),
}
# decord invents times or skips frames here; it has to say so instead of returning them.
PYAV_ONLY = {
    "h264_b_frames.avi": Recipe(options={"bf": "2"}),
    "mpeg4_b_frames.avi": Recipe(codec="mpeg4", options={"bf": "2"}),
    "h264.ts": Recipe(options={"bf": "2"}),
    "h264.flv": Recipe(options={"bf": "2"}),
    "mpeg2.mpg": Recipe(codec="mpeg2video", options={"bf": "2"}, fps=25, num_frames=50),
    "fragmented.mp4": Recipe(container_options={"movflags": "frag_keyframe+empty_moov"}),
    "no_duration.webm": Recipe(codec="libvpx", container_options={"live": "1"}),
}
CASES = [(name, backend) for name in COMMON for backend in BACKENDS] + [(name, "pyav") for name in PYAV_ONLY]


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Recipe]]:
    """The file of a name above and its recipe; each is encoded once."""
    folder = tmp_path_factory.mktemp("media")

    def get(name: str) -> tuple[Path, Recipe]:
        path, recipe = folder / name, {**COMMON, **PYAV_ONLY}[name]
        return (path if path.exists() else write_video(path, recipe)), recipe

    return get


Media = Callable[[str], tuple[Path, Recipe]]


@pytest.mark.parametrize(("name", "backend"), CASES)
def test_every_frame_comes_back_at_its_own_time(media: Media, name: str, backend: DecoderName) -> None:
    path, recipe = media(name)
    times_s = recipe.times_s
    with open_decoder(path, backend=backend) as decoder:
        lengths_s = np.diff([*times_s, decoder.info.duration_s])
        assert (lengths_s > 0).all()
        # At the instant a frame appears, and just before it goes.
        wanted_s = np.stack([times_s, times_s + lengths_s * 0.9], axis=1).ravel()
        frames = list(decoder.frames_at(wanted_s))
    assert [shown_index(frame.rgb_HWC) for frame in frames] == [index for index in range(len(times_s)) for _ in "ab"]
    np.testing.assert_allclose([frame.pts_s for frame in frames], np.repeat(times_s, 2), atol=1e-3)
    for frame in frames:
        assert frame.rgb_HWC.dtype == np.uint8
        assert frame.rgb_HWC.shape == (recipe.size_px[1], recipe.size_px[0], 3)


@pytest.mark.parametrize(("name", "backend"), CASES)
def test_what_a_file_says_of_itself(media: Media, name: str, backend: DecoderName) -> None:
    path, recipe = media(name)
    with open_decoder(path, backend=backend) as decoder:
        info = decoder.info
    assert (info.width_px, info.height_px) == recipe.size_px
    assert info.rotation_deg == recipe.rotation_deg
    assert info.path == path
    # What follows the last frame of an irregular video is for the container to say; of a regular one, one frame.
    if recipe.pts_ms:
        assert recipe.times_s[-1] < info.duration_s < recipe.times_s[-1] + 1
    else:
        assert info.duration_s == pytest.approx(recipe.num_frames / recipe.fps, abs=1e-3)
        assert info.average_fps == pytest.approx(recipe.fps)
    if recipe.pts_ms and path.suffix in (".mp4", ".mkv"):
        assert info.start_s == 0, "there is no sound, so the file begins with its first picture"


@pytest.mark.parametrize("name", COMMON)
def test_both_decoders_agree_on_pixels(media: Media, name: str) -> None:
    path, recipe = media(name)
    wanted_s = [time_s + 0.0005 for time_s in recipe.times_s]
    with open_decoder(path, backend="pyav") as first, open_decoder(path, backend="decord") as second:
        for ours, theirs in zip(first.frames_at(wanted_s), second.frames_at(wanted_s), strict=True):
            assert ours.pts_s == pytest.approx(theirs.pts_s, abs=1e-3)
            assert np.abs(ours.rgb_HWC.astype(int) - theirs.rgb_HWC).mean() < 3


@pytest.mark.parametrize("name", ["h264.mp4", "h264.ts", "late_start.mkv", "turned_90.mp4", "hevc_10_bit.mp4"])
def test_colours_are_the_colours_that_went_in(media: Media, name: str) -> None:
    path, recipe = media(name)
    with open_decoder(path) as decoder:
        frame = next(decoder.frames_at([0.0]))
    expected_HWC = picture(0, width_px=recipe.size_px[0], height_px=recipe.size_px[1])
    assert np.abs(frame.rgb_HWC.astype(int) - expected_HWC).mean() < 8


@pytest.mark.parametrize(("full_range", "expected_255"), [(True, 16), (False, 0)])
def test_a_full_range_flag_is_honoured(tmp_path: Path, full_range: bool, expected_255: int) -> None:
    path = tmp_path / "grey.mp4"
    with av.open(path, "w") as output:
        stream = output.add_stream("libx264", rate=10, options={"crf": "1"})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        stream.codec_context.color_range = 2 if full_range else 1
        frame = av.VideoFrame(64, 64, "yuv420p")
        frame.color_range = 2 if full_range else 1
        for plane, value in zip(frame.planes, (16, 128, 128), strict=True):
            plane.update(bytes([value]) * plane.buffer_size)
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    with open_decoder(path) as decoder:
        assert next(decoder.frames_at([0.0])).rgb_HWC.mean() == pytest.approx(expected_255, abs=1)


@pytest.mark.parametrize("backend", BACKENDS)
def test_before_the_start_and_after_the_end(media: Media, backend: DecoderName) -> None:
    path, recipe = media("h264.mp4")
    with open_decoder(path, backend=backend) as decoder:
        frames = list(decoder.frames_at(iter([-5.0, 0.0, 2.9, 1000.0, np.inf])))
    last = recipe.num_frames - 1
    assert [shown_index(frame.rgb_HWC) for frame in frames] == [0, 0, last, last, last]
    assert frames[0] is frames[1], "a picture that stays on screen is converted once"
    assert frames[3] is frames[4]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_decoder_can_be_asked_again(media: Media, backend: DecoderName) -> None:
    with open_decoder(media("h264.mp4")[0], backend=backend) as decoder:
        abandoned = decoder.frames_at([1.05, 1.15])
        assert shown_index(next(abandoned).rgb_HWC) == 10
        assert [shown_index(frame.rgb_HWC) for frame in decoder.frames_at([0.05, 2.05])] == [0, 20]
        decoder.close()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("times_s", [[1.0, 0.5], [0.0, np.nan]])
def test_times_have_to_ascend(media: Media, backend: DecoderName, times_s: list[float]) -> None:
    with (
        open_decoder(media("h264.mp4")[0], backend=backend) as decoder,
        pytest.raises(ConfigError, match=r"times_s must ascend, got .* after .*; try sorted"),
    ):
        list(decoder.frames_at(times_s))


def test_a_file_is_checked_before_its_first_opening_with_decord_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []

    class Counting(PyAVDecoder):
        def __init__(self, path: Path) -> None:
            opened.append(path)
            super().__init__(path)

    monkeypatch.setattr("vlrlt.video.decord.PyAVDecoder", Counting)
    path = write_video(tmp_path / "a.mp4", Recipe(num_frames=10))
    for _ in range(3):
        with open_decoder(path, backend="decord") as video:
            assert video.info.duration_s == pytest.approx(1.0)
    assert len(opened) == 1
    write_video(path, Recipe(num_frames=20))
    with open_decoder(path, backend="decord") as video:
        assert video.info.duration_s == pytest.approx(2.0)
    assert len(opened) == 2
    path.write_bytes(b"no video any more")
    with pytest.raises(NotAVideoError):
        open_decoder(path, backend="decord")


@pytest.mark.parametrize("name", PYAV_ONLY)
def test_decord_refuses_what_it_mistimes(media: Media, name: str) -> None:
    with pytest.raises(CorruptVideoError, match=r"decord.*; try backend='pyav'"):
        open_decoder(media(name)[0], backend="decord")


def test_the_backend_has_to_exist(media: Media, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = media("h264.mp4")
    with pytest.raises(ConfigError, match="backend must be one of pyav, decord, got 'opencv'; try pyav"):
        open_decoder(path, backend="opencv")  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "decord", None)
    with pytest.raises(ConfigError, match=r"decord cannot be imported .*; try backend='pyav' or: pip install decord2"):
        open_decoder(path, backend="decord")


# Far apart times: PyAV seeks where that is exact.

OPEN_GOP_X264 = {"x264-params": "keyint=20:min-keyint=20:scenecut=0:bframes=3:open-gop=1"}
OPEN_GOP_X265 = {"x265-params": "log-level=none:keyint=20:min-keyint=20:scenecut=0:bframes=3:open-gop=1"}
KEYS_EVERY_2_S = {"x264-params": "keyint=20:min-keyint=20:scenecut=0:bframes=2"}


def long_recipe(codec: str, options: dict[str, str]) -> Recipe:
    return Recipe(num_frames=900, size_px=(64, 48), gop=20, codec=codec, options=options)


LONG_RECIPES = {
    "open_gop.mp4": long_recipe("libx264", OPEN_GOP_X264),
    "open_gop.mkv": long_recipe("libx265", OPEN_GOP_X265),
    "mpeg4.mp4": long_recipe("mpeg4", {"bf": "2"}),
    "h264.ts": long_recipe("libx264", KEYS_EVERY_2_S),
    "hevc.ts": long_recipe("libx265", OPEN_GOP_X265),
    "h264.flv": long_recipe("libx264", KEYS_EVERY_2_S),
    "h264.avi": long_recipe("libx264", KEYS_EVERY_2_S),
    "one_key_frame.mp4": long_recipe("libx264", {"x264-params": "scenecut=0:keyint=infinite"}),
    "no_key_frames.ts": long_recipe("libx264", {"x264-params": "intra-refresh=1:keyint=30"}),
    "wrong_key_frames.mp4": long_recipe("mpeg4", {"bf": "2"}),
}
SEEKS = ("open_gop.mp4", "open_gop.mkv", "mpeg4.mp4", "h264.ts", "hevc.ts", "h264.flv")


@pytest.mark.parametrize("name", LONG_RECIPES)
def test_far_apart_times_give_the_frames_of_a_full_decode(tmp_path: Path, name: str) -> None:
    path = write_video(tmp_path / name, LONG_RECIPES[name])
    if name == "wrong_key_frames.mp4":  # without the table of key frames, every packet passes for one
        path.write_bytes(path.read_bytes().replace(b"stss", b"free"))
    num_packets = 0

    def count() -> None:
        nonlocal num_packets
        num_packets += 1

    # 41.55 s: mpegts finds a packet 1 s before it, and the next key frame only after it.
    wanted_s = [0.35, 20.05, 21.05, 41.55, 59.95, 66.65, 89.95]
    with PyAVDecoder(path, on_packet=count) as decoder:
        num_packets = 0
        frames = list(decoder.frames_at(wanted_s))
    assert [shown_index(frame.rgb_HWC) for frame in frames] == [int(time_s * 10) for time_s in wanted_s]
    assert [frame.pts_s for frame in frames] == pytest.approx([int(time_s * 10) / 10 for time_s in wanted_s])
    # Where key frames help, not all in between is decoded; where they do not, nothing is decoded again and again.
    assert num_packets < (600 if name in SEEKS else 1200)


# Damaged files.

TENTHS_S = np.arange(0.05, 3, 0.1)


def shown_by(decoder: PyAVDecoder, times_s: np.ndarray) -> list[int]:
    return [shown_index(frame.rgb_HWC) for frame in decoder.frames_at(times_s)]


def test_a_packet_that_cannot_be_decoded_costs_what_needs_it_and_is_told(tmp_path: Path) -> None:
    path = spoil_packet(write_video(tmp_path / "a.mp4", Recipe(options={"bf": "2"})), 14)
    with PyAVDecoder(path) as decoder:
        shown = shown_by(decoder, TENTHS_S)
        assert shown[:14] == list(range(14))
        assert shown[20:] == list(range(20, 30)), "a key frame mends it"
        assert decoder.decoded_until_s == pytest.approx(3)
        assert decoder.partial_reason is not None
        assert decoder.partial_reason.startswith("packets that cannot be decoded: 1, the first at 1.50 s: Invalid data")


def test_too_many_errors_in_a_row_end_the_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "a.mp4", Recipe(options={"bf": "0", "sc_threshold": "0"}))
    for index in range(14, 20):
        spoil_packet(path, index)
    monkeypatch.setattr(frame_pass, "MOST_ERRORS", 6)
    with PyAVDecoder(path) as decoder:
        assert shown_by(decoder, TENTHS_S) == list(range(14))
        assert decoder.partial_reason is not None
        assert decoder.partial_reason.startswith("decoding stopped at 1.40 s of 3.00 s: Invalid data")
    monkeypatch.setattr(frame_pass, "MOST_ERRORS", 7)
    with PyAVDecoder(path) as decoder:
        assert shown_by(decoder, TENTHS_S) == [*range(14), *[13] * 6, *range(20, 30)]


def test_errors_up_to_the_end_are_told(tmp_path: Path) -> None:
    path = spoil_rest(write_video(tmp_path / "a.mp4", Recipe(options={"bf": "2"})), 14)
    with PyAVDecoder(path) as decoder:
        assert decoder.info.duration_s == pytest.approx(3)
        assert decoder.partial_reason is None
        # B-frames delay the last of them: they are still in the decoder when it fails.
        assert shown_by(decoder, TENTHS_S) == list(range(14))
        assert decoder.decoded_until_s == pytest.approx(1.4)
        assert decoder.partial_reason is not None
        assert decoder.partial_reason.startswith("decoding stopped at 1.40 s of 3.00 s: Invalid data")


@pytest.mark.parametrize("name", ["a.mkv", "a.webm", "a.flv", "faststart.mp4"])
def test_a_cut_off_file_is_as_long_as_what_is_left(tmp_path: Path, name: str) -> None:
    codec = "libvpx" if name == "a.webm" else "libx264"
    movflags = {"movflags": "faststart"} if name == "faststart.mp4" else {}
    path = write_video(tmp_path / name, Recipe(codec=codec, num_frames=100, container_options=movflags))
    os.truncate(path, path.stat().st_size * 7 // 10)
    with PyAVDecoder(path) as decoder:
        left_s = decoder.info.duration_s
        assert 1 < left_s < 9
        assert decoder.partial_reason is not None
        assert decoder.partial_reason.endswith(f"the file ends after {left_s:.2f} s")
        num_whole = round(left_s * 10) - 1  # the last one may be cut itself
        assert shown_by(decoder, TENTHS_S[:num_whole]) == list(range(min(30, num_whole)))


def test_packets_without_frames_are_told(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", Recipe(codec="libx265", options={"x265-params": "log-level=none:bframes=0"}))
    for index in range(20, 30):
        spoil_packet(path, index, silently=True)
    with PyAVDecoder(path) as decoder:
        assert shown_by(decoder, TENTHS_S) == list(range(20))
        assert decoder.partial_reason == "the frames end at 2.00 s, the packets at 3.00 s"


def test_a_frame_whose_time_runs_backwards_is_never_on_screen(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(write_video(tmp_path / "source.mp4")) as source, av.open(path, "w") as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.pts is not None and packet.dts is not None and packet.duration:
                number = packet.pts // packet.duration
                packet.pts = packet.duration * (3 if number == 6 else number)
                packet.dts -= packet.duration * 4
                packet.stream = stream
                output.mux(packet)
    with PyAVDecoder(path) as decoder:
        assert shown_by(decoder, TENTHS_S) == [0, 1, 2, 3, 4, 5, 5, *range(7, 30)]


def test_implausible_times_are_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", Recipe(pts_ms=(0, 100, 32 * 86_400_000)))
    with pytest.raises(CorruptVideoError, match=r"cannot probe: its frame times span 27648\d\d s"):
        PyAVDecoder(path)


def no_header(path: Path) -> Path:
    os.truncate(write_video(path), 2000)
    return path


def only_header(path: Path) -> Path:
    write_video(path, Recipe(container_options={"movflags": "faststart"}))
    os.truncate(path, path.read_bytes().index(b"mdat") + 4)
    return path


def broken_throughout(path: Path) -> Path:
    write_video(path)
    for index in range(30):
        spoil_packet(path, index)
    return path


def no_decoder(path: Path) -> Path:
    path.write_bytes(write_video(path).read_bytes().replace(b"avc1", b"zzzz"))
    return path


def text(path: Path) -> Path:
    path.write_text("not a video\n" * 1000)
    return path


def empty(path: Path) -> Path:
    path.touch()
    return path


def pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def playlist(path: Path) -> Path:
    target = write_video(path.with_name("target.ts"), Recipe(codec="mpeg4"))
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{target}\n#EXT-X-ENDLIST\n")
    return path


def concatenation(path: Path) -> Path:
    path.write_text(f"ffconcat version 1.0\nfile {write_video(path.with_name('target.mp4')).name}\n")
    return path


def still_image(path: Path) -> Path:
    Image.fromarray(picture(0)).save(path, format="png")
    return path


REFUSED: list[tuple[Callable[[Path], Path], str, type[DecodeError], str]] = [
    (lambda path: path, "absent.mp4", NotAVideoError, "cannot open: No such file or directory$"),
    (text, "a.mp4", NotAVideoError, "cannot open: it is text, not a video: Invalid data found when"),
    (empty, "a.mp4", NotAVideoError, "cannot open: it is empty$"),
    (no_header, "a.mp4", NotAVideoError, "cannot open: it is cut short or was never finished: Invalid data"),
    (pipe, "a.mp4", NotAVideoError, "cannot open: it is not a regular file"),
    (folder, "a.mp4", NotAVideoError, "cannot open: it is not a regular file"),
    (write_audio, "a.mp4", NotAVideoError, "cannot open: it has no video stream"),
    (lambda path: write_audio(path, cover=True), "a.mp4", NotAVideoError, "cannot open: it has no video stream"),
    (playlist, "a.m3u8", NotAVideoError, "cannot open: its container is not one of mov,matroska"),
    (concatenation, "a.mp4", NotAVideoError, "cannot open: its container is not one of mov,matroska"),
    (still_image, "a.mp4", NotAVideoError, "cannot open: its container is not one of mov,matroska"),
    (only_header, "a.mp4", CorruptVideoError, "cannot decode: it has no video frames"),
    (broken_throughout, "a.mp4", CorruptVideoError, "cannot decode: Invalid data"),
    (no_decoder, "a.mp4", CorruptVideoError, "cannot open: FFmpeg has no decoder for its video stream"),
]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("make", "name", "error", "reason"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_no_video_is_refused_with_a_reason(
    tmp_path: Path,
    make: Callable[[Path], Path],
    name: str,
    error: type[DecodeError],
    reason: str,
    backend: DecoderName,
) -> None:
    path = make(tmp_path / name)
    with pytest.raises(error, match=f"{name}: {reason}") as caught:
        open_decoder(path, backend=backend)
    assert caught.value.path == path
    assert "\n" not in caught.value.reason


def test_only_usual_decoders_and_sizes_may_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rare = write_video(tmp_path / "rare.mov", Recipe(codec="jpeg2000"))
    with pytest.raises(CorruptVideoError, match="the decoder 'jpeg2000' is not on the list of allowed decoders"):
        probe(rare)
    monkeypatch.setattr(container, "MAX_PIXELS", 128 * 96 - 1)
    with pytest.raises(CorruptVideoError, match="its pictures of 128 x 96 pixels are larger than 12287 pixels"):
        probe(write_video(tmp_path / "large.mp4"))


@pytest.mark.parametrize(
    "name", ["-i.mp4", "http:a.mp4", "concat:a|b.mp4", "%03d.mp4", "a b'\"\n.mp4", os.fsdecode(b"\xff\xfe.mp4")]
)
def test_any_name_is_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "a.mp4").rename(tmp_path / name)
    info = probe(Path(name))
    assert info.path == Path(name)
    assert info.duration_s == pytest.approx(3)


# What people look at.


@pytest.mark.parametrize("name", ["h264.mp4", "turned_90.mp4", "odd_sizes.webm", "h264_b_frames.avi"])
def test_thumbnail(media: Media, name: str) -> None:
    path, recipe = media(name)
    image = Image.open(io.BytesIO(thumbnail(path, 1.55, width_px=64)))
    assert image.size == (64, round(64 * recipe.size_px[1] / recipe.size_px[0]))
    assert shown_index(np.asarray(image)) == 15
    assert shown_index(np.asarray(Image.open(io.BytesIO(thumbnail(path, 1e6))))) == 29


def test_no_thumbnail_of_what_cannot_be_decoded(tmp_path: Path) -> None:
    path = spoil_rest(write_video(tmp_path / "a.mp4", Recipe(options={"bf": "0"})), 14)
    assert shown_index(np.asarray(Image.open(io.BytesIO(thumbnail(path, 1.0))))) == 10
    with pytest.raises(CorruptVideoError, match=r"cannot decode: decoding stopped at 1.40 s of 3.00 s"):
        thumbnail(path, 2.5)
    with pytest.raises(ConfigError, match="width_px must be 1 or more, got 0; try 320"):
        thumbnail(path, 1.0, width_px=0)


def preview_frames(path: Path) -> tuple[VideoInfo, list[tuple[float, int]]]:
    with PyAVDecoder(path) as decoder, av.open(path) as container:
        times_s = [float(frame.time) for frame in container.decode(video=0)]
        frames = decoder.frames_at(times_s)
        return decoder.info, [(round(frame.pts_s, 3), shown_index(frame.rgb_HWC)) for frame in frames]


def test_preview_keeps_pictures_and_their_times(media: Media, tmp_path: Path) -> None:
    out = tmp_path / "preview.mp4"
    cut_preview(media("turned_90.mp4")[0], 1.0, 2.0, out, height_px=51)
    info, frames = preview_frames(out)
    assert frames == [(round(index / 10, 3), 10 + index) for index in range(10)]
    assert (info.width_px, info.height_px) == (66, 50)
    assert info.duration_s == pytest.approx(1.0, abs=1e-3)
    assert info.codec == "h264"
    with av.open(out) as container:
        assert container.streams.video[0].pix_fmt == "yuv420p"
        assert len(container.streams) == 1
    content = out.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat"), "it has to play before it is loaded"
    assert list(tmp_path.iterdir()) == [out]


def test_preview_of_an_irregular_video_holds_its_pictures(media: Media, tmp_path: Path) -> None:
    out = tmp_path / "preview.mp4"
    cut_preview(media("irregular.mkv")[0], 0.3, 2.9, out)
    info, frames = preview_frames(out)
    # 260 ms is on screen at 300; 1500 ms goes after one.
    assert frames == [(0.0, 3), (0.6, 4), (1.201, 6)]
    assert info.duration_s == pytest.approx(2.6, abs=1e-3)
    assert info.height_px == 96, "never larger than the source"


def test_preview_ends_with_the_video(media: Media, tmp_path: Path) -> None:
    cut_preview(media("h264.mp4")[0], 2.5, 100.0, tmp_path / "preview.mp4")
    info, frames = preview_frames(tmp_path / "preview.mp4")
    assert [index for _, index in frames] == [25, 26, 27, 28, 29]
    assert info.duration_s == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize(
    ("start_s", "end_s", "error", "message"),
    [
        (2.5, 2.9, CorruptVideoError, r"no frame from 2.50 s on: decoding stopped at 1.40 s of 3.00 s"),
        (7.0, 8.0, CorruptVideoError, r"no frame from 7.00 s on: it ends at 3.00 s"),
        (1.0, 1.0, ConfigError, r"a preview needs 0 <= start_s < end_s and height_px >= 2, got \[1.0, 1.0\) and 360"),
    ],
)
def test_a_preview_that_cannot_be_cut_leaves_nothing(
    tmp_path: Path, start_s: float, end_s: float, error: type[Exception], message: str
) -> None:
    path = spoil_rest(write_video(tmp_path / "a.mp4", Recipe(options={"bf": "0"})), 14)
    with pytest.raises(error, match=message):
        cut_preview(path, start_s, end_s, tmp_path / "preview.mp4")
    assert list(tmp_path.iterdir()) == [path]


def test_a_preview_that_cannot_be_written(media: Media, tmp_path: Path) -> None:
    path, _ = media("h264.mp4")
    with pytest.raises(ConfigError, match=r"absent/preview.mp4: cannot write the preview: .*No such file"):
        cut_preview(path, 0.0, 1.0, tmp_path / "absent" / "preview.mp4")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError, match=r"folder: cannot write the preview: .*Is a directory"):
        cut_preview(path, 0.0, 1.0, tmp_path / "folder")
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]


@pytest.mark.real_videos
@pytest.mark.skipif(not REAL_VIDEOS.exists(), reason="../shared/videos is not here")
def test_every_real_video_opens_or_is_refused_for_what_it_is() -> None:
    outcomes: Counter[str] = Counter()
    with (REAL_VIDEOS / "manifest.tsv").open(newline="") as manifest:
        for row in csv.DictReader(manifest, delimiter="\t"):
            if row["decoded_frames"] in ("", "0"):
                with pytest.raises(DecodeError) as caught:
                    probe(REAL_VIDEOS / row["file"])
                outcomes[type(caught.value).__name__] += 1
            else:
                info = probe(REAL_VIDEOS / row["file"])
                # The manifest's durations are those of the containers, sound included.
                assert info.duration_s == pytest.approx(float(row["duration_s"]), abs=0.5)
                assert info.codec == row["codec"]
                assert info.rotation_deg == -int(row["rotation"]) % 360
                outcomes["opened"] += 1
    assert outcomes == {"opened": 165, "CorruptVideoError": 4, "NotAVideoError": 2}


@pytest.mark.parametrize(
    ("suffix", "muxer", "codec", "size_px"),
    [
        (".mod", "mpeg", "mpeg2video", (64, 48)),
        (".tod", "mpegts", "mpeg2video", (64, 48)),
        (".m2t", "mpegts", "mpeg2video", (64, 48)),
        (".lrv", "mp4", "libx264", (64, 48)),
        (".insv", "mp4", "libx264", (64, 48)),
        (".nut", "nut", "mpeg4", (64, 48)),
        (".dv", "dv", "dvvideo", (720, 576)),
        (".y4m", "yuv4mpegpipe", "wrapped_avframe", (64, 48)),
        (".rm", "rm", "rv10", (176, 144)),
        (".m2v", "mpeg2video", "mpeg2video", (64, 48)),
        (".m1v", "mpeg1video", "mpeg1video", (64, 48)),
        (".vob", "vob", "mpeg2video", (64, 48)),
        (".h264", "h264", "libx264", (64, 48)),
        (".hevc", "hevc", "libx265", (64, 48)),
        (".mjpeg", "mjpeg", "mjpeg", (64, 48)),
        (".ivf", "ivf", "libvpx", (64, 48)),
        (".mxf", "mxf", "mpeg2video", (720, 576)),
        (".wmv", "asf", "wmv2", (64, 48)),
        (".divx", "avi", "mpeg4", (64, 48)),
        (".f4v", "f4v", "libx264", (64, 48)),
        (".3g2", "3g2", "libx264", (64, 48)),
    ],
)
def test_what_camcorders_write_is_walked_and_read(
    tmp_path: Path, suffix: str, muxer: str, codec: str, size_px: tuple[int, int]
) -> None:
    """They were ignored by their suffix, or had no demuxer that may run."""
    path = tmp_path / f"film{suffix.upper()}"
    width_px, height_px = size_px
    with av.open(str(path), "w", format=muxer) as output:
        stream = cast(av.VideoStream, output.add_stream(codec, rate=25))
        stream.width, stream.height = width_px, height_px
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for level in range(0, 250, 5):
            picture = np.full((height_px, width_px, 3), level, np.uint8)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode(None))
    assert walk_videos([tmp_path], library_dir=tmp_path / "library").files == (path,)
    with open_decoder(path) as decoder:
        assert decoder.info.duration_s == pytest.approx(2, abs=0.15)
        levels = [frame.rgb_HWC.mean() for frame in decoder.frames_at([0.0, 1.0, 1.8])]
    assert levels == pytest.approx([0, 125, 225], abs=12)
