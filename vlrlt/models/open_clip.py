"""open_clip models as run-length dual encoders."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import Tensor, nn

from vlrlt.errors import CheckpointError, ConfigError, MissingExtraError
from vlrlt.models.config import OpenClipTextConfig
from vlrlt.models.dual_encoder import DualEncoder, InferenceConfig
from vlrlt.models.hub import fetch_weights, hub_cache, tokenizer_folder, tokenizer_repository
from vlrlt.models.text import OpenClipText
from vlrlt.models.towers.convert import convert_tower, read_tower
from vlrlt.models.towers.tower import IMAGE_TOWER_SAMPLING, SUPPORTED
from vlrlt.tokens.run_length import TokenPolicy
from vlrlt.video.transforms import Preprocess


def load_open_clip(name: str, *, cache_dir: Path | None = None) -> DualEncoder:
    """Load `ARCH/PRETRAINED` from open_clip's registry and the Hugging Face cache, or `ARCH/FILE.safetensors`.

    HF_HOME and HF_HUB_OFFLINE are honoured; weights that are not here are downloaded as `vlrlt models pull` does it.

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
    _check_supported(_create_model(architecture, device="meta"), architecture)  # before gigabytes are fetched
    weights = Path(pretrained) if Path(pretrained).is_file() else fetch_weights(name, cache_dir=cache_dir)
    try:
        model = _create_model(architecture, weights=weights, preprocess=_trained_preprocess(architecture, pretrained))
    except CheckpointError as error:
        raise CheckpointError(f"cannot load {name!r}: {error}; is it a file of {architecture}?") from error
    return convert_open_clip(model, architecture=architecture)


def convert_open_clip(model: open_clip.CLIP | open_clip.CustomTextCLIP, *, architecture: str) -> DualEncoder:
    """Turn an open_clip model into a dual encoder in the run-overlap regime; its text tower is kept as it is.

    Raises:
        CheckpointError: the image tower is of no supported family.
    """
    _check_supported(model, architecture)
    preprocess = preprocess_of(open_clip.get_model_preprocess_cfg(model))
    video = convert_tower(model.visual, name=architecture, preprocess=preprocess)
    text = _text_tower(OpenClipTextConfig(architecture=architecture, embed_dim=video.config.embed_dim), model)
    inference = InferenceConfig(preprocess=preprocess, sampling=IMAGE_TOWER_SAMPLING, policy=TokenPolicy())
    dual = DualEncoder(video=video, text=text, inference=inference)
    dual.logit_scale.data = model.logit_scale.detach().clone()
    return dual.eval()


def build_open_clip_text(config: OpenClipTextConfig) -> OpenClipText:
    """The text tower of an architecture with untrained weights, to be filled from a checkpoint folder."""
    if config.architecture not in open_clip.list_models():
        raise ConfigError(f"open_clip has no architecture {config.architecture!r}")
    text = _text_tower(config, _create_model(config.architecture))
    if config.embed_dim != open_clip.get_model_config(config.architecture)["embed_dim"]:  # AVION projects to 256
        text.model.text_projection = nn.Parameter(torch.empty(text.model.text_projection.shape[0], config.embed_dim))
        nn.init.normal_(text.model.text_projection, std=text.model.text_projection.shape[0] ** -0.5)
    return text


def untrained_open_clip(architecture: str) -> DualEncoder:
    """A model of open_clip with random weights: as fast as the trained one.

    Raises:
        CheckpointError: there is no such architecture, or its image tower is of no supported family.
    """
    return convert_open_clip(_create_model(architecture), architecture=architecture)


def _create_model(
    architecture: str,
    *,
    device: str = "cpu",
    weights: Path | None = None,
    preprocess: dict[str, Any] | None = None,
) -> open_clip.CLIP:
    """open_clip's create_model with one error type and without its log lines."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # the exception says it all; "no weights" is meant: they come from our checkpoint
    try:
        with torch.device(device):
            return open_clip.create_model(
                architecture,
                pretrained=str(weights) if weights else None,
                device=device,
                pretrained_text=False,
                force_preprocess_cfg=preprocess,
            )
    except Exception as error:  # open_clip, transformers and the hub raise many types
        raise CheckpointError(f"open_clip: {_one_line(error)}") from error
    finally:
        logger.setLevel(level)


def _check_supported(model: nn.Module, architecture: str) -> None:
    if not isinstance(model, open_clip.CLIP | open_clip.CustomTextCLIP):
        raise CheckpointError(f"{architecture}: the model is a {type(model).__name__}; {SUPPORTED}")
    read_tower(model.visual, name=architecture)


def preprocess_of(config: dict[str, Any]) -> Preprocess:
    """open_clip's preprocessing configuration of a model as ours."""
    size_px = config["size"]
    return Preprocess(
        image_size_px=size_px if isinstance(size_px, int) else size_px[0],
        interpolation=config["interpolation"],
        resize_mode=config["resize_mode"],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )


def _text_tower(config: OpenClipTextConfig, model: open_clip.CLIP | open_clip.CustomTextCLIP) -> OpenClipText:
    model.visual = nn.Identity()  # the image tower lives on in the video encoder
    return OpenClipText(config, model=model, load_tokenizer=partial(_load_tokenizer, config.architecture))


def _load_tokenizer(architecture: str) -> Callable[[list[str]], Tensor]:
    """The tokenizer of an architecture; those of SigLIP and some others come from the Hugging Face hub."""
    folder = tokenizer_folder(architecture)
    try:
        # Tokenizers of the hub must not bring code of their own; open_clip's own know no such option.
        options = {"trust_remote_code": False} if tokenizer_repository(architecture) else {}
        tokenizer: Callable[[list[str]], Tensor] = open_clip.get_tokenizer(
            architecture if folder is None else f"local-dir:{folder}", **options
        )
    except ModuleNotFoundError as error:
        if error.name != "transformers":
            raise
        raise MissingExtraError("transformers", "hf", note=f"; {architecture} needs it to read text") from error
    except Exception as error:  # as above
        raise CheckpointError(
            f"no tokenizer for {architecture}: {_one_line(error)}; search for a text once on a machine with network "
            f"access and copy its {hub_cache()}; without it, only clips and images can be searched for"
        ) from error
    return tokenizer


def _trained_preprocess(architecture: str, pretrained: str) -> dict[str, Any]:
    """Of a pretrained tag; a file is taken to be like the architecture's first tag."""
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    tag = pretrained if pretrained in tags else next(iter(tags), "")
    config: dict[str, Any] = open_clip.get_pretrained_cfg(architecture, tag)
    return {key: config[key] for key in ("mean", "std", "interpolation", "resize_mode") if key in config}


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


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
