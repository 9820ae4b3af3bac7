"""Waiting for changes in an archive."""

import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

_LOOK_AGAIN_S = 3600.0
"""Network shares tell nobody what others write to them: look again now and then."""


class _Changes(FileSystemEventHandler):
    """Remembers when something last changed."""

    def __init__(self) -> None:
        self.seen = threading.Event()
        self.last_s = 0.0

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type not in ("opened", "closed_no_write"):
            self.last_s = time.monotonic()
            self.seen.set()


def changes(paths: Sequence[Path], *, settle_s: float, look_again_s: float = _LOOK_AGAIN_S) -> Iterator[None]:
    """Yield at once, and whenever files have changed and then rested for settle_s seconds; at least every look_again_s.

    Args:
        paths: folders and files.
        settle_s: a file that is being written changes all the time.
        look_again_s: even if nothing was heard.
    """
    handler, observer = _Changes(), Observer()
    for folder in {path if path.is_dir() else path.parent for path in paths}:
        observer.schedule(handler, str(folder), recursive=True)
    observer.start()
    try:
        while True:
            handler.seen.clear()
            yield
            handler.seen.wait(look_again_s)
            while (rest_s := handler.last_s + settle_s - time.monotonic()) > 0:
                time.sleep(rest_s)
    finally:
        observer.stop()
        observer.join()
