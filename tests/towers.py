"""A small dual encoder with random weights, every one of them far from zero, and clips for it; small timm models."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import timm
import torch
from torch import nn

from vlrlt.models.config import SentencePieceTextConfig, VideoEncoderConfig
from vlrlt.models.dual_encoder import DualEncoder, InferenceConfig
from vlrlt.models.text import SentencePieceText
from vlrlt.models.video_encoder import VideoEncoder
from vlrlt.models.vocabulary import fit_vocabulary
from vlrlt.tokens.run_length import TokenPolicy
from vlrlt.types import UInt8Array
from vlrlt.video.sampling import ClipSampling
from vlrlt.video.transforms import Preprocess

CAPTIONS = ("open the fridge", "close the fridge", "cut the red onion", "wash a blue plate")
SIZE_PX = 16
TINY = VideoEncoderConfig(
    regime="joint",
    image_size_px=SIZE_PX,
    patch_size_px=8,
    num_frames=4,
    tubelet_size=2,
    width=16,
    depth=2,
    num_heads=2,
    embed_dim=8,
    pooling="mean",
    temporal_embedding=True,
    run_length_embedding=True,
)
TINY_RUN_OVERLAP = replace(
    TINY, regime="run_overlap", tubelet_size=1, pooling="cls", temporal_embedding=False, run_length_embedding=False
)
TINY_TEXT = SentencePieceTextConfig(vocab_size=60, context_length=8, width=16, depth=1, num_heads=2, embed_dim=8)
INFERENCE = InferenceConfig(
    preprocess=Preprocess(image_size_px=SIZE_PX, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3)),
    sampling=ClipSampling(clip_s=2.0, stride_s=1.0, num_frames=4),
    policy=TokenPolicy(threshold_255=3.0),
)


def tiny_dual(video: VideoEncoderConfig = TINY, *, seed: int = 0) -> DualEncoder:
    """In eval mode, the same weights for the same seed."""
    torch.manual_seed(seed)
    vocabulary = fit_vocabulary(CAPTIONS, vocab_size=TINY_TEXT.vocab_size)
    dual = DualEncoder(
        video=VideoEncoder(video, mean=INFERENCE.preprocess.mean, std=INFERENCE.preprocess.std),
        text=SentencePieceText.with_vocabulary(TINY_TEXT, vocabulary),
        inference=INFERENCE,
    )
    for parameter in dual.parameters():
        parameter.data.add_(0.2 * torch.randn_like(parameter))
    return dual.eval()


TINY_CLIP = "vlrlt-tiny"
"""An architecture that `add_tiny_clip` makes known to open_clip."""


def add_tiny_clip() -> None:
    """CLIP's text tower and vocabulary with 2 layers of width 16."""
    config = {
        "embed_dim": 8,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
    }
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, f"{TINY_CLIP}.json").write_text(json.dumps(config))
        open_clip.add_model_config(folder)


def half_static_clips(num_clips: int, *, num_frames: int = 4, size_px: int = SIZE_PX, seed: int = 0) -> UInt8Array:
    """Noise in the upper half, a still picture in the lower: some tokens are dropped, some are not."""
    rng = np.random.default_rng(seed)
    clips = rng.integers(0, 256, (num_clips, num_frames, size_px, size_px, 3), np.uint8)
    clips[:, :, size_px // 2 :] = clips[:, :1, size_px // 2 :]
    return clips


@contextmanager
def small_timm_models(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """timm's create_model with 2 layers of 2 heads."""
    create = timm.create_model

    def create_small(name: str, **options: Any) -> nn.Module:
        with torch.device("meta"):
            head_width = create(name, depth=1).blocks[0].attn.head_dim
        model: nn.Module = create(name, depth=2, num_heads=2, embed_dim=2 * head_width, **options)
        return model

    with monkeypatch.context() as patch:
        patch.setattr(timm, "create_model", create_small)
        yield
