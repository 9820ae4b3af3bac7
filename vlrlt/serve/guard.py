"""Checks before every request: host, token, size, time and rate. Plain ASGI, because it sees bodies as they arrive."""

import asyncio
import hmac
import json
import time

from vlrlt.errors import ConfigError
from vlrlt.service.network import LOOPBACK
from vlrlt.service.web import App, Message, Receive, Scope, Send, host_of, is_of_another_site, with_security_headers

MAX_BODY_BYTES = 16 * 1024 * 1024
BODY_DEADLINE_S = 20.0
MIN_TOKEN_CHARS = 32
OPEN_PATHS = frozenset({"/", "/docs", "/openapi.json", "/healthz", "/readyz"})
"""Asked for without a token: whether the server works, and how it is used. Neither says anything of the library."""
_MAX_CLIENTS = 10_000
_CONTENT_POLICY = "frame-ancestors 'none'; object-src 'none'; base-uri 'none'"


def check_exposure(host: str, token: str | None) -> None:
    """Refuse to listen beyond this machine without a token.

    Raises:
        ConfigError: there is none, or it is short.
    """
    if token is not None and len(token) < MIN_TOKEN_CHARS:
        raise ConfigError(f"VLRLT_SERVE_TOKEN must have {MIN_TOKEN_CHARS} characters or more, got {len(token)}")
    if host not in LOOPBACK and token is None:
        raise ConfigError(
            f"refusing to listen on {host} without a token; set VLRLT_SERVE_TOKEN to {MIN_TOKEN_CHARS} characters or "
            "more, or listen on 127.0.0.1"
        )


class Guard:
    """Wraps an ASGI application.

    Args:
        app: the application.
        token: that requests must bear; None: none.
        hosts: names under which it may be asked for; empty: any.
        requests_per_s: of one client, with bursts of two seconds' worth.
    """

    def __init__(self, app: App, *, token: str | None, hosts: tuple[str, ...] = (), requests_per_s: float) -> None:
        self._app = app
        self._hosts = hosts
        self._token = token
        self._rate = requests_per_s
        self._buckets: dict[str, tuple[float, float]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it here."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        send = with_security_headers(send, _CONTENT_POLICY)
        refusal = self._refusal(scope)
        if refusal is not None:
            await _refuse(send, *refusal)
            return
        try:
            body = await asyncio.wait_for(_read_body(scope, receive), BODY_DEADLINE_S)
        except TimeoutError:
            await _refuse(send, 408, "RequestTimeout", "the request body did not arrive in time")
            return
        if body is None:
            await _refuse(send, 413, "TooLarge", f"a request body may have at most {MAX_BODY_BYTES} bytes")
            return
        await self._app(scope, _replay(body, receive), send)

    def _refusal(self, scope: Scope) -> tuple[int, str, str] | None:
        headers = {name.lower(): value for name, value in scope["headers"]}
        host = host_of(scope)
        if self._hosts and host not in self._hosts:
            return 400, "UnknownHost", f"this server is not {host!r}; ask for {self._hosts[0]}"
        if self._token is None and is_of_another_site(scope):
            return 403, "ForeignOrigin", "without a token, this server rejects requests from other sites"
        if scope["path"] in OPEN_PATHS:
            return None
        if self._token is not None:
            given = headers.get(b"authorization", b"")
            if not hmac.compare_digest(given, f"Bearer {self._token}".encode()):
                return 401, "Unauthorized", "this server requires Authorization: Bearer TOKEN"
        if not self._take(scope["client"][0] if scope.get("client") else "unknown"):
            return 429, "TooManyRequests", f"more than {self._rate:g} requests a second; try again in a second"
        return None

    def _take(self, client: str) -> bool:
        """One token of the client's bucket."""
        now_s = time.monotonic()
        if len(self._buckets) > _MAX_CLIENTS:
            self._buckets.clear()
        left, then_s = self._buckets.get(client, (2 * self._rate, now_s))
        left = min(2 * self._rate, left + (now_s - then_s) * self._rate)
        self._buckets[client] = (max(left - 1, 0.0) if left >= 1 else left, now_s)
        return left >= 1


async def _read_body(scope: Scope, receive: Receive) -> bytes | None:
    """The whole body; None: it is too large."""
    parts, size = [], 0
    for name, value in scope["headers"]:
        if name.lower() == b"content-length" and (not value.isdigit() or int(value) > MAX_BODY_BYTES):
            return None
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b""  # the client has gone
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_BODY_BYTES:
            return None
        if not message.get("more_body", False):
            return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A receive that gives the body that was read already, then what comes after it."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return messages.pop() if messages else await receive()

    return replayed


async def _refuse(send: Send, status: int, kind: str, message: str) -> None:
    body = json.dumps({"error": {"type": kind, "message": message}}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if status == 429:
        headers.append((b"retry-after", b"1"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
