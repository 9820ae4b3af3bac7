"""Watching keeps a library current: what is new, growing, moved, gone or on a disk that is away. Real inotify."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue

import pytest
from colour import ColourEmbedder, write_colours
from watchdog.observers import Observer

from vlrlt.errors import ConfigError
from vlrlt.index.library.catalog import Catalog
from vlrlt.index.run.build import index_paths
from vlrlt.index.run.run_report import IndexReport
from vlrlt.index.run.watch import changes

SETTLE_S = 0.2

Expect = Callable[[Callable[[IndexReport], bool]], IndexReport]


@contextmanager
def watching(archive: Path, library_dir: Path, *, look_again_s: float = 600.0) -> Iterator[Expect]:
    """Index at each change, in a thread; gives a function that waits for a run of which something is true."""
    reports: Queue[IndexReport] = Queue()
    over = threading.Event()

    def run() -> None:
        for _ in changes([archive], library_dir=library_dir, settle_s=SETTLE_S, look_again_s=look_again_s):
            if over.is_set():
                return
            reports.put(index_paths([archive], library_dir=library_dir, embedder=ColourEmbedder()))

    def expect(is_it: Callable[[IndexReport], bool]) -> IndexReport:
        while not is_it(report := reports.get(timeout=60)):
            pass
        return report

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield expect
    finally:
        over.set()
        (archive / "wake up").touch()
        thread.join()


def names(library_dir: Path) -> set[str]:
    with Catalog.open_reader(library_dir) as catalog:
        return {Path(path).name for path in catalog.snapshot().frame_runs.videos}


# watchdog names its callbacks by id(), which Python gives again: its own warning, and only here an error.
@pytest.mark.filterwarnings("ignore:Callback with id:RuntimeWarning")
def test_a_library_follows_its_archive(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    library_dir = archive / "library"
    write_colours(archive / "a.mp4", [("red", 1)])
    write_colours(archive / "b.mp4", [("blue", 1)])
    whole = write_colours(tmp_path / "whole.mp4", [("green", 2)]).read_bytes()
    with watching(archive, library_dir) as expect:
        expect(lambda report: report.indexed == 2)
        with (archive / "c.mp4").open("wb") as growing:
            for start in range(0, len(whole), len(whole) // 5):
                growing.write(whole[start : start + len(whole) // 5])
                growing.flush()
                time.sleep(SETTLE_S / 2)
        expect(lambda report: report.indexed == 1)
        (archive / "a.mp4").rename(archive / "moved.mp4")
        expect(lambda report: names(library_dir) == {"moved.mp4", "b.mp4", "c.mp4"} and not report.indexed)
        (archive / "b.mp4").unlink()
        expect(lambda report: report.missing == 1)
        shutil.move(archive / "moved.mp4", tmp_path)
        shutil.move(archive / "c.mp4", tmp_path)
        expect(lambda report: report.away == (str(archive),))
        assert names(library_dir) == {"moved.mp4", "b.mp4", "c.mp4"}, "an empty mount point purges nothing"


def test_a_disk_that_goes_and_comes_back(tmp_path: Path, library_dir: Path) -> None:
    archive = tmp_path / "archive"
    write_colours(archive / "a.mp4", [("red", 1)])
    with watching(archive, library_dir, look_again_s=0.5) as expect:
        expect(lambda report: report.indexed == 1)
        archive.rename(tmp_path / "unplugged")
        expect(lambda report: report.away == (str(archive),))
        (tmp_path / "unplugged").rename(archive)
        expect(lambda report: report.skipped == 1)
        write_colours(archive / "b.mp4", [("blue", 1)])
        expect(lambda report: report.indexed == 1)


BUSY_SETTLE_S = 0.6
"""Longer than a busy machine holds up a thread that writes."""


@pytest.mark.parametrize(("written", "at_least_s"), [("library", 1.5), ("archive", 5 * BUSY_SETTLE_S)])
def test_what_is_written_all_the_time(tmp_path: Path, written: str, at_least_s: float) -> None:
    """In the library it is no change; in the archive, by a camera that never stops, it holds nobody up for ever."""
    archive, library_dir = tmp_path, tmp_path / "library"
    library_dir.mkdir()
    runs = changes([archive], library_dir=library_dir, settle_s=BUSY_SETTLE_S, look_again_s=1.5)
    next(runs)
    over = threading.Event()

    def write() -> None:
        while not over.wait(BUSY_SETTLE_S / 12):
            ((library_dir if written == "library" else archive) / "x.mp4").write_bytes(b"x")

    writer = threading.Thread(target=write)
    writer.start()
    started_s = time.monotonic()
    next(runs)
    waited_s = time.monotonic() - started_s
    over.set()
    writer.join()
    runs.close()
    assert waited_s >= at_least_s


def test_too_many_folders_are_said(tmp_path: Path, library_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(*_args: object, **_options: object) -> None:
        raise OSError(28, "inotify watch limit reached")

    monkeypatch.setattr(Observer, "schedule", no_more)
    with pytest.raises(ConfigError, match=r"inotify watch limit reached; try .*max_user_watches"):
        next(changes([tmp_path], library_dir=library_dir, settle_s=SETTLE_S))
