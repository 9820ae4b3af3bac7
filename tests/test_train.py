"""Training end to end on the toy kitchen: it learns, resumes exactly, averages, and exports what it scored."""

import math
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from vlrlt.embed import load_embedder
from vlrlt.models.checkpoint import load_checkpoint
from vlrlt.train.cli import main

CONFIGS = sorted((Path(__file__).parent.parent / "configs").rglob("*.yaml"))
QUIET = (
    "ignore:.*does not have many workers.*",
    "ignore:.*LeafSpec.*:FutureWarning",
    "ignore:.*`torch.jit.*:DeprecationWarning",
    "ignore:You're using the WeightAveraging callback",
    "ignore:Checkpoint directory .* exists and is not empty",
)


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
        text_BD = embedder.embed_text(["open fridge", "close fridge"])
        assert not np.allclose(text_BD[0], text_BD[1])


@pytest.mark.filterwarnings(*QUIET)
@pytest.mark.parametrize("stop", ["inside an epoch", "at its end"])
def test_a_resumed_run_equals_a_straight_one(toy_data: Path, tmp_path: Path, stop: str) -> None:
    """With drop path (random numbers), an average of the weights, and a schedule."""
    config = tiny_config(toy_data, tmp_path)
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


DDP = """
import sys, warnings
warnings.simplefilter("ignore")
from vlrlt.train.cli import main
if __name__ == "__main__":
    main(["fit", "-c", sys.argv[1], "--trainer.devices", sys.argv[2], "--trainer.strategy", sys.argv[3],
          "--model.export_dir", sys.argv[4]])
"""


def test_two_processes_equal_one(toy_data: Path, tmp_path: Path) -> None:
    """Gloo, gathered negatives: together the two see the batch that one would."""
    config = tiny_config(toy_data, tmp_path, text={"vocab_size": 60, "width": 16, "embed_dim": 128, "depth": 1})
    config["model"]["video"]["drop_path"] = 0.0
    config["model"]["loss"] = {"class_path": "vlrlt.losses.SymmetricMultiSimilarity"}
    config["trainer"] |= {"max_epochs": 1, "logger": False, "limit_val_batches": 0}
    config["data"]["num_batches"] = 3
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "run.py").write_text(DDP)
    for devices, strategy, out in (("1", "auto", "one"), ("2", "ddp", "two")):
        command = [sys.executable, str(tmp_path / "run.py"), str(tmp_path / "recipe.yaml"), devices, strategy]
        run = subprocess.run([*command, str(tmp_path / out)], capture_output=True, text=True, check=False, timeout=600)
        assert run.returncode == 0, run.stderr[-3000:]
    one, two = weights(tmp_path / "one" / "last"), weights(tmp_path / "two" / "last")
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=0.01, atol=2e-3)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_config_parses_and_names_its_command(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = path.read_text()
    assert f"vlrlt train fit -c configs/{path.parent.name}/{path.name}" in text
    with pytest.raises(SystemExit) as stop:
        main(["fit", "-c", str(path), "--print_config"])
    assert stop.value.code == 0
    assert "export_dir" in capsys.readouterr().out
