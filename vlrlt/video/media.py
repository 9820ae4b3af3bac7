"""A still of a moment, and a short clip that every browser plays."""

import io
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import chain, groupby, pairwise
from pathlib import Path

import av
import numpy as np
from av.codec.context import Flags
from PIL import Image

from vlrlt.atomic import replacing
from vlrlt.errors import ConfigError, CorruptVideoError
from vlrlt.types import Frame
from vlrlt.video.limited import Limits, call_limited
from vlrlt.video.pyav import PyAVDecoder
from vlrlt.video.viewing import AS_STORED, Viewing

_PREVIEW_FPS = 30
"""Most frames per second of a preview; a source with fewer keeps its own."""

PICTURE_CPU_S = 120.0
"""CPU time for a picture: some files must be decoded from their start."""
_FILM_CPU_S_PER_S = 30.0
PICTURE_BYTES = 2**28
"""Of a picture or a preview on disk."""

_TIME_BASE = Fraction(1, 90_000)

_X264 = {"preset": "veryfast", "crf": "23", "bf": "0"}
"""Without B-frames the mp4 stores the length of the last frame, which may be long."""


def thumbnail(path: Path, time_s: float, *, width_px: int = 320) -> bytes:
    """The frame on screen at a time, upright, in its own aspect ratio, as a JPEG; decoded by a limited child.

    Args:
        path: the video.
        time_s: seconds of its clock; beyond the end, the last frame.
        width_px: width of the picture, >= 1.

    Raises:
        ConfigError: width_px is not positive.
        DecodeError: no frame can be decoded there.
    """
    if width_px < 1:
        raise ConfigError(f"width_px must be 1 or more, got {width_px}; try 320")
    return call_limited(_thumbnail, Limits(path=path, cpu_s=PICTURE_CPU_S), path, time_s, width_px)


def _thumbnail(path: Path, time_s: float, width_px: int) -> bytes:
    (image,) = images_at(path, [time_s], width_px=width_px)
    return _jpeg(image, quality=85)


def strip(path: Path, times_s: Sequence[float], *, width_px: int = 320) -> bytes:
    """The frames on screen at some ascending times, side by side, upright, as a JPEG; decoded by a limited child.

    Args:
        path: the video.
        times_s: seconds of its clock; beyond the end, the last frame.
        width_px: of all of them together.

    Raises:
        DecodeError: no frame can be decoded there.
    """
    return call_limited(_strip, Limits(path=path, cpu_s=PICTURE_CPU_S), path, list(times_s), width_px)


def _strip(path: Path, times_s: Sequence[float], width_px: int) -> bytes:
    each_px = width_px // len(times_s)
    pictures = list(images_at(path, times_s, width_px=each_px))
    sheet = Image.new("RGB", (each_px * len(pictures), pictures[0].height))
    for number, picture in enumerate(pictures):
        sheet.paste(picture, (number * each_px, 0))
    return _jpeg(sheet, quality=80)


def images_at(path: Path, times_s: Iterable[float], *, width_px: int | None) -> Iterator[Image.Image]:
    """The frames on screen at some ascending times, as far as the video goes. For limited children.

    Args:
        path: the video.
        times_s: seconds of its clock, at least one.
        width_px: of each picture; None: that of the video.

    Raises:
        DecodeError: no frame can be decoded there.
    """
    times_s = list(times_s)
    found = False
    with PyAVDecoder(path) as decoder:
        for frame in decoder.frames_at(times_s):
            found = True
            image = Image.fromarray(decoder.view.one_moment(frame.rgb_HWC))
            shown_width_px = image.width * decoder.shown_aspect
            width = width_px or round(shown_width_px)
            size_px = width, max(1, round(image.height * width / shown_width_px))
            yield decoder.view.image(image.resize(size_px, Image.Resampling.BICUBIC))
        if not found:
            reason = decoder.partial_reason or f"there is no frame at {times_s[0]:.2f} s"
            raise CorruptVideoError(path, stage="decode", reason=reason)


