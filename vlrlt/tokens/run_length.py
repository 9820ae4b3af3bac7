"""Which tubelets of a clip are kept, and how long each survivor lasts.

The score of a tubelet is the mean |difference| over its pixels and channels, in grey levels of 0-255, between its
last frame and the first frame of its reference (RLT, arXiv 2411.05222, section 3). A strictly larger score than the
threshold keeps it; tubelets of the first step are always kept. Everything is in one (t, h, w) order.

    one patch over 7 steps    a  a  a' b  b  c  c      (a' differs from a by less than the threshold)
    keep                      1  0  0  1  0  1  0
    run length                3  .  .  2  .  2  .

Shape legend: B clips, S steps, h x w patch grid, K pixels of a tubelet, F pixels of one frame of it.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from vlrlt.errors import ConfigError

PolicyKind = Literal["threshold", "budget", "random", "none"]
Reference = Literal["previous", "carried"]

PAPER_THRESHOLD_255 = 5.76
"""The paper's tau = 0.1 after ImageNet normalisation (mean standard deviation 0.226), as grey levels of 0-255."""

_BISECTION_STEPS = 12  # 255 / 2**12 is far below one grey level of a patch mean


@dataclass(frozen=True, kw_only=True)
class TokenPolicy:
    """How tokens are dropped before the encoder runs."""

    kind: PolicyKind = "threshold"
    """threshold: changed patches; budget: the same number for each clip, highest scores first; random: the control;
    none: dense."""
    reference: Reference = "carried"
    """previous: the step before (the paper). carried: the surviving tubelet, so slow drift is bounded."""
    threshold_255: float = PAPER_THRESHOLD_255
    """Grey levels in [0, 255]; for `threshold` only."""
    budget_tokens: int | None = None
    """Tokens per clip, for `budget` and `random`; the first step is always kept and counts. For `threshold` the most
    that are kept: a clip that changes more is looked at every second step only, or every fourth, and so on."""
    seed: int = 0
    """For `random`. Every clip has positions of its own, which follow from the seed and from what it shows."""

    def __post_init__(self) -> None:
        for field, got, allowed in (
            ("kind", self.kind, get_args(PolicyKind)),
            ("reference", self.reference, get_args(Reference)),
        ):
            if got not in allowed:
                raise ConfigError(f"{field} of a token policy must be one of {', '.join(allowed)}, got {got!r}")
        if not 0 <= self.threshold_255 <= 255:
            raise ConfigError(f"threshold_255 must be grey levels in [0, 255], got {self.threshold_255}")
        needs_budget = self.kind in ("budget", "random") or self.budget_tokens is not None
        if needs_budget and (self.budget_tokens is None or self.budget_tokens < 1):
            raise ConfigError(f"policy {self.kind!r} needs budget_tokens >= 1, got {self.budget_tokens}")
        if self.kind == "none" and self.budget_tokens is not None:
            raise ConfigError("the policy 'none' keeps every token and takes no budget_tokens; try kind 'threshold'")


DENSE = TokenPolicy(kind="none")


def keep_mask(patches_BShwK: Tensor, *, tubelet_size: int, policy: TokenPolicy) -> Tensor:
    """Decide which tubelets are kept.

    Args:
        patches_BShwK: uint8 tubelets from `patchify`.
        tubelet_size: frames of a tubelet.
        policy: what to drop.

    Returns:
        keep_BShw, bool; the first step is all True.

    Raises:
        ConfigError: the budget is smaller than one step.
    """
    first_BShwF, last_BShwF = _first_and_last_frame(patches_BShwK, tubelet_size)
    if policy.kind == "none":
        return torch.ones(patches_BShwK.shape[:-1], dtype=torch.bool, device=patches_BShwK.device)
    if policy.kind == "threshold":
        threshold_B = torch.full((len(patches_BShwK),), policy.threshold_255, device=patches_BShwK.device)
        keep_BShw = _keep_above(first_BShwF, last_BShwF, threshold_B, policy.reference)[0]
        if policy.budget_tokens is None:
            return keep_BShw
        num_budget = _num_tokens_after_first_step(patches_BShwK, policy) + keep_BShw[0, 0].numel()
        return _look_less_often(keep_BShw, first_BShwF, last_BShwF, threshold_B, num_budget, policy.reference)
    num_extra = _num_tokens_after_first_step(patches_BShwK, policy)
    if policy.kind == "random":
        return _keep_highest(_random_scores(patches_BShwK, policy.seed), num_extra)
    return _keep_budget(first_BShwF, last_BShwF, num_extra, policy.reference)


def run_lengths(keep_BShw: Tensor) -> Tensor:
    """Steps until the next kept tubelet of the same patch, or until the end of the clip.

    Returns:
        run_length_BShw, int64: >= 1 where kept, 0 where dropped. Over the steps of one patch they sum to S.
    """
    num_steps = keep_BShw.shape[1]
    run_length_BShw = torch.zeros(keep_BShw.shape, dtype=torch.int64, device=keep_BShw.device)
    next_kept_Bhw = torch.full_like(run_length_BShw[:, 0], num_steps)
    for step in reversed(range(num_steps)):
        kept_Bhw = keep_BShw[:, step]
        run_length_BShw[:, step] = torch.where(kept_Bhw, next_kept_Bhw - step, 0)
        next_kept_Bhw = torch.where(kept_Bhw, step, next_kept_Bhw)
    return run_length_BShw


def _first_and_last_frame(patches_BShwK: Tensor, tubelet_size: int) -> tuple[Tensor, Tensor]:
    num_frame_pixels = patches_BShwK.shape[-1] // tubelet_size
    return patches_BShwK[..., :num_frame_pixels], patches_BShwK[..., -num_frame_pixels:]


