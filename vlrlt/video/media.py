"""What people look at: a still of a moment, and a short clip of it that every browser plays."""

import uuid
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import chain, groupby, pairwise
from pathlib import Path

import av
import numpy as np
from av.codec.context import Flags
from PIL import Image

from vlrlt.errors import ConfigError, CorruptVideoError
from vlrlt.types import Frame
from vlrlt.video.pyav import PyAVDecoder

_PREVIEW_FPS = 30
"""Most frames per second of a preview; a source with fewer keeps its own."""

_TIME_BASE = Fraction(1, 90_000)

_X264 = {"preset": "veryfast", "crf": "23", "bf": "0"}
"""Without B-frames the mp4 stores the length of the last frame, which may be long."""


def thumbnail(path: Path, time_s: float, *, width_px: int = 320) -> Image.Image:
    """The frame on screen at a time, upright, in its own aspect ratio.

    Args:
        path: the video.
        time_s: seconds since its first frame; beyond the end, the last frame.
        width_px: width of the picture, >= 1.

    Raises:
        ConfigError: width_px is not positive.
        DecodeError: no frame can be decoded there.
    """
    if width_px < 1:
        raise ConfigError(f"width_px must be 1 or more, got {width_px}; try 320")
    with PyAVDecoder(path) as decoder:
        frame = next(decoder.frames_at([time_s]), None)
        if frame is None:
            reason = decoder.partial_reason or f"there is no frame at {time_s:.2f} s"
            raise CorruptVideoError(path, stage="decode", reason=reason)
    image = Image.fromarray(frame.rgb_HWC)
    return image.resize((width_px, max(1, round(image.height * width_px / image.width))), Image.Resampling.BICUBIC)


def strip(path: Path, times_s: Sequence[float], *, width_px: int = 320) -> Image.Image:
    """The frames on screen at some ascending times, side by side, upright.

    Args:
        path: the video.
        times_s: seconds since its first frame; beyond the end, the last frame.
        width_px: of all of them together.

    Raises:
        DecodeError: no frame can be decoded there.
    """
    with PyAVDecoder(path) as decoder:
        pictures = [Image.fromarray(frame.rgb_HWC) for frame in decoder.frames_at(times_s)]
        if not pictures:
            reason = decoder.partial_reason or f"there is no frame at {times_s[0]:.2f} s"
            raise CorruptVideoError(path, stage="decode", reason=reason)
    each_px = width_px // len(times_s)
    height_px = max(1, round(pictures[0].height * each_px / pictures[0].width))
    sheet = Image.new("RGB", (each_px * len(pictures), height_px))
    for number, picture in enumerate(pictures):
        sheet.paste(picture.resize((each_px, height_px), Image.Resampling.BICUBIC), (number * each_px, 0))
    return sheet


def cut_preview(path: Path, start_s: float, end_s: float, out: Path, *, height_px: int = 360) -> None:
    """Cut [start_s, end_s) out of a video into a small H.264 mp4 that plays before it is fully loaded.

    Pictures are upright and keep their own times, counted from start_s; there is no sound. The file appears under its
    name only when it is complete.

    Args:
        path: the video.
        start_s: seconds since its first frame.
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
    unfinished = out.with_name(f".{uuid.uuid4().hex}.mp4")
    try:
        with PyAVDecoder(path) as decoder:
            end_s = min(end_s, decoder.info.duration_s)
            frames = decoder.frames_at(np.arange(start_s, end_s, 1 / _PREVIEW_FPS))
            height_px = min(height_px, decoder.info.height_px)
            write_mp4(_timed(frames, start_s, end_s), unfinished, height_px=height_px)
            if not unfinished.exists():
                reason = decoder.partial_reason or f"it ends at {end_s:.2f} s"
                raise CorruptVideoError(path, stage="decode", reason=f"no frame from {start_s:.2f} s on: {reason}")
        unfinished.replace(out)
    except (av.FFmpegError, OSError) as error:
        raise ConfigError(f"{out}: cannot write the preview: {error}; try a folder with free space") from error
    finally:
        unfinished.unlink(missing_ok=True)


def _timed(frames: Iterable[Frame], start_s: float, end_s: float) -> Iterator[tuple[Frame, float, float]]:
    """Each distinct frame with the time it comes and goes, in seconds since start_s."""
    distinct = (next(same) for _, same in groupby(frames, key=lambda frame: frame.pts_s))
    for frame, following in pairwise(chain(distinct, [None])):
        if frame is not None:
            until_s = end_s if following is None else following.pts_s
            yield frame, max(0.0, frame.pts_s - start_s), until_s - start_s


def write_mp4(frames: Iterable[tuple[Frame, float, float]], out: Path, *, height_px: int) -> None:
    """Encode pictures, each with the seconds at which it comes and goes, as H.264; no pictures, no file.

    Raises:
        OSError: the file cannot be written.
    """
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        return
    source_height_px, source_width_px, _ = first[0].rgb_HWC.shape
    height_px = _even(height_px)
    width_px = _even(source_width_px * height_px / source_height_px)
    with av.open(str(out), "w", format="mp4", container_options={"movflags": "+faststart"}) as output:
        stream = output.add_stream("libx264", rate=_PREVIEW_FPS, options=_X264, time_base=_TIME_BASE)
        stream.width, stream.height, stream.pix_fmt = width_px, height_px, "yuv420p"
        stream.codec_context.flags |= Flags.frame_duration
        for frame, from_s, until_s in chain([first], frames):
            picture = av.VideoFrame.from_ndarray(frame.rgb_HWC, format="rgb24")
            picture = picture.reformat(width_px, height_px, "yuv420p", interpolation="BICUBIC")
            picture.time_base = _TIME_BASE
            picture.pts = round(from_s / _TIME_BASE)
            picture.duration = round(until_s / _TIME_BASE) - picture.pts
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))


def _even(size_px: float) -> int:
    """The even number below; H.264 in yuv420p has no odd sizes."""
    return max(2, int(size_px) // 2 * 2)