def _jpeg(image: Image.Image, *, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def cut_preview(path: Path, start_s: float, end_s: float, out: Path, *, height_px: int = 360) -> None:
    """Cut [start_s, end_s) out of a video into a small H.264 mp4 that plays before it is fully loaded.

    Pictures are upright and keep their own times, counted from start_s; there is no sound. The file appears under its
    name only when it is complete. A limited child does it.

    Args:
        path: the video.
        start_s: seconds of its clock.
        end_s: > start_s; beyond the end of the video the preview ends with it.
        out: the mp4 to write, in an existing folder.
        height_px: height of the pictures, >= 2, rounded down to an even number; never more than the source's.

    Raises:
        ConfigError: the interval is empty or height_px is too small.
        DecodeError: no frame can be decoded there.
    """
    if not 0 <= start_s < end_s or height_px < 2:
        got = f"got [{start_s}, {end_s}) and {height_px}"
        raise ConfigError(f"a preview needs 0 <= start_s < end_s and height_px >= 2, {got}; try height_px=360")
    limits = Limits(path=path, cpu_s=film_cpu_s(end_s - start_s), max_file_bytes=PICTURE_BYTES)
    try:
        with replacing(out) as unfinished:
            call_limited(_write_preview, limits, path, start_s, end_s, unfinished, height_px)
    except OSError as error:
        raise ConfigError(f"{out}: cannot write the preview: {error}; try a folder with free space") from error


def _write_preview(path: Path, start_s: float, end_s: float, out: Path, height_px: int) -> None:
    with PyAVDecoder(path) as decoder:
        end_s = min(end_s, decoder.info.duration_s)
        frames = decoder.frames_at(np.arange(start_s, end_s, 1 / _PREVIEW_FPS))
        height_px = min(height_px, decoder.info.height_px)
        timed, aspect = _timed(frames, start_s, end_s), decoder.shown_aspect
        write_mp4(timed, out, height_px=height_px, pixel_aspect=aspect, view=decoder.view)
        if not out.exists():
            reason = decoder.partial_reason or f"it ends at {end_s:.2f} s"
            raise CorruptVideoError(path, stage="decode", reason=f"no frame from {start_s:.2f} s on: {reason}")


def film_cpu_s(duration_s: float) -> float:
    """CPU time for making a film of so many seconds: little at any usual size, enough at the largest."""
    return PICTURE_CPU_S + _FILM_CPU_S_PER_S * duration_s


def _timed(frames: Iterable[Frame], start_s: float, end_s: float) -> Iterator[tuple[Frame, float, float]]:
    """Each distinct frame with the time it comes and goes, in seconds since start_s."""
    distinct = (next(same) for _, same in groupby(frames, key=lambda frame: frame.pts_s))
    for frame, following in pairwise(chain(distinct, [None])):
        if frame is not None:
            until_s = end_s if following is None else following.pts_s
            yield frame, max(0.0, frame.pts_s - start_s), until_s - start_s


def write_mp4(
    frames: Iterable[tuple[Frame, float, float]],
    out: Path,
    *,
    height_px: int,
    pixel_aspect: float = 1.0,
    view: Viewing = AS_STORED,
) -> None:
    """Encode pictures, each with the seconds at which it comes and goes, as H.264; no pictures, no file.

    Pixels that are not square become square.

    Raises:
        OSError: the file cannot be written.
    """
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        return
    source_height_px, source_width_px, _ = first[0].rgb_HWC.shape
    height_px = _even(height_px)
    width_px = _even(source_width_px * pixel_aspect * height_px / source_height_px)
    try:
        _encode(chain([first], frames), out, size_px=(width_px, height_px), view=view)
    except av.FFmpegError as error:
        raise OSError(error.errno, error.strerror) from error


def _encode(
    frames: Iterable[tuple[Frame, float, float]], out: Path, *, size_px: tuple[int, int], view: Viewing
) -> None:
    width_px, height_px = size_px
    with av.open(str(out), "w", format="mp4", container_options={"movflags": "+faststart"}) as output:
        stream = output.add_stream("libx264", rate=_PREVIEW_FPS, options=_X264, time_base=_TIME_BASE)
        stream.width, stream.height, stream.pix_fmt = width_px, height_px, "yuv420p"
        stream.codec_context.flags |= Flags.frame_duration
        for frame, from_s, until_s in frames:
            picture = av.VideoFrame.from_ndarray(view.one_moment(frame.rgb_HWC), format="rgb24")
            if view.transfer is not None:
                small = picture.reformat(width_px, height_px, "rgb24", interpolation="BICUBIC").to_ndarray()
                picture = av.VideoFrame.from_ndarray(np.asarray(view.image(Image.fromarray(small))), format="rgb24")
            picture = picture.reformat(width_px, height_px, "yuv420p", interpolation="BICUBIC")
            picture.time_base = _TIME_BASE
            picture.pts = round(from_s / _TIME_BASE)
            picture.duration = round(until_s / _TIME_BASE) - picture.pts
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))


def _even(size_px: float) -> int:
    """The even number below; H.264 in yuv420p has no odd sizes."""
    return max(2, int(size_px) // 2 * 2)
