"""The rows of train_cost.py: means over seeds, how sure they are, and the picture of the curves.

Shape legend: Q queries.
"""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from vlrlt.types import Float64Array

mpl.use("agg")
from matplotlib import pyplot as plt

Queries = tuple[Float64Array, Float64Array]
"""Average precision of every clip as a query, and of every sentence."""
RUN_LENGTHS_PLACE = 1
"""Among the arms."""
_NUM_RESAMPLES = 2000


def mean_rows(seeds: list[list[dict[str, Any]]], queries: list[list[Queries]]) -> list[dict[str, Any]]:
    """The rows of all seeds as one."""
    rows = []
    for place, of_seeds in enumerate(zip(*seeds, strict=True)):
        first = of_seeds[0]
        numbers = [name for name, value in first.items() if isinstance(value, float)]
        row = {**first, **{name: round(float(np.mean([each[name] for each in of_seeds])), 4) for name in numbers}}
        row["curve"] = np.mean([each["curve"] for each in of_seeds], axis=0).round(4).tolist()
        row["mAP_of_seeds"] = [round(each["mAP"], 4) for each in of_seeds]
        row["mAP_gain"] = gain([(of_seed[place], of_seed[RUN_LENGTHS_PLACE]) for of_seed in queries])
        rows.append(row)
    return rows


def gain(pairs: list[tuple[Queries, Queries]]) -> dict[str, float]:
    """How much an arm is above run lengths, over seeds, with its 95 % interval."""
    random = np.random.default_rng(0)
    differences = [[ours - theirs for ours, theirs in zip(*pair, strict=True)] for pair in pairs]

    def draw_seed() -> float:
        ways = differences[random.integers(len(differences))]
        return float(np.mean([np.nanmean(random.choice(way_Q, len(way_Q))) for way_Q in ways]))

    means = [np.mean([draw_seed() for _ in pairs]) for _ in range(_NUM_RESAMPLES)]
    low, high = np.percentile(means, [2.5, 97.5])
    mean = np.mean([[np.nanmean(way_Q) for way_Q in ways] for ways in differences])
    return {"mean": round(float(mean), 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Mean average precision over training time; the last point of an arm is its end."""
    figure, axis = plt.subplots(figsize=(7, 4.5))
    for row in rows:
        times_s, mean_aps = zip(*row["curve"], strict=True)
        axis.plot(times_s, mean_aps, marker="o", markersize=4, label=f"{row['arm']}: {row['mAP']:.3f}")
    axis.set_xlabel("training time (CPU seconds of one thread)")
    axis.set_ylabel("mAP, test kitchens")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)


def read_queries(file: Path) -> list[Queries]:
    """The average precisions that a seed has left, arm by arm."""
    with np.load(file, allow_pickle=False) as arrays:
        return [(arrays[f"clip_{place}"], arrays[f"sentence_{place}"]) for place in range(len(arrays.files) // 2)]
