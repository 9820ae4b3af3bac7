"""Output files: never in the archive, never over an existing file without force, and only when complete."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from vlrlt.atomic import replacing
from vlrlt.errors import ConfigError


@contextlib.contextmanager
def new_file(out: Path, *, force: bool = False) -> Iterator[Path]:
    """A file to write, which gets its name when the block ends well.

    Args:
        out: the name; its folder is made if it is absent.
        force: whether it may replace a file of that name.

    Raises:
        ConfigError: there is a file of that name, or it cannot be written.
    """
    if os.path.exists(out) and not force:  # noqa: PTH110  Path raises for names that are too long
        raise ConfigError(f"{out} exists; choose another name, or replace it with --force (HTTP, Python: force)")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(out) as unfinished:
            yield unfinished
    except OSError as error:
        raise ConfigError(f"{out} cannot be written: {error.strerror}; try a folder with free space") from error


def check_outside(out: Path, archive: Iterable[Path]) -> None:
    """Refuse to write into the archive.

    Args:
        out: a file or folder to write.
        archive: videos; their folders, with all that is below, are the archive.

    Raises:
        ConfigError: out lies in it.
    """
    place = out.resolve()
    for folder in {video.resolve().parent for video in archive}:
        if place == folder or folder in place.parents:
            raise ConfigError(f"{out} lies in the archive ({folder}), which vlrlt only reads; write to another folder")
