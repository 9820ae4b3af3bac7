"""Training end to end on the toy kitchen: it learns, resumes exactly, averages, and exports what it scored."""

import csv
import json
import math
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar

import lightning as L  # noqa: N812 - the name its own documentation uses
import numpy as np
import open_clip
import pytest
import torch
import yaml
from towers import INFERENCE, TINY_CLIP, add_tiny_clip

from vlrlt.datasets.epic import EpicData
from vlrlt.embed import load_embedder
from vlrlt.models.checkpoint import load_checkpoint, save_checkpoint
from vlrlt.models.config import OpenClipTextConfig, VideoEncoderConfig
from vlrlt.models.dual_encoder import DualEncoder
from vlrlt.models.open_clip import build_open_clip_text
from vlrlt.models.video_encoder import VideoEncoder
from vlrlt.train.cli import main
from vlrlt.video.transforms import Preprocess

CONFIGS = sorted((Path(__file__).parent.parent / "configs").rglob("*.yaml"))
QUIET = (
    "ignore:.*does not have many workers.*",
    "ignore:.*LeafSpec.*:FutureWarning",
    "ignore:.*`torch.jit.*:DeprecationWarning",
    "ignore:You're using the WeightAveraging callback",
    "ignore:Checkpoint directory .* exists and is not empty",
)


