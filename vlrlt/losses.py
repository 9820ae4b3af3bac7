"""Contrastive losses between the two towers.

Shape legend: B pairs of a clip and its caption, E embedding.
"""

import torch
from torch import Tensor
from torch.nn import functional


def info_nce(video_BE: Tensor, text_BE: Tensor, *, logit_scale: Tensor, same_BB: Tensor) -> Tensor:
    """Symmetric InfoNCE (CLIP, arXiv 2103.00020) that knows captions which say the same.

    Every row's target is spread evenly over the pairs that match it, so that a second "open fridge" in the batch is
    not pushed away.

    Args:
        video_BE: unit vectors of clips.
        text_BE: unit vectors of their captions, in the same order.
        logit_scale: inverse temperature, > 0.
        same_BB: bool, symmetric, True on the diagonal: clip i and caption j describe the same action.

    Returns:
        The mean of both directions, a scalar.
    """
    logits_BB = logit_scale * video_BE @ text_BE.T
    target_BB = same_BB.to(logits_BB.dtype)
    target_BB = target_BB / target_BB.sum(1, keepdim=True)
    losses = [functional.cross_entropy(logits, target_BB) for logits in (logits_BB, logits_BB.T)]
    return torch.stack(losses).mean()
