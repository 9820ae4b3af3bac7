"""The query language on a real library of plain colours: combinations, sequences, filters, text, pages, variety."""

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colour import ColourEmbedder, write_colours
from typer.testing import CliRunner

from vlrlt.cli import app
from vlrlt.cli.search_options import SPELLINGS
from vlrlt.errors import AnnotationError, ConfigError, PageExpiredError
from vlrlt.index.library.ledger import Ledger
from vlrlt.index.library.sidecars import read_sidecar
from vlrlt.index.library.video_names import VideoNames
from vlrlt.index.library.words import possible_stems
from vlrlt.index.run.build import index_paths
from vlrlt.index.search.filters import Filter, parse_instant
from vlrlt.index.search.language import (
    CombinedQuery,
    Part,
    TextQuery,
    parse_clip_id,
    weighted_text,
)
from vlrlt.index.search.moments import Found
from vlrlt.index.search.refine import FRUITLESS, cut_tail
from vlrlt.index.search.request import DEFAULTS, SearchRequest
from vlrlt.serve.schema import FilterBody, SearchBody
from vlrlt.service import Library, SearchResult
from vlrlt.video.sampling import ClipSampling

ALL: dict[str, Any] = {"tail": True, "per_video": None, "duplicates": True}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """archive/ with four videos, library/ in which they are indexed, with what their sidecars say."""
    folder = tmp_path_factory.mktemp("query")
    archive = folder / "archive"
    write_colours(archive / "2023" / "traffic.mp4", [("red", 2), ("yellow", 1), ("green", 2)])
    write_colours(archive / "2024" / "sea.mp4", [("blue", 2), ("cyan", 2), ("blue", 2)])
    write_colours(archive / "2024" / "night.mp4", [("black", 3), ("red", 1), ("black", 6), ("green", 1)])
    write_colours(archive / "2024" / "parade.mp4", [("red", 1), ("green", 1)] * 4)
    (archive / "2023" / "traffic.srt").write_text(
        "1\n00:00:00,500 --> 00:00:01,500\nThe <i>cars</i> are waiting\n\n2\n00:00:03,000 --> 00:00:05,000\nThey go!\n"
    )
    (archive / "2024" / "sea.en.vtt").write_text(
        "WEBVTT\n\nNOTE nothing\n\n00:02.000 --> 00:04.000 align:start\nA wave waits\n"
    )
    (archive / "facts.csv").write_text(
        "video,camera,rating,recorded_at\ntraffic,gopro,3,2023-05-01\nnight,phone,5,2024-02-03T22:00\n"
    )
    (archive / "2024" / "sea.json").write_text(json.dumps({"camera": "GoPro", "rating": 4.5, "tags": ["x"]}))
    index_paths([archive], library_dir=folder / "library", embedder=ColourEmbedder())
    with Ledger.open(folder / "library") as catalog:
        report = catalog.annotations.import_files([archive])
    assert (report.files, report.videos, report.texts, report.metadata) == (4, 3, 3, 8)
    return folder


@pytest.fixture
def service(folder: Path) -> Iterator[Library]:
    with Library(folder / "library", model=ColourEmbedder()) as service:
        yield service


def spans(result: SearchResult) -> list[tuple[str, float, float]]:
    return [(Path(hit.video).stem, hit.start_s, hit.end_s) for hit in result.hits]


def found(service: Library, words: str = "", **options: Any) -> list[tuple[str, float, float]]:
    return spans(service.search(words, **options))


def test_what_is_there_is_found_and_what_is_not_is_said_to_be_absent(service: Library) -> None:
    result = service.search("cyan")
    assert (result.found, spans(result)) == (True, [("sea", 2, 4)])
    absent = service.search("magenta")
    assert (absent.found, absent.hits) == (False, ())
    assert absent.as_text() == "no confident match among 18 vectors; --tail shows the closest"
    tail = service.search("magenta", **ALL)
    assert not tail.found
    assert len(tail.hits) == 4


def test_a_search_without_many_matches_does_not_go_through_the_whole_library() -> None:
    asked = 0

    def moments() -> Iterator[Found]:
        nonlocal asked
        for rank in range(10_000):
            asked += 1
            sure = 0.9 if rank in (0, FRUITLESS, 200) else 0.1
            yield Found(seed=rank, score=1 - rank / 20_000, percentile=50, start_s=0, end_s=1, confidence=sure)

    kept = [found.seed for found in cut_tail(moments(), median=0.0, least_confidence=0.5)]
    assert kept == [0, FRUITLESS]
    assert asked == 2 * FRUITLESS + 1
    assert [found.seed for found in cut_tail(moments(), median=0.9998, least_confidence=0)] == [0, 1, 2]