@pytest.fixture(autouse=True)
def _tiny_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small architecture that open_clip knows during these tests only."""
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", dict(open_clip.factory._MODEL_CONFIGS))
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIG_PATHS", list(open_clip.factory._MODEL_CONFIG_PATHS))
    add_tiny_clip()


def tiny_config(toy_data: Path, tmp_path: Path, **model: Any) -> dict[str, Any]:
    """The toy recipe, for seconds instead of an hour."""
    config = yaml.safe_load((CONFIGS[0].parent / "toy.yaml").read_text())
    config["trainer"] |= {
        "max_epochs": 2,
        "logger": {"class_path": "lightning.pytorch.loggers.CSVLogger",
                   "init_args": {"save_dir": str(tmp_path / "logs"), "name": None}},
        "callbacks": [], "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False,
        "log_every_n_steps": 1,
    }  # fmt: skip
    config["model"]["video"] |= {"image_size_px": 32, "patch_size_px": 8, "num_frames": 4, "width": 32, "depth": 2}
    config["model"]["preprocess"]["image_size_px"] = 32
    config["model"]["sampling"]["num_frames"] = 4
    config["model"] |= {"export_dir": str(tmp_path / "export"), "optimization": {"learning_rate": 3e-3}} | model
    config["data"]["dataset"]["init_args"]["data_dir"] = str(toy_data)
    config["data"] |= {"cache_dir": str(tmp_path / "cache"), "batch_size": 16, "num_batches": 4, "num_workers": 0}
    return dict(config)


def fit(config: dict[str, Any], tmp_path: Path, *options: str) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(config))
    main(["fit", "-c", str(file), *options])


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in load_checkpoint(folder).state_dict().items()}


def assert_equal_weights(a: Path, b: Path) -> None:
    ours, theirs = weights(a), weights(b)
    assert ours.keys() == theirs.keys()
    different = [name for name in ours if not torch.equal(ours[name], theirs[name])]
    assert different == []


@pytest.mark.filterwarnings(*QUIET)
def test_fit_learns_logs_and_exports_the_best_and_the_last_model(toy_data: Path, tmp_path: Path) -> None:
    config = tiny_config(toy_data, tmp_path)
    config["trainer"]["max_epochs"] = 6
    fit(config, tmp_path)
    metrics = np.genfromtxt(
        next((tmp_path / "logs").rglob("metrics.csv")), delimiter=",", names=True, deletechars="", dtype=None
    )

    def logged(name: str) -> list[float]:
        return [float(row[name]) for row in metrics if not math.isnan(float(row[name]))]

    losses = logged("train/loss")
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.1
    assert max(logged("val/mAP")) > 0
    assert all(0 < kept <= 1 for kept in logged("train/kept"))
    assert all(speed > 0 for speed in logged("train/clips_per_s"))
    assert all(0 <= share <= 1 for share in logged("train/wait_share"))
    for name in ("best", "last"):
        embedder = load_embedder(str(tmp_path / "export" / name), device="cpu")
        assert asdict(embedder.sampling) == {"clip_s": 2.0, "stride_s": 1.0, "num_frames": 4}
        clips = np.random.default_rng(0).integers(0, 256, (2, 4, 32, 32, 3), np.uint8)
        assert np.linalg.norm(embedder.embed_clips(clips).vectors_BD, axis=1) == pytest.approx(1.0, abs=1e-5)
        text_BD = embedder.embed_texts(["open fridge", "close fridge"])
        assert not np.allclose(text_BD[0], text_BD[1])
        captions = {span.caption for span in EpicData(toy_data).spans("train")}
        assert embedder.captions == tuple(sorted(captions))  # search says which words it has never seen


@pytest.mark.filterwarnings(*QUIET)
@pytest.mark.parametrize("stop", ["inside an epoch", "at its end"])
def test_a_resumed_run_equals_a_straight_one(toy_data: Path, tmp_path: Path, stop: str) -> None:
    """With drop path (random numbers), an average of the weights, and a schedule; inside an epoch, with a worker."""
    config = tiny_config(toy_data, tmp_path)
    if stop == "inside an epoch":
        config["trainer"]["limit_val_batches"] = 0
        config["data"]["num_workers"] = 1  # it is batches ahead of the step at which the run is saved
    config["model"]["video"]["drop_path"] = 0.3
    config["trainer"]["enable_checkpointing"] = True
    every = 6 if stop == "inside an epoch" else 4
    config["trainer"]["callbacks"] = [
        {"class_path": "vlrlt.train.callbacks.Ema", "init_args": {"decay": 0.5}},
        {
            "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
            "init_args": {"dirpath": str(tmp_path / "ckpt"), "every_n_train_steps": every, "save_top_k": -1},
        },
    ]
    fit(config, tmp_path)
    (checkpoint,) = (path for path in (tmp_path / "ckpt").iterdir() if f"step={every}" in path.name)
    resumed = config | {"model": config["model"] | {"export_dir": str(tmp_path / "resumed")}}
    torch.manual_seed(12345)
    fit(resumed, tmp_path, "--ckpt_path", str(checkpoint), "--weights_only", "true")  # no pickle
    assert_equal_weights(tmp_path / "export" / "last", tmp_path / "resumed" / "last")


class OwnAverage(L.Callback):
    """The same average, step by step, in this file's own words."""

    weights: ClassVar[dict[str, torch.Tensor]] = {}

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: object) -> None:
        for name, tensor in pl_module.model.state_dict().items():  # type: ignore[union-attr]
            average = self.weights.get(name, tensor)
            self.weights[name] = 0.6 * average + 0.4 * tensor if trainer.global_step > 1 else tensor.clone()


@pytest.mark.filterwarnings(*QUIET)
def test_the_average_is_what_is_validated_and_exported(toy_data: Path, tmp_path: Path) -> None:
    config = tiny_config(toy_data, tmp_path)
    config["trainer"] |= {"max_epochs": 1}
    config["trainer"]["callbacks"] = [
        {"class_path": "test_train.OwnAverage"},
        {"class_path": "vlrlt.train.callbacks.Ema", "init_args": {"decay": 0.6}},
    ]
    fit(config, tmp_path)
    best, last = weights(tmp_path / "export" / "best"), weights(tmp_path / "export" / "last")
    for name, tensor in OwnAverage.weights.items():
        torch.testing.assert_close(best[name], tensor.float(), rtol=2e-3, atol=2e-4)  # exported as float16
        assert torch.equal(best[name], last[name])


