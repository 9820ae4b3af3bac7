"""timm's Eva with the rotary positions of Perception Encoder (PE-Core).

Shape legend: P places of the patch grid, E channels of a head, F = E / 2 rotated pairs of channels, 2 = cosine, sine.
"""

from functools import partial

import torch
from timm.layers import AttentionRope
from timm.layers.pos_embed_sincos import RotaryEmbeddingCat
from timm.models.eva import Eva, EvaBlock
from torch import Tensor, nn

from vlrlt.models.towers import timm_parts
from vlrlt.models.towers.tower import Tower, refuse


def read(trunk: Eva, head: nn.Module, *, name: str) -> Tower:
    """Describe and convert a tower.

    Args:
        trunk: timm's model.
        head: the linear layer behind its pooling, or an Identity.
        name: for messages.

    Raises:
        CheckpointError: it has a part that the video encoder lacks, as EVA01 and EVA02 have.
    """
    timm_parts.check_blocks(trunk, EvaBlock, AttentionRope, name=name)
    rope = trunk.rope
    refuse(
        name,
        *timm_parts.problems(trunk, head),
        (trunk.blocks[0].attn.qkv is None, "queries, keys and values of their own"),
        (type(rope) is not RotaryEmbeddingCat or rope.rotate_half, f"positions of the kind {type(rope).__name__}"),
    )
    return Tower(config=timm_parts.describe(trunk, head, rotary_embedding=True), weights=partial(_convert, trunk, head))


def _convert(trunk: Eva, head: nn.Module) -> dict[str, Tensor]:
    sine_PE, cosine_PE = trunk.rope.get_embed().chunk(2, -1)
    rotary_P2F = torch.stack([cosine_PE[:, ::2], sine_PE[:, ::2]], 1)  # timm repeats each angle for its two channels
    return {**timm_parts.convert(trunk, head), "rotary_P2F": rotary_P2F}