def test_negatives_and_weights_move_the_best_answer(service: Library) -> None:
    assert all(
        service.search("green", **ALL).hits[0].score == pytest.approx(1, abs=0.01)
        and hit in found(service, "green", **ALL, k=30)[:6]
        for hit in found(service, "red green", without="red", k=3, tail=True, duplicates=True)
    )
    heavy = service.search(text=["cyan^5", "red"], k=1, **ALL)
    assert spans(heavy) == [("sea", 2, 4)]


def test_combined_parts_count_by_their_own_spread(service: Library) -> None:
    """A part whose scores hardly differ over the library is not drowned by one whose scores differ much."""
    searcher = service.searcher()
    vectors = [searcher.vector(TextQuery(text)) for text in ("red", "yellow")]
    combined_D = searcher.vector(CombinedQuery((Part(TextQuery("red"), 1), Part(TextQuery("yellow"), 2))))
    expected_D = sum(
        weight / searcher.score(TextQuery(text)).std * vector_D
        for text, weight, vector_D in zip(("red", "yellow"), (1, 2), vectors, strict=True)
    )
    np.testing.assert_allclose(combined_D, expected_D / np.linalg.norm(expected_D), atol=1e-5)


def test_a_then_b(service: Library) -> None:
    result = service.search("red", then="green", within_s=2, **ALL)
    assert ("traffic", 0, 5) in spans(result)
    assert all(0 <= hit.steps[1].start_s - hit.steps[0].end_s <= 2 for hit in result.hits)
    assert all(hit.confidence is None for hit in result.hits), "nobody has calibrated this model"
    assert "night" not in {Path(hit.video).stem for hit in result.hits if hit.score > 0.9}, (
        "six black seconds lie between"
    )
    (steps,) = [hit.steps for hit in result.hits if Path(hit.video).stem == "traffic"]
    assert [(step.start_s, step.end_s) for step in steps] == [(0, 2), (3, 5)]
    assert "traffic.mp4  00:00.0-00:05.0: 00:00.0-00:02.0 then 00:03.0-00:05.0" in result.as_text()
    assert "night" in {name for name, _, _ in found(service, "red", then="green", within_s=10, duplicates=True)}
    assert found(service, "green", then="red", paths="traffic.*") == []


def test_what_follows_at_once_is_found_in_overlapping_clips(tmp_path: Path) -> None:
    write_colours(tmp_path / "archive" / "quick.mp4", [("blue", 2), ("red", 1.5), ("green", 1.5), ("blue", 2)])
    embedder = ColourEmbedder(sampling=ClipSampling(clip_s=2.0, stride_s=1.0, num_frames=8))
    index_paths([tmp_path / "archive"], library_dir=tmp_path / "library", embedder=embedder)
    with Library(tmp_path / "library", model=embedder) as service:
        (hit,) = service.search("red", then="green", k=1).hits
        assert [(step.start_s, step.end_s) for step in hit.steps] == [(2, 3.5), (3.5, 5)]
        assert not service.search("green", then="red").found


def test_a_sequence_of_three_equals_brute_force(service: Library) -> None:
    searcher = service.searcher()
    clips, num_clips = searcher.frame_runs, len(searcher.frame_runs.ids_N)
    steps = [searcher.score(TextQuery(text)) for text in ("red", "green", "red")]
    z_TN = np.array([[(step.of(clip) - step.mean) / step.std for clip in range(num_clips)] for step in steps])

    def follows(clip: int, before: int) -> bool:
        gap_s = clips.start_s_N[clip] - clips.end_s_N[before]
        return bool(clips.video_N[clip] == clips.video_N[before] and 0 <= gap_s <= 1)

    best = max(
        min(z_TN[0, first], z_TN[1, second], z_TN[2, third])
        for first in range(num_clips)
        for second in range(num_clips)
        if follows(second, first)
        for third in range(num_clips)
        if follows(third, second)
    )
    (hit,) = service.search("red", then=["green", "red"], within_s=1, k=1).hits
    video = clips.videos.index(hit.video)
    at = [int(np.flatnonzero((clips.video_N == video) & (clips.start_s_N == step.start_s))[0]) for step in hit.steps]
    assert min(z_TN[step, clip] for step, clip in enumerate(at)) == pytest.approx(best)


