"""Answers of second looks, kept in the cache of the library: nothing is asked, sent or paid for twice."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import xxhash

from vlrlt.ask.vlm import Endpoint
from vlrlt.service.cache import find_cached, forget_cached, new_cached

_MAX_ANSWERS = 2_000
"""Of one question."""
_MAX_QUESTIONS = 500
_PREFIX = "looks-"


class Verdicts:
    """One file for each question to each model.

    Args:
        library_dir: the library.
    """

    def __init__(self, library_dir: Path) -> None:
        self._library_dir = library_dir

    @contextlib.contextmanager
    def of(self, described: str, endpoint: Endpoint) -> Iterator[dict[str, float]]:
        """Likelihoods by what moments show; what is added in the block is kept, the oldest are forgotten."""
        asked = json.dumps([described, endpoint.url, endpoint.model])
        name = f"{_PREFIX}{xxhash.xxh3_128_hexdigest(asked.encode())}.json"
        known = self._read(name)
        before = dict(known)
        try:
            yield known
        finally:
            if known != before:
                self._write(name, dict(list(known.items())[-_MAX_ANSWERS:]))

    def _read(self, name: str) -> dict[str, float]:
        path = find_cached(self._library_dir, name)
        with contextlib.suppress(OSError, ValueError, AttributeError):
            found = {} if path is None else json.loads(path.read_text(encoding="utf-8"))
            return {str(key): float(value) for key, value in found.items() if 0 <= float(value) <= 1}
        return {}

    def _write(self, name: str, known: dict[str, float]) -> None:
        with contextlib.suppress(OSError):  # only a copy
            with new_cached(self._library_dir, name) as unfinished:
                unfinished.write_text(json.dumps(known), encoding="utf-8")
            path = find_cached(self._library_dir, name)
            files = sorted(path.parent.glob(f"{_PREFIX}*.json"), key=_written_ns) if path else []
            for old in files[:-_MAX_QUESTIONS]:
                forget_cached(old)


def _written_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:  # another process has removed it
        return 0
