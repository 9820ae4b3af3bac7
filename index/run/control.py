"""Following, pausing and stopping a run from outside, through files in the library."""

import contextlib
import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from vlrlt.errors import LibraryError, StoppedError
from vlrlt.formats import format_time
from vlrlt.index.library.schema import check_is_library
from vlrlt.index.run.run_report import IndexProgress

_POLL_S = 0.1
_TELL_EVERY_S = 1.0
SILENT_S = 120.0
"""A run that was not heard of for so long, and does not pause, was killed."""


class RunControl:
    """What a run asks between two clips.

    Args:
        library_dir: the library.
    """

    def __init__(self, library_dir: Path) -> None:
        self._stop, self._pause = library_dir / "stop", library_dir / "pause"
        self._progress = library_dir / "progress.json"
        self._checked_s = 0.0
        self._told_s = 0.0
        self._indexing_since: float | None = None
        self._terminated = False

    def check_stop(self) -> None:
        """Raise if the run is to stop; a pause holds up decoding and encoding only.

        Raises:
            StoppedError: it is to stop.
        """
        if self._terminated or (self._is_time_to_look() and self._stop.exists()):
            raise StoppedError

    def check(self) -> None:
        """Wait while the run is paused; raises as check_stop."""
        if not self._terminated and not self._is_time_to_look():
            return
        while True:
            if self._terminated or self._stop.exists():
                raise StoppedError
            if not self._pause.exists():
                return
            time.sleep(_POLL_S)

    def _is_time_to_look(self) -> bool:
        """Ten times a second: the library may lie on a slow share."""
        is_time = time.monotonic() - self._checked_s >= _POLL_S
        if is_time:
            self._checked_s = time.monotonic()
        return is_time

    def tell(self, progress: IndexProgress) -> None:
        """Write down how far the run is, once a second; a disk that is full must not stop the work."""
        if self._indexing_since is None and not progress.scanning:
            self._indexing_since = time.time()
        if time.monotonic() - self._told_s < _TELL_EVERY_S:
            return
        self._told_s = time.monotonic()
        facts = vars(progress) | {"since": self._indexing_since}
        partial = self._progress.with_suffix(".part")
        with contextlib.suppress(OSError):
            partial.write_text(json.dumps(facts, default=str), encoding="utf-8")
            partial.rename(self._progress)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take SIGTERM for a request to stop; an old request to stop is forgotten."""
        self._stop.unlink(missing_ok=True)

        def terminate(_number: int, _frame: FrameType | None) -> None:
            self._terminated = True

        before = None
        with contextlib.suppress(ValueError):  # only the main thread may
            before = signal.signal(signal.SIGTERM, terminate)
        try:
            yield
        finally:
            for left in (self._stop, self._progress):
                left.unlink(missing_ok=True)
            if before is not None:
                signal.signal(signal.SIGTERM, before)


def ask_run(library_dir: Path, what: Literal["pause", "stop"], *, wanted: bool = True) -> None:
    """Have index runs of a library wait or end, or no longer.

    Raises:
        LibraryError: there is no library, or it cannot be written.
    """
    check_is_library(library_dir)
    flag = library_dir / what
    try:
        if wanted:
            flag.touch()
        else:
            flag.unlink(missing_ok=True)
    except OSError as error:
        raise LibraryError(f"{library_dir} cannot be written: {error.strerror}") from error


def is_paused(library_dir: Path) -> bool:
    """Whether index runs of a library wait, those that begin later too."""
    return (library_dir / "pause").exists()


@dataclass(frozen=True, kw_only=True)
class RunView:
    """A run, seen from outside."""

    progress: IndexProgress
    left_s: float | None
    """Until it ends, judged by bytes; None: not known yet."""
    paused: bool
    stopping: bool

    @property
    def state(self) -> str:
        """What it does, in one word."""
        if self.stopping:
            return "stopping"
        if self.paused:
            return "paused"
        return "scanning" if self.progress.scanning else "indexing"

    def as_json(self) -> dict[str, Any]:
        """The documented JSON shape of `run` in `vlrlt status --json`."""
        left_s = None if self.left_s is None else round(self.left_s, 1)
        own = {"left_s": left_s, "paused": self.paused, "stopping": self.stopping}
        return vars(self.progress) | {"path": str(self.progress.path)} | own

    def as_text(self) -> str:
        """The same for people."""
        step = self.progress
        left = "" if self.left_s is None else f", {format_time(self.left_s)} left"
        files = f"{step.files_done} of {step.files_total} files"
        return f"{self.state}: {files}, {format_time(step.video_s_done)} of video{left}"


def view_run(library_dir: Path) -> RunView | None:
    """The run that works on a library, in whatever process; None: there is none."""
    path = library_dir / "progress.json"
    paused = is_paused(library_dir)
    try:
        told_at = path.stat().st_mtime
        facts = json.loads(path.read_text(encoding="utf-8"))
        since = facts.pop("since")
        progress = IndexProgress(**facts | {"path": Path(facts["path"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
    if time.time() - told_at > SILENT_S and not paused:
        return None
    done, total = progress.bytes_done, progress.bytes_total
    return RunView(
        progress=progress,
        left_s=(told_at - since) * (total / done - 1) if since and done else None,
        paused=paused,
        stopping=(library_dir / "stop").exists(),
    )
