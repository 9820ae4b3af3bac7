"""Rows, tables and the picture."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from quality.archive import CAMERAS
from quality.arms import FEWER, KEYS, RANDOM, arm_name
from quality.curves import DENSE_FPS, LOSS_ALLOWED, compare, families, share_of_dense_time
from quality.tasks import Entry, Result, clip_vectors, measure_costs

mpl.use("agg")
from matplotlib import pyplot as plt

Row = dict[str, Any]
TRAINED_TASK = "toy EPIC-MIR"
_COLOURS = {FEWER: "black", RANDOM: "tab:red", KEYS: "tab:gray"}
_OTHER_COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:purple", "tab:brown", "tab:pink", "tab:cyan", "tab:olive")


def as_rows(results: Sequence[Result]) -> list[Row]:
    """One for each task, split and arm."""
    return [
        {
            "task": result.task,
            "split": result.split,
            "arm": arm,
            "kept": round(result.costs[arm].kept, 4),
            "encode_s_per_video_minute": round(result.costs[arm].encode_s_per_video_minute, 4),
            "quality": round(float(value_Q.mean()), 4),
        }
        for result in results
        for arm, value_Q in result.values_Q.items()
    ]


def trained_rows(path: Path) -> list[Row]:
    """What train_cost.py wrote with --out, in the shape of the other rows; quality is the mean mAP."""
    return [
        {
            "task": TRAINED_TASK,
            "split": "test",
            "arm": row["arm"],
            "kept": row["kept"],
            "encode_s_per_video_minute": row["encode_s_per_video_minute"],
            "quality": row["mAP"],
        }
        for row in json.loads(path.read_text(encoding="utf-8"))["rows"]
    ]


def print_rows(rows: Sequence[Row]) -> None:
    """A table for each task and split, cheapest first."""
    for task, split in dict.fromkeys((row["task"], row["split"]) for row in rows):
        print(f"\n{task}: {split}\n{'':44}{'kept':>8}{'s per video minute':>20}{'quality':>10}")
        here = [row for row in rows if (row["task"], row["split"]) == (task, split)]
        for row in sorted(here, key=lambda row: row["encode_s_per_video_minute"]):
            seconds = row["encode_s_per_video_minute"]
            print(f"{row['arm']:44}{row['kept']:8.3f}{seconds:20.3f}{row['quality']:10.3f}")


def print_closeness(entries: Sequence[Entry]) -> None:
    """How far the clip vectors of each arm are from those of dense at the finest rate: finer than any ranking."""
    for camera in CAMERAS:
        here = [entry for entry in entries if entry.camera == camera]
        if here:
            costs = measure_costs(here)
            dense = finest_dense(list(costs))
            dense_ND = np.concatenate([clip_vectors(entry, dense) for entry in here])
            print(f"\ncloseness to {dense}, {camera}\n{'':44}{'s per video minute':>20}{'1 - cosine':>12}")
            for arm, cost in sorted(costs.items(), key=lambda item: item[1].encode_s_per_video_minute):
                cosine_N = (np.concatenate([clip_vectors(entry, arm) for entry in here]) * dense_ND).sum(1)
                print(f"{arm:44}{cost.encode_s_per_video_minute:20.3f}{1 - cosine_N.mean():12.4f}")


def finest_dense(arms: Sequence[str]) -> str:
    """Of the arms that look at fewer frames, the one that looks at most."""
    return max(families(arms)[FEWER], key=lambda arm: float(arm.rpartition("@ ")[2].removesuffix(" fps")))


def print_verdicts(results: Sequence[Result], arms: Sequence[str], *, seed: int) -> None:
    """The chosen arms against every control at equal time, and the price of dense's quality."""
    print(f"\nAt equal encode time: quality minus that of the control [95 % interval], in points; target {_target()}")
    for result in results:
        for arm in arms:
            if arm in result.values_Q:
                parts = [str(one) for one in compare(result, arm, np.random.default_rng(seed))]
                num_queries = len(result.values_Q[arm])
                print(f"  {result.task}: {result.split} ({num_queries} queries), {arm}: {'; '.join(parts)}")
    print(
        f"\nAt equal quality: encode time over that of dense at {DENSE_FPS:g} frames a second, and at the finest rate"
    )
    for result in results:
        parts = []
        dense = (arm_name(FEWER, DENSE_FPS), finest_dense(list(result.values_Q)))
        for family in dict.fromkeys((*(arm.partition(" @ ")[0] for arm in arms), FEWER)):
            if family in families(list(result.values_Q)):
                shares = [share_of_dense_time(result, family, arm) for arm in dense]
                parts.append(f"{family} {' and '.join('never' if s is None else f'{s:.2f}' for s in shares)}")
        print(f"  {result.task}: {result.split}: {'; '.join(parts)}")


def draw(results: Sequence[Result], path: Path, *, default: str) -> None:
    """Quality over encode time, a panel for each task and split; a star marks the default's arm."""
    num_columns = 3
    num_rows = -(-len(results) // num_columns)
    figure, axes = plt.subplots(num_rows, num_columns, figsize=(4 * num_columns, 3 * num_rows), squeeze=False)
    names = dict.fromkeys(family for result in results for family in families(list(result.values_Q)))
    others = [family for family in names if family not in _COLOURS]
    colours = _COLOURS | dict(zip(others, _OTHER_COLOURS, strict=False))
    lines: dict[str, Any] = {}
    for axis, result in zip(axes.flat, results, strict=False):
        points = {
            arm: (cost.encode_s_per_video_minute, float(result.values_Q[arm].mean()))
            for arm, cost in result.costs.items()
        }
        for family, arms in families(list(result.values_Q)).items():
            curve = sorted(points[arm] for arm in arms)
            style = "--" if family in _COLOURS else "-"
            (lines[family],) = axis.plot(
                *zip(*curve, strict=True), style, color=colours[family], marker="o", markersize=3, label=family
            )
        if default in points:
            lines["the default"] = axis.scatter(*points[default], marker="*", s=130, color="gold", edgecolor="black")
        axis.set_xscale("log")
        axis.set_title(f"{result.task}: {result.split}", fontsize=9)
        axis.tick_params(labelsize=7)
    for axis in axes.flat[len(results) :]:
        axis.axis("off")
    figure.supxlabel("encode seconds per minute of video (one thread)")
    figure.supylabel("quality")
    figure.legend(lines.values(), lines.keys(), loc="lower center", ncols=4, fontsize=8, bbox_to_anchor=(0.5, -0.06))
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)


def _target() -> str:
    return f"to win, or to lose at most {100 * LOSS_ALLOWED:g}"
