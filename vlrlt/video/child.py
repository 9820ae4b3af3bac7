"""The child that decodes: one video after another, under limits, for a DecodeProcess (worker.py).

The parent writes one JSON line per video to the child's stdin. The child answers on stdout with messages, each a
big-endian uint32, a JSON header of that many bytes and, for a clip, the raw bytes of its frames and times:

    {"kind": "info", ...}  {"kind": "clip", "span", "shape"} ...
    {"kind": "end", "partial_reason", "decode_s", "resize_s"}
    {"kind": "error", "error"} instead of the rest; {"kind": "alive"} when nothing else is ready

The child decodes ahead of the parent until its queue is full; then the parent's speed holds it back. Every frame is
decoded and resized once, however many clips share it. The child limits its own memory and CPU time, writes no files,
leaves Ctrl-C to its parent and ends with it.
"""

import dataclasses
import json
import logging
import os
import queue
import struct
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np

from vlrlt.errors import CorruptVideoError, DecodeError
from vlrlt.types import Clip, ClipSpan, Float64Array, Frame, UInt8Array
from vlrlt.video.clip_request import ClipRequest
from vlrlt.video.frame_skipping import EVERY_FRAME, choose_frame_skipping
from vlrlt.video.limits import MAX_MEMORY_BYTES, limit_cpu, limit_process
from vlrlt.video.pyav import PyAVDecoder
from vlrlt.video.sampling import frame_times
from vlrlt.video.still import StillDetector

HEADER_LENGTH = struct.Struct(">I")

_ALIVE_EVERY_S = 1.0
_MAX_CPU_S = 300.0
"""CPU time that any file may take, and per second of video on top:"""
_MAX_CPU_S_PER_S = 30.0
_MAX_AHEAD_BYTES = 64 * 2**20
"""Clips that the child prepares while the parent is busy."""


def main() -> None:
    """Answer requests until stdin closes."""
    limit_process(max_file_bytes=0)
    # FFmpeg's last error line goes into the reason of an exception, and nowhere else.
    av.logging.set_level(av.logging.ERROR)
    logging.getLogger("libav").disabled = True
    # What any library prints must not end up between the messages.
    answers = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_serve, args=(requests, answers), daemon=True).start()
    for line in sys.stdin.buffer:
        requests.put(line)
    os._exit(0)  # at once, even where FFmpeg hangs in the other thread


def _serve(requests: "queue.SimpleQueue[bytes]", answers: int) -> None:
    try:
        while True:
            _answer(json.loads(requests.get()), answers)
    finally:
        os._exit(1)  # a fault of ours; without this thread the process would only be silent