@pytest.mark.filterwarnings(*QUIET)
def test_accumulated_and_cached_batches_run_in_bf16_with_clipping(toy_data: Path, tmp_path: Path) -> None:
    config = tiny_config(toy_data, tmp_path, chunk_tokens=60, loss_chunk_rows=4, checkpoint_blocks=True)
    config["trainer"] |= {"accumulate_grad_batches": 2, "precision": "bf16-mixed", "gradient_clip_val": 0.1}
    fit(config, tmp_path)
    assert all(tensor.isfinite().all() for tensor in weights(tmp_path / "export" / "last").values())


@pytest.mark.filterwarnings(*QUIET)
def test_a_cached_batch_gives_the_same_model(toy_data: Path, tmp_path: Path) -> None:
    fit(tiny_config(toy_data, tmp_path, export_dir=str(tmp_path / "whole")), tmp_path)
    fit(tiny_config(toy_data, tmp_path, export_dir=str(tmp_path / "cached"), chunk_tokens=70), tmp_path)
    whole, cached = weights(tmp_path / "whole" / "last"), weights(tmp_path / "cached" / "last")
    for name, tensor in whole.items():
        torch.testing.assert_close(cached[name], tensor, rtol=0.02, atol=0.01)


# recipes


def toy_as(kind: str, toy_data: Path, tmp_path: Path) -> dict[str, str]:
    """The toy kitchen in a dataset's official files: what its class takes."""
    narrations = EpicData(toy_data).narrations("train")
    videos = {clip.video_id: EpicData(toy_data).video_path(clip.video_id) for clip in narrations}
    if kind == "EpicData":
        return {"data_dir": str(toy_data)}
    if kind == "EgoClip":
        lines = ["video_uid\tclip_start\tclip_end\tclip_text\ttag_verb\ttag_noun"]
        lines += [
            f"{clip.video_id}\t{clip.start_s}\t{clip.stop_s}\t#C C {clip.narration}\t[{clip.verb_class}]\t"
            f"{list(clip.all_noun_classes)}"
            for clip in narrations
        ]
        (tmp_path / "egoclip.csv").write_text("\n".join(lines) + "\n")
        return {"list_file": str(tmp_path / "egoclip.csv"), "videos_dir": str(toy_data / "videos")}
    names = sorted({clip.narration for clip in narrations})
    if kind == "CharadesEgo":
        classes = [f"c{number:03d} {name}" for number, name in enumerate(names)]
        (tmp_path / "Charades_v1_classes.txt").write_text("\n".join(classes) + "\n")
        done = {
            video_id: ";".join(
                f"c{names.index(clip.narration):03d} {clip.start_s} {clip.stop_s}"
                for clip in narrations
                if clip.video_id == video_id
            )
            for video_id in videos
        }
        lines = ["id,actions,length", *(f"{video_id},{actions},60" for video_id, actions in done.items())]
        (tmp_path / "CharadesEgo_v1_train_only1st.csv").write_text("\n".join(lines) + "\n")
        return {"annotations_dir": str(tmp_path), "videos_dir": str(toy_data / "videos")}
    clips = [f"{video_id}-R01-X-{place}" for video_id in videos for place in range(12)]
    (tmp_path / "clips").mkdir()
    for clip in clips:
        (tmp_path / "clips" / f"{clip}.mp4").symlink_to(videos[clip.partition("-")[0]])
    (tmp_path / "action_idx.txt").write_text("Open fridge 1\nClose fridge 2\n")
    lines = [f"{clip} {1 + place % 2} 1 1" for place, clip in enumerate(clips)]
    (tmp_path / "train_split1.txt").write_text("\n".join(lines) + "\n")
    return {"annotations_dir": str(tmp_path), "videos_dir": str(tmp_path / "clips")}


IMAGE = {"regime": "run_overlap", "num_frames": 1, "tubelet_size": 1, "pooling": "cls", "drop_path": 0.0,
         "temporal_embedding": False, "run_length_embedding": False, "step_outputs": False}  # fmt: skip


