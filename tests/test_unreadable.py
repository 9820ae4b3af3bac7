"""Damaged videos: training goes on with other clips and counts them, `data check --decode` and evaluation name them."""

import csv
import json
import logging
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from media import Recipe, shown_index, write_video
from typer.testing import CliRunner

from vlrlt.cli import app
from vlrlt.datasets.caption_file import CaptionFile
from vlrlt.errors import CorruptVideoError, DecodeStage, UnreadableClipsError
from vlrlt.train.augment import Augmentation
from vlrlt.train.cli import main
from vlrlt.train.clips import Sample
from vlrlt.train.datamodule import ClipDataModule
from vlrlt.train.frames import CachedFrames
from vlrlt.train.sampler import Draw
from vlrlt.train.unreadable import UnreadableClip, UnreadableClips
from vlrlt.video.chunks import pyav_has_last_word
from vlrlt.video.decode import DecoderName

NUM_SECONDS = 10
QUIET = ("ignore:.*does not have many workers.*", "ignore:.*LeafSpec.*:FutureWarning")


def damaged_video(path: Path) -> Path:
    """10 s with a key frame every second; the bytes of about the seconds 3 to 6 are zeros, the rest is as it was."""
    write_video(path, Recipe(num_frames=10 * NUM_SECONDS, fps=10, gop=10, container_options={"movflags": "faststart"}))
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat") + 4
    size = len(content) - start
    first, last = start + int(0.5 * size), start + int(0.6 * size)
    content[first:last] = bytes(last - first)
    path.write_bytes(content)
    return path


@pytest.fixture
def dataset(tmp_path: Path) -> CaptionFile:
    """Every second of a damaged and of a whole video, which have the captions in common."""
    damaged_video(tmp_path / "damaged.mp4")
    write_video(tmp_path / "whole.mp4", Recipe(num_frames=10 * NUM_SECONDS, fps=10))
    lines = ["video,start_s,end_s,caption"]
    lines += [f"{name},{s},{s + 1},second {s}" for name in ("damaged", "whole") for s in range(NUM_SECONDS)]
    (tmp_path / "captions.csv").write_text("\n".join(lines) + "\n")
    return CaptionFile(tmp_path, train_file=tmp_path / "captions.csv")


def module(dataset: CaptionFile, **options: Any) -> ClipDataModule:
    data = ClipDataModule(
        dataset=dataset, batch_size=4, num_workers=0, num_frames=4, image_size_px=96, val_share=0,
        augmentation=Augmentation(span_jitter_s=0.0), **options,
    )  # fmt: skip
    data.setup("fit")
    return data


