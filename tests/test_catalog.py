"""A video is committed all or nothing, there is one writer, readers are never blocked, the unreadable is refused."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import pytest

from vlrlt.errors import IndexMismatchError, LibraryError
from vlrlt.index.catalog import Catalog, LibrarySettings, Segment, Video, clip_id
from vlrlt.index.files import FileStamp
from vlrlt.index.schema import MIGRATIONS, migrate
from vlrlt.types import ClipSpan
from vlrlt.video.sampling import ClipSampling

SETTINGS = LibrarySettings(
    model="colours",
    fingerprint="f" * 32,
    embed_dim=8,
    sampling=ClipSampling(clip_s=2.0, stride_s=1.0, num_frames=4),
    policy={"kind": "none"},
)
SPANS = (ClipSpan(0.0, 2.0), ClipSpan(1.0, 3.0))


def video(path: str, **changes: Any) -> Video:
    facts: dict[str, Any] = {
        "stamp": FileStamp(size_bytes=10, mtime_ns=20),
        "content_hash": f"hash of {path}",
        "state": "indexed",
        "duration_s": 3.0,
    }
    return Video(path=Path(path), **(facts | changes))


def segment(uuid: str, *, rows: int = 2) -> Segment:
    return Segment(uuid=uuid, rows=rows, xxh3="0" * 32, fingerprint=SETTINGS.fingerprint)


@pytest.fixture
def catalog(library_dir: Path) -> Iterator[Catalog]:
    with Catalog.open_writer(library_dir) as catalog:
        catalog.bind(SETTINGS)
        yield catalog


def test_settings_come_back_as_they_were(catalog: Catalog) -> None:
    assert catalog.settings() == SETTINGS


def test_a_new_library_has_no_settings_and_cannot_be_searched(library_dir: Path) -> None:
    with Catalog.open_writer(library_dir) as catalog:
        assert catalog.settings() is None
    with Catalog.open_reader(library_dir) as reader, pytest.raises(LibraryError, match="is empty; run: vlrlt index"):
        reader.snapshot()


def test_a_committed_video_is_in_the_snapshot_in_the_order_of_its_vectors(catalog: Catalog) -> None:
    catalog.commit(video("/b.mp4"), segment=segment("one"), spans=SPANS)
    catalog.commit(video("/a.mp4"), segment=segment("two"), spans=SPANS[:1])
    snapshot = catalog.snapshot()
    assert [segment.uuid for segment in snapshot.segments] == ["one", "two"]
    clips = snapshot.clips
    assert clips.videos == ("/b.mp4", "/a.mp4")
    np.testing.assert_array_equal(clips.video_N, [0, 0, 1])
    np.testing.assert_array_equal(clips.start_s_N, [0, 1, 0])
    np.testing.assert_array_equal(clips.end_s_N, [2, 3, 2])
    assert clips.ids_N[1] == clip_id("hash of /b.mp4", SPANS[1], SETTINGS.fingerprint)


def test_clip_ids_are_63_bits_of_content_span_and_model() -> None:
    ids = {
        clip_id(content, span, mark)
        for content in ("x", "y")
        for span in (ClipSpan(0, 2), ClipSpan(0, 2.000001), ClipSpan(0.000001, 2))
        for mark in ("f", "g")
    }
    assert len(ids) == 12
    assert all(0 <= number < 2**63 for number in ids)
    assert clip_id("x", ClipSpan(0.1 + 0.2, 1), "f") == clip_id("x", ClipSpan(0.3, 1), "f")


def test_committing_a_path_again_replaces_all_of_it(catalog: Catalog) -> None:
    catalog.commit(video("/a.mp4"), segment=segment("old"), spans=SPANS)
    before = catalog.snapshot().generation
    catalog.commit(video("/a.mp4", content_hash="new"), segment=segment("new", rows=1), spans=SPANS[:1])
    assert [segment.uuid for segment in catalog.segments()] == ["new"]
    assert len(catalog.snapshot().clips.ids_N) == 1
    assert catalog.snapshot().generation != before


def test_a_commit_that_fails_changes_nothing(catalog: Catalog) -> None:
    catalog.commit(video("/a.mp4"), segment=segment("old"), spans=SPANS)
    catalog.commit(video("/b.mp4"), segment=segment("other"), spans=SPANS)
    with pytest.raises(LibraryError, match="UNIQUE constraint failed"):
        catalog.commit(video("/a.mp4", content_hash="new"), segment=segment("other"), spans=SPANS)
    assert [segment.uuid for segment in catalog.segments()] == ["old", "other"]
    assert catalog.video_at(Path("/a.mp4")) == video("/a.mp4")
    assert catalog.counts().clips == 4


def test_failures_are_listed_by_path_and_do_not_count_as_content(catalog: Catalog) -> None:
    catalog.commit(video("/z.mp4", state="failed", content_hash="zero bytes", stage="open", reason="empty"))
    catalog.commit(video("/y.mp4", state="failed", content_hash="zero bytes", stage="open", reason="empty"))
    partial = video("/x.mp4", state="partial", stage="decode", reason="cut off")
    catalog.commit(partial, segment=segment("x"), spans=SPANS)
    assert [(str(file.path), file.reason) for file in catalog.problems()] == [
        ("/x.mp4", "cut off"),
        ("/y.mp4", "empty"),
        ("/z.mp4", "empty"),
    ]
    assert catalog.video_with("zero bytes") is None
    assert catalog.video_with("hash of /x.mp4") == partial
    counts = catalog.counts()
    assert (counts.indexed, counts.partial, counts.failed, counts.clips, counts.video_s) == (0, 1, 2, 2, 3.0)


def test_relocating_keeps_clips_and_forgets_what_was_at_the_new_path(catalog: Catalog) -> None:
    catalog.commit(video("/old.mp4"), segment=segment("kept"), spans=SPANS)
    catalog.commit(video("/new.mp4"), segment=segment("stale"), spans=SPANS)
    catalog.relocate(video("/old.mp4"), path=Path("/new.mp4"), stamp=FileStamp(size_bytes=11, mtime_ns=21))
    assert catalog.video_at(Path("/old.mp4")) is None
    assert catalog.video_at(Path("/new.mp4")) == video(
        "/new.mp4", content_hash="hash of /old.mp4", stamp=FileStamp(size_bytes=11, mtime_ns=21)
    )
    assert [segment.uuid for segment in catalog.segments()] == ["kept"]


def test_a_name_that_is_not_utf8_comes_back(catalog: Catalog) -> None:
    path = Path(os.fsdecode(b"/caf\xe9.mp4"))
    catalog.commit(video(str(path), content_hash="h"), segment=segment("one"), spans=SPANS)
    assert catalog.video_at(path) == video(str(path), content_hash="h")
    assert catalog.snapshot().clips.videos == (str(path),)


def test_another_model_is_refused_once_there_are_clips(catalog: Catalog) -> None:
    other = LibrarySettings(**{**vars(SETTINGS), "model": "other", "fingerprint": "0" * 32})
    catalog.bind(other)  # no clips yet: it may change its mind
    catalog.bind(SETTINGS)
    catalog.commit(video("/a.mp4"), segment=segment("one"), spans=SPANS)
    with pytest.raises(IndexMismatchError, match=r"indexed with model 'colours' \(f{12}\), not with 'other' \(0{12}\)"):
        catalog.bind(other)
    assert catalog.settings() == SETTINGS


def test_readers_see_every_commit_and_are_not_blocked_by_the_writer(catalog: Catalog, library_dir: Path) -> None:
    with Catalog.open_reader(library_dir) as reader:
        version = reader.data_version()
        assert reader.data_version() == version
        with catalog._transaction():  # the writer is in the middle of something
            catalog._rows("DELETE FROM settings")
            assert reader.settings() == SETTINGS
            assert reader.data_version() == version
        assert reader.settings() is None
        assert reader.data_version() != version


def test_a_reader_cannot_write(catalog: Catalog, library_dir: Path) -> None:
    with Catalog.open_reader(library_dir) as reader, pytest.raises(LibraryError, match="readonly"):
        reader.forget(Path("/a.mp4"))


def test_one_writer_at_a_time_even_after_a_kill(library_dir: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from vlrlt.index.catalog import Catalog;"
        "catalog = Catalog.open_writer(Path(sys.argv[1])); print('open', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, library_dir], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        with pytest.raises(LibraryError, match=rf"being written by another vlrlt \(process {process.pid}\)"):
            Catalog.open_writer(library_dir)
        process.kill()
    Catalog.open_writer(library_dir).close()


def test_a_folder_with_other_things_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "holiday.mp4").touch()
    with pytest.raises(LibraryError, match=r"is no library and holds 'holiday\.mp4'"):
        Catalog.open_writer(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["holiday.mp4"]


def test_a_folder_without_a_catalog_is_no_library(tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match="is no library"):
        Catalog.open_reader(tmp_path)


def test_a_library_below_a_file_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LibraryError, match="cannot be written: Not a directory"):
        Catalog.open_writer(tmp_path / "file" / "library")


def test_a_damaged_catalog_is_named(library_dir: Path) -> None:
    Catalog.open_writer(library_dir).close()
    (library_dir / "catalog.db").write_bytes(b"not a database, but long enough to be read as one" * 100)
    for opens in (Catalog.open_reader, Catalog.open_writer):
        with pytest.raises(LibraryError, match=r"catalog\.db: .*not a database"):
            opens(library_dir)
    (library_dir / "catalog.db").unlink()
    Catalog.open_writer(library_dir).close()  # the failed attempt has let the lock go


def set_version(library_dir: Path, version: int) -> None:
    connection = apsw.Connection(os.fspath(library_dir / "catalog.db"))
    connection.pragma("user_version", version)
    connection.close()


def test_a_newer_schema_is_refused_and_an_older_one_needs_a_writer(library_dir: Path) -> None:
    Catalog.open_writer(library_dir).close()
    newest = len(MIGRATIONS)
    set_version(library_dir, newest + 1)
    for opens in (Catalog.open_reader, Catalog.open_writer):
        with pytest.raises(LibraryError, match=f"has schema {newest + 1}, this vlrlt knows {newest}: upgrade vlrlt"):
            opens(library_dir)
    set_version(library_dir, 0)
    with pytest.raises(LibraryError, match=f"has schema 0, this vlrlt needs {newest}"):
        Catalog.open_reader(library_dir)


def test_migrations_run_once_each_and_a_bad_one_leaves_the_version_before_it(tmp_path: Path) -> None:
    connection = apsw.Connection(os.fspath(tmp_path / "catalog.db"))
    first = "CREATE TABLE a (x INTEGER) STRICT; INSERT INTO a VALUES (1)"
    migrate(connection, (first,))
    with pytest.raises(apsw.SQLError):
        migrate(connection, (first, "INSERT INTO a VALUES (2)", "INSERT INTO a VALUES (3); nonsense"))
    assert connection.pragma("user_version") == 2
    assert list(connection.execute("SELECT x FROM a")) == [(1,), (2,)]


def test_the_catalog_is_as_durable_as_sqlite_can_make_it(catalog: Catalog) -> None:
    pragmas = [catalog._rows(f"PRAGMA {name}")[0][0] for name in ("journal_mode", "synchronous", "foreign_keys")]
    assert pragmas == ["wal", 2, 1]


def test_runs_are_kept(catalog: Catalog) -> None:
    run = catalog.start_run()
    catalog.finish_run(run, {"indexed": 3})
    ((started, ended, report),) = catalog._rows("SELECT started_at, ended_at, report FROM runs")
    assert started <= ended
    assert report == '{"indexed": 3}'
