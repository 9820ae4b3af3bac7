"""Whatever ends a run, nothing that was committed is lost, nothing is found twice, and the next run ends in the library
that an undisturbed one would have made. Some of it is part of every run of the tests, all of it of `make test-crash`;
every test prints how often it disturbed a run.

Real processes and real SIGKILLs; real SQLite, FAISS and decoders. The archive has several chunks a video, a still
stretch, twins and a broken file.
"""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from _pytest.mark import ParameterSet
from colour import write_colours
from crash_program import index

from vlrlt.errors import DamagedSegmentError, LibraryError
from vlrlt.index.library.catalog import Catalog, Segment, Video
from vlrlt.index.library.failpoints import FAILPOINTS
from vlrlt.index.library.ledger import Chunk, Ledger
from vlrlt.index.library.segments import read_segment
from vlrlt.index.run.maintain import compact, verify
from vlrlt.index.vectors.faiss_store import FaissStore

PROGRAM = [sys.executable, str(Path(__file__).parent / "crash_program.py")]
NUMBERS = range(1, len(FAILPOINTS) + 1)
PATIENCE_S = 60


def all_but(some: Iterable[object], always: Collection[object]) -> list[ParameterSet]:
    """Parameters of which only a few are part of every run of the tests."""
    return [pytest.param(one, marks=() if one in always else pytest.mark.crash) for one in some]


Start = Callable[..., "subprocess.Popen[bytes]"]
Contents = dict[int, tuple[tuple[str, float, float], bytes]]
"""Id of a frame run: file, start and end; vector."""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    archive = tmp_path_factory.mktemp("archive")
    colours = [
        ("red", 1),
        ("green", 1),
        ("blue", 1),
        ("white", 1),
        ("cyan", 1),
        ("red", 1),
        ("black", 1),
        ("yellow", 1),
    ]
    write_colours(archive / "a.mp4", [*colours, ("magenta", 1.5)])
    write_colours(archive / "still.mkv", [("red", 1), ("blue", 9), ("green", 1)])
    write_colours(archive / "short.mp4", [("cyan", 1.4)])
    shutil.copy(archive / "a.mp4", archive / "twin.mp4")
    (archive / "broken.mp4").write_bytes(b"this is no video")
    return archive


