"""Checks before the application: host names, pages of other sites, uploads, and what browsers may do with pages.

Streamlit looks at host and origin of its WebSocket only, and keeps uploads of whoever has opened one in memory.
"""

from collections.abc import Sequence

from streamlit import runtime

from vlrlt.service.web import App, Receive, Scope, Send, host_of, is_of_another_site, with_security_headers
from vlrlt.ui.access import MAX_UPLOAD_MB

HEALTH_PATH = "/_stcore/health"
"""Orchestrators ask for it under whatever name."""
_UPLOAD_PATH = "/_stcore/upload_file/"
MAX_UPLOADS_BYTES = 30 * MAX_UPLOAD_MB * 2**20
"""Of all visitors together, kept in memory."""
_MAX_SESSIONS = 10_000
_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",  # charts compile their expressions
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "media-src 'self' data: blob:",
        "font-src 'self' data:",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
_admitted: dict[str, None] = {}


def admit(session_id: str) -> None:
    """From now on a visitor's session may upload: it is of somebody who may enter."""
    _admitted[session_id] = None
    while len(_admitted) > _MAX_SESSIONS:
        del _admitted[next(iter(_admitted))]


class Gate:
    """Wraps the application.

    Args:
        app: ASGI.
        hosts: names under which it may be asked for.
    """

    def __init__(self, app: App, *, hosts: Sequence[str]) -> None:
        self._app = app
        self._hosts = tuple(hosts)
        self._coming_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it here."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if scope["type"] == "websocket":
            if refusal is not None:
                await send({"type": "websocket.close", "code": 1008, "reason": refusal[1]})
            else:
                await self._app(scope, receive, send)
            return
        send = with_security_headers(send, _POLICY)
        if refusal is not None:
            await _refuse(send, *refusal)
        elif _is_upload(scope):
            await self._upload(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        host = host_of(scope)
        if host not in self._hosts and scope["path"] != HEALTH_PATH:
            return 400, f"this application is not {host!r}; ask for {self._hosts[0]}"
        if is_of_another_site(scope):
            return 403, "this application rejects requests from other sites"
        return None

    async def _upload(self, scope: Scope, receive: Receive, send: Send) -> None:
        session_id = scope["path"].removeprefix(_UPLOAD_PATH).partition("/")[0]
        if session_id not in _admitted:
            await _refuse(send, 403, "log in first")
            return
        largest_bytes = (MAX_UPLOAD_MB + 1) * 2**20  # Streamlit lets no larger one pass
        if _kept_bytes() + self._coming_bytes + largest_bytes > MAX_UPLOADS_BYTES:
            await _refuse(send, 503, "too many uploads are stored at the moment; try again later")
            return
        self._coming_bytes += largest_bytes
        try:
            await self._app(scope, receive, send)
        finally:
            self._coming_bytes -= largest_bytes


def _is_upload(scope: Scope) -> bool:
    return scope["method"] in ("PUT", "POST") and str(scope["path"]).startswith(_UPLOAD_PATH)


def _kept_bytes() -> int:
    """Of all uploads in memory, those of visitors too who left a moment ago."""
    if not runtime.exists():
        return 0
    kept = getattr(runtime.get_instance().uploaded_file_mgr, "file_storage", {})
    return sum(len(file.data) for files in list(kept.values()) for file in list(files.values()))


async def _refuse(send: Send, status: int, message: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": message.encode()})
