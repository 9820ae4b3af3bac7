"""Training: what a batch is made of, that the loss falls, that the exported folder is the trained model."""

import math
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from vlrlt.embed import load_embedder
from vlrlt.epic import EpicData, relevancy
from vlrlt.errors import ConfigError
from vlrlt.train.cli import main
from vlrlt.train.data import ActionClips, Augmentation, DistinctActions, EpicDataModule, FrameCache, action_of, collate
from vlrlt.train.module import _warmup_cosine
from vlrlt.types import ClipSpan
from vlrlt.video.decode import open_decoder
from vlrlt.video.sampling import frame_times

CONFIGS = sorted((Path(__file__).parent.parent / "configs").rglob("*.yaml"))


@pytest.fixture
def data(toy_data: Path, tmp_path: Path) -> EpicDataModule:
    return EpicDataModule(
        data_dir=toy_data, cache_dir=tmp_path / "cache", batch_size=6, num_batches=2, num_workers=0,
        num_frames=4, image_size_px=32,
    )  # fmt: skip


def clips_of(data: EpicDataModule, augmentation: Augmentation | None) -> ActionClips:
    epic = EpicData(data.data_dir)
    cache = FrameCache(data.cache_dir, short_side_px=32, backend="decord")
    return ActionClips(
        epic, epic.narrations("train"), cache=cache, num_frames=4, image_size_px=32, augmentation=augmentation
    )


def test_split_by_participant_and_never_the_test_split(data: EpicDataModule) -> None:
    data.setup("fit")
    train, val = data.train_clips.narrations, data.val_clips.narrations
    assert train
    assert val
    assert not {n.participant_id for n in train} & {n.participant_id for n in val}
    assert {n.narration_id for n in (*train, *val)} == {
        n.narration_id for n in EpicData(data.data_dir).narrations("train")
    }


def test_too_few_participants_for_a_validation_split(data: EpicDataModule) -> None:
    data.val_share = 1.0
    with pytest.raises(ConfigError, match=r"cannot be divided into training and validation; make more videos"):
        data.setup("fit")


def test_a_clip_shows_the_frames_of_its_action(data: EpicDataModule) -> None:
    """Without augmentation a clip equals decoding the action's own times and preprocessing them by hand."""
    clips = clips_of(data, None)
    sample = clips[3]
    narration = clips.narrations[3]
    assert sample.caption == narration.narration
    times_s = frame_times(ClipSpan(narration.start_s, narration.stop_s), 4)
    with open_decoder(EpicData(data.data_dir).video_path(narration)) as decoder:
        frames = [frame.rgb_HWC for frame in decoder.frames_at(times_s)]
    from PIL import Image

    for got_HWC, frame_HWC in zip(sample.rgb_THWC.numpy(), frames, strict=True):
        small_HWC = np.asarray(Image.fromarray(frame_HWC).resize((43, 32), Image.Resampling.BICUBIC))[:, 5:37]
        assert np.abs(got_HWC.astype(int) - small_HWC).mean() < 2.0  # decord and PyAV convert colours a hair apart


def test_the_cache_follows_the_file(toy_data: Path, tmp_path: Path) -> None:
    first, second, *_ = sorted((toy_data / "videos").iterdir())
    video = tmp_path / "video.mp4"
    video.write_bytes(first.read_bytes())
    before = FrameCache(tmp_path / "cache", short_side_px=32, backend="pyav").frames(video)[1]
    again = FrameCache(tmp_path / "cache", short_side_px=32, backend="pyav").frames(video)[1]
    assert np.array_equal(before, again)
    assert len(list((tmp_path / "cache").iterdir())) == 2
    video.write_bytes(second.read_bytes())
    after = FrameCache(tmp_path / "cache", short_side_px=32, backend="pyav").frames(video)[1]
    assert len(after) != len(before)


def test_augmentation_moves_time_and_crop_but_keeps_stillness(data: EpicDataModule) -> None:
    """Every frame of a clip gets the same crop and light, or run lengths would mean nothing."""
    clips = clips_of(data, Augmentation())
    torch.manual_seed(0)
    looks = [clips[0].rgb_THWC for _ in range(3)]
    assert {tuple(look.shape) for look in looks} == {(4, 32, 32, 3)}
    assert not torch.equal(looks[0], looks[1])
    from vlrlt.train.data import _random_square

    still_THWC = torch.randint(0, 256, (1, 32, 43, 3), dtype=torch.uint8).expand(4, -1, -1, -1)
    square_THWC = _random_square(still_THWC, 32, Augmentation())
    assert all(torch.equal(frame, square_THWC[0]) for frame in square_THWC)


