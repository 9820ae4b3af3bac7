"""Whatever people type and wherever results go: one line that says what is wrong, and the documented exit codes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from colour import write_colours
from towers import tiny_dual
from typer.testing import CliRunner, Result

from vlrlt.cli import app
from vlrlt.embed import load_embedder
from vlrlt.index.run.build import index_paths
from vlrlt.models.checkpoint import save_checkpoint
from vlrlt.service import Library

CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
EVIL = "\x1b]0;pwned\x07\x1b[31mred\u202eevil.mp4"
"""Sets a terminal's title, colours what follows, and turns its direction."""
VLRLT = [sys.executable, "-P", "-m", "vlrlt"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive with a hostile name, and its library."""
    folder = tmp_path_factory.mktemp("cli")
    save_checkpoint(tiny_dual(), folder / "model")
    write_colours(folder / "archive" / EVIL, [("red", 1), ("blue", 2)])
    write_colours(folder / "archive" / "=cmd().mp4", [("green", 2)])
    (folder / "archive" / f"broken {EVIL}").write_bytes(b"no video")
    index_paths([folder / "archive"], library_dir=folder / "lib", embedder=load_embedder(str(folder / "model")))
    return folder


def vlrlt(*args: object) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args])


def clip_of(folder: Path) -> str:
    with Library(folder / "lib") as library:
        return library.search("red", tail=True, k=1).hits[0].clip


def test_no_name_of_a_file_is_obeyed_by_the_terminal(folder: Path, tmp_path: Path) -> None:
    archive, library, evil = folder / "archive", ("--library", folder / "lib"), folder / "archive" / EVIL
    (tmp_path / f"{EVIL}.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nhello\n")
    commands: list[list[object]] = [
        ["index", archive, *library],
        ["index", archive, *library, "--dry-run"],
        ["status", *library],
        ["failures", *library],
        ["verify", *library],
        ["search", "red", *library, "--tail"],
        ["search", "red\x1b[31m", *library, "--tail", "--save", "evil"],
        ["searches", *library],
        ["similar", clip_of(folder), *library, "--tail"],
        ["duplicates", *library],
        ["ask", "When is there red?\x1b[31m", *library],
        ["ask", "Which of these?", "--option", "red\x1b[31m", "--option", "blue", *library],
        ["cut", f"{evil}@0-1", "--out", tmp_path / "cut.mp4"],
        ["cut", f"{evil}@7-9", "--out", tmp_path / "late.mp4"],
        ["export", f"{evil}@0-1", "--out", tmp_path / f"{EVIL}.m3u"],
        ["explain", evil, "--out", tmp_path / "x.png", "--model", folder / "model"],
        ["import", tmp_path, *library],
        ["index", folder / "absent\x1b[31m", *library],
        ["search", "--image", evil, *library],
        ["search", "red", "--library", "no\x1b[31m"],
        ["search", "red", *library, "--where", "\x1b[31m"],
        ["models", "info", "no\x1b[31m"],
    ]
    for command in commands:
        result = vlrlt(*command)
        assert result.exit_code in (0, 1, 2, 3), (command, result.exception)
        assert not CONTROLS.search(result.stdout.replace("\r\n", "\n")), command
        assert not CONTROLS.search(result.stderr), command
        as_json = vlrlt(*command, "--json") if command[0] in ("search", "status", "ask", "failures") else None
        assert as_json is None or not CONTROLS.search(as_json.stdout)
    assert "\\x1b]0;pwned\\x07" in vlrlt("failures", *library).stdout


def test_no_cell_of_a_table_is_a_formula(folder: Path, tmp_path: Path) -> None:
    titled = tmp_path / "hits.json"
    hits = [
        {"video": "=cmd().mp4", "start_s": 0, "end_s": 1, "text": text, "score": -0.5} for text in ("@x", "+1", "-1")
    ]
    titled.write_text(json.dumps({"query": "=1+1", "hits": hits}))
    assert vlrlt("export", titled, "--out", tmp_path / "hits.csv").exit_code == 0
    _, *rows = (tmp_path / "hits.csv").read_text().splitlines()
    for row in rows:
        assert not any(cell.startswith(("=", "+", "@")) for cell in row.split(",")), row
        assert "'=cmd().mp4" in row
        assert ",-0.5," in row, "numbers stay numbers"


def numeric_options() -> list[tuple[str, str]]:
    """Every option of every command that takes a number."""
    commands: Any = typer.main.get_command(app)

    def below(command: Any, path: tuple[str, ...]) -> list[tuple[str, str]]:
        children = getattr(command, "commands", None)
        if children is not None:
            return [found for name, child in children.items() for found in below(child, (*path, name))]
        numbers = [one for one in command.params if one.type_descriptor.annotation in (int, float)]
        return [(" ".join(path), one.opts[0]) for one in numbers]

    return below(commands, ())


ENOUGH = {
    "search": "search red --library {lib} --tail",
    "similar": "similar {clip} --library {lib}",
    "duplicates": "duplicates --library {lib}",
    "index": "index {archive} --library {new} --model {model} --dry-run",
    "export": "export --query red --library {lib} --out {new}/x.m3u --force",
    "cut": "cut {video}@0-1 --out {new}/x.mp4 --force",
    "explain": "explain {video} --model {model} --out {new}.png --force",
    "ask": "ask red --library {lib}",
    "prune": "prune --library {lib}",
    "toy make": "toy make --out {new}/toy --videos 1",
    "data check": "data check epic --annotations {archive} --videos {archive}",
}
"""What a command needs beside a number. Those that are left out serve, watch, train or evaluate for long."""


QUICK = ("search", "similar", "ask", "prune")


@pytest.mark.parametrize(("command", "option"), [pair for pair in numeric_options() if pair[0] in QUICK])
def test_any_number_is_taken_or_refused(command: str, option: str, folder: Path, tmp_path: Path) -> None:
    """`-k 99999999999999999999` was a traceback."""
    try_numbers(command, option, folder, tmp_path)


SLOW = [pair for pair in numeric_options() if pair[0] in ENOUGH and pair[0] not in QUICK]


@pytest.mark.attack
@pytest.mark.parametrize(("command", "option"), SLOW)
def test_any_number_is_taken_or_refused_by_commands_that_work(
    command: str, option: str, folder: Path, tmp_path: Path
) -> None:
    try_numbers(command, option, folder, tmp_path)


def try_numbers(command: str, option: str, folder: Path, tmp_path: Path) -> None:
    video = folder / "archive" / "=cmd().mp4"
    places = {"lib": folder / "lib", "archive": folder / "archive", "model": folder / "model", "new": tmp_path / "new"}
    for number in ("-1", "0", "99999999999999999999", "1e400", "nan", "-inf", "1e-300", "x", "9" * 5000):
        words = [word.format(**places, video=video, clip=clip_of(folder)) for word in ENOUGH[command].split()]
        result = vlrlt(
            *words,
            f"{option}={number}" if option.startswith("--") else option,
            *([] if option.startswith("--") else [number]),
        )
        assert result.exit_code in (0, 1, 2, 3), (number, result.exception)
        assert result.exception is None or isinstance(result.exception, SystemExit), (number, result.exception)


def run(*args: str | bytes, stdout: int = subprocess.PIPE) -> tuple[int, str]:
    done = subprocess.run([*VLRLT, *args], stdout=stdout, stderr=subprocess.PIPE, timeout=120, check=False)
    return done.returncode, done.stderr.decode(errors="replace")


@pytest.mark.parametrize("command", [b"search", b"ask"])
def test_arguments_that_are_no_text(command: bytes, folder: Path) -> None:
    library = os.fsencode(folder / "lib")
    code, said = run(command, b"\xff\xfe red", b"--library", library)
    assert (code, "UTF-8" in said, "Traceback" in said) == (2, True, False)
    code, said = run(b"search", b"red", b"--library", b"\xff\xfe")
    assert (code, "Traceback" in said) == (1, False)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    "command", ["status --library {lib}", "search red --library {lib} --tail --json", "--help", "--version"]
)
def test_results_that_cannot_be_written(command: str, folder: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        code, said = run(*(word.format(lib=folder / "lib") for word in command.split()), stdout=full.fileno())
    assert code in (1, 2)
    assert "Traceback" not in said
    assert "Exception ignored" not in said
    assert "No space left on device" in said


def test_a_reader_that_has_enough_is_no_error(folder: Path) -> None:
    command = [*VLRLT, "search", "red", "--library", str(folder / "lib"), "--tail", "--json"]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=120, check=False)
    os.close(writing)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


OUTS = (
    "cut {video}@0-1 --out {out}.mp4",
    "cut {video}@0-1 {video}@1-2 --out {out}",
    "export {video}@0-1 --out {out}.m3u",
    "export {video}@0-1 --out {out}.png",
    "explain {video} --model {model} --out {out}.png",
    "explain {video} --model {model} --out {out}.mp4",
    "toy make --videos 1 --out {out}",
    "index {video} --model {model} --library {out}",
    "demo --out {out}",
)


@pytest.mark.parametrize("out", ["/proc/nothing/here", "{file}/below", "{long}", "/dev/full/x"])
@pytest.mark.parametrize("command", OUTS)
def test_outs_that_cannot_be_written(command: str, out: str, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    place = out.format(file=tmp_path / "file", long=tmp_path / ("x" * 300))
    video = folder / "archive" / "=cmd().mp4"
    result = vlrlt(*(word.format(video=video, model=folder / "model", out=place) for word in command.split()))
    assert result.exit_code in (1, 2), (result.output, result.exception)
    assert isinstance(result.exception, SystemExit)
    assert len(result.stderr.strip().splitlines()) <= 2, result.stderr
