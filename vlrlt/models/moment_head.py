"""A moment head: from the scores around a run, where the moment begins and ends, and how likely it is one at all.

A model's runs are as long as its clips or the gaps between its looks, so their borders are coarse, and a cosine is no
probability. A moment head has learnt both from the narrations of a library (`vlrlt calibrate`). It sees numbers about
the scores around the run, never a vector, so it is small, and it does not depend on what is shown.

    points in time around the run     .  .  .  .  .  |  .  .  .  .  .        NUM_POINTS, spacing_s apart
    scores and likeness there        -1 -1  0  1  2  3  2  2  0 -1 -1        NUM_FEATURES numbers a point
    three convolutions                W channels a point
    where it begins: a softmax over the points, and the mean time under it; where it ends: another one
    whether it is one: two layers over the means of the middle and of all points

Shape legend: B runs, F features, G points in time, W and V channels, H hidden.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from vlrlt.atomic import replacing
from vlrlt.errors import CheckpointError
from vlrlt.types import Float32Array, Float64Array

NUM_POINTS = 33
NUM_FEATURES = 14
KERNEL = 5
DILATIONS = (1, 2, 2)
MIDDLE = 2
"""So many points on either side of the run's own are its middle."""
HIDDEN = 32
_OUTSIDE = -1e9


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What a head says of some runs."""

    start_s_B: Float64Array
    """From the middle of the run, negative before it."""
    end_s_B: Float64Array
    probability_B: Float64Array
    """That the run shows what is searched for."""


@dataclass(frozen=True, kw_only=True)
class MomentHead:
    """The weights, in NumPy: a search needs no torch."""

    spacing_s: float
    sampling: str
    """How the videos were looked at whose runs it has learnt from."""
    weights: Mapping[str, Float32Array]
    """conv0 to conv2 (W, F or W, KERNEL), ends (2, W), hidden (HIDDEN, 2 W), out (1, HIDDEN), each with its bias."""

    @cached_property
    def times_s_G(self) -> Float64Array:
        """The points, from the middle of a run."""
        return times_s(self.spacing_s)

    def judge(self, features_BFG: Float32Array) -> Judged:
        """Starts, ends and probabilities of runs."""
        inside_BG = features_BFG[:, -1] > 0
        x_BWG = features_BFG
        for number, dilation in enumerate(DILATIONS):
            x_BWG = _silu(self._convolved(x_BWG, f"conv{number}", dilation))
        ends_B2G = np.einsum("ew,bwg->beg", self.weights["ends.weight"], x_BWG)
        ends_B2G = ends_B2G + self.weights["ends.bias"][:, None]
        ends_B2G = np.where(inside_BG[:, None], ends_B2G, _OUTSIDE)
        share_B2G = np.exp(ends_B2G - ends_B2G.max(axis=-1, keepdims=True))
        ends_s_B2 = share_B2G @ self.times_s_G / share_B2G.sum(axis=-1)
        middle = slice(NUM_POINTS // 2 - MIDDLE, NUM_POINTS // 2 + MIDDLE + 1)
        pooled_B2W = np.concatenate([x_BWG[:, :, middle].mean(-1), x_BWG.mean(-1)], axis=1)
        hidden_BH = _silu(pooled_B2W @ self.weights["hidden.weight"].T + self.weights["hidden.bias"])
        logit_B = (hidden_BH @ self.weights["out.weight"].T + self.weights["out.bias"])[:, 0]
        return Judged(
            start_s_B=ends_s_B2[:, 0], end_s_B=ends_s_B2[:, 1], probability_B=1 / (1 + np.exp(-np.float64(logit_B)))
        )

    def _convolved(self, x_BWG: Float32Array, name: str, dilation: int) -> Float32Array:
        weight_VWK, reach = self.weights[f"{name}.weight"], dilation * (KERNEL // 2)
        padded = np.pad(x_BWG, ((0, 0), (0, 0), (reach, reach)))
        num = x_BWG.shape[-1]
        shifted = [padded[:, :, step * dilation : step * dilation + num] for step in range(KERNEL)]
        summed = sum(np.einsum("vw,bwg->bvg", weight_VWK[:, :, step], part) for step, part in enumerate(shifted))
        return np.asarray(summed + self.weights[f"{name}.bias"][:, None], np.float32)

    def save(self, path: Path) -> None:
        """Write it as safetensors.

        Raises:
            OSError: the file cannot be written.
        """
        from safetensors.numpy import save_file

        with replacing(path) as unfinished:
            facts = {"spacing_s": json.dumps(self.spacing_s), "sampling": self.sampling}
            save_file(dict(self.weights), unfinished, facts)

    @classmethod
    def load(cls, path: Path) -> "MomentHead":
        """Read it.

        Raises:
            CheckpointError: the file is damaged or not that of a moment head.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as file:
                facts = file.metadata() or {}
                spacing_s, sampling = float(json.loads(facts["spacing_s"])), facts["sampling"]
                weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no mapping
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path} is not a moment head: {error}; repeat vlrlt calibrate") from error
        shapes = {name: array.shape for name, array in weights.items()}
        if spacing_s <= 0 or not np.isfinite(spacing_s) or shapes != _shapes(len(weights.get("conv0.bias", ()))):
            raise CheckpointError(f"{path} is not a moment head of this vlrlt; repeat vlrlt calibrate")
        if not all(np.isfinite(array).all() for array in weights.values()):
            raise CheckpointError(f"{path} holds numbers that are not finite; repeat vlrlt calibrate")
        return cls(spacing_s=spacing_s, sampling=sampling, weights=weights)


def times_s(spacing_s: float) -> Float64Array:
    """The points around a run's middle, (G,)."""
    return np.asarray(spacing_s * (np.arange(NUM_POINTS) - NUM_POINTS // 2), np.float64)


def _silu(x: Float32Array) -> Float32Array:
    return np.asarray(x / (1 + np.exp(-x)), np.float32)


def _shapes(width: int) -> dict[str, tuple[int, ...]]:
    inputs = (NUM_FEATURES, *[width] * (len(DILATIONS) - 1))
    shapes: dict[str, tuple[int, ...]] = {}
    for number, inner in enumerate(inputs):
        shapes |= {f"conv{number}.weight": (width, inner, KERNEL), f"conv{number}.bias": (width,)}
    shapes |= {"ends.weight": (2, width), "ends.bias": (2,)}
    shapes |= {"hidden.weight": (HIDDEN, 2 * width), "hidden.bias": (HIDDEN,)}
    return shapes | {"out.weight": (1, HIDDEN), "out.bias": (1,)}
