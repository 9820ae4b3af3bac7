"""timm's VisionTransformer: SigLIP and SigLIP2, which pool by attention; plain ViTs, which pool a CLS or the mean."""

from functools import partial

from timm.models.vision_transformer import Attention, Block, VisionTransformer
from torch import nn

from vlrlt.models.towers import timm_parts
from vlrlt.models.towers.tower import Tower, refuse


def read(trunk: VisionTransformer, head: nn.Module, *, name: str) -> Tower:
    """Describe and convert a tower.

    Args:
        trunk: timm's model.
        head: the linear layer behind its pooling, or an Identity.
        name: for messages.

    Raises:
        CheckpointError: it has a part that the video encoder lacks.
    """
    timm_parts.check_blocks(trunk, Block, Attention, name=name)
    has_cls = trunk.cls_token is not None
    refuse(
        name,
        *timm_parts.problems(trunk, head),
        (has_cls and trunk.pool_include_prefix, "a CLS that is pooled with the patches"),
        (has_cls and trunk.attn_pool is not None, "a CLS that attention pooling leaves out"),
    )
    return Tower(
        config=timm_parts.describe(trunk, head, rotary_embedding=False),
        weights=partial(timm_parts.convert, trunk, head),
    )
