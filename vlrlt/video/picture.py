"""Pictures to search with: read by a limited child, of few formats, and no larger than a frame of video may be."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from vlrlt.errors import CorruptVideoError, DecodeError
from vlrlt.types import UInt8Array
from vlrlt.video.container import MAX_PIXELS
from vlrlt.video.limited import Limits, call_limited
from vlrlt.video.transforms import Preprocess

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF", "TIFF")
"""Pillow's names of the formats that may be read. It knows 50; some start other programs (EPS: Ghostscript)."""


def read_picture(path: Path, preprocess: Preprocess) -> UInt8Array:
    """A picture file, upright, as the square that an encoder takes.

    Returns:
        (image_size_px, image_size_px, 3) uint8.

    Raises:
        DecodeError: it is of another format, too large, or damaged.
    """
    square = call_limited(_read, Limits(path=path, cpu_s=30.0), path, preprocess.as_json())
    side_px = preprocess.image_size_px
    if len(square) != 3 * side_px**2:
        raise DecodeError(
            path, stage="preprocess", reason=f"its decoder returned {len(square)} bytes instead of {3 * side_px**2}"
        )
    return np.frombuffer(bytearray(square), np.uint8).reshape(side_px, side_px, 3)


def _read(path: Path, preprocess: dict[str, Any]) -> bytes:
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:  # what the header says, before anything is decoded
                raise CorruptVideoError(
                    path,
                    stage="open",
                    reason=f"its {image.width} x {image.height} pixels are more than {MAX_PIXELS}; try a smaller copy",
                )
            rgb_HWC = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except UnidentifiedImageError as error:
        reason = f"it is not a picture in one of the formats {', '.join(FORMATS)}, or damaged"
        raise DecodeError(path, stage="open", reason=reason) from error
    except OSError as error:
        raise DecodeError(path, stage="open", reason=error.strerror or str(error)) from error
    return Preprocess.from_json(preprocess)(rgb_HWC).tobytes()
