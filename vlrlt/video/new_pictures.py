"""Where and when a video shows something new, at its own resolution: what a reader of text has to look at.

Once a second, each patch of the picture is compared with what was last read there. A patch is read when it has changed,
has come to rest (or has moved for MOVING_LOOKS looks), and has edges as letters have. A fixed camera or a slide that
stands costs nothing; a camera that moves is read every second look. The rule is that of the run lengths: a mean
difference in grey levels, against a carried reference.

Legend: H height_px, W width_px of a picture; P rows, Q columns of patches.
"""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from vlrlt.types import BoolArray, ClipSpan, Float32Array, Int64Array, UInt8Array
from vlrlt.video.limited import Limits, call_limited
from vlrlt.video.pyav import PyAVDecoder

LOOK_S = 1.0
PATCH_PX = 32
MOST_PX = 1920
"""Of the longer side: larger pictures are reduced to it."""
THRESHOLD_255 = 8.0
"""Mean difference of a patch, in grey levels, from which it has changed; above the noise of cameras."""
MOVING_LOOKS = 2
"""A patch that does not come to rest is read after so many looks."""
_EDGE_255, _EDGE_SHARE = 40, 0.03
"""Letters: so many of a patch's pixels differ so much from their neighbour on the right."""
_MAX_NEW = 2**27
"""Bytes of pictures of one call; a child answers with 2^28 at most."""
_CPU_S, _CPU_S_PER_S = 60.0, 30.0
_HEADER = struct.Struct(">I")


@dataclass(frozen=True, kw_only=True)
class NewPicture:
    """One look that differs from what was read before."""

    time_s: float
    """When the change was first seen."""
    changed_PQ: BoolArray
    """Patches that show something else now."""
    new_PQ: BoolArray
    """Those of them that may hold letters, and what hangs together with them."""
    rgb_HWC: UInt8Array | None
    """The picture; None: nothing of it has to be read."""


