"""Clips of looks that follow motion: chosen from the packets (looks.py), decoded piece by piece.

Looks in which nothing has changed since the one before are left out: a small luma picture, taken before any conversion
to RGB, tells. Clips hold so many looks as an image tower encodes well together; they have no length of their own.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import cast

import av
import numpy as np

from vlrlt.errors import CorruptVideoError
from vlrlt.types import NO_FRAMES, Clip, ClipSpan, Float32Array, UInt8Array
from vlrlt.video.clip_request import ClipRequest
from vlrlt.video.looks import plan_looks
from vlrlt.video.packets import read_packets
from vlrlt.video.pieces import Picture, PieceDecoder
from vlrlt.video.pyav import PyAVDecoder, upright_rgb
from vlrlt.video.sampling import CLIP_LOOKS, MotionSampling

_LUMA_SIDE_PX = 56
"""Shorter side of the small luma picture; four of its pixels by four are a patch of most towers."""
_UNSEEN_S = 0.5
"""What a burst has ended may have begun so long before the last picture of it, at most."""


@dataclass(frozen=True)
class _Look:
    """One look that is not left out."""

    start_s: float
    pts_s: float
    square_HWC: UInt8Array


@dataclass
class _Window:
    """The clip at hand."""

    looks: list[_Look] = field(default_factory=list)
    num_looks: list[int] = field(default_factory=list)
    static_from_s: float | None = None
    """Where looks that were left out begin, if there is no look in the window yet."""
    num_static: int = 0

    def add(self, look: _Look) -> None:
        self.looks.append(look)
        self.num_looks.append(1)

    def leave_out(self, start_s: float) -> None:
        self.num_static += 1
        if self.num_looks:
            self.num_looks[-1] += 1
        elif self.static_from_s is None:
            self.static_from_s = start_s

    def closed(self, end_s: float) -> Clip:
        start_s = self.looks[0].start_s if self.looks else self.static_from_s or 0.0
        span = ClipSpan(start_s, end_s)
        return Clip(
            span=span,
            own=span,
            rgb_THWC=np.stack([look.square_HWC for look in self.looks]) if self.looks else NO_FRAMES,
            pts_s=np.array([look.pts_s for look in self.looks], np.float64),
            starts_s=np.array([look.start_s for look in self.looks], np.float64),
            num_looks_T=np.array(self.num_looks, np.int64),
            num_looks=sum(self.num_looks) or self.num_static,
            num_static=self.num_static,
        )


class MotionClips:
    """The clips that a request asks for; looks that cannot be decoded are missing, and counted.

    Args:
        decoder: the video.
        request: its sampling is a MotionSampling.
        on_packet: called for every packet read.

    Attributes:
        resize_s: CPU seconds spent on conversion and resizing so far.
    """

    def __init__(self, decoder: PyAVDecoder, request: ClipRequest, *, on_packet: Callable[[], None]) -> None:
        self.resize_s = 0.0
        self._decoder = decoder
        self._request = request
        self._on_packet = on_packet
        self._luma_HW: Float32Array | None = None

    def __iter__(self) -> Iterator[Clip]:
        path, sampling = self._decoder.info.path, cast(MotionSampling, self._request.sampling)
        packets = read_packets(path, first_ticks=self._decoder.first_ticks, on_packet=self._on_packet)
        plan = plan_looks(packets, sampling)
        starts_s = self._decoder.info.start_s + plan.starts_s(packets)
        wanted = [at for at, start_s in enumerate(starts_s.tolist()) if self._wants(start_s)]
        if not wanted:
            return
        after_s = starts_s[wanted[-1] + 1] if wanted[-1] + 1 < len(starts_s) else self._decoder.info.duration_s
        place_of = {int(plan.picture_L[at]): at for at in wanted}
        with PieceDecoder(path, packets, on_packet=self._on_packet) as pieces:
            yield from self._clips(
                (
                    (float(starts_s[at]), bool(plan.is_change_L[at]), picture)
                    for picture in pieces.pictures(list(place_of))
                    for at in (place_of[picture.place],)
                ),
                end_s=float(after_s),
            )
            if pieces.num_lost or pieces.first_error is not None:
                self._tell_lost(pieces, num_wanted=len(wanted))

    def _wants(self, start_s: float) -> bool:
        within = self._request.within
        is_within = within is None or within.start_s <= start_s < within.end_s
        return is_within and self._request.wants(ClipSpan(start_s, start_s + 1.0))

    def _tell_lost(self, pieces: PieceDecoder, *, num_wanted: int) -> None:
        why = pieces.first_error or "the decoder returned no frame"
        lost = f"packets cannot be decoded, and {pieces.num_lost} of {num_wanted} looks are missing: {why}"
        if pieces.num_lost == num_wanted:
            raise CorruptVideoError(self._decoder.info.path, stage="decode", reason=lost)
        self._decoder.partial_reason = self._decoder.partial_reason or lost

    def _clips(self, looks: Iterable[tuple[float, bool, Picture]], *, end_s: float) -> Iterator[Clip]:
        window, chunk = _Window(), -1
        for start_s, is_change, picture in looks:
            if self._request.chunk_of(start_s) != chunk or len(window.looks) == CLIP_LOOKS:
                if chunk >= 0:
                    yield window.closed(start_s)
                window = _Window()
            if self._request.chunk_of(start_s) != chunk:
                chunk, self._luma_HW = self._request.chunk_of(start_s), None
            before_HW, luma_HW = self._luma_HW, _luma(picture.frame)
            unseen = self._unseen(picture, luma_HW) if is_change else None
            if unseen is not None:
                window.add(self._look(unseen, self._unseen_since_s(unseen, window, start_s)))
            elif before_HW is not None and self._is_static(luma_HW, before_HW):
                window.leave_out(start_s)
                continue
            if window.static_from_s is not None:
                yield window.closed(start_s)
                window = _Window()
            self._luma_HW = luma_HW
            window.add(self._look(picture.frame, start_s))
        if chunk >= 0:
            yield window.closed(end_s)

    def _is_static(self, luma_HW: Float32Array, before_HW: Float32Array) -> bool:
        static_255 = self._request.static_255
        return static_255 is not None and float(np.abs(luma_HW - before_HW).max()) <= static_255

    def _unseen(self, picture: Picture, luma_HW: Float32Array) -> av.VideoFrame | None:
        """What a burst has ended without having begun with one: a flat picture costs no bytes when it comes."""
        if picture.before is None or self._luma_HW is None:
            return None
        before_HW = _luma(picture.before)
        apart = _distance(luma_HW, self._luma_HW)
        differs = _distance(before_HW, self._luma_HW) > apart and _distance(before_HW, luma_HW) > apart
        return picture.before if differs else None

    def _unseen_since_s(self, frame: av.VideoFrame, window: _Window, start_s: float) -> float:
        """When it may have begun: not before the last look."""
        shown_s = min(self._decoder.shown_s(frame), start_s)
        last_s = window.looks[-1].pts_s if window.looks else window.static_from_s or 0.0
        return max((last_s + start_s) / 2, shown_s - _UNSEEN_S)

    def _look(self, frame: av.VideoFrame, start_s: float) -> _Look:
        started_s = time.thread_time()
        path = self._decoder.info.path
        try:
            square_HWC = self._request.preprocess(upright_rgb(frame, path))
        except CorruptVideoError:
            raise
        except Exception as error:  # Pillow and NumPy on absurd sizes: MemoryError, ValueError, OverflowError
            reason = f"{type(error).__name__}: {error}"
            raise CorruptVideoError(path, stage="preprocess", reason=reason) from error
        finally:
            self.resize_s += time.thread_time() - started_s
        return _Look(start_s, self._decoder.shown_s(frame), square_HWC)


def _luma(frame: av.VideoFrame) -> Float32Array:
    """A small picture of its brightness."""
    scale = _LUMA_SIDE_PX / min(frame.width, frame.height)
    width_px, height_px = (max(_LUMA_SIDE_PX, round(side_px * scale)) for side_px in (frame.width, frame.height))
    small = frame.reformat(width=width_px, height=height_px, format="gray", interpolation="AREA", threads=1)
    return small.to_ndarray().astype(np.float32)


def _distance(one_HW: Float32Array, other_HW: Float32Array) -> float:
    return float(np.abs(one_HW - other_HW).mean())
