"""Files that appear under their name only when they are complete and on the disk."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write beside `path`, which takes that name, and its place, when the block ends well.

    Its data reaches the disk before its name does, so that no crash leaves an empty or torn file under that name.

    Args:
        path: the name; its folder exists.

    Yields:
        A path in the same folder, with the same suffix, at which there is no file yet.

    Raises:
        OSError: the file cannot be written.
    """
    unfinished = path.with_name(f".{uuid.uuid4().hex}{path.suffix}")
    try:
        yield unfinished
        _to_disk(unfinished)
        unfinished.replace(path)
        _to_disk(path.parent)
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)


def _to_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk; Windows opens no folders, and needs none."""
    if path.is_dir() and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
