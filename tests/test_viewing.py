"""HDR and interlaced pictures as people see them, in thumbnails, previews and cuts, against plain formulas."""

import io
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from vlrlt.export.cut import cut_video
from vlrlt.types import ClipSpan, UInt8Array
from vlrlt.video.media import cut_preview, thumbnail
from vlrlt.video.pyav import PyAVDecoder
from vlrlt.video.viewing import Transfer, Viewing, tone_mapped

GREYS_CD_M2 = (1.0, 10.0, 50.0, 100.0, 203.0, 1000.0)
PATCH_PX = 32
SIZE_PX = (len(GREYS_CD_M2) * PATCH_PX, 64)


def stored(light_cd_m2: float, transfer: Transfer) -> float:
    """How a grey is stored, one after the other by the standards' formulas."""
    if transfer == "pq":
        power = (light_cd_m2 / 10_000) ** 0.1593017578125
        return float(((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375)
    scene = (light_cd_m2 / 1000) ** (1 / 1.2)
    if scene <= 1 / 12:
        return float((3 * scene) ** 0.5)
    return float(0.17883277 * np.log(12 * scene - 0.28466892) + 0.55991073)


def expected(light_cd_m2: float) -> float:
    """The grey of SDR for light, in [0, 255]: as it is up to half of white, from there on smoothly to white at 1000."""
    light, knee, peak = light_cd_m2 / 203, 0.5, 1000 / 203
    if light > knee:
        a = -(knee**2) * (peak - 1) / (knee**2 - 2 * knee + peak)
        b = (knee**2 - 2 * knee * peak + peak) / (peak - 1)
        light = (b * b + 2 * b * knee + knee * knee) / (b - a) * (light + a) / (light + b)
    return float(255 * min(light, 1) ** (1 / 2.2))


def write_hdr(path: Path, transfer: Transfer, *, rotation_deg: int = 0) -> Path:
    """A second of patches of grey in 10 bits."""
    width_px, height_px = SIZE_PX
    row = np.repeat([round(64 + 876 * stored(light, transfer)) for light in GREYS_CD_M2], PATCH_PX)
    with av.open(path, "w") as output:
        stream = output.add_stream("libx265", rate=10, options={"x265-params": "log-level=error:lossless=1"})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width_px, height_px, "yuv420p10le"
        if rotation_deg:
            stream.set_display_rotation(-rotation_deg)
        context = stream.codec_context
        context.color_primaries, context.colorspace, context.color_range = 9, 9, 1
        context.color_trc = 16 if transfer == "pq" else 18
        for index in range(10):
            frame = av.VideoFrame(width_px, height_px, "yuv420p10le")
            fill(frame.planes[0], np.tile(row, (height_px, 1)))
            for plane in frame.planes[1:]:
                fill(plane, np.full((height_px // 2, width_px // 2), 512))
            frame.pts = index
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def fill(plane: "av.video.plane.VideoPlane", values: npt.NDArray[np.int64]) -> None:
    lines = np.zeros((plane.height, plane.line_size // 2), np.uint16)
    lines[: values.shape[0], : values.shape[1]] = values
    plane.update(lines.tobytes())


def greys_of(rgb_HWC: UInt8Array) -> list[float]:
    """The middle of each patch."""
    step = rgb_HWC.shape[1] / len(GREYS_CD_M2)
    line = rgb_HWC[rgb_HWC.shape[0] // 2].astype(float).mean(-1)
    return [float(line[int((number + 0.5) * step)]) for number in range(len(GREYS_CD_M2))]


def first_frame(path: Path) -> UInt8Array:
    with PyAVDecoder(path) as decoder:
        (frame,) = decoder.frames_at([0.35])
        return frame.rgb_HWC


@pytest.mark.parametrize("transfer", ["pq", "hlg"])
def test_hdr_is_bright_as_meant_wherever_people_look(tmp_path: Path, transfer: Transfer) -> None:
    film = write_hdr(tmp_path / "hdr.mp4", transfer)
    wanted = [expected(light) for light in GREYS_CD_M2]
    still = np.asarray(Image.open(io.BytesIO(thumbnail(film, 0.3, width_px=SIZE_PX[0]))).convert("RGB"))
    assert greys_of(still) == pytest.approx(wanted, abs=12), "8 bits of PQ are coarse"
    cut_preview(film, 0, 1, tmp_path / "preview.mp4", height_px=64)
    assert greys_of(first_frame(tmp_path / "preview.mp4")) == pytest.approx(wanted, abs=14)
    cut = cut_video(film, ClipSpan(0.2, 0.8), tmp_path / "cut.mp4")
    assert greys_of(first_frame(cut.out)) == pytest.approx(wanted, abs=5)
    with av.open(cut.out) as container:
        context = container.streams.video[0].codec_context
        assert (context.pix_fmt, int(context.color_trc), int(context.color_primaries)) == ("yuv420p", 1, 1)
    raw = greys_of(first_frame(film))
    assert abs(raw[4] - wanted[4]) > 30, "what models see is as it is stored"


def test_a_phone_held_upright_films_hdr(tmp_path: Path) -> None:
    film = write_hdr(tmp_path / "phone.mp4", "hlg", rotation_deg=90)
    cut = cut_video(film, ClipSpan(0.2, 0.8), tmp_path / "cut.mp4")
    with PyAVDecoder(cut.out) as decoder:
        assert (decoder.info.rotation_deg, decoder.info.width_px, decoder.info.height_px) == (90, *SIZE_PX[::-1])
        (frame,) = decoder.frames_at([0.1])
    wanted = [expected(light) for light in GREYS_CD_M2]
    assert greys_of(np.ascontiguousarray(frame.rgb_HWC.swapaxes(0, 1))) == pytest.approx(wanted, abs=5)


def test_colours_keep_their_hue_and_black_is_black() -> None:
    red_N3 = np.array([[stored(203, "pq"), stored(1, "pq"), stored(1, "pq")], [0, 0, 0], [1, 1, 1]])
    mapped = tone_mapped(red_N3, "pq")
    assert mapped[0].argmax() == 0
    assert mapped[0][1:].max() < 0.2
    assert mapped[1:] == pytest.approx(np.array([[0, 0, 0], [1, 1, 1]]), abs=1e-9)


def write_interlaced(path: Path) -> Path:
    """A white bar on black that moves by 8 pixels from field to field, the upper lines first."""
    with av.open(path, "w") as output:
        options = {"x264-params": "interlaced=1:tff=1", "preset": "ultrafast", "qp": "0", "bf": "0"}
        stream = output.add_stream("libx264", rate=25, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 256, 64, "yuv420p"
        for index in range(12):
            picture = np.zeros((64, 256, 3), np.uint8)
            for field in (0, 1):
                left = 16 + 8 * (2 * index + field)
                picture[field::2, left : left + 32] = 255
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = index
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def combs(rgb_HWC: UInt8Array) -> int:
    """Pixels that differ strongly from the lines above and below, which agree."""
    grey = rgb_HWC.astype(int).mean(-1)
    middle, above, below = grey[1:-1], grey[:-2], grey[2:]
    return int(((np.abs(middle - above) > 60) & (np.abs(middle - below) > 60) & (np.abs(above - below) < 30)).sum())


def test_moving_fields_have_no_combs_wherever_people_look(tmp_path: Path) -> None:
    film = write_interlaced(tmp_path / "fields.mp4")
    with PyAVDecoder(film) as decoder:
        assert decoder.view == Viewing(None, interlaced=True)
        (frame,) = decoder.frames_at([0.2])
    assert combs(frame.rgb_HWC) > 400, "what models see is as it is stored"
    still = np.asarray(Image.open(io.BytesIO(thumbnail(film, 0.2, width_px=256))).convert("RGB"))
    assert combs(still) == 0
    cut_preview(film, 0, 0.4, tmp_path / "preview.mp4", height_px=64)
    cut = cut_video(film, ClipSpan(0.08, 0.4), tmp_path / "cut.mp4")
    for path in (tmp_path / "preview.mp4", cut.out):
        with PyAVDecoder(path) as decoder:
            assert max(combs(frame.rgb_HWC) for frame in decoder.frames_at([0.08, 0.12, 0.16])) <= 8
            assert not decoder.view.interlaced
    with PyAVDecoder(cut.out) as decoder:
        times = [(round(from_s, 3), round(until_s, 3)) for _, from_s, until_s in decoder.pictures_between(0, 1)]
    assert times == [(round(0.04 * index, 3), round(0.04 * index + 0.04, 3)) for index in range(8)], "each has its time"


def test_pictures_that_need_nothing_are_not_touched() -> None:
    frames = [(av.VideoFrame(16, 16, "yuv420p"), float(index), index + 1.0) for index in range(3)]

    def source() -> Iterator[tuple[av.VideoFrame, float, float]]:
        yield from frames

    passed = list(Viewing(None, interlaced=False).film(source()))
    assert all(got[0] is given[0] for got, given in zip(passed, frames, strict=True))
    assert Fraction(len(passed)) == 3
