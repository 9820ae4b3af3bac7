"""Decoding in a child process: a crash, a hang or a memory bomb in FFmpeg costs one file, never the run.

The parent (DecodeProcess) writes one JSON line per video to the child's stdin: path and, unless it is only probed,
sampling, preprocess and within. The child (main) answers on stdout with messages, each a big-endian uint32, a JSON
header of that many bytes and, for a clip, the raw bytes of its frames and times:

    {"kind": "info", ...}  {"kind": "clip", "span", "shape"} ...  {"kind": "end", "partial_reason"}
    {"kind": "error", "error", "stage", "reason"} instead of the rest; {"kind": "alive"} when nothing else is ready

The child decodes ahead of the parent until its queue is full; then the parent's pace holds it back. Every frame is
decoded and resized once, however many clips share it. The child limits its own memory, writes no files, leaves Ctrl-C
to its parent and ends with it.
"""

import dataclasses
import json
import logging
import os
import queue
import resource
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast

import av
import numpy as np

from vlrlt.errors import ConfigError, CorruptVideoError, DecodeError, DecodeStage, DecodeTimeoutError, NotAVideoError
from vlrlt.types import Clip, ClipSpan, Float64Array, Frame, UInt8Array, VideoInfo
from vlrlt.video.pyav import PyAVDecoder
from vlrlt.video.sampling import ClipSampling, clip_spans, frame_times
from vlrlt.video.transforms import Preprocess

DEADLINE_S = 60.0
"""How long the child may be silent; a slow file is not silent, a hanging decoder is."""

_ALIVE_EVERY_S = 1.0
_MAX_MEMORY_BYTES = 4 * 2**30
_MAX_AHEAD_BYTES = 64 * 2**20
"""Clips that the child prepares while the parent is busy."""

_EXIT_S = 5.0
"""How long a child that closed its pipe may take to exit."""

_HEADER_LENGTH = struct.Struct(">I")
_ERRORS: dict[str, type[DecodeError]] = {error.__name__: error for error in (NotAVideoError, CorruptVideoError)}


class DecodeProcess:
    """A child process that decodes videos one after another; a context manager.

    It starts with the first video and again after it was lost. A video that is not iterated to its end is dropped, with
    the child, when the next one is asked for.
    """

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._answers: _Answers | None = None

    @property
    def pid(self) -> int | None:
        """The child's process id while there is one."""
        return None if self._child is None else self._child.pid

    def probe(self, path: Path, *, deadline_s: float = DEADLINE_S) -> VideoInfo:
        """Look at a video file without decoding more than its first frame.

        Raises:
            DecodeError: as clips.
        """
        answers, info = self._ask(path, {}, deadline_s)
        answers.receive(stage="probe")
        return info

    def clips(
        self,
        path: Path,
        *,
        sampling: ClipSampling,
        preprocess: Preprocess,
        within: ClipSpan | None = None,
        deadline_s: float = DEADLINE_S,
    ) -> "DecodedVideo":
        """Start decoding a video.

        Args:
            path: a regular local file.
            sampling: how it is cut into clips.
            preprocess: from a decoded frame to the encoder's square.
            within: the part that is cut into clips, up to the end of the video at most; None: all of it.
            deadline_s: how long the child may be silent, > 0.

        Returns:
            The video's facts at once and its clips by iterating.

        Raises:
            NotAVideoError: not a regular file, no known container, or no video stream.
            CorruptVideoError: no frame of it can be decoded.
            DecodeTimeoutError: the child was silent for deadline_s, or died.
            ConfigError: `within` begins after the end of the video.
        """
        request = {
            "sampling": dataclasses.asdict(sampling),
            "preprocess": preprocess.as_json(),
            "within": None if within is None else dataclasses.astuple(within),
        }
        answers, info = self._ask(path, request, deadline_s)
        spans = _spans(info.duration_s, sampling, within)
        if not spans:
            raise ConfigError(f"{path} lasts {info.duration_s:.2f} s, so nothing of it lies in {within}")
        return DecodedVideo(info, spans, answers)

    def _ask(self, path: Path, request: dict[str, Any], deadline_s: float) -> "tuple[_Answers, VideoInfo]":
        if self._child is None or self._child.poll() is not None or (self._answers and not self._answers.complete):
            self.close()
            self._child = _start_child()
        self._answers = _Answers(self._child, path, deadline_s)
        self._answers.ask({"path": str(path.absolute()), **request})
        header = self._answers.receive(stage="open")
        return self._answers, VideoInfo(path=path, **header["info"])

    def close(self) -> None:
        """End the child; calling it twice is fine."""
        if self._child is not None:
            _kill(self._child)
            self._child = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class DecodedVideo:
    """One video on its way out of the decoder process; iterate its clips once.

    Attributes:
        info: what the file holds.
        spans: the clips that it should give, in order; a damaged file gives fewer, the last of them moved or cut so
            that all its frames are real (it may reach half a frame distance past what can be decoded).
        partial_reason: after iterating, why frames that the file promises are missing, or None.
    """

    def __init__(self, info: VideoInfo, spans: tuple[ClipSpan, ...], answers: "_Answers") -> None:
        self.info = info
        self.spans = spans
        self.partial_reason: str | None = None
        self._answers = answers

    def __iter__(self) -> Iterator[Clip]:
        """Yield each clip as soon as it is decoded.

        Raises:
            CorruptVideoError: a frame cannot be converted or resized.
            DecodeTimeoutError: the child was silent for too long, or died.
        """
        while (header := self._answers.receive(stage="decode"))["kind"] == "clip":
            rgb_THWC: UInt8Array = np.empty(header["shape"], np.uint8)
            pts_s: Float64Array = np.empty(len(rgb_THWC), np.float64)
            for array in (rgb_THWC, pts_s):
                self._answers.read_into(array.data.cast("B"), stage="decode")
            yield Clip(ClipSpan(*header["span"]), rgb_THWC, pts_s)
        self.partial_reason = header["partial_reason"]


