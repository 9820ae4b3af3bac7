"""A server stays up: whatever clients do, health checks are answered, and others get their turn.

Real processes, sockets and signals: `vlrlt serve` on a small library.
"""

import asyncio
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from browser import PATIENCE_S, free_port, wait_for
from colour import write_colours
from fastapi import FastAPI
from fastapi.testclient import TestClient

from vlrlt.embed import load_embedder
from vlrlt.index.run.build import index_paths
from vlrlt.serve.errors import add_errors
from vlrlt.serve.lanes import Lane
from vlrlt.service import connections
from vlrlt.service.connections import BoundedConnection
from vlrlt.service.web import Scope, Send

NUM_LONG = 24
"""Videos that an index job works on for a while."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of one video, and an archive that takes long to index."""
    folder = tmp_path_factory.mktemp("server")
    write_colours(folder / "archive" / "a.mp4", [("red", 2), ("blue", 3)])
    index_paths([folder / "archive"], library_dir=folder / "library", embedder=load_embedder(device="cpu"))
    for number in range(NUM_LONG):
        colours = ["red", "blue"] if number % 2 else ["green", "white"]
        write_colours(folder / "long" / f"{number}.mp4", [(colour, 1.0 + number / 10) for colour in colours * 6])
    return folder


@contextmanager
def serving(folder: Path, *options: str, most_files: int | None = None) -> Iterator["Server"]:
    port = free_port()
    command = [sys.executable, "-P", "-m", "vlrlt", "serve", "--library", str(folder / "library"), "--port", str(port)]
    command += ["--root", f"videos={folder / 'long'}", *options]
    if most_files is not None:
        command = ["bash", "-c", f'ulimit -n {most_files}; exec "$@"', "bash", *command]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        server = Server(port, process)
        try:
            wait_for(f"http://127.0.0.1:{port}/healthz", process)
            yield server
        finally:
            process.kill()
            for connection in server.connections:
                connection.close()


class Server:
    def __init__(self, port: int, process: "subprocess.Popen[bytes]") -> None:
        self.port, self.process = port, process
        self.connections: list[socket.socket] = []

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        with contextlib.closing(connection):
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, {"Content-Type": "application/json", **headers})
            answer = connection.getresponse()
            text = answer.read()
            is_json = "json" in (answer.getheader("content-type") or "")
            return answer.status, json.loads(text) if is_json else text

    def is_healthy(self) -> bool:
        """Within two seconds, which is what an orchestrator waits at most."""
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
            with contextlib.closing(connection):
                connection.request("GET", "/healthz")
                return connection.getresponse().status == 200
        except OSError:
            return False

    def send(self, text: str) -> socket.socket:
        """An open connection on which something was said."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)
        self.connections.append(connection)
        connection.sendall(text.encode())
        return connection


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with serving(folder) as server:
        yield server


def until(condition: Callable[[], bool], *, seconds: float) -> bool:
    ends_s = time.monotonic() + seconds
    while time.monotonic() < ends_s:
        if condition():
            return True
        time.sleep(0.1)
    return condition()


def test_half_sent_heads_do_not_close_the_server(folder: Path) -> None:
    """1,100 of them took all files that a process may have open, and none was ever let go."""
    with serving(folder, most_files=1024) as server:
        held = [server.send("GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow:") for _ in range(1100)]
        assert server.is_healthy()
        status, found = server.ask("POST", "/v1/search", {"text": "red", "tail": True})
        assert (status, bool(found["hits"])) == (200, True)
        assert held[-1].recv(100) == b"", "what sends no head is let go"


@pytest.mark.attack
def test_silent_and_slow_clients_are_let_go(folder: Path) -> None:
    with serving(folder) as server:
        silent = server.send("")
        second = server.send("GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert b"200 OK" in second.recv(1000)
        second.sendall(b"GET /he")
        for connection in (silent, second):
            started_s = time.monotonic()
            while connection.recv(1000):
                pass
            assert time.monotonic() - started_s < 40


def test_open_event_streams_leave_the_server_alone_and_sigterm_is_heard(folder: Path) -> None:
    """45 of them killed /healthz; one of them held SIGTERM up for 55 s."""
    with serving(folder) as server:
        _, job = server.ask("POST", "/v1/jobs/index", {"root": "videos"})
        head = f"GET /v1/jobs/{job['id']}/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        streams = [server.send(head) for _ in range(60)]
        assert b"200 OK" in streams[-1].recv(100)
        assert server.is_healthy()
        assert server.ask("GET", f"/v1/jobs/{job['id']}")[0] == 200
        started_s = time.monotonic()
        server.process.terminate()
        server.process.wait(PATIENCE_S)
        assert time.monotonic() - started_s < 20, "at most: the streams, then the job's time to stop"


@pytest.mark.attack
def test_abandoned_cuts_leave_the_server_alone(folder: Path) -> None:
    """60 of them killed /healthz: every thread worked for somebody who had gone."""
    with serving(folder) as server:
        _, found = server.ask("POST", "/v1/search", {"text": "red", "tail": True})
        path = f"/v1/clips/{found['hits'][0]['clip']}/cut?start_s=0&end_s=5"
        refused = 0
        for _ in range(60):
            server.send(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").close()
            assert server.is_healthy()
        assert until(lambda: server.ask("GET", path)[0] == 200, seconds=20)
        waiting = [server.send(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n") for _ in range(40)]
        assert server.is_healthy()
        for connection in waiting:
            refused += b" 503 " in connection.recv(20)
        assert 0 < refused < 40, "a few stand in line, others are told to come again"


def index_process(server: Server) -> int:
    """The process id of the job that a server has started."""
    found: list[int] = []

    def look() -> bool:
        tasks = Path(f"/proc/{server.process.pid}/task").iterdir()
        children = [int(pid) for task in tasks for pid in (task / "children").read_text().split()]
        found[:] = [pid for pid in children if b"index" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")]
        return bool(found)

    assert until(look, seconds=20)
    return found[0]


@pytest.mark.linux
@pytest.mark.attack
def test_a_killed_server_takes_its_job_along(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ran on, unknown to the next server, which could start none."""
    monkeypatch.setenv("HF_TOKEN", "s3cret")
    with serving(folder) as server:
        assert server.ask("POST", "/v1/jobs/index", {"root": "videos"})[0] == 202
        job = Path(f"/proc/{index_process(server)}")
        assert b"s3cret" not in (job / "environ").read_bytes()
        server.process.kill()
        assert until(lambda: not job.exists(), seconds=30)
    with serving(folder) as server:
        assert server.ask("POST", "/v1/jobs/index", {"root": "videos"})[0] == 202


