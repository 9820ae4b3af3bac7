"""A video encoder and a text tower that share one embedding space.

Shape legend: B clips or texts, T frames, L token ids, E embedding.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vlrlt.errors import ConfigError
from vlrlt.models.config import VideoEncoderConfig
from vlrlt.models.text import TextTower
from vlrlt.models.video_encoder import VideoEncoder
from vlrlt.tokens.run_length import TokenPolicy
from vlrlt.video.sampling import Sampling
from vlrlt.video.transforms import Preprocess

INITIAL_LOGIT_SCALE = 1 / 0.07


@dataclass(frozen=True, kw_only=True)
class InferenceConfig:
    """How clips reach the encoder: part of a checkpoint, and of the fingerprint of every vector."""

    preprocess: Preprocess
    sampling: Sampling
    policy: TokenPolicy


class DualEncoder(nn.Module):
    """Video encoder, text tower and the temperature of their contrastive loss.

    Args:
        video: encoder of clips.
        text: encoder of captions, with the same embed_dim.
        inference: preprocessing, sampling and token policy that the weights were made for.
    """

    def __init__(self, *, video: VideoEncoder, text: TextTower, inference: InferenceConfig) -> None:
        super().__init__()
        if video.config.embed_dim != text.config.embed_dim:
            raise ConfigError(
                f"video and text must have the same embed_dim, got {video.config.embed_dim} and {text.config.embed_dim}"
            )
        self.video = video
        self.text = text
        self.inference = inference
        self.logit_scale = nn.Parameter(torch.tensor(math.log(INITIAL_LOGIT_SCALE)))

    @property
    def video_config(self) -> VideoEncoderConfig:
        """Architecture of the video side."""
        return self.video.config

    def encode_video(self, rgb_BTHWC: Tensor, policy: TokenPolicy | None = None) -> Tensor:
        """Unit vectors (B, E) of uint8 clips; the checkpoint's own policy unless another is given."""
        features = self.video(rgb_BTHWC, policy or self.inference.policy)
        return nn.functional.normalize(features.clip_BE, dim=-1)

    def encode_text(self, ids_BL: Tensor) -> Tensor:
        """Unit vectors (B, E) of tokenised texts."""
        return nn.functional.normalize(self.text(ids_BL), dim=-1)
