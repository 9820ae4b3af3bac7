"""AdamW with layer-wise learning rates, and its schedule."""

import math
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from vlrlt.errors import ConfigError

_BLOCK = re.compile(r"\b(?:blocks|resblocks|layers?|h)\.(\d+)\.")
_EMBEDDINGS = ("embedding", "cls_", "position", "norm_pre", "ln_pre", "wte", "wpe")


@dataclass(frozen=True, kw_only=True)
class Optimization:
    """The optimizer's part of a recipe."""

    learning_rate: float = 1e-3
    """Peak, after the warm-up, of the last layers."""
    weight_decay: float = 0.05
    """On matrices that are no embeddings."""
    warmup_share: float = 0.05
    """Part of all steps in which the learning rate rises; then it falls as a cosine."""
    final_share: float = 0.0
    """Learning rate at the end, as a share of the peak."""
    layer_decay: float = 1.0
    """Every block's learning rate is that of the block above times this (BEiT, arXiv 2106.08254); 1: all the same."""
    betas: tuple[float, float] = (0.9, 0.98)
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        if not (self.learning_rate > 0 and 0 < self.layer_decay <= 1 and 0 <= self.warmup_share < 1):
            raise ConfigError(f"learning_rate must be > 0, layer_decay in (0, 1], warmup_share in [0, 1); got {self}")


def parameter_groups(towers: Iterable[nn.Module], rest: Iterable[nn.Parameter], config: Optimization) -> list[Any]:
    """Parameter groups of AdamW, one for each depth of each tower, with and without weight decay.

    A tower of n blocks: embeddings have depth 0, block i depth i + 1, all after the blocks depth n + 1. The learning
    rate of depth d is learning_rate * layer_decay ** (n + 1 - d). Parameters that do not learn are left out.

    Args:
        towers: video and text encoder.
        rest: at the full learning rate, without decay: temperatures.
        config: the recipe.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
    for tower in towers:
        named = [(name, parameter) for name, parameter in tower.named_parameters() if parameter.requires_grad]
        num_blocks = 1 + max((_block(name) for name, _ in named), default=-1)
        for name, parameter in named:
            scale = config.layer_decay ** (num_blocks + 1 - _depth(name, num_blocks))
            decayed = parameter.ndim >= 2 and not _is_embedding(name)
            groups[scale, config.weight_decay if decayed else 0.0].append(parameter)
    groups[1.0, 0.0] += [parameter for parameter in rest if parameter.requires_grad]
    return [
        {"params": parameters, "lr": config.learning_rate * scale, "weight_decay": decay}
        for (scale, decay), parameters in groups.items()
        if parameters
    ]


def warmup_cosine(step: int, *, num_warmup: int, num_steps: int, final_share: float = 0.0) -> float:
    """Factor of the peak learning rate: rises linearly to 1, falls to final_share as a cosine."""
    if step < num_warmup:
        return (step + 1) / num_warmup
    progress = min(1.0, (step - num_warmup) / max(1, num_steps - num_warmup))
    return final_share + (1 - final_share) * 0.5 * (1 + math.cos(math.pi * progress))


def build_optimizer(
    groups: list[Any], config: Optimization, *, num_steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """AdamW and its schedule, to be stepped after every optimizer step."""
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, eps=config.epsilon)
    num_warmup = max(1, round(config.warmup_share * num_steps))
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: warmup_cosine(step, num_warmup=num_warmup, num_steps=num_steps, final_share=config.final_share),
    )
    return optimizer, scheduler


def _block(name: str) -> int:
    match = _BLOCK.search(name)
    return -1 if match is None else int(match.group(1))


def _depth(name: str, num_blocks: int) -> int:
    block = _block(name)
    if block >= 0:
        return block + 1
    return 0 if _is_embedding(name) else num_blocks + 1


def _is_embedding(name: str) -> bool:
    return _block(name) < 0 and any(part in name for part in _EMBEDDINGS)
