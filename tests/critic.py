"""A critic behind a real HTTP server: it looks at the pictures that it gets, and says yes, no, or what it is told."""

import base64
import contextlib
import io
import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from colour import COLOURS
from PIL import Image
from serving import serving

Reply = dict[str, Any]


class Critic(ThreadingHTTPServer):
    """Answers chat completions; `judge` gets what is described and the colours of the frames."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bodies: list[dict[str, Any]] = []
        self.judge: Callable[[str, list[str]], Reply | tuple[int, str]] = truthful

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: Critic

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(body)
        parts = body["messages"][1]["content"]
        described = parts[0]["text"].removeprefix("Described: ")
        seen = [_colour(part["image_url"]["url"]) for part in parts if part["type"] == "image_url"]
        found = self.server.judge(described, seen)
        status, text = found if isinstance(found, tuple) else (200, json.dumps(found))
        self.send_response(status)
        self.end_headers()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None: ...


def _colour(url: str) -> str:
    pixel = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB").getpixel((20, 20))
    assert isinstance(pixel, tuple)
    return min(COLOURS, key=lambda name: sum(abs(a - b) for a, b in zip(COLOURS[name], pixel, strict=True)))


def says(word: str, *, likelihood: float | None = None, tokens: tuple[int, int] | None = (1000, 1)) -> Reply:
    """A chat completion."""
    choice: dict[str, Any] = {"message": {"content": word}}
    if likelihood is not None:
        import math

        top = [
            {"token": name, "logprob": math.log(max(share, 1e-9))}
            for name, share in (("Yes", likelihood), (" no", 1 - likelihood))
        ]
        choice["logprobs"] = {"content": [{"top_logprobs": top}]}
    usage = {} if tokens is None else {"usage": {"prompt_tokens": tokens[0], "completion_tokens": tokens[1]}}
    return {"choices": [choice]} | usage


def truthful(described: str, seen: list[str]) -> Reply:
    return says("Yes." if described in seen else "no")


def lying(described: str, seen: list[str]) -> Reply:
    return says("no" if described in seen else "yes")


@contextlib.contextmanager
def critic() -> Iterator[Critic]:
    with serving(Critic()) as server:
        yield server
