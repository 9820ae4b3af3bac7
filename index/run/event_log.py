"""Events of runs as JSON lines in LIBRARY/log/index.jsonl, for log collectors."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

_MAX_BYTES = 16 * 2**20
"""A longer file becomes index.jsonl.1 when the next run starts."""


class Journal:
    """The events of one run; a context manager.

    Args:
        library_dir: the library.
        run: its number in the catalog.
    """

    def __init__(self, library_dir: Path, *, run: int) -> None:
        path = library_dir / "log" / "index.jsonl"
        path.parent.mkdir(exist_ok=True)
        if path.exists() and path.stat().st_size > _MAX_BYTES:
            path.rename(path.with_name("index.jsonl.1"))
        self._file = path.open("a", encoding="utf-8")
        self._run = run
        self._started_s = time.monotonic()

    def write(self, event: str, **facts: Any) -> None:  # noqa: ANN401  whatever JSON takes; paths become text
        """Add an event; a disk that is full must not stop the work."""
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "run": self._run,
            "run_s": round(time.monotonic() - self._started_s, 3),
            "event": event,
            **facts,
        }
        try:
            self._file.write(json.dumps(line, default=str) + "\n")
            self._file.flush()
        except OSError:
            return

    def __enter__(self) -> Self:
        self.write("run started")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        if kind is not None:
            self.write("run stopped", error_class=kind.__name__, reason=str(error))
        self._file.close()
