"""Alerts: what is new and fits a saved search is told once, to a program and to a webhook; nothing else is."""

import json
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from colour import ColourEmbedder, write_colours
from serving import serving
from typer.testing import CliRunner

from vlrlt.cli import app
from vlrlt.errors import ConfigError, EndpointError
from vlrlt.index.run.build import index_paths
from vlrlt.index.run.model_choice import use_model
from vlrlt.index.search.request import SearchRequest
from vlrlt.service import Library
from vlrlt.service.alerts import Bell, begin_alerts, tell_new
from vlrlt.video.sampling import ClipSampling


class Listener:
    """A server that remembers what is posted to it, and answers with a status."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.status, self.location = 204, ""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.paths.append(self.path)
                outer.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(outer.status)
                if outer.location:
                    self.send_header("Location", outer.location)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    with serving(listener.server):
        yield listener


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    write_colours(tmp_path / "archive" / "old.mp4", [("red", 2), ("blue", 3)])
    index(tmp_path / "archive")
    with Library(tmp_path / "library", model=ColourEmbedder()) as service:
        service.saved.save("blue", SearchRequest(text=("blue",), k=1))
    return tmp_path / "archive"


def index(archive: Path, embedder: ColourEmbedder | None = None) -> None:
    index_paths([archive], library_dir=archive.parent / "library", embedder=embedder or ColourEmbedder())


def tell(archive: Path, bell: Bell, embedder: ColourEmbedder | None = None) -> int:
    with Library(archive.parent / "library", model=embedder or ColourEmbedder()) as service:
        begin_alerts(service, ["blue"])
        return tell_new(service, ["blue"], bell.ring)


def test_what_is_new_is_told_once_whatever_it_is_indexed_with(archive: Path, listener: Listener) -> None:
    bell = Bell(webhook=listener.url)
    assert tell(archive, bell) == 0, "what was there before is not new"
    write_colours(archive / "new.mp4", [("green", 2), ("blue", 2), ("red", 2), ("blue", 1)])
    write_colours(archive / "green.mp4", [("green", 2)])
    index(archive)
    assert tell(archive, bell) == 2, "every moment, not the best k"
    told = sorted((Path(one["moment"]["video"]).name, one["moment"]["start_s"], one["search"]) for one in listener.got)
    assert told == [("new.mp4", 2, "blue"), ("new.mp4", 6, "blue")]
    assert tell(archive, bell) == 0
    other = ColourEmbedder(sampling=ClipSampling(clip_s=2.0, stride_s=2.0, num_frames=2))
    index(archive, other)
    use_model(archive.parent / "library", other.fingerprint, forget_others=True)
    assert tell(archive, bell, other) == 0
    assert len(listener.got) == 2


def test_what_cannot_be_told_is_told_later_and_the_rest_not_again(archive: Path, listener: Listener) -> None:
    bell = Bell(webhook=listener.url)
    tell(archive, bell)
    write_colours(archive / "new.mp4", [("green", 2), ("blue", 2), ("red", 2), ("blue", 1)])
    index(archive)
    calls = []

    def fails_second(message: dict[str, Any]) -> None:
        calls.append(message)
        if len(calls) == 2:
            raise EndpointError("down")

    with (
        Library(archive.parent / "library", model=ColourEmbedder()) as service,
        pytest.raises(EndpointError, match="down"),
    ):
        tell_new(service, ["blue"], fails_second)
    listener.status = 500
    with pytest.raises(EndpointError, match=r"alert: 127\.0\.0\.1 did not accept it: HTTP Error 500"):
        tell(archive, bell)
    listener.status = 200
    assert tell(archive, bell) == 1
    assert listener.got[-1]["moment"]["start_s"] == calls[1]["moment"]["start_s"]


def test_a_webhook_is_not_led_elsewhere(archive: Path, listener: Listener) -> None:
    listener.status, listener.location = 307, f"{listener.url}/elsewhere"
    with pytest.raises(EndpointError, match="HTTP Error 307"):
        Bell(webhook=listener.url).ring({"search": "blue"})
    assert listener.paths == ["/hook"]


def test_a_program_gets_json_and_no_shell_sees_it(archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "told; touch evil"
    program = f"{sys.executable} -c 'import sys; open(sys.argv[1], \"a\").write(sys.stdin.read() + \"\\n\")' '{out}'"
    tell(archive, Bell(command=program))
    write_colours(archive / "new.mp4", [("blue", 2)])
    index(archive)
    assert tell(archive, Bell(command=program)) == 1
    (line,) = out.read_text().splitlines()
    assert json.loads(line)["moment"]["video"].endswith("new.mp4")
    assert not (tmp_path / "evil").exists()
    with pytest.raises(EndpointError, match="ended with exit code 3"):
        Bell(command=f"{sys.executable} -c 'raise SystemExit(3)'").ring({})
    with pytest.raises(EndpointError, match="cannot be run"):
        Bell(command="/nowhere/program").ring({})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "needs a receiver"),
        ({"webhook": "file:///etc/passwd"}, "must be an http or https URL"),
        ({"webhook": "http://"}, "must be an http or https URL"),
        ({"command": " "}, "is empty"),
        ({"command": "a 'b"}, "No closing quotation"),
    ],
)
def test_who_can_be_told(options: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Bell(**options)


def test_an_alert_is_of_a_search_that_is_saved(archive: Path) -> None:
    command = ["watch", str(archive), "--library", str(archive.parent / "library"), "--alert-webhook", "http://host"]
    without = CliRunner().invoke(app, command)
    assert (without.exit_code, "need --alert NAME" in without.stderr) == (2, True)
    unknown = CliRunner().invoke(app, [*command, "--alert", "nonsense"])
    assert (unknown.exit_code, "saved search 'nonsense'" in unknown.stderr) == (2, True)
    nobody = CliRunner().invoke(app, [*command[:-2], "--alert", "blue"])
    assert (nobody.exit_code, "needs a receiver" in nobody.stderr) == (2, True)