@dataclass
class Watcher:
    """Compares looks with what was read; keeps its reference from one call to the next."""

    reference_HW: UInt8Array | None = None
    before_HW: UInt8Array | None = None
    moving_looks_PQ: Int64Array = field(default_factory=lambda: np.zeros((0, 0), np.int64))

    def look(self, grey_HW: UInt8Array) -> tuple[BoolArray, BoolArray, int]:
        """What has changed and what of it may hold letters, (P, Q) each, and how many looks ago that began.

        It counts as read afterwards.
        """
        if self.reference_HW is None or self.before_HW is None or self.reference_HW.shape != grey_HW.shape:
            self.reference_HW, self.before_HW = grey_HW.copy(), grey_HW
            everything_PQ = np.ones((-(-grey_HW.shape[0] // PATCH_PX), -(-grey_HW.shape[1] // PATCH_PX)), np.bool_)
            self.moving_looks_PQ = np.zeros(everything_PQ.shape, np.int64)
            return everything_PQ, _has_edges(grey_HW), 0
        changed_PQ = _differs(grey_HW, self.reference_HW)
        moving_PQ = _differs(grey_HW, self.before_HW)
        waited_PQ = np.where(changed_PQ, self.moving_looks_PQ, 0)
        due_PQ = changed_PQ & (~moving_PQ | (waited_PQ + 1 >= MOVING_LOOKS))
        self.moving_looks_PQ = np.where(changed_PQ & ~due_PQ, waited_PQ + 1, 0)
        pixels_HW = _to_pixels(due_PQ, grey_HW.shape)
        self.reference_HW[pixels_HW] = grey_HW[pixels_HW]
        self.before_HW = grey_HW
        edges_PQ = _has_edges(grey_HW)
        return due_PQ, _grown(due_PQ & edges_PQ, edges_PQ), int(waited_PQ[due_PQ].max(initial=0))


def new_pictures(path: Path, span: ClipSpan) -> tuple[list[NewPicture], str | None]:
    """The looks of a span that show something new, found by a limited child, and why it ends early if it does.

    Raises:
        DecodeError: nothing can be decoded.
    """
    limits = Limits(path=path, cpu_s=_CPU_S + _CPU_S_PER_S * span.duration_s)
    answer = memoryview(call_limited(_new_pictures, limits, path, span.start_s, span.end_s))
    (length,) = _HEADER.unpack(answer[: _HEADER.size])
    header, at = json.loads(bytes(answer[_HEADER.size : _HEADER.size + length])), _HEADER.size + length
    found = []
    for one in header["looks"]:
        changed_PQ, at = _bits(answer, at, one["patches"])
        new_PQ, at = _bits(answer, at, one["patches"])
        rgb_HWC = None
        if one["size"] is not None:
            num_bytes = int(np.prod(one["size"]))
            rgb_HWC = np.frombuffer(answer[at : at + num_bytes], np.uint8).reshape(one["size"])
            at += num_bytes
        found.append(NewPicture(time_s=one["time_s"], changed_PQ=changed_PQ, new_PQ=new_PQ, rgb_HWC=rgb_HWC))
    return found, header["problem"]


def _new_pictures(path: Path, start_s: float, end_s: float) -> bytes:
    """For the child: a header of JSON, then the masks and the picture of each look."""
    watcher, looks, parts, num_bytes = Watcher(), [], [], 0
    with PyAVDecoder(path) as decoder:
        for time_s, rgb_HWC in _looks(decoder, start_s, end_s):
            grey_HW = np.asarray(Image.fromarray(rgb_HWC).convert("L"))
            changed_PQ, new_PQ, waited = watcher.look(grey_HW)
            if not changed_PQ.any():
                continue
            is_read = bool(new_PQ.any()) and num_bytes < _MAX_NEW
            size = list(rgb_HWC.shape) if is_read else None
            looks.append(
                {"time_s": max(start_s, time_s - waited * LOOK_S), "patches": list(changed_PQ.shape), "size": size}
            )
            parts += [np.packbits(changed_PQ).tobytes(), np.packbits(new_PQ).tobytes()]
            if is_read:
                parts.append(rgb_HWC.tobytes())
                num_bytes += rgb_HWC.nbytes
        header = json.dumps({"looks": looks, "problem": decoder.partial_reason}).encode()
    return _HEADER.pack(len(header)) + header + b"".join(parts)


def _looks(decoder: PyAVDecoder, start_s: float, end_s: float) -> Iterator[tuple[float, UInt8Array]]:
    times_s = np.arange(start_s, end_s, LOOK_S)
    for time_s, frame in zip(times_s.tolist(), decoder.frames_at(times_s), strict=False):
        image = Image.fromarray(frame.rgb_HWC)
        scale = MOST_PX / max(image.size)
        if scale < 1:
            image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
        yield time_s, np.asarray(image)


def _bits(answer: memoryview, at: int, shape: list[int]) -> tuple[BoolArray, int]:
    rows, columns = shape
    num_bytes = -(-rows * columns // 8)
    bits = np.unpackbits(np.frombuffer(answer[at : at + num_bytes], np.uint8), count=rows * columns)
    return bits.reshape(rows, columns).astype(np.bool_), at + num_bytes


def _differs(one_HW: UInt8Array, other_HW: UInt8Array) -> BoolArray:
    difference_HW = np.maximum(one_HW, other_HW) - np.minimum(one_HW, other_HW)
    return _patch_means(difference_HW.astype(np.float32)) > THRESHOLD_255


def _has_edges(grey_HW: UInt8Array) -> BoolArray:
    right_HW = np.abs(np.diff(grey_HW.astype(np.int16), axis=1, append=grey_HW[:, -1:].astype(np.int16)))
    return _patch_means((right_HW > _EDGE_255).astype(np.float32)) > _EDGE_SHARE


def _patch_means(values_HW: Float32Array) -> Float32Array:
    """Of each patch; those at the right and at the bottom edge may be smaller."""
    rows, columns = (np.arange(0, length, PATCH_PX) for length in values_HW.shape)
    sums_PQ = np.add.reduceat(np.add.reduceat(values_HW, rows, axis=0), columns, axis=1)
    heights_P, widths_Q = np.diff([*rows, values_HW.shape[0]]), np.diff([*columns, values_HW.shape[1]])
    return np.asarray(sums_PQ / (heights_P[:, None] * widths_Q), np.float32)


def _to_pixels(mask_PQ: BoolArray, shape: tuple[int, ...]) -> BoolArray:
    return mask_PQ.repeat(PATCH_PX, axis=0).repeat(PATCH_PX, axis=1)[: shape[0], : shape[1]]


def _grown(seeds_PQ: BoolArray, within_PQ: BoolArray) -> BoolArray:
    """The seeds and all patches that hang together with them from left to right: a line of text is read whole."""
    grown_PQ = seeds_PQ.copy()
    while True:
        wider_PQ = grown_PQ.copy()
        wider_PQ[:, 1:] |= grown_PQ[:, :-1]
        wider_PQ[:, :-1] |= grown_PQ[:, 1:]
        wider_PQ = (wider_PQ & within_PQ) | grown_PQ
        if (wider_PQ == grown_PQ).all():
            return grown_PQ
        grown_PQ = wider_PQ
