"""Vectors on disk: immutable segments of float16 are the truth, every index is a copy that can be rebuilt.

What exists is decided by the catalog, never here. Legend: N clips, D embedding.
"""

import json
import os
import shutil
import uuid
from collections.abc import Collection
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xxhash

from vlrlt.errors import LibraryError
from vlrlt.index.catalog import Segment
from vlrlt.types import Float32Array

_VECTORS = "vectors.f16"
_DISK_DTYPE = np.dtype("<f2")


def write_segment(library_dir: Path, vectors_ND: Float32Array, *, fingerprint: str) -> Segment:
    """Put vectors on disk for good; they count from the moment that the catalog names the segment.

    The order makes a crash at any point harmless: write into a temporary folder, fsync files and folder, rename, fsync
    the parent.

    Args:
        library_dir: the library.
        vectors_ND: L2-normalised vectors of the clips of one video, by start.
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
        partial.mkdir(parents=True)
        _write_durably(partial / _VECTORS, data)
        _write_durably(partial / "segment.json", json.dumps(facts).encode())
        _fsync_dir(partial)
        partial.rename(parent / segment.uuid)
        _fsync_dir(parent)
    except OSError as error:
        raise LibraryError(f"{parent} cannot be written: {error.strerror}; what was indexed before is safe") from error
    return segment


def read_segment(library_dir: Path, segment: Segment, *, embed_dim: int) -> Float32Array:
    """Vectors of a segment, (segment.rows, embed_dim), after their checksum was compared with the catalog's.

    Raises:
        LibraryError: it is missing or damaged.
    """
    folder = library_dir / "segments" / segment.uuid
    try:
        data = (folder / _VECTORS).read_bytes()
    except OSError as error:
        raise LibraryError(_damaged(folder, error.strerror or str(error))) from error
    if xxhash.xxh3_128_hexdigest(data) != segment.xxh3:
        raise LibraryError(_damaged(folder, f"the checksum of {_VECTORS} is wrong"))
    return np.frombuffer(data, _DISK_DTYPE).reshape(segment.rows, embed_dim).astype(np.float32)


def read_rows(
    library_dir: Path, segment: Segment, rows_K: npt.NDArray[np.int64], *, embed_dim: int
) -> npt.NDArray[np.float16]:
    """Some rows of a segment, (K, embed_dim), as float16; only that they are there is checked.

    Raises:
        LibraryError: they cannot be read.
    """
    folder = library_dir / "segments" / segment.uuid
    row_bytes = embed_dim * _DISK_DTYPE.itemsize
    try:
        segment_fd = os.open(folder / _VECTORS, os.O_RDONLY)
        try:
            data = b"".join(os.pread(segment_fd, row_bytes, row * row_bytes) for row in rows_K.tolist())
        finally:
            os.close(segment_fd)
    except OSError as error:
        raise LibraryError(_damaged(folder, error.strerror or str(error))) from error
    if len(data) != len(rows_K) * row_bytes:
        raise LibraryError(_damaged(folder, f"{_VECTORS} is too short"))
    return np.frombuffer(data, _DISK_DTYPE).reshape(len(rows_K), embed_dim)


def remove_orphans(library_dir: Path, segments: Collection[Segment]) -> None:
    """Delete segment folders that the catalog does not name: a run was killed, or the file has changed since.

    Only for the writer: a reader may see the folder of a segment that is about to be committed.
    """
    committed = {segment.uuid for segment in segments}
    for folder in (library_dir / "segments").glob("*"):
        if folder.name not in committed:
            shutil.rmtree(folder, ignore_errors=True)


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


def _damaged(folder: Path, reason: str) -> str:
    return f"segment {folder} is damaged ({reason}); restore it from a backup, or index into a new library folder"