def _difference(a_F: Tensor, b_F: Tensor) -> Tensor:
    """Mean |a - b| over the last axis, in uint8 until it is summed: exact, because sums stay below 2**24."""
    return torch.maximum(a_F, b_F).sub_(torch.minimum(a_F, b_F)).sum(-1, dtype=torch.int32) / a_F.shape[-1]


def _where(condition: Tensor, a_F: Tensor, b_F: Tensor) -> Tensor:
    """torch.where for whole tubelets, four pixels at a time where that is possible."""
    wide = torch.int32 if a_F.shape[-1] % 4 == 0 and a_F.stride(-2) % 4 == 0 else torch.uint8
    return torch.where(condition[..., None], a_F.view(wide), b_F.view(wide)).view(torch.uint8)


def _keep_above(
    first_BShwF: Tensor, last_BShwF: Tensor, threshold_B: Tensor, reference: Reference
) -> tuple[Tensor, Tensor]:
    """Keep mask and scores for one threshold per clip; the first step scores infinity."""
    score_BShw = torch.full(first_BShwF.shape[:-1], torch.inf, device=first_BShwF.device)
    reference_BhwF = first_BShwF[:, 0]
    for step in range(1, first_BShwF.shape[1]):  # step by step: what is compared stays in the cache
        score_BShw[:, step] = _difference(last_BShwF[:, step], reference_BhwF)
        if reference == "previous":
            reference_BhwF = first_BShwF[:, step]
        else:
            changed_Bhw = score_BShw[:, step] > threshold_B[:, None, None]
            reference_BhwF = _where(changed_Bhw, first_BShwF[:, step], reference_BhwF)
    return score_BShw > threshold_B[:, None, None, None], score_BShw


def _look_less_often(
    keep_BShw: Tensor,
    first_BShwF: Tensor,
    last_BShwF: Tensor,
    threshold_B: Tensor,
    num_budget: int,
    reference: Reference,
) -> Tensor:
    """Halve the steps of clips that keep too much until they fit: whole steps go, so that those that stay are whole."""
    period = 1
    while period < keep_BShw.shape[1] and (over_B := keep_BShw.flatten(1).sum(1) > num_budget).any():
        period *= 2
        looked_BShwF = (first_BShwF[over_B, ::period], last_BShwF[over_B, ::period])
        sparse_BShw = torch.zeros_like(keep_BShw[over_B])
        sparse_BShw[:, ::period] = _keep_above(*looked_BShwF, threshold_B[over_B], reference)[0]
        keep_BShw[over_B] = sparse_BShw
    return keep_BShw


def _num_tokens_after_first_step(patches_BShwK: Tensor, policy: TokenPolicy) -> int:
    _, num_steps, height, width, _ = patches_BShwK.shape
    num_step_tokens = height * width
    budget_tokens = policy.budget_tokens or 0
    if budget_tokens < num_step_tokens:
        raise ConfigError(
            f"budget_tokens = {budget_tokens} is less than the {num_step_tokens} tokens of the first step, "
            f"which are always kept; give at least {num_step_tokens}"
        )
    return min(budget_tokens, num_steps * num_step_tokens) - num_step_tokens


def _random_scores(patches_BShwK: Tensor, seed: int) -> Tensor:
    """(B, S, h, w), drawn anew for every clip; the same clip in another batch, or seen a second time, gets the same."""
    sum_B = patches_BShwK.flatten(1).sum(1, dtype=torch.int64).tolist()
    seeds = (int(np.random.SeedSequence((seed, total)).generate_state(1)[0]) for total in sum_B)
    draws = (torch.Generator().manual_seed(of_clip) for of_clip in seeds)
    shape = patches_BShwK.shape[1:-1]
    return torch.stack([torch.rand(shape, generator=generator) for generator in draws]).to(patches_BShwK.device)


def _keep_highest(score_BShw: Tensor, num_extra: int) -> Tensor:
    """Keep the first step and the num_extra best later tubelets of every clip; ties go to the earlier position."""
    order_BN = score_BShw[:, 1:].flatten(1).argsort(dim=1, descending=True, stable=True)
    keep_BN = torch.zeros_like(order_BN, dtype=torch.bool).scatter_(1, order_BN[:, :num_extra], value=True)
    keep_BShw = torch.ones(score_BShw.shape, dtype=torch.bool, device=score_BShw.device)
    keep_BShw[:, 1:] = keep_BN.view_as(keep_BShw[:, 1:])
    return keep_BShw


def _keep_budget(first_BShwF: Tensor, last_BShwF: Tensor, num_extra: int, reference: Reference) -> Tensor:
    """Find for each clip the lowest threshold that fits the budget, then fill up with the best of the dropped."""
    low_B = torch.full((len(first_BShwF),), -1.0, device=first_BShwF.device)
    high_B = torch.full_like(low_B, 255.0)
    num_budget = num_extra + first_BShwF[0, 0, ..., 0].numel()
    for _ in range(_BISECTION_STEPS):
        middle_B = (low_B + high_B) / 2
        fits_B = _keep_above(first_BShwF, last_BShwF, middle_B, reference)[0].flatten(1).sum(1) <= num_budget
        high_B = torch.where(fits_B, middle_B, high_B)
        low_B = torch.where(fits_B, low_B, middle_B)
    keep_BShw, score_BShw = _keep_above(first_BShwF, last_BShwF, high_B, reference)
    return _keep_highest(torch.where(keep_BShw, score_BShw + 256, score_BShw), num_extra)
