"""Vectors on disk: immutable segments of float16 are the truth, the FAISS file is a copy that can be rebuilt.

What exists is decided by the catalog, never here. The only file that imports faiss. Legend: N clips, D embedding.
"""

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from vlrlt.errors import LibraryError
from vlrlt.extras import require
from vlrlt.index.catalog import Segment, Snapshot
from vlrlt.types import Float32Array

_VECTORS = "vectors.f16"
_DISK_DTYPE = np.dtype("<f2")
_FAISS_NOTE = ", or 'vlrlt[gpu]' on Linux with an NVIDIA GPU, never both: they provide the same module"


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


def remove_orphans(library_dir: Path, segments: Collection[Segment]) -> None:
    """Delete segment folders that the catalog does not name: a run was killed, or the file has changed since.

    Only for the writer: a reader may see the folder of a segment that is about to be committed.
    """
    committed = {segment.uuid for segment in segments}
    for folder in (library_dir / "segments").glob("*"):
        if folder.name not in committed:
            shutil.rmtree(folder, ignore_errors=True)


def load_faiss() -> Any:  # noqa: ANN401  faiss has no types
    """The module faiss.

    Raises:
        MissingExtraError: it is not installed.
    """
    return require("faiss", extra="cpu", note=_FAISS_NOTE)


class VectorIndex:
    """Exact inner products with every vector of a library, by FAISS."""

    def __init__(self, index: Any) -> None:  # noqa: ANN401  faiss has no types
        self._index = index

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def scores(self, query_D: Float32Array) -> Float32Array:
        """Inner product of a query with every vector, (N,) in the order of the catalog's clip table."""
        scores_N = np.zeros(len(self), np.float32)
        if len(self):
            sorted_1N, positions_1N = self._index.search(query_D[None], len(self))
            scores_N[positions_1N[0]] = sorted_1N[0]
        return scores_N


def open_index(library_dir: Path, snapshot: Snapshot) -> VectorIndex:
    """Load the FAISS file of this generation, or build it from the segments and keep it for next time.

    Raises:
        MissingExtraError: faiss is not installed.
        LibraryError: a segment is missing or damaged.
    """
    faiss = load_faiss()
    path = library_dir / "faiss" / f"{snapshot.settings.fingerprint}-{snapshot.generation}.faiss"
    data = _read_checked(path)
    if data is not None:
        return VectorIndex(faiss.deserialize_index(np.frombuffer(data, np.uint8)))
    embed_dim = snapshot.settings.embed_dim
    index = faiss.IndexFlatIP(embed_dim)
    for segment in snapshot.segments:
        index.add(read_segment(library_dir, segment, embed_dim=embed_dim))
    # Only a copy: a disk that is full or read-only must not stop a search.
    with contextlib.suppress(OSError):
        _keep(path, faiss.serialize_index(index).data)
    return VectorIndex(index)


def _read_checked(path: Path) -> bytes | None:
    """The file's bytes if they match the checksum beside it. FAISS itself loads most damaged files without a word."""
    try:
        data = path.read_bytes()
        expected = _checksum_path(path).read_text()
    except OSError:
        return None
    return data if xxhash.xxh3_128_hexdigest(data) == expected else None


def _keep(path: Path, data: memoryview) -> None:
    """Write index and checksum, each atomically, and drop those of older generations."""
    path.parent.mkdir(exist_ok=True)
    checksum = _checksum_path(path)
    for target, content in ((path, data), (checksum, xxhash.xxh3_128_hexdigest(data).encode())):
        partial = target.with_name(f"{target.name}.{os.getpid()}.tmp")
        _write_durably(partial, content)
        partial.rename(target)
    for old in path.parent.iterdir():
        if old not in (path, checksum):
            old.unlink(missing_ok=True)


def _checksum_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.xxh3")


def _write_durably(path: Path, data: bytes | memoryview) -> None:
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
