"""Separate threads for each kind of work: searches, pictures and films never wait for each other.

Who has gone is not worked for: its place in the line is given up at once, its child process ends.
"""

import asyncio
import inspect
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from functools import partial
from typing import Any, TypeVar

from anyio import CancelScope, CapacityLimiter, to_thread
from fastapi import Request, Response

from vlrlt.errors import ServerBusyError
from vlrlt.video.limited import MAX_CHILDREN, nobody_waits

T = TypeVar("T")
_CLIENT_CLOSED_REQUEST = 499


class Lane:
    """Threads for one kind of work.

    Args:
        name: of the work, for messages.
        at_once: how many threads.
        waiting: how many requests may stand in line; others are told to come again.
    """

    def __init__(self, name: str, *, at_once: int, waiting: int) -> None:
        self._name = name
        self._at_once = at_once
        self._waiting = waiting
        self._limiter: CapacityLimiter | None = None  # belongs to a running loop

    def __call__(self, work: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
        """A route whose plain function runs in this lane."""

        async def route(*, request: Request, **given: Any) -> Any:  # noqa: ANN401  as the function
            return await self.run(request, partial(work, **given))

        signature = inspect.signature(work)
        request = inspect.Parameter("request", inspect.Parameter.KEYWORD_ONLY, annotation=Request)
        parameters = [parameter.replace(kind=request.kind) for parameter in signature.parameters.values()]
        route.__signature__ = signature.replace(parameters=[*parameters, request])  # type: ignore[attr-defined]
        route.__name__, route.__doc__ = work.__name__, work.__doc__
        return route

    async def run(self, request: Request, work: Callable[[], T]) -> T | Response:
        """Do some work for a request.

        Raises:
            ServerBusyError: too many requests stand in line.
        """
        limiter = self._line()
        gone = threading.Event()
        nobody_waits.set(gone)  # a thread gets a copy of this task's context
        with CancelScope() as place_in_line:
            watch = asyncio.create_task(_watch(request, gone, place_in_line))
            try:
                return await to_thread.run_sync(work, limiter=limiter)
            finally:
                watch.cancel()
        return Response(status_code=_CLIENT_CLOSED_REQUEST)

    def stream(self, parts: Iterable[T]) -> AsyncIterator[T]:
        """Give parts as they are made.

        Raises:
            ServerBusyError: too many requests stand in line.
        """
        return _pumped(parts, self._line())

    @property
    def num_waiting(self) -> int:
        """How many requests stand in line."""
        return 0 if self._limiter is None else self._limiter.statistics().tasks_waiting

    def _line(self) -> CapacityLimiter:
        self._limiter = self._limiter or CapacityLimiter(self._at_once)
        if self.num_waiting >= self._waiting:
            raise ServerBusyError(f"more than {self._waiting} requests wait for {self._name}; try again in a second")
        return self._limiter


async def _pumped(parts: Iterable[T], limiter: CapacityLimiter) -> AsyncIterator[T]:
    """Parts that a thread makes; it ends with the next one when nobody takes them any more."""
    loop, made, gone = asyncio.get_running_loop(), asyncio.Queue[tuple[T] | None](), threading.Event()
    nobody_waits.set(gone)

    def make() -> None:
        try:
            for part in parts:
                if gone.is_set():
                    return
                loop.call_soon_threadsafe(made.put_nowait, (part,))
        finally:
            loop.call_soon_threadsafe(made.put_nowait, None)

    maker = asyncio.create_task(to_thread.run_sync(make, limiter=limiter))
    try:
        while (part := await made.get()) is not None:
            yield part[0]
        await maker  # raises what making has raised
    finally:
        gone.set()


async def _watch(request: Request, gone: threading.Event, place_in_line: CancelScope) -> None:
    """Until the client goes: its work is given up, and where it has not begun, its place too."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    gone.set()
    place_in_line.cancel()


class Lanes:
    """The kinds of work that there are."""

    def __init__(self) -> None:
        self.searches = Lane("a search", at_once=max(2, os.cpu_count() or 1), waiting=256)
        """More threads would only wait for each other."""
        self.pictures = Lane("a picture", at_once=MAX_CHILDREN, waiting=64)
        self.films = Lane("a film", at_once=MAX_CHILDREN - 1, waiting=16)
        """One child is left for pictures."""
        self.models = Lane("the language model", at_once=4, waiting=16)
        self.lookups = Lane("the library", at_once=4, waiting=256)
        """What takes milliseconds."""
