"""Checkpoints of AVION (github.com/zhaoyue-zephyrus/AVION) and of what builds on it, as run-length dual encoders.

The same joint space-time attention over CLS and all patches as our `joint` regime, with these differences from CLIP:
exact GELU in both towers (the flag for QuickGELU is ignored there), vision LayerNorms with epsilon 1e-6, one linear
layer for patches in (channel, row, column) order, spatial positions repeated for each frame plus a temporal table, CLS
with its spatial position only. LaViLa's own TimeSformer checkpoints attend differently and are refused.

A .pt or .pth file is a pickle. It is read by torch's restricted unpickler, which makes tensors and plain containers and
runs no code of the file. Allowed besides are argparse.Namespace, where AVION keeps its options, and NumPy's numbers,
because its best score is one.

Shape legend: D width, K pixels of a patch.
"""

import argparse
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vlrlt.errors import CheckpointError
from vlrlt.models.config import OpenClipTextConfig, VideoEncoderConfig
from vlrlt.models.dual_encoder import DualEncoder, InferenceConfig
from vlrlt.models.open_clip import build_open_clip_text
from vlrlt.models.video_encoder import VideoEncoder
from vlrlt.models.weights import load_weights
from vlrlt.tokens.run_length import DENSE
from vlrlt.video.sampling import ClipSampling
from vlrlt.video.transforms import Preprocess

