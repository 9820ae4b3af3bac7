"""Whoever asks a command to stop is heard soon, whatever it is at, and nothing half made is left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from colour import ColourEmbedder, write_colours

from vlrlt.errors import StoppedError
from vlrlt.index.library.catalog import Catalog
from vlrlt.index.library.files import walk_videos
from vlrlt.index.run.build import index_paths
from vlrlt.index.run.control import ask_run
from vlrlt.index.run.run_report import IndexProgress


def by_signal(_library_dir: Path) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def by_command(library_dir: Path) -> None:
    ask_run(library_dir, "stop")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A video, and many files that cannot be read: no clip of theirs ever comes."""
    write_colours(tmp_path / "archive" / "0.mp4", [("red", 1)])
    for number in range(1, 60):
        (tmp_path / "archive" / f"{number}.mp4").write_bytes(f"no video, number {number}".encode())
    return tmp_path / "archive"


@pytest.mark.parametrize("stop", [by_signal, by_command])
def test_a_run_that_looks_for_files_is_stopped(archive: Path, library_dir: Path, stop: Callable[[Path], None]) -> None:
    """SIGTERM was not noticed before the first clip of the first video."""
    looked_at: list[Path] = []

    def on_progress(progress: IndexProgress) -> None:
        assert progress.scanning
        if not looked_at:
            stop(library_dir)
            time.sleep(0.2)  # a run looks for a request to stop ten times a second
        looked_at.append(progress.path)

    with pytest.raises(StoppedError):
        index_paths([archive], library_dir=library_dir, embedder=ColourEmbedder(), on_progress=on_progress)
    assert len(looked_at) == 1


@pytest.mark.parametrize("stop", [by_signal, by_command])
def test_a_run_over_files_that_fail_is_stopped(archive: Path, library_dir: Path, stop: Callable[[Path], None]) -> None:
    begun: list[Path] = []

    def on_progress(progress: IndexProgress) -> None:
        if progress.scanning:
            return
        if not begun:
            stop(library_dir)
            time.sleep(0.2)
        begun.append(progress.path)

    with pytest.raises(StoppedError):
        index_paths([archive], library_dir=library_dir, embedder=ColourEmbedder(), on_progress=on_progress)
    assert len(begun) == 1
    with Catalog.open_reader(library_dir) as catalog:
        assert catalog.counts().failed <= 1


def test_walking_stops_in_the_middle_of_a_folder(archive: Path, tmp_path: Path) -> None:
    """A folder on a slow share takes minutes to list."""
    seen = 0

    def check() -> None:
        nonlocal seen
        seen += 1
        if seen == 5:
            raise StoppedError

    with pytest.raises(StoppedError):
        walk_videos([archive], library_dir=tmp_path / "library", check=check)
    assert seen == 5


def test_control_c_ends_the_toy_kitchen_and_its_workers(
    tmp_path: Path, start_process: Callable[..., "subprocess.Popen[str]"]
) -> None:
    """It went on until all queued videos were made."""
    options = ["--out", str(tmp_path), "--videos", "200", "--workers", "2"]
    command = [sys.executable, "-m", "vlrlt", "toy", "make", *options]
    process = start_process(command, stderr=subprocess.PIPE, text=True)
    until_s = time.monotonic() + 120
    while not list(tmp_path.rglob(".*.mp4")) and time.monotonic() < until_s:
        time.sleep(0.05)
    started_s = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers too
    _, said = process.communicate(timeout=60)
    assert time.monotonic() - started_s < 20
    assert process.returncode == 130
    assert said.splitlines()[-1] == "vlrlt: interrupted"
    assert "Traceback" not in said
    assert not list(tmp_path.rglob(".*")), "nothing half made"
    assert not is_alive(process.pid, for_s=10), "a worker is left"


def is_alive(group: int, *, for_s: float) -> bool:
    """Whether a process of a group is still there after so many seconds."""
    until_s = time.monotonic() + for_s
    while time.monotonic() < until_s:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.05)
    return True


IN_THE_BACKGROUND = """
import signal, subprocess, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGHUP, signal.SIG_IGN)
import conftest
conftest.pytest_configure()
program = "import signal; print(signal.getsignal(signal.SIGINT).__name__, signal.getsignal(signal.SIGHUP).name)"
sys.exit(subprocess.run([sys.executable, "-c", program]).returncode)
"""


def test_what_tests_start_has_default_signals_also_in_the_background_of_a_script() -> None:
    """There `make test` starts with SIGINT ignored, and three tests failed."""
    folder = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", IN_THE_BACKGROUND], cwd=folder, capture_output=True, text=True, check=True
    )
    assert done.stdout == "default_int_handler SIG_DFL\n"
