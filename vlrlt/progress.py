"""Progress of long work on stderr: a bar on a terminal, a plain line every ten seconds elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vlrlt.formats import format_time, printable_line
from vlrlt.index.run.run_report import IndexProgress

LINE_EVERY_S = 10.0

Update = Callable[[str, float, float], None]
"""Takes a line of text, how much is done and how much there is."""


@contextmanager
def index_progress() -> Iterator[Callable[[IndexProgress], None]]:
    """Give a function that shows each step of an index run."""
    speed = _Speed()
    with _shown() as update:
        yield lambda step: update(speed.describe(step), *_extent(step))


@contextmanager
def count_progress(unit: str) -> Iterator[Callable[[int, int], None]]:
    """Give a function that shows how many of how many units are done."""
    with _shown() as update:
        yield lambda done, total: update(f"{done}/{total} {unit}", done, total)


def _extent(step: IndexProgress) -> tuple[float, float]:
    if step.scanning:
        return step.files_done, step.files_total
    return step.bytes_done, step.bytes_total


class _Speed:
    """Puts steps into words; knows when the pictures, or those who read after them, began."""

    def __init__(self) -> None:
        self._started_s = 0.0
        self._bytes_done: float | None = None

    def describe(self, step: IndexProgress) -> str:
        """Files, share of bytes, seconds of video, realtime factor, time left, current file."""
        files = f"{step.files_done}/{step.files_total} files"
        name = printable_line(step.path.name.encode(errors="replace").decode())
        if step.scanning:
            return f"scanning {files}: {name}"
        now_s = time.monotonic()
        if self._bytes_done is None or step.bytes_done < self._bytes_done:
            self._started_s = now_s
        self._bytes_done = step.bytes_done
        passed_s = max(now_s - self._started_s, 1e-3)
        video = f"{format_time(step.video_s_done)} of video"
        if not step.bytes_done:
            return f"{files}, {video}: {name}"
        left = format_time(passed_s * (step.bytes_total / step.bytes_done - 1))
        share = step.bytes_done / step.bytes_total
        return f"{files}, {share:.0%}, {video}, {step.video_s_done / passed_s:.1f}x realtime, {left} left: {name}"


@contextmanager
def _shown() -> Iterator[Update]:
    if sys.stderr.isatty():
        with _bar() as update:
            yield update
    else:
        yield _lines()


@contextmanager
def _bar() -> Iterator[Update]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    text = TextColumn("{task.description}", markup=False)
    with Progress(BarColumn(), text, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda line, done, total: bar.update(task, description=line, completed=done, total=total)


def _lines() -> Update:
    shown_s = time.monotonic()

    def update(line: str, done: float, total: float) -> None:  # noqa: ARG001  the line says it
        nonlocal shown_s
        if time.monotonic() - shown_s >= LINE_EVERY_S:
            shown_s = time.monotonic()
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()

    return update