def test_like_and_unlike(service: Library) -> None:
    (cyan,) = service.search("cyan", k=1).hits
    alike = service.search(like=cyan.clip, k=1).hits[0]
    assert (Path(alike.video).stem, alike.start_s, alike.end_s, alike.confidence) == ("sea", 2, 4, None)
    (blue,) = service.search("blue", k=1).hits
    assert found(service, "blue cyan", unlike=blue.clip, like=cyan.clip, k=1) == [("sea", 2, 4)]
    with pytest.raises(ConfigError, match="no clip 0000000000000007 in this library"):
        service.search(like="0000000000000007")


@pytest.mark.parametrize(
    ("condition", "names"),
    [
        (Filter(paths=("*/2024/*",)), {"sea", "night", "parade"}),
        (Filter(paths=("sea.*", "*traffic*")), {"sea", "traffic"}),
        (Filter(not_paths=("*/2024/*",)), {"traffic"}),
        (Filter(min_duration_s=6, max_duration_s=10), {"sea", "parade"}),
        (Filter(where=("camera=gopro",)), {"traffic", "sea"}),
        (Filter(where=("rating>=4", "rating<5")), {"sea"}),
        (Filter(where=("camera!=gopro",)), {"night"}),
        (Filter(recorded_after="2024-01-01"), {"night"}),
        (Filter(recorded_before="2024-01-01T00:00+00:00"), {"traffic"}),
        (Filter(moving=0.4, still=0.6), {"sea", "traffic", "night", "parade"}),
        (Filter(moving=0.6), set()),
        (Filter(paths=("nowhere/*",)), set()),
    ],
)
def test_filters(service: Library, condition: Filter, names: set[str]) -> None:
    result = service.search("red", k=50, filter=condition, tail=True)
    assert {Path(hit.video).stem for hit in result.hits} == names
    assert (result.num_searched > 0) == bool(names)


def test_a_filtered_search_equals_searching_what_passes(service: Library) -> None:
    """The filter acts before ranking: percentiles and moments are those of the clips that pass."""
    only = service.search("red", k=50, paths=("parade.*",), tail=True)
    assert only.num_searched == 8
    assert only.hits[0].percentile == 50


@pytest.mark.parametrize("condition", ["camera", "=x", "a~b"])
def test_malformed_conditions(service: Library, condition: str) -> None:
    with pytest.raises(ConfigError, match="a condition is KEY"):
        service.search("red", where=(condition,))


def test_times_are_iso() -> None:
    assert parse_instant("1970-01-02") == parse_instant("1970-01-02T01:00+01:00") == 86400
    with pytest.raises(ConfigError, match="ISO 8601"):
        parse_instant("yesterday")


def test_subtitles_are_a_second_source(service: Library) -> None:
    said = {"sources": "subtitles"}
    result = service.search("cars waiting", **said)
    assert result.found
    (hit,) = result.hits
    assert (Path(hit.video).stem, hit.start_s, hit.end_s) == ("traffic", 0.5, 1.5)
    assert (hit.sources, hit.text) == (("subtitles",), "The cars are waiting")
    assert len(service.search("to wait", **said).hits) == 2, "words are stemmed, stop words left out"
    assert "subtitles" in {source for hit in service.search("cars waiting").hits for source in hit.sources}
    outside = {"sources": "subtitles", "paths": "sea.*"}
    assert not service.search("cars waiting", **outside).found


