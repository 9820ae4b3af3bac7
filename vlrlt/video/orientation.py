"""How stored pixels come to be shown: turned and mirrored by a display matrix, stretched by the shape of a pixel.

A display matrix has nine numbers (a, b, u, c, d, v, x, y, w): the pixel (p, q) is shown at (a p + c q, b p + d q).
Cameras write quarter turns, and mirror images where they look at who holds them.
Source: https://ffmpeg.org/doxygen/trunk/group__lavu__video__display.html
"""

import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import av
import numpy as np

from vlrlt.types import UInt8Array

_STRANGEST_PIXEL = 5.0
"""Pixels that are longer than this are a damaged header's."""


@dataclass(frozen=True)
class Orientation:
    """Rows and columns change places first, then the picture is mirrored."""

    is_transposed: bool = False
    flips_x: bool = False
    """Left and right change places."""
    flips_y: bool = False

    @property
    def rotation_deg(self) -> int:
        """Clockwise turn, of a mirror image where there is one."""
        if self.is_transposed:
            return 90 if self.flips_x else 270
        return 180 if self.flips_y else 0

    def upright(self, pixels_HWC: UInt8Array) -> UInt8Array:
        """Pixels as they are shown."""
        turned = pixels_HWC.swapaxes(0, 1) if self.is_transposed else pixels_HWC
        return np.ascontiguousarray(turned[:: -1 if self.flips_y else 1, :: -1 if self.flips_x else 1])


def display_matrix(frame: av.VideoFrame) -> tuple[int, ...] | None:
    """The nine numbers that come with a frame; None: it is shown as it is stored."""
    found = frame.side_data.get("DISPLAYMATRIX")
    return None if found is None else struct.unpack("=9i", bytes(cast(bytes, found)))


def orientation(frame: av.VideoFrame) -> Orientation:
    """The nearest of the eight that a frame's display matrix asks for."""
    matrix = display_matrix(frame)
    if matrix is None:
        return Orientation()
    a, b, _, c, d = matrix[:5]
    if abs(b) > abs(a):
        return Orientation(is_transposed=True, flips_x=c < 0, flips_y=b < 0)
    return Orientation(flips_x=a < 0, flips_y=d < 0)


def shown_aspect(stored_aspect: Fraction | None, shown: Orientation) -> float:
    """Width of a pixel by its height as it is shown; 1 where the file says nothing or nonsense."""
    if not stored_aspect or not 1 / _STRANGEST_PIXEL <= stored_aspect <= _STRANGEST_PIXEL:
        return 1.0
    return float(1 / stored_aspect if shown.is_transposed else stored_aspect)
