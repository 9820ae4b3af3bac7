"""No packet leaves the machine unless the user asked for it: programs run under strace, which sees native code too.

A bounded part runs in `make test`; all of it in `make test-network`.
"""

import os
import shlex
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from browser import free_port, wait_for
from traced import STRACE, other_machines, under_strace

from vlrlt.telemetry import OFF

pytestmark = pytest.mark.skipif(STRACE is None, reason="strace is not installed")

VLRLT = [sys.executable, "-P", "-m", "vlrlt"]
MORE_COMMANDS = (
    "ask 'How many times did someone open the fridge?'",
    "cut {video}@0-1 --out {out}/cut.mp4",
    "doctor",
    "duplicates",
    "explain {video} --out {out}/tokens.png --end 2",
    "export {video}@0-2 --out {out}/found.m3u",
    "export {video}@0-2 --out {out}/found.png",
    "import {annotations}/annotations/EPIC_100_retrieval_train.csv",
    "models list",
    "search --clip {video}@0-2",
    "status",
    "verify",
)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of somebody who has set nothing: neither telemetry nor the hub is switched off."""
    unset = {*OFF, "HF_HUB_OFFLINE"}
    home = str(tmp_path_factory.mktemp("home"))
    return {name: value for name, value in os.environ.items() if name not in unset} | {"HOME": home}


@pytest.fixture(scope="module")
def library(toy_data: Path, tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Path:
    """Indexed under strace; a first search has written the text tower down as ONNX."""
    folder = tmp_path_factory.mktemp("network") / "library"
    video = next((toy_data / "videos").rglob("*.mp4"))
    assert run("index", str(video), "--library", str(folder), environment=environment) == []
    assert run("search", "open fridge", "--library", str(folder), environment=environment) == []
    return folder


def run(*command: str, environment: dict[str, str]) -> list[str]:
    """Calls to other machines of a command, which must do its work."""
    log = Path(environment["HOME"]) / "trace"
    done = subprocess.run([*under_strace(log), *VLRLT, *command], env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return other_machines(log)


def test_a_call_to_another_machine_is_noticed(tmp_path: Path) -> None:
    """TEST-NET-1 is nobody's address: nothing is sent, but the call is there to be seen; so is a name's look-up."""
    program = "import socket; socket.socket(type=socket.SOCK_DGRAM).connect(('192.0.2.1', 9))"
    subprocess.run([*under_strace(tmp_path / "trace"), sys.executable, "-c", program], check=True)
    (call,) = other_machines(tmp_path / "trace")
    assert "192.0.2.1" in call


def test_search_without_torch_tells_nobody(library: Path, environment: dict[str, str]) -> None:
    """ONNX Runtime 1.32 looked its maker's name up and wrote a device id, on every search."""
    assert list((library / "cache").glob("text-*.onnx")), "the search must go through ONNX Runtime"
    assert run("search", "open fridge", "--library", str(library), environment=environment) == []
    assert not list(Path(environment["HOME"]).rglob("Microsoft"))


@pytest.mark.network
@pytest.mark.parametrize("command", MORE_COMMANDS, ids=lambda command: command.split()[0])
def test_commands_tell_nobody(
    command: str, library: Path, toy_data: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    video = next((toy_data / "videos").rglob("*.mp4"))
    words = shlex.split(command.format(video=video, out=tmp_path, annotations=toy_data))
    if words[0] not in ("cut", "doctor", "explain", "models"):
        words += ["--library", str(library)]
    assert run(*words, environment=environment) == []


PAGES = {
    "serve": ("/", "/docs", "/openapi.json", "/healthz", "/readyz", "/metrics", "/v1/videos"),
    "ui": ("/", "/_stcore/health"),
}


@pytest.mark.network
@pytest.mark.parametrize("server", PAGES)
def test_servers_tell_nobody(server: str, library: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    port = free_port()
    command = [*VLRLT, server, "--library", str(library), "--port", str(port)]
    with subprocess.Popen([*under_strace(tmp_path / "trace"), *command], env=environment) as process:
        try:
            wait_for(f"http://127.0.0.1:{port}{PAGES[server][-1]}", process)
            for page in PAGES[server]:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{page}", timeout=60) as answer:
                    assert answer.status == 200
            if server == "serve":
                search = urllib.request.Request(
                    f"http://127.0.0.1:{port}/v1/search",
                    data=b'{"text": "open fridge"}',
                    headers={"Content-Type": "application/json"},
                )
                with urllib.request.urlopen(search, timeout=60) as answer:
                    assert answer.status == 200
        finally:
            subprocess.run(["pkill", "-TERM", "-P", str(process.pid)], check=False)
            process.wait(60)
    assert other_machines(tmp_path / "trace") == []


def test_loopback_is_no_other_machine(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        program = f"import socket; socket.create_connection(('127.0.0.1', {server.getsockname()[1]}))"
        subprocess.run([*under_strace(tmp_path / "trace"), sys.executable, "-c", program], check=True)
    assert "127.0.0.1" in (tmp_path / "trace").read_text()
    assert other_machines(tmp_path / "trace") == []
