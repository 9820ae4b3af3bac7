"""open_clip models as run-length dual encoders: the only file that imports open_clip.

Shape legend: K pixels of a patch in (row, column, channel) order, D width.
"""

import logging
import os
from pathlib import Path

import open_clip
import torch
from open_clip.transformer import QuickGELU, VisionTransformer
from torch import Tensor, nn

from vlrlt.errors import CheckpointError, ConfigError
from vlrlt.models.checkpoint import load_weights
from vlrlt.models.config import OpenClipTextConfig, VideoEncoderConfig
from vlrlt.models.dual_encoder import DualEncoder, InferenceConfig
from vlrlt.models.text import OpenClipText
from vlrlt.models.video_encoder import VideoEncoder
from vlrlt.tokens.run_length import TokenPolicy
from vlrlt.video.sampling import ClipSampling
from vlrlt.video.transforms import Preprocess

DEFAULT_SAMPLING = ClipSampling(clip_s=4.0, stride_s=4.0, num_frames=8)
"""For image towers: 2 frames a second, clips end to end."""


def load_open_clip(name: str, *, cache_dir: Path | None = None) -> DualEncoder:
    """Load `ARCH/PRETRAINED` from open_clip's registry and the Hugging Face cache, or `ARCH/FILE.safetensors`.

    HF_HOME and HF_HUB_OFFLINE are honoured; weights are downloaded only when they are not cached.

    Raises:
        CheckpointError: unknown architecture or weights, weights that cannot be fetched, an unsupported image tower.
    """
    architecture, _, pretrained = name.partition("/")
    if architecture not in open_clip.list_models():
        raise CheckpointError(
            f"{name!r} is neither a model folder nor an open_clip name; give 'default', a folder with config.json, "
            f"ARCH/PRETRAINED such as ViT-B-16/datacomp_xl_s13b_b90k, or ARCH/FILE.safetensors"
        )
    _check_pretrained(architecture, pretrained)
    architecture = _with_trained_activation(architecture, pretrained)
    _check_supported(_create_model(architecture, device="meta").visual, architecture)  # before gigabytes are fetched
    try:
        model = _create_model(architecture, pretrained=pretrained, cache_dir=cache_dir)
    except CheckpointError as error:
        advice = (
            f"is it a file of {architecture}?"
            if Path(pretrained).is_file()
            else f"fetch the weights on a machine with network access (the Hugging Face cache "
            f"{os.environ.get('HF_HOME', '~/.cache/huggingface')} can be copied), "
            f"or point --model at {architecture}/FILE.safetensors"
        )
        raise CheckpointError(f"cannot load {name!r}: {error}; {advice}") from error
    return convert_open_clip(model, architecture=architecture)


def convert_open_clip(model: open_clip.CLIP | open_clip.CustomTextCLIP, *, architecture: str) -> DualEncoder:
    """Turn an open_clip model into a dual encoder in the run-overlap regime; its text tower is kept as it is.

    Raises:
        CheckpointError: the image tower is not a plain VisionTransformer with CLS pooling.
    """
    visual = model.visual
    _check_supported(visual, architecture)
    config = open_clip.get_model_preprocess_cfg(model)
    preprocess = Preprocess(
        image_size_px=visual.image_size[0],
        interpolation=config["interpolation"],
        resize_mode=config["resize_mode"],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )
    video = VideoEncoder(_video_config(visual), mean=preprocess.mean, std=preprocess.std)
    load_weights(video, _convert_visual_weights(visual), source=architecture)
    text = _text_tower(OpenClipTextConfig(architecture=architecture, embed_dim=visual.output_dim), model)
    inference = InferenceConfig(preprocess=preprocess, sampling=DEFAULT_SAMPLING, policy=TokenPolicy())
    dual = DualEncoder(video=video, text=text, inference=inference)
    dual.logit_scale.data = model.logit_scale.detach().clone()
    return dual.eval()


def build_open_clip_text(config: OpenClipTextConfig) -> OpenClipText:
    """The text tower of an architecture with untrained weights, to be filled from a checkpoint folder."""
    if config.architecture not in open_clip.list_models():
        raise ConfigError(f"open_clip has no architecture {config.architecture!r}")
    return _text_tower(config, _create_model(config.architecture))


