"""The commands: documented JSON on stdout, everything else on stderr, the documented exit codes, help at once.

They run with a real but untrained model folder, so scores mean nothing here; what is found is tested elsewhere.
"""

import dataclasses
import inspect
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import islice, permutations
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import typer
from colour import COLOURS, write_colours
from typer.testing import CliRunner, Result

from vlrlt import __version__, doctor, progress
from vlrlt.cli import PANELS, app
from vlrlt.cli.search_options import SPELLINGS
from vlrlt.errors import LibraryError
from vlrlt.index.library.catalog import Catalog
from vlrlt.index.library.ledger import Ledger
from vlrlt.index.run.choose import GRACE_S
from vlrlt.index.run.control import ask_run, is_paused
from vlrlt.index.run.run_report import IndexProgress
from vlrlt.index.search.repeats import THRESHOLD
from vlrlt.models.checkpoint import save_checkpoint
from vlrlt.models.config import SentencePieceTextConfig, VideoEncoderConfig
from vlrlt.models.dual_encoder import DualEncoder, InferenceConfig
from vlrlt.models.text import SentencePieceText
from vlrlt.models.video_encoder import VideoEncoder
from vlrlt.models.vocabulary import fit_vocabulary
from vlrlt.tokens.run_length import TokenPolicy
from vlrlt.toy.make import ToyKitchen
from vlrlt.ui.launch import launch_ui
from vlrlt.video.sampling import ClipSampling
from vlrlt.video.transforms import Preprocess