def test_batches_hold_distinct_actions_and_all_verbs_of_a_noun(toy_data: Path) -> None:
    narrations = EpicData(toy_data).narrations("train")
    num_actions = len({action_of(n) for n in narrations})
    sampler = DistinctActions(narrations, batch_size=10**6, num_batches=3, seed=4)
    assert [len(batch) for batch in sampler] == [num_actions] * 3
    sampler = DistinctActions(narrations, batch_size=8, num_batches=5, seed=4)
    verbs_by_noun = Counter(action[1] for action in {action_of(n) for n in narrations})
    for batch in sampler:
        actions = [action_of(narrations[index]) for index in batch]
        assert len(set(actions)) == len(actions) == 8
        nouns = list(dict.fromkeys(action[1] for action in actions))
        for noun in nouns[:-1]:  # the last noun may be cut by the batch size
            assert sum(action[1] == noun for action in actions) == verbs_by_noun[noun]
    assert list(sampler) == list(DistinctActions(narrations, batch_size=8, num_batches=5, seed=4))
    first = list(sampler)
    sampler.set_epoch(1)
    assert list(sampler) != first


def test_collate_compares_what_is_narrated(data: EpicDataModule) -> None:
    clips = clips_of(data, None)
    samples = [clips[index] for index in (0, 1, 0)]
    batch = collate(samples)
    narrations = [sample.narration for sample in samples]
    assert np.array_equal(batch.relevancy_BB.numpy(), relevancy(narrations, narrations).astype(np.float32))
    assert batch.relevancy_BB[0, 2] == 1
    assert batch.to(torch.device("cpu")).rgb_BTHWC.shape == (3, 4, 32, 32, 3)


def test_learning_rate_rises_then_falls() -> None:
    factors = [_warmup_cosine(step, num_warmup=5, num_steps=50) for step in range(51)]
    assert factors[4] == 1.0
    assert factors[:5] == sorted(factors[:5])
    assert factors[5:] == sorted(factors[5:], reverse=True)
    assert factors[50] == pytest.approx(0.0)
    assert _warmup_cosine(0, num_warmup=1, num_steps=1) == 1.0


def tiny_config(toy_data: Path, tmp_path: Path) -> dict[str, Any]:
    config = yaml.safe_load((CONFIGS[0].parent / "toy.yaml").read_text())
    config["trainer"] |= {
        "max_epochs": 4, "logger": {"class_path": "lightning.pytorch.loggers.CSVLogger",
                                    "init_args": {"save_dir": str(tmp_path / "logs"), "name": None}},
        "callbacks": [], "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False,
        "log_every_n_steps": 1,
    }  # fmt: skip
    config["model"]["video"] |= {"image_size_px": 32, "patch_size_px": 8, "num_frames": 4, "width": 32, "depth": 2}
    config["model"]["preprocess"]["image_size_px"] = 32
    config["model"]["sampling"]["num_frames"] = 4
    config["model"] |= {"export_dir": str(tmp_path / "model"), "learning_rate": 3e-3}
    config["data"] |= {
        "data_dir": str(toy_data), "cache_dir": str(tmp_path / "cache"),
        "batch_size": 16, "num_batches": 8, "num_workers": 0,
    }  # fmt: skip
    return dict(config)


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*", "ignore:.*LeafSpec.*:FutureWarning")
def test_fit_learns_and_exports_the_trained_model(toy_data: Path, tmp_path: Path) -> None:
    config_file = tmp_path / "tiny.yaml"
    config_file.write_text(yaml.safe_dump(tiny_config(toy_data, tmp_path)))
    main(["fit", "-c", str(config_file)])
    metrics = np.genfromtxt(
        next((tmp_path / "logs").rglob("metrics.csv")), delimiter=",", names=True, deletechars="", dtype=None
    )
    losses = [float(row["train/loss"]) for row in metrics if not math.isnan(float(row["train/loss"]))]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.1
    assert any(float(row["val/mAP"]) > 0 for row in metrics if not math.isnan(float(row["val/mAP"])))
    embedder = load_embedder(str(tmp_path / "model"), device="cpu")
    assert asdict(embedder.sampling) == {"clip_s": 2.0, "stride_s": 1.0, "num_frames": 4}
    vectors_BD = embedder.embed_clips(np.random.default_rng(0).integers(0, 256, (2, 4, 32, 32, 3), np.uint8)).vectors_BD
    assert np.linalg.norm(vectors_BD, axis=1) == pytest.approx(1.0, abs=1e-5)
    text_BD = embedder.embed_text(["open fridge", "close fridge"])
    assert not np.allclose(text_BD[0], text_BD[1])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_config_parses_and_names_its_command(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"vlrlt train fit -c configs/{path.parent.name}/{path.name}" in path.read_text()
    with pytest.raises(SystemExit) as stop:
        main(["fit", "-c", str(path), "--print_config"])
    assert stop.value.code == 0
    assert "export_dir" in capsys.readouterr().out