class _Answers:
    """One request to the child and what comes back."""

    def __init__(self, child: subprocess.Popen[bytes], path: Path, deadline_s: float) -> None:
        self.complete = False
        self._child = child
        self._stdin = cast(IO[bytes], child.stdin)
        self._stdout = cast(IO[bytes], child.stdout).fileno()
        self._path = path
        self._deadline_s = deadline_s

    def ask(self, request: dict[str, Any]) -> None:
        try:
            self._stdin.write(json.dumps(request).encode() + b"\n")
        except BrokenPipeError as error:
            raise self._lost("open") from error

    def receive(self, *, stage: DecodeStage) -> dict[str, Any]:
        """The next header; raises the DecodeError that it carries."""
        header: dict[str, Any] = {"kind": "alive"}
        while header["kind"] == "alive":
            length = self._read(_HEADER_LENGTH.size, stage=stage)
            header = json.loads(self._read(*_HEADER_LENGTH.unpack(length), stage=stage))
        self.complete = header["kind"] in ("end", "error")
        if header["kind"] == "error":
            raise _ERRORS[header["error"]](self._path, stage=header["stage"], reason=header["reason"])
        return header

    def read_into(self, view: memoryview, *, stage: DecodeStage) -> None:
        """Fill a buffer from the pipe; every byte puts the deadline off."""
        readable = select.poll()
        readable.register(self._stdout, select.POLLIN)
        while view:
            if not readable.poll(self._deadline_s * 1000):
                raise self._lost(stage, reason=f"the decoder process said nothing for {self._deadline_s:g} s")
            num_bytes = os.readv(self._stdout, [view])
            if num_bytes == 0:
                raise self._lost(stage)
            view = view[num_bytes:]

    def _read(self, num_bytes: int, *, stage: DecodeStage) -> bytes:
        buffer = bytearray(num_bytes)
        self.read_into(memoryview(buffer), stage=stage)
        return bytes(buffer)

    def _lost(self, stage: DecodeStage, *, reason: str | None = None) -> DecodeTimeoutError:
        """Make sure that the child is gone, and say why."""
        if reason is None:
            with suppress(subprocess.TimeoutExpired):
                self._child.wait(_EXIT_S)
        _kill(self._child)
        if reason is None:
            code = self._child.returncode
            reason = f"the decoder process died ({signal.Signals(-code).name if code < 0 else f'exit code {code}'})"
        return DecodeTimeoutError(self._path, stage=stage, reason=reason)


def _start_child() -> subprocess.Popen[bytes]:
    # -P: nothing in the working directory may stand in for a module of the child.
    paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-P", "-m", "vlrlt.video.worker"]
    pipe = subprocess.PIPE
    return subprocess.Popen(  # noqa: S603 - our own interpreter and module
        command, bufsize=0, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=environment
    )


