"""Every vector store finds what brute force finds, and FAISS indexes survive growth, deletion and damage.

Small libraries get the indexes of big ones by lowering the limits of the plan.
"""

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stores import DIM, Archive, check, queries

from vlrlt.errors import LibraryError, MissingExtraError
from vlrlt.index.vectors import faiss_base, faiss_part, plan
from vlrlt.index.vectors.faiss_build import positions_of
from vlrlt.index.vectors.faiss_store import FaissStore, info_of
from vlrlt.index.vectors.plan import IndexPlan, fits, plan_index

KINDS = {"SQfp16": {}, "SQ8": {"EXACT_MAX_CLIPS": 0}, "RaBitQ4": {"EXACT_MAX_CLIPS": 0, "SQ8_MAX_CLIPS": 0}}


@pytest.fixture
def archive(library_dir: Path) -> Archive:
    return Archive(library_dir)


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in KINDS[request.param].items():
        monkeypatch.setattr(plan, name, value)
    return str(request.param)


def opened(archive: Archive) -> FaissStore:
    return FaissStore(archive.library_dir, archive.snapshot)


def faiss_folders(library_dir: Path) -> list[str]:
    return sorted(folder.name for folder in (library_dir / "faiss").iterdir())


def test_finds_what_brute_force_finds(archive: Archive, kind: str) -> None:
    archive.add(*range(30))
    store = opened(archive)
    assert kind in store.info.kind
    check(store, archive.vectors_ND)
    check(opened(archive), archive.vectors_ND)  # from disk, mapped


