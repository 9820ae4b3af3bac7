"""Build the model of a recipe, with random weights or with adapted weights of another model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from torch import nn

from vlrlt.errors import ConfigError
from vlrlt.models.adapt import adapt_video_weights
from vlrlt.models.checkpoint import load_checkpoint
from vlrlt.models.config import SentencePieceTextConfig, VideoEncoderConfig
from vlrlt.models.dual_encoder import DualEncoder, InferenceConfig
from vlrlt.models.huggingface import HuggingFaceText, HuggingFaceTextConfig
from vlrlt.models.text import SentencePieceText, TextTower
from vlrlt.models.video_encoder import VideoEncoder
from vlrlt.models.vocabulary import fit_vocabulary
from vlrlt.models.weights import load_weights
from vlrlt.video.transforms import Preprocess

Lock = Literal["none", "video", "text"]


@dataclass(frozen=True, kw_only=True)
class HuggingFaceStart:
    """A text tower that begins with pretrained weights."""

    source: str
    """A folder, or a name on the Hugging Face hub, e.g. sentence-transformers/all-MiniLM-L6-v2."""
    config: HuggingFaceTextConfig


def build_model(
    *,
    video: VideoEncoderConfig,
    text: SentencePieceTextConfig | HuggingFaceStart | None,
    inference: InferenceConfig,
    captions: Callable[[], Sequence[str]],
    init_from: str | None,
) -> DualEncoder:
    """Both towers.

    Args:
        video: architecture of the video encoder.
        text: architecture of the text tower; None: that of init_from, with its weights.
        inference: preprocessing, sampling and token policy.
        captions: gives the training captions, for a vocabulary.
        init_from: a checkpoint folder or an open_clip name; its video weights are adapted to the architecture.

    Raises:
        CheckpointError: a model cannot be loaded, or its weights do not fit.
        ConfigError: there is nothing to make a text tower from, or the recipe normalises unlike init_from.
    """
    source = None if init_from is None else _load(init_from)
    if source is not None:
        _check_normalisation(inference.preprocess, source.inference.preprocess, init_from=str(init_from))
    tower = VideoEncoder(video, mean=inference.preprocess.mean, std=inference.preprocess.std)
    if source is not None:
        load_weights(tower, adapt_video_weights(source.video, tower), source=str(init_from))
    dual = DualEncoder(video=tower, text=_text(text, captions, source), inference=inference)
    if source is not None:
        dual.logit_scale.data.copy_(source.logit_scale.data)
    return dual


def lock_towers(model: DualEncoder, lock: Lock) -> None:
    """Freeze a tower (LiT, arXiv 2111.07991): it gets no gradient and never leaves evaluation mode."""
    towers: dict[Lock, list[nn.Module]] = {"none": [], "video": [model.video], "text": [model.text]}
    for tower in towers[lock]:
        tower.requires_grad_(requires_grad=False)
        tower.eval()


def _load(name: str) -> DualEncoder:
    if Path(name).is_dir():
        return load_checkpoint(Path(name))
    from vlrlt.models.open_clip import load_open_clip  # open_clip takes seconds to import

    return load_open_clip(name)


def _check_normalisation(ours: Preprocess, theirs: Preprocess, *, init_from: str) -> None:
    """Weights expect the mean and the standard deviation that they were trained with."""
    if not np.allclose((ours.mean, ours.std), (theirs.mean, theirs.std), atol=1e-4):
        raise ConfigError(
            f"preprocess has mean {ours.mean} and std {ours.std}, but {init_from} was trained with mean {theirs.mean} "
            f"and std {theirs.std}; write those into the recipe"
        )


def _text(
    text: SentencePieceTextConfig | HuggingFaceStart | None,
    captions: Callable[[], Sequence[str]],
    source: DualEncoder | None,
) -> TextTower:
    if text is None:
        if source is None:
            raise ConfigError("a recipe needs text (an architecture) or init_from (a model with a text tower)")
        return source.text
    if isinstance(text, HuggingFaceStart):
        return HuggingFaceText.from_pretrained(text.source, text.config)
    if source is not None and isinstance(source.text, SentencePieceText):
        tower = SentencePieceText.with_vocabulary(text, source.text.vocabulary)
        load_weights(tower, source.text.state_dict(), source="text tower of init_from")
        return tower
    return SentencePieceText.with_vocabulary(text, fit_vocabulary(captions(), vocab_size=text.vocab_size))