def save_clip(video: VideoEncoderConfig, preprocess: Preprocess, folder: Path) -> None:
    """An image tower with the text tower of an open_clip architecture, as the recipes for GPUs start from."""
    torch.manual_seed(0)
    text = build_open_clip_text(OpenClipTextConfig(architecture=TINY_CLIP, embed_dim=video.embed_dim))
    tower = VideoEncoder(video, mean=preprocess.mean, std=preprocess.std)
    save_checkpoint(DualEncoder(video=tower, text=text, inference=replace(INFERENCE, preprocess=preprocess)), folder)


def shrink(recipe: dict[str, Any], toy_data: Path, tmp_path: Path) -> dict[str, Any]:
    """A recipe for a tower of two thin layers on the toy kitchen; all else stays as it is written."""
    patch_size_px = recipe["model"]["video"]["patch_size_px"]
    small = {"image_size_px": 2 * patch_size_px, "width": 16, "depth": 2, "num_heads": 2, "embed_dim": 8}
    recipe["model"]["video"] |= small
    recipe["model"]["preprocess"]["image_size_px"] = 2 * patch_size_px
    dataset = recipe["data"]["dataset"]
    dataset["init_args"] = toy_as(dataset["class_path"].rpartition(".")[2], toy_data, tmp_path)
    recipe["data"] |= {"batch_size": 4, "num_batches": 2, "short_side_px": 2 * patch_size_px, "num_workers": 0}
    recipe["data"].pop("cache_dir", None)
    recipe["model"]["export_dir"] = str(tmp_path / "export")
    if recipe["model"].get("init_from"):  # of an image model: weights are fitted as those of CLIP would be
        preprocess = Preprocess.from_json(recipe["model"]["preprocess"])
        save_clip(VideoEncoderConfig(**recipe["model"]["video"] | IMAGE), preprocess, tmp_path / "start")
        recipe["model"]["init_from"] = str(tmp_path / "start")
    if "text" in recipe["model"]:
        recipe["model"]["text"] |= {
            "vocab_size": 60,
            "context_length": 8,
            "width": 16,
            "depth": 1,
            "num_heads": 2,
            "embed_dim": 8,
        }
    if "chunk_tokens" in recipe["model"]:
        recipe["model"]["chunk_tokens"] = 100
    trainer = recipe["trainer"]
    trainer |= {"accelerator": "cpu", "max_epochs": 1, "limit_train_batches": 2, "check_val_every_n_epoch": 1}
    trainer |= {"log_every_n_steps": 1, "enable_progress_bar": False, "enable_model_summary": False}
    for part in ("logger", "callbacks"):
        trainer[part] = trainer[part] if isinstance(trainer[part], list) else [trainer[part]]
    trainer["logger"] = [logger for logger in trainer["logger"] if logger["class_path"].endswith("CSVLogger")]
    for item in (*trainer["logger"], *trainer["callbacks"]):
        for name in {"save_dir", "dirpath"} & item.get("init_args", {}).keys():
            item["init_args"][name] = str(tmp_path / name)
    return recipe


@pytest.mark.filterwarnings(*QUIET)
def test_egoclip_with_the_objective_of_egovlp(toy_data: Path, tmp_path: Path) -> None:
    """The options that the recipe's header names."""
    (path,) = (path for path in CONFIGS if path.name == "egoclip_vitb16.yaml")
    header = path.read_text().partition("seed_everything")[0]
    line = next(line for line in header.splitlines() if "EgoNCE" in line)
    options = line.removeprefix("#").split("(")[0].split()
    assert options[0] == "--model.loss"
    fit(shrink(yaml.safe_load(path.read_text()), toy_data, tmp_path), tmp_path, *options)
    with next((tmp_path / "save_dir").rglob("metrics.csv")).open() as file:
        losses = [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]
    assert np.isfinite(losses).all()
    saved = yaml.safe_load(next((tmp_path / "save_dir").rglob("config.yaml")).read_text())
    assert saved["model"]["loss"]["class_path"] == "vlrlt.losses.EgoNCE"
    assert saved["data"]["dataset"]["init_args"]["actions"] == "tags"
    assert saved["data"]["batches"] == "scenes"


