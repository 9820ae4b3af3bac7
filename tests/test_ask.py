"""Questions are taken apart as documented, and answered from a library of plain colours with what is true there."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from colour import ColourEmbedder, write_colours

from vlrlt.ask.question import parse_question
from vlrlt.ask.retrieval import RetrievalAnswerer
from vlrlt.errors import ConfigError
from vlrlt.index.library.ledger import Ledger
from vlrlt.index.run.build import index_paths
from vlrlt.index.search.filters import Filter
from vlrlt.service import Library
from vlrlt.types import TimedText

VOCABULARY = ("red", "green", "blue", "yellow", "cyan", "magenta", "black", "white", "red green")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ask")
    write_colours(folder / "archive" / "a.mp4", [("red", 2), ("blue", 2), ("green", 3), ("blue", 1), ("cyan", 1)])
    write_colours(folder / "archive" / "b.mp4", [("white", 2), ("blue", 1)])
    index_paths([folder / "archive"], library_dir=folder / "library", embedder=ColourEmbedder())
    return folder


@pytest.fixture
def answerer(folder: Path) -> Iterator[RetrievalAnswerer]:
    with Library(folder / "library", model=ColourEmbedder()) as service:
        yield RetrievalAnswerer(service, vocabulary=VOCABULARY)


@pytest.mark.parametrize(
    ("text", "value", "found"),
    [
        ("When is there green?", 4.0, True),
        ("Where is white?", "b.mp4", True),
        ("Is there cyan?", "yes", True),
        ("Is there magenta?", "no", False),
        ("Is there cyan in video b?", "no", False),
        ("How many times is there blue?", 3, True),
        ("How many times is there blue in video a?", 2, True),
        ("How many times is there magenta?", 0, False),
        ("How long is there blue in video a?", 3.0, True),
        ("How long is there yellow?", 0.0, False),
        ("What happens before green?", "blue", True),
        ("What happens after red?", "blue", True),
        ("What happens between red and cyan?", "blue, then green, then blue", True),
        ("When was the first time blue?", 2.0, True),
        ("When was the last time blue in video a?", 7.0, True),
        ("Which of these is shown: magenta, cyan, yellow?", "cyan", True),
        ("What is done with green?", "green", True),
        ("Was it magenta or blue?", "blue", True),
        ("Why?", None, False),
    ],
)
def test_answers(answerer: RetrievalAnswerer, text: str, value: object, found: bool) -> None:
    answer = answerer.answer(parse_question(text))
    assert (answer.value, answer.found) == (value, found), answer.text
    assert answer.text


def test_first_and_last_go_by_when_videos_were_recorded(folder: Path, tmp_path: Path) -> None:
    library = shutil.copytree(folder / "library", tmp_path / "library")
    (tmp_path / "days.csv").write_text("video,recorded_at\na,2024-05-02\nb,2024-05-01\n")
    with Library(library, model=ColourEmbedder()) as service:
        answerer = RetrievalAnswerer(service)
        last = answerer.answer(parse_question("When was the last time blue?"))
        assert (Path(last.citations[0].video).name, "when they were recorded is not known" in last.text) == (
            "b.mp4",
            True,
        )
        with Ledger.open_existing(library) as ledger:
            ledger.annotations.import_files([tmp_path / "days.csv"])
        last = answerer.answer(parse_question("When was the last time blue?"))
        first = answerer.answer(parse_question("When was the first time blue?"))
        assert [(Path(one.citations[0].video).name, one.value) for one in (first, last)] == [
            ("b.mp4", 2.0),
            ("a.mp4", 7.0),
        ]
        assert last.text.startswith("a.mp4 00:07.0")
        assert "known" not in last.text


def test_what_is_said_and_written_is_quoted(folder: Path, tmp_path: Path) -> None:
    library = shutil.copytree(folder / "library", tmp_path / "library")
    spoken = ("Welcome to the show", "The budget was cut in half", "Nobody liked the budget", "The weather is fine")
    with Ledger.open_existing(library) as ledger, ledger._transaction():  # as who reads a channel does
        (video,) = (file.content_hash for file in ledger.files() if file.path.stem == "a")
        lines = [TimedText(start_s=at, end_s=at + 1, text=text, channel="speech") for at, text in enumerate(spoken)]
        written = [TimedText(start_s=4, end_s=6, text="EXIT", channel="screen", confidence=0.9)]
        ledger.texts.add(video, [*lines, *written], maker="test")
    with Library(library, model=ColourEmbedder()) as service:
        said, mentioned, often, sign, never = (
            service.ask(question)
            for question in (
                "What did she say about the budget?",
                "When is the weather mentioned?",
                "How often is the budget mentioned?",
                "What is written on the green?",
                "What did they say about elephants?",
            )
        )
        partly = service.ask("How often is budget weather mentioned?")
    assert (said.kind, said.found, {moment.text for moment in said.citations}) == ("said", True, {*spoken[1:3]})
    assert "“The budget was cut in half”" in said.text
    assert (mentioned.kind, mentioned.value) == ("when", 3.0)
    assert often.value == 2
    assert (sign.kind, sign.value, sign.citations[0].start_s) == ("written", "EXIT", 4)
    assert (never.found, never.citations) == (False, ())
    assert "no line that was read says so" in never.text
    assert "--speech" in never.text
    assert partly.value == 0, "a line with half of the words is no match"


def test_an_answer_cites_what_it_rests_on(answerer: RetrievalAnswerer) -> None:
    answer = answerer.answer(parse_question("How many times is there blue?"))
    assert sorted((Path(c.video).name, c.start_s, c.end_s) for c in answer.citations) == [
        ("a.mp4", 2, 4),
        ("a.mp4", 7, 8),
        ("b.mp4", 2, 3),
    ]
    assert (answer.searched_vectors, answer.searched_videos, answer.searched_video_s) == (7, 2, 12)
    only = answerer.answer(parse_question("Is there blue?"), within=Filter(paths=("b.*",)))
    assert (only.searched_vectors, only.searched_videos, len(only.citations)) == (2, 1, 1)
    assert only.as_json().keys() == {
        *(
            "question",
            "kind",
            "answer",
            "found",
            "value",
            "citations",
            "closest",
            "candidates",
            "searched",
            "note",
            "engine",
        ),
    }


def test_of_two_that_are_both_shown_both_are_named(answerer: RetrievalAnswerer) -> None:
    answer = answerer.answer(parse_question("Was it cyan, magenta or white?"))
    assert (answer.value, {*answer.text.split("; also ")}) == (answer.candidates[0].text, {"cyan", "white"})
    assert {Path(moment.video).name for moment in answer.citations} == {"a.mp4", "b.mp4"}


def test_an_open_question_says_so_and_shows_where_to_look(answerer: RetrievalAnswerer) -> None:
    answer = answerer.answer(parse_question("Why is it so blue?"))
    assert "retrieval alone cannot answer" in answer.text
    assert not answer.found
    assert answer.closest
    assert not answer.citations


def test_one_state_of_the_library_answers_a_question(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Library(folder / "library", model=ColourEmbedder()) as service:
        states = [service.searcher()]
        monkeypatch.setattr(service, "searcher", states.pop)
        monkeypatch.setattr(service._reader, "now", states.pop)  # a second look fails: nothing is left
        answer = RetrievalAnswerer(service, vocabulary=VOCABULARY).answer(parse_question("What happens after red?"))
    assert answer.value == "blue"


def test_naming_needs_a_vocabulary(folder: Path) -> None:
    with (
        Library(folder / "library", model=ColourEmbedder()) as service,
        pytest.raises(ConfigError, match="needs a vocabulary"),
    ):
        RetrievalAnswerer(service).answer(parse_question("What happens after red?"))


class FewColours(ColourEmbedder):
    """A model whose vocabulary is closed."""

    captions = VOCABULARY


@pytest.mark.parametrize(
    "text", ["Is there an elephant?", "How many elephants are there?", "Was it an elephant or a dog?"]
)
def test_of_what_a_model_has_no_word_for_nothing_is_claimed(folder: Path, text: str) -> None:
    with Library(folder / "library", model=FewColours()) as service:
        answer = RetrievalAnswerer(service).answer(parse_question(text))
        assert (answer.found, answer.value, answer.citations) == (False, None, ())
        if answer.kind != "open":
            assert "the model does not know 'elephant'" in answer.text
        shown = answer.as_text()
        assert "closest moments:" in shown
        assert "[1]" not in shown
        assert RetrievalAnswerer(service).answer(parse_question("Is there magenta?")).value == "no"