def test_both_sources_on_one_moment_win(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "night.csv").write_text(
        "video_id,start_timestamp,stop_timestamp,narration\nnight,00:00:03.00,00:00:04.00,red light\n"
    )
    with Ledger.open(folder / "library") as catalog:
        assert catalog.annotations.import_files([tmp_path / "night.csv"]).texts == 1
        assert catalog.annotations.import_files([tmp_path / "night.csv"]).texts == 1, "replaced, not doubled"
    with Library(folder / "library", model=ColourEmbedder()) as service:
        best = service.search("red light", k=1).hits[0]
        assert (Path(best.video).stem, best.sources, best.text) == ("night", ("picture", "subtitles"), "red light")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.srt", "no subtitle", "no subtitle found"),
        ("x.json", "[1]", "expected a JSON object"),
        ("x.json", "{", "not JSON"),
        ("x.csv", "a,b\n1,2\n", "needs a column video or video_id"),
        ("x.csv", "video,a\nv\n", r"x\.csv:2: must have 2 cells"),
        (
            "x.csv",
            "video,start_timestamp,stop_timestamp,narration\nv,5,4,n\n",
            r"x\.csv:2: stop_timestamp must be later",
        ),
        ("x.csv", "video,start_timestamp,stop_timestamp,narration\nv,five,6,n\n", r"x\.csv:2: needs"),
        ("x.doc", "", "must be one of"),
    ],
)
def test_bad_sidecars_name_file_and_line(folder: Path, tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with Ledger.open(folder / "library") as catalog, pytest.raises(AnnotationError, match=message):
        catalog.annotations.import_files([tmp_path / name])


CUE = "00:00:01,000 --> 00:00:02,000"
LATER = "00:00:03,000 --> 00:00:04,000"


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("no empty line.srt", f"1\n{CUE}\nOne\n2\n{LATER}\nTwo\n", ["One", "Two"]),
        ("empty line inside.srt", f"1\n{CUE}\nOne\n\nmore\n\n2\n{LATER}\nTwo\n", ["One more", "Two"]),
        ("CR CR LF.srt", f"1\r\r\n{CUE}\r\r\nOne\r\r\n\r\r\n2\r\r\n{LATER}\r\r\nTwo\r\r\n", ["One", "Two"]),
        ("old Mac.srt", f"1\r{CUE}\rOne\r\r2\r{LATER}\rTwo\r", ["One", "Two"]),
        ("no numbers.srt", f"{CUE}\nOne\n\n{LATER}\nTwo\n", ["One", "Two"]),
        ("a preface.srt", f"made by hand\n\n1\n{CUE}\nOne\n", ["One"]),
        ("markup.srt", f"1\n{CUE}\n{{\\an8}}<font color=red>One</font> &amp; <i>more</i>\n", ["One & more"]),
        ("numbers.srt", f"1\n{CUE}\n42\n\n2\n{LATER}\nTwo\n", ["42", "Two"]),
        ("backwards.srt", f"1\n{CUE}\nOne\n\n2\n00:00:09,000 --> 00:00:08,000\nnever\n", ["One"]),
        (
            "web.vtt",
            "WEBVTT - title\n\nNOTE x\n\nSTYLE\n::cue{}\n\nid\n00:01.000 --> 00:02.000 a:b\n<v Ann>One\n",
            ["One"],
        ),
        ("really web.srt", "WEBVTT\n\n00:01.000 --> 00:02.000\nOne\n", ["One"]),
    ],
)
def test_careless_subtitles_lose_no_line(tmp_path: Path, name: str, content: str, expected: list[str]) -> None:
    (tmp_path / name).write_bytes(content.encode())
    (lines,) = read_sidecar(tmp_path / name).texts.values()
    assert [line.text for line in lines] == expected
    assert (lines[0].start_s, lines[0].end_s) == (1, 2)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252", "latin-1"])
def test_subtitles_in_other_encodings(tmp_path: Path, encoding: str) -> None:
    said = "Die Tür öffnet sich, und die Straße ist naß. Wir können später über das Mädchen sprechen."
    (tmp_path / "x.srt").write_bytes(f"1\n{CUE}\n{said}\n".encode(encoding))
    ((line,),) = read_sidecar(tmp_path / "x.srt").texts.values()
    assert line.text == said


@pytest.mark.parametrize("run", ["9", "0:", "<", "<a", "-->", "\n", " ", "{\\a", f"{CUE}\n"])
def test_no_subtitle_takes_long(tmp_path: Path, run: str) -> None:
    (tmp_path / "x.srt").write_text(f"1\n{CUE}\n{run * (400_000 // len(run))}")
    started_s = time.process_time()
    with suppress(AnnotationError):
        read_sidecar(tmp_path / "x.srt")
    assert time.process_time() - started_s < 5