def _answer(request: dict[str, Any], answers: int) -> None:
    path = Path(request["path"])
    wanted = None if request["clips"] is None else ClipRequest.from_json(request["clips"], path=path)
    clip_bytes = wanted.sampling.num_frames * wanted.preprocess.image_size_px**2 * 3 if wanted else _MAX_AHEAD_BYTES
    outbox = _Outbox(answers, max_messages=max(2, _MAX_AHEAD_BYTES // clip_bytes))
    started_s = time.thread_time()
    try:
        limit_cpu(_MAX_CPU_S)
        with PyAVDecoder(path, on_packet=outbox.stay_alive) as decoder:
            info = dataclasses.asdict(decoder.info)
            del info["path"]  # the parent has it as it was given
            outbox.put({"kind": "info", "info": info})
            limit_cpu(_MAX_CPU_S + _MAX_CPU_S_PER_S * decoder.info.duration_s)
            resize_s = 0.0
            if wanted is not None:
                reader = _ClipReader(decoder, wanted)
                for clip in reader.clips():
                    span = (clip.span.start_s, clip.span.end_s)
                    outbox.put({"kind": "clip", "span": span, "shape": clip.rgb_THWC.shape}, clip.rgb_THWC, clip.pts_s)
                resize_s = reader.resize_s
            decode_s = time.thread_time() - started_s - resize_s
            end = {"partial_reason": decoder.partial_reason, "decode_s": decode_s, "resize_s": resize_s}
            outbox.put({"kind": "end", **end})
    except DecodeError as error:
        outbox.put({"kind": "error", "error": error.as_json()})
    except MemoryError:
        reason = f"it needs more than {MAX_MEMORY_BYTES / 2**30:.0f} GiB of memory"
        outbox.put({"kind": "error", "error": CorruptVideoError(path, stage="decode", reason=reason).as_json()})
    outbox.close()


class _Outbox:
    """Sends messages from a thread of its own; put() waits while too many are on their way."""

    def __init__(self, pipe: int, *, max_messages: int) -> None:
        self._pipe = pipe
        self._waiting: queue.Queue[list[bytes | memoryview] | None] = queue.Queue(max_messages)
        self._last_put_s = time.monotonic()
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def put(self, header: dict[str, Any], *arrays: np.ndarray[Any, Any]) -> None:
        text = json.dumps(header).encode()
        self._waiting.put(
            [HEADER_LENGTH.pack(len(text)) + text, *(array.data.cast("B") for array in arrays if array.size)]
        )
        self._last_put_s = time.monotonic()

    def stay_alive(self) -> None:
        """Tell the parent now and then that work goes on."""
        if time.monotonic() - self._last_put_s > _ALIVE_EVERY_S and self._waiting.empty():
            self.put({"kind": "alive"})

    def close(self) -> None:
        """Wait until everything is sent."""
        self._waiting.put(None)
        self._thread.join()

    def _send(self) -> None:
        try:
            while (parts := self._waiting.get()) is not None:
                for part in parts:
                    view = memoryview(part)
                    while view:
                        view = view[os.write(self._pipe, view) :]
        except OSError:
            os._exit(1)  # nobody listens any more


class _ClipReader:
    """The clips that a request asks for; of a damaged video, those that its frames can fill."""

    def __init__(self, decoder: PyAVDecoder, request: ClipRequest) -> None:
        self.resize_s = 0.0
        self._decoder = decoder
        self._request = request
        self._detector = None if request.still_255 is None else StillDetector(request.still_255)
        spans = request.spans(decoder.info.duration_s)
        self._skipping = choose_frame_skipping(
            np.ravel([frame_times(span, request.sampling.num_frames) for span in spans]),
            key_times_s=decoder.key_times_s,
            average_fps=decoder.info.average_fps,
            max_shift_s=request.max_shift_s,
        )

    def clips(self) -> Iterator[Clip]:
        spans = self._request.spans(self._decoder.info.duration_s)
        seed_start_s = self._request.seed_start_s
        if seed_start_s is not None and self._detector is not None:
            seed = min(spans, key=lambda span: abs(span.start_s - seed_start_s))
            for clip in self._filled((seed,)):
                self._detector.is_still(clip.rgb_THWC)
        num_done = self._request.first_clip
        wanted = len(spans[: self._request.stop_clip])
        for skipping in dict.fromkeys((self._skipping, EVERY_FRAME)):  # what key frames do not fill, all frames may
            self._skipping = skipping
            for clip in self._filled(spans[num_done:wanted]) if num_done < wanted else ():
                num_done += 1
                yield self._without_the_still(clip)
        if num_done < wanted:
            decodable = self._request.spans(self._decoder.decoded_until_s)
            yield from map(self._without_the_still, self._filled(decodable[num_done : self._request.stop_clip]))

    def _without_the_still(self, clip: Clip) -> Clip:
        if self._detector is None or not self._detector.is_still(clip.rgb_THWC):
            return clip
        return Clip(clip.span, clip.rgb_THWC[:0], clip.pts_s[:0])

    def _filled(self, spans: tuple[ClipSpan, ...]) -> Iterator[Clip]:
        """Decode in one pass, resizing each frame once; ends at the first span that cannot be filled."""
        num_frames, side_px = self._request.sampling.num_frames, self._request.preprocess.image_size_px
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
                yield Clip(spans[row], *filling.pop(row))

    def _resized(self, frame: Frame) -> UInt8Array:
        started_s = time.thread_time()
        try:
            return self._request.preprocess(frame.rgb_HWC)
        except Exception as error:  # Pillow and NumPy on absurd sizes: MemoryError, ValueError, OverflowError
            reason = f"{type(error).__name__}: {error}"
            raise CorruptVideoError(self._decoder.info.path, stage="preprocess", reason=reason) from error
        finally:
            self.resize_s += time.thread_time() - started_s


if __name__ == "__main__":
    main()
