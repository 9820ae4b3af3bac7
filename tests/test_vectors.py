"""Every vector store finds what brute force finds, and FAISS indexes survive growth, deletion and damage.

Small libraries get the indexes of big ones by lowering the limits of the plan.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from vlrlt.errors import LibraryError, MissingExtraError
from vlrlt.index.catalog import ClipTable, LibrarySettings, Snapshot, generation_of
from vlrlt.index.store import write_segment
from vlrlt.index.vectors import faiss_base, plan
from vlrlt.index.vectors.faiss_build import positions_of
from vlrlt.index.vectors.faiss_store import FaissStore, info_of
from vlrlt.index.vectors.plan import fits, plan_index
from vlrlt.index.vectors.protocol import VectorStore
from vlrlt.types import Float32Array
from vlrlt.video.sampling import ClipSampling

DIM = 32
KINDS = {"SQfp16": {}, "SQ8": {"EXACT_MAX_CLIPS": 0}, "RaBitQ4": {"EXACT_MAX_CLIPS": 0, "SQ8_MAX_CLIPS": 0}}


def unit_vectors(num: int, seed: int) -> Float32Array:
    """Around 20 centres, as stored: float16."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((20, DIM))
    vectors_ND = centres[rng.integers(20, size=num)] + 0.7 * rng.standard_normal((num, DIM))
    vectors_ND /= np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    return vectors_ND.astype(np.float16).astype(np.float32)


class Archive:
    """Videos that come and go, and the snapshot that a catalog would give of them."""

    def __init__(self, library_dir: Path) -> None:
        self.library_dir = library_dir
        self._videos: dict[int, tuple[object, Float32Array]] = {}

    def add(self, *videos: int, clips: int = 100) -> None:
        for video in videos:
            vectors_ND = unit_vectors(clips, seed=video)
            self._videos[video] = write_segment(self.library_dir, vectors_ND, fingerprint="f" * 32), vectors_ND

    def remove(self, *videos: int) -> None:
        for video in videos:
            del self._videos[video]

    @property
    def vectors_ND(self) -> Float32Array:
        return np.concatenate([np.zeros((0, DIM), np.float32), *(vectors for _, vectors in self._videos.values())])

    @property
    def snapshot(self) -> Snapshot:
        segments = tuple(segment for segment, _ in self._videos.values())
        sizes = [len(vectors_ND) for _, vectors_ND in self._videos.values()]
        ids = [hash((video, row)) >> 2 for video, size in zip(self._videos, sizes, strict=True) for row in range(size)]
        start_s_N = np.concatenate([np.zeros(0), *(np.arange(size, dtype=np.float64) for size in sizes)])
        return Snapshot(
            settings=LibrarySettings(
                model="m",
                fingerprint="f" * 32,
                embed_dim=DIM,
                sampling=ClipSampling(clip_s=1, stride_s=1, num_frames=1),
                policy=None,
            ),
            generation=generation_of(segments),  # type: ignore[arg-type]
            segments=segments,  # type: ignore[arg-type]
            clips=ClipTable(
                ids_N=np.abs(np.array(ids, np.int64)),
                video_N=np.repeat(np.arange(len(sizes)), sizes),
                start_s_N=start_s_N,
                end_s_N=start_s_N + 1,
                videos=tuple(f"/videos/{video}.mp4" for video in self._videos),
            ),
        )

    def open(self) -> FaissStore:
        return FaissStore(self.library_dir, self.snapshot)


@pytest.fixture
def archive(library_dir: Path) -> Archive:
    return Archive(library_dir)


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in KINDS[request.param].items():
        monkeypatch.setattr(plan, name, value)
    return str(request.param)


def queries(num: int = 20) -> Float32Array:
    return unit_vectors(num, seed=12345)


