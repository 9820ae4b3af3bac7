"""A library is opened once, follows what is indexed meanwhile, answers words, pictures and clips, shows what it found.

Real videos of plain colours, indexed with an embedder that counts colours.
"""

import dataclasses
import errno
import io
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from colour import COLOURS, ColourEmbedder, write_colours
from PIL import Image
from rich.filesize import decimal as format_bytes
from unwritable import UNWRITABLE, as_other_user, folder_for_everybody

from vlrlt.errors import ConfigError, DecodeError, IndexMismatchError, LibraryBusyError, LibraryError
from vlrlt.index.library.ledger import Ledger
from vlrlt.index.run.build import index_paths
from vlrlt.index.run.control import ask_run
from vlrlt.index.search.language import ClipQuery
from vlrlt.index.search.request import SearchRequest
from vlrlt.index.vectors.choice import open_store
from vlrlt.index.vectors.protocol import VectorStore
from vlrlt.service import PREVIEW_MAX_S, THUMBNAIL_WIDTH_PX, Library
from vlrlt.service.cache import CHECKSUM_SUFFIX
from vlrlt.service.pictures import Pictures
from vlrlt.types import ClipSpan, Moment
from vlrlt.video import media
from vlrlt.video.sampling import ClipSampling


def make_library(folder: Path) -> None:
    """archive/ with two videos, library/ in which they are indexed."""
    write_colours(folder / "archive" / "traffic.mp4", [("red", 3), ("yellow", 1), ("green", 3)])
    write_colours(folder / "archive" / "sea.mp4", [("blue", 4), ("cyan", 2)])
    index_paths([folder / "archive"], library_dir=folder / "library", embedder=ColourEmbedder())


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For tests that only search."""
    folder = tmp_path_factory.mktemp("shared")
    make_library(folder)
    return folder


@pytest.fixture
def service(shared: Path) -> Iterator[Library]:
    with Library(shared / "library", model=ColourEmbedder()) as service:
        yield service


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """For tests that change something; indexed in library_dir."""
    make_library(tmp_path)
    return tmp_path / "archive"


@pytest.fixture
def own_service(archive: Path, library_dir: Path) -> Iterator[Library]:
    with Library(library_dir, model=ColourEmbedder()) as service:
        yield service


def found(service: Library, words: str = "", **options: Any) -> list[tuple[str, float, float]]:
    hits = service.search(words, **options).hits
    return [(Path(hit.video).name, hit.start_s, hit.end_s) for hit in hits]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("red", ("traffic.mp4", 0, 3)),
        ("a yellow light", ("traffic.mp4", 3, 4)),
        ("green", ("traffic.mp4", 4, 7)),
        ("deep blue", ("sea.mp4", 0, 4)),
    ],
)
def test_words_find_the_right_seconds(service: Library, text: str, expected: tuple[str, float, float]) -> None:
    assert found(service, text, k=1) == [expected]


def test_the_result_says_what_was_asked_and_how_good_it_is(service: Library) -> None:
    result = service.search("cyan", k=2, tail=True)
    assert (result.query, result.model) == ("cyan", "colours")
    assert result.took_ms > 0
    best, second = result.hits
    assert best.score == pytest.approx(1, abs=0.01)  # this model encodes clips: no surroundings
    assert best.percentile == pytest.approx(100 * 4 / 5)  # one of five frame runs is cyan
    assert second.score < 0.2
    assert result.as_json()["hits"][0] == {
        "rank": 1,
        "score": round(best.score, 4),
        "percentile": 80.0,
        "confidence": None,
        "clip": best.clip,
        "video": best.video,
        "video_id": best.video_id,
        "start_s": 4.0,
        "end_s": 6.0,
        "sources": ["picture"],
        "text": None,
        "text_marks": [],
        "text_fit": None,
        "seek_s": None,
        "steps": [],
        "verdict": None,
        "likelihood": None,
    }
    assert result.as_text().splitlines()[0] == (
        f"#1    {best.score:.3f}  p80.0   sea.mp4  00:04.0-00:06.0  clip {best.clip}  in {Path(best.video).parent}"
    )


def test_a_picture_finds_its_colour(service: Library, tmp_path: Path) -> None:
    Image.new("RGB", (90, 60), COLOURS["green"]).save(tmp_path / "leaf.png")
    assert found(service, images=tmp_path / "leaf.png", k=1) == [("traffic.mp4", 4, 7)]


def test_a_picture_is_turned_as_its_camera_says(service: Library, tmp_path: Path) -> None:
    picture = Image.new("RGB", (90, 30), COLOURS["red"])
    picture.paste(COLOURS["blue"], (30, 0, 60, 30))  # the centre square, upright or not
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.png", exif=exif)
    assert found(service, images=tmp_path / "turned.png", k=1) == [("sea.mp4", 0, 4)]


@pytest.mark.parametrize("content", [None, b"", b"no picture"])
def test_a_file_that_is_no_picture(service: Library, tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(DecodeError, match=r"x\.png: cannot open"):
        service.search(images=tmp_path / "x.png")


def test_a_piece_of_video_finds_its_like(service: Library, tmp_path: Path) -> None:
    query = write_colours(tmp_path / "query.mp4", [("white", 2), ("cyan", 2), ("white", 2)])
    assert found(service, clips=f"{query}@2-4", k=1) == [("sea.mp4", 4, 6)]
    assert found(service, clips=f"{query}@00:02.2-00:02.7", k=1) == [("sea.mp4", 4, 6)], "shorter than a clip"


def test_a_whole_video_is_the_mean_of_its_clips(service: Library, tmp_path: Path) -> None:
    query = write_colours(tmp_path / "query.mp4", [("green", 2), ("red", 6)])
    hits = service.search(clips=ClipQuery(query), k=9, tail=True).hits
    assert (Path(hits[0].video).name, hits[0].start_s) == ("traffic.mp4", 0)
    cosine_to_red = 6 / np.hypot(2, 6)
    assert hits[0].score == pytest.approx(cosine_to_red, abs=0.01)


def test_a_piece_may_end_after_its_file_but_not_begin_there(service: Library, shared: Path) -> None:
    assert found(service, clips=ClipQuery(shared / "archive" / "sea.mp4", ClipSpan(4, 10)), k=1) == [("sea.mp4", 4, 6)]
    with pytest.raises(ConfigError, match=r"sea\.mp4 lasts 6\.00 s, so it has no frame in 6"):
        service.search(clips=ClipQuery(shared / "archive" / "sea.mp4", ClipSpan(6, 10)))


def test_the_querys_own_video_can_be_left_out(service: Library, shared: Path) -> None:
    query = ClipQuery(shared / "archive" / "sea.mp4", ClipSpan(0, 4))
    assert found(service, clips=query, k=1) == [("sea.mp4", 0, 4)]
    assert {video for video, _, _ in found(service, clips=query, not_paths="sea.mp4", tail=True)} == {"traffic.mp4"}


def test_new_videos_are_found_without_opening_again(own_service: Library, archive: Path, library_dir: Path) -> None:
    assert found(own_service, "magenta", k=1) == []
    write_colours(archive / "flower.mp4", [("magenta", 2)])
    index_paths([archive], library_dir=library_dir, embedder=ColourEmbedder())
    assert found(own_service, "magenta", k=1) == [("flower.mp4", 0, 2)]


def test_a_moved_video_is_found_at_its_new_path(own_service: Library, archive: Path, library_dir: Path) -> None:
    assert found(own_service, "cyan", k=1) == [("sea.mp4", 4, 6)]
    (archive / "sea.mp4").rename(archive / "ocean.mp4")
    index_paths([archive], library_dir=library_dir, embedder=ColourEmbedder())
    assert found(own_service, "cyan", k=1) == [("ocean.mp4", 4, 6)]


def test_searching_from_several_threads(service: Library) -> None:
    results: list[list[tuple[str, float, float]]] = []
    threads = [threading.Thread(target=lambda: results.append(found(service, "yellow", k=1))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[("traffic.mp4", 3, 4)]] * 8


def test_a_change_is_loaded_beside_what_is_searched(
    own_service: Library, archive: Path, library_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert found(own_service, "magenta") == []
    begun, go_on = threading.Event(), threading.Event()

    def slow_store(*args: Any) -> VectorStore:
        begun.set()
        assert go_on.wait(60)
        return open_store(*args)

    monkeypatch.setattr("vlrlt.service.reader.open_store", slow_store)
    write_colours(archive / "flower.mp4", [("magenta", 2)])
    index_paths([archive], library_dir=library_dir, embedder=ColourEmbedder())
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(found, own_service, "magenta")
        assert begun.wait(60)
        assert found(own_service, "magenta") == []
        go_on.set()
        assert loading.result() == [("flower.mp4", 0, 2)]


def test_the_chunks_of_an_unfinished_video_may_lie_apart(service: Library) -> None:
    searcher = service.searcher()
    runs = searcher.frame_runs
    searcher.frame_runs = runs = runs.take(np.argsort(runs.start_s_N, kind="stable"))  # videos in turns
    found = {Path(video).name: searcher.runs_between(video, 1, 5.5) for video in runs.videos}
    assert {name: runs.start_s_N[at].tolist() for name, at in found.items()} == {
        "sea.mp4": [0, 4],
        "traffic.mp4": [0, 3],
    }


def test_another_models_query_is_refused(service: Library, shared: Path) -> None:
    other = ColourEmbedder(sampling=ClipSampling(clip_s=2, stride_s=1, num_frames=2))
    other.name = "other colours"
    with (
        Library(shared / "library", model=other) as strangers,
        pytest.raises(IndexMismatchError, match="is searched with model 'colours'"),
    ):
        strangers.search("red")


def test_a_model_that_has_changed_under_its_name_says_how_to_go_on(service: Library, shared: Path) -> None:
    changed = ColourEmbedder()
    changed.fingerprint = "0" * 32
    with (
        Library(shared / "library", model=changed) as newer,
        pytest.raises(IndexMismatchError, match=r"was indexed with a version of 'colours' .* vlrlt use 000000000000 "),
    ):
        newer.search("red")


def test_a_folder_that_is_no_library(tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match="is not a vlrlt library"):
        Library(tmp_path)


def test_a_library_in_which_nothing_could_be_indexed(tmp_path: Path, library_dir: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"")
    index_paths([tmp_path / "bad.mp4"], library_dir=library_dir, embedder=ColourEmbedder())
    with Library(library_dir, model=ColourEmbedder()) as service:
        result = service.search("red")
        assert result.hits == ()
        assert not result.found
        assert result.as_text().startswith("nothing is indexed yet; run: vlrlt index PATH")
        assert service.status().failed == 1


def test_status_counts_what_is_there(own_service: Library, archive: Path, library_dir: Path) -> None:
    (archive / "broken.mp4").write_bytes(b"not a video")
    index_paths([archive], library_dir=library_dir, embedder=ColourEmbedder())
    status = own_service.status()
    assert (status.indexed, status.partial, status.failed, status.vectors) == (2, 0, 1, 5)
    assert status.video_s == pytest.approx(13)
    assert status.model == "colours"
    assert status.fingerprint == ColourEmbedder().fingerprint
    assert status.size_bytes > (library_dir / "catalog.db").stat().st_size
    ((failure),) = status.as_json()["failures"]
    assert (Path(failure["path"]).name, failure["state"], failure["stage"]) == ("broken.mp4", "failed", "open")
    lines = status.as_text().splitlines()
    assert lines[0] == f"library  {library_dir}, {format_bytes(status.size_bytes)}"
    assert lines[2] == "videos   2 indexed, 0 partial, 1 failed"
    assert lines[4].startswith("search   SQfp16: exact")
    assert lines[5].startswith("last run ended 20")
    assert lines[6].startswith(f"  failed  {archive}/broken.mp4: cannot open: ")


def moment(service: Library, text: str) -> Moment:
    return service.search(text, k=1).hits[0]


def test_thumbnails_show_the_moment_and_are_cached(own_service: Library, archive: Path) -> None:
    yellow = moment(own_service, "yellow")
    jpeg = own_service.thumbnail(yellow)
    picture = Image.open(io.BytesIO(jpeg))
    assert picture.format == "JPEG"
    assert picture.width == THUMBNAIL_WIDTH_PX
    assert np.asarray(picture).mean((0, 1)) == pytest.approx(COLOURS["yellow"], abs=12)
    (archive / "traffic.mp4").unlink()
    assert own_service.thumbnail(yellow) == jpeg


def test_previews_are_short_films_of_the_moment(service: Library) -> None:
    green = moment(service, "green")
    path = service.preview(green)
    assert path.suffix == ".mp4"
    with av.open(path) as container:
        frames = [frame.to_ndarray(format="rgb24").mean((0, 1)) for frame in container.decode(video=0)]
        assert container.streams.video[0].codec_context.name == "h264"
    assert len(frames) == pytest.approx(24, abs=1)
    assert np.array(frames) == pytest.approx(np.tile(COLOURS["green"], (len(frames), 1)), abs=12)
    changed = path.stat().st_mtime_ns
    assert service.preview(green) == path
    assert path.stat().st_mtime_ns == changed


def test_pictures_that_nobody_looks_at_make_room(service: Library, tmp_path: Path) -> None:
    moments = [service.search(colour, k=1).hits[0] for colour in ("red", "yellow", "green", "blue")]
    cache_dir = tmp_path / "cache"
    unbounded = Pictures(tmp_path)
    first, second, third = (unbounded.thumbnail(moment, content_hash="0") for moment in moments[:3])
    for age_s, path in enumerate((third, second, first)):
        os.utime(path, (1e9 - age_s, 1e9 - age_s))
    bystander = cache_dir / "background-0.npy"
    bystander.write_bytes(bytes(10_000))
    assert unbounded.thumbnail(moments[0], content_hash="0") == first  # looked at: the youngest now
    bounded = Pictures(tmp_path, max_bytes=2 * max(path.stat().st_size for path in (first, second, third)))
    fourth = bounded.thumbnail(moments[3], content_hash="0")
    kept = {path for path in cache_dir.iterdir() if path.suffix != CHECKSUM_SUFFIX}
    assert kept == {first, fourth, bystander}
    assert len(list(cache_dir.glob(f"*{CHECKSUM_SUFFIX}"))) == 2
    tiny = Pictures(tmp_path, max_bytes=1)
    assert tiny.thumbnail(moments[1], content_hash="0").exists()


def test_the_preview_of_a_long_moment_is_its_beginning(tmp_path: Path, library_dir: Path) -> None:
    write_colours(tmp_path / "long.mp4", [("red", PREVIEW_MAX_S + 5)], fps=2)
    index_paths([tmp_path / "long.mp4"], library_dir=library_dir, embedder=ColourEmbedder())
    with Library(library_dir, model=ColourEmbedder()) as service:
        long = moment(service, "red")
        assert long.end_s == pytest.approx(PREVIEW_MAX_S + 5)
        with av.open(service.preview(long)) as container:
            assert container.duration is not None
            assert container.duration / 1e6 == pytest.approx(PREVIEW_MAX_S, abs=1)


def test_only_videos_of_the_library_are_ever_shown(service: Library, tmp_path: Path) -> None:
    private = write_colours(tmp_path / "private.mp4", [("red", 2)])
    stranger = dataclasses.replace(moment(service, "red"), video=str(private))
    for show in (service.thumbnail, service.preview):
        with pytest.raises(LibraryError, match=r"private\.mp4 is not a video of"):
            show(stranger)


def test_a_cache_that_cannot_be_written_is_one_clear_error(own_service: Library, library_dir: Path) -> None:
    (library_dir / "cache").touch()
    with pytest.raises(LibraryError, match="cache cannot be written: File exists"):
        own_service.thumbnail(moment(own_service, "red"))


def test_nothing_half_made_stays_in_the_cache(own_service: Library, archive: Path, library_dir: Path) -> None:
    red = moment(own_service, "red")
    (archive / "traffic.mp4").write_bytes(b"no video any more")
    with pytest.raises(DecodeError):
        own_service.preview(red)
    assert [file.name for file in (library_dir / "cache").iterdir() if not file.name.startswith("background-")] == []


@pytest.fixture
def public() -> Iterator[Path]:
    """As `shared`, where any user can read it."""
    with folder_for_everybody() as folder:
        make_library(folder)
        yield folder


@pytest.mark.parametrize("unwritable", UNWRITABLE)
@pytest.mark.parametrize("killed", [False, True])
def test_a_library_that_cannot_be_written_is_searched_listed_and_shown(
    public: Path,
    monkeypatch: pytest.MonkeyPatch,
    unwritable: Callable[[Path], AbstractContextManager[None]],
    *,
    killed: bool,
) -> None:
    library_dir = public / "library"
    if killed:  # what was committed last is still in SQLite's log
        kill_a_writer(library_dir)
    before = {path: path.read_bytes() for path in library_dir.rglob("*") if path.is_file() and path.suffix != ".db-shm"}
    with folder_for_everybody() as caches:
        caches.chmod(0o777)
        monkeypatch.setenv("XDG_CACHE_HOME", str(caches))
        media.thumbnail(public / "archive" / "sea.mp4", 0, width_px=10)  # its child stays: not everybody may run Python
        with unwritable(library_dir), Library(library_dir, model=ColourEmbedder()) as service:
            assert found(service, "red", k=1) == [("traffic.mp4", 0, 3)]
            assert service.status().indexed == len(service.videos()) == 2
            assert Image.open(io.BytesIO(service.thumbnail(moment(service, "red")))).width == THUMBNAIL_WIDTH_PX
            assert service.saved.all() == {}
            with pytest.raises(LibraryError, match=r"catalog\.db cannot be written"):
                service.saved.save("red", SearchRequest(text=("red",)))
            with pytest.raises(LibraryError, match="cannot be written"):
                ask_run(library_dir, "pause")
            with pytest.raises(LibraryError, match="library cannot be written"):
                index_paths([public / "archive"], library_dir=library_dir, embedder=ColourEmbedder())
        copies = [path for path in caches.rglob("*") if path.is_file() and path.suffix != CHECKSUM_SUFFIX]
        assert sorted(path.suffix for path in copies) == [".jpg", ".npy"]
    assert before == {path: path.read_bytes() for path in before}


def test_a_library_that_another_machine_writes_is_not_read(
    own_service: Library, library_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a network share shows it: a lock of bytes, and in the file the name of another machine."""
    own_name = (library_dir / "lock").read_text()
    code = (
        "import os, sys; lock = os.open(sys.argv[1], os.O_RDWR); os.lockf(lock, os.F_LOCK, 0);"
        "print(flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(library_dir / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        assert found(own_service, "red", k=1), "a writer on this machine"
        (library_dir / "lock").write_text("4711 elsewhere")
        for ask in (own_service.status, lambda: Library(library_dir)):
            with pytest.raises(LibraryBusyError, match=r"written on another machine \(process 4711 there\)"):
                ask()
        writer.communicate()
    assert own_service.status().indexed == 2

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("os.lockf", no_locks)
    assert own_service.status().indexed == 2, "a share without locks cannot tell who writes"
    (library_dir / "lock").write_text(own_name)


def kill_a_writer(library_dir: Path) -> None:
    """Leave a commit in catalog.db-wal."""
    code = (
        "import os, sys; from pathlib import Path; from vlrlt.index.library.ledger import Ledger;"
        "ledger = Ledger.open(Path(sys.argv[1])); ledger.start_run(); os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", code, library_dir], check=False)
    assert (library_dir / "catalog.db-wal").stat().st_size


def test_a_library_that_its_owner_writes_to_is_followed_by_those_who_may_not(public: Path) -> None:
    library_dir, archive = public / "library", public / "archive"
    with as_other_user(library_dir):
        service = Library(library_dir, model=ColourEmbedder())
        assert service.status().indexed == len(service.videos()) == 2
    write_colours(archive / "wall.mp4", [("magenta", 2)])
    index_paths([archive], library_dir=library_dir, embedder=ColourEmbedder())
    with as_other_user(library_dir):
        assert service.status().indexed == len(service.videos()) == 3
        assert found(service, "magenta", k=1) == [("wall.mp4", 0, 2)]
    with Ledger.open(library_dir) as ledger:  # what it commits is in SQLite's log
        ledger.finish_run(ledger.start_run(), {"indexed": 7})
        with as_other_user(library_dir), Library(library_dir) as newcomer:
            assert service.reports()[0] == newcomer.reports()[0] == {"indexed": 7}
    service.close()