def test_a_cell_may_have_several_lines(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text('video,note\nred,"one\ntwo"\n')
    assert read_sidecar(tmp_path / "x.csv").metadata == {"red": {"note": "one\ntwo"}}


@pytest.mark.parametrize(
    ("name", "sidecar", "found"),
    [
        ("mr.bean", "/films/Mr.Bean.srt", {"bean"}),
        ("mr", "/films/mr.srt", set()),
        ("gopr0001", "/card/101GOPRO/GOPR0001.srt", {"second"}),
        ("gopr0001", "/card/facts.csv", set()),
        ("100GOPRO/GOPR0001.MP4", "/card/facts.csv", {"first"}),
        ("cafe\u0301", "/films/cafe\u0301.srt", {"cafe"}),
        ("holiday.de", "/films/holiday.de.srt", {"holiday"}),
        ("holiday.pt-BR.forced", "/films/holiday.pt-BR.forced.srt", {"holiday"}),
        ("holiday.mp4", "/elsewhere/facts.csv", {"holiday"}),
        ("holiday.part2", "/films/holiday.part2.srt", set()),
        ("", "/films/facts.csv", set()),
    ],
)
def test_a_name_means_the_video_beside_it(name: str, sidecar: str, found: set[str]) -> None:
    videos = VideoNames(
        (Path(path), content_hash)
        for path, content_hash in (
            ("/films/Mr.Bean.mp4", "bean"),
            ("/films/Mr.Robot.mp4", "robot"),
            ("/films/caf\u00e9.mkv", "cafe"),
            ("/films/holiday.mp4", "holiday"),
            ("/copies/holiday.mp4", "holiday"),
            ("/card/100GOPRO/GOPR0001.MP4", "first"),
            ("/card/101GOPRO/GOPR0001.MP4", "second"),
        )
    )
    assert set(videos.find(name, beside=Path(sidecar))) == found


def test_linked_folders_are_looked_through_and_what_cannot_be_placed_is_listed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "sea.srt").write_text(f"1\n{CUE}\nA linked line\n")
    (tmp_path / "far" / "stranger.srt").write_text(f"1\n{CUE}\nNobody\n")
    (tmp_path / "far" / "round").symlink_to(tmp_path / "far")
    (tmp_path / "near").mkdir()
    (tmp_path / "near" / "link").symlink_to(tmp_path / "far")
    with Ledger.open(folder / "library") as catalog:
        report = catalog.annotations.import_files([tmp_path / "near"])
        assert (report.files, report.texts, report.unmatched) == (2, 1, ("stranger",))
        (tmp_path / "far" / "sea.srt").write_text(f"1\n{CUE}\n\n")
        with suppress(AnnotationError):
            catalog.annotations.import_files([tmp_path / "far" / "sea.srt"])