def seconds_shown(sample: Sample) -> set[int]:
    return {shown_index(rgb_HWC) // 10 for rgb_HWC in sample.rgb_THWC.numpy()}


@pytest.mark.parametrize("backend", ["decord", "pyav"])
def test_another_clip_of_the_same_action_takes_the_place(dataset: CaptionFile, backend: DecoderName) -> None:
    clips = module(dataset, backend=backend).train_clips
    unreadable: list[int] = []
    for index in range(2 * NUM_SECONDS):
        sample = clips[Draw(index, index)]
        assert seconds_shown(sample) == {index % NUM_SECONDS}  # the other video shows the same action
        assert sample.caption == f"second {index % NUM_SECONDS}"
        unreadable += [clip.index for clip in sample.unreadable]
        assert all("damaged.mp4: cannot" in clip.reason for clip in sample.unreadable)
    assert len(unreadable) >= 2
    assert set(unreadable) <= {2, 3, 4, 5, 6, 7}
    assert clips[Draw(unreadable[0], 0)].unreadable == ()  # it is not tried again


def test_the_clip_that_takes_the_place_follows_from_the_seed(dataset: CaptionFile, tmp_path: Path) -> None:
    """A resumed run meets other damaged clips before: that must not change which clip is drawn."""
    header, *lines = (tmp_path / "captions.csv").read_text().splitlines()
    numbered = [f"{line} {number}" for number, line in enumerate(lines)]  # every clip has an action of its own
    (tmp_path / "captions.csv").write_text("\n".join([header, *numbered]) + "\n")
    fresh, experienced = module(dataset).train_clips, module(dataset).train_clips
    damaged = [index for index in range(NUM_SECONDS) if experienced[Draw(index, 7)].unreadable]
    assert damaged
    shown = {tuple(seconds_shown(clips[Draw(damaged[0], seed)])) for clips in (fresh, experienced) for seed in (3,)}
    assert len(shown) == 1
    assert len({tuple(seconds_shown(fresh[Draw(damaged[0], seed)])) for seed in range(12)}) > 3


def test_a_held_out_clip_that_cannot_be_read_is_black(dataset: CaptionFile) -> None:
    clips = module(dataset).train_clips
    samples = [clips[Draw(index, None)] for index in range(NUM_SECONDS)]
    black = [sample for sample in samples if not sample.rgb_THWC.any()]
    assert [sample.caption for sample in black] == [f"second {clip.index}" for s in samples for clip in s.unreadable]
    assert black


def test_a_cache_is_not_filled_with_half_a_video(dataset: CaptionFile, tmp_path: Path) -> None:
    for backend in ("decord", "pyav"):
        with pytest.raises(CorruptVideoError):
            CachedFrames(tmp_path / backend, short_side_px=96, backend=backend).video(tmp_path / "damaged.mp4")
    clips = module(dataset, cache_dir=tmp_path / "cache").train_clips
    assert seconds_shown(clips[Draw(2, 0)]) == {2}  # of the other video: the cache has whole videos only


def test_each_unreadable_clip_is_logged_once_and_too_many_end_the_run(caplog: pytest.LogCaptureFixture) -> None:
    found = UnreadableClips(300)
    found.add(UnreadableClip(number % 3, f"/videos/{number % 3}.mp4: cannot decode") for number in range(6))
    found.check(3)
    assert [record.getMessage().rpartition("read: ")[2] for record in caplog.records] == [
        f"/videos/{number}.mp4: cannot decode" for number in range(3)
    ]
    with pytest.raises(
        UnreadableClipsError, match=r"4 training clips cannot be read, and 3 may be left out; .*\n  /vid"
    ):
        found.check(4)  # another process has met one more
    UnreadableClips(5).check(1)


def recipe(dataset: CaptionFile, tmp_path: Path) -> Path:
    """The toy recipe, thin, without a cache, with a worker."""
    config = yaml.safe_load((Path(__file__).parent.parent / "configs" / "train" / "toy.yaml").read_text())
    config["trainer"] |= {
        "max_epochs": 1, "callbacks": [], "enable_checkpointing": False, "enable_progress_bar": False,
        "enable_model_summary": False, "log_every_n_steps": 1,
        "logger": {"class_path": "lightning.pytorch.loggers.CSVLogger",
                   "init_args": {"save_dir": str(tmp_path / "logs"), "name": None}},
    }  # fmt: skip
    config["model"]["video"] |= {"image_size_px": 24, "patch_size_px": 12, "num_frames": 4, "width": 16, "depth": 1}
    config["model"]["preprocess"]["image_size_px"] = 24
    config["model"]["sampling"]["num_frames"] = 4
    config["model"]["text"] |= {"vocab_size": 60, "width": 16, "depth": 1}
    config["model"]["export_dir"] = str(tmp_path / "export")
    config["data"] = {
        "dataset": {"class_path": "vlrlt.datasets.caption_file.CaptionFile",
                    "init_args": {"videos_dir": str(tmp_path), "train_file": str(dataset.train_file)}},
        "batch_size": 4, "num_workers": 1, "val_share": 0.5,
    }  # fmt: skip
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.mark.filterwarnings(*QUIET)
def test_a_recipe_runs_on_damaged_videos_and_is_ended_by_too_many(
    dataset: CaptionFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lines = (tmp_path / "captions.csv").read_text().splitlines()
    (tmp_path / "captions.csv").write_text("\n".join(lines).replace("damaged", "a_damaged") + "\n")  # it is trained on
    (tmp_path / "damaged.mp4").rename(tmp_path / "a_damaged.mp4")
    file = recipe(dataset, tmp_path)
    monkeypatch.setattr("vlrlt.train.unreadable.ALLOWED_SHARE", 0.9)
    with caplog.at_level(logging.WARNING, logger="vlrlt"):
        main(["fit", "-c", str(file)])
    assert "a_damaged.mp4: cannot decode" in caplog.text
    with next((tmp_path / "logs").rglob("metrics.csv")).open() as table:
        counts = [
            float(row["train/unreadable_clips"]) for row in csv.DictReader(table) if row["train/unreadable_clips"]
        ]
    assert counts == sorted(counts)
    assert counts[-1] >= 2
    monkeypatch.setattr("vlrlt.train.unreadable.ALLOWED_SHARE", 0.01)
    with pytest.raises(UnreadableClipsError, match=r"training clips cannot be read, and 1 may be left out"):
        main(["fit", "-c", str(file)])


def test_pyav_has_the_last_word_on_what_decord_fails_to_decode(tmp_path: Path) -> None:
    """decord fails near damage now and then: data check called a good last frame unreadable."""
    asked: list[DecoderName] = []

    def read(backend: DecoderName, stage: DecodeStage = "decode") -> str:
        asked.append(backend)
        if backend == "decord":
            raise CorruptVideoError(tmp_path / "a.mp4", stage=stage, reason="it decodes ahead")
        return "a frame"

    assert pyav_has_last_word(read, "decord") == "a frame"
    assert asked == ["decord", "pyav"]
    with pytest.raises(CorruptVideoError):
        pyav_has_last_word(partial(read, stage="probe"), "decord")
    assert asked == ["decord", "pyav", "decord"], "what only another can open is a problem"


def test_data_check_looks_inside_spans(dataset: CaptionFile, tmp_path: Path) -> None:
    """First and last frame are fine: only decoding inside the spans shows what is broken."""
    command = ["data", "check", "captions", "--annotations", str(dataset.train_file), "--videos", str(tmp_path)]
    result = CliRunner().invoke(app, command)
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "20 spans of 2 videos: 0 problems")
    found = json.loads(CliRunner().invoke(app, [*command, "--decode", "10", "--json"]).stdout)
    assert {problem["kind"] for problem in found["problems"]} == {"unreadable"}
    lines = {int(problem["what"].partition("captions.csv:")[2].partition(":")[0]) for problem in found["problems"]}
    assert lines <= {4, 5, 6, 7, 8, 9}  # the header is line 1
    assert len(lines) >= 2
    few = json.loads(CliRunner().invoke(app, [*command, "--decode", "2", "--json"]).stdout)
    assert len(few["problems"]) < len(found["problems"])
    assert np.all([problem in found["problems"] for problem in few["problems"]])
