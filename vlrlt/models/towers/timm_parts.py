"""Shared parts of the two timm families: patches, embeddings, blocks, pooling, head."""

from timm.layers import AttentionPoolLatent, Mlp, PatchEmbed
from timm.layers.activations import GELU, GELUTanh, QuickGELU
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from vlrlt.models.config import Activation, Pooling, Projection, VideoEncoderConfig
from vlrlt.models.towers.tower import IMAGE_TOWER_SAMPLING, fold_layer_scale, patch_weight, refuse, rename

_POOLING: dict[str, Pooling] = {"token": "cls", "avg": "mean", "map": "attention"}
_ACTIVATION: dict[type[nn.Module], Activation] = {
    nn.GELU: "gelu",
    GELU: "gelu",
    GELUTanh: "gelu_tanh",
    QuickGELU: "quick_gelu",
}
_NAMES = {
    "patch_embed.proj.": "patch_embedding.",
    "attn_pool.norm.": "attention_pool.norm_mlp.",
    "attn_pool.proj.": "attention_pool.out.",
    "attn_pool.": "attention_pool.",
    "fc_norm.": "norm_post.",
    "norm.": "norm_post.",
    ".norm1.": ".norm_attention.",
    ".norm2.": ".norm_mlp.",
    ".attn.qkv.": ".attention.qkv.",
    ".attn.proj.": ".attention.out.",
    ".mlp.fc1.": ".mlp.0.",
    ".mlp.fc2.": ".mlp.2.",
}


def check_blocks(
    trunk: VisionTransformer | Eva, block: type[nn.Module], attention: type[nn.Module], *, name: str
) -> None:
    """Blocks of another kind may lack what `problems` looks at.

    Raises:
        CheckpointError: they are of another kind.
    """
    first = trunk.blocks[0]
    refuse(name, (type(first) is not block, f"blocks of the kind {type(first).__name__}"))
    refuse(name, (type(first.attn) is not attention, f"attention of the kind {type(first.attn).__name__}"))


def problems(trunk: VisionTransformer | Eva, head: nn.Module) -> tuple[tuple[bool, str], ...]:
    """What the video encoder lacks."""
    patches, block, pool = trunk.patch_embed, trunk.blocks[0], trunk.attn_pool
    mlp, num_norms = block.mlp, sum(not isinstance(norm, nn.Identity) for norm in (trunk.norm, trunk.fc_norm))
    return (
        (type(patches) is not PatchEmbed, f"a {type(patches).__name__} in place of a patch embedding"),
        (_has_part(patches, "norm"), "a norm of its patches"),
        (getattr(patches, "dynamic_img_pad", False), "padded images"),
        (len(set(patches.img_size)) > 1, "images that are not square"),
        (len(set(patches.patch_size)) > 1, "patches that are not square"),
        (trunk.pos_embed is None, "no position embedding"),
        (trunk.reg_token is not None, "register tokens"),
        (type(mlp) is not Mlp or _has_part(mlp, "norm"), f"MLPs of the kind {type(mlp).__name__}"),
        (type(getattr(mlp, "act", None)) not in _ACTIVATION, f"activation {getattr(mlp, 'act', None)}"),
        (not isinstance(block.norm1, nn.LayerNorm), f"norms of the kind {type(block.norm1).__name__}"),
        (any(_has_part(block.attn, part) for part in ("q_norm", "norm", "gate")), "norms or gates in its attention"),
        (trunk.global_pool not in _POOLING, f"{trunk.global_pool!r} pooling"),
        (pool is not None and not _is_plain(pool), "attention pooling of another kind"),
        (num_norms != 1, f"{num_norms} final norms"),
        (pool is not None and _has_part(trunk, "fc_norm"), "a norm of what attention pooled"),
        (not isinstance(head, nn.Identity | nn.Linear), f"a head of the kind {type(head).__name__}"),
    )


