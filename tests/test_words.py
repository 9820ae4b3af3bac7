"""What is said and written in videos: how lines of text are searched, shown and written out."""

import json
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from colour import ColourEmbedder, write_colours
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from vlrlt.cli import app
from vlrlt.errors import ConfigError, NotFoundError
from vlrlt.export.transcript import shifted, transcript_text
from vlrlt.index.library.catalog import Catalog
from vlrlt.index.library.ledger import Ledger
from vlrlt.index.library.sidecars import read_sidecar
from vlrlt.index.library.timed_texts import TextHit
from vlrlt.index.run.build import index_paths
from vlrlt.service import Library
from vlrlt.types import ClipSpan, TimedText

VISIBLE = st.characters(codec="utf-8", exclude_categories=("C", "Z"))
LINES = (
    "We trimmed spending this quarter",
    "The budget was cut in half",
    "Open the fridge",
    *["Open the drawer"] * 6,
    "Naïve CAFÉ in the Straße",
    "字幕を検索するカタカナ",
    "नमस्ते दुनिया",
    "مرحبا بالعالم",
    "a party 🎉 tonight",
    "they say don't stop",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos: what is said in one is LINES, a second each."""
    folder = tmp_path_factory.mktemp("words")
    write_colours(folder / "archive" / "talk.mp4", [("red", 5), ("green", len(LINES))])
    write_colours(folder / "archive" / "other.mp4", [("blue", 2)])
    index_paths([folder / "archive"], library_dir=folder / "library", embedder=ColourEmbedder())
    with Ledger.open(folder / "library") as ledger, ledger._transaction():  # as who reads a channel does
        videos = {file.path.stem: file.content_hash for file in ledger.files()}
        spoken = [
            TimedText(start_s=at, end_s=at + 1, text=line, channel="speech", word_starts_s=_every_tenth(at, line))
            for at, line in enumerate(LINES)
        ]
        ledger.texts.add(videos["talk"], spoken, maker="test")
        written = TimedText(start_s=0, end_s=2, text="EXIT to the budget office", channel="screen", confidence=0.9)
        ledger.texts.add(videos["other"], [written], maker="test")
    return folder


def _every_tenth(start_s: float, line: str) -> tuple[float, ...]:
    return tuple(start_s + 0.1 * number for number in range(len(line.split())))


@pytest.fixture
def service(folder: Path) -> Iterator[Library]:
    with Library(folder / "library", model=ColourEmbedder()) as service:
        yield service


def hits(folder: Path, text: str) -> tuple[TextHit, ...]:
    with Catalog.open_reader(folder / "library") as catalog:
        return catalog.texts.search(text)


def lines_found(folder: Path, text: str) -> list[str]:
    return [hit.line.text for hit in hits(folder, text)]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("spending last quarter", ["We trimmed spending this quarter"]),
        ("budget cuts", ["The budget was cut in half"]),
        ('"trimmed spending"', ["We trimmed spending this quarter"]),
        ('"spending trimmed"', []),
        ("quart*", ["We trimmed spending this quarter"]),
        ("quart", []),
        ("open fridge", ["Open the fridge"]),
        ("strasse", ["Naïve CAFÉ in the Straße"]),
        ("NAIVE cafe", ["Naïve CAFÉ in the Straße"]),
        ("検索", ["字幕を検索するカタカナ"]),
        ("索検", []),
        ("カタカナ", ["字幕を検索するカタカナ"]),
        ("दुनिया", ["नमस्ते दुनिया"]),
        ("بالعالم", ["مرحبا بالعالم"]),
        ("🎉", ["a party 🎉 tonight"]),
        ("the of and", []),
        ('" * "" AND NEAR(x', []),
    ],
)
def test_lines_that_hold_half_of_what_a_query_weighs_are_found(folder: Path, query: str, expected: list[str]) -> None:
    assert lines_found(folder, query) == expected


def test_a_line_fits_as_far_as_it_holds_what_was_asked(folder: Path) -> None:
    (whole,) = hits(folder, "open the fridge")
    assert (whole.fit.share, whole.fit.marks) == (1, ((0, 4), (9, 15)))
    (part,) = hits(folder, "trimmed spending elephants")
    assert 0.5 < part.fit.share < 0.75, "no line knows elephants, which count all the same"
    assert part.line.text[slice(*part.fit.marks[0])] == "trimmed"


def test_a_hit_begins_at_its_word(folder: Path) -> None:
    (hit,) = hits(folder, "quarter")
    assert hit.line.start_s == 0
    assert hit.seek_s == pytest.approx(0.4)


@settings(max_examples=40)
@given(st.text(max_size=60), st.text(max_size=60))
def test_marks_lie_in_the_line_and_any_query_is_answered(folder: Path, query: str, more: str) -> None:
    for hit in hits(folder, f'{query} budget "{more}'):
        edges = [edge for mark in hit.fit.marks for edge in mark]
        assert edges == sorted(edges)
        assert hit.fit.marks
        assert 0 < hit.fit.share <= 1 + 1e-9
        marked = {hit.line.text[start:end] for start, end in hit.fit.marks}
        assert all(unicodedata.category(word[0])[0] in "LNS" for word in marked)


# Searches


def test_each_source_can_be_searched_alone(service: Library) -> None:
    found = service.search("budget", tail=True)
    assert {source for hit in found for source in hit.sources} == {"picture", "speech", "screen"}
    (said,) = service.search("budget", sources="speech")
    assert (Path(said.video).stem, said.sources, said.start_s) == ("talk", ("speech",), 1)
    assert (said.marked_text(), said.text_fit) == ("The [budget] was cut in half", 1)
    assert said.seek_s == pytest.approx(1.1)
    assert said.as_json()["text_marks"] == [[4, 10]]
    assert "'The [budget] was cut in half'" in str(said)
    assert not service.search("budget", sources="subtitles").hits


def test_a_line_with_too_little_of_the_query_is_shown_and_is_no_match(service: Library) -> None:
    result = service.search("trimmed spending elephants", sources="speech")
    assert [hit.text for hit in result] == [LINES[0]]
    assert not result.found
    assert service.search("trimmed spending", sources="speech").found


def test_filters_reach_lines_beyond_the_first_two_hundred(folder: Path, tmp_path: Path) -> None:
    """The filter acts before the limit, not after it."""
    with Ledger.open(folder / "library") as ledger:
        videos = {file.path.stem: file.content_hash for file in ledger.files()}
        times_s = np.arange(300) / 100
        many = [TimedText(start_s=at_s, end_s=at_s + 1, text="a rare word", channel="speech") for at_s in times_s]
        last = TimedText(start_s=0.5, end_s=1, text="a rare word among several others here", channel="speech")
        with ledger._transaction():
            ledger.texts.add(videos["talk"], many, maker="many")
            ledger.texts.add(videos["other"], [last], maker="many")
        found = ledger.texts.search("rare", videos=[videos["other"]])
        with ledger._transaction():
            ledger._rows("DELETE FROM texts WHERE maker = 'many'")
    assert [hit.line.text for hit in found] == [last.text]


def test_texts_go_with_their_video(tmp_path: Path) -> None:
    write_colours(tmp_path / "archive" / "a.mp4", [("red", 2)])
    index_paths([tmp_path / "archive"], library_dir=tmp_path / "library", embedder=ColourEmbedder())
    with Ledger.open(tmp_path / "library") as ledger:
        (file,) = ledger.files()
        with ledger._transaction():
            ledger.texts.add(file.content_hash, [TimedText(start_s=0, end_s=1, text="a secret")], maker="x")
        before = ledger.texts.version()
        assert ledger.texts.search("secret")
        ledger.forget_files([file.path])
        assert (ledger.texts.search("secret"), ledger.texts.of_video(file.content_hash)) == ((), ())
        assert ledger.texts.version() != before


# Transcripts


def test_a_transcript_has_the_lines_by_time(folder: Path, service: Library) -> None:
    video = service.find_video("talk")
    assert [line.text for line in service.transcript(video)] == list(LINES)
    assert [line.text for line in service.transcript(video, within=ClipSpan(0.5, 2.0))] == list(LINES[:2])
    assert service.transcript(video, sources=("screen",)) == ()
    for name in (video, str(folder / "archive" / "talk.mp4"), "talk.mp4"):
        assert service.find_video(name) == video
    with pytest.raises(NotFoundError, match="no video 'talks'"):
        service.find_video("talks")
    with pytest.raises(ConfigError, match="sources must be one or more of"):
        service.transcript(video, sources=("nonsense",))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["srt", "vtt"])
@given(st.lists(st.text(VISIBLE, min_size=1, max_size=8), min_size=1))
def test_subtitles_are_read_back(kind: str, tmp_path_factory: pytest.TempPathFactory, words: list[str]) -> None:
    text = " ".join(words)
    lines = [TimedText(start_s=1.25, end_s=3725.5, text=text), TimedText(start_s=4000, end_s=4001, text="end")]
    path = tmp_path_factory.mktemp("subtitles") / f"x.{kind}"
    path.write_text(transcript_text(lines, kind=kind), encoding="utf-8")
    read = read_sidecar(path).texts["x"]
    assert [(line.start_s, line.end_s) for line in read] == [(1.25, 3725.5), (4000, 4001)]
    if kind == "vtt" and "&" not in text and "\\" not in text:
        assert [line.text for line in read] == [text, "end"]


def test_a_film_shows_its_own_part_of_the_lines() -> None:
    lines = [TimedText(start_s=at, end_s=at + 2, text=str(at)) for at in range(5)]
    shown = shifted(lines, ClipSpan(1.5, 3.0))
    assert [(line.text, line.start_s, line.end_s) for line in shown] == [("0", 0, 0.5), ("1", 0, 1.5), ("2", 0.5, 1.5)]


def test_the_command_line_prints_and_writes_transcripts(folder: Path, tmp_path: Path) -> None:
    common = ["transcript", "talk", "--library", str(folder / "library")]
    printed = CliRunner().invoke(app, common)
    assert printed.stdout.splitlines()[:2] == ["00:00.0  " + LINES[0], "00:01.0  " + LINES[1]]
    as_json = json.loads(CliRunner().invoke(app, [*common, "--json"]).stdout)
    assert as_json["lines"][1] == {
        "start_s": 1,
        "end_s": 2,
        "channel": "speech",
        "language": None,
        "confidence": None,
        "text": LINES[1],
    }
    none = CliRunner().invoke(app, [*common, "--in", "screen"])
    assert (none.exit_code, none.stdout) == (0, "")
    assert "no lines found for talk; vlrlt index --speech" in none.stderr
    out = tmp_path / "talk.srt"
    assert CliRunner().invoke(app, [*common, "--out", str(out)]).exit_code == 0
    assert len(read_sidecar(out).texts["talk"]) == len(LINES)
    assert CliRunner().invoke(app, [*common, "--out", str(out)]).exit_code == 2, "it is there"
    assert CliRunner().invoke(app, [*common, "--out", str(tmp_path / "talk.doc")]).exit_code == 2
    beside = CliRunner().invoke(app, [*common, "--out", str(folder / "archive" / "talk.srt")])
    assert (beside.exit_code, "lies in the archive" in beside.stderr) == (2, True)
    found = CliRunner().invoke(app, ["search", "budget", "--in", "nonsense", "--library", str(folder / "library")])
    assert (found.exit_code, "sources must be" in found.stderr) == (2, True)


def test_http_gives_transcripts(folder: Path) -> None:
    testclient = pytest.importorskip("fastapi.testclient")
    from vlrlt.serve.app import create_app

    with Library(folder / "library", model=ColourEmbedder()) as service:
        client = testclient.TestClient(create_app(service))
        address = f"/v1/videos/{service.find_video('talk')}/transcript"
        assert [line["text"] for line in client.get(address).json()["lines"]] == list(LINES)
        subtitles = client.get(address, params={"format": "vtt", "sources": ["speech"]})
        assert subtitles.text.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nWe trimmed")
        assert client.get("/v1/videos/nothing/transcript").status_code == 404
        assert client.get(address, params={"sources": ["x"]}).status_code == 422
        found = client.post("/v1/search", json={"text": "budget", "sources": ["speech"]}).json()
        assert [hit["sources"] for hit in found["hits"]] == [["speech"]]
