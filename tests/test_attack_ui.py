"""The application in the browser answers its own pages, under its own names, and keeps no uploads of strangers."""

import asyncio
import contextlib
import http.client
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from browser import PATIENCE_S, running_ui
from colour import write_colours
from towers import tiny_dual

from vlrlt.embed import load_embedder
from vlrlt.index.run.build import index_paths
from vlrlt.models.checkpoint import save_checkpoint
from vlrlt.service.web import LOOPBACK_HOSTS, Message, Receive, Scope, Send
from vlrlt.ui import gate
from vlrlt.ui.access import MAX_UPLOAD_MB
from vlrlt.ui.gate import MAX_UPLOADS_BYTES, Gate

UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Host and port of a running application."""
    folder = tmp_path_factory.mktemp("ui")
    save_checkpoint(tiny_dual(), folder / "model")
    write_colours(folder / "archive" / "a.mp4", [("red", 2)])
    index_paths([folder / "archive"], library_dir=folder / "lib", embedder=load_embedder(str(folder / "model")))
    with running_ui(folder / "lib", folder / "log.txt", cwd=folder) as found:
        yield found.removeprefix("http://")


def ask(address: str, method: str, path: str, **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(address, timeout=PATIENCE_S)
    with contextlib.closing(connection):
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        if answer.status != 101:
            answer.read()
        return answer


def test_only_its_own_names_and_pages_reach_it(address: str) -> None:
    """A page of another site reached the library by DNS rebinding: there was no Host check."""
    port = address.rpartition(":")[2]
    assert ask(address, "GET", "/").status == 200
    assert ask(address, "GET", "/", Host=f"localhost:{port}").status == 200
    assert ask(address, "GET", "/_stcore/health", Host="probe.example").status == 200
    stream = "/_stcore/stream"
    own = {**UPGRADE, "Origin": f"http://{address}"}
    assert ask(address, "GET", stream, **own).status == 101
    for headers in (
        {"Host": "evil.example"},
        {"Host": f"evil.example:{port}", "Origin": f"http://evil.example:{port}"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    ):
        assert ask(address, "GET", "/", **headers).status in (400, 403)
        assert ask(address, "GET", stream, **UPGRADE, **headers).status == 403
    followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert ask(address, "GET", "/", **followed).status == 200


def test_pages_cannot_be_framed_and_load_from_here_alone(address: str) -> None:
    for path in ("/", "/_stcore/health", "/absent.js"):
        head = ask(address, "GET", path)
        policy = head.getheader("content-security-policy") or ""
        assert "frame-ancestors 'none'" in policy
        assert "default-src 'self'" in policy
        assert head.getheader("x-frame-options") == "DENY"
        assert head.getheader("x-content-type-options") == "nosniff"


def test_who_is_not_inside_uploads_nothing(address: str) -> None:
    assert ask(address, "PUT", "/_stcore/upload_file/00000000-0000-0000-0000-000000000000/x").status == 403


async def _answer(wrapped: Gate, path: str, *, method: str = "PUT", type_: str = "http") -> list[Message]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    scope = {"type": type_, "method": method, "path": path, "headers": [(b"host", b"127.0.0.1:1")]}
    await wrapped(scope, receive, send)
    return sent


def test_uploads_in_memory_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """60 of them were kept before anybody had logged in."""
    waiting = asyncio.Event()
    taken = 0

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        nonlocal taken
        taken += 1
        await waiting.wait()
        await send({"type": "http.response.start", "status": 204, "headers": []})

    async def upload_sixty() -> list[int]:
        wrapped = Gate(app, hosts=LOOPBACK_HOSTS)
        tasks = [asyncio.create_task(_answer(wrapped, f"/_stcore/upload_file/inside/{n}")) for n in range(60)]
        await asyncio.sleep(0.1)
        waiting.set()
        return [(await task)[0]["status"] for task in tasks]

    monkeypatch.setattr(gate, "_admitted", {})
    assert asyncio.run(_answer(Gate(app, hosts=LOOPBACK_HOSTS), "/_stcore/upload_file/inside/0"))[0]["status"] == 403
    assert taken == 0, "the body is not even read"
    gate.admit("inside")
    statuses = asyncio.run(upload_sixty())
    assert taken == statuses.count(204) == MAX_UPLOADS_BYTES // ((MAX_UPLOAD_MB + 1) * 2**20)
    assert statuses.count(503) == 60 - taken
    kept = {"old": {"a": SimpleNamespace(data=bytes(MAX_UPLOADS_BYTES - 2**20))}}
    manager = SimpleNamespace(uploaded_file_mgr=SimpleNamespace(file_storage=kept))
    monkeypatch.setattr(gate, "runtime", SimpleNamespace(exists=lambda: True, get_instance=lambda: manager))
    full = asyncio.run(_answer(Gate(app, hosts=LOOPBACK_HOSTS), "/_stcore/upload_file/inside/0"))
    assert full[0]["status"] == 503


def test_sessions_are_forgotten_one_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "_admitted", {})
    monkeypatch.setattr(gate, "_MAX_SESSIONS", 3)
    for number in range(5):
        gate.admit(str(number))
    assert list(gate._admitted) == ["2", "3", "4"]


def test_the_storage_of_uploads_is_where_it_is_looked_for() -> None:
    """Streamlit's own manager: its files are what is counted."""
    from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
    from streamlit.runtime.uploaded_file_manager import UploadedFileRec

    manager = MemoryUploadedFileManager("/_stcore/upload_file")
    manager.add_file("inside", UploadedFileRec(file_id="a", name="a", type="", data=bytes(10)))
    assert [len(file.data) for files in manager.file_storage.values() for file in files.values()] == [10]
