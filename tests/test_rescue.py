"""A catalog that is lost costs no vectors: nothing is removed on its word, and it comes back without decoding."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from colour import ColourEmbedder, write_colours

from vlrlt.errors import LibraryError
from vlrlt.index.library.catalog import Catalog
from vlrlt.index.library.ledger import Ledger
from vlrlt.index.run.build import index_paths
from vlrlt.index.run.maintain import compact, prune, verify
from vlrlt.index.run.run_report import IndexReport

Lose = Callable[[Path], object]


def blank(library_dir: Path) -> None:
    (library_dir / "catalog.db").write_bytes(b"")


def without_log(library_dir: Path) -> None:
    """As a first run that was killed leaves it when its log is lost: the file is there and empty."""
    blank(library_dir)
    for suffix in ("-wal", "-shm"):
        (library_dir / f"catalog.db{suffix}").unlink(missing_ok=True)


def gone(library_dir: Path) -> None:
    (library_dir / "catalog.db").unlink()


def garbage(library_dir: Path) -> None:
    (library_dir / "catalog.db").write_bytes(b"not a database, but long enough to be read as one" * 100)


def torn(library_dir: Path) -> None:
    data = bytearray((library_dir / "catalog.db").read_bytes())
    data[4096:40960] = bytes(36864)
    (library_dir / "catalog.db").write_bytes(data)


LOSSES = [blank, without_log, gone, garbage, torn]


def make_archive(archive: Path) -> Path:
    write_colours(archive / "a.mp4", [("red", 2), ("green", 1)])
    write_colours(archive / "b.mp4", [("blue", 2.5)])
    shutil.copy(archive / "a.mp4", archive / "twin.mp4")
    return archive


def index(archive: Path, library_dir: Path) -> IndexReport:
    return index_paths([archive], library_dir=library_dir, embedder=ColourEmbedder())


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive that stays as it is, and its library."""
    folder = tmp_path_factory.mktemp("shared")
    assert index(make_archive(folder / "archive"), folder / "library").indexed == 2
    return folder


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return make_archive(tmp_path / "archive")


@pytest.fixture
def library_dir(archive: Path, tmp_path: Path) -> Path:
    assert index(archive, tmp_path / "library").indexed == 2
    return tmp_path / "library"


def seen(library_dir: Path) -> list[Any]:
    """What searches see: files, and id, times and share of every frame run."""
    with Catalog.open_reader(library_dir) as catalog:
        runs = catalog.snapshot().frame_runs
    columns = (runs.ids_N, runs.start_s_N, runs.end_s_N, runs.kept_share_N)
    return sorted(zip(*(column.tolist() for column in columns), strict=True)) + sorted(runs.videos)


def vectors(library_dir: Path) -> set[str]:
    return {folder.name for room in ("segments", "quarantine") for folder in (library_dir / room).glob("*-*")}


@pytest.mark.parametrize("lose", LOSSES)
def test_nothing_is_removed_on_the_word_of_a_lost_catalog(lose: Lose, shared: Path, tmp_path: Path) -> None:
    """All vectors were deleted as orphans, exit code 0."""
    archive, library_dir = shared / "archive", shutil.copytree(shared / "library", tmp_path / "library")
    before = vectors(library_dir)
    lose(library_dir)
    for run in (verify, compact, prune, lambda folder: index(archive, folder)):
        with pytest.raises(
            LibraryError, match="verify --repair" if lose is not gone else r"verify --repair|no catalog\.db"
        ):
            run(library_dir)
    with pytest.raises(LibraryError, match="verify --repair" if lose is not gone else r"no catalog\.db"):
        Catalog.open_reader(library_dir).snapshot()
    assert vectors(library_dir) == before


@pytest.mark.parametrize("has_copy", [True, False])
@pytest.mark.parametrize("lose", LOSSES)
def test_repair_makes_the_catalog_again(lose: Lose, has_copy: bool, shared: Path, tmp_path: Path) -> None:
    archive, library_dir = shared / "archive", shutil.copytree(shared / "library", tmp_path / "library")
    before = seen(library_dir)
    if not has_copy:
        (library_dir / "catalog.db.copy").unlink()
    lose(library_dir)
    report = verify(library_dir, repair=True)
    assert (report.catalog, report.adopted) == (("restored", 0) if has_copy else ("new", 2))
    assert seen(library_dir) == before
    again = index(archive, library_dir)
    assert (again.indexed, again.skipped, again.failed) == (0, 3, 0)
    assert seen(library_dir) == before


