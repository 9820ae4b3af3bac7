"""Waiting for changes in an archive."""

import os
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from vlrlt.errors import ConfigError

_LOOK_AGAIN_S = 3600.0
"""Network shares tell nobody what others write to them, and linked folders are not listened to: look now and then."""

_MAX_SETTLES = 10
"""A camera that never stops writing must not keep the other files waiting for ever."""


def changes(
    paths: Sequence[Path], *, library_dir: Path, settle_s: float, look_again_s: float = _LOOK_AGAIN_S
) -> Generator[None]:
    """Yield at once, and whenever files have changed and then rested; at least every look_again_s.

    What changes between two yields is never missed: listening begins before each.

    Args:
        paths: folders and files; those that are away are listened to when they are back.
        library_dir: what changes in it does not count.
        settle_s: how long nothing may have changed; where that never happens, ten times as long is enough.
        look_again_s: even if nothing was heard.

    Raises:
        ConfigError: the system lets nobody listen to so many folders.
    """
    while True:
        with _listening(paths, library_dir) as heard:
            yield
            heard.wait(settle_s=settle_s, look_again_s=look_again_s)


class _Changes(FileSystemEventHandler):
    """Remembers when something last changed outside the library."""

    def __init__(self, library_dir: Path) -> None:
        self._library_dir = Path(os.path.realpath(library_dir))
        self._seen = threading.Event()
        self._last_s = 0.0

    def on_any_event(self, event: FileSystemEvent) -> None:
        names = [Path(os.fsdecode(name)) for name in (event.src_path, event.dest_path) if name]
        written = event.event_type not in ("opened", "closed_no_write")
        if written and not all(self._library_dir in (path, *path.parents) for path in names):
            self._last_s = time.monotonic()
            self._seen.set()

    def wait(self, *, settle_s: float, look_again_s: float) -> None:
        if self._seen.wait(look_again_s):
            latest_s = time.monotonic() + _MAX_SETTLES * settle_s
            while (rest_s := min(latest_s, self._last_s + settle_s) - time.monotonic()) > 0:
                time.sleep(rest_s)


@contextmanager
def _listening(paths: Sequence[Path], library_dir: Path) -> Iterator[_Changes]:
    heard, observer = _Changes(library_dir), Observer()
    try:
        for folder in {Path(os.path.realpath(path if path.is_dir() else path.parent)) for path in paths}:
            if folder.is_dir():
                observer.schedule(heard, str(folder), recursive=True)
        observer.start()
    except OSError as error:
        raise ConfigError(
            f"cannot watch for changes: {error}; try fewer folders, or a larger fs.inotify.max_user_watches"
        ) from error
    try:
        yield heard
    finally:
        observer.stop()
        observer.join()