def check(store: VectorStore, vectors_ND: Float32Array, *, within: Sequence[int] | None = None) -> None:
    """Ten hits of twenty queries against brute force: all scores true, nearly all hits found, all where it is exact."""
    allowed = np.arange(len(vectors_ND)) if within is None else np.asarray(within)
    within_N = None if within is None else np.isin(np.arange(len(vectors_ND)), allowed)
    assert len(store) == len(vectors_ND)
    found = 0
    for query_D in queries():
        scores_N = vectors_ND @ query_D
        hits = store.search(query_D, k=10, within_N=within_N)
        np.testing.assert_allclose(hits.scores_K, scores_N[hits.positions_K], atol=2e-6)
        assert (np.diff(hits.scores_K) <= 0).all()
        assert np.isin(hits.positions_K, allowed).all()
        assert len(np.unique(hits.positions_K)) == len(hits.positions_K) == min(10, len(allowed))
        true_K = allowed[np.argsort(-scores_N[allowed], kind="stable")][:10]
        found += len(np.intersect1d(true_K, hits.positions_K))
    least = 1.0 if not store.info.recall_at_10 else 0.9
    assert found >= least * 20 * min(10, len(allowed))


def faiss_folders(library_dir: Path) -> list[str]:
    return sorted(folder.name for folder in (library_dir / "faiss").iterdir())


def test_finds_what_brute_force_finds(archive: Archive, kind: str) -> None:
    archive.add(*range(30))
    store = archive.open()
    assert kind in store.info.kind
    check(store, archive.vectors_ND)
    check(archive.open(), archive.vectors_ND)  # from disk, mapped


