"""The demo really renders, indexes, asks and scores; what it prints and writes are the numbers that can be computed.

Two toy videos and a model with random weights: the path is the demo's own, only the answers are poor.
"""

import io
import re
import shlex
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console
from towers import tiny_dual
from typer.testing import CliRunner

from vlrlt.cli import app
from vlrlt.datasets.epic import EpicData, Narration
from vlrlt.demo import run as demo
from vlrlt.demo.page import DemoHit, DemoQuery, draw_contact_sheet
from vlrlt.demo.run import WISHES, WholeArchive, choose_questions, is_shown, run_demo
from vlrlt.embed import load_embedder
from vlrlt.errors import CheckpointError, ConfigError
from vlrlt.evaluate.epic_mir import evaluate_epic_mir
from vlrlt.models.checkpoint import save_checkpoint
from vlrlt.tokens.run_length import DENSE
from vlrlt.toy.world import spoken
from vlrlt.types import Moment

SEED = 11
NUM_VIDEOS = 2


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    save_checkpoint(tiny_dual(), folder)
    return str(folder)


@pytest.fixture(scope="module")
def out_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As a demo that was killed while it rendered something else has left it."""
    folder = tmp_path_factory.mktemp("out")
    (folder / "demo.json").write_text("unfinished")
    (folder / "archive" / "videos").mkdir(parents=True)
    (folder / "archive" / "videos" / "stale.mp4").touch()
    return folder


def run(out_dir: Path, model: str) -> str:
    """What it printed."""
    console = Console(file=io.StringIO(), width=100, highlight=False)
    run_demo(out_dir, num_videos=NUM_VIDEOS, seed=SEED, model=model, console=console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.fixture(scope="module")
def printed(out_dir: Path, model: str) -> str:
    return run(out_dir, model)


@pytest.fixture(scope="module")
def archive(printed: str, out_dir: Path) -> WholeArchive:
    return WholeArchive(out_dir / "archive")


class Report(HTMLParser):
    """What the tests look at in the HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.links: list[str] = []
        self.num_right = 0
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags[tag] += 1
        self.num_right += tag == "figure" and values.get("class") == "right"
        self.links += [values[name] or "" for name in ("src", "href", "poster", "data") if name in values]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def report(printed: str, out_dir: Path) -> Report:
    return Report((out_dir / "report.html").read_text(encoding="utf-8"))


def test_the_folder_holds_what_was_promised(printed: str, out_dir: Path) -> None:
    names = {path.name for path in out_dir.iterdir()}
    assert names == {"demo.json", "archive", "library", "report.html", "contact_sheet.png"}
    assert {path.name for path in (out_dir / "archive" / "videos").iterdir()} == {"P01_01.mp4", "P02_01.mp4"}
    for name in ("report.html", "contact_sheet.png"):
        assert str(out_dir / name) in printed


def test_the_terminal_shows_plain_text_where_it_is_none(printed: str) -> None:
    assert "\x1b" not in printed
    assert not set("─━│┃╭╰✓") & set(printed)
    assert not [line for line in printed.splitlines() if line.rstrip().endswith("…")]


def test_the_numbers_are_the_evaluations_own(printed: str, archive: WholeArchive, report: Report, model: str) -> None:
    rlt = evaluate_epic_mir(archive, load_embedder(model))
    dense = evaluate_epic_mir(archive, load_embedder(model, policy=DENSE))
    assert rlt.scores != dense.scores
    for name, expected in (("run-length tokens", rlt), ("dense", dense)):
        numbers = row(printed, name)
        assert numbers[0] == "4", "frames"
        num_tokens = expected.measured_cost.tokens_kept * 8  # two steps of four patches
        assert float(numbers[1]) == pytest.approx(num_tokens, abs=0.51)
        assert numbers[3:5] == [f"{expected.scores.mAP.avg:.3f}", f"{expected.scores.nDCG.avg:.3f}"]
        assert all(number in report.text for number in numbers[3:5])
    assert row(printed, "random")[3:5] == [f"{rlt.random.mAP.avg:.3f}", f"{rlt.random.nDCG.avg:.3f}"]
    assert f"{rlt.num_clips} actions, {rlt.num_sentences} sentences" in printed
    assert f"{rlt.num_clips} actions" in report.text


def test_fewer_frames_cost_about_what_run_length_tokens_cost(printed: str) -> None:
    fewer, rlt = row(printed, "dense, fewer frames"), row(printed, "run-length tokens")
    assert int(fewer[0]) in (2, 4)
    assert abs(float(fewer[1]) - float(rlt[1])) <= 2, "half of what two frames cost"


def row(printed: str, name: str) -> list[str]:
    """The cells behind the name of a line of the last table."""
    (line,) = [line for line in printed.splitlines() if re.match(rf" *{re.escape(name)}  ", line)]
    return line.strip().removeprefix(name).split()


def test_every_query_is_answered_and_judged_by_the_annotations(
    printed: str, archive: WholeArchive, report: Report
) -> None:
    assert report.tags["h3"] == 6
    assert report.tags["figure"] == report.tags["video"] == 6 * demo.NUM_ANSWERS
    assert len(re.findall(r"^.*\d\d:\d\d\.\d-\d\d:\d\d\.\d .* right ", printed, re.MULTILINE)) == report.num_right
    for verb, noun in choose_questions(archive):
        assert f"{verb.replace('-', ' ')} {spoken(noun)}  " in printed


def test_the_report_needs_no_other_file_and_no_network(report: Report) -> None:
    assert len(report.links) == 2 * report.tags["video"]
    assert {link.partition(",")[0] for link in report.links} == {"data:image/jpeg;base64", "data:video/mp4;base64"}
    assert report.tags["script"] == report.tags["link"] == report.tags["img"] == 0


