"""Pausing and stopping a run from outside: files in the library that the run looks for."""

import contextlib
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

_POLL_S = 0.5


class StoppedError(Exception):
    """Somebody asked the run to stop; what is committed stays, the next run goes on."""


class RunControl:
    """What a run asks between two clips.

    Args:
        library_dir: the library.
    """

    def __init__(self, library_dir: Path) -> None:
        self._stop, self._pause = library_dir / "stop", library_dir / "pause"
        self._checked_s = 0.0
        self._terminated = False

    def check(self) -> None:
        """Wait while the run is paused.

        Raises:
            StoppedError: it is to stop.
        """
        if not self._terminated and time.monotonic() - self._checked_s < _POLL_S:
            return
        while True:
            self._checked_s = time.monotonic()
            if self._terminated or self._stop.exists():
                raise StoppedError
            if not self._pause.exists():
                return
            time.sleep(_POLL_S)

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
            self._stop.unlink(missing_ok=True)
            if before is not None:
                signal.signal(signal.SIGTERM, before)
