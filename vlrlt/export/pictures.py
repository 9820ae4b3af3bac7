"""Pictures of pieces: an animation that plays anywhere, and a storyboard."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vlrlt.errors import ConfigError
from vlrlt.export.output import new_file
from vlrlt.export.piece import Piece
from vlrlt.formats import format_time
from vlrlt.types import ClipSpan
from vlrlt.video.limited import Limits, call_limited
from vlrlt.video.media import PICTURE_BYTES, PICTURE_CPU_S, film_cpu_s, images_at
from vlrlt.video.sampling import frame_times

ANIMATION_SUFFIXES = (".gif", ".webp")
STILL_SUFFIXES = (".jpg", ".jpeg", ".png")
ANIMATION_FPS = 8
ANIMATION_MAX_S = 15.0
"""An animation of a longer piece shows its beginning."""
STORYBOARD_COLUMNS = 6
_THUMBNAIL_WIDTH_PX, _MARGIN_PX, _LABEL_PX = 240, 12, 26
_STEP_PX = _THUMBNAIL_WIDTH_PX + _MARGIN_PX
_BOARD_WIDTH_PX = STORYBOARD_COLUMNS * _STEP_PX + _MARGIN_PX
_INK, _FAINT, _PAPER = "#1c2430", "#667085", "#ffffff"


def write_animation(path: Path, span: ClipSpan, out: Path, *, width_px: int = 320, force: bool = False) -> None:
    """An animated GIF or WebP of a piece, without end.

    Args:
        path: the video.
        span: seconds of its clock.
        out: .gif or .webp.
        width_px: of the pictures.
        force: whether a file that is there may be replaced.

    Raises:
        ConfigError: out has another suffix, exists or cannot be written.
        DecodeError: the video cannot be read there.
    """
    if out.suffix.lower() not in ANIMATION_SUFFIXES:
        raise ConfigError(f"an animation must end in {' or '.join(ANIMATION_SUFFIXES)}, got {out.name!r}")
    end_s = min(span.end_s, span.start_s + ANIMATION_MAX_S)
    limits = Limits(path=path, cpu_s=film_cpu_s(end_s - span.start_s), max_file_bytes=PICTURE_BYTES)
    with new_file(out, force=force) as unfinished:
        call_limited(_draw_animation, limits, path, span.start_s, end_s, unfinished, width_px)


def _draw_animation(path: Path, start_s: float, end_s: float, out: Path, width_px: int) -> None:
    first, *others = images_at(path, np.arange(start_s, end_s, 1 / ANIMATION_FPS), width_px=width_px)
    options = {"save_all": True, "append_images": others, "duration": 1000 // ANIMATION_FPS, "loop": 0}
    first.save(out, out.suffix[1:].upper(), **options)


def write_still(path: Path, span: ClipSpan, out: Path, *, width_px: int | None = None, force: bool = False) -> None:
    """The frame in the middle of a piece as .jpg or .png.

    Args:
        path: the video.
        span: seconds of its clock.
        out: the picture.
        width_px: None: that of the video.
        force: whether a file that is there may be replaced.

    Raises:
        ConfigError: out has another suffix, exists or cannot be written.
        DecodeError: the video cannot be read there.
    """
    if out.suffix.lower() not in STILL_SUFFIXES:
        raise ConfigError(f"a picture must end in {' or '.join(STILL_SUFFIXES)}, got {out.name!r}")
    limits = Limits(path=path, cpu_s=PICTURE_CPU_S, max_file_bytes=PICTURE_BYTES)
    with new_file(out, force=force) as unfinished:
        call_limited(_draw_still, limits, path, (span.start_s + span.end_s) / 2, unfinished, width_px)


def _draw_still(path: Path, time_s: float, out: Path, width_px: int | None) -> None:
    (picture,) = images_at(path, [time_s], width_px=width_px)
    picture.save(out)


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
        board = Image.new("RGB", (_BOARD_WIDTH_PX, sum(row.height for row in rows) + _MARGIN_PX), _PAPER)
        top_px = 0
        for row in rows:
            board.paste(row, (0, top_px))
            top_px += row.height
        board.save(unfinished, "PNG")


def _row(piece: Piece) -> Image.Image:
    times_s = frame_times(piece.span, STORYBOARD_COLUMNS).tolist()
    limits = Limits(path=piece.video, cpu_s=PICTURE_CPU_S)
    pixels = call_limited(_draw_row, limits, piece.video, times_s, piece.label)
    return Image.frombytes("RGB", (_BOARD_WIDTH_PX, len(pixels) // (3 * _BOARD_WIDTH_PX)), pixels)


def _draw_row(video: Path, times_s: Sequence[float], label: str) -> bytes:
    pictures = list(images_at(video, times_s, width_px=_THUMBNAIL_WIDTH_PX))
    size_px = (_BOARD_WIDTH_PX, pictures[0].height + 2 * _LABEL_PX + _MARGIN_PX)
    row = Image.new("RGB", size_px, _PAPER)
    draw = ImageDraw.Draw(row)
    draw.text((_MARGIN_PX, _MARGIN_PX // 2), label, fill=_INK, font=ImageFont.load_default(17))
    for column, (time_s, picture) in enumerate(zip(times_s, pictures, strict=False)):
        left_px = _MARGIN_PX + column * _STEP_PX
        row.paste(picture, (left_px, _LABEL_PX + _MARGIN_PX // 2))
        time = format_time(time_s, decimals=1)
        place = (left_px, _LABEL_PX + _MARGIN_PX // 2 + picture.height + 2)
        draw.text(place, time, fill=_FAINT, font=ImageFont.load_default(14))
    return row.tobytes()
