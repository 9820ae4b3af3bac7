"""The files of the archive: which ones to index, and whether they have changed. This module never writes."""

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

import xxhash

from vlrlt.errors import ConfigError, DecodeError, UnreachableFileError
from vlrlt.formats import composed

# fmt: off
VIDEO_SUFFIXES = frozenset((
    ".3g2", ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".h264", ".hevc", ".insv", ".ivf", ".lrv",
    ".m1v", ".m2t", ".m2ts", ".m2v", ".m4v", ".mjpeg", ".mkv", ".mod", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf",
    ".nut", ".ogm", ".ogv", ".qt", ".rm", ".rmvb", ".tod", ".ts", ".vob", ".webm", ".wmv", ".y4m",
))
# fmt: on
"""Files in a folder are taken by suffix, whatever its case; a file that is named explicitly is always taken."""

_SAMPLE_BYTES = 64 * 1024
_NUM_SAMPLES = 16
_READ_BYTES = 2**20

_PASSING_ERRORS = frozenset(
    (
        *(errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.ENOMEM, errno.EMFILE),
        *(errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ECONNRESET, errno.ENOTCONN),
    )
)
"""What a network share or a busy machine says when the next try may work."""


@dataclass(frozen=True, kw_only=True)
class FileStamp:
    """What tells cheaply that a file may have changed."""

    size_bytes: int
    mtime_ns: int
    inode: int
    device: int = field(default=0, compare=False)
    """Of the file system; not compared, because the same disk may come back under another number."""


NO_STAMP = FileStamp(size_bytes=0, mtime_ns=0, inode=0)
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
    away: tuple[Path, ...] = ()
    """Given paths that are known and not there now: an unplugged disk, a share that is down."""


def file_stamp(path: Path) -> FileStamp:
    """Size and modification time of a file, through symbolic links.

    Raises:
        DecodeError: it is gone, may not be read or is no regular file (reading a pipe could block for ever).
    """
    try:
        status = path.stat()
    except OSError as error:
        raise unreadable(path, error) from error
    if not stat.S_ISREG(status.st_mode):
        raise DecodeError(path, stage="open", reason="not a regular file")
    return FileStamp(size_bytes=status.st_size, mtime_ns=status.st_mtime_ns, inode=status.st_ino, device=status.st_dev)


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
        raise unreadable(path, error) from error
    return digest.hexdigest()


def full_hash(path: Path) -> str:
    """Hash every byte of a file: 32 hexadecimal digits.

    Raises:
        DecodeError: the file cannot be read.
    """
    digest = xxhash.xxh3_128()
    try:
        with path.open("rb") as file:
            while piece := file.read(_READ_BYTES):
                digest.update(piece)
    except OSError as error:
        raise unreadable(path, error) from error
    return digest.hexdigest()


def unread_hash(path: Path) -> str:
    """What stands for the content of a file that cannot be read."""
    return f"unread {os.fsencode(path).hex()}"


def unreadable(path: Path, error: OSError) -> DecodeError:
    """The error of a file that cannot be read: UnreachableFileError if that may pass."""
    kind = UnreachableFileError if error.errno in _PASSING_ERRORS else DecodeError
    return kind(path, stage="open", reason=_reason(error))


def no_path_is_known(_path: Path) -> bool:
    """The default of walk_videos."""
    return False


def walk_videos(
    paths: Iterable[Path],
    *,
    library_dir: Path,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    is_known: Callable[[Path], bool] = no_path_is_known,
    check: Callable[[], None] = lambda: None,
) -> Walk:
    """Find the video files below folders, and take the files that are named.

    Hidden files and folders are skipped, symbolic links are followed, each folder is entered once. A pattern with "*",
    "?" or "[...]" is compared with the name; one with a "/" with the path below the given folder.

    Args:
        paths: folders and files.
        library_dir: never entered.
        include: patterns of files, one of which a file in a folder must match; empty: all.
        exclude: patterns of files and folders that are left out.
        is_known: whether a path that is not there now was indexed before, or files below it.
        check: called for every file; it raises what ends the run.

    Raises:
        ConfigError: one of the paths does not exist and is not known.
    """
    files: dict[Path, None] = {}
    unreadable: list[tuple[Path, str]] = []
    away: list[Path] = []
    num_ignored = 0
    entered: set[tuple[int, int]] = set()
    if library_dir.exists():
        entered.add(_identity(library_dir))
    for path in paths:
        root = Path(os.path.realpath(path))
        if not root.exists():
            if not is_known(root):
                raise ConfigError(f"{path} does not exist; give videos or folders that hold some")
            away.append(root)
            continue
        if not root.is_dir():
            files[root] = None
            continue
        for file in _visible_files(root, entered, unreadable, exclude):
            check()
            if file.suffix.lower() in VIDEO_SUFFIXES and (not include or matches(file, root, include)):
                files[file] = None
            else:
                num_ignored += 1
    return Walk(files=tuple(files), num_ignored=num_ignored, unreadable=tuple(unreadable), away=tuple(away))


def matches(path: Path, root: Path, patterns: Sequence[str]) -> bool:
    """Whether one of the patterns fits a path below root; see walk_videos."""
    below, name = composed(str(path.relative_to(root))), composed(path.name)
    return any(fnmatch(below if "/" in pattern else name, composed(pattern)) for pattern in patterns)


def _visible_files(
    root: Path, entered: set[tuple[int, int]], unreadable: list[tuple[Path, str]], exclude: Sequence[str]
) -> Iterator[Path]:
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

    def is_wanted(path: Path) -> bool:
        return not path.name.startswith(".") and not matches(path, root, exclude)

    if not enter(root):
        return
    for folder, folders, names in os.walk(root, followlinks=True, onerror=on_error):
        wanted = [name for name in sorted(folders) if is_wanted(Path(folder, name))]
        folders[:] = [name for name in wanted if enter(Path(folder, name))]
        yield from (path for name in sorted(names) if is_wanted(path := Path(folder, name)))


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
