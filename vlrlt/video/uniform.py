"""Clips at equal distances: each of so many seconds, looked at so many times, as a model was trained on them."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import cast

import numpy as np

from vlrlt.errors import CorruptVideoError
from vlrlt.types import Clip, ClipSpan, Float64Array, Frame, UInt8Array
from vlrlt.video.clip_request import ClipRequest
from vlrlt.video.frame_skipping import EVERY_FRAME, choose_frame_skipping
from vlrlt.video.pyav import PyAVDecoder
from vlrlt.video.sampling import ClipSampling, clips_within, frame_times, own_spans
from vlrlt.video.static import StaticDetector


class UniformClips:
    """The clips that a request asks for; of a damaged video, those that its frames can fill.

    Attributes:
        resize_s: CPU seconds spent on resizing so far.
    """

    def __init__(self, decoder: PyAVDecoder, request: ClipRequest) -> None:
        self.resize_s = 0.0
        self._decoder = decoder
        self._request = request
        self._detector: StaticDetector | None = None
        self._chunk = -1
        self._sampling = cast(ClipSampling, request.sampling)
        spans = self._spans(decoder.info.duration_s)
        times_s = np.ravel([frame_times(span, self._sampling.num_frames) for span in spans])
        self._skipping = choose_frame_skipping(
            times_s,
            key_times_s=decoder.key_times_s,
            average_fps=decoder.info.average_fps,
            max_shift_s=request.max_shift_s,
        )

    def __iter__(self) -> Iterator[Clip]:
        spans = self._spans(self._decoder.info.duration_s)
        owns = own_spans(spans)
        wanted = [number for number, own in enumerate(owns) if self._request.wants(own)]
        answered_to_s = 0.0
        num_done = 0
        for skipping in dict.fromkeys((self._skipping, EVERY_FRAME)):  # what key frames do not fill, all frames may
            self._skipping = skipping
            left = wanted[num_done:]
            for clip in self._filled([spans[number] for number in left], [owns[number] for number in left]):
                num_done += 1
                answered_to_s = clip.own.end_s
                yield self._without_the_static(clip)
        if num_done < len(wanted):
            spans = self._spans(self._decoder.decoded_until_s)
            owns = own_spans(spans)
            left = [number for number in wanted[num_done:] if number < len(spans)]
            for clip in self._filled([spans[number] for number in left], [owns[number] for number in left]):
                if clip.own.end_s > answered_to_s:
                    own = ClipSpan(max(answered_to_s, clip.own.start_s), clip.own.end_s)
                    yield self._without_the_static(replace(clip, own=own))

    def _spans(self, duration_s: float) -> tuple[ClipSpan, ...]:
        start_s, within = self._decoder.info.start_s, self._request.within
        if within is None and 0 < start_s < duration_s:
            within = ClipSpan(start_s, duration_s)
        return clips_within(duration_s, self._sampling, within)

    def _without_the_static(self, clip: Clip) -> Clip:
        if self._request.static_255 is None:
            return clip
        chunk = self._request.chunk_of(clip.own.start_s)
        if self._detector is None or chunk != self._chunk:
            self._detector, self._chunk = StaticDetector(self._request.static_255), chunk
        if not self._detector.is_static(clip.rgb_THWC):
            return clip
        none = {name: getattr(clip, name)[:0] for name in ("rgb_THWC", "pts_s", "starts_s", "num_looks_T")}
        return replace(clip, num_static=len(clip.rgb_THWC), **none)

    def _filled(self, spans: list[ClipSpan], owns: list[ClipSpan]) -> Iterator[Clip]:
        """Decode in one pass, resizing each frame once; ends at the first span that cannot be filled."""
        if not spans:
            return
        num_frames, side_px = self._sampling.num_frames, self._request.preprocess.image_size_px
        times_ST = np.array([frame_times(span, num_frames) for span in spans])
        order = np.argsort(times_ST, axis=None, kind="stable")
        filling: dict[int, tuple[UInt8Array, Float64Array]] = {}
        previous: Frame | None = None
        frames = self._decoder.frames_at(
            times_ST.ravel()[order], skipping=self._skipping, max_shift_s=self._request.max_shift_s
        )
        for position, frame in zip(order.tolist(), frames, strict=False):
            if frame is not previous:
                previous, square_HWC = frame, self._resized(frame)
            row, column = divmod(position, num_frames)
            if row not in filling:
                filling[row] = np.empty((num_frames, side_px, side_px, 3), np.uint8), np.empty(num_frames)
            rgb_THWC, pts_s = filling[row]
            rgb_THWC[column], pts_s[column] = square_HWC, frame.pts_s
            if column == num_frames - 1:
                yield _clip(spans[row], owns[row], *filling.pop(row))

    def _resized(self, frame: Frame) -> UInt8Array:
        started_s = time.thread_time()
        try:
            return self._request.preprocess(frame.rgb_HWC)
        except Exception as error:  # Pillow and NumPy on absurd sizes: MemoryError, ValueError, OverflowError
            reason = f"{type(error).__name__}: {error}"
            raise CorruptVideoError(self._decoder.info.path, stage="preprocess", reason=reason) from error
        finally:
            self.resize_s += time.thread_time() - started_s


def _clip(span: ClipSpan, own: ClipSpan, rgb_THWC: UInt8Array, pts_s: Float64Array) -> Clip:
    num_frames = len(rgb_THWC)
    step_s = span.duration_s / num_frames
    return Clip(
        span=span,
        own=own,
        rgb_THWC=rgb_THWC,
        pts_s=pts_s,
        starts_s=np.linspace(span.start_s, span.end_s, num_frames, endpoint=False),
        num_looks_T=np.ones(num_frames, np.int64),
        num_looks=max(1, round(own.duration_s / step_s)),
        num_static=0,
    )
