"""Decoding in a child process: a crash, a hang or a memory bomb in FFmpeg costs one file, never the run.

DecodeProcess is the parent's side; what the child does and how they talk is in child.py. A child serves many files and
is replaced after so many of them, or when it has grown: decoders leak.
"""

import json
import os
import select
import subprocess
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Self, cast

import numpy as np

from vlrlt.errors import ConfigError, DecodeError, DecodeStage, DecodeTimeoutError
from vlrlt.types import Clip, ClipSpan, UInt8Array, VideoInfo
from vlrlt.video.child import HEADER_LENGTH
from vlrlt.video.clip_request import ClipRequest
from vlrlt.video.limits import kill, rss_bytes, start_child, why_it_died
from vlrlt.video.sampling import ClipSampling
from vlrlt.video.transforms import Preprocess

DEADLINE_S = 60.0
"""How long the child may be silent; a slow file is not silent, a hanging decoder is."""

_MAX_VIDEOS = 50
_MAX_IDLE_BYTES = 2**30
"""A child that has served so many videos, or is so large between two, is replaced."""


class DecodeProcess:
    """A child process that decodes videos one after another; a context manager.

    It starts with the first video and again after it was lost. A video that is not iterated to its end is dropped, with
    the child, when the next one is asked for.
    """

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._answers: _Answers | None = None
        self._num_served = 0

    @property
    def pid(self) -> int | None:
        """The child's process id while there is one."""
        return None if self._child is None else self._child.pid

    def probe(self, path: Path, *, deadline_s: float = DEADLINE_S) -> VideoInfo:
        """Look at a video file without decoding more than its first frame.

        Raises:
            DecodeError: as clips.
        """
        self._send(path, None, deadline_s)
        answers = cast(_Answers, self._answers)
        info = answers.receive_info()
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
        request = ClipRequest(path=path, sampling=sampling, preprocess=preprocess, within=within)
        self.start(request, deadline_s=deadline_s)
        return self.open(request)

    def start(self, request: ClipRequest, *, deadline_s: float = DEADLINE_S) -> None:
        """Let the child begin, without waiting for it; open() goes on from here."""
        self._send(request.path, request, deadline_s)

    def open(self, request: ClipRequest) -> "DecodedVideo":
        """The video that was started last; raises as clips."""
        answers = cast(_Answers, self._answers)
        info = answers.receive_info()
        if request.within is not None and request.within.start_s >= info.duration_s:
            raise ConfigError(
                f"{request.path} lasts {info.duration_s:.2f} s, so it has no frame in "
                f"{request.within.start_s:.2f}-{request.within.end_s:.2f} s"
            )
        return DecodedVideo(info, answers)

    def _send(self, path: Path, clips: ClipRequest | None, deadline_s: float) -> None:
        if self._child is None or self._answers is None or not self._answers.complete or self._is_worn_out():
            self.close()
            self._child, self._num_served = start_child("vlrlt.video.child"), 0
        self._num_served += 1
        self._answers = _Answers(self._child, path, deadline_s)
        self._answers.ask({"path": str(path.absolute()), "clips": None if clips is None else clips.as_json()})

    def _is_worn_out(self) -> bool:
        child = cast("subprocess.Popen[bytes]", self._child)
        return child.poll() is not None or self._num_served >= _MAX_VIDEOS or rss_bytes(child.pid) > _MAX_IDLE_BYTES

    def close(self) -> None:
        """End the child; calling it twice is fine."""
        if self._child is not None:
            kill(self._child)
            self._child = self._answers = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class DecodePool:
    """Children that decode the next videos while one is being used; a context manager.

    Args:
        num_processes: how many videos are decoded at the same time.
    """

    def __init__(self, num_processes: int) -> None:
        self._free = deque(DecodeProcess() for _ in range(num_processes))
        self._all = tuple(self._free)

    def ordered(self, requests: Iterable[ClipRequest]) -> Iterator[tuple[DecodeProcess, ClipRequest]]:
        """Start requests ahead and give them in their order, each with the process whose open() gives the video.

        The next one may be asked for as soon as the video before it is used up or given up.
        """
        started: deque[tuple[DecodeProcess, ClipRequest]] = deque()
        coming = iter(requests)
        while True:
            while self._free and (request := next(coming, None)) is not None:
                process = self._free.popleft()
                with suppress(DecodeTimeoutError):  # a child that is gone says so when it is asked for its answer
                    process.start(request)
                started.append((process, request))
            if not started:
                return
            process, request = started.popleft()
            yield process, request
            self._free.append(process)

    def close(self) -> None:
        """End all children; calling it twice is fine."""
        for process in self._all:
            process.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class DecodedVideo:
    """One video on its way out of the decoder process; iterate its clips once.

    Attributes:
        info: what the file holds.
        partial_reason: after iterating, why frames that the file promises are missing, or None.
        decode_s, resize_s: after iterating, CPU seconds that the child has spent.
    """

    def __init__(self, info: VideoInfo, answers: "_Answers") -> None:
        self.info = info
        self.partial_reason: str | None = None
        self.decode_s = self.resize_s = 0.0
        self._answers = answers

    def __iter__(self) -> Iterator[Clip]:
        """Yield each clip as soon as it is decoded.

        Raises:
            CorruptVideoError: a frame cannot be converted or resized.
            DecodeTimeoutError: the child was silent for too long, or died.
        """
        while (header := self._answers.receive(stage="decode"))["kind"] == "clip":
            rgb_THWC: UInt8Array = np.empty(header["shape"], np.uint8)
            pts_s, starts_s = np.empty((2, len(rgb_THWC)), np.float64)
            num_looks_T = np.empty(len(rgb_THWC), np.int64)
            for array in (rgb_THWC, pts_s, starts_s, num_looks_T) if len(rgb_THWC) else ():
                self._answers.read_into(array.data.cast("B"), stage="decode")
            yield Clip(
                span=ClipSpan(*header["span"]),
                own=ClipSpan(*header["own"]),
                rgb_THWC=rgb_THWC,
                pts_s=pts_s,
                starts_s=starts_s,
                num_looks_T=num_looks_T,
                num_looks=header["num_looks"],
                num_static=header["num_static"],
            )
        self.partial_reason = header["partial_reason"]
        self.decode_s, self.resize_s = header["decode_s"], header["resize_s"]


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

    def receive_info(self) -> VideoInfo:
        """The first answer to every request."""
        return VideoInfo(path=self._path, **self.receive(stage="open")["info"])

    def receive(self, *, stage: DecodeStage) -> dict[str, Any]:
        """The next header; raises the DecodeError that it carries."""
        header: dict[str, Any] = {"kind": "alive"}
        while header["kind"] == "alive":
            length = self._read(HEADER_LENGTH.size, stage=stage)
            header = json.loads(self._read(*HEADER_LENGTH.unpack(length), stage=stage))
        self.complete = header["kind"] in ("end", "error")
        if header["kind"] == "error":
            raise DecodeError.from_json(header["error"], path=self._path)
        return header

    def read_into(self, view: memoryview, *, stage: DecodeStage) -> None:
        """Fill a buffer from the pipe; every byte puts the deadline off."""
        readable = select.poll()
        readable.register(self._stdout, select.POLLIN)
        while view:
            if not readable.poll(self._deadline_s * 1000):
                raise self._lost(stage, reason=f"the decoder process did not answer for {self._deadline_s:g} s")
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
        may_pass = True
        if reason is None:
            reason, may_pass = why_it_died(self._child)
        kill(self._child)
        error = DecodeTimeoutError(self._path, stage=stage, reason=reason)
        error.may_pass = may_pass
        return error