TWO_PROCESSES = """
import sys, warnings
warnings.simplefilter("ignore")
import towers
from vlrlt.train.cli import main
towers.add_tiny_clip()
for recipe in sys.argv[1:]:
    main(["fit", "-c", recipe, "--trainer.devices", "2", "--trainer.strategy", "ddp"])
"""


@pytest.mark.filterwarnings(*QUIET)
def test_two_processes_equal_one_with_the_towers_of_every_recipe(toy_data: Path, tmp_path: Path) -> None:
    """Gloo. All recipes in one run of two processes, because importing takes longer than training."""
    recipes: dict[str, dict[str, Any]] = {}
    for path in CONFIGS:
        (folder := tmp_path / path.stem).mkdir()
        recipe = shrink(yaml.safe_load(path.read_text()), toy_data, folder)
        recipe["trainer"]["precision"] = "32-true"
        recipe["model"]["video"]["drop_path"] = 0.0  # each process has random numbers of its own
        recipes[path.stem] = recipe
        fit(recipe, folder)
        with next((folder / "save_dir").rglob("metrics.csv")).open() as file:
            num_steps = sum(bool(row["train/loss"]) for row in csv.DictReader(file))
        assert num_steps == 2  # the second step waits for the gradients of the first
    for name, recipe in recipes.items():
        two = json.loads(json.dumps(recipe).replace(str(tmp_path / name / "export"), str(tmp_path / name / "two")))
        (tmp_path / name / "two.yaml").write_text(yaml.safe_dump(two))
    (tmp_path / "run.py").write_text(TWO_PROCESSES)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "run.py"]
    command += [str(tmp_path / name / "two.yaml") for name in recipes]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=900, cwd=tmp_path, env=environment
    )
    assert run.returncode == 0, run.stderr[-3000:]
    for name in recipes:
        one, two_ = weights(tmp_path / name / "export" / "last"), weights(tmp_path / name / "two" / "last")
        for key, tensor in one.items():
            torch.testing.assert_close(two_[key], tensor, rtol=0.01, atol=2e-3, msg=f"{name}: {key}")


@pytest.mark.filterwarnings(*QUIET)
@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_recipe_trains_logs_and_exports(
    path: Path, toy_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two steps of the recipe itself, thin; and its learning rates, after Lightning has set the optimizer up."""
    header = path.read_text().partition("seed_everything")[0]
    assert f"vlrlt train fit -c configs/{path.parent.name}/{path.name}" in header
    if path.name.startswith("toy"):
        assert "minutes on 2 cores" in header
    else:
        assert all(f"# {word}" in header for word in ("Hardware:", "Expected"))
        assert "Time:" in header
    recipe = shrink(yaml.safe_load(path.read_text()), toy_data, tmp_path)
    fit(recipe, tmp_path)
    with next((tmp_path / "save_dir").rglob("metrics.csv")).open() as file:
        rows = list(csv.DictReader(file))
    logged = {name: [float(row[name]) for row in rows if row[name]] for name in rows[0]}
    assert np.isfinite(logged["train/loss"]).all()
    assert 0 <= logged["val/mAP"][-1] <= 1
    rates = {round(values[0], 12) for name, values in logged.items() if name.startswith("lr-")}
    if rates:  # the recipes with a LearningRateMonitor; depth 0 to 3 of a tower of two blocks
        decay = recipe["model"]["optimization"]["layer_decay"]
        assert sorted(rate / max(rates) for rate in rates) == pytest.approx(sorted({decay**k for k in range(4)}))
    for name in ("best", "last"):
        assert load_checkpoint(tmp_path / "export" / name).video_config.num_frames > 1
    assert (tmp_path / "dirpath" / "last.ckpt").exists()
    with pytest.raises(SystemExit) as stop:
        main(["fit", "-c", str(path), "--print_config"])
    assert stop.value.code == 0
    assert "export_dir" in capsys.readouterr().out
