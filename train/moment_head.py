"""Fitting a moment head: starts, ends and probabilities learnt from examples around runs.

The network is that of models/moment_head.py in torch. The loss is 1 - IoU of the moments plus a small distance of their
ends, over the examples that are right, and the binary cross-entropy of all.

Shape legend: N examples, B of a batch, F features, G points in time, W channels.
"""

from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from vlrlt.models.moment_head import DILATIONS, HIDDEN, KERNEL, MIDDLE, MomentHead
from vlrlt.types import BoolArray, Float32Array

WIDTH = 16
EPOCHS, LEAST_STEPS = 12, 500
"""More epochs where there are few examples."""
BATCH = 128
LEARNING_RATE = 4e-3
WEIGHT_DECAY = 0.05
DROPOUT = 0.3
NOISE = 0.05
"""Standard deviation of what is added to the features, which are of order 1."""
DISTANCE_WEIGHT = 0.2


class HeadModule(nn.Module):
    """The network of MomentHead.

    Args:
        num_features: F.
        num_points: G.
        spacing_s: seconds between points.
    """

    def __init__(self, *, num_features: int, num_points: int, spacing_s: float) -> None:
        super().__init__()
        inputs = (num_features, *[WIDTH] * (len(DILATIONS) - 1))
        for number, (inner, dilation) in enumerate(zip(inputs, DILATIONS, strict=True)):
            padding = dilation * (KERNEL // 2)
            self.add_module(f"conv{number}", nn.Conv1d(inner, WIDTH, KERNEL, padding=padding, dilation=dilation))
        self.ends = nn.Linear(WIDTH, 2)
        self.hidden = nn.Linear(2 * WIDTH, HIDDEN)
        self.out = nn.Linear(HIDDEN, 1)
        self._dropout = nn.Dropout(DROPOUT)
        self._middle = slice(num_points // 2 - MIDDLE, num_points // 2 + MIDDLE + 1)
        self.register_buffer(
            "times_s_G", spacing_s * (torch.arange(num_points) - num_points // 2).float(), persistent=False
        )

    def forward(self, features_BFG: Tensor) -> tuple[Tensor, Tensor]:
        """Start and end from the middle of the run (B, 2), and the logit that it is right (B,)."""
        inside_BG = features_BFG[:, -1] > 0
        x_BWG = features_BFG
        for number in range(len(DILATIONS)):
            x_BWG = self._dropout(functional.silu(self.get_submodule(f"conv{number}")(x_BWG)))
        ends_B2G = self.ends(x_BWG.transpose(1, 2)).transpose(1, 2)
        ends_B2G = ends_B2G.masked_fill(~inside_BG[:, None], -1e9)
        ends_s_B2 = ends_B2G.softmax(dim=-1) @ cast("Tensor", self.times_s_G)
        pooled_B2W = torch.cat([x_BWG[:, :, self._middle].mean(-1), x_BWG.mean(-1)], dim=1)
        return ends_s_B2, self.out(self._dropout(functional.silu(self.hidden(pooled_B2W))))[:, 0]

    def frozen(self, *, spacing_s: float, sampling: str) -> MomentHead:
        """The weights as they stand."""
        weights = {name: tensor.detach().numpy().astype(np.float32) for name, tensor in self.state_dict().items()}
        return MomentHead(spacing_s=spacing_s, sampling=sampling, weights=weights)


def fit_moment_head(
    features_NFG: Float32Array,
    spans_s_N2: Float32Array,
    is_right_N: BoolArray,
    *,
    spacing_s: float,
    sampling: str,
    seed: int = 0,
) -> MomentHead:
    """Learn from examples; a minute for 20,000 of them on one core.

    Args:
        features_NFG: what is shown around each run.
        spans_s_N2: where the true moment begins and ends, from the middle of the points; of right examples only.
        is_right_N: whether the run shows what was searched for.
        spacing_s: seconds between points.
        sampling: how the videos were looked at.
        seed: of the first weights, the order and the noise.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = HeadModule(num_features=features_NFG.shape[1], num_points=features_NFG.shape[2], spacing_s=spacing_s)
        features, spans, right = map(torch.from_numpy, (features_NFG, spans_s_N2, is_right_N))
        batches = -(-len(features) // BATCH)
        epochs = max(EPOCHS, -(-LEAST_STEPS // batches))
        optimizer = torch.optim.AdamW(module.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=epochs * batches)
        for _ in range(epochs):
            for chosen_B in torch.split(torch.randperm(len(features)), BATCH):
                given = features[chosen_B]
                inside = given[:, -1:] > 0
                noisy = torch.cat([given[:, :-1] + NOISE * torch.randn_like(given[:, :-1]) * inside, given[:, -1:]], 1)
                ends_s_B2, logit_B = module(noisy)
                loss = _loss(ends_s_B2, logit_B, spans[chosen_B], right[chosen_B])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
        return module.eval().frozen(spacing_s=spacing_s, sampling=sampling)


def _loss(ends_s_B2: Tensor, logit_B: Tensor, truth_s_B2: Tensor, right_B: Tensor) -> Tensor:
    shared = torch.minimum(ends_s_B2[:, 1], truth_s_B2[:, 1]) - torch.maximum(ends_s_B2[:, 0], truth_s_B2[:, 0])
    hull = torch.maximum(ends_s_B2[:, 1], truth_s_B2[:, 1]) - torch.minimum(ends_s_B2[:, 0], truth_s_B2[:, 0])
    away = DISTANCE_WEIGHT * (ends_s_B2 - truth_s_B2).abs().sum(dim=1)
    placed_B = 1 - shared.clamp(min=0) / hull.clamp(min=1e-3) + away
    placed = (placed_B * right_B).sum() / right_B.sum().clamp(min=1)
    return placed + functional.binary_cross_entropy_with_logits(logit_B, right_B.float())
