"""Connections of a server: no more than it can hold, and each only for as long as its client does its part.

Uvicorn waits without end for the head of a request and for a client that does not read what it asked for; a thousand
half-sent heads then use up the files that a process may have open. Here both have deadlines, and when too many
connections are open, the one whose request has been awaited for longest makes room.
"""

import asyncio
import socket
import threading
from types import FrameType
from typing import Literal

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from vlrlt.service.web import App

MAX_CONNECTIONS = 512
"""Half of the files that a process may have open on most systems."""
HEAD_DEADLINE_S = 10.0
"""From the first byte of a request, or from the connection, to the end of its head."""
STALL_DEADLINE_S = 30.0
"""A client that has not read for so long does not want the rest."""
GRACE_S = 3
"""How long a server that is told to stop waits for what is being answered."""
_KEEP_ALIVE_S = 10
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class BoundedConnection(H11Protocol):
    """A connection that ends when its client dawdles."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Take the connection, if need be instead of another one."""
        super().connection_made(transport)
        self._head_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self._await_head()
        if len(self.connections) > MAX_CONNECTIONS:
            waiting = [other for other in self.connections if isinstance(other, BoundedConnection) and other.awaited_s]
            longest = min(waiting, key=lambda other: other.awaited_s)
            if longest is self:
                transport.write(_FULL)
            longest.let_go()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadlines."""
        self._head_arrived()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes of a request."""
        super().data_received(data)
        if self._is_answering or self.transport.get_protocol() is not self:
            self._head_arrived()
        elif self._head_timer is None:
            self._await_head()

    def on_response_complete(self) -> None:
        """Uvicorn closes a connection on which no request follows."""
        super().on_response_complete()
        self._head_arrived()

    def pause_writing(self) -> None:
        """The client does not read as fast as the answer comes."""
        super().pause_writing()
        if self._stall_timer is None:
            self._stall_timer = self.loop.call_later(STALL_DEADLINE_S, self.transport.abort)

    def resume_writing(self) -> None:
        """The client has read on."""
        if self.flow is not None:
            super().resume_writing()
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def let_go(self) -> None:
        """Close the connection without an answer."""
        self._head_arrived()
        self.transport.close()

    @property
    def awaited_s(self) -> float:
        """The loop's time at which the wait for a request ends; 0: one is being answered."""
        return 0.0 if self._head_timer is None else self._head_timer.when()

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_DEADLINE_S, self.let_go)

    def _head_arrived(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class StoppableServer(uvicorn.Server):
    """A server whose application knows when it is told to stop: streams of events would go on for ever.

    Args:
        config: of uvicorn.
        stopping: is set then.
    """

    def __init__(self, config: uvicorn.Config, *, stopping: threading.Event) -> None:
        super().__init__(config)
        self._stopping = stopping

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGINT or SIGTERM has arrived."""
        self._stopping.set()
        super().handle_exit(sig, frame)


def run_server(
    app: App,
    listening: socket.socket,
    *,
    stopping: threading.Event,
    websockets: Literal["none", "websockets-sansio"] = "none",
) -> None:
    """Serve an application until SIGINT or SIGTERM.

    Args:
        app: ASGI.
        listening: an open socket.
        stopping: is set when the server is told to stop.
        websockets: uvicorn's name of what speaks them.
    """
    config = uvicorn.Config(
        app,
        http=BoundedConnection,
        ws=websockets,
        log_level="warning",
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
    )
    StoppableServer(config, stopping=stopping).run(sockets=[listening])
