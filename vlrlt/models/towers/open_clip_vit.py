"""open_clip's VisionTransformer: OpenAI, LAION, DataComp, MetaCLIP, TinyCLIP, CLIPA."""

from functools import partial

from open_clip.transformer import QuickGELU, ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn

from vlrlt.models.config import Activation, VideoEncoderConfig
from vlrlt.models.towers.tower import IMAGE_TOWER_SAMPLING, Tower, fold_layer_scale, patch_weight, refuse, rename

_NAMES = {
    "transformer.resblocks.": "blocks.",
    "ln_pre.": "norm_pre.",
    "ln_post.": "norm_post.",
    "ln_1.": "norm_attention.",
    "ln_2.": "norm_mlp.",
    "attn.in_proj_": "attention.qkv.",
    "attn.out_proj.": "attention.out.",
    "mlp.c_fc.": "mlp.0.",
    "mlp.c_proj.": "mlp.2.",
}


def read(visual: VisionTransformer, *, name: str) -> Tower:
    """Describe and convert a tower.

    Raises:
        CheckpointError: it has a part that the video encoder lacks.
    """
    block = visual.transformer.resblocks[0]
    refuse(
        name,
        (visual.attn_pool is not None, "CoCa's attentional pooling"),
        (visual.output_tokens, "an output for each token"),
        (visual.pool_type == "none", "no pooling"),
        (type(block) is not ResidualAttentionBlock, f"blocks of the kind {type(block).__name__}"),
        (visual.image_size[0] != visual.image_size[1], "images that are not square"),
        (visual.patch_size[0] != visual.patch_size[1], "patches that are not square"),
    )
    return Tower(config=_describe(visual), weights=partial(_convert, visual))


def _describe(visual: VisionTransformer) -> VideoEncoderConfig:
    block = visual.transformer.resblocks[0]
    pools_patches = visual.pool_type == "avg"
    return VideoEncoderConfig(
        regime="run_overlap",
        image_size_px=visual.image_size[0],
        patch_size_px=visual.patch_size[0],
        num_frames=IMAGE_TOWER_SAMPLING.num_frames,
        width=visual.conv1.out_channels,
        depth=len(visual.transformer.resblocks),
        num_heads=block.attn.num_heads,
        mlp_width=block.mlp.c_fc.out_features,
        embed_dim=visual.output_dim,
        pooling="mean" if pools_patches else "cls",
        cls_token=True,
        norm_after_pooling=pools_patches and visual.final_ln_after_pool,
        activation=_activation(block.mlp.gelu),
        norm_epsilon=visual.ln_post.eps,
        pre_norm=not isinstance(visual.ln_pre, nn.Identity),
    )


def _convert(visual: VisionTransformer) -> dict[str, Tensor]:
    source: dict[str, Tensor] = {key: tensor.detach().float() for key, tensor in visual.state_dict().items()}
    weights = {
        "patch_embedding.weight": patch_weight(source.pop("conv1.weight")),
        "cls_embedding": source.pop("class_embedding"),
        "projection": source.pop("proj"),
    }
    position_embedding = source.pop("positional_embedding")
    weights["cls_position"], weights["position_embedding"] = position_embedding[0], position_embedding[1:]
    fold_layer_scale(source, "ls_1.gamma", "attn.out_proj")
    fold_layer_scale(source, "ls_2.gamma", "mlp.c_proj")
    return weights | rename(source, _NAMES)


def _activation(module: nn.Module) -> Activation:
    if isinstance(module, QuickGELU):
        return "quick_gelu"
    return "gelu_tanh" if module.approximate == "tanh" else "gelu"
