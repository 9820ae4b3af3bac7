"""What servers tell from the head of a request, and tell browsers in the head of an answer. Plain ASGI."""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]")
"""Names under which a server that answers this machine only may be asked for. Any other is DNS rebinding: a page of
another site that reaches it by a name of its own."""
_SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


def host_of(scope: Scope) -> str:
    """The name by which a server is asked for, without the port."""
    return re.sub(r":\d*$", "", _header(scope, b"host"))


def is_of_another_site(scope: Scope) -> bool:
    """Whether a browser sends a request for a page of another site; a link that is followed there is none.

    Source: https://developer.mozilla.org/en-US/docs/Web/HTTP/Reference/Headers/Sec-Fetch-Site
    """
    origin = _header(scope, b"origin")
    if origin:
        return urlsplit(origin).netloc != _header(scope, b"host")
    return _header(scope, b"sec-fetch-site") == "cross-site" and _header(scope, b"sec-fetch-mode") != "navigate"


def _header(scope: Scope, name: bytes) -> str:
    values = [value for key, value in scope["headers"] if key.lower() == name]
    return ", ".join(value.decode("latin-1") for value in values)


def with_security_headers(send: Send, policy: str) -> Send:
    """A send whose responses tell browsers what they must not do with them.

    Args:
        send: of the server.
        policy: what pages may load, and who may frame them.
    """
    added = [*_SECURITY_HEADERS, (b"content-security-policy", policy.encode())]

    async def secured(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = {name.lower() for name, _ in message.get("headers", ())}
            own = [(name, value) for name, value in added if name not in given]
            message = {**message, "headers": [*message.get("headers", ()), *own]}
        await send(message)

    return secured