@pytest.mark.parametrize("share", [0.002, 0.02, 0.5])
def test_a_filter_runs_inside_the_index(
    archive: Archive, kind: str, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vlrlt.index.vectors.faiss_store._SCAN_CLIPS", 20)
    archive.add(*range(30))
    within = np.flatnonzero(np.random.default_rng(3).random(3000) < share)
    check(archive.open(), archive.vectors_ND, within=within.tolist())


def test_nothing_passes_an_empty_filter(archive: Archive, kind: str) -> None:
    archive.add(1, 2, 3)
    hits = archive.open().search(queries(1)[0], k=10, within_N=np.zeros(300, np.bool_))
    assert len(hits.positions_K) == len(hits.scores_K) == 0


def test_more_hits_than_clips(archive: Archive, kind: str) -> None:
    archive.add(1)
    assert len(archive.open().search(queries(1)[0], k=1000).positions_K) == 100


def test_an_empty_library_has_no_hits(archive: Archive) -> None:
    store = archive.open()
    assert len(store) == 0
    assert len(store.search(queries(1)[0], k=5).positions_K) == 0
    assert store.sample_SD.shape == (0, DIM)


def test_a_little_change_leaves_the_base_alone(archive: Archive, kind: str) -> None:
    archive.add(*range(30))
    archive.open()
    before = faiss_folders(archive.library_dir)
    archive.remove(4)
    archive.add(31, 32, clips=50)
    check(archive.open(), archive.vectors_ND)
    assert faiss_folders(archive.library_dir) == before
    kept = np.flatnonzero(np.random.default_rng(3).random(3000) < 0.5)
    check(archive.open(), archive.vectors_ND, within=kept.tolist())


def test_much_change_is_merged_into_the_base(archive: Archive, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    archive.add(*range(30))
    archive.open()
    before = faiss_folders(archive.library_dir)
    archive.remove(0, 7, 29)
    archive.add(40, 41, 42)
    monkeypatch.setattr("vlrlt.index.vectors.faiss_build._built", None)  # it would train anew
    check(archive.open(), archive.vectors_ND)
    (after,) = faiss_folders(archive.library_dir)
    assert [after] != before
    check(archive.open(), archive.vectors_ND)  # what was written is the same
    assert faiss_folders(archive.library_dir) == [after]


def test_a_library_that_outgrows_its_plan_gets_the_next_one(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "EXACT_MAX_CLIPS", 1000)
    monkeypatch.setattr(plan, "SQ8_MAX_CLIPS", 2000)
    seen = []
    for first in (0, 10, 20):
        archive.add(*range(first, first + 10))
        store = archive.open()
        check(store, archive.vectors_ND)
        seen.append(store.info.kind.partition(",")[2] or store.info.kind)
    assert seen == ["SQfp16", "SQ8", "RaBitQ4"]


def test_a_plan_serves_until_the_kind_or_the_size_changes() -> None:
    assert [plan_index(num).factory for num in (200_000, 1_000_000, 10_000_000)] == [
        "SQfp16",
        "IVF4000,SQ8",
        "IVF12649,RaBitQ4",
    ]
    sq8 = plan_index(300_000)
    assert fits(sq8, trained_clips=300_000, num_clips=1_200_000)
    assert not fits(sq8, trained_clips=300_000, num_clips=1_200_001)
    assert not fits(sq8, trained_clips=300_000, num_clips=200_000)
    assert fits(plan_index(1), trained_clips=1, num_clips=200_000)


def test_the_self_check_tunes_and_is_told(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "EXACT_MAX_CLIPS", 0)
    archive.add(*range(30))
    store = archive.open()
    assert store.info.recall_at_10.keys() == {"clip", "text-like"}
    assert store.info.recall_at_10["text-like"] >= 0.985
    assert info_of(archive.library_dir, "f" * 32) == store.info
    assert "recall@10" in store.info.as_text()
    assert info_of(archive.library_dir, "e" * 32) is None


def test_vectors_are_the_stored_ones_in_the_order_asked_for(archive: Archive) -> None:
    archive.add(1, 2, 3)
    positions_K = np.array([250, 3, 199, 3, 0])
    np.testing.assert_array_equal(archive.open().vectors(positions_K), archive.vectors_ND[positions_K])


def test_the_sample_is_the_whole_of_a_small_library(archive: Archive) -> None:
    archive.add(1, 2)
    np.testing.assert_array_equal(archive.open().sample_SD, archive.vectors_ND)


def test_positions_of_ids() -> None:
    ids_N = np.array([7, 3, 9, 1])
    np.testing.assert_array_equal(positions_of(np.array([1, 8, 7, 10, 0]), ids_N), [3, -1, 0, -1, -1])
    np.testing.assert_array_equal(positions_of(np.array([5]), ids_N[:0]), [-1])


def test_two_models_keep_their_indexes(archive: Archive) -> None:
    archive.add(1)
    archive.open()
    (archive.library_dir / "faiss" / f"{'e' * 32}-0000").mkdir()
    archive.add(2)
    archive.open()
    assert len(faiss_folders(archive.library_dir)) == 2


@pytest.mark.parametrize("file", ["index.faiss", "ids.i64", "sample.f16", "base.json", "xxh3.json"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_index_is_built_again(archive: Archive, file: str, damage: str) -> None:
    archive.add(1, 2)
    archive.open()
    (folder,) = (archive.library_dir / "faiss").iterdir()
    good = (folder / file).read_bytes()
    if damage == "remove":
        (folder / file).unlink()
    else:
        middle = len(good) // 2
        flipped = good[:middle] + bytes([good[middle] ^ 64]) + good[middle + 1 :]
        (folder / file).write_bytes(good[:-1] if damage == "truncate" else flipped)
    check(archive.open(), archive.vectors_ND)
    assert (folder / file).read_bytes() == good


@pytest.mark.parametrize("fresh", [True, False])
def test_a_damaged_segment_is_never_indexed(archive: Archive, fresh: bool) -> None:
    if fresh:
        archive.add(*range(30))
        archive.open()
    archive.add(50)
    segment = archive.snapshot.segments[-1]
    file = archive.library_dir / "segments" / segment.uuid / "vectors.f16"
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(LibraryError, match=rf"{segment.uuid} is damaged"):
        archive.open()


def test_a_disk_that_takes_no_index_does_not_stop_a_search(archive: Archive) -> None:
    archive.add(1)
    (archive.library_dir / "faiss").touch()  # a file where the folder should be
    check(archive.open(), archive.vectors_ND)


def test_a_missing_faiss_names_both_extras(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'vlrlt\[cpu\]', or 'vlrlt\[gpu\]' .* never both"):
        archive.open()


def test_only_one_file_imports_faiss() -> None:
    root = Path(faiss_base.__file__).resolve().parents[2]
    users = {
        path.name
        for folder in ("vlrlt", "index", "train", "ui")
        for path in (root / folder).rglob("*.py")
        if re.search(r'require\("faiss"|import faiss\b', path.read_text())
    }
    assert users == {"faiss_base.py"}