@pytest.mark.parametrize("share", [0.002, 0.02, 0.5])
def test_a_filter_runs_inside_the_index(
    archive: Archive, kind: str, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vlrlt.index.vectors.faiss_store._SCAN_CLIPS", 20)
    archive.add(*range(30))
    within = np.flatnonzero(np.random.default_rng(3).random(3000) < share)
    check(opened(archive), archive.vectors_ND, within=within.tolist())


def test_nothing_passes_an_empty_filter(archive: Archive, kind: str) -> None:
    archive.add(1, 2, 3)
    hits = opened(archive).search(queries(1)[0], k=10, within_N=np.zeros(300, np.bool_))
    assert len(hits.positions_K) == len(hits.scores_K) == 0


def test_more_hits_than_clips(archive: Archive, kind: str) -> None:
    archive.add(1)
    assert len(opened(archive).search(queries(1)[0], k=1000).positions_K) == 100


def test_an_empty_library_has_no_hits(archive: Archive) -> None:
    store = opened(archive)
    assert len(store) == 0
    assert len(store.search(queries(1)[0], k=5).positions_K) == 0
    assert store.sample_SD.shape == (0, DIM)


def test_a_little_change_leaves_the_base_alone(archive: Archive, kind: str) -> None:
    archive.add(*range(30))
    opened(archive)
    before = faiss_folders(archive.library_dir)
    archive.remove(4)
    archive.add(31, 32, clips=50)
    check(opened(archive), archive.vectors_ND)
    assert faiss_folders(archive.library_dir) == before
    kept = np.flatnonzero(np.random.default_rng(3).random(3000) < 0.5)
    check(opened(archive), archive.vectors_ND, within=kept.tolist())


def test_much_change_is_merged_into_the_base(archive: Archive, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    archive.add(*range(30))
    opened(archive)
    before = faiss_folders(archive.library_dir)
    archive.remove(0, 7, 29)
    archive.add(40, 41, 42)
    monkeypatch.setattr("vlrlt.index.vectors.faiss_build._built", None)  # it would train anew
    check(opened(archive), archive.vectors_ND)
    (after,) = faiss_folders(archive.library_dir)
    assert [after] != before
    check(opened(archive), archive.vectors_ND)  # what was written is the same
    assert faiss_folders(archive.library_dir) == [after]


def test_a_library_that_outgrows_its_plan_gets_the_next_one(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "EXACT_MAX_CLIPS", 1000)
    monkeypatch.setattr(plan, "SQ8_MAX_CLIPS", 2000)
    seen = []
    for first in (0, 10, 20):
        archive.add(*range(first, first + 10))
        store = opened(archive)
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


def test_where_more_lists_bring_no_more_hits_tuning_stops(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "EXACT_MAX_CLIPS", 0)
    monkeypatch.setattr(plan.IndexPlan, "target_recall", 1.1)
    archive.add(*range(30))
    opened(archive)
    facts = faiss_base.read_facts(faiss_base.bases(archive.library_dir, "f" * 32)[0])
    assert facts is not None
    assert facts.tuning.recall_at_10["text-like"] >= 0.985
    assert facts.tuning.num_probes < facts.plan.num_lists


def test_the_self_check_tunes_and_is_told(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "EXACT_MAX_CLIPS", 0)
    archive.add(*range(30))
    store = opened(archive)
    assert store.info.recall_at_10.keys() == {"clip", "text-like"}
    assert store.info.recall_at_10["text-like"] >= 0.985
    assert info_of(archive.library_dir, "f" * 32) == store.info
    assert "recall@10" in store.info.as_text()
    assert info_of(archive.library_dir, "e" * 32) is None


def test_vectors_are_the_stored_ones_in_the_order_asked_for(archive: Archive) -> None:
    archive.add(1, 2, 3)
    positions_K = np.array([250, 3, 199, 3, 0])
    np.testing.assert_array_equal(opened(archive).vectors(positions_K), archive.vectors_ND[positions_K])


def test_the_sample_is_the_whole_of_a_small_library(archive: Archive) -> None:
    archive.add(1, 2)
    np.testing.assert_array_equal(opened(archive).sample_SD, archive.vectors_ND)


def test_positions_of_ids() -> None:
    ids_N = np.array([7, 3, 9, 1])
    np.testing.assert_array_equal(positions_of(np.array([1, 8, 7, 10, 0]), ids_N), [3, -1, 0, -1, -1])
    np.testing.assert_array_equal(positions_of(np.array([5]), ids_N[:0]), [-1])


def test_two_models_keep_their_indexes(archive: Archive) -> None:
    archive.add(1)
    opened(archive)
    (archive.library_dir / "faiss" / f"{'e' * 32}-0000").mkdir()
    archive.add(2)
    opened(archive)
    assert len(faiss_folders(archive.library_dir)) == 2


@pytest.mark.parametrize("file", ["index.faiss", "ids.i64", "sample.f16", "base.json", "xxh3.json"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_index_is_built_again(archive: Archive, file: str, damage: str) -> None:
    archive.add(1, 2)
    opened(archive)
    (folder,) = (archive.library_dir / "faiss").iterdir()
    good = (folder / file).read_bytes()
    if damage == "remove":
        (folder / file).unlink()
    else:
        middle = len(good) // 2
        flipped = good[:middle] + bytes([good[middle] ^ 64]) + good[middle + 1 :]
        (folder / file).write_bytes(good[:-1] if damage == "truncate" else flipped)
    check(opened(archive), archive.vectors_ND)
    assert (folder / file).read_bytes() == good


@pytest.mark.parametrize("fresh", [True, False])
def test_a_damaged_segment_is_never_indexed(archive: Archive, fresh: bool) -> None:
    if fresh:
        archive.add(*range(30))
        opened(archive)
    archive.add(50)
    segment = archive.snapshot.segments[-1]
    file = archive.library_dir / "segments" / segment.uuid / "vectors.f16"
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(LibraryError, match=rf"{segment.uuid} is damaged"):
        opened(archive)


def test_a_disk_that_takes_no_index_does_not_stop_a_search(archive: Archive) -> None:
    archive.add(1)
    (archive.library_dir / "faiss").touch()  # a file where the folder should be
    check(opened(archive), archive.vectors_ND)


class GpuIndex:
    """Searches as FAISS's GPU indexes do: no selector, and no more hits or lists than they can."""

    def __init__(self, index: Any, plan: IndexPlan) -> None:
        self.index, self.most, self.searches = index, 10 * plan.overfetch, 0

    def search(self, queries_QD: Any, k: int, *, params: Any) -> Any:
        assert params.sel is None
        assert max(k, getattr(params, "nprobe", 0)) <= self.most
        self.searches += 1
        return self.index.search(queries_QD, k, params=params)


def test_a_gpu_gets_what_it_can_do(archive: Archive, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    copies: list[GpuIndex] = []

    def gpu_copy(index: Any, plan: IndexPlan) -> GpuIndex:
        copies.append(GpuIndex(index, plan))
        return copies[-1]

    monkeypatch.setattr(faiss_part, "gpu_copy", gpu_copy)
    monkeypatch.setattr(faiss_part, "GPU_MOST", 10 * plan_index(3000).overfetch)
    monkeypatch.setattr("vlrlt.index.vectors.faiss_store._SCAN_CLIPS", 20)
    archive.add(*range(30))
    store = opened(archive)
    check(store, archive.vectors_ND)
    check(store, archive.vectors_ND, within=list(range(0, 3000, 2)))
    assert len(store.search(queries(1)[0], k=3000).positions_K) == 3000
    assert sum(copy.searches for copy in copies) > 0


def test_a_missing_faiss_names_both_extras(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'vlrlt\[cpu\]', or 'vlrlt\[gpu\]' .* never both"):
        opened(archive)


def test_only_one_file_imports_faiss() -> None:
    root = Path(faiss_base.__file__).resolve().parents[2]
    users = {
        path.name
        for folder in ("vlrlt", "index", "train", "ui")
        for path in (root / folder).rglob("*.py")
        if re.search(r'require\("faiss"|import faiss\b', path.read_text())
    }
    assert users == {"faiss_base.py"}
