"""Predictions of a model for a benchmark, in a file that can be scored again without the model.

A .npz of plain arrays (no pickle): `score` (R, C), `rows` and `columns` their names, one array for each of `extra`, and
`about`, a JSON text.
"""

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vlrlt.errors import AnnotationError
from vlrlt.evaluate.embeddings import Cost
from vlrlt.metrics import FloatArray


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Scores of every row (clip, question) for every column (text, class, choice); higher is better."""

    benchmark: str
    model: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    score_RC: FloatArray
    cost: Cost | None = None
    """None: unknown, the scores were given."""
    extra: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()
    """Clips that could not be read, and why; their scores are 0."""

    def save(self, path: Path) -> None:
        """Write the file; its folder is made if it is absent."""
        about = {
            "benchmark": self.benchmark,
            "model": self.model,
            "cost": None if self.cost is None else self.cost.as_json(),
            "unreadable": self.unreadable,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:  # given a name, NumPy would append its own suffix
            np.savez_compressed(
                file,
                score=self.score_RC,
                rows=np.array(self.rows),
                columns=np.array(self.columns),
                about=np.array(json.dumps(about)),
                **{f"extra_{name}": array for name, array in self.extra.items()},  # type: ignore[arg-type]
            )

    @classmethod
    def load(cls, path: Path) -> "Predictions":
        """Read what save wrote.

        Raises:
            AnnotationError: the file is missing or something else.
        """
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                about = json.loads(str(arrays["about"]))
                return cls(
                    benchmark=about["benchmark"],
                    model=about["model"],
                    rows=tuple(map(str, arrays["rows"])),
                    columns=tuple(map(str, arrays["columns"])),
                    score_RC=arrays["score"],
                    cost=None if about["cost"] is None else Cost(**about["cost"]),
                    unreadable=tuple(about.get("unreadable", ())),
                    extra={name[6:]: arrays[name] for name in arrays.files if name.startswith("extra_")},
                )
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            raise AnnotationError(f"{path}: not a file that `vlrlt eval --save` has written: {error}") from error

    def check(self, *, benchmark: str, rows: Sequence[str], columns: Sequence[str]) -> None:
        """Refuse predictions that were made for other annotations.

        Raises:
            AnnotationError: benchmark, rows or columns differ, or the matrix does not have their shape.
        """
        expected = (len(rows), len(columns))
        if self.score_RC.shape != expected:
            raise AnnotationError(f"the annotations need a matrix of shape {expected}, got {self.score_RC.shape}")
        if self.benchmark != benchmark or self.rows != tuple(rows) or self.columns != tuple(columns):
            raise AnnotationError(
                f"these predictions of {self.benchmark} were not made for these annotations of {benchmark}"
            )


def read_similarity(path: Path) -> FloatArray:
    """A similarity matrix from a .npy file.

    Raises:
        AnnotationError: the file is missing, no .npy, or not a matrix of floating-point numbers.
    """
    try:
        with path.open("rb") as file:
            matrix_RC = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise AnnotationError(f"{path}: cannot be read as .npy: {error}") from error
    if not isinstance(matrix_RC, np.ndarray) or matrix_RC.ndim != 2 or matrix_RC.dtype.kind != "f":
        found = f"{matrix_RC.dtype} {matrix_RC.shape}" if isinstance(matrix_RC, np.ndarray) else "an archive"
        raise AnnotationError(f"{path}: needs a matrix of floating-point numbers, got {found}")
    wide: FloatArray = matrix_RC.astype(np.float64) if matrix_RC.dtype == np.float16 else matrix_RC
    return wide
