"""The archive's side of indexing: which files to look at, and whether one has changed. Nothing here ever writes."""

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import xxhash

from vlrlt.errors import ConfigError, DecodeError

# fmt: off
VIDEO_SUFFIXES = frozenset((
    ".3g2", ".3gp", ".asf", ".avi", ".divx", ".f4v", ".flv", ".h264", ".hevc", ".ivf", ".m1v", ".m2ts",
    ".m2v", ".m4v", ".mjpeg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogm",
    ".ogv", ".qt", ".rm", ".rmvb", ".ts", ".vob", ".webm", ".wmv", ".y4m",
))
# fmt: on
"""Files in a folder are taken by suffix, whatever its case; a file that is named explicitly is always taken."""

_SAMPLE_BYTES = 64 * 1024
_NUM_SAMPLES = 16


@dataclass(frozen=True, kw_only=True)
class FileStamp:
    """What tells cheaply that a file may have changed."""

    size_bytes: int
    mtime_ns: int


NO_STAMP = FileStamp(size_bytes=0, mtime_ns=0)
"""Of what cannot even be looked at; no file that can be has it."""


@dataclass(frozen=True, kw_only=True)
class Walk:
    """What was found below the given paths."""

    files: tuple[Path, ...]
    """Absolute, each once: folder by folder, sorted by name."""
    num_ignored: int
    """Visible files in folders whose suffix is not of a video."""
    unreadable: tuple[tuple[Path, str], ...]
    """Folders that could not be listed, with the reason."""


def file_stamp(path: Path) -> FileStamp:
    """Size and modification time of a file, through symbolic links.

    Raises:
        DecodeError: it is gone, may not be read or is no regular file (reading a pipe could block for ever).
    """
    try:
        status = path.stat()
    except OSError as error:
        raise DecodeError(path, stage="open", reason=_reason(error)) from error
    if not stat.S_ISREG(status.st_mode):
        raise DecodeError(path, stage="open", reason="not a regular file")
    return FileStamp(size_bytes=status.st_size, mtime_ns=status.st_mtime_ns)


def quick_hash(path: Path, *, size_bytes: int) -> str:
    """Hash the size and 16 evenly spaced pieces of a file, its head and tail among them (1 MiB is read at most).

    Returns:
        32 hexadecimal digits.

    Raises:
        DecodeError: the file cannot be read.
    """
    digest = xxhash.xxh3_128(str(size_bytes).encode())
    last_start = max(0, size_bytes - _SAMPLE_BYTES)
    try:
        with path.open("rb") as file:
            for start in sorted({last_start * piece // (_NUM_SAMPLES - 1) for piece in range(_NUM_SAMPLES)}):
                file.seek(start)
                digest.update(file.read(_SAMPLE_BYTES))
    except OSError as error:
        raise DecodeError(path, stage="open", reason=_reason(error)) from error
    return digest.hexdigest()


def walk_videos(paths: Iterable[Path], *, exclude: Path) -> Walk:
    """Find the video files below folders, and take the files that are named.

    Hidden files and folders are skipped, symbolic links are followed, each folder is entered once.

    Args:
        paths: folders and files.
        exclude: a folder that is never entered (the library).

    Raises:
        ConfigError: one of the paths does not exist.
    """
    files: dict[Path, None] = {}
    unreadable: list[tuple[Path, str]] = []
    num_ignored = 0
    entered: set[tuple[int, int]] = set()
    if exclude.exists():
        entered.add(_identity(exclude))
    for path in paths:
        root = Path(os.path.realpath(path))
        if not root.exists():
            raise ConfigError(f"{path} does not exist; give videos or folders that hold some")
        if not root.is_dir():
            files[root] = None
            continue
        for file in _visible_files(root, entered, unreadable):
            if file.suffix.lower() in VIDEO_SUFFIXES:
                files[file] = None
            else:
                num_ignored += 1
    return Walk(files=tuple(files), num_ignored=num_ignored, unreadable=tuple(unreadable))


def _visible_files(root: Path, entered: set[tuple[int, int]], unreadable: list[tuple[Path, str]]) -> Iterator[Path]:
    """Files below root; a folder whose identity is in `entered` already is not entered: links may form a loop."""

    def enter(folder: Path) -> bool:
        try:
            identity = _identity(folder)
        except OSError as error:
            unreadable.append((folder, _reason(error)))
            return False
        new = identity not in entered
        entered.add(identity)
        return new

    def on_error(error: OSError) -> None:
        unreadable.append((Path(os.fsdecode(error.filename)), _reason(error)))

    if not enter(root):
        return
    for folder, folders, names in os.walk(root, followlinks=True, onerror=on_error):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        folders[:] = [name for name in folders if enter(Path(folder, name))]
        yield from (Path(folder, name) for name in sorted(names) if not name.startswith("."))


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
