"""Segments survive any crash, damage is never searched, and FAISS gives the same scores as brute force."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from vlrlt.errors import LibraryError, MissingExtraError
from vlrlt.index import store
from vlrlt.index.catalog import ClipTable, LibrarySettings, Segment, Snapshot
from vlrlt.index.store import open_index, read_segment, remove_orphans, write_segment
from vlrlt.types import Float32Array
from vlrlt.video.sampling import ClipSampling

DIM = 16


def unit_vectors(num: int, seed: int = 0) -> Float32Array:
    vectors_ND = np.random.default_rng(seed).standard_normal((num, DIM)).astype(np.float32)
    return np.asarray(vectors_ND / np.linalg.norm(vectors_ND, axis=1, keepdims=True), np.float32)


def snapshot(*segments: Segment, generation: str = "g1") -> Snapshot:
    ids_0, seconds_0 = np.zeros(0, np.int64), np.zeros(0)
    return Snapshot(
        settings=LibrarySettings(
            model="m",
            fingerprint="f" * 32,
            embed_dim=DIM,
            sampling=ClipSampling(clip_s=1, stride_s=1, num_frames=1),
            policy=None,
        ),
        generation=generation,
        segments=segments,
        clips=ClipTable(ids_N=ids_0, video_N=ids_0, start_s_N=seconds_0, end_s_N=seconds_0, videos=()),
    )


def faiss_files(library_dir: Path) -> list[str]:
    return sorted(file.name for file in (library_dir / "faiss").iterdir())


def test_vectors_come_back_at_half_precision(library_dir: Path) -> None:
    vectors_ND = unit_vectors(5)
    segment = write_segment(library_dir, vectors_ND, fingerprint="f")
    assert segment.rows == 5
    again_ND = read_segment(library_dir, segment, embed_dim=DIM)
    assert again_ND.dtype == np.float32
    np.testing.assert_array_equal(again_ND, vectors_ND.astype(np.float16))
    assert [folder.name for folder in (library_dir / "segments").iterdir()] == [segment.uuid]


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
    with pytest.raises(
        LibraryError, match="cannot be written: No space left on device; what was indexed before is safe"
    ):
        write_segment(library_dir, unit_vectors(3), fingerprint="f")


@pytest.mark.parametrize("damage", ["flip", "truncate", "grow", "remove"])
def test_a_damaged_segment_is_never_searched(library_dir: Path, damage: str) -> None:
    segment = write_segment(library_dir, unit_vectors(4), fingerprint="f")
    file = library_dir / "segments" / segment.uuid / "vectors.f16"
    data = file.read_bytes()
    if damage == "remove":
        file.unlink()
    else:
        file.write_bytes(
            {"flip": bytes([data[0] ^ 1]) + data[1:], "truncate": data[:-2], "grow": data + b"\0\0"}[damage]
        )
    with pytest.raises(LibraryError, match=rf"segment .*{segment.uuid} is damaged \(.*\); restore it"):
        open_index(library_dir, snapshot(segment))


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


def test_scores_equal_brute_force_over_all_segments_in_order(library_dir: Path) -> None:
    parts = [unit_vectors(num, seed) for seed, num in enumerate((7, 1, 300))]
    segments = [write_segment(library_dir, part, fingerprint="f") for part in parts]
    index = open_index(library_dir, snapshot(*segments))
    vectors_ND = np.concatenate(parts).astype(np.float16).astype(np.float32)
    assert len(index) == 308
    for query_D in unit_vectors(5, seed=9):
        np.testing.assert_allclose(index.scores(query_D), vectors_ND @ query_D, atol=1e-6)


def test_an_empty_library_has_no_scores(library_dir: Path) -> None:
    index = open_index(library_dir, snapshot())
    assert index.scores(unit_vectors(1)[0]).shape == (0,)


def test_the_faiss_file_is_reused_and_old_generations_go(library_dir: Path) -> None:
    segment = write_segment(library_dir, unit_vectors(3), fingerprint="f")
    first = open_index(library_dir, snapshot(segment, generation="g1"))
    assert faiss_files(library_dir) == [f"{'f' * 32}-g1.faiss", f"{'f' * 32}-g1.faiss.xxh3"]
    (library_dir / "segments" / segment.uuid / "vectors.f16").unlink()
    again = open_index(library_dir, snapshot(segment, generation="g1"))  # needs no segment
    query_D = unit_vectors(1, seed=5)[0]
    np.testing.assert_array_equal(again.scores(query_D), first.scores(query_D))
    other = write_segment(library_dir, unit_vectors(2), fingerprint="f")
    assert len(open_index(library_dir, snapshot(other, generation="g2"))) == 2
    assert faiss_files(library_dir) == [f"{'f' * 32}-g2.faiss", f"{'f' * 32}-g2.faiss.xxh3"]


@pytest.mark.parametrize("damage", ["flip", "truncate", "no checksum", "wrong checksum"])
def test_a_damaged_faiss_file_is_rebuilt(library_dir: Path, damage: str) -> None:
    segment = write_segment(library_dir, unit_vectors(3), fingerprint="f")
    open_index(library_dir, snapshot(segment))
    file, checksum = (library_dir / "faiss" / name for name in faiss_files(library_dir))
    good = file.read_bytes(), checksum.read_bytes()
    if damage == "no checksum":
        checksum.unlink()
    elif damage == "wrong checksum":
        checksum.write_text("0" * 32)
    else:
        file.write_bytes(good[0][:-1] + (b"" if damage == "truncate" else bytes([good[0][-1] ^ 64])))
    query_D = unit_vectors(1, seed=5)[0]
    expected_N = read_segment(library_dir, segment, embed_dim=DIM) @ query_D
    np.testing.assert_allclose(open_index(library_dir, snapshot(segment)).scores(query_D), expected_N, atol=1e-6)
    assert (file.read_bytes(), checksum.read_bytes()) == good


def test_a_disk_that_takes_no_faiss_file_does_not_stop_a_search(library_dir: Path) -> None:
    segment = write_segment(library_dir, unit_vectors(3), fingerprint="f")
    (library_dir / "faiss").touch()  # a file where the folder should be
    assert len(open_index(library_dir, snapshot(segment))) == 3


def test_a_missing_faiss_names_both_extras(library_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'vlrlt\[cpu\]', or 'vlrlt\[gpu\]' .* never both"):
        open_index(library_dir, snapshot())


def test_only_this_file_imports_faiss() -> None:
    root = Path(store.__file__).resolve().parents[1]
    users = {
        path.name
        for folder in ("vlrlt", "index", "train", "ui")
        for path in (root / folder).rglob("*.py")
        if 'require("faiss"' in path.read_text() or "import faiss" in path.read_text()
    }
    assert users == {"store.py"}
