"""A real HTTP server that embeds as vLLM and Infinity do: colours, seen in images or named in texts."""

import base64
import contextlib
import io
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from colour import COLOURS, ColourEmbedder
from PIL import Image
from serving import serving

EXTRA = 4
"""Numbers beyond the colours: a Matryoshka model's less important part."""


class EmbeddingServer(ThreadingHTTPServer):
    """Keeps the requests; `change` gets each reply before it is sent, or a status instead."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[tuple[dict[str, Any], str | None]] = []
        self.num_images = 0
        self.change: Callable[[dict[str, Any]], dict[str, Any] | tuple[int, bytes]] = lambda reply: reply
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: EmbeddingServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        inputs = (
            body.get("input")
            or [part for part in body["messages"][0]["content"] if "image_url" in part]
            or [body["messages"][0]["content"][0]["text"]]
        )
        vectors = [_embed(one) for one in inputs]
        with self.server.lock:
            self.server.requests.append((body, self.headers["Authorization"]))
            self.server.num_images += sum(not isinstance(one, str) or one.startswith("data:") for one in inputs)
            data = [{"index": index, "embedding": vector} for index, vector in enumerate(vectors)]
            made = self.server.change({"data": data[::-1]})  # the index says which is which
        status, content = made if isinstance(made, tuple) else (200, json.dumps(made).encode())
        self.send_response(status)
        self.end_headers()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.wfile.write(content)

    def log_message(self, *_: object) -> None: ...


def _embed(one: str | dict[str, Any]) -> list[float]:
    url = one if isinstance(one, str) else one["image_url"]["url"]
    if url.startswith("data:"):
        picture = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB").resize((16, 16))
        (vector,) = ColourEmbedder().embed_clips(np.asarray(picture)[None, None]).vectors_BD
    else:
        (vector,) = ColourEmbedder().embed_texts([url])
    assert len(vector) == len(COLOURS)
    return [*(3 * float(value) for value in vector), *[0.5] * EXTRA]


@contextlib.contextmanager
def embedding_server() -> Iterator[EmbeddingServer]:
    with serving(EmbeddingServer()) as server:
        yield server