@pytest.fixture(scope="module")
def undisturbed(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Contents:
    library_dir = tmp_path_factory.mktemp("undisturbed") / "library"
    assert run(archive, library_dir).returncode == 0
    contents = searchable(library_dir)
    assert len(contents) == 9 + 3 + 1, "a still stretch is one frame run"
    return contents


def run(archive: Path, library_dir: Path, *, failpoint: str | None = None) -> "subprocess.CompletedProcess[str]":
    environment = dict(os.environ) if failpoint is None else {**os.environ, "VLRLT_FAILPOINT": failpoint}
    return subprocess.run(
        [*PROGRAM, archive, library_dir], env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def searchable(library_dir: Path) -> Contents:
    """Everything that a search can find; fails where a frame run would be found twice, or not at all."""
    with Catalog.open_reader(library_dir) as catalog:
        snapshot = catalog.snapshot()
    runs, store = snapshot.frame_runs, FaissStore(library_dir, snapshot)
    num = len(runs.ids_N)
    assert len(set(runs.ids_N.tolist())) == num == len(store)
    if not num:
        return {}
    found = store.search(np.full(snapshot.settings.embed_dim, 0.1, np.float32), k=num + 1)
    assert sorted(found.positions_K.tolist()) == list(range(num)), "each frame run exactly once"
    vectors_ND = np.concatenate(
        [read_segment(library_dir, segment, embed_dim=snapshot.settings.embed_dim) for segment in snapshot.segments]
    )
    return {
        int(runs.ids_N[row]): (
            (Path(runs.videos[runs.video_N[row]]).name, float(runs.start_s_N[row]), float(runs.end_s_N[row])),
            vectors_ND[row].tobytes(),
        )
        for row in range(num)
    }


def check_disturbed(library_dir: Path, undisturbed: Contents) -> int:
    """Whatever is there is right; returns how many frame runs."""
    try:
        contents = searchable(library_dir)
    except LibraryError as error:
        if any(words in str(error) for words in ("is not a vlrlt library", "is empty", "has schema")):
            return 0  # killed before there was one
        raise
    assert contents.items() <= undisturbed.items()
    return len(contents)


def check_repaired(archive: Path, library_dir: Path, undisturbed: Contents) -> None:
    """The next run does the rest, and the one after it nothing."""
    again = run(archive, library_dir)
    assert again.returncode == 0, again.stderr
    assert searchable(library_dir) == undisturbed
    with Ledger.open(library_dir) as ledger:
        named = {segment.uuid for segment in ledger.all_segments()}
    on_disk = {folder.name for folder in (library_dir / "segments").iterdir()}
    assert named <= on_disk
    assert run(archive, library_dir).returncode == 0
    assert {folder.name for folder in (library_dir / "segments").iterdir()} == named, "no orphans, nothing new"
    assert searchable(library_dir) == undisturbed


@pytest.fixture(scope="module", autouse=True)
def _counts() -> Iterator[dict[str, int]]:
    yield COUNTS
    sys.stdout.write("\n" + "\n".join(f"{name}: {number}" for name, number in COUNTS.items()) + "\n")


COUNTS: dict[str, int] = {}


def count(name: str, number: int = 1) -> None:
    COUNTS[name] = COUNTS.get(name, 0) + number


@pytest.mark.parametrize("time", all_but([1, 3], [1]))
@pytest.mark.parametrize("number", all_but(NUMBERS, [2, 8, 10, 13, 15]))
def test_killed_at_a_failpoint(archive: Path, library_dir: Path, undisturbed: Contents, number: int, time: int) -> None:
    killed = run(archive, library_dir, failpoint=f"{number}:{time}")
    if killed.returncode == 0:
        assert time > 1, f"failpoint {number} ({FAILPOINTS[number - 1]}) was never passed"
        pytest.skip("not passed so often")
    assert killed.returncode == -9
    count("kills at failpoints")
    count("frame runs found after them", check_disturbed(library_dir, undisturbed))
    check_repaired(archive, library_dir, undisturbed)


@pytest.mark.parametrize("error", all_but([errno.ENOSPC, errno.EIO], [errno.ENOSPC]), ids=["ENOSPC", "EIO"])
@pytest.mark.parametrize("number", all_but(NUMBERS, [3, 9, 15]))
def test_a_disk_that_fails_at_a_failpoint(
    archive: Path, library_dir: Path, undisturbed: Contents, number: int, error: int
) -> None:
    failed = run(archive, library_dir, failpoint=f"{number}:1:{error}")
    count(f"runs with {errno.errorcode[error]}")
    if failed.returncode == 0:
        assert FAILPOINTS[number - 1] == "before the index is saved", "only a copy"
    check_disturbed(library_dir, undisturbed)
    check_repaired(archive, library_dir, undisturbed)


@pytest.mark.parametrize("wanted_kills", all_but([5, 100], [5]))
def test_killed_at_random_times(
    start_process: Start, archive: Path, tmp_path: Path, undisturbed: Contents, wanted_kills: int
) -> None:
    rng = np.random.default_rng(0)
    started_s = time.monotonic()
    assert run(archive, tmp_path / "timed").returncode == 0
    whole_s = time.monotonic() - started_s
    library_dir, generation = tmp_path / "0", 0
    kills = clips = 0
    while kills < wanted_kills:
        process = start_process([*PROGRAM, archive, library_dir], stderr=subprocess.DEVNULL)
        try:
            process.wait(rng.uniform(0.2, 1.0) * whole_s)
        except subprocess.TimeoutExpired:
            process.kill()
            kills += 1
        assert process.wait() in (0, -9)
        clips += check_disturbed(library_dir, undisturbed)
        if process.returncode == 0:
            assert searchable(library_dir) == undisturbed
            shutil.rmtree(library_dir)
            generation += 1
            library_dir = tmp_path / str(generation)
    count("kills at random times", kills)
    count("frame runs found after them, too", clips)
    check_repaired(archive, library_dir, undisturbed)


@pytest.mark.crash
@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "remove"])
def test_torn_files(archive: Path, library_dir: Path, undisturbed: Contents, damage: str) -> None:
    """Each file of segments and index, one after the other."""
    for _ in range(2):  # the second run removes what the merging of chunks has left
        assert run(archive, library_dir).returncode == 0
    whole = library_dir.with_name("whole")
    shutil.copytree(library_dir, whole)
    files = [file.relative_to(whole) for folder in ("segments", "faiss") for file in (whole / folder).rglob("*.*")]
    for name in [name for name in files if (whole / name).is_file()]:
        shutil.rmtree(library_dir)
        shutil.copytree(whole, library_dir)
        tear(library_dir / name, damage)
        count("torn files")
        try:
            assert searchable(library_dir) == undisturbed
        except DamagedSegmentError:
            count("of them noticed by a search")  # said, never searched
        report = verify(library_dir)
        assert report.damaged == ((name.parent.name,) if name.name == "vectors.f16" else ())
        assert {folder.name for folder in (library_dir / "quarantine").glob("*")} == set(report.damaged)
        assert run(archive, library_dir).returncode == 0
        assert searchable(library_dir) == undisturbed


