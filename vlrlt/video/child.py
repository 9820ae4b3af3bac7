"""The child that decodes: one video after another, under limits, for a DecodeProcess (worker.py).

The parent writes one JSON line per video to the child's stdin. The child answers on stdout with messages, each a
big-endian uint32, a JSON header of that many bytes and, for a clip, the raw bytes of its frames and times:

    {"kind": "info", ...}  {"kind": "clip", "span", "own", "shape", "num_looks", "num_static"} ...
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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np

from vlrlt.errors import CorruptVideoError, DecodeError
from vlrlt.video.clip_request import ClipRequest
from vlrlt.video.limits import MAX_MEMORY_BYTES, limit_cpu, limit_process
from vlrlt.video.motion import MotionClips
from vlrlt.video.pyav import PyAVDecoder
from vlrlt.video.sampling import MotionSampling
from vlrlt.video.uniform import UniformClips

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
    clip_bytes = wanted.frames_per_clip * wanted.preprocess.image_size_px**2 * 3 if wanted else _MAX_AHEAD_BYTES
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
                clips = _clips(decoder, wanted, on_packet=outbox.stay_alive)
                for clip in clips:
                    header = {
                        "kind": "clip",
                        "span": dataclasses.astuple(clip.span),
                        "own": dataclasses.astuple(clip.own),
                        "shape": clip.rgb_THWC.shape,
                        "num_looks": clip.num_looks,
                        "num_static": clip.num_static,
                    }
                    outbox.put(header, clip.rgb_THWC, clip.pts_s, clip.starts_s, clip.num_looks_T)
                resize_s = clips.resize_s
            decode_s = time.thread_time() - started_s - resize_s
            end = {"partial_reason": decoder.partial_reason, "decode_s": decode_s, "resize_s": resize_s}
            outbox.put({"kind": "end", **end})
    except DecodeError as error:
        outbox.put({"kind": "error", "error": error.as_json()})
    except MemoryError:
        reason = f"it needs more than {MAX_MEMORY_BYTES / 2**30:.0f} GiB of memory"
        outbox.put({"kind": "error", "error": CorruptVideoError(path, stage="decode", reason=reason).as_json()})
    outbox.close()


def _clips(decoder: PyAVDecoder, request: ClipRequest, *, on_packet: Callable[[], None]) -> UniformClips | MotionClips:
    if isinstance(request.sampling, MotionSampling):
        return MotionClips(decoder, request, on_packet=on_packet)
    return UniformClips(decoder, request)


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


if __name__ == "__main__":
    main()