@pytest.mark.linux
@pytest.mark.attack
def test_a_job_that_was_killed_says_so(folder: Path) -> None:
    """By the system when memory runs out; its error was empty."""
    with serving(folder) as server:
        _, job = server.ask("POST", "/v1/jobs/index", {"root": "videos"})
        os.kill(index_process(server), signal.SIGKILL)
        assert until(lambda: server.ask("GET", f"/v1/jobs/{job['id']}")[1]["state"] == "failed", seconds=30)
        _, failed = server.ask("GET", f"/v1/jobs/{job['id']}")
        assert "ended by SIGKILL: the system may have run out of memory" in failed["error"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    ],
)
def test_pages_of_other_sites_reach_nothing(server: Server, headers: dict[str, str]) -> None:
    """Whatever FastAPI thinks of content types: a plain form of another site can post."""
    assert server.ask("POST", "/v1/search", {"text": "red"}, **headers)[0] == 403
    assert server.ask("GET", "/v1/videos", **headers)[0] == 403


@pytest.mark.parametrize("headers", [{}, {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}])
def test_own_pages_programs_and_links_reach_it(server: Server, headers: dict[str, str]) -> None:
    own = {"Origin": f"http://127.0.0.1:{server.port}", "Sec-Fetch-Site": "same-origin"}
    assert server.ask("GET", "/v1/videos", **(headers or own))[0] == 200
    assert server.ask("GET", "/v1/videos", **headers)[0] == 200


@contextmanager
def endless_answers() -> Iterator[int]:
    """The port of a server of ours that answers every request without end."""

    ended = threading.Event()

    async def app(_scope: Scope, _receive: object, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not ended.is_set():
            await send({"type": "http.response.body", "body": bytes(2**16), "more_body": True})
            await asyncio.sleep(0)

    config = uvicorn.Config(app, http=BoundedConnection, log_level="critical", lifespan="off")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield listening.getsockname()[1]
        ended.set()
        server.should_exit = True
        thread.join(PATIENCE_S)


def test_a_client_that_stops_reading_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "STALL_DEADLINE_S", 0.5)
    with endless_answers() as port, socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as reader:
        reader.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert reader.recv(12) == b"HTTP/1.1 200"
        for _ in range(20):  # as long as it reads, slowly, it is served
            assert reader.recv(2**16)
            time.sleep(0.05)
        time.sleep(2)
        with contextlib.suppress(ConnectionResetError):
            while reader.recv(2**20):
                pass


def test_too_much_work_is_refused_and_other_work_goes_on() -> None:
    """One lane is full; another one, and what needs no thread, are not touched by it."""
    app, begun, end = FastAPI(), threading.Semaphore(0), threading.Event()
    add_errors(app)
    slow, quick = Lane("a film", at_once=1, waiting=2), Lane("the library", at_once=1, waiting=2)

    @app.get("/slow")
    @slow
    def work(number: int) -> dict[str, int]:
        """Work."""
        begun.release()
        end.wait(PATIENCE_S)
        return {"number": number}

    @app.get("/quick")
    @quick
    def look() -> dict[str, str]:
        """Look."""
        return {"status": "ok"}

    with TestClient(app) as client, ThreadPoolExecutor(3) as pool:
        first = pool.submit(client.get, "/slow?number=1")
        assert begun.acquire(timeout=PATIENCE_S)
        waiting = [pool.submit(client.get, f"/slow?number={number}") for number in (2, 3)]
        assert until(lambda: slow.num_waiting == 2, seconds=10)
        refused = client.get("/slow?number=4")
        assert (refused.json()["error"]["type"], refused.headers["retry-after"]) == ("ServerBusy", "1")
        assert client.get("/quick").json() == {"status": "ok"}
        end.set()
        assert [job.result().json()["number"] for job in (first, *waiting)] == [1, 2, 3]
        assert client.get("/slow?number=x").status_code == 422, "parameters are checked as of any route"
    assert "number" in str(app.openapi()["paths"]["/slow"]["get"]["parameters"])
