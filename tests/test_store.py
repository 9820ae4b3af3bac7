"""Segments survive any crash and damage is never read."""

import os
from pathlib import Path

import numpy as np
import pytest

from vlrlt.errors import LibraryError
from vlrlt.index.library.segments import read_rows, read_segment, remove_orphans, write_segment
from vlrlt.types import Float32Array

DIM = 16


def unit_vectors(num: int, seed: int = 0) -> Float32Array:
    vectors_ND = np.random.default_rng(seed).standard_normal((num, DIM)).astype(np.float32)
    return np.asarray(vectors_ND / np.linalg.norm(vectors_ND, axis=1, keepdims=True), np.float32)


def test_vectors_come_back_at_half_precision(library_dir: Path) -> None:
    vectors_ND = unit_vectors(5)
    segment = write_segment(library_dir, vectors_ND, fingerprint="f")
    assert segment.rows == 5
    again_ND = read_segment(library_dir, segment, embed_dim=DIM)
    assert again_ND.dtype == np.float32
    np.testing.assert_array_equal(again_ND, vectors_ND.astype(np.float16))
    assert [folder.name for folder in (library_dir / "segments").iterdir()] == [segment.uuid]


@pytest.mark.linux
def test_everything_is_on_disk_before_the_folder_gets_its_name(
    library_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[Path | tuple[Path, Path]] = []
    fsync, rename = os.fsync, Path.rename

    def spied_fsync(fd: int) -> None:
        steps.append(Path(f"/proc/self/fd/{fd}").readlink())
        fsync(fd)

    def spied_rename(self: Path, target: Path) -> Path:
        steps.append((self, target))
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", spied_fsync)
    monkeypatch.setattr(Path, "rename", spied_rename)
    segment = write_segment(library_dir, unit_vectors(3), fingerprint="f")
    parent = library_dir / "segments"
    partial = parent / f"{segment.uuid}.tmp"
    assert steps == [
        partial / "vectors.f16",
        partial / "segment.json",
        partial,
        (partial, parent / segment.uuid),
        parent,
    ]


def test_a_full_disk_is_one_clear_error(library_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(LibraryError, match="cannot be written: No space left on device; earlier work is safe"):
        write_segment(library_dir, unit_vectors(3), fingerprint="f")


@pytest.mark.parametrize("damage", ["flip", "truncate", "grow", "remove"])
def test_a_damaged_segment_is_never_read(library_dir: Path, damage: str) -> None:
    segment = write_segment(library_dir, unit_vectors(4), fingerprint="f")
    file = library_dir / "segments" / segment.uuid / "vectors.f16"
    data = file.read_bytes()
    if damage == "remove":
        file.unlink()
    else:
        file.write_bytes(
            {"flip": bytes([data[0] ^ 1]) + data[1:], "truncate": data[:-2], "grow": data + b"\0\0"}[damage]
        )
    with pytest.raises(LibraryError, match=rf"segment .*{segment.uuid} is damaged \(.*\); run: vlrlt verify"):
        read_segment(library_dir, segment, embed_dim=DIM)


def test_single_rows(library_dir: Path) -> None:
    segment = write_segment(library_dir, unit_vectors(4), fingerprint="f")
    rows_KD = read_rows(library_dir, segment, np.array([3, 0, 3]), embed_dim=DIM)
    np.testing.assert_array_equal(rows_KD, read_segment(library_dir, segment, embed_dim=DIM)[[3, 0, 3]])
    file = library_dir / "segments" / segment.uuid / "vectors.f16"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(LibraryError, match=r"is damaged \(vectors.f16 is too short\)"):
        read_rows(library_dir, segment, np.array([3]), embed_dim=DIM)
    file.unlink()
    with pytest.raises(LibraryError, match=r"is damaged \(No such file"):
        read_rows(library_dir, segment, np.array([3]), embed_dim=DIM)


def test_orphans_of_killed_runs_are_removed(library_dir: Path) -> None:
    kept = write_segment(library_dir, unit_vectors(2), fingerprint="f")
    write_segment(library_dir, unit_vectors(2), fingerprint="f")
    (library_dir / "segments" / "half-written.tmp").mkdir()
    (library_dir / "segments" / "half-written.tmp" / "vectors.f16").write_bytes(b"x")
    remove_orphans(library_dir, [kept])
    assert [folder.name for folder in (library_dir / "segments").iterdir()] == [kept.uuid]
    assert len(read_segment(library_dir, kept, embed_dim=DIM)) == 2


def test_no_segments_folder_is_fine(library_dir: Path) -> None:
    remove_orphans(library_dir, [])
    assert not library_dir.exists()
