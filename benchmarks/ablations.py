"""What each part of the run-length recipe is worth: one command, one table, on the toy kitchen.

    vlrlt toy make --out build/toy --videos 320 --seed 1
    python benchmarks/ablations.py --data build/toy --out runs/ablations [--steps 300] [--only length] [--json]

Every row is a training run from nothing with the same seed, steps and batches as the first; it changes one thing. Runs
that are finished are not repeated. val: participants of the training split whose kitchens were not trained on.
Time is CPU seconds of the whole run on one thread; compare it within one machine and one load only.
"""

import argparse
import contextlib
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from vlrlt.errors import ConfigError
from vlrlt.train.cli import main as train

RECIPE = Path(__file__).parent.parent / "configs" / "train" / "toy.yaml"
Changes = dict[str, dict[str, Any]]

GRID: dict[str, Changes] = {
    "recipe": {},
    "policy none (dense)": {"policy": {"kind": "none"}},
    "policy threshold, previous": {"policy": {"reference": "previous"}},
    "policy random, as many tokens": {"policy": {"kind": "random", "budget_tokens": 180}},
    "policy budget, as many tokens": {"policy": {"kind": "budget", "budget_tokens": 180}},
    "threshold 2.88": {"policy": {"threshold_255": 2.88}},
    "threshold 5.76": {"policy": {"threshold_255": 5.76}},
    "threshold 20": {"policy": {"threshold_255": 20.0}},
    "no run-length embedding": {"video": {"run_length_embedding": False}},
    "log length in attention": {"video": {"log_run_length": True}},
    "log length, no embedding": {"video": {"run_length_embedding": False, "log_run_length": True}},
    "mean pooling": {"video": {"pooling": "mean"}},
}


def recipe(changes: Changes, *, arguments: argparse.Namespace, seed: int, folder: Path) -> dict[str, Any]:
    """The toy recipe with one change."""
    config: dict[str, Any] = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    config["seed_everything"] = seed
    config["trainer"] |= {
        "max_epochs": 1,
        "callbacks": [],
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "log_every_n_steps": 1,
        "logger": {
            "class_path": "lightning.pytorch.loggers.CSVLogger",
            "init_args": {"save_dir": str(folder), "name": None, "version": "logs"},
        },
    }
    for part, values in changes.items():
        changed = values if values.get("kind") == "none" else config["model"][part] | values
        if changed == config["model"][part]:
            raise ConfigError(f"a row that changes nothing: {part} has {values} in {RECIPE.name} already")
        config["model"][part] = changed
    if config["model"]["policy"].get("kind") in ("random", "budget"):
        config["model"]["policy"].pop("threshold_255", None)
    config["model"]["export_dir"] = str(folder)
    config["data"]["dataset"]["init_args"]["data_dir"] = str(arguments.data)
    config["data"] |= {"cache_dir": str(arguments.out / "cache"), "num_batches": arguments.steps, "num_workers": 0}
    config["data"] |= {"batch_size": arguments.batch_size, "seed": seed}
    return config


def run(name: str, changes: Changes, *, arguments: argparse.Namespace, seed: int) -> dict[str, float]:
    """Train once, or read what a finished run has left."""
    folder: Path = arguments.out / f"{''.join(c if c.isalnum() else '-' for c in name)}-{seed}"
    result = folder / "result.json"
    if not result.exists():
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "recipe.yaml"
        file.write_text(yaml.safe_dump(recipe(changes, arguments=arguments, seed=seed, folder=folder)))
        started_s = time.process_time()
        with (folder / "output.txt").open("w") as output, contextlib.redirect_stdout(output):
            train(["fit", "-c", str(file)])
        cpu_s = time.process_time() - started_s
        rows = np.genfromtxt(
            folder / "logs" / "metrics.csv", delimiter=",", names=True, deletechars="", dtype=None, encoding="utf-8"
        )
        found = {
            key: [float(row[f"{key}"]) for row in np.atleast_1d(rows) if not np.isnan(float(row[f"{key}"]))]
            for key in ("val/mAP", "val/nDCG", "train/kept")
        }
        values = {
            "mAP": found["val/mAP"][-1],
            "nDCG": found["val/nDCG"][-1],
            "kept": float(np.mean(found["train/kept"])),
            "cpu_s": cpu_s,
        }
        result.write_text(json.dumps(values))
    finished: dict[str, float] = json.loads(result.read_text())
    return finished


def main() -> None:
    """Train every row, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="a toy kitchen")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="gets one folder for each run")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=1, help="runs of each row, averaged")
    parser.add_argument("--only", default="", help="rows whose name contains this, and the first")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for name, changes in GRID.items():
        if rows and arguments.only not in name:
            continue
        runs = [run(name, changes, arguments=arguments, seed=seed) for seed in range(arguments.seeds)]
        rows.append({"name": name, **{key: float(np.mean([each[key] for each in runs])) for key in runs[0]}})
        if not arguments.json:
            row = rows[-1]
            print(
                f"{name:32} mAP {row['mAP']:.3f}  nDCG {row['nDCG']:.3f}  kept {row['kept']:.3f}  {row['cpu_s']:.0f} s"
            )
    if arguments.json:
        print(json.dumps({"steps": arguments.steps, "seeds": arguments.seeds, "rows": rows}))


if __name__ == "__main__":
    main()