def _kill(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.communicate()


# From here on: the child.


def main() -> None:
    """Answer requests until stdin closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for limit, maximum in (
        (resource.RLIMIT_AS, _MAX_MEMORY_BYTES),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
    ):
        _, hard = resource.getrlimit(limit)
        maximum = maximum if hard == resource.RLIM_INFINITY else min(maximum, hard)
        resource.setrlimit(limit, (maximum, maximum))
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
    clip_bytes = _MAX_AHEAD_BYTES
    if "sampling" in request:
        clip_bytes = request["sampling"]["num_frames"] * request["preprocess"]["image_size_px"] ** 2 * 3
    outbox = _Outbox(answers, max_messages=max(2, _MAX_AHEAD_BYTES // clip_bytes))
    try:
        with PyAVDecoder(Path(request["path"]), on_packet=outbox.stay_alive) as decoder:
            info = dataclasses.asdict(decoder.info)
            del info["path"]  # the parent has it as it was given
            outbox.put({"kind": "info", "info": info})
            for clip in _clips(decoder, request):
                span = (clip.span.start_s, clip.span.end_s)
                outbox.put({"kind": "clip", "span": span, "shape": clip.rgb_THWC.shape}, clip.rgb_THWC, clip.pts_s)
            outbox.put({"kind": "end", "partial_reason": decoder.partial_reason})
    except DecodeError as error:
        fields = {"error": type(error).__name__, "stage": error.stage, "reason": error.reason}
        outbox.put({"kind": "error", **fields})
    except MemoryError:
        reason = f"it needs more than {_MAX_MEMORY_BYTES / 2**30:.0f} GiB of memory"
        outbox.put({"kind": "error", "error": CorruptVideoError.__name__, "stage": "decode", "reason": reason})
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
        self._waiting.put([_HEADER_LENGTH.pack(len(text)) + text, *(array.data.cast("B") for array in arrays)])
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


def _clips(decoder: PyAVDecoder, request: dict[str, Any]) -> Iterator[Clip]:
    """The clips that are asked for; of a damaged video, those that its frames can fill."""
    if "sampling" not in request:
        return
    sampling = ClipSampling(**request["sampling"])
    preprocess = Preprocess.from_json(request["preprocess"])
    within = None if request["within"] is None else ClipSpan(*request["within"])
    spans = _spans(decoder.info.duration_s, sampling, within)
    num_whole = 0
    for clip in _filled(spans, decoder, sampling, preprocess):
        num_whole += 1
        yield clip
    if num_whole < len(spans):
        decodable = _spans(decoder.decoded_until_s, sampling, within)
        yield from _filled(decodable[num_whole:], decoder, sampling, preprocess)


def _spans(duration_s: float, sampling: ClipSampling, within: ClipSpan | None) -> tuple[ClipSpan, ...]:
    """Clips of a video of this length; none where `within` lies behind its end."""
    if within is None:
        return clip_spans(duration_s, sampling)
    length_s = min(within.end_s, duration_s) - within.start_s
    spans = clip_spans(length_s, sampling) if length_s > 0 else ()
    return tuple(ClipSpan(within.start_s + span.start_s, within.start_s + span.end_s) for span in spans)


def _filled(
    spans: tuple[ClipSpan, ...], decoder: PyAVDecoder, sampling: ClipSampling, preprocess: Preprocess
) -> Iterator[Clip]:
    """Decode in one pass, resizing each frame once; ends at the first span that cannot be filled."""
    num_frames, side_px = sampling.num_frames, preprocess.image_size_px
    times_ST = np.array([frame_times(span, num_frames) for span in spans])
    order = np.argsort(times_ST, axis=None, kind="stable")
    filling: dict[int, tuple[UInt8Array, Float64Array]] = {}
    previous: Frame | None = None
    for position, frame in zip(order.tolist(), decoder.frames_at(times_ST.ravel()[order]), strict=False):
        if frame is not previous:
            previous, square_HWC = frame, _resized(frame, decoder.info.path, preprocess)
        row, column = divmod(position, num_frames)
        if row not in filling:
            filling[row] = np.empty((num_frames, side_px, side_px, 3), np.uint8), np.empty(num_frames)
        rgb_THWC, pts_s = filling[row]
        rgb_THWC[column], pts_s[column] = square_HWC, frame.pts_s
        if column == num_frames - 1:
            yield Clip(spans[row], *filling.pop(row))


def _resized(frame: Frame, path: Path, preprocess: Preprocess) -> UInt8Array:
    try:
        return preprocess(frame.rgb_HWC)
    except Exception as error:  # Pillow and NumPy on absurd sizes: MemoryError, ValueError, OverflowError
        raise CorruptVideoError(path, stage="preprocess", reason=f"{type(error).__name__}: {error}") from error


if __name__ == "__main__":
    main()
