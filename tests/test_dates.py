"""When videos were recorded: what the camera says, in local time; days that questions name; what nobody knows."""

import json
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import av
import pytest
from colour import ColourEmbedder
from typer.testing import CliRunner

from vlrlt.ask.question import form_of, parse_question
from vlrlt.cli import app
from vlrlt.index.library.ledger import Ledger
from vlrlt.index.run.build import index_paths
from vlrlt.index.search.filters import Filter, local_zone
from vlrlt.service import Library

TODAY = date(2026, 11, 28)  # a Saturday


@pytest.mark.parametrize(
    ("question", "event", "first", "after"),
    [
        ("How many times did I open the fridge last Tuesday?", "open fridge", "2026-11-24", "2026-11-25"),
        ("How often did I open the fridge on Saturday?", "open fridge", "2026-11-21", "2026-11-22"),
        ("Yesterday, when did I open the fridge?", "open fridge", "2026-11-27", "2026-11-28"),
        ("When did I open the fridge the day before yesterday?", "open fridge", "2026-11-26", "2026-11-27"),
        ("Did I open the fridge today?", "open fridge", "2026-11-28", "2026-11-29"),
        ("How many times did I open the fridge in August?", "open fridge", "2026-08-01", "2026-09-01"),
        ("How many times did I open the fridge in December?", "open fridge", "2025-12-01", "2026-01-01"),
        ("How many times did I open the fridge in August 2024?", "open fridge", "2024-08-01", "2024-09-01"),
        ("When did I open the fridge on 13 August 2024?", "open fridge", "2024-08-13", "2024-08-14"),
        ("When did I open the fridge on the 3rd of May?", "open fridge", "2026-05-03", "2026-05-04"),
        ("When did I open the fridge on August 13th, 2024?", "open fridge", "2024-08-13", "2024-08-14"),
        ("When did I open the fridge on 2024-08-13?", "open fridge", "2024-08-13", "2024-08-14"),
        ("When did I open the fridge last week?", "open fridge", "2026-11-16", "2026-11-23"),
        ("When did I open the fridge this month?", "open fridge", "2026-11-01", "2026-12-01"),
        ("When did I open the fridge last year?", "open fridge", "2025-01-01", "2026-01-01"),
        ("When did I open the fridge in 2023?", "open fridge", "2023-01-01", "2024-01-01"),
    ],
)
def test_days_are_taken_out_of_a_question(question: str, event: str, first: str, after: str) -> None:
    parsed = parse_question(question, today=TODAY)
    assert parsed.recorded is not None
    assert (parsed.event, str(parsed.recorded.first), str(parsed.recorded.after)) == (event, first, after)
    assert parsed.kind != "open"


@pytest.mark.parametrize(
    "question",
    [
        "When was the last time I opened the fridge?",
        "Where did I last see my keys?",
        "When do the soldiers march in the street?",
        "What happens on 31 February 2024?",
        "When may I open the fridge?",
    ],
)
def test_what_is_no_day_stays(question: str) -> None:
    assert parse_question(question, today=TODAY).recorded is None
    assert form_of(question) is not None or parse_question(question).kind == "open"


def write_recorded(path: Path, created: str | None) -> Path:
    """Two seconds of blue, recorded then."""
    path.parent.mkdir(exist_ok=True)
    with av.open(path, "w") as output:
        if created:
            output.metadata["creation_time"] = created
        pictures = output.add_stream("libx264", rate=10)
        assert isinstance(pictures, av.VideoStream)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
        for index in range(20):
            frame = av.VideoFrame(64, 48, "rgb24")
            frame.planes[0].update(bytes((0, 0, 255)) * (frame.planes[0].buffer_size // 3))
            frame.pts = index
            output.mux(pictures.encode(frame))
        output.mux(pictures.encode(None))
    return path


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dates")
    archive = folder / "archive"
    write_recorded(archive / "summer.mp4", "2024-08-12T22:30:00Z")
    write_recorded(archive / "winter.mp4", "2024-12-24T17:00:00Z")
    write_recorded(archive / "moved.mp4", "2024-08-20T12:00:01Z")
    write_recorded(archive / "unknown.mp4", None)
    (archive / "moved.json").write_text(json.dumps({"recorded_at": "2023-01-01T12:00"}))
    index_paths([archive], library_dir=folder / "library", embedder=ColourEmbedder())
    with Ledger.open(folder / "library") as ledger:
        ledger.annotations.import_files([archive])
    return folder / "library"


@pytest.fixture
def vienna(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Vienna")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("vienna")
@pytest.mark.parametrize(
    ("after", "before", "names"),
    [
        ("2024-08-13", "2024-08-14", {"summer.mp4"}),  # 22:30 in UTC is half past midnight in Vienna
        ("2024-08-01", None, {"summer.mp4", "winter.mp4"}),
        ("2023-01-01", "2023-01-02", {"moved.mp4"}),  # the sidecar says it better than the camera
        ("2024-08-13T00:30", "2024-08-13T00:30:01", {"summer.mp4"}),
        ("2024-08-13T00:30+00:00", "2024-09-01", set()),
    ],
)
def test_filters_know_what_the_camera_says_in_local_time(
    library: Path, after: str, before: str | None, names: set[str]
) -> None:
    with Library(library, model=ColourEmbedder()) as service:
        result = service.search("blue", recorded_after=after, recorded_before=before, duplicates=True)
        assert {Path(hit.video).name for hit in result.hits} == names
        assert result.num_undated == 1
        assert "1 video was left out, because it is not known when it was recorded" in result.as_text()
        assert service.search("blue", recorded_after=after, paths=("summer*",)).num_undated == 0
        assert service.search("blue").num_undated == 0


@pytest.mark.usefixtures("vienna")
def test_questions_name_days_and_answers_say_what_is_not_known(library: Path) -> None:
    with Library(library, model=ColourEmbedder()) as service:
        answer = service.ask("How many times was blue shown in August 2024?")
        assert (answer.value, [Path(moment.video).name for moment in answer.citations]) == (1, ["summer.mp4"])
        assert answer.note is not None
        assert answer.note.startswith(f"recorded from 2024-08-01 to 2024-08-31 ({local_zone()}); 1 video was left out")
        assert answer.note in answer.as_text()
        assert answer.as_json()["note"] == answer.note
        december = service.ask("When was blue shown in 2024?", within=Filter(recorded_after="2024-12-01"))
        assert [Path(moment.video).name for moment in december.citations] == ["winter.mp4"], "both must hold"
        first = service.ask("When was blue first shown in 2024?")
        assert Path(first.citations[0].video).name == "summer.mp4"
        assert service.ask("When was blue shown?").note is None
        for question in ("Was blue shown in 2019?", "How many times was blue shown in 2019?"):
            unsearched = service.ask(question)
            assert (unsearched.value, unsearched.found, unsearched.searched_vectors) == (None, False, 0)
            assert unsearched.text == "nothing was searched: no video passes the filter"


def test_a_search_without_any_known_time_says_so(library: Path) -> None:
    command = ["search", "blue", "--library", str(library), "--path", "unknown*", "--after", "2020-01-01"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vlrlt.service.model.LibraryModel.find", lambda *_: ColourEmbedder())
        result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "no part of the library passes the filter",
        "1 video was left out, because it is not known when it was recorded; vlrlt import adds recorded_at",
    ]


def test_recorded_between_takes_the_narrower_bounds() -> None:
    both = Filter(recorded_after="2024-05-01").recorded_between("2024-01-01", "2024-06-01")
    assert (both.recorded_after, both.recorded_before) == ("2024-05-01", "2024-06-01")
