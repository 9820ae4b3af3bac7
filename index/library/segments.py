"""Vectors on disk: immutable float16 segments are the source of truth; every index is a copy that can be rebuilt.

What exists is decided by the catalog, never here. Legend: N frame runs, D embedding.
"""

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from vlrlt.atomic import replacing
from vlrlt.errors import DamagedSegmentError, LibraryError
from vlrlt.index.library.catalog import Segment
from vlrlt.index.library.failpoints import failpoint
from vlrlt.types import Float32Array

_VECTORS, _FACTS, _CONTENTS = "vectors.f16", "segment.json", "contents.json"
_DISK_DTYPE = np.dtype("<f2")


def write_segment(library_dir: Path, vectors_ND: Float32Array, *, fingerprint: str) -> Segment:
    """Put vectors on disk for good; they count from the moment that the catalog names the segment.

    The order makes a crash at any point harmless: write into a temporary folder, fsync files and folder, rename, fsync
    the parent.

    Args:
        library_dir: the library.
        vectors_ND: L2-normalised vectors of the frame runs of one video, by start.
        fingerprint: of the model.

    Raises:
        LibraryError: the disk is full or cannot be written.
    """
    parent = library_dir / "segments"
    data = vectors_ND.astype(_DISK_DTYPE).tobytes()
    segment = Segment(
        uuid=str(uuid.uuid4()), rows=len(vectors_ND), xxh3=xxhash.xxh3_128_hexdigest(data), fingerprint=fingerprint
    )
    facts = {"rows": segment.rows, "dim": vectors_ND.shape[1], "fingerprint": fingerprint, "xxh3": segment.xxh3}
    partial = parent / f"{segment.uuid}.tmp"
    try:
        failpoint("before the segment folder")
        partial.mkdir(parents=True)
        failpoint("before the vectors")
        _write_durably(partial / _VECTORS, data)
        failpoint("after the vectors")
        _write_durably(partial / _FACTS, json.dumps(facts).encode())
        failpoint("before the folder is synced")
        _fsync_dir(partial)
        failpoint("before the rename")
        partial.rename(parent / segment.uuid)
        failpoint("after the rename")
        _fsync_dir(parent)
        failpoint("segment is durable")
    except OSError as error:
        raise LibraryError(f"{parent} cannot be written: {error.strerror}; earlier work is safe") from error
    return segment


def read_segment(library_dir: Path, segment: Segment, *, embed_dim: int) -> Float32Array:
    """Vectors of a segment that frame runs still have, (N, embed_dim); their checksum is compared with the catalog's.

    Raises:
        DamagedSegmentError: it is missing or damaged.
    """
    folder = library_dir / "segments" / segment.uuid
    try:
        data = (folder / _VECTORS).read_bytes()
    except OSError as error:
        raise DamagedSegmentError(folder, error.strerror or str(error)) from error
    if xxhash.xxh3_128_hexdigest(data) != segment.xxh3:
        raise DamagedSegmentError(folder, f"the checksum of {_VECTORS} is wrong")
    vectors_ND = np.frombuffer(data, _DISK_DTYPE).reshape(-1, embed_dim)
    return (vectors_ND if segment.live_rows is None else vectors_ND[list(segment.live_rows)]).astype(np.float32)


def read_rows(
    library_dir: Path, segment: Segment, rows_K: npt.NDArray[np.int64], *, embed_dim: int
) -> npt.NDArray[np.float16]:
    """Some rows of a segment, (K, embed_dim), as float16; only that they are there is checked.

    Raises:
        DamagedSegmentError: they cannot be read.
    """
    path = f"{library_dir}/segments/{segment.uuid}/{_VECTORS}"  # pathlib takes as long as reading does
    row_bytes = embed_dim * _DISK_DTYPE.itemsize
    try:
        in_file = rows_K if segment.live_rows is None else np.array(segment.live_rows)[rows_K]
        segment_fd = os.open(path, os.O_RDONLY)
        try:
            if len(in_file) and np.all(np.diff(in_file) == 1):
                data = os.pread(segment_fd, len(in_file) * row_bytes, int(in_file[0]) * row_bytes)
            else:
                data = b"".join(os.pread(segment_fd, row_bytes, row * row_bytes) for row in in_file.tolist())
        finally:
            os.close(segment_fd)
    except OSError as error:
        raise DamagedSegmentError(Path(path).parent, error.strerror or str(error)) from error
    if len(data) != len(rows_K) * row_bytes:
        raise DamagedSegmentError(Path(path).parent, f"{_VECTORS} is too short")
    return np.frombuffer(data, _DISK_DTYPE).reshape(len(rows_K), embed_dim)


