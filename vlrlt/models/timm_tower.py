"""An image tower of timm alone as a dual encoder without text: to compare clips and images, and to start a training."""

from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from vlrlt.errors import CheckpointError
from vlrlt.models.config import NoTextConfig
from vlrlt.models.dual_encoder import DualEncoder, InferenceConfig
from vlrlt.models.hub import TIMM_PREFIX, fetch_weights
from vlrlt.models.text import NoText
from vlrlt.models.towers.convert import convert_tower, read_tower
from vlrlt.models.towers.tower import IMAGE_TOWER_SAMPLING
from vlrlt.models.weights import load_weights, read_weights
from vlrlt.tokens.run_length import TokenPolicy
from vlrlt.video.transforms import Preprocess


def load_timm(name: str, *, cache_dir: Path | None = None) -> DualEncoder:
    """Load `timm/ARCH[.TAG]`, as the Hugging Face hub names it too, or `timm/ARCH[.TAG]/FILE.safetensors`.

    The vector of a frame is what timm calls pooled features, before any classifier.

    Raises:
        CheckpointError: unknown architecture or weights, weights that cannot be fetched, an unsupported tower.
    """
    architecture, _, file = name.removeprefix(TIMM_PREFIX).partition("/")
    if not timm.is_model(architecture):
        raise CheckpointError(
            f"timm has no model {architecture!r}; give {TIMM_PREFIX}ARCH.TAG such as "
            f"{TIMM_PREFIX}vit_base_patch16_224.augreg_in21k, or {TIMM_PREFIX}ARCH/FILE.safetensors"
        )
    if file and not (Path(file).is_file() and file.endswith(".safetensors")):
        raise CheckpointError(f"{file}: no such .safetensors file; give {TIMM_PREFIX}{architecture}/FILE.safetensors")
    with torch.device("meta"):
        read_tower(_create(architecture, pretrained=False), name=name)  # before anything is fetched
    if not file:
        # timm's own download is not pinned, and falls back on pickles; its renaming of keys is wanted.
        fetched = fetch_weights(name, cache_dir=cache_dir)
        model = _create(architecture, pretrained=True, pretrained_cfg_overlay={"file": str(fetched)})
    else:
        model = _create(architecture, pretrained=False)
        weights = {key: tensor for key, tensor in read_weights(Path(file)).items() if not key.startswith("head.")}
        load_weights(model, weights, source=file)
    return convert_timm(model, name=name)


def convert_timm(model: nn.Module, *, name: str) -> DualEncoder:
    """Turn a timm model into a dual encoder in the run-overlap regime.

    Frames are prepared with timm's size, mean, standard deviation and interpolation. Nothing is cut off the shorter
    side, which timm's own evaluation does (crop_pct).

    Raises:
        CheckpointError: the tower is of no supported family.
    """
    data = timm.data.resolve_model_data_config(model)
    preprocess = Preprocess(
        image_size_px=data["input_size"][-1],
        interpolation=data["interpolation"],
        resize_mode="squash" if data["crop_mode"] == "squash" else "shortest",
        mean=data["mean"],
        std=data["std"],
    )
    video = convert_tower(model, name=name, preprocess=preprocess)
    text = NoText(NoTextConfig(embed_dim=video.config.embed_dim))
    inference = InferenceConfig(preprocess=preprocess, sampling=IMAGE_TOWER_SAMPLING, policy=TokenPolicy())
    return DualEncoder(video=video, text=text, inference=inference).eval()


def _create(architecture: str, **options: Any) -> nn.Module:  # noqa: ANN401
    """Timm's create_model without a classifier, with one error type."""
    try:
        model: nn.Module = timm.create_model(architecture, num_classes=0, **options)
    except Exception as error:  # timm and the hub raise many types
        tags = ", ".join(timm.list_pretrained(f"{architecture.partition('.')[0]}.*")) or "none"
        raise CheckpointError(
            f"cannot load {TIMM_PREFIX}{architecture}: {type(error).__name__}: {' '.join(str(error).split())}; "
            f"known weights: {tags}; fetch them on a machine with network access, or give "
            f"{TIMM_PREFIX}ARCH/FILE.safetensors"
        ) from error
    return model
