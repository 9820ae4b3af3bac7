"""A video is committed all or nothing, there is one writer, readers are never blocked, the unreadable is refused."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import pytest

from vlrlt.errors import ConfigError, LibraryError
from vlrlt.index.library.catalog import Catalog, LibrarySettings, Segment, Video, frame_run_id
from vlrlt.index.library.files import FileStamp
from vlrlt.index.library.frame_runs import FrameRun, OpenRun
from vlrlt.index.library.ledger import Chunk, Ledger
from vlrlt.index.library.schema import FIRST_SCHEMA, NEWEST_SCHEMA, migrate
from vlrlt.index.run.maintain import verify
from vlrlt.types import ClipSpan
from vlrlt.video.sampling import ClipSampling

SETTINGS = LibrarySettings(
    model="colours",
    fingerprint="f" * 32,
    embed_dim=8,
    sampling=ClipSampling(clip_s=2.0, stride_s=1.0, num_frames=4),
    policy={"kind": "none"},
    precision="float32",
)
SPANS = (ClipSpan(0.0, 1.0), ClipSpan(1.0, 3.0))


def video(path: str, **changes: Any) -> Video:
    facts: dict[str, Any] = {
        "stamp": FileStamp(size_bytes=10, mtime_ns=20, inode=30),
        "content_hash": f"hash of {path}",
        "state": "indexed",
        "duration_s": 3.0,
    }
    return Video(path=Path(path), **(facts | changes))


def segment(uuid: str, *, rows: int = 2) -> Segment:
    return Segment(uuid=uuid, rows=rows, xxh3="0" * 32, fingerprint=SETTINGS.fingerprint)


def run(span: ClipSpan) -> FrameRun:
    return FrameRun(span=span, num_looks=4, kept_share=0.25, vector_D=np.ones(8, np.float32) / np.sqrt(np.float32(8)))


def whole(uuid: str, *spans: ClipSpan) -> Chunk:
    """The one chunk of a video."""
    return Chunk(start_s=0.0, segment=segment(uuid, rows=len(spans)), runs=tuple(map(run, spans)))


def bind(ledger: Ledger, settings: LibrarySettings) -> float:
    return ledger.bind(settings, agreement=lambda: 0.75)


@pytest.fixture
def catalog(library_dir: Path) -> Iterator[Ledger]:
    with Ledger.open(library_dir) as catalog:
        bind(catalog, SETTINGS)
        yield catalog


def test_settings_come_back_as_they_were(catalog: Ledger) -> None:
    assert catalog.settings() == SETTINGS


def test_a_new_library_has_no_settings_and_cannot_be_searched(library_dir: Path) -> None:
    with Ledger.open(library_dir) as catalog:
        assert catalog.settings() is None
    with Catalog.open_reader(library_dir) as reader, pytest.raises(LibraryError, match="is empty; run: vlrlt index"):
        reader.snapshot()


def test_a_committed_video_is_in_the_snapshot_in_the_order_of_its_vectors(catalog: Ledger) -> None:
    catalog.commit(video("/b.mp4"), whole("one", *SPANS))
    catalog.commit(video("/a.mp4"), whole("two", SPANS[0]))
    snapshot = catalog.snapshot()
    assert [segment.uuid for segment in snapshot.segments] == ["one", "two"]
    runs = snapshot.frame_runs
    assert runs.videos == ("/b.mp4", "/a.mp4")
    np.testing.assert_array_equal(runs.video_N, [0, 0, 1])
    np.testing.assert_array_equal(runs.start_s_N, [0, 1, 0])
    np.testing.assert_array_equal(runs.end_s_N, [1, 3, 1])
    np.testing.assert_array_equal(runs.kept_share_N, [0.25] * 3)
    assert runs.ids_N[1] == frame_run_id("hash of /b.mp4", SPANS[1], SETTINGS.fingerprint)


def test_frame_run_ids_are_63_bits_of_content_span_and_model() -> None:
    ids = {
        frame_run_id(content, span, mark)
        for content in ("x", "y")
        for span in (ClipSpan(0, 2), ClipSpan(0, 2.000001), ClipSpan(0.000001, 2))
        for mark in ("f", "g")
    }
    assert len(ids) == 12
    assert all(0 <= number < 2**63 for number in ids)
    assert frame_run_id("x", ClipSpan(0.1 + 0.2, 1), "f") == frame_run_id("x", ClipSpan(0.3, 1), "f")


def test_committing_a_path_again_replaces_all_of_it(catalog: Ledger) -> None:
    catalog.commit(video("/a.mp4"), whole("old", *SPANS))
    before = catalog.snapshot().generation
    catalog.commit(video("/a.mp4", content_hash="new"), whole("new", SPANS[0]))
    assert [segment.uuid for segment in catalog.segments()] == ["new"]
    assert len(catalog.snapshot().frame_runs.ids_N) == 1
    assert catalog.snapshot().generation != before


def test_a_commit_that_fails_changes_nothing(catalog: Ledger) -> None:
    catalog.commit(video("/a.mp4"), whole("old", *SPANS))
    catalog.commit(video("/b.mp4"), whole("other", *SPANS))
    with pytest.raises(LibraryError, match="UNIQUE constraint failed"):
        catalog.commit(video("/a.mp4", content_hash="new"), whole("other", *SPANS))
    assert [segment.uuid for segment in catalog.segments()] == ["old", "other"]
    assert catalog.video_at(Path("/a.mp4")) == video("/a.mp4")
    assert catalog.counts().vectors == 4


def test_failures_are_listed_by_path_and_do_not_count_as_content(catalog: Ledger) -> None:
    catalog.commit(video("/z.mp4", state="failed", content_hash="zero bytes", stage="open", reason="empty"))
    catalog.commit(video("/y.mp4", state="failed", content_hash="zero bytes", stage="open", reason="empty"))
    partial = video("/x.mp4", state="partial", stage="decode", reason="cut off")
    catalog.commit(partial, whole("x", *SPANS))
    assert [(str(file.path), file.reason) for file in catalog.problems()] == [
        ("/x.mp4", "cut off"),
        ("/y.mp4", "empty"),
        ("/z.mp4", "empty"),
    ]
    zero = catalog.video_with("zero bytes")
    assert zero is not None
    assert (zero.path, zero.state) == (Path("/y.mp4"), "failed"), "the first file with that content"
    assert catalog.video_with("hash of /x.mp4") == partial
    counts = catalog.counts()
    assert (counts.indexed, counts.partial, counts.failed, counts.vectors, counts.video_s) == (0, 1, 2, 2, 3.0)


def test_content_stays_as_long_as_a_file_has_it(catalog: Ledger) -> None:
    catalog.commit(video("/old.mp4"), whole("kept", *SPANS))
    catalog.commit(video("/new.mp4"), whole("stale", *SPANS))
    stamp = FileStamp(size_bytes=11, mtime_ns=21, inode=31)
    catalog.note_file(Path("/new.mp4"), stamp, "hash of /old.mp4")
    assert [segment.uuid for segment in catalog.segments()] == ["kept"], "what was at the new path lies nowhere now"
    catalog.forget_files([Path("/old.mp4")])
    assert catalog.video_at(Path("/old.mp4")) is None
    assert catalog.video_at(Path("/new.mp4")) == video("/new.mp4", content_hash="hash of /old.mp4", stamp=stamp)
    assert catalog.snapshot().frame_runs.videos == ("/new.mp4",)
    catalog.forget_files([Path("/new.mp4")])
    assert catalog.segments() == ()


def test_a_file_that_is_gone_is_searchable_under_its_other_name(catalog: Ledger) -> None:
    catalog.commit(video("/a.mp4"), whole("one", *SPANS))
    catalog.note_file(Path("/b.mp4"), FileStamp(size_bytes=10, mtime_ns=20, inode=31), "hash of /a.mp4")
    assert catalog.snapshot().frame_runs.videos == ("/a.mp4",)
    catalog.mark_missing([Path("/a.mp4")])
    assert catalog.snapshot().frame_runs.videos == ("/b.mp4",)
    assert catalog.counts().missing == 1
    catalog.note_file(Path("/a.mp4"), FileStamp(size_bytes=10, mtime_ns=20, inode=30), "hash of /a.mp4")
    assert catalog.counts().missing == 0


def test_chunks_add_up_and_the_open_run_waits_for_its_end(catalog: Ledger) -> None:
    open_run = OpenRun(
        start_s=3.0,
        num_looks=7,
        changes=0.5,
        sum_D=np.linspace(0, 1, 8, dtype=np.float32),
        reference_D=np.linspace(1, 0.3, 8, dtype=np.float32),
    )
    begun = video("/a.mp4", state="unfinished", done_s=300.0)
    catalog.commit(begun, replace(whole("one", *SPANS), open_run=open_run))
    kept = catalog.open_run(begun)
    assert kept is not None
    assert (kept.start_s, kept.num_looks, kept.changes) == (3.0, 7, 0.5)
    np.testing.assert_array_equal(kept.sum_D, open_run.sum_D)
    np.testing.assert_array_equal(kept.reference_D, open_run.reference_D)
    assert catalog.video_with("hash of /a.mp4") == begun
    catalog.commit(replace(begun, done_s=600.0), Chunk(start_s=300.0, open_run=replace(open_run, num_looks=9)))
    last = Chunk(start_s=600.0, segment=segment("two", rows=1), runs=(run(ClipSpan(3, 612)),))
    catalog.commit(replace(begun, state="indexed", done_s=612.0), last)
    assert catalog.open_run(begun) is None
    runs = catalog.snapshot().frame_runs
    np.testing.assert_array_equal(runs.start_s_N, [0, 1, 3])
    np.testing.assert_array_equal(runs.end_s_N, [1, 3, 612])
    catalog.merge(catalog.segments(), segment("all", rows=3))
    assert [(segment.uuid, segment.rows) for segment in catalog.segments()] == [("all", 3)]
    np.testing.assert_array_equal(catalog.snapshot().frame_runs.ids_N, runs.ids_N)


def test_vectors_of_forgotten_videos_are_left_out(catalog: Ledger) -> None:
    catalog.commit(video("/a.mp4"), whole("one", *SPANS))
    catalog.commit(video("/b.mp4"), whole("two", *SPANS))
    catalog.merge(catalog.segments(), segment("both", rows=4))
    before = catalog.snapshot().generation
    catalog.forget_files([Path("/a.mp4")])
    (left,) = catalog.segments()
    assert (left.uuid, left.rows, left.live_rows) == ("both", 2, (2, 3))
    assert catalog.snapshot().generation != before


def test_a_damaged_segment_takes_its_videos_along(catalog: Ledger) -> None:
    catalog.commit(video("/a.mp4"), whole("one", *SPANS))
    catalog.commit(video("/b.mp4"), whole("two", *SPANS))
    assert catalog.requeue(catalog.segments()[0]) == (Path("/a.mp4"),)
    assert [segment.uuid for segment in catalog.segments()] == ["two"]
    assert catalog.video_at(Path("/a.mp4")) is None
    assert catalog.file_at(Path("/a.mp4")) is not None


def test_a_name_that_is_not_utf8_comes_back(catalog: Ledger) -> None:
    path = Path(os.fsdecode(b"/caf\xe9.mp4"))
    catalog.commit(video(str(path), content_hash="h"), whole("one", *SPANS))
    assert catalog.video_at(path) == video(str(path), content_hash="h")
    assert catalog.snapshot().frame_runs.videos == (str(path),)


def test_a_second_model_is_built_beside_the_first(catalog: Ledger) -> None:
    other = LibrarySettings(**{**vars(SETTINGS), "model": "other", "fingerprint": "0" * 32})
    bind(catalog, other)  # no vectors yet: the first model may still be changed
    bind(catalog, SETTINGS)
    assert catalog.models() == (SETTINGS,)
    catalog.commit(video("/a.mp4"), whole("one", *SPANS))
    bind(catalog, other)
    assert catalog.video_at(Path("/a.mp4")) is None, "not yet indexed with this one"
    assert catalog.num_videos_missing_from(other) == 1
    catalog.commit(
        video("/a.mp4"),
        replace(whole("two", *SPANS), segment=replace(segment("two"), fingerprint="0" * 32)),
    )
    assert catalog.num_videos_missing_from(other) == 0
    assert (catalog.settings(), [segment.uuid for segment in catalog.segments()]) == (SETTINGS, ["two"])
    catalog.use(other)
    assert catalog.models() == (other, SETTINGS)
    with pytest.raises(ConfigError, match="is used for searches; first choose another one with vlrlt use"):
        catalog.forget_model(other)
    catalog.forget_model(SETTINGS)
    assert [segment.uuid for segment in catalog.all_segments()] == ["two"]


def test_readers_see_every_commit_and_are_not_blocked_by_the_writer(catalog: Ledger, library_dir: Path) -> None:
    with Catalog.open_reader(library_dir) as reader:
        version = reader.data_version()
        assert reader.data_version() == version
        with catalog._transaction():  # the writer is in the middle of something
            catalog._rows("DELETE FROM models")
            assert reader.settings() == SETTINGS
            assert reader.data_version() == version
        assert reader.settings() is None
        assert reader.data_version() != version


def test_a_reader_cannot_write(catalog: Ledger, library_dir: Path) -> None:
    with Catalog.open_reader(library_dir) as reader, pytest.raises(LibraryError, match="readonly"):
        reader._rows("DELETE FROM files")


def test_one_writer_at_a_time_even_after_a_kill(
    library_dir: Path, start_process: Callable[..., "subprocess.Popen[str]"]
) -> None:
    code = (
        "import sys, time; from pathlib import Path; from vlrlt.index.library.ledger import Ledger;"
        "catalog = Ledger.open(Path(sys.argv[1])); print('open', flush=True); time.sleep(60)"
    )
    process = start_process([sys.executable, "-c", code, library_dir], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    with pytest.raises(LibraryError, match=rf"being written by another vlrlt \(process {process.pid}\)"):
        Ledger.open(library_dir)
    process.kill()
    process.wait()
    Ledger.open(library_dir).close()


def test_a_folder_with_other_things_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "holiday.mp4").touch()
    with pytest.raises(LibraryError, match=r"is not a vlrlt library and holds 'holiday\.mp4'"):
        Ledger.open(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["holiday.mp4"]


def test_a_folder_without_a_catalog_is_no_library(tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match="is not a vlrlt library"):
        Catalog.open_reader(tmp_path)


def test_a_library_below_a_file_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LibraryError, match="cannot be written: Not a directory"):
        Ledger.open(tmp_path / "file" / "library")


def test_a_damaged_catalog_is_named(library_dir: Path) -> None:
    Ledger.open(library_dir).close()
    (library_dir / "catalog.db").write_bytes(b"not a database, but long enough to be read as one" * 100)
    for opens in (Catalog.open_reader, Ledger.open):
        with pytest.raises(LibraryError, match=r"catalog\.db: .*not a database"):
            opens(library_dir)
        with pytest.raises(LibraryError, match="run: vlrlt verify --repair --library"):
            opens(library_dir)
    (library_dir / "catalog.db").unlink()
    Ledger.open(library_dir).close()  # the failed attempt has let the lock go


def test_verify_reads_all_of_the_catalog(catalog: Ledger, library_dir: Path) -> None:
    """A page that no search looks at is zero."""
    catalog.commit(video("/a.mp4"), whole("one", *SPANS))
    catalog.check_catalog()
    catalog.close()
    with closing(apsw.Connection(os.fspath(library_dir / "catalog.db"))) as connection:
        ((page,),) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'frame_runs_video'")
        size_bytes = connection.pragma("page_size")
    with (library_dir / "catalog.db").open("r+b") as file:
        file.seek((page - 1) * size_bytes)
        file.write(bytes(size_bytes))
    with Catalog.open_reader(library_dir) as reader:
        assert reader.counts().vectors == 2
    with pytest.raises(LibraryError, match=r"catalog\.db: .*; run: vlrlt verify --repair"):
        verify(library_dir)


def set_version(library_dir: Path, version: int) -> None:
    connection = apsw.Connection(os.fspath(library_dir / "catalog.db"))
    connection.pragma("user_version", version)
    connection.close()


def test_a_newer_schema_is_refused_and_an_older_one_needs_a_writer(library_dir: Path) -> None:
    Ledger.open(library_dir).close()
    newest = NEWEST_SCHEMA
    set_version(library_dir, newest + 1)
    for opens in (Catalog.open_reader, Ledger.open):
        with pytest.raises(LibraryError, match=rf"has schema {newest + 1}, this vlrlt knows {newest}: upgrade vlrlt"):
            opens(library_dir)
    set_version(library_dir, 0)
    with pytest.raises(LibraryError, match=rf"has schema 0, this vlrlt needs {newest}"):
        Catalog.open_reader(library_dir)


def test_migrations_run_once_each_and_a_bad_one_leaves_the_version_before_it(tmp_path: Path) -> None:
    connection = apsw.Connection(os.fspath(tmp_path / "catalog.db"))
    first = "CREATE TABLE a (x INTEGER) STRICT; INSERT INTO a VALUES (1)"
    migrate(connection, (first,))
    with pytest.raises(apsw.SQLError):
        migrate(connection, (first, "INSERT INTO a VALUES (2)", "INSERT INTO a VALUES (3); nonsense"))
    assert connection.pragma("user_version") == FIRST_SCHEMA + 1
    assert list(connection.execute("SELECT x FROM a")) == [(1,), (2,)]


@pytest.mark.parametrize("version", range(1, FIRST_SCHEMA))
def test_a_library_with_vectors_of_clips_is_refused_and_left_as_it_is(library_dir: Path, version: int) -> None:
    library_dir.mkdir()
    path = library_dir / "catalog.db"
    with closing(apsw.Connection(os.fspath(path))) as connection:
        connection.execute("CREATE TABLE clips (id INTEGER PRIMARY KEY)")
        connection.pragma("user_version", version)
    for opens in (Catalog.open_reader, Ledger.open):
        with pytest.raises(LibraryError, match=r"was written by vlrlt 0\.1.*vlrlt index PATH --library NEW"):
            opens(library_dir)
    with closing(apsw.Connection(os.fspath(path))) as connection:
        assert connection.pragma("user_version") == version
        assert list(connection.execute("SELECT name FROM sqlite_schema")) == [("clips",)]


def test_the_catalog_is_as_durable_as_sqlite_can_make_it(catalog: Ledger) -> None:
    pragmas = [catalog._rows(f"PRAGMA {name}")[0][0] for name in ("journal_mode", "synchronous", "foreign_keys")]
    assert pragmas == ["wal", 2, 1]


def test_runs_are_kept(catalog: Ledger) -> None:
    run = catalog.start_run()
    catalog.finish_run(run, {"indexed": 3})
    ((started, ended, report),) = catalog._rows("SELECT started_at, ended_at, report FROM runs")
    assert started <= ended
    assert report == '{"indexed": 3}'