HALF = (0.5, 0.5, 0.5)
NUM_BIG = 32
"""Videos of the archive whose indexing is interrupted."""
COMMANDS = (
    "index",
    "watch",
    "failures",
    "use",
    "verify",
    "compact",
    "snapshot",
    "prune",
    "pause",
    "resume",
    "stop",
    "search",
    "similar",
    "duplicates",
    "searches",
    "cut",
    "export",
    "import",
    "ask",
    "status",
    "doctor",
    "explain",
    "toy make",
    "models list",
    "models info",
    "models pull",
    "eval epic-mir",
    "train",
    "demo",
    "serve",
    "mcp",
    "ui",
)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An untrained model of a few thousand weights, as a folder."""
    torch.manual_seed(0)
    video = VideoEncoderConfig(
        regime="joint", image_size_px=32, patch_size_px=16, num_frames=4, width=16, depth=1, num_heads=2, embed_dim=8
    )
    vocabulary = fit_vocabulary(["open the fridge", "close the fridge"], vocab_size=100)
    text = SentencePieceText.with_vocabulary(
        SentencePieceTextConfig(vocab_size=100, width=8, depth=1, embed_dim=8), vocabulary
    )
    inference = InferenceConfig(
        preprocess=Preprocess(image_size_px=32, mean=HALF, std=HALF),
        sampling=ClipSampling(clip_s=1.0, stride_s=1.0, num_frames=4),
        policy=TokenPolicy(),
    )
    folder = tmp_path_factory.mktemp("model")
    save_checkpoint(DualEncoder(video=VideoEncoder(video, mean=HALF, std=HALF), text=text, inference=inference), folder)
    return str(folder)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    write_colours(tmp_path / "archive" / "a.mp4", [("red", 2), ("green", 2)])
    write_colours(tmp_path / "archive" / "b.mp4", [("blue", 3)])
    return tmp_path / "archive"


def vlrlt(*args: object) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args])


def last_json(result: Result) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return answer


@pytest.fixture
def indexed(archive: Path, library_dir: Path, model: str) -> Path:
    assert vlrlt("index", archive, "--library", library_dir, "--model", model).exit_code == 0
    return library_dir


def test_index_prints_one_line_of_json_and_talks_on_stderr(archive: Path, library_dir: Path, model: str) -> None:
    result = vlrlt("index", archive, "--library", library_dir, "--model", model, "--json")
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 1
    report = last_json(result)
    assert report.keys() == {
        *("indexed", "partial", "failed", "skipped", "ignored", "video_s", "wall_s", "decode_s", "encode_s"),
        *(
            "tokens",
            "dense_tokens",
            "failures",
            "readings",
            "waiting",
            "missing",
            "moved",
            "pruned",
            "away",
            "static_looks",
            "looks",
            "vectors",
            "look_s",
            "failed_before",
        ),
        *("write_s", "worker_decode_s", "worker_resize_s", "dense_encode_s"),
    }
    expected = {
        "vectors": 3,
        "indexed": 2,
        "failed": 0,
        "skipped": 0,
        "looks": 12,
        "static_looks": 16,
        "video_s": 7.0,
        "failures": [],
        "readings": [],
    }
    assert {name: report[name] for name in expected} == expected
    assert report["dense_tokens"] == 7 * 4 * 4
    assert report["tokens"] < report["dense_tokens"], "plain colours stand still: tokens must have been dropped"
    assert "2 indexed, 0 skipped, 0 failed: 3 vectors of 00:07 of video" in result.stderr


def test_indexing_again_does_nothing(indexed: Path, archive: Path) -> None:
    result = vlrlt("index", archive, "--library", indexed, "--json")  # the model is the library's own
    assert result.exit_code == 0
    assert {name: last_json(result)[name] for name in ("indexed", "skipped", "vectors")} == {
        "indexed": 0,
        "skipped": 2,
        "vectors": 0,
    }


def test_a_library_that_was_killed_at_birth_is_no_obstacle(archive: Path, library_dir: Path, model: str) -> None:
    library_dir.mkdir()
    (library_dir / "lock").touch()
    (library_dir / "catalog.db").touch()
    assert vlrlt("index", archive, "--library", library_dir, "--model", model).exit_code == 0


def test_bad_files_are_listed_and_the_exit_code_is_3(archive: Path, library_dir: Path, model: str) -> None:
    (archive / "bad.mp4").write_bytes(b"no video")
    (archive / "readme.txt").touch()
    result = vlrlt("index", archive, "--library", library_dir, "--model", model, "--json")
    assert result.exit_code == 3
    report = last_json(result)
    assert (report["indexed"], report["failed"], report["ignored"]) == (2, 1, 1)
    ((failure),) = report["failures"]
    assert failure.keys() == {"path", "state", "stage", "reason"}
    assert failure["path"] == str(archive / "bad.mp4")
    assert f"  failed  {archive}/bad.mp4: cannot open: " in result.stderr
    assert "1 other files were ignored" in result.stderr
    assert "--retry-failed" in result.stderr
    again = vlrlt("index", archive, "--library", library_dir)
    assert again.exit_code == 0, "a known bad file is no news"
    retried = vlrlt("index", archive, "--library", library_dir, "--retry-failed")
    assert retried.exit_code == 3


def test_the_options_reach_the_model_and_stay_with_the_library(archive: Path, library_dir: Path, model: str) -> None:
    options = ("--clip-seconds", 2, "--frames", 2, "--policy", "none")
    result = vlrlt("index", archive, "--library", library_dir, "--model", model, *options, "--json")
    report = last_json(result)
    assert report["looks"] == 2 * (3 + 2), "clips of 2 s, a second apart as the model has it"
    assert report["tokens"] == report["dense_tokens"] == 5 * 2 * 4
    assert vlrlt("index", archive, "--library", library_dir).exit_code == 0
    assert vlrlt("index", archive, "--library", library_dir, "--model", os.path.relpath(model)).exit_code == 0
    assert vlrlt("search", "fridge", "--library", library_dir).exit_code == 0
    other = vlrlt("index", archive, "--library", library_dir, "--clip-seconds", 3)
    assert other.exit_code == 0
    command = re.search(
        r"is searched with .*; to search with the new model, run: vlrlt (use \w{12}) --library", other.stderr
    )
    assert command is not None
    assert vlrlt("search", "fridge", "--library", library_dir).exit_code == 0
    assert vlrlt(*command[1].split(), "--library", library_dir, "--forget-others").exit_code == 0
    assert vlrlt("search", "fridge", "--library", library_dir).exit_code == 0
    assert vlrlt("use", "nonsense", "--library", library_dir).exit_code == 2


@pytest.mark.parametrize(
    ("options", "policy"),
    [
        (("--threshold-255", 20), TokenPolicy(threshold_255=20)),
        (("--policy", "threshold", "--threshold-255", 20), TokenPolicy(threshold_255=20)),
        (("--budget-tokens", 9), TokenPolicy(budget_tokens=9)),
        (("--policy", "budget", "--budget-tokens", 9), TokenPolicy(kind="budget", budget_tokens=9)),
        (("--policy", "random", "--budget-tokens", 9), TokenPolicy(kind="random", budget_tokens=9)),
    ],
)
def test_token_policies(
    archive: Path, library_dir: Path, model: str, options: tuple[object, ...], policy: TokenPolicy
) -> None:
    assert vlrlt("index", archive, "--library", library_dir, "--model", model, *options).exit_code == 0
    with Catalog.open_reader(library_dir) as catalog:
        settings = catalog.settings()
    assert settings is not None
    assert settings.policy == dataclasses.asdict(policy)


def test_search_prints_the_documented_json(indexed: Path) -> None:
    result = vlrlt("search", "open the fridge", "--library", indexed, "-k", 2, "--tail", "--json")
    assert result.exit_code == 0
    answer = last_json(result)
    assert answer.keys() == {
        "query",
        "model",
        "took_ms",
        "found",
        "unknown_words",
        "searched",
        "hits",
        "next_page",
        "second_look",
    }
    assert answer["query"] == "open the fridge"
    assert 1 <= len(answer["hits"]) <= 2
    for rank, hit in enumerate(answer["hits"], start=1):
        assert hit.keys() == {
            *("rank", "score", "percentile", "confidence", "clip", "video", "video_id", "start_s", "end_s"),
            *("sources", "text", "text_marks", "text_fit", "seek_s", "steps", "verdict", "likelihood"),
        }
        assert hit["rank"] == rank
        assert Path(hit["video"]).is_file()
        assert 0 <= hit["start_s"] < hit["end_s"]
        assert 0 <= hit["percentile"] < 100


def test_search_prints_a_line_for_each_hit(indexed: Path) -> None:
    result = vlrlt("search", "fridge", "--library", indexed, "--top-k", 1, "--tail")
    line = result.stdout.splitlines()[-2]
    assert re.fullmatch(r"#1 +-?\d\.\d{3}  p\d+\.\d +[ab]\.mp4  00:\d\d\.\d-00:\d\d\.\d  clip \w{16}  in /.*", line)
    clip = line.partition("  clip ")[2][:16]
    assert vlrlt("similar", clip, "--library", indexed).exit_code == 0
    assert vlrlt("search", "fridge", "--like", clip, "--library", indexed).exit_code == 0


def test_words_are_one_query_whether_quoted_or_not(indexed: Path) -> None:
    def answer(*words: str) -> dict[str, Any]:
        return last_json(vlrlt("search", *words, "--library", indexed, "--tail", "--json"))

    quoted = answer("open the fridge")
    for words in (("open", "the", "fridge"), ("open", "-k", "10", "the fridge")):
        assert (answer(*words)["query"], answer(*words)["hits"]) == (quoted["query"], quoted["hits"])
    two = answer("open the fridge", "--also", "wash a plate")
    assert two["query"] == "open the fridge (+1), wash a plate (+1)"
    assert two["hits"] != quoted["hits"]
    only = answer("--also", "open the fridge")
    assert only["hits"] == quoted["hits"]
    asked = [vlrlt("ask", *words, "--library", indexed, "--json") for words in (("Is it red?",), ("Is", "it", "red?"))]
    assert last_json(asked[0])["question"] == last_json(asked[1])["question"] == "Is it red?"


def test_what_save_says_can_be_typed(indexed: Path) -> None:
    saved = vlrlt("search", "open", "fridge", "--library", indexed, "--tail", "--save", "my fridge")
    command = shlex.split(saved.stderr.splitlines()[-1].partition("again: ")[2])
    assert command[0] == "vlrlt"
    assert vlrlt(*command[1:]).stdout.splitlines()[0] == saved.stdout.splitlines()[0]


def test_an_empty_library_says_that_nothing_is_indexed(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    assert vlrlt("index", tmp_path / "archive", "--library", tmp_path / "lib").exit_code == 0
    result = vlrlt("search", "fridge", "--library", tmp_path / "lib")
    assert result.stdout.startswith("nothing is indexed yet; run: vlrlt index PATH")
    assert (
        vlrlt("export", "--query", "fridge", "--library", tmp_path / "lib", "--out", tmp_path / "a.m3u").exit_code == 2
    )


def test_search_by_clip_and_by_image(indexed: Path, archive: Path, tmp_path: Path) -> None:
    from PIL import Image

    clip = vlrlt("search", "--clip", f"{archive}/b.mp4@0:01-2", "--library", indexed, "--json")
    assert last_json(clip)["query"] == f"{archive}/b.mp4@1-2"
    assert last_json(clip)["hits"][0]["score"] > 0.99
    Image.new("RGB", (40, 40), (0, 0, 255)).save(tmp_path / "blue.png")
    image = vlrlt("search", "--image", tmp_path / "blue.png", "--library", indexed, "--json")
    best = last_json(image)["hits"][0]
    assert best["video"].endswith("b.mp4")
    assert best["score"] > 0.99


@pytest.mark.parametrize("query", [(), ("--not", "words"), ("--clip", "a.mp4@2-1")])
def test_wrong_usage_of_search(indexed: Path, query: tuple[str, ...]) -> None:
    result = vlrlt("search", *query, "--library", indexed)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1


def test_status(indexed: Path) -> None:
    result = vlrlt("status", "--library", indexed, "--json")
    assert result.exit_code == 0
    status = last_json(result)
    assert status.keys() == {
        *("library", "model", "fingerprint", "indexed", "partial", "failed", "vectors", "video_s", "size_bytes"),
        *("search", "unfinished", "missing", "other_models", "run", "paused", "texts", "last_run"),
        "failures",
    }
    assert (status["run"], status["paused"], status["last_run"]["indexed"]) == (None, False, 2)
    assert (status["indexed"], status["vectors"], status["video_s"]) == (2, 3, 7.0)
    assert "videos   2 indexed, 0 partial, 0 failed" in vlrlt("status", "--library", indexed).stdout
    metrics = vlrlt("status", "--library", indexed, "--metrics").stdout
    assert 'vlrlt_videos{state="indexed"} 2.0' in metrics.splitlines()
    assert "vlrlt_vectors 3.0" in metrics.splitlines()
    assert f'vlrlt_last_run_stage_seconds{{stage="encoder"}} {status["last_run"]["encode_s"]}' in metrics.splitlines()


def test_the_commands_that_keep_a_library_in_order(indexed: Path, archive: Path) -> None:
    assert "0 damaged" in vlrlt("verify", "--library", indexed, "--read-archive").stdout
    assert vlrlt("compact", "--library", indexed).stdout == "merged 2 segments into 1\n"
    assert vlrlt("failures", "--library", indexed).stdout == "none\n"
    (vectors,) = indexed.glob("segments/*/vectors.f16")
    vectors.write_bytes(b"torn")
    torn = vlrlt("verify", "--library", indexed, "--json")
    assert (torn.exit_code, last_json(torn)["requeued"]) == (3, [str(archive / "a.mp4"), str(archive / "b.mp4")])
    (archive / "bad.mp4").write_bytes(b"no video")
    assert vlrlt("index", archive, "--library", indexed).exit_code == 3
    failures = vlrlt("failures", "--library", indexed)
    assert (failures.exit_code, "bad.mp4: cannot open: " in failures.stdout) == (3, True)
    (archive / "bad.mp4").unlink()
    assert vlrlt("index", archive, "--library", indexed).exit_code == 0
    assert vlrlt("prune", "--library", indexed, "--grace-days", 0).stdout.startswith("1 file forgotten")
    assert vlrlt("failures", "--library", indexed).exit_code == 0


def test_a_dry_run_writes_nothing(archive: Path, library_dir: Path, model: str, tmp_path: Path) -> None:
    result = vlrlt("index", archive, "--library", library_dir, "--model", model, "--dry-run", "--json")
    forecast = last_json(result)
    assert (forecast["files"], forecast["known"], forecast["sampled"]) == (2, 0, 2)
    assert forecast["video_s"] == pytest.approx(7)
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    broken = vlrlt("index", tmp_path / "broken.mp4", "--library", library_dir, "--model", model, "--dry-run")
    assert "1 new files (8 bytes), 0 known: no sampled file can be read" in broken.stdout
    assert not library_dir.exists()


@pytest.mark.parametrize("option", [("--ray-address", "auto"), ("--shared", "file:///tmp/x")])
def test_options_of_ray_want_ray(tmp_path: Path, option: tuple[str, str]) -> None:
    result = vlrlt("index", tmp_path, "--library", tmp_path / "library", *option)
    assert result.exit_code == 2
    assert "--ray-address and --shared need --engine ray" in result.stderr


@pytest.mark.parametrize("command", [("search", "x"), ("status",)])
def test_no_library_is_one_line_and_exit_code_1(tmp_path: Path, command: str) -> None:
    result = vlrlt(*command, "--library", tmp_path / "nowhere")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert re.fullmatch(
        r"vlrlt: .*nowhere is not a vlrlt library \(no catalog\.db\); run: vlrlt index .*\n", result.stderr
    )


def test_paths_that_do_not_exist_are_wrong_usage(library_dir: Path, model: str) -> None:
    result = vlrlt("index", "/nowhere", "--library", library_dir, "--model", model)
    assert (result.exit_code, result.stderr) == (
        2,
        "vlrlt: /nowhere does not exist; give videos or folders that hold some\n",
    )


def test_an_unknown_model_is_one_line(archive: Path, library_dir: Path, tmp_path: Path) -> None:
    result = vlrlt("index", archive, "--library", library_dir, "--model", tmp_path)
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert not library_dir.exists()


def test_a_missing_extra_is_an_error_not_wrong_usage(
    archive: Path, library_dir: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    result = vlrlt("index", archive, "--library", library_dir, "--model", model)
    assert result.exit_code == 1
    assert "pip install 'vlrlt[cpu]'" in result.stderr


def test_doctor_looks_at_everything() -> None:
    result = vlrlt("doctor", "--json")
    found = last_json(result)
    checks = {check["name"]: check for check in found["checks"]}
    assert list(checks) == [
        *("python", "torch", "attention", "faiss", "ffmpeg", "codecs", "sqlite", "decord", "open_clip"),
        *("default_model", "model_cache", "free_disk"),
    ]
    assert checks["torch"]["found"].startswith(torch.__version__)
    assert checks["sqlite"]["verdict"] == "ok"
    assert found["ok"] == all(check["verdict"] != "broken" for check in checks.values())
    assert result.exit_code == (0 if found["ok"] else 1)
    assert all(check["advice"] for check in checks.values() if check["verdict"] != "ok")


def test_doctor_says_what_to_do_about_what_is_broken_or_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    monkeypatch.setitem(sys.modules, "decord", None)
    monkeypatch.setattr(doctor, "_SAFE_FFMPEG", (999,))
    monkeypatch.setattr(doctor, "_DECODERS", ("h264", "vvc-of-tomorrow"))
    monkeypatch.setattr(doctor, "_FREE_BYTES", 10**30)
    result = vlrlt("doctor")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert any(line.startswith("broken   faiss") for line in lines)
    assert any("-> faiss is not installed; run: pip install 'vlrlt[cpu]'" in line for line in lines)
    assert any(line.startswith("warning  decord") for line in lines)
    assert any(re.match(r"warning  ffmpeg +\S+ in av \S+ has a known defect, fixed in 999", line) for line in lines)
    assert any(line.startswith("warning  free_disk") for line in lines)
    assert any(re.match("warning  codecs +missing: vvc-of-tomorrow$", line) for line in lines)


def test_without_a_terminal_there_is_a_plain_line_now_and_then(
    archive: Path, library_dir: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    lines = vlrlt("index", archive, "--library", library_dir, "--model", model).stderr.splitlines()
    assert lines[:3] == [
        "scanning 0/2 files: a.mp4",
        "scanning 1/2 files: b.mp4",
        "0/2 files, 00:00 of video: a.mp4",
    ]
    assert re.fullmatch(r"0/2 files, \d+%, 00:01 of video, \d+\.\dx realtime, 00:\d\d left: a\.mp4", lines[3])
    assert re.fullmatch(r"1/2 files, 100%, 00:07 of video, \d+\.\dx realtime, 00:00 left: b\.mp4", lines[10])


def test_on_a_terminal_there_is_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    step = IndexProgress(
        path=Path("[red]a.mp4"),
        scanning=False,
        files_done=1,
        files_total=2,
        bytes_done=3,
        bytes_total=7,
        video_s_done=3,
    )
    with progress.index_progress() as show:
        show(dataclasses.replace(step, scanning=True))
        show(step)
    shown = capsys.readouterr().err
    assert "━" in shown
    assert re.search(r"1/2 files, 43%, 00:03 of video, .*x realtime, .* left: \[red\]a\.mp4", shown)


def test_the_version_is_told() -> None:
    assert vlrlt("--version").stdout == f"vlrlt {__version__}\n"


@pytest.mark.parametrize("command", [("toy", "make", "--videos", 1), ("explain", "film.mp4")])
def test_nothing_is_replaced_unasked(tmp_path: Path, command: tuple[object, ...]) -> None:
    (tmp_path / "annotations").mkdir()
    out = tmp_path if command[0] == "toy" else tmp_path / "annotations"
    result = vlrlt(*command, "--out", out)
    assert (result.exit_code, "annotations exists" in result.stderr) == (2, True)


def test_a_mistyped_piece_of_video_says_what_one_looks_like(tmp_path: Path) -> None:
    result = vlrlt("search", "--clip", "film.mp4@1:x-3", "--library", tmp_path)
    assert result.exit_code == 2
    assert "FILE@START-END with times like 70, 01:10 or 01:10.5, got 'film.mp4@1:x-3'" in result.stderr


def test_toy_make_hands_its_options_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def make(out_dir: Path, *, progress: Callable[[int, int], None], **options: object) -> ToyKitchen:
        given.update(options, out_dir=out_dir)
        progress(3, 3)
        return ToyKitchen(out_dir / "videos", out_dir / "annotations", 3, 2, 1, 20, 10, 123.4)

    monkeypatch.setattr("vlrlt.toy.make.make_toy_kitchen", make)
    result = vlrlt("toy", "make", "--out", tmp_path, "--videos", 3, "--seed", 7, "--workers", 1, "--camera", "head")
    assert given == {"out_dir": tmp_path, "num_videos": 3, "seed": 7, "camera": "head", "num_workers": 1}
    assert result.stdout == (f"3 videos, 123 s: 20 actions in 2 for training, 10 in 1 for testing, in {tmp_path}\n")


def test_eval_epic_mir(tmp_path: Path, model: str) -> None:
    write_colours(tmp_path / "videos" / "P01_01.mp4", [("red", 2), ("green", 2)])
    (tmp_path / "annotations").mkdir()
    for name, lines in {
        "retrieval_test": (
            "narration_id,participant_id,video_id,start_timestamp,stop_timestamp,narration,verb,verb_class,noun,"
            "noun_class,all_nouns,all_noun_classes",
            "P01_01_0,P01,P01_01,00:00:00.0,00:00:02.0,open fridge,open,0,fridge,0,['fridge'],[0]",
            "P01_01_1,P01,P01_01,00:00:02.0,00:00:04.0,close bin,close,1,bin,1,['bin'],[1]",
        ),
        "retrieval_test_sentence": ("narration_id,narration", "P01_01_0,open fridge", "P01_01_1,close bin"),
        "verb_classes": ("id,key", "0,open", "1,close"),
        "noun_classes": ("id,key", "0,fridge", "1,bin"),
    }.items():
        (tmp_path / "annotations" / f"EPIC_100_{name}.csv").write_text("\n".join(lines) + "\n")
    result = vlrlt("eval", "epic-mir", "--data", tmp_path, "--model", model, "--json")
    assert result.exit_code == 0, result.stderr
    report = last_json(result)
    for scores in (report, report["random"]):
        assert all(0 < scores[metric][way] <= 1 for metric in ("mAP", "nDCG") for way in ("v2t", "t2v", "avg"))
    text = vlrlt("eval", "epic-mir", "--data", tmp_path, "--model", model).stdout
    assert text.startswith("test split: 2 clips, 2 sentences")
    kept = {}
    for options in ((), ("--policy", "none"), ("--threshold-255", "255"), ("--frames", "8", "--threads", "1")):
        result = vlrlt("eval", "epic-mir", "--data", tmp_path, "--model", model, "--json", *options)
        assert result.exit_code == 0, result.stderr
        kept[options] = last_json(result)["tokens_kept"]
    assert kept["--policy", "none"] == 1.0
    assert kept["--threshold-255", "255"] < 1.0
    (tmp_path / "videos" / "P01_01.mp4").write_bytes(b"")
    result = vlrlt("eval", "epic-mir", "--data", tmp_path, "--model", model)
    assert (result.exit_code, "none of the 2 clips can be read" in result.stderr) == (1, True)


def test_train_hands_its_arguments_on(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[list[str]] = []
    lightning_cli = ModuleType("vlrlt.train.cli")  # the real one takes seconds to import
    monkeypatch.setattr(lightning_cli, "main", given.append, raising=False)
    monkeypatch.setitem(sys.modules, "vlrlt.train.cli", lightning_cli)
    assert vlrlt("train", "fit", "-c", "x.yaml", "--trainer.max_steps", "3", "--help").exit_code == 0
    assert given == [["fit", "-c", "x.yaml", "--trainer.max_steps", "3", "--help"]]
    assert "vlrlt train fit -c configs/train/toy.yaml" in vlrlt("train").stdout


@pytest.mark.parametrize(
    "command",
    [
        "verify",
        "compact",
        "snapshot",
        "prune",
        "use default",
        "import .",
        "pause",
        "resume",
        "stop",
        "failures",
        "status",
    ],
)
def test_a_mistyped_library_is_refused_and_not_made(tmp_path: Path, command: str) -> None:
    result = vlrlt(*command.split(), "--library", tmp_path / "mistyped")
    assert result.exit_code == 1
    assert "is not a vlrlt library" in result.stderr
    assert not (tmp_path / "mistyped").exists()


def test_a_run_says_that_it_is_paused(indexed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask_and_resume(library_dir: Path) -> bool:
        paused = is_paused(library_dir)
        ask_run(library_dir, "pause", wanted=False)
        return paused

    assert "vlrlt resume --library" in vlrlt("pause", "--library", indexed).stdout
    assert "paused   index runs wait" in vlrlt("status", "--library", indexed).stdout
    assert "nothing to stop" in vlrlt("stop", "--library", indexed).stdout
    monkeypatch.setattr("vlrlt.index.run.control.is_paused", ask_and_resume)  # or the run would wait
    assert "paused; to continue, run: vlrlt resume" in vlrlt("index", tmp_path, "--library", indexed).stderr
    assert "continue" in vlrlt("resume", "--library", indexed).stdout


def test_demo_and_ui_hand_their_options_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[object] = []
    monkeypatch.setattr("vlrlt.demo.run.run_demo", given.append)

    def launch(library_dir: Path, **options: object) -> int:
        given.append((library_dir, options["port"], options["runs_dir"]))
        return 7

    monkeypatch.setattr("vlrlt.ui.launch.launch_ui", launch)
    assert vlrlt("demo", "--out", tmp_path).exit_code == 0
    assert vlrlt("ui", "--library", tmp_path, "--port", 9000, "--runs", tmp_path).exit_code == 7
    assert given == [tmp_path, (tmp_path, 9000, tmp_path)]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command: str) -> None:
    result = vlrlt(*command.split(), "--help")
    assert result.exit_code == 0
    assert f"Example: vlrlt {command}" in " ".join(result.stdout.split()) or "&& vlrlt" in result.stdout


def test_help_says_of_everything_what_it_is_for() -> None:
    """Each command in a panel, each option and argument with a sentence, each paragraph in one line that wraps."""

    def look(command: Any, path: str) -> None:
        assert not re.search(r"[^\n]\n(?!\n| *Example:)", command.help.strip()), path
        for parameter in command.params:
            assert re.match(r"[A-Z'].*[.]$", parameter.help), (path, parameter.name, parameter.help)
        for name, child in getattr(command, "commands", {}).items():
            look(child, f"{path} {name}".strip())

    root: Any = typer.main.get_command(app)
    look(root, "")
    assert sorted(name for names in PANELS.values() for name in names) == sorted(root.commands)
    assert all(command.rich_help_panel in PANELS for command in root.commands.values())


@pytest.mark.parametrize(
    ("command", "heavy"),
    [
        ("index --help", "torch numpy av faiss apsw open_clip PIL streamlit lightning rich.progress"),
        ("status --library {library}", "torch faiss open_clip streamlit lightning"),
    ],
)
def test_what_is_quick_imports_nothing_heavy(command: str, heavy: str, indexed: Path) -> None:
    args = command.format(library=indexed).split()
    code = (
        f"import sys; from vlrlt.cli import main; sys.argv[1:] = {args}\n"
        f"try: main()\nfinally: print('heavy:', set({heavy.split()}) & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "heavy: set()"


Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(start_process: Start) -> Start:
    """A command of vlrlt in a process of its own."""
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return lambda *args: start_process([sys.executable, "-m", "vlrlt", *args], **pipes)


def wait_for_a_commit(library_dir: Path, process: subprocess.Popen[str]) -> int:
    """Number of videos that were committed when the first was seen."""
    while process.poll() is None:
        if (library_dir / "catalog.db").exists():
            try:
                with Catalog.open_reader(library_dir) as catalog:
                    if num := catalog.counts().indexed:
                        return num
            except LibraryError:
                pass  # being created
        time.sleep(0.005)
    pytest.fail(f"ended before it was killed: {process.communicate()}")


@pytest.fixture(scope="module")
def big_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Different videos of 12 s, each of two still stretches; so many that no signal comes too late."""
    archive = tmp_path_factory.mktemp("archive")
    for number, (first, second) in enumerate(islice(permutations(COLOURS, 2), NUM_BIG)):
        write_colours(archive / f"{number}.mp4", [(first, 11), (second, 1)])
    return archive