def test_a_foreign_file_in_a_folder_is_reported_and_the_rest_is_taken(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "accounts.csv").write_text("date,amount\n2024,3\n")
    (tmp_path / "sea.json").write_text(json.dumps({"camera": "GoPro"}))
    command = ["import", str(tmp_path), "--library", str(folder / "library"), "--json"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 3
    report = json.loads(result.stdout)
    assert (report["files"], report["metadata"]) == (1, 1)
    assert "accounts.csv: needs a column" in report["problems"][0]


def test_limits_per_video(service: Library) -> None:
    assert [name for name, _, _ in found(service, "red", per_video=None, duplicates=True)].count("parade") == 4
    assert [name for name, _, _ in found(service, "red", per_video=2, duplicates=True)].count("parade") == 2


def test_grouping_by_video(service: Library) -> None:
    result = service.search("red", group_by="video")
    groups = result.as_json()["videos"]
    assert [Path(group["video"]).stem for group in groups] == list(dict.fromkeys(name for name, _, _ in spans(result)))
    assert sum(len(group["hits"]) for group in groups) == len(result.hits)


def test_diversity_brings_other_things_first(service: Library) -> None:
    plain = service.search("red", k=4, tail=True, duplicates=True)
    diverse = service.search("red", k=4, tail=True, duplicates=True, diversity=0.7)
    assert plain.hits[0] == diverse.hits[0]
    assert min(hit.percentile for hit in plain.hits) > 60  # red is the best third
    assert min(hit.percentile for hit in diverse.hits) < 50


def test_pages_are_one_ranking(service: Library) -> None:
    whole = service.search("red", k=12, **ALL).hits
    first = service.search("red", k=5, **ALL)
    second = service.search("red", k=5, **ALL, page=first.next_page)
    third = service.search("red", k=5, **ALL, page=second.next_page)
    assert (*first.hits, *second.hits, *third.hits)[: len(whole)] == whole
    assert [hit.rank for hit in second.hits] == [6, 7, 8, 9, 10]
    for words in ("green", "red"):
        with pytest.raises(ConfigError, match="does not belong to this search"):
            service.search(words, k=5, page=first.next_page)


def test_pages_survive_indexing_but_not_a_restart_after_it(tmp_path: Path) -> None:
    write_colours(tmp_path / "a.mp4", [("red", 1), ("green", 1)] * 4)
    index_paths([tmp_path / "a.mp4"], library_dir=tmp_path / "library", embedder=ColourEmbedder())
    with Library(tmp_path / "library", model=ColourEmbedder()) as service:
        expected = service.search("red", k=4, **ALL).hits
        first = service.search("red", k=2, **ALL)
        write_colours(tmp_path / "b.mp4", [("red", 3)])
        index_paths([tmp_path / "b.mp4"], library_dir=tmp_path / "library", embedder=ColourEmbedder())
        second = service.search("red", k=2, **ALL, page=first.next_page)
        assert (*first.hits, *second.hits) == expected
        assert service.search("red", k=1, **ALL).num_searched == 9
    with Library(tmp_path / "library", model=ColourEmbedder()) as service, pytest.raises(PageExpiredError):
        service.search("red", k=2, **ALL, page=first.next_page)


def test_copies_of_a_scene_are_shown_once(tmp_path: Path) -> None:
    for name, last in (("a", "blue"), ("b", "white")):
        write_colours(tmp_path / f"{name}.mp4", [("red", 2), (last, 1)])
    index_paths([tmp_path], library_dir=tmp_path / "library", embedder=ColourEmbedder())
    with Library(tmp_path / "library", model=ColourEmbedder()) as service:
        assert len(service.search("red").hits) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "nothing to find"),
        ({"without": ["red"]}, "needs something to look for"),
        ({"text": [" "]}, "need text and a weight"),
        ({"text": ["red^0"]}, "need text and a weight"),
        ({"text": ["red"], "then": ["green"], "within_s": -1}, "within_s must be 0 or more"),
    ],
)
def test_queries_that_ask_for_nothing(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SearchRequest.parse(options).query()


def test_weights_and_ids_parse() -> None:
    assert weighted_text("open the fridge^2.5") == Part(TextQuery("open the fridge"), 2.5)
    assert weighted_text("2^3 is eight") == Part(TextQuery("2^3 is eight"), 1)
    assert parse_clip_id("00000000000000ff") == 255
    with pytest.raises(ConfigError, match="16 hexadecimal digits"):
        parse_clip_id("../../etc")


def test_every_field_of_a_search_is_spelled_by_the_command_line_and_by_http() -> None:
    """A new field without a spelling fails here; so does a default that help shows wrongly."""
    assert SPELLINGS.keys() == DEFAULTS.keys() - {"hidden"}
    shown = {name: kind.__metadata__[0].show_default for name, kind in SPELLINGS.items()}
    assert {name: value for name, value in shown.items() if isinstance(value, str)} == {
        name: str(default)
        for name, default in DEFAULTS.items()
        if isinstance(default, int | float | str) and not isinstance(default, bool)
    }
    assert set(SearchBody.model_fields) == (
        {field.name for field in fields(SearchRequest)} - {"images", "clips"} | {"image", "clip"}
    )
    assert set(FilterBody.model_fields) == {field.name for field in fields(Filter)}
    assert SearchBody(text=["red"]).as_request() == SearchRequest(text=("red",))


KITCHEN_WORDS = """opens open, slices slice, cutting cut, poured pour, taken take, opening open, washes wash,
broke break, dishes dish, tomatoes tomato, knives knife, stirring stir, drying dry, dried dry, fries fry,
put put, held hold, writing write, wrote write, closes close, boxes box, cups cup, glasses glass,
mixing mix, baked bake"""


def test_inflections_lead_to_the_forms_of_captions() -> None:
    """All but the plural in -ves; what Snowball's stems make of the same pairs: docs/decisions/0003-dependencies.md."""
    pairs = [pair.split() for pair in KITCHEN_WORDS.split(",")]
    assert [form for form, caption in pairs if caption not in possible_stems(form)] == ["knives"]
