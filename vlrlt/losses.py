"""Contrastive losses between the two towers.

Shape legend: B pairs of a clip and its caption, E embedding.
"""

import torch
from torch import Tensor
from torch.nn import functional


def info_nce(video_BE: Tensor, text_BE: Tensor, *, logit_scale: Tensor, weight_BB: Tensor) -> Tensor:
    """Symmetric InfoNCE (CLIP, arXiv 2103.00020) with targets of any weight.

    Every row's target is its weights divided by their sum: the identity is CLIP's loss; a second "open fridge" in the
    batch with weight 1 is not pushed away; a small weight on "close fridge" keeps it above what has nothing in common.

    Args:
        video_BE: unit vectors of clips.
        text_BE: unit vectors of their captions, in the same order.
        logit_scale: inverse temperature, > 0.
        weight_BB: >= 0, symmetric, 1 on the diagonal: how well caption j fits clip i.

    Returns:
        The mean of both directions, a scalar.
    """
    logits_BB = logit_scale * video_BE @ text_BE.T
    target_BB = weight_BB.to(logits_BB.dtype)
    target_BB = target_BB / target_BB.sum(1, keepdim=True)
    losses = [functional.cross_entropy(logits, target_BB) for logits in (logits_BB, logits_BB.T)]
    return torch.stack(losses).mean()