def test_an_older_catalog_does_not_remove_what_it_does_not_know(archive: Path, library_dir: Path) -> None:
    """As when the log of a later run is lost, or a backup of the catalog alone was put back."""
    older = (library_dir / "catalog.db").read_bytes()
    write_colours(archive / "c.mp4", [("white", 2)])
    assert index(archive, library_dir).indexed == 1
    after = seen(library_dir)
    (library_dir / "catalog.db").write_bytes(older)
    report = verify(library_dir)
    assert (report.set_aside, report.orphans) == (1, 0)
    assert "verify --repair recovers them" in report.as_text()
    report = verify(library_dir, repair=True)
    assert (report.catalog, report.adopted, report.set_aside) == ("whole", 1, 0)
    assert seen(library_dir) == after


def test_compacted_and_pruned_libraries_come_back_as_they_were(archive: Path, library_dir: Path) -> None:
    assert compact(library_dir) == (2, 1)
    (archive / "b.mp4").unlink()
    index(archive, library_dir)
    assert prune(library_dir, grace_s=0) == (archive / "b.mp4",)
    before = seen(library_dir)
    (library_dir / "catalog.db.copy").unlink()
    garbage(library_dir)
    assert verify(library_dir, repair=True).adopted == 2, "of a pruned video comes back what a merged segment holds"
    index(archive, library_dir)
    prune(library_dir, grace_s=0)
    assert seen(library_dir) == before


def test_what_was_let_go_on_purpose_is_deleted_and_not_kept(archive: Path, library_dir: Path) -> None:
    write_colours(archive / "b.mp4", [("white", 2)])
    assert index(archive, library_dir).indexed == 1
    index(archive, library_dir)
    assert len(list((library_dir / "segments").iterdir())) == 2
    assert not (library_dir / "quarantine").exists()
    assert verify(library_dir, repair=True).adopted == 0


def test_a_name_that_is_no_utf8_comes_back(archive: Path, library_dir: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(archive) + b"/f\xf6n.mp4"))
    shutil.copy(archive / "b.mp4", odd)
    (archive / "b.mp4").unlink()
    index(archive, library_dir)
    compact(library_dir)
    (library_dir / "catalog.db.copy").unlink()
    gone(library_dir)
    verify(library_dir, repair=True)
    assert str(odd) in seen(library_dir)


@pytest.mark.parametrize("said", [[], {}, {"model": {}}, {"model": None, "videos": None}, "x"])
def test_a_segment_that_says_nonsense_is_left_in_quarantine(said: object, shared: Path, tmp_path: Path) -> None:
    library_dir = shutil.copytree(shared / "library", tmp_path / "library")
    (library_dir / "catalog.db.copy").unlink()
    for contents in (library_dir / "segments").glob("*/contents.json"):
        contents.write_text(json.dumps(said))
    blank(library_dir)
    report = verify(library_dir, repair=True)
    assert (report.adopted, report.set_aside) == (0, 2)
    assert len(list((library_dir / "quarantine").glob("*/vectors.f16"))) == 2


def test_damaged_vectors_are_not_taken_back(shared: Path, tmp_path: Path) -> None:
    archive, library_dir = shared / "archive", shutil.copytree(shared / "library", tmp_path / "library")
    for path in (library_dir / "segments").glob("*/vectors.f16"):
        path.write_bytes(path.read_bytes()[:-2] + b"\xff\xff")
    gone(library_dir)
    report = verify(library_dir, repair=True)
    assert (report.catalog, len(report.damaged), len(report.requeued), report.adopted) == ("restored", 2, 3, 0)
    assert index(archive, library_dir).indexed == 2


def test_subtitles_and_saved_searches_come_back_from_the_copy(archive: Path, library_dir: Path) -> None:
    (archive / "a.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nhello\n")
    with Ledger.open_existing(library_dir) as ledger:
        assert ledger.annotations.import_files([archive]).texts == 1
        ledger.keep_copy()
    blank(library_dir)
    verify(library_dir, repair=True)
    with Catalog.open_reader(library_dir) as catalog:
        assert [hit.line.text for hit in catalog.texts.search("hello")] == ["hello"]