def _create_model(
    architecture: str, *, device: str = "cpu", pretrained: str | None = None, cache_dir: Path | None = None
) -> open_clip.CLIP:
    """open_clip's create_model with one error type and without its log lines."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # the exception says it all; "no weights" is meant: they come from our checkpoint
    try:
        with torch.device(device):
            return open_clip.create_model(
                architecture,
                pretrained=pretrained,
                device=device,
                pretrained_text=False,
                cache_dir=str(cache_dir) if cache_dir else None,
            )
    except Exception as error:  # open_clip, transformers and the hub raise many types
        raise CheckpointError(f"open_clip: {_one_line(error)}") from error
    finally:
        logger.setLevel(level)


def _text_tower(config: OpenClipTextConfig, model: open_clip.CLIP | open_clip.CustomTextCLIP) -> OpenClipText:
    model.visual = nn.Identity()  # the image tower lives on in the video encoder
    try:
        tokenizer = open_clip.get_tokenizer(config.architecture)
    except Exception as error:  # as above: some tokenizers come from the hub
        raise CheckpointError(f"no tokenizer for {config.architecture}: {_one_line(error)}") from error
    return OpenClipText(config, model=model, tokenizer=tokenizer)


def _with_trained_activation(architecture: str, pretrained: str) -> str:
    """ViT-B-32/openai means ViT-B-32-quickgelu/openai: with the other activation open_clip only warns."""
    trained = open_clip.get_pretrained_cfg(architecture, pretrained).get("quick_gelu", False)
    if trained and not open_clip.get_model_config(architecture).get("quick_gelu", False):
        return f"{architecture}-quickgelu"
    return architecture


def _check_pretrained(architecture: str, pretrained: str) -> None:
    """A pretrained tag of open_clip's registry, or a safetensors file; never a pickle."""
    if pretrained in open_clip.list_pretrained_tags_by_model(architecture):
        return
    path = Path(pretrained)
    if pretrained and path.is_file():
        if path.suffix != ".safetensors":
            raise CheckpointError(f"{path}: only .safetensors files are loaded (a pickle can run code); convert it")
        return
    tags = ", ".join(open_clip.list_pretrained_tags_by_model(architecture)) or "none"
    raise CheckpointError(f"no file and no pretrained tag {pretrained!r} for {architecture}; known tags: {tags}")


def _check_supported(visual: nn.Module, architecture: str) -> None:
    if not isinstance(visual, VisionTransformer):
        raise CheckpointError(
            f"{architecture}: the image tower is a {type(visual).__name__}; supported is open_clip's VisionTransformer "
            f"(OpenAI, LAION, DataComp, MetaCLIP, TinyCLIP: ViT-B-32, ViT-B-16, ViT-L-14, ...)"
        )
    block = visual.transformer.resblocks[0]
    unsupported = [
        text
        for wrong, text in (
            (visual.attn_pool is not None, "attentional pooling"),
            (visual.pool_type != "tok", f"{visual.pool_type!r} pooling"),
            (not isinstance(block.ls_1, nn.Identity), "layer scale"),
            (getattr(block.mlp.gelu, "approximate", "none") != "none", "approximate GELU"),
            (visual.image_size[0] != visual.image_size[1], "images that are not square"),
        )
        if wrong
    ]
    if unsupported:
        raise CheckpointError(f"{architecture}: {', '.join(unsupported)} is not supported; try ViT-B-16 or ViT-L-14")


def _video_config(visual: VisionTransformer) -> VideoEncoderConfig:
    block = visual.transformer.resblocks[0]
    width = visual.conv1.out_channels
    return VideoEncoderConfig(
        regime="run_overlap",
        image_size_px=visual.image_size[0],
        patch_size_px=visual.patch_size[0],
        num_frames=DEFAULT_SAMPLING.num_frames,
        width=width,
        depth=len(visual.transformer.resblocks),
        num_heads=block.attn.num_heads,
        mlp_width=block.mlp.c_fc.out_features,
        embed_dim=visual.output_dim,
        activation="quick_gelu" if isinstance(block.mlp.gelu, QuickGELU) else "gelu",
        norm_epsilon=visual.ln_post.eps,
        pre_norm=not isinstance(visual.ln_pre, nn.Identity),
    )


def _convert_visual_weights(visual: VisionTransformer) -> dict[str, Tensor]:
    """open_clip's names to ours; the patch convolution becomes a linear layer over (row, column, channel)."""
    source: dict[str, Tensor] = {key: tensor.detach().float() for key, tensor in visual.state_dict().items()}
    weights = {
        "patch_embedding.weight": source.pop("conv1.weight").permute(0, 2, 3, 1).flatten(1),
        "cls_embedding": source.pop("class_embedding"),
        "projection": source.pop("proj"),
    }
    position_embedding = source.pop("positional_embedding")
    weights["cls_position"], weights["position_embedding"] = position_embedding[0], position_embedding[1:]
    names = {
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
    for key, tensor in source.items():
        renamed = key
        for old, new in names.items():
            renamed = renamed.replace(old, new)
        weights[renamed] = tensor
    return weights


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
