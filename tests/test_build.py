"""Every file ends up searchable or listed with its reason, exactly once, whatever happens to the run or to the files.

Real videos, decoder process, SQLite and FAISS; the embedder counts colours.
"""

import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colour import ColourEmbedder, write_colours

from vlrlt.errors import ConfigError, DecodeError, IndexMismatchError, LibraryError, MissingExtraError, StoppedError
from vlrlt.index.library.catalog import Catalog, Segment
from vlrlt.index.library.files import file_stamp, quick_hash, walk_videos
from vlrlt.index.library.ledger import Ledger
from vlrlt.index.library.segments import write_segment
from vlrlt.index.run import build, indexer
from vlrlt.index.run.build import index_paths
from vlrlt.index.run.run_report import IndexProgress, IndexReport
from vlrlt.index.vectors.faiss_store import FaissStore
from vlrlt.service import Library
from vlrlt.tokens.run_length import TokenPolicy
from vlrlt.types import Float32Array
from vlrlt.video import worker
from vlrlt.video.sampling import ClipSampling
from vlrlt.video.worker import DecodeProcess

TESTS = Path(__file__).parent

Index = Callable[..., IndexReport]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Two videos in two folders, beside other things."""
    archive = tmp_path / "archive"
    write_colours(archive / "a.mp4", [("red", 2), ("green", 1)])
    write_colours(archive / "sub" / "b.MKV", [("blue", 2.5)])
    (archive / "notes.txt").write_text("not a video")
    return archive


@pytest.fixture
def embedder() -> ColourEmbedder:
    return ColourEmbedder()


@pytest.fixture
def index(library_dir: Path, embedder: ColourEmbedder) -> Index:
    """index_paths into the test's library, with the test's embedder unless another is given."""

    def run(*paths: Path, **options: Any) -> IndexReport:
        settings: dict[str, Any] = {"library_dir": library_dir, "embedder": embedder}
        return index_paths(paths, **settings | options)

    return run


def counts(report: IndexReport) -> tuple[int, int, int, int]:
    return report.indexed, report.skipped, report.failed, report.vectors


def searchable(library_dir: Path) -> dict[str, int]:
    """Frame runs of each file that a search can find; checks on the way that catalog, segments and FAISS agree."""
    with Catalog.open_reader(library_dir) as catalog:
        snapshot = catalog.snapshot()
    runs = snapshot.frame_runs
    assert len(set(runs.ids_N.tolist())) == len(runs.ids_N) == len(FaissStore(library_dir, snapshot))
    assert sum(segment.rows for segment in snapshot.segments) == len(runs.ids_N)
    names, numbers = np.unique([Path(runs.videos[video]).name for video in runs.video_N], return_counts=True)
    return dict(zip(names.tolist(), numbers.tolist(), strict=True))


def problems(library_dir: Path) -> dict[str, tuple[str, str | None]]:
    with Catalog.open_reader(library_dir) as catalog:
        return {video.path.name: (video.state, video.stage) for video in catalog.problems()}


# Which files


def test_folders_are_walked_by_suffix_and_named_files_are_taken(tmp_path: Path) -> None:
    for name in ("b.mp4", "a.MoV", "x.txt", ".hidden.mp4", "sub/c.webm", ".git/d.mp4", "library/e.mp4", "odd.bin"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    walk = walk_videos([tmp_path, tmp_path / "odd.bin", tmp_path / "b.mp4"], library_dir=tmp_path / "library")
    assert [str(file.relative_to(tmp_path)) for file in walk.files] == ["a.MoV", "b.mp4", "sub/c.webm", "odd.bin"]
    assert walk.num_ignored == 2


@pytest.mark.parametrize(("stored", "typed"), [("Cafe\u0301", "Caf\u00e9"), ("Caf\u00e9", "Cafe\u0301")])
def test_accents_are_the_same_apart_and_together(
    index: Index, tmp_path: Path, library_dir: Path, stored: str, typed: str
) -> None:
    """macOS stores them apart, keyboards type them together."""
    write_colours(tmp_path / "archive" / f"{stored}.mp4", [("red", 2)])
    assert index(tmp_path / "archive", exclude=[f"{typed}*"]).indexed == 0
    assert index(tmp_path / "archive", include=[f"{typed}*"]).indexed == 1
    with Library(library_dir, model=ColourEmbedder()) as service:
        assert len(service.search("red", paths=[f"*{typed}*"]).hits) == 1
        assert service.search("red", not_paths=[f"*{typed}*"]).hits == ()
        assert service.find_video(f"{typed}.mp4") == service.search("red").hits[0].video_id


def test_links_are_followed_once(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.mp4").touch()
    (tmp_path / "real" / "loop").symlink_to(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "root").symlink_to(tmp_path)
    walk = walk_videos([tmp_path / "root"], library_dir=tmp_path / "absent")
    assert [str(file.relative_to(tmp_path)) for file in walk.files] == ["link/a.mp4"]


def test_a_folder_that_cannot_be_listed_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir()
    scandir = os.scandir

    def refuse(folder: str) -> Any:
        if str(folder).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    walk = walk_videos([tmp_path], library_dir=tmp_path / "absent")
    assert walk.unreadable == ((tmp_path / "closed", "Permission denied"),)


def test_status_remembers_a_folder_that_cannot_be_listed(
    index: Index, archive: Path, library_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir, closed = os.scandir, archive / "sub"

    def refuse(folder: str) -> Any:
        if str(folder) == str(closed):
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refuse)
        index(archive)
    assert f"failed  {closed}: cannot open: Permission denied" in str(Library(library_dir).status())
    assert problems(library_dir) == {"sub": ("failed", "open")}
    index(archive)
    assert problems(library_dir) == {}


def test_a_path_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere does not exist"):
        walk_videos([tmp_path / "nowhere"], library_dir=tmp_path)


def test_the_stamp_of_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(DecodeError, match=r"pipe\.mp4: cannot open: not a regular file"):
        file_stamp(tmp_path / "pipe.mp4")
    with pytest.raises(DecodeError, match=r"gone\.mp4: cannot open: No such file or directory"):
        file_stamp(tmp_path / "gone.mp4")


@pytest.mark.parametrize("place", [0, 4_650_000, -1])
def test_the_quick_hash_sees_head_middle_and_tail(tmp_path: Path, place: int) -> None:
    data = bytearray(np.random.default_rng(0).bytes(10_000_000))
    (tmp_path / "a").write_bytes(data)
    (tmp_path / "b").write_bytes(data + b"\0")
    data[place] ^= 1
    (tmp_path / "c").write_bytes(data)
    hashes = [quick_hash(tmp_path / name, size_bytes=(tmp_path / name).stat().st_size) for name in "abc"]
    assert len(set(hashes)) == 3


def test_the_quick_hash_of_a_small_file_sees_every_byte(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 1000)
    (tmp_path / "b").write_bytes(b"x" * 500 + b"y" + b"x" * 499)
    assert quick_hash(tmp_path / "a", size_bytes=1000) != quick_hash(tmp_path / "b", size_bytes=1000)


# What becomes of them


def test_a_first_run(archive: Path, library_dir: Path, index: Index) -> None:
    report = index(archive)
    assert counts(report) == (2, 0, 0, 3)
    assert (report.partial, report.ignored, report.failures) == (0, 1, ())
    assert report.video_s == pytest.approx(5.5)
    assert (report.tokens, report.dense_tokens) == (6 * 4, 6 * 8)
    assert 0 < report.decode_s + report.encode_s < report.wall_s
    assert searchable(library_dir) == {"a.mp4": 2, "b.MKV": 1}


def test_running_again_does_nothing(
    archive: Path, library_dir: Path, embedder: ColourEmbedder, monkeypatch: pytest.MonkeyPatch, index: Index
) -> None:
    index(archive)
    segments = sorted((library_dir / "segments").iterdir())
    monkeypatch.setattr(embedder, "embed_clips", None)  # any use would fail
    report = index(archive)
    assert counts(report) == (0, 2, 0, 0)
    assert sorted((library_dir / "segments").iterdir()) == segments


def test_the_archive_is_never_written(archive: Path, index: Index) -> None:
    def picture_of(folder: Path) -> dict[str, tuple[int, int, bytes | None]]:
        return {
            str(path): (path.stat().st_mtime_ns, path.stat().st_mode, path.read_bytes() if path.is_file() else None)
            for path in (folder, *folder.rglob("*"))
        }

    before = picture_of(archive)
    index(archive)
    assert picture_of(archive) == before


def test_a_library_inside_the_archive_is_not_walked(archive: Path, index: Index) -> None:
    library_dir = archive / "library"
    (library_dir / "cache").mkdir(parents=True)
    shutil.copy(archive / "a.mp4", library_dir / "cache" / "preview.mp4")
    report = index(archive, library_dir=library_dir)
    assert counts(report) == (2, 0, 0, 3)


def test_bad_files_are_listed_with_their_reasons_and_the_run_goes_on(
    archive: Path, library_dir: Path, index: Index
) -> None:
    (archive / "0.mp4").write_bytes(b"")
    (archive / "00.mp4").write_bytes(b"")
    (archive / "1.mp4").write_bytes(b"this is no video" * 1000)
    os.mkfifo(archive / "2.mp4")
    (archive / "3.mp4").symlink_to("nowhere")
    report = index(archive)
    assert counts(report) == (2, 0, 5, 3)
    listed = {video.path.name: (video.state, video.stage) for video in report.failures}
    assert listed == dict.fromkeys(("0.mp4", "00.mp4", "1.mp4", "2.mp4", "3.mp4"), ("failed", "open"))
    assert problems(library_dir) == listed
    reasons = {video.path.name: video.reason for video in report.failures}
    assert (reasons["2.mp4"], reasons["3.mp4"]) == ("not a regular file", "No such file or directory")
    assert all(reasons.values())


def test_known_bad_files_are_tried_again_only_when_asked_or_changed(
    archive: Path, library_dir: Path, index: Index
) -> None:
    bad = archive / "bad.mp4"
    bad.write_bytes(b"this is no video")
    assert counts(index(archive)) == (2, 0, 1, 3)
    again = index(archive)
    assert (counts(again), again.failed_before) == ((0, 3, 0, 0), 1)
    assert "1 of the skipped files failed earlier or in part: vlrlt failures lists them" in again.as_text()
    assert counts(index(archive, retry_failed=True)) == (0, 2, 1, 0)
    write_colours(bad, [("cyan", 1)])
    assert counts(index(archive)) == (1, 2, 0, 1)
    assert problems(library_dir) == {}
    assert searchable(library_dir) == {"a.mp4": 2, "b.MKV": 1, "bad.mp4": 1}


def test_a_changed_file_is_indexed_anew(archive: Path, library_dir: Path, index: Index) -> None:
    index(archive)
    write_colours(archive / "a.mp4", [("cyan", 5)])
    assert counts(index(archive)) == (1, 1, 0, 1)
    assert searchable(library_dir) == {"a.mp4": 1, "b.MKV": 1}
    (archive / "a.mp4").write_bytes(b"broken now")
    assert counts(index(archive)) == (0, 1, 1, 0)
    assert searchable(library_dir) == {"b.MKV": 1}
    index(archive)
    assert len(list((library_dir / "segments").iterdir())) == 1, "replaced vectors go with the next run"


def test_touched_moved_and_copied_files_need_no_decoding(
    archive: Path, library_dir: Path, embedder: ColourEmbedder, monkeypatch: pytest.MonkeyPatch, index: Index
) -> None:
    index(archive)
    monkeypatch.setattr(embedder, "embed_clips", None)  # any use would fail
    os.utime(archive / "a.mp4")
    (archive / "sub" / "b.MKV").rename(archive / "moved.mkv")
    shutil.copy(archive / "a.mp4", archive / "copy.mp4")
    assert counts(index(archive)) == (0, 3, 0, 0)
    assert searchable(library_dir) == {"a.mp4": 2, "moved.mkv": 1}
    (archive / "a.mp4").unlink()
    assert counts(index(archive)) == (0, 2, 0, 0)
    assert searchable(library_dir) == {"copy.mp4": 2, "moved.mkv": 1}


def test_a_file_completed_in_place_is_indexed_anew(archive: Path, library_dir: Path, index: Index) -> None:
    """A download fills holes: same size, same samples, another time of change. It was skipped for ever."""
    video = archive / "a.mp4"
    size = 4 * 2**20
    with video.open("ab") as file:  # an unused box of MP4, longer than what is sampled
        file.write(size.to_bytes(4, "big") + b"free" + bytes(size - 8))
    index(archive)
    data = video.read_bytes()
    video.write_bytes(data[:150_000] + b"what was missing" + data[150_016:])
    assert quick_hash(video, size_bytes=len(data)) == file_hash(library_dir, video), "no sample sees it"
    assert counts(index(archive))[:2] == (1, 1)
    assert counts(index(archive))[:2] == (0, 2)
    assert searchable(library_dir) == {"a.mp4": 2, "b.MKV": 1}


def file_hash(library_dir: Path, path: Path) -> str:
    with Ledger.open_existing(library_dir) as ledger:
        return next(file.content_hash for file in ledger.files() if file.path == path)


def test_what_was_cut_short_and_written_again_is_tried_again(tmp_path: Path, library_dir: Path, index: Index) -> None:
    whole = write_colours(tmp_path / "whole.mkv", [("red", 5), ("blue", 5)])
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    assert index(cut).partial == 1
    assert counts(index(cut))[:2] == (0, 1)
    os.utime(cut)
    assert counts(index(cut))[:2] == (1, 0)


def test_a_renamed_archive_is_found_under_its_new_name(archive: Path, library_dir: Path, index: Index) -> None:
    """Every hit, thumbnail and cut named the folder that is gone."""
    index(archive)
    renamed = archive.rename(archive.with_name("z renamed"))
    report = index(renamed)
    assert (counts(report), report.moved) == ((0, 2, 0, 0), 2)
    assert "2 files have moved or been renamed" in report.as_text()
    with Catalog.open_reader(library_dir) as catalog:
        assert all(Path(video).exists() for video in catalog.snapshot().frame_runs.videos)
    assert index(renamed).moved == 0


def test_twins_in_one_run_are_indexed_once(archive: Path, library_dir: Path, index: Index) -> None:
    shutil.copy(archive / "a.mp4", archive / "twin.mp4")
    assert counts(index(archive)) == (2, 1, 0, 3)
    assert searchable(library_dir) == {"a.mp4": 2, "b.MKV": 1}


def test_a_copy_over_another_video_takes_its_clips_away(archive: Path, library_dir: Path, index: Index) -> None:
    index(archive)
    shutil.copy(archive / "a.mp4", archive / "sub" / "b.MKV")
    assert counts(index(archive)) == (0, 2, 0, 0)
    assert searchable(library_dir) == {"a.mp4": 2}


def test_files_that_swap_names_are_both_found_under_their_new_ones(
    archive: Path, library_dir: Path, index: Index
) -> None:
    write_colours(archive / "c.mp4", [("cyan", 5)])
    index(archive)
    (archive / "c.mp4").rename(archive / "x")
    (archive / "a.mp4").rename(archive / "c.mp4")
    (archive / "x").rename(archive / "a.mp4")
    report = index(archive)
    assert (report.failed, report.indexed + report.skipped) == (0, 3)
    assert searchable(library_dir) == {"a.mp4": 1, "b.MKV": 1, "c.mp4": 2}


def test_names_need_not_be_utf8(tmp_path: Path, library_dir: Path, index: Index) -> None:
    path = tmp_path / "archive" / os.fsdecode(b"caf\xe9.mp4")
    write_colours(tmp_path / "a.mp4", [("red", 1)])
    path.parent.mkdir()
    (tmp_path / "a.mp4").rename(path)
    assert counts(index(path.parent)) == (1, 0, 0, 1)
    assert searchable(library_dir) == {path.name: 1}


def test_a_file_that_grows_while_it_is_read_is_left_for_the_next_run(archive: Path, index: Index) -> None:
    def grow(progress: IndexProgress) -> None:
        if progress.path.name == "a.mp4" and not progress.scanning:
            with progress.path.open("ab") as file:
                file.write(b"more")

    report = index(archive, on_progress=grow)
    assert (counts(report), report.waiting, report.failures) == ((1, 0, 0, 1), 1, ())
    assert counts(index(archive)) == (1, 1, 0, 2)


@pytest.mark.parametrize("suffix", [".mkv", ".ts"])
def test_a_cut_off_video_is_searchable_up_to_there(
    tmp_path: Path, library_dir: Path, suffix: str, index: Index
) -> None:
    whole = write_colours(tmp_path / f"whole{suffix}", [("red", 5), ("blue", 5)])
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    report = index(cut)
    with Catalog.open_reader(library_dir) as catalog:
        end_s = catalog.snapshot().frame_runs.end_s_N.max()
    assert 3 < end_s < 8
    assert report.indexed == 1
    assert report.video_s == pytest.approx(end_s)
    if suffix == ".mkv":  # its header promises ten seconds; a transport stream promises nothing
        assert report.partial == 1
        assert problems(library_dir)[cut.name][0] == "partial"
        assert counts(index(cut))[:2] == (0, 1)
        assert counts(index(cut, retry_failed=True))[:2] == (1, 0)
        assert list(searchable(library_dir).values()) == [report.vectors]


BLINKING = [(colour, 5.0) for _ in range(30) for colour in ("red", "blue")]


def kill_decoders(
    monkeypatch: pytest.MonkeyPatch, *, signals: list[int], at_s: float
) -> Callable[[IndexProgress], None]:
    """A progress callback that kills the decoder of a.mp4, once for each signal, when so much is done."""
    children: list[DecodeProcess] = []
    killed: set[int | None] = {None}

    class SpiedProcess(DecodeProcess):
        def __init__(self) -> None:
            super().__init__()
            children.append(self)

    def kill(progress: IndexProgress) -> None:
        if progress.path.name == "a.mp4" and progress.video_s_done >= at_s and signals:
            for child in children:
                if child.pid is not None and child.pid not in killed:
                    os.kill(child.pid, signals.pop(0))
                    killed.add(child.pid)

    monkeypatch.setattr(worker, "DecodeProcess", SpiedProcess)
    monkeypatch.setattr(build, "_BACK_OFF_S", (0.1, 0.1))
    return kill


def test_a_decoder_that_is_killed_gets_another_try(
    tmp_path: Path, library_dir: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = write_colours(tmp_path / "archive" / "a.mp4", BLINKING, fps=2).parent
    kill = kill_decoders(monkeypatch, signals=[signal.SIGKILL], at_s=16)
    assert counts(index(archive, on_progress=kill)) == (1, 0, 0, 60)
    assert searchable(library_dir) == {"a.mp4": 60}


def test_a_decoder_that_crashes_costs_the_rest_of_the_file(
    tmp_path: Path, library_dir: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = write_colours(tmp_path / "archive" / "a.mp4", BLINKING, fps=2).parent
    kill = kill_decoders(monkeypatch, signals=[signal.SIGSEGV], at_s=16)
    report = index(archive, on_progress=kill)
    assert (report.indexed, report.partial, report.failed) == (1, 1, 0)
    (problem,) = report.failures
    assert (problem.state, problem.stage, problem.retry_at) == ("partial", "decode", None)
    assert "died (SIGSEGV)" in str(problem.reason)
    assert 4 <= searchable(library_dir)["a.mp4"] < 60


def test_what_cannot_be_read_now_is_tried_again_later_by_itself(
    tmp_path: Path, library_dir: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexer, "CHUNK_S", 10.0)
    archive = write_colours(tmp_path / "archive" / "a.mp4", BLINKING, fps=2).parent
    kill = kill_decoders(monkeypatch, signals=[signal.SIGKILL] * 3, at_s=31)
    report = index(archive, on_progress=kill)
    (problem,) = report.failures
    assert (problem.state, problem.attempts) == ("unfinished", 1)
    done_s = problem.done_s
    assert 30 <= done_s < 300
    assert done_s % 10 == 0, "whole chunks"
    assert "died (SIGKILL)" in str(problem.reason)
    ended = int(done_s) // 5 - 1
    assert searchable(library_dir) == {"a.mp4": ended}, "what was committed stays; the last run may still grow"
    assert counts(index(archive)) == (0, 1, 0, 0), "not yet: ten minutes have to pass"
    with monkeypatch.context() as later:
        later.setattr(time, "time", lambda: 700 + float(problem.retry_at or 0))
        assert counts(index(archive)) == (1, 0, 0, 60 - ended)
    assert searchable(library_dir) == {"a.mp4": 60}


def test_progress_counts_bytes_and_seconds_of_video(archive: Path, index: Index) -> None:
    steps: list[IndexProgress] = []
    index(archive, on_progress=steps.append)
    scanning = [step for step in steps if step.scanning]
    indexing = [step for step in steps if not step.scanning]
    assert [(step.files_done, step.files_total) for step in scanning] == [(0, 2), (1, 2)]
    assert [step.path.name for step in indexing] == ["a.mp4"] * 4 + ["b.MKV"] * 4
    assert [step.video_s_done for step in indexing] == pytest.approx([0, 1, 2, 3, 3, 4, 4.75, 5.5], abs=0.01)
    total = sum(file.stat().st_size for file in (archive / "a.mp4", archive / "sub" / "b.MKV"))
    assert {step.bytes_total for step in indexing} == {total}
    assert [step.bytes_done for step in indexing] == sorted(step.bytes_done for step in indexing)
    assert indexing[-1].bytes_done == total


def test_another_model_is_built_beside_and_answers_once_it_is_complete(
    archive: Path, library_dir: Path, embedder: ColourEmbedder, index: Index
) -> None:
    index(archive)
    other = ColourEmbedder(sampling=ClipSampling(clip_s=2, stride_s=1, num_frames=2))
    assert counts(index(archive / "a.mp4", embedder=other)) == (1, 0, 0, 2)
    assert searchable(library_dir) == {"a.mp4": 2, "b.MKV": 1}, "the first model answers"
    with Library(library_dir, model=other) as service, pytest.raises(IndexMismatchError, match="then run: vlrlt use"):
        service.search("red")
    assert counts(index(archive, embedder=other)) == (1, 1, 0, 1)
    with Ledger.open(library_dir) as ledger:
        ledger.use(ledger.models()[1])
    assert searchable(library_dir) == {"a.mp4": 2, "b.MKV": 1}
    with Library(library_dir, model=other) as service:
        assert service.search("blue", k=1).hits[0].video.endswith("b.MKV")


def test_the_library_remembers_how_to_load_its_model(
    archive: Path,
    library_dir: Path,
    embedder: ColourEmbedder,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    index: Index,
) -> None:
    (tmp_path / "models" / "mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "models")
    embedder.name = "mine"
    index(archive)
    with Catalog.open_reader(library_dir) as catalog:
        settings = catalog.settings()
    assert settings is not None
    assert settings.model == str(tmp_path / "models" / "mine")
    assert (settings.sampling, settings.embed_dim, settings.policy) == (embedder.sampling, embedder.embed_dim, None)


def test_faiss_is_asked_for_before_the_work(
    archive: Path, library_dir: Path, monkeypatch: pytest.MonkeyPatch, index: Index
) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtraError):
        index(archive)
    assert not library_dir.exists()


# What becomes of a run that ends early


def test_an_interrupt_drops_the_video_at_hand_and_keeps_the_others(
    archive: Path, library_dir: Path, index: Index
) -> None:
    def interrupt(progress: IndexProgress) -> None:
        if progress.path.name == "b.MKV" and progress.video_s_done > 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index(archive, on_progress=interrupt)
    assert searchable(library_dir) == {"a.mp4": 2}
    assert counts(index(archive)) == (1, 1, 0, 1)


def test_a_crash_between_segment_and_commit_leaves_an_orphan_for_the_next_run(
    archive: Path, library_dir: Path, monkeypatch: pytest.MonkeyPatch, index: Index
) -> None:
    def crash(*_args: object, **_kwargs: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "commit", crash)
        with pytest.raises(KeyboardInterrupt):
            index(archive)
    (orphan,) = (library_dir / "segments").iterdir()
    assert searchable(library_dir) == {}
    assert counts(index(archive)) == (2, 0, 0, 3)
    assert not orphan.exists()


def test_a_disk_that_is_full_ends_the_run_and_keeps_what_was_committed(
    archive: Path, library_dir: Path, monkeypatch: pytest.MonkeyPatch, index: Index
) -> None:
    written: list[Segment] = []

    def full_at_the_second(folder: Path, vectors_ND: Float32Array, *, fingerprint: str) -> Segment:
        if written:
            raise LibraryError("segments cannot be written: No space left on device")
        written.append(write_segment(folder, vectors_ND, fingerprint=fingerprint))
        return written[0]

    monkeypatch.setattr(indexer, "write_segment", full_at_the_second)
    with pytest.raises(LibraryError, match="No space left"):
        index(archive)
    assert searchable(library_dir) == {"a.mp4": 2}
    assert problems(library_dir) == {}, "a full disk is not the video's fault"


# What does not change


class StillEmbedder(ColourEmbedder):
    """With a token policy, so that static clips are found."""

    def __init__(self, *, sampling: ClipSampling | None = None) -> None:
        super().__init__(sampling=sampling)
        self.policy = TokenPolicy()


def test_a_still_stretch_is_one_frame_run_with_the_right_times(tmp_path: Path, library_dir: Path, index: Index) -> None:
    video = write_colours(tmp_path / "a.mp4", [("red", 3), ("blue", 40), ("green", 2)])
    report = index(video, embedder=StillEmbedder())
    assert (report.vectors, report.looks, report.static_looks) == (3, 6, 84)
    assert report.dense_tokens == 45 * 8
    with Library(library_dir, model=StillEmbedder()) as service:
        (hit,) = service.search("blue", k=1).hits
    assert (hit.start_s, hit.end_s) == (3, 43)


@pytest.mark.parametrize("killed_at_s", [12, 33])
def test_a_run_goes_on_inside_a_video_and_inside_a_still_stretch(
    tmp_path: Path, library_dir: Path, index: Index, monkeypatch: pytest.MonkeyPatch, killed_at_s: int
) -> None:
    monkeypatch.setattr(indexer, "CHUNK_S", 10.0)
    video = write_colours(tmp_path / "a.mp4", [("red", 3), ("blue", 40), ("green", 2)])

    def interrupt(progress: IndexProgress) -> None:
        if progress.video_s_done == killed_at_s:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index(video, embedder=StillEmbedder(), on_progress=interrupt)
    steps: list[IndexProgress] = []
    index(video, embedder=StillEmbedder(), on_progress=steps.append)
    first_s = next(step.video_s_done for step in steps if step.video_s_done)
    assert first_s == killed_at_s // 10 * 10 + 1, "what was committed is not done again"
    with Catalog.open_reader(library_dir) as catalog:
        runs = catalog.snapshot().frame_runs
    assert list(zip(runs.start_s_N, runs.end_s_N, strict=True)) == [(0, 3), (3, 43), (43, 45)]


def test_a_day_of_a_still_camera_takes_kilobytes(tmp_path: Path, library_dir: Path, index: Index) -> None:
    embedder = StillEmbedder(sampling=ClipSampling(clip_s=40, stride_s=40, num_frames=2))
    scenes = [("black", 8 * 3600), ("red", 40), ("black", 16 * 3600 - 40)]
    video = write_colours(tmp_path / "day.mp4", scenes, fps=Fraction(1, 20))
    report = index(video, embedder=embedder)
    assert report.video_s == 86_400
    assert report.vectors == 3
    with Catalog.open_reader(library_dir) as catalog:
        (segment,) = catalog.segments()
    folder = library_dir / "segments" / segment.uuid
    assert sum(file.stat().st_size for file in folder.iterdir()) < 2000
    with Library(library_dir, model=embedder) as service:
        (hit,) = service.search("red", k=1).hits
    assert (hit.start_s, hit.end_s) == (8 * 3600, 8 * 3600 + 40)


# What is gone


def test_files_that_are_gone_are_pruned_after_a_while(archive: Path, library_dir: Path, index: Index) -> None:
    for number in range(3):
        write_colours(archive / f"{number}.mp4", [("cyan", 1 + number)])
    index(archive)
    (archive / "a.mp4").unlink()
    report = index(archive)
    assert (report.missing, report.pruned, report.away) == (1, 0, ())
    assert "a.mp4" in searchable(library_dir), "it may come back"
    assert index(archive, grace_s=0.0).pruned == 1
    assert "a.mp4" not in searchable(library_dir)


def test_an_unplugged_disk_loses_nothing(archive: Path, tmp_path: Path, library_dir: Path, index: Index) -> None:
    index(archive)
    archive.rename(tmp_path / "unplugged")
    assert index(archive, grace_s=0.0).away == (str(archive),)
    archive.mkdir()  # an empty mount point
    report = index(archive, grace_s=0.0)
    assert (report.missing, report.pruned, report.away) == (0, 0, (str(archive),))
    assert len(searchable(library_dir)) == 2
    archive.rmdir()
    (tmp_path / "unplugged").rename(archive)
    assert counts(index(archive)) == (0, 2, 0, 0)


def test_patterns_choose_files(archive: Path, library_dir: Path, index: Index) -> None:
    assert counts(index(archive, exclude=["sub"])) == (1, 0, 0, 2)
    assert counts(index(archive, include=["sub/*"])) == (1, 0, 0, 1)
    assert len(searchable(library_dir)) == 2, "what is not chosen now is not gone"


def test_a_run_can_be_stopped_from_outside(archive: Path, library_dir: Path, index: Index) -> None:
    def stop(progress: IndexProgress) -> None:
        if progress.path.name == "b.MKV" and not progress.scanning:
            (library_dir / "stop").touch()
            time.sleep(0.6)

    with pytest.raises(StoppedError):
        index(archive, on_progress=stop)
    assert searchable(library_dir) == {"a.mp4": 2}
    assert '"event": "run stopped", "error_class": "StoppedError"' in (library_dir / "log" / "index.jsonl").read_text()
    assert counts(index(archive)) == (1, 1, 0, 1), "an old request to stop is forgotten"


def test_a_paused_run_waits_until_it_may_go_on(archive: Path, library_dir: Path, index: Index) -> None:
    paused_s: list[float] = []

    def pause(progress: IndexProgress) -> None:
        if progress.path.name == "b.MKV" and not progress.scanning:
            if not paused_s:
                (library_dir / "pause").touch()
                threading.Timer(1.5, (library_dir / "pause").unlink).start()
                time.sleep(0.6)  # it looks for the file twice a second
            paused_s.append(time.monotonic())

    assert counts(index(archive, on_progress=pause)) == (2, 0, 0, 3)
    assert max(np.diff(paused_s)) > 0.5


def test_memory_that_runs_out_halves_the_batches(archive: Path, embedder: ColourEmbedder, index: Index) -> None:
    sizes = []
    embed = embedder.embed_clips

    def picky(rgb_BTHWC: Any) -> Any:
        sizes.append(len(rgb_BTHWC))
        if len(rgb_BTHWC) > 1:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        return embed(rgb_BTHWC)

    embedder.embed_clips = picky  # type: ignore[method-assign]
    assert counts(index(archive)) == (2, 0, 0, 3)
    assert max(sizes) == 3