def tear(file: Path, damage: str) -> None:
    data = file.read_bytes()
    if damage == "remove":
        file.unlink()
    else:
        middle = len(data) // 2
        flipped = data[:middle] + bytes([data[middle] ^ 16]) + data[middle + 1 :]
        file.write_bytes({"truncate": data[:middle], "flip": flipped, "empty": b""}[damage])


@pytest.mark.linux
@pytest.mark.parametrize("share", all_but([0.3, 0.6, 0.9], [0.6]))
def test_a_disk_that_is_really_full(archive: Path, tmp_path: Path, undisturbed: Contents, share: float) -> None:
    """It holds a part of what the catalog and the segments need."""
    assert run(archive, tmp_path / "library").returncode == 0
    files = [tmp_path / "library" / "catalog.db", *(tmp_path / "library" / "segments").rglob("*.*")]
    size_bytes = int(share * sum(512 * file.stat().st_blocks for file in files if file.is_file()))
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "none", disk], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        full = run(archive, disk / "library")
        assert full.returncode == 1, "the disk was large enough"
        assert full.stderr.startswith("vlrlt: "), full.stderr
        count("runs on a full disk")
        check_disturbed(disk / "library", undisturbed)
        subprocess.run(["mount", "-o", "remount,size=50m", disk], check=True)
        check_repaired(archive, disk / "library", undisturbed)
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def test_two_writers(start_process: Start, archive: Path, library_dir: Path, undisturbed: Contents) -> None:
    first = start_process([*PROGRAM, archive, library_dir])
    deadline_s = time.monotonic() + PATIENCE_S
    while not (library_dir / "segments").is_dir():
        assert first.poll() is None, "it ended before it wrote anything"
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    first.send_signal(signal.SIGSTOP)
    second = run(archive, library_dir)
    first.send_signal(signal.SIGCONT)
    assert second.returncode == 1
    assert "is being written by another vlrlt" in second.stderr
    assert first.wait(PATIENCE_S) == 0
    count("second writers refused")
    assert searchable(library_dir) == undisturbed


@pytest.mark.linux
def test_every_byte_is_synced_before_the_commit_that_names_it(
    archive: Path, library_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[Path] = set()
    fsync, commit, merge = os.fsync, Ledger.commit, Ledger.merge
    named: list[Segment] = []

    def spied_fsync(fd: int) -> None:
        fsync(fd)
        synced.add(Path(f"/proc/self/fd/{fd}").readlink())

    def check(segment: Segment) -> None:
        folder = library_dir / "segments" / segment.uuid
        written_as = folder.with_name(f"{segment.uuid}.tmp")
        assert {written_as, *(written_as / file.name for file in folder.iterdir()), folder.parent} <= synced
        synced.discard(folder.parent)
        named.append(segment)

    def spied_commit(self: Ledger, video: Video, chunk: Chunk | None = None) -> None:
        if chunk is not None and chunk.segment is not None:
            check(chunk.segment)
        commit(self, video, chunk)

    def spied_merge(self: Ledger, sources: tuple[Segment, ...], merged: Segment) -> None:
        check(merged)
        merge(self, sources, merged)

    monkeypatch.setattr(os, "fsync", spied_fsync)
    monkeypatch.setattr(Ledger, "commit", spied_commit)
    monkeypatch.setattr(Ledger, "merge", spied_merge)
    index(archive, library_dir)
    assert len(named) > 8
    count("commits whose files were synced", len(named))


def test_compacting_changes_nothing_that_is_found(archive: Path, library_dir: Path, undisturbed: Contents) -> None:
    assert run(archive, library_dir).returncode == 0
    assert compact(library_dir) == (3, 1)
    assert searchable(library_dir) == undisturbed
    check_repaired(archive, library_dir, undisturbed)