def describe(trunk: VisionTransformer | Eva, head: nn.Module, *, rotary_embedding: bool) -> VideoEncoderConfig:
    """The architecture of a tower without problems."""
    block, pool, width = trunk.blocks[0], trunk.attn_pool, trunk.embed_dim
    pooling = _POOLING[trunk.global_pool]
    return VideoEncoderConfig(
        regime="run_overlap",
        image_size_px=trunk.patch_embed.img_size[0],
        patch_size_px=trunk.patch_embed.patch_size[0],
        num_frames=IMAGE_TOWER_SAMPLING.num_frames,
        width=width,
        depth=len(trunk.blocks),
        num_heads=block.attn.num_heads,
        mlp_width=block.mlp.fc1.out_features,
        embed_dim=head.out_features if isinstance(head, nn.Linear) else width,
        pooling=pooling,
        cls_token=trunk.cls_token is not None,
        norm_after_pooling=pooling == "mean" and _has_part(trunk, "fc_norm"),
        pool_heads=None if pool is None else pool.num_heads,
        pool_mlp_width=None if pool is None else pool.mlp.fc1.out_features,
        projection=_projection(head),
        activation=_activation(block.mlp.act),
        norm_epsilon=block.norm1.eps,
        patch_bias=trunk.patch_embed.proj.bias is not None,
        pre_norm=_has_part(trunk, "norm_pre"),
        rotary_embedding=rotary_embedding,
    )


def convert(trunk: VisionTransformer | Eva, head: nn.Module) -> dict[str, Tensor]:
    """The weights of a tower in the names of the video encoder, without rotary positions."""
    source: dict[str, Tensor] = {
        key: tensor.detach().float() for key, tensor in trunk.state_dict().items() if not key.startswith("head.")
    }
    source["patch_embed.proj.weight"] = patch_weight(source["patch_embed.proj.weight"])
    position_LD = source.pop("pos_embed")[0]
    weights = {"position_embedding": position_LD[-trunk.patch_embed.num_patches :]}
    if trunk.cls_token is not None:
        embeds_cls = len(position_LD) > trunk.patch_embed.num_patches
        weights["cls_embedding"] = source.pop("cls_token")[0, 0]
        weights["cls_position"] = position_LD[0] if embeds_cls else position_LD.new_zeros(position_LD.shape[1])
    if trunk.blocks[0].attn.qkv.bias is None:
        zeros_3D = position_LD.new_zeros(3 * position_LD.shape[1])
        source |= {f"blocks.{index}.attn.qkv.bias": zeros_3D for index in range(len(trunk.blocks))}
    if trunk.attn_pool is not None:
        q_weight, q_bias = source.pop("attn_pool.q.weight"), source.pop("attn_pool.q.bias")
        weights["attention_pool.query"] = functional.linear(source.pop("attn_pool.latent")[0, 0], q_weight, q_bias)
    if isinstance(head, nn.Linear):
        weights["projection"] = head.weight.detach().float().T
        if head.bias is not None:
            weights["projection_bias"] = head.bias.detach().float()
    for gamma, linear in (
        ("ls1.gamma", "attn.proj"),
        ("ls2.gamma", "mlp.fc2"),
        ("gamma_1", "attn.proj"),
        ("gamma_2", "mlp.fc2"),
    ):
        fold_layer_scale(source, gamma, linear)
    return weights | rename(source, _NAMES)


def _has_part(module: nn.Module, name: str) -> bool:
    return not isinstance(getattr(module, name, None), nn.Identity | None)


def _is_plain(pool: AttentionPoolLatent) -> bool:
    """One learned query with a projection, an MLP and nothing else."""
    return (
        type(pool) is AttentionPoolLatent
        and pool.latent_len == 1
        and pool.pool == "token"
        and isinstance(pool.q, nn.Linear)
        and pool.mlp is not None
        and pool.pos_embed is None
        and not _has_part(pool, "q_norm")
    )


def _projection(head: nn.Module) -> Projection:
    if not isinstance(head, nn.Linear):
        return "none"
    return "linear" if head.bias is None else "affine"


def _activation(module: nn.Module) -> Activation:
    if isinstance(module, nn.GELU) and module.approximate == "tanh":
        return "gelu_tanh"
    return _ACTIVATION[type(module)]
