"""Repeated scenes, moments like a clip and saved searches: in Python and on the command line."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from colour import ColourEmbedder, write_colours
from repeats import COPIED, make
from typer.testing import CliRunner

from vlrlt.cli import app
from vlrlt.errors import ConfigError
from vlrlt.index.run.build import index_paths
from vlrlt.index.search.filters import Filter
from vlrlt.index.search.repeats import find_repetitions
from vlrlt.index.search.request import SearchRequest
from vlrlt.index.search.saved import SavedSearches
from vlrlt.service import Library
from vlrlt.types import Moment


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repeats")
    write_colours(folder / "archive" / "a.mp4", [("red", 2), ("blue", 3), ("green", 1)])
    write_colours(folder / "archive" / "b.mp4", [("white", 2), ("blue", 3), ("green", 1), ("yellow", 2)])
    index_paths([folder / "archive"], library_dir=folder / "library", embedder=ColourEmbedder())
    return folder / "library"


@pytest.fixture
def service(library: Path) -> Iterator[Library]:
    with Library(library, model=ColourEmbedder()) as service:
        yield service


def test_planted_scenes_are_found_from_end_to_end_and_nothing_else() -> None:
    clips, vectors_ND = make(3000, 64)
    shares: list[float] = []
    found = find_repetitions(clips, lambda positions: vectors_ND[positions], on_progress=shares.append)
    assert sorted((one.first.video[-10:], one.second.video[-10:], one.num_clips) for one in found) == [
        ("000000.mp4", "000001.mp4", COPIED),
        ("000010.mp4", "000011.mp4", COPIED),
        ("000020.mp4", "000021.mp4", COPIED),
    ]
    assert {(one.first.start_s, one.first.end_s, one.second.start_s) for one in found} == {(60, 100, 120)}
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_a_clip_without_a_partner_does_not_break_a_scene_and_two_scenes_stay_two() -> None:
    clips, vectors_ND = make(200, 64)
    vectors_ND[100] = vectors_ND[0]
    vectors_ND[140] = vectors_ND[1]
    vectors_ND[30 + 5] = np.eye(64)[0]
    found = find_repetitions(clips, lambda positions: vectors_ND[positions])
    assert [one.num_clips for one in found] == [COPIED - 1, 1, 1]


def test_cells_miss_nothing_that_comparing_all_with_all_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    clips, vectors_ND = make(3000, 64)
    vectors_ND[1500:1530] = vectors_ND[200:230] = vectors_ND[2800:2830]  # one scene in three videos

    def found() -> set[tuple[Moment, Moment, int]]:
        repetitions = find_repetitions(clips, lambda positions: vectors_ND[positions])
        return {(one.first, one.second, one.num_clips) for one in repetitions}

    exactly = found()
    assert len(exactly) == 6
    monkeypatch.setattr("vlrlt.index.search.repeats._CELL_CLIPS", 300)
    assert found() == exactly


def test_a_video_may_lie_behind_younger_ones() -> None:
    clips, vectors_ND = make(200, 64)
    behind = replace(clips, video_N=1 - clips.video_N)
    (found,) = find_repetitions(behind, lambda positions: vectors_ND[positions])
    assert (found.first.start_s, found.second.start_s, found.num_clips) == (120, 60, COPIED)


def test_a_library_without_clips_repeats_nothing() -> None:
    clips, vectors_ND = make(200, 8)
    nothing = np.arange(0)
    assert find_repetitions(clips.take(nothing), lambda _positions: vectors_ND[nothing]) == ()


@pytest.mark.parametrize("cell_clips", [20_000, 200])
def test_a_wall_that_everybody_films_stays_cheap(cell_clips: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlrlt.index.search.repeats._CELL_CLIPS", cell_clips)
    clips, vectors_ND = make(1000, 16)
    vectors_ND[:] = vectors_ND[0]
    assert find_repetitions(clips, lambda positions: vectors_ND[positions], threshold=0.9)


@pytest.mark.parametrize("threshold", [0, 1.1, float("nan")])
def test_a_threshold_is_a_cosine(threshold: float) -> None:
    clips, vectors_ND = make(100, 8)
    with pytest.raises(ConfigError, match=r"a cosine in \(0, 1\]"):
        find_repetitions(clips, lambda positions: vectors_ND[positions], threshold=threshold)


def test_the_service_knows_what_two_videos_share(service: Library) -> None:
    (found,) = service.duplicates()
    assert [(Path(one.video).name, one.start_s, one.end_s) for one in (found.first, found.second)] == [
        ("a.mp4", 2, 6),
        ("b.mp4", 2, 6),
    ]
    assert found.as_text() == f"{found.similarity:.3f}     4.0 s  a.mp4 00:02.0-00:06.0  =  b.mp4 00:02.0-00:06.0"


def test_similar_leaves_out_the_moment_itself(service: Library) -> None:
    blue = service.search("blue").hits[0]
    everything = {"tail": True, "per_video": None}
    found = service.similar(blue, k=20, **everything)
    assert found.hits[0].video != blue.video
    assert not any(
        hit.video == blue.video and hit.start_s < blue.end_s and hit.end_s > blue.start_s for hit in found.hits
    )
    pages = [service.similar(blue, k=1, **everything)]
    while pages[-1].next_page:
        pages.append(service.similar(blue, k=1, **everything, page=pages[-1].next_page))
    assert tuple(hit for page in pages for hit in page.hits) == found.hits


def test_what_is_saved_is_found_again_while_another_process_writes(service: Library, library: Path) -> None:
    from vlrlt.index.library.ledger import Ledger

    request = SearchRequest(text=("blue",), filter=Filter(paths=("b.*",)), tail=True, k=1)
    with Ledger.open(library):
        service.saved.save("blue in b", request)
        assert service.saved.all() == {"blue in b": request}
    assert Path(service.search_saved("blue in b").hits[0].video).name == "b.mp4"
    service.saved.save("blue in b", SearchRequest(text=("red",)))
    assert service.saved.get("blue in b").text == ("red",)
    service.saved.delete("blue in b")
    for use in (service.saved.get, service.saved.delete, service.search_saved):
        with pytest.raises(ConfigError, match="no saved search 'blue in b'; saved searches are: none"):
            use("blue in b")


@pytest.mark.parametrize(
    "request_json",
    [
        {},
        {"text": ["x"], "images": "y"},
        {"text": ["x"], "image": "y"},
        {"text": [1]},
        {"text": "x", "k": "y"},
        {"text": ["x"], "filter": {"z": 1}},
    ],
)
def test_requests_that_cannot_be_saved(request_json: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        SearchRequest.parse(request_json).as_json()
    with pytest.raises(ConfigError, match="needs a name"):
        SavedSearches(Path("nowhere")).save("a/b", SearchRequest(text=("x",)))


def test_duplicates_on_the_command_line(library: Path) -> None:
    result = CliRunner().invoke(app, ["duplicates", "--library", str(library), "--json"])
    assert result.exit_code == 0, result.output
    (found,) = json.loads(result.stdout)["duplicates"]
    assert (found["clips"], found["duration_s"]) == (2, 4)
    none = CliRunner().invoke(app, ["duplicates", "--library", str(library), "--min-seconds", "9"])
    assert none.stdout == "no scene occurs twice\n"


def test_saved_searches_on_the_command_line(library: Path, service: Library) -> None:
    service.saved.save("red", SearchRequest(text=("red",), without=("blue",)))
    shown = CliRunner().invoke(app, ["searches", "--library", str(library)])
    assert shown.stdout == "red: red (+1), blue (-0.5)\n"
    gone = CliRunner().invoke(app, ["searches", "--library", str(library), "--delete", "red", "--json"])
    assert json.loads(gone.stdout) == {"searches": {}}