def test_kill_9_loses_nothing_that_was_committed(
    start: Start, big_archive: Path, library_dir: Path, model: str
) -> None:
    process = start("index", big_archive, "--library", library_dir, "--model", model)
    num_committed = wait_for_a_commit(library_dir, process)
    process.kill()
    process.communicate()
    result = vlrlt("index", big_archive, "--library", library_dir, "--json")
    report = last_json(result)
    assert result.exit_code == 0
    assert report["indexed"] + report["skipped"] == NUM_BIG
    assert report["skipped"] >= num_committed
    assert report["indexed"] > 0, "it was killed too late to prove anything"
    with Catalog.open_reader(library_dir) as catalog:
        folders = {folder.name for folder in (library_dir / "segments").iterdir()}
        assert folders == {segment.uuid for segment in catalog.segments()}
        assert catalog.counts().vectors == NUM_BIG * 2


def test_control_c_says_how_to_go_on(start: Start, big_archive: Path, library_dir: Path, model: str) -> None:
    process = start("index", big_archive, "--library", library_dir, "--model", model)
    wait_for_a_commit(library_dir, process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the decoder process too
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert stdout == ""
    assert stderr == "vlrlt: interrupted; everything committed is kept; run the same command again to continue\n"
    assert vlrlt("index", big_archive, "--library", library_dir).exit_code == 0
    with Catalog.open_reader(library_dir) as catalog:
        assert catalog.counts().indexed == NUM_BIG


def test_watch_waits_for_another_writer_and_ends_with_control_c(start: Start, archive: Path, indexed: Path) -> None:
    with Ledger.open(indexed):
        watcher = start("watch", archive, "--library", indexed, "--settle-seconds", 0, "--exclude", "b.mp4")
        assert watcher.stderr is not None
        while "being written by another vlrlt" not in (line := watcher.stderr.readline()):
            assert line, "it ended"
    while "1 skipped" not in (line := watcher.stderr.readline()):
        assert line, "it ended"
    os.killpg(watcher.pid, signal.SIGINT)
    assert watcher.communicate(timeout=30)[0] == ""
    assert watcher.returncode == 130


def test_a_second_writer_is_refused_and_readers_are_served(archive: Path, indexed: Path) -> None:
    with Ledger.open(indexed):
        second = vlrlt("index", archive, "--library", indexed)
        assert second.exit_code == 1
        assert f"being written by another vlrlt (process {os.getpid()})" in second.stderr
        assert last_json(vlrlt("search", "fridge", "--library", indexed, "--tail", "--json"))["hits"]


def test_defaults_that_help_shows_are_those_of_the_functions() -> None:
    """What is not given is not passed on; only the help repeats it. The options of a search: tests/test_query.py."""
    ui = inspect.signature(launch_ui).parameters
    commands: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    known = {
        ("duplicates", "threshold"): THRESHOLD,
        ("prune", "grace_days"): GRACE_S / 86_400,
        ("ui", "host"): ui["host"].default,
        ("ui", "port"): ui["port"].default,
    }
    shown = {
        (name, parameter.name): parameter.show_default
        for name, command in commands.items()
        for parameter in command.params
        if isinstance(getattr(parameter, "show_default", None), str) and parameter.name not in SPELLINGS
    }
    assert shown == {place: str(default) for place, default in known.items()}
