"""Vectors on disk: immutable segments of float16 are the truth, every index is a copy that can be rebuilt.

What exists is decided by the catalog, never here. Legend: N frame runs, D embedding.
"""

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Collection
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xxhash

from vlrlt.errors import DamagedSegmentError, LibraryError
from vlrlt.index.library.catalog import Segment
from vlrlt.index.library.failpoints import failpoint
from vlrlt.types import Float32Array

_VECTORS = "vectors.f16"
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
        _write_durably(partial / "segment.json", json.dumps(facts).encode())
        failpoint("before the folder is synced")
        _fsync_dir(partial)
        failpoint("before the rename")
        partial.rename(parent / segment.uuid)
        failpoint("after the rename")
        _fsync_dir(parent)
        failpoint("segment is durable")
    except OSError as error:
        raise LibraryError(f"{parent} cannot be written: {error.strerror}; what was indexed before is safe") from error
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
    folder = library_dir / "quarantine"
    folder.mkdir(exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        (library_dir / "segments" / segment.uuid).rename(folder / segment.uuid)


def remove_orphans(library_dir: Path, segments: Collection[Segment]) -> int:
    """Delete segment folders that the catalog does not name: a run was killed, or the file has changed since.

    Only for the writer: a reader may see the folder of a segment that is about to be committed. Returns how many.
    """
    committed = {segment.uuid for segment in segments}
    orphans = [folder for folder in (library_dir / "segments").glob("*") if folder.name not in committed]
    for folder in orphans:
        shutil.rmtree(folder, ignore_errors=True)
    return len(orphans)


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
