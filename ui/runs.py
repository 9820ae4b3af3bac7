"""Finished runs on disk: evaluations, benchmarks and trainings, as tables that can be put side by side."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

MAX_FILES = 500
MAX_BYTES = 20 * 2**20
COST = "encode_s_per_video_minute"
Kind = Literal["evaluation", "quality and cost", "training"]


@dataclass(frozen=True, kw_only=True)
class RecordedRun:
    """One file that a finished run has left."""

    name: str
    """Path below the folder."""
    kind: Kind
    metrics: Mapping[str, float]
    """Of an evaluation: name -> value."""
    points: Sequence[Mapping[str, Any]] = ()
    """Of "quality and cost": task, arm, COST and quality. Of a training: step, metric and value."""


def find_runs(folder: Path) -> tuple[RecordedRun, ...]:
    """What a folder and those below it hold: of `vlrlt eval --json`, quality_cost.py, train_cost.py, and trainings."""
    files = sorted(path for pattern in ("**/*.json", "**/*.csv") for path in folder.glob(pattern))
    found = (run for path in files[:MAX_FILES] for run in _read(path, str(path.relative_to(folder))))
    return tuple(found)


def _read(path: Path, name: str) -> Iterator[RecordedRun]:
    """Nothing of a file that is something else."""
    try:
        if path.stat().st_size > MAX_BYTES:
            return
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".csv":
            yield from _training(name, list(csv.DictReader(text.splitlines())))
        else:
            yield from _result(name, _last_json(text))
    except (OSError, ValueError, KeyError, TypeError):
        return


def _last_json(text: str) -> Any:  # noqa: ANN401  whatever it holds
    """The whole file, or its last line: --json prints one below what is for people."""
    try:
        return json.loads(text)
    except ValueError:
        return json.loads(text.strip().splitlines()[-1])


def _result(name: str, said: Any) -> Iterator[RecordedRun]:  # noqa: ANN401
    rows = said.get("rows") if isinstance(said, dict) else said
    if isinstance(said, dict) and "benchmark" in said:
        yield RecordedRun(name=name, kind="evaluation", metrics=dict(_numbers(said)))
    elif (
        isinstance(rows, list) and rows and all(isinstance(row, dict) and "arm" in row and COST in row for row in rows)
    ):
        points = [
            {
                "task": row.get("task", "toy EPIC-MIR"),
                "arm": row["arm"],
                COST: row[COST],
                "quality": row.get("quality", row.get("mAP")),
            }
            for row in rows
        ]
        yield RecordedRun(name=name, kind="quality and cost", metrics={}, points=points)


def _numbers(said: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Numbers of a report, those of nested objects with their path."""
    for key, value in said.items():
        if isinstance(value, dict):
            yield from _numbers(value, f"{prefix}{key} ")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{key}", float(value)


def _training(name: str, lines: Sequence[Mapping[str, str]]) -> Iterator[RecordedRun]:
    """A CSV of Lightning's logger: a step column, and a value here and there in the others."""
    if not lines or "step" not in lines[0]:
        return
    points: list[dict[str, Any]] = [
        {"step": int(float(line["step"])), "metric": metric, "value": float(value)}
        for line in lines
        for metric, value in line.items()
        if metric not in ("step", "epoch") and value
    ]
    if points:
        yield RecordedRun(
            name=name, kind="training", metrics={point["metric"]: point["value"] for point in points}, points=points
        )