def test_the_commands_work_as_they_are_printed(printed: str) -> None:
    (line,) = [line for line in printed.splitlines() if line.startswith("  ") and " search " in line]
    program, *arguments = shlex.split(line)
    assert program == "vlrlt"
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0
    # The model is untrained: it may well find nothing that it is sure of.
    assert result.stdout.startswith(("#1 ", "no confident match"))


def test_running_it_again_renders_nothing_anew(printed: str, out_dir: Path, model: str) -> None:
    def stamps() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in (out_dir / "archive" / "videos").iterdir()}

    before = stamps()
    again = run(out_dir, model)
    assert stamps() == before
    assert "The archive already exists" in again
    for name in ("run-length tokens", "random"):
        assert row(again, name)[3:5] == row(printed, name)[3:5], "the same archive and model score the same"


def test_a_folder_that_is_not_the_demos_is_left_alone(tmp_path: Path, model: str) -> None:
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "wedding.mp4").touch()
    with pytest.raises(ConfigError, match="is not empty and not from an earlier demo"):
        run(tmp_path, model)
    assert (tmp_path / "archive" / "wedding.mp4").exists()


def test_a_folder_that_is_a_file(tmp_path: Path, model: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"file: Not a directory; try another --out"):
        run(tmp_path / "file", model)


def test_one_video_has_no_two_splits(tmp_path: Path, model: str) -> None:
    with pytest.raises(ConfigError, match="num_videos must be 2 or more, got 1"):
        run_demo(tmp_path / "out", num_videos=1, model=model)


def test_a_missing_model_is_an_error_before_anything_is_rendered(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with pytest.raises(CheckpointError, match=r"config\.json"):
        run(tmp_path / "out", str(tmp_path / "model"))
    assert not (tmp_path / "out").exists()


def test_the_whole_archive_is_both_splits(archive: WholeArchive) -> None:
    parts = EpicData(archive.data_dir)
    narrations = {n.narration_id: n.narration for n in archive.narrations("test")}
    assert len(narrations) == len(parts.narrations("train")) + len(parts.narrations("test"))
    sentences = archive.sentences("test")
    assert sorted(sentences.values()) == sorted(set(narrations.values())), "each wording once"
    assert all(narrations[key] == text for key, text in sentences.items())


def test_only_actions_that_the_archive_shows_are_asked_for(archive: WholeArchive) -> None:
    verbs, nouns = archive.verb_classes(), archive.noun_classes()
    shown = {(verbs[n.verb_class], nouns[n.noun_class]) for n in archive.narrations("test")}
    asked = choose_questions(archive)
    assert len(set(asked)) == 6
    assert set(asked) <= shown
    wished = [action for action in WISHES if action in shown][:6]
    assert asked[: len(wished)] == wished


def action(start_s: float, stop_s: float, video_id: str = "P01_01") -> Narration:
    return Narration(
        narration_id="P01_01_0",
        participant_id="P01",
        video_id=video_id,
        start_s=start_s,
        stop_s=stop_s,
        narration="open fridge",
        verb="open",
        verb_class=2,
        noun="fridge",
        noun_class=1,
        all_nouns=("fridge",),
        all_noun_classes=(1,),
    )


def moment(start_s: float, end_s: float) -> Moment:
    return Moment(
        rank=1,
        score=0.5,
        percentile=99,
        clip_id=1,
        video="/x/P01_01.mp4",
        video_id="h",
        start_s=start_s,
        end_s=end_s,
    )


@pytest.mark.parametrize(
    ("where", "there"),
    [
        (action(10, 12), True),
        (action(11, 13), True),  # half of both
        (action(11.1, 13.1), False),
        (action(5, 40), True),  # all of the moment
        (action(11.9, 12.05), True),  # most of the action
        (action(12, 14), False),
        (action(10, 12, "P02_01"), False),
    ],
)
def test_when_a_moment_shows_an_action(where: Narration, there: bool) -> None:
    assert is_shown(where, moment(10, 12)) is there


def test_right_answers_are_framed_green() -> None:
    grey = io.BytesIO()
    Image.new("RGB", (64, 48), (128, 128, 128)).save(grey, "JPEG")
    right, wrong = (
        DemoHit(moment=moment(10, 12), action=action(10, 12), right=right, still=grey.getvalue(), film=b"")
        for right in (True, False)
    )
    questions = [
        DemoQuery(text="open fridge", num_actions=1, num_found=1, answers=(right, wrong)),
        DemoQuery(text="close fridge", num_actions=2, num_found=0, answers=(wrong, wrong)),
    ]
    sheet = draw_contact_sheet(questions)
    alone = draw_contact_sheet(questions[1:])
    assert sheet.width == alone.width
    assert sheet.height > alone.height
    green = [count for count, colour in sheet.getcolors(2**20) or [] if colour == (0x1F, 0x9D, 0x55)]
    none = [count for count, colour in alone.getcolors(2**20) or [] if colour == (0x1F, 0x9D, 0x55)]
    frame_px = (288 + 10) * (216 + 10) - 288 * 216
    assert green[0] - none[0] == pytest.approx(frame_px, rel=0.2), "one frame, and its words"


@pytest.mark.parametrize(("on_path", "expected"), [(True, "vlrlt"), (False, "'/some where/vlrlt'")])
def test_the_commands_name_the_program_as_it_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_path: bool, expected: str
) -> None:
    if on_path:
        (tmp_path / "vlrlt").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["/some where/vlrlt", "demo"])
    search, page, _ = demo._next_commands(Path("a b"), "open fridge")
    assert search == f"{expected} search 'open fridge' --library 'a b'"
    assert page == f"{expected} ui --library 'a b'"
