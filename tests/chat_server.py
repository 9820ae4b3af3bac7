"""A real HTTP server that speaks the OpenAI protocol (streamed chat completions), for those who test its clients."""

import contextlib
import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from serving import serving


def chunk(text: str) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": {"content": text}, "finish_reason": None}]}).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


class ChatServer(ThreadingHTTPServer):
    """Answers every request with `reply`, and keeps the requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[str, dict[str, Any], str | None]] = []
        self.status = 200
        self.reply: Callable[[Callable[[bytes], object]], object] = lambda _write: None

    def say(self, *parts: bytes) -> None:
        self.reply = lambda write: [write(part) for part in parts]


class Handler(BaseHTTPRequestHandler):
    server: ChatServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((self.path, body, self.headers["Authorization"]))
        self.send_response(self.server.status)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the client had enough
            self.server.reply(self.wfile.write)

    def log_message(self, *_: object) -> None: ...


@contextlib.contextmanager
def chat_server() -> Iterator[ChatServer]:
    """A running one; it says nothing until it is told what."""
    with serving(ChatServer()) as server:
        yield server