def quarantine(library_dir: Path, segment: Segment) -> None:
    """Put a damaged segment aside, for whoever wants to look at it; the catalog must not name it any more."""
    _move(library_dir / "segments" / segment.uuid, library_dir / "quarantine")


def remove_orphans(library_dir: Path, segments: Collection[Segment]) -> int:
    """Delete segment folders that the catalog does not name: a run was killed, or the file has changed since.

    Only for the writer: a reader may see the folder of a segment that is about to be committed. Returns how many.
    """
    orphans = _unnamed(library_dir, segments)
    for folder in orphans:
        shutil.rmtree(folder, ignore_errors=True)
    return len(orphans)


def write_contents(library_dir: Path, segment: Segment, contents: Mapping[str, Any]) -> None:
    """Put beside the vectors of a committed segment what the catalog says of them (Ledger.describe).

    Raises:
        LibraryError: the disk is full or cannot be written.
    """
    path = library_dir / "segments" / segment.uuid / _CONTENTS
    try:
        with replacing(path) as unfinished:
            unfinished.write_text(json.dumps(contents), encoding="utf-8")
    except OSError as error:
        raise LibraryError(f"{path} cannot be written: {error.strerror}") from error


def let_go(library_dir: Path, segments: Collection[Segment]) -> None:
    """What this writer has removed from the catalog becomes an orphan like those of killed runs, without contents."""
    for folder in _unnamed(library_dir, segments):
        with contextlib.suppress(OSError):
            (folder / _CONTENTS).unlink(missing_ok=True)


def set_orphans_aside(library_dir: Path, segments: Collection[Segment]) -> tuple[int, int]:
    """Delete what killed runs have left; put into quarantine what a catalog has named once and this one does not know.

    Only for the writer, as `remove_orphans`. Returns how many were deleted, and how many put aside.
    """
    unnamed = _unnamed(library_dir, segments)
    named_once = [folder for folder in unnamed if (folder / _CONTENTS).exists()]
    for folder in named_once:
        _move(folder, library_dir / "quarantine")
    return remove_orphans(library_dir, segments), len(named_once)


def strays(library_dir: Path, segments: Collection[Segment]) -> Iterator[tuple[Segment, dict[str, Any]]]:
    """Segments that the catalog does not name, with what they say of themselves, the newest first; they are whole.

    Those that had been put aside are among the others again.
    """
    named = {segment.uuid for segment in segments}
    found = [path for room in ("segments", "quarantine") for path in (library_dir / room).glob(f"*/{_CONTENTS}")]
    for path in sorted(found, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        folder = path.parent
        if folder.name in named:
            continue
        try:
            facts = json.loads((folder / _FACTS).read_bytes())
            contents = json.loads(path.read_bytes())
            segment = Segment(
                uuid=folder.name, rows=facts["rows"], xxh3=facts["xxh3"], fingerprint=facts["fingerprint"]
            )
            whole = xxhash.xxh3_128_hexdigest((folder / _VECTORS).read_bytes()) == segment.xxh3
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if whole and isinstance(contents, dict):
            _move(folder, library_dir / "segments")
            yield segment, contents


def _unnamed(library_dir: Path, segments: Collection[Segment]) -> list[Path]:
    """Folders that the catalog does not name."""
    committed = {segment.uuid for segment in segments}
    return [folder for folder in (library_dir / "segments").glob("*") if folder.name not in committed]


def _move(folder: Path, room: Path) -> None:
    room.mkdir(exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        folder.rename(room / folder.name)


def _write_durably(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _fsync_dir(folder: Path) -> None:
    folder_fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(folder_fd)
    finally:
        os.close(folder_fd)
