"""Calls of a function in a limited child: reading a picture, drawing a preview, cutting a film.

A crash, a hang or a memory bomb in a decoder costs one call. There are at most MAX_CHILDREN children, whatever number
of threads call; each serves many calls and is replaced when it has grown. What the child does is in limited_child.py.
"""

import atexit
import contextlib
import json
import os
import select
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ParamSpec, TypeVar, cast

from vlrlt.errors import ConfigError, DecodeError, DecodeTimeoutError
from vlrlt.video.limited_child import HEADER_LENGTH
from vlrlt.video.limits import kill, rss_bytes, start_child, why_it_died

P = ParamSpec("P")
T = TypeVar("T")

MAX_CHILDREN = 3
"""With a few gigabytes each at the very worst, and none waiting long: a call takes a fraction of a second."""
_MAX_CALLS = 200
_MAX_IDLE_BYTES = 2**29
"""A child that has served so many calls, or is so large between two, is replaced."""
_MAX_HEADER_BYTES = 2**20
_MAX_RESULT_BYTES = 2**28
_START_S = 20.0
"""A child needs half a second to start, on a busy machine more."""
_TICK_S = 0.1
"""How soon it is noticed that nobody waits for a call any more."""

nobody_waits: ContextVar[threading.Event | None] = ContextVar("nobody_waits", default=None)
"""Set by who works for somebody that may leave, such as an HTTP client: the call is given up and its child ends."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Of one call."""

    path: Path
    """The file that is read, for messages."""
    cpu_s: float = 60.0
    """CPU time; a call may take four times as long by the clock, and the time to start a child."""
    max_file_bytes: int = 0
    """Of a file that is written; 0: none is."""


def call_limited(function: Callable[P, T], limits: Limits, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function in a limited child.

    Args:
        function: of a module of this package. Its arguments are JSON values or paths; it returns bytes or a JSON value.
        limits: of this call.
        args: of the function.
        kwargs: likewise.

    Raises:
        DecodeError: that of the function, or any error that it does not foresee: the file is to blame.
        DecodeTimeoutError: the child took too long, died, or nobody waits for it any more.
        ConfigError: that of the function.
        OSError: that of the function.
    """
    request = {
        "function": f"{function.__module__}:{function.__qualname__}",
        "args": args,
        "kwargs": kwargs,
        "path": limits.path,
        "cpu_s": limits.cpu_s,
        "max_file_bytes": limits.max_file_bytes,
    }
    line = json.dumps(request, default=_path_as_json).encode() + b"\n"
    with _POOL.child(limits.path) as child:
        return cast(T, child.call(line, limits))


def _path_as_json(value: object) -> dict[str, str]:
    if isinstance(value, Path):
        return {"path": str(value.absolute())}  # a child stays in the folder that it was started in
    raise TypeError(f"cannot be sent to a child: {value!r}")


class _Child:
    """One child process."""

    def __init__(self) -> None:
        self._process = start_child("vlrlt.video.limited_child")
        self._num_calls = 0
        self.is_ready = True
        """Between two calls."""

    def call(self, line: bytes, limits: Limits) -> object:
        """The function's result, or its error."""
        self._num_calls += 1
        self.is_ready = False
        answer = _Answer(self._process, limits)
        header, payload = answer.ask(line)
        self.is_ready = True
        if "error" in header:
            error = _error(header["error"], limits.path)
            raise error
        return payload if "size" in header else header["value"]

    @property
    def is_worn_out(self) -> bool:
        pid = self._process.pid
        ended = self._process.poll() is not None
        return ended or not self.is_ready or self._num_calls >= _MAX_CALLS or rss_bytes(pid) > _MAX_IDLE_BYTES

    def close(self) -> None:
        kill(self._process)


class _Answer:
    """What comes back of one call, by a deadline."""

    def __init__(self, process: subprocess.Popen[bytes], limits: Limits) -> None:
        self._process = process
        self._limits = limits
        self._given_up = nobody_waits.get()
        self._deadline_s = _START_S + 4 * limits.cpu_s
        self._ends_s = time.monotonic() + self._deadline_s
        self._stdout = cast(IO[bytes], process.stdout).fileno()
        self._readable = select.poll()
        self._readable.register(self._stdout, select.POLLIN)

    def ask(self, line: bytes) -> tuple[dict[str, Any], bytes]:
        try:
            cast(IO[bytes], self._process.stdin).write(line)
        except BrokenPipeError as error:
            raise self._died() from error
        (length,) = HEADER_LENGTH.unpack(self._read(HEADER_LENGTH.size))
        self._bound(length, _MAX_HEADER_BYTES)
        header: dict[str, Any] = json.loads(self._read(length))
        if "size" not in header:
            return header, b""
        self._bound(header["size"], _MAX_RESULT_BYTES)
        return header, self._read(header["size"])

    def _read(self, num_bytes: int) -> bytes:
        buffer = bytearray(num_bytes)
        view = memoryview(buffer)
        while view:
            if not self._readable.poll(1000 * _TICK_S):
                self._check_time()
                continue
            got = os.readv(self._stdout, [view])
            if got == 0:
                raise self._died()
            view = view[got:]
        return bytes(buffer)

    def _check_time(self) -> None:
        if self._given_up is not None and self._given_up.is_set():
            raise self._ended("the request was cancelled")
        if time.monotonic() > self._ends_s:
            raise self._ended(f"it took longer than {self._deadline_s:g} s")

    def _bound(self, num_bytes: int, maximum: int) -> None:
        """What a child says is not believed: something in it may run that was in the file."""
        if num_bytes > maximum:
            raise self._ended(f"the decoder process answered with more than {maximum} bytes")

    def _ended(self, reason: str) -> DecodeTimeoutError:
        kill(self._process)
        return DecodeTimeoutError(self._limits.path, stage="decode", reason=reason)

    def _died(self) -> DecodeTimeoutError:
        reason, may_pass = why_it_died(self._process)
        error = DecodeTimeoutError(self._limits.path, stage="decode", reason=reason)
        error.may_pass = may_pass
        return error


def _error(header: dict[str, Any], path: Path) -> Exception:
    """The error that a child has sent."""
    if header["kind"] == "OSError":
        return OSError(header["errno"], header["reason"])
    if header["kind"] == ConfigError.__name__:
        return ConfigError(header["reason"])
    return DecodeError.from_json(header, path=path)


class _Pool:
    """Children that are free, and places for those that work."""

    def __init__(self) -> None:
        self._places = threading.BoundedSemaphore(MAX_CHILDREN)
        self._free: list[_Child] = []
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def child(self, path: Path) -> Iterator[_Child]:
        """A child of one's own for one call; waits for a place."""
        given_up = nobody_waits.get()
        while not self._places.acquire(timeout=_TICK_S):
            if given_up is not None and given_up.is_set():
                raise DecodeTimeoutError(path, stage="open", reason="the request was cancelled")
        try:
            child = self._take()
            try:
                yield child
            finally:
                self._give_back(child)
        finally:
            self._places.release()

    def _take(self) -> _Child:
        with self._lock:
            child = self._free.pop() if self._free else None
        if child is not None and child.is_worn_out:
            child.close()
            child = None
        return child or _Child()

    def _give_back(self, child: _Child) -> None:
        if not child.is_ready:
            child.close()
            return
        with self._lock:
            self._free.append(child)

    def close(self) -> None:
        with self._lock:
            while self._free:
                self._free.pop().close()


_POOL = _Pool()
atexit.register(_POOL.close)