Normalisation = tuple[tuple[float, float, float], tuple[float, float, float]]
"""Mean and standard deviation of R, G, B values in [0, 1]."""
NORM_STYLES: dict[str, Normalisation] = {
    "openai": ((108.3272985 / 255, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "timm": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
"""By AVION's option norm_style, whose default is openai; its red mean is not OpenAI's 122.77 (its scripts, line 236 of
main_lavila_finetune_mir.py)."""
_NUMPY_NUMBERS: list[Any] = [
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("f8", "f4", "i8")),
    *((np.float64(0).__reduce__()[0], f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),  # NumPy 1, 2
]
_HEAD_WIDTH = 64
_TEXT_ARCHITECTURES = {512: "ViT-B-16", 768: "ViT-L-14"}
"""open_clip architectures with AVION's text towers, by width."""
_RENAMED = (
    ("transformer.resblocks.", "blocks."),
    ("ln_pre.", "norm_pre."),
    ("ln_post.", "norm_post."),
    ("ln_1.", "norm_attention."),
    ("ln_2.", "norm_mlp."),
    ("attn.in_proj_", "attention.qkv."),
    ("attn.Wqkv.", "attention.qkv."),
    ("attn.out_proj.", "attention.out."),
    ("mlp.c_fc.", "mlp.0."),
    ("mlp.fc1.", "mlp.0."),
    ("mlp.c_proj.", "mlp.2."),
    ("mlp.fc2.", "mlp.2."),
)


def load_avion(path: Path) -> DualEncoder:
    """Read a checkpoint file.

    Raises:
        CheckpointError: the file is missing, holds more than tensors and options, or is no AVION model.
    """
    try:
        with torch.serialization.safe_globals([argparse.Namespace, *_NUMPY_NUMBERS]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises whatever a wrong byte leads to
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path}: cannot be read as tensors: {reason}") from error
    weights = content.get("state_dict", content) if isinstance(content, dict) else {}
    tensors = {
        str(name).removeprefix("module."): tensor.float() for name, tensor in weights.items() if torch.is_tensor(tensor)
    }
    options = content.get("args") if isinstance(content, dict) else None
    return convert_avion(tensors, source=str(path), norm_style=getattr(options, "norm_style", "openai"))


def convert_avion(weights: dict[str, Tensor], *, source: str, norm_style: str = "openai") -> DualEncoder:
    """A state dict as a dual encoder that keeps every token, as AVION trains.

    Args:
        weights: by AVION's names.
        source: for messages.
        norm_style: AVION's option of that name.

    Raises:
        CheckpointError: it is no AVION model; what is missing or unexpected is named.
    """
    if norm_style not in NORM_STYLES:
        raise CheckpointError(f"{source}: norm_style must be one of {', '.join(NORM_STYLES)}, got {norm_style!r}")
    missing = [f"{tower}." for tower in ("visual", "textual") if not any(name.startswith(tower) for name in weights)]
    if missing or "visual.conv1.weight" not in weights:
        raise CheckpointError(
            f"{source}: not an AVION model: {' and '.join(missing) or 'visual.conv1'} is missing among {len(weights)} "
            f"tensors; LaViLa's TimeSformer checkpoints are not supported"
        )
    strays = sorted(name for name in weights if not name.startswith(("visual.", "textual.")) and name != "logit_scale")
    if strays:
        raise CheckpointError(f"{source}: AVION models have no {', '.join(strays[:5])} ({len(strays)} unknown keys)")
    visual = {name.removeprefix("visual."): tensor for name, tensor in weights.items() if name.startswith("visual.")}
    config = _video_config(visual)
    mean, std = NORM_STYLES[norm_style]
    preprocess = Preprocess(image_size_px=config.image_size_px, mean=mean, std=std)
    video = VideoEncoder(config, mean=preprocess.mean, std=preprocess.std)
    load_weights(video, _video_weights(visual), source=source)

    textual = {name.removeprefix("textual."): tensor for name, tensor in weights.items() if name.startswith("textual.")}
    width, embed_dim = textual["text_projection"].shape
    if width not in _TEXT_ARCHITECTURES:
        raise CheckpointError(f"{source}: a text tower must have width 512 or 768, got {width}")
    text = build_open_clip_text(OpenClipTextConfig(architecture=_TEXT_ARCHITECTURES[width], embed_dim=embed_dim))
    scale = weights["logit_scale"]
    load_weights(text.model, {**textual, "logit_scale": scale}, source=source)
    inference = InferenceConfig(
        preprocess=preprocess,
        sampling=ClipSampling(clip_s=4.0, stride_s=2.0, num_frames=config.num_frames),
        policy=DENSE,
    )
    dual = DualEncoder(video=video, text=text, inference=inference)
    dual.logit_scale.data.copy_(scale)
    return dual.eval()


def _video_config(visual: dict[str, Tensor]) -> VideoEncoderConfig:
    width, num_pixels = visual["conv1.weight"].flatten(1).shape
    patch_size_px = round((num_pixels / 3) ** 0.5)
    grid_size = round((len(visual["positional_embedding"]) - 1) ** 0.5)
    blocks = {int(match.group(1)) for name in visual if (match := re.match(r"transformer\.resblocks\.(\d+)\.", name))}
    return VideoEncoderConfig(
        regime="joint",
        image_size_px=grid_size * patch_size_px,
        patch_size_px=patch_size_px,
        num_frames=len(visual["temporal_embedding"]) if "temporal_embedding" in visual else 1,
        width=width,
        depth=len(blocks),
        num_heads=max(1, width // _HEAD_WIDTH),
        embed_dim=visual["image_projection"].shape[1],
        norm_epsilon=1e-6,
        pre_norm=True,
        temporal_embedding="temporal_embedding" in visual,
    )


def _video_weights(visual: dict[str, Tensor]) -> dict[str, Tensor]:
    """AVION's names to ours; a patch's pixels from (channel, row, column) to (row, column, channel)."""
    source = dict(visual)
    patch_DK = source.pop("conv1.weight").flatten(1)
    side = round((patch_DK.shape[1] / 3) ** 0.5)
    position_embedding = source.pop("positional_embedding")
    weights = {
        "patch_embedding.weight": patch_DK.view(-1, 3, side, side).permute(0, 2, 3, 1).flatten(1),
        "cls_embedding": source.pop("class_embedding"),
        "cls_position": position_embedding[0],
        "position_embedding": position_embedding[1:],
        "projection": source.pop("image_projection"),
    }
    for name, tensor in source.items():
        renamed = name
        for old, new in _RENAMED:
            renamed = renamed.replace(old, new)
        weights[renamed] = tensor
    return weights
