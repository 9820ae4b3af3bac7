"""Copies that can be made again: below the library, or in the user's cache if that cannot be written.

A copy is never believed: NAME.xxh3 beside it says what its bytes must be, and one that is damaged is as good as absent.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import platformdirs
import xxhash

from vlrlt.atomic import replacing

CHECKSUM_SUFFIX = ".xxh3"
_CHUNK_BYTES = 2**20


def find_cached(library_dir: Path, name: str) -> Path | None:
    """A copy that is there and whole."""
    path = _place(library_dir, name)
    try:
        if _digest(path) == _checksum_of(path).read_text(encoding="ascii"):
            return path
    except (OSError, ValueError):  # absent, unreadable, or a checksum that is no text
        return None
    return None


@contextlib.contextmanager
def new_cached(library_dir: Path, name: str) -> Iterator[Path]:
    """A copy to write; it takes its name, instead of one that was there, when the block ends well.

    Raises:
        OSError: it cannot be written.
    """
    path = _place(library_dir, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as unfinished:
        yield unfinished
        digest = _digest(unfinished)
    with replacing(_checksum_of(path)) as checksum:
        checksum.write_text(digest, encoding="ascii")


def forget_cached(path: Path) -> None:
    """Remove a copy."""
    for file in (path, _checksum_of(path)):
        file.unlink(missing_ok=True)


def _checksum_of(path: Path) -> Path:
    return path.with_name(path.name + CHECKSUM_SUFFIX)


def _digest(path: Path) -> str:
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _place(library_dir: Path, name: str) -> Path:
    beside = library_dir / "cache"
    file = beside / name
    if file.exists() or os.access(beside if beside.exists() else library_dir, os.W_OK):
        return file
    return (
        platformdirs.user_cache_path("vlrlt", appauthor=False)
        / xxhash.xxh3_64_hexdigest(os.fsencode(library_dir.resolve()))
        / name
    )
