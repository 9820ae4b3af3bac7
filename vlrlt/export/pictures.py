"""Pictures of pieces: an animation that plays anywhere, and a storyboard."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vlrlt.errors import ConfigError, CorruptVideoError
from vlrlt.export.output import new_file
from vlrlt.export.piece import Piece
from vlrlt.formats import format_time
from vlrlt.types import ClipSpan, Float64Array
from vlrlt.video.pyav import PyAVDecoder
from vlrlt.video.sampling import frame_times

ANIMATION_SUFFIXES = (".gif", ".webp")
STILL_SUFFIXES = (".jpg", ".jpeg", ".png")
ANIMATION_FPS = 8
ANIMATION_MAX_S = 15.0
"""An animation of a longer piece shows its beginning."""
STORYBOARD_COLUMNS = 6
_THUMBNAIL_WIDTH_PX, _MARGIN_PX, _LABEL_PX = 240, 12, 26
_INK, _FAINT, _PAPER = "#1c2430", "#667085", "#ffffff"


def write_animation(path: Path, span: ClipSpan, out: Path, *, width_px: int = 320, force: bool = False) -> None:
    """An animated GIF or WebP of a piece, without end.

    Args:
        path: the video.
        span: seconds since its first frame.
        out: .gif or .webp.
        width_px: of the pictures.
        force: whether a file that is there may be replaced.

    Raises:
        ConfigError: out has another suffix, exists or cannot be written.
        DecodeError: the video cannot be read there.
    """
    if out.suffix.lower() not in ANIMATION_SUFFIXES:
        raise ConfigError(f"an animation is written as {' or '.join(ANIMATION_SUFFIXES)}, got {out.name!r}")
    end_s = min(span.end_s, span.start_s + ANIMATION_MAX_S)
    with new_file(out, force=force) as unfinished:
        first, *others = _pictures(path, np.arange(span.start_s, end_s, 1 / ANIMATION_FPS), width_px=width_px)
        options = {"save_all": True, "append_images": others, "duration": 1000 // ANIMATION_FPS, "loop": 0}
        first.save(unfinished, out.suffix[1:].upper(), **options)


def write_still(path: Path, span: ClipSpan, out: Path, *, width_px: int | None = None, force: bool = False) -> None:
    """The frame in the middle of a piece as .jpg or .png.

    Args:
        path: the video.
        span: seconds since its first frame.
        out: the picture.
        width_px: None: that of the video.
        force: whether a file that is there may be replaced.

    Raises:
        ConfigError: out has another suffix, exists or cannot be written.
        DecodeError: the video cannot be read there.
    """
    if out.suffix.lower() not in STILL_SUFFIXES:
        raise ConfigError(f"a picture is written as {' or '.join(STILL_SUFFIXES)}, got {out.name!r}")
    with new_file(out, force=force) as unfinished:
        (picture,) = _pictures(path, np.array([(span.start_s + span.end_s) / 2]), width_px=width_px)
        picture.save(unfinished)


def write_storyboard(pieces: Sequence[Piece], out: Path, *, force: bool = False) -> None:
    """A PNG with a row for each piece: what it shows, and pictures evenly spread over it.

    Raises:
        ConfigError: there is no piece, or out exists or cannot be written.
        DecodeError: a video cannot be read there.
    """
    if not pieces:
        raise ConfigError("nothing was found, so there is nothing to draw; try vlrlt search --tail")
    with new_file(out, force=force) as unfinished:
        rows = [_row(piece) for piece in pieces]
        board = Image.new("RGB", (rows[0].width, sum(row.height for row in rows) + _MARGIN_PX), _PAPER)
        top_px = 0
        for row in rows:
            board.paste(row, (0, top_px))
            top_px += row.height
        board.save(unfinished, "PNG")


def _row(piece: Piece) -> Image.Image:
    times_s = frame_times(piece.span, STORYBOARD_COLUMNS)
    pictures = list(_pictures(piece.video, times_s, width_px=_THUMBNAIL_WIDTH_PX))
    step_px = _THUMBNAIL_WIDTH_PX + _MARGIN_PX
    size_px = (STORYBOARD_COLUMNS * step_px + _MARGIN_PX, pictures[0].height + 2 * _LABEL_PX + _MARGIN_PX)
    row = Image.new("RGB", size_px, _PAPER)
    draw = ImageDraw.Draw(row)
    draw.text((_MARGIN_PX, _MARGIN_PX // 2), piece.label, fill=_INK, font=ImageFont.load_default(17))
    for column, (time_s, picture) in enumerate(zip(times_s, pictures, strict=False)):
        left_px = _MARGIN_PX + column * step_px
        row.paste(picture, (left_px, _LABEL_PX + _MARGIN_PX // 2))
        time = format_time(time_s, decimals=1)
        place = (left_px, _LABEL_PX + _MARGIN_PX // 2 + picture.height + 2)
        draw.text(place, time, fill=_FAINT, font=ImageFont.load_default(14))
    return row


def _pictures(path: Path, times_s: Float64Array, *, width_px: int | None) -> Iterator[Image.Image]:
    """The frame on screen at each time, as far as the video goes; a width of None is the video's own.

    Raises:
        CorruptVideoError: there is none at all.
    """
    found = False
    with PyAVDecoder(path) as decoder:
        for frame in decoder.frames_at(times_s):
            found = True
            image = Image.fromarray(frame.rgb_HWC)
            width = width_px or image.width
            yield image.resize((width, max(1, round(image.height * width / image.width))))
        if not found:
            reason = decoder.partial_reason or f"there is no frame at {times_s[0]:.2f} s"
            raise CorruptVideoError(path, stage="decode", reason=reason)
