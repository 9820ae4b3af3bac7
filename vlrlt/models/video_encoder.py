"""The run-length video encoder.

Two attention regimes over the kept tokens of a clip:

joint         One CLS (or none) and all kept tokens of the clip attend to each other. A token's position is its patch,
              its first step and, when configured, its run length. Attention logits get + log(run length) of the key
              (proportional attention, ToMe, arXiv 2210.09461), so that a run counts as often as the dense model would
              have counted it. For models trained on video. With step_outputs every step has a CLS of its own, whose
              position is the step, or pools the tokens alive in it; the clip is then the mean of its steps.
run_overlap   For image towers, without training. Every frame keeps its own CLS, if the tower has one, alive for that
              frame; a patch token is alive on its run. Token i attends to token j with bias log |run_i & run_j|, minus
              infinity when they do not meet. A frame is pooled from its CLS or from the tokens alive in it. Nothing
              dropped = the image tower on every frame; everything static = the tower on one image.
              A token shows the middle step of its run: half the error of its first step where things drift.

Pixels stay uint8 until a patch is known to be kept; only kept patches are normalised and embedded.

Shape legend: B clips, T frames, S steps, h x w patch grid, K pixels of a tubelet, N kept tokens, M = N + CLS tokens,
D width, E embedding.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from vlrlt.errors import ConfigError
from vlrlt.models.attention import Sequences, alive_tokens, joint_attention, run_overlap_attention
from vlrlt.models.config import VideoEncoderConfig
from vlrlt.models.layers import Block, Linear
from vlrlt.models.pooling import AttentionPool
from vlrlt.models.rotary import rotary_table, rotation_of
from vlrlt.tokens.packing import Packing, pack
from vlrlt.tokens.patches import patchify
from vlrlt.tokens.run_length import TokenPolicy, keep_mask


@dataclass(frozen=True)
class VideoFeatures:
    """What the encoder says about a batch of clips."""

    clip_BE: Tensor
    """One vector a clip: the unit mean direction of the outputs of its steps; without them it is not normalised."""
    steps_BSE: Tensor | None
    """An output for every step, not normalised, which locates a moment in the clip: in run_overlap that of the image
    tower for every frame, in the joint regime with config.step_outputs; else None."""
    num_tokens_BS: Tensor
    """Patch tokens that were encoded of each step."""

    @property
    def num_tokens_B(self) -> Tensor:
        """Patch tokens that were encoded for each clip."""
        return self.num_tokens_BS.sum(1)


class VideoEncoder(nn.Module):
    """Run-length encoder of clips.

    Args:
        config: architecture.
        mean: of pixel values in [0, 1], per channel.
        std: likewise.
    """

    def __init__(
        self,
        config: VideoEncoderConfig,
        *,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
    ) -> None:
        super().__init__()
        self.config = config
        self.mean_3 = nn.Buffer(torch.tensor(mean), persistent=False)
        self.std_3 = nn.Buffer(torch.tensor(std), persistent=False)
        width = config.width
        num_pixels = config.tubelet_size * config.patch_size_px**2 * 3
        self.patch_embedding = Linear(num_pixels, width, bias=config.patch_bias)
        self.cls_embedding = nn.Parameter(torch.zeros(width)) if config.has_cls else None
        self.position_embedding = nn.Parameter(torch.zeros(config.grid_size**2, width))
        self.cls_position = nn.Parameter(torch.zeros(width)) if config.has_cls else None
        rotary_P2F = rotary_table(config.grid_size, width // config.num_heads) if config.rotary_embedding else None
        self.rotary_P2F = nn.Buffer(rotary_P2F) if rotary_P2F is not None else None
        steps = (config.num_steps, width)
        self.temporal_embedding = nn.Parameter(torch.zeros(steps)) if config.temporal_embedding else None
        self.run_length_embedding = nn.Parameter(torch.zeros(steps)) if config.run_length_embedding else None
        self.norm_pre = nn.LayerNorm(width, eps=config.norm_epsilon) if config.pre_norm else nn.Identity()
        mlp_width = config.mlp_width or 4 * width
        self.blocks = nn.ModuleList(
            Block(
                width=width,
                num_heads=config.num_heads,
                mlp_width=mlp_width,
                activation=config.activation,
                norm_epsilon=config.norm_epsilon,
                drop_path=config.drop_path * index / max(1, config.depth - 1),
            )
            for index in range(config.depth)
        )
        self.norm_post = nn.LayerNorm(width, eps=config.norm_epsilon)
        self.attention_pool = None
        if config.pooling == "attention":
            self.attention_pool = AttentionPool(
                width=width,
                num_heads=config.pool_heads or config.num_heads,
                mlp_width=config.pool_mlp_width or mlp_width,
                activation=config.activation,
                norm_epsilon=config.norm_epsilon,
            )
        has_projection, has_bias = config.projection != "none", config.projection == "affine"
        self.projection = nn.Parameter(torch.empty(width, config.embed_dim)) if has_projection else None
        self.projection_bias = nn.Parameter(torch.zeros(config.embed_dim)) if has_bias else None
        self.checkpoint_blocks = False
        """Training keeps only what enters each block and computes the rest again (arXiv 1604.06174)."""
        self._initialise()

    def _initialise(self) -> None:
        """Places and times start as sinusoids, which a small model learns from sooner; run lengths start at 0."""
        side, width = self.config.grid_size, self.config.width
        axis_LD = _sinusoids(side, width // 2)
        with torch.no_grad():
            self.position_embedding[:, : width // 2] = axis_LD.repeat_interleave(side, 0)
            self.position_embedding[:, width // 2 :] = axis_LD.repeat(side, 1)
            if self.temporal_embedding is not None:
                self.temporal_embedding.copy_(_sinusoids(self.config.num_steps, width))
        for parameter in (self.cls_embedding, self.cls_position):
            if parameter is not None:
                nn.init.normal_(parameter, std=0.02)
        if self.projection is not None:
            nn.init.normal_(self.projection, std=width**-0.5)

    def forward(self, rgb_BTHWC: Tensor, policy: TokenPolicy) -> VideoFeatures:
        """Encode clips.

        Args:
            rgb_BTHWC: uint8, height = width = config.image_size_px, T a multiple of config.tubelet_size.
            policy: which tokens to drop.

        Raises:
            ConfigError: wrong dtype or size, or more frames than a temporal embedding has room for.
        """
        patches_BShwK = self._patches(rgb_BTHWC)
        packing = pack(keep_mask(patches_BShwK, tubelet_size=self.config.tubelet_size, policy=policy))
        shown_step_N = packing.middle_step_N if self.config.regime == "run_overlap" else packing.step_N
        shown_NK = patches_BShwK.flatten(2, 3)[packing.clip_N, shown_step_N, packing.patch_N]
        tokens_ND = self._embed(shown_NK, packing)
        if self.config.regime == "joint":
            return self._forward_joint(tokens_ND, packing)
        return self._forward_run_overlap(tokens_ND, packing)

    def keep_mask(self, rgb_BTHWC: Tensor, policy: TokenPolicy) -> Tensor:
        """(B, S, h, w), bool: which tokens of clips are encoded; raises as forward."""
        return keep_mask(self._patches(rgb_BTHWC), tubelet_size=self.config.tubelet_size, policy=policy)

    def _patches(self, rgb_BTHWC: Tensor) -> Tensor:
        """(B, S, h, w, K), uint8 tubelets; of an image that is no multiple of the patch, the margin is not seen."""
        self._check(rgb_BTHWC)
        seen_px = self.config.grid_size * self.config.patch_size_px
        return patchify(
            rgb_BTHWC[:, :, :seen_px, :seen_px],
            patch_size_px=self.config.patch_size_px,
            tubelet_size=self.config.tubelet_size,
        )

    def _check(self, rgb_BTHWC: Tensor) -> None:
        size_px, num_frames = self.config.image_size_px, rgb_BTHWC.shape[1]
        if rgb_BTHWC.dtype != torch.uint8 or rgb_BTHWC.shape[2:] != (size_px, size_px, 3):
            raise ConfigError(
                f"clips must be uint8 of shape (B, T, {size_px}, {size_px}, 3), "
                f"got {rgb_BTHWC.dtype} {tuple(rgb_BTHWC.shape)}; apply the model's Preprocess first"
            )
        if self.config.regime == "joint" and num_frames > self.config.num_frames:
            raise ConfigError(
                f"this encoder was built for clips of at most {self.config.num_frames} frames, got {num_frames}; "
                f"sample fewer frames per clip"
            )

    def _embed(self, pixels_NK: Tensor, packing: Packing) -> Tensor:
        """Normalise and embed the kept tubelets and add what is known of their place and duration."""
        weight_DK = self.patch_embedding.weight
        values_N3 = pixels_NK.to(weight_DK.dtype).div_(255).view(len(pixels_NK), -1, 3)
        tokens_ND: Tensor = self.patch_embedding(((values_N3 - self.mean_3) / self.std_3).flatten(1))
        tokens_ND = tokens_ND + self.position_embedding[packing.patch_N]
        if self.temporal_embedding is not None:
            tokens_ND = tokens_ND + self.temporal_embedding[packing.step_N]
        if self.run_length_embedding is not None:
            tokens_ND = tokens_ND + self.run_length_embedding[packing.run_length_N - 1]
        return tokens_ND

    def _forward_joint(self, tokens_ND: Tensor, packing: Packing) -> VideoFeatures:
        cls_CD = self._cls_of_clip(packing.num_steps)
        sequences = joint_attention(
            packing, num_cls=len(cls_CD), dtype=tokens_ND.dtype, log_run_length=self.config.log_run_length
        )
        x_MD = self._run_blocks(tokens_ND, packing, sequences, cls_CD.repeat(packing.num_clips, 1))
        if not self.config.step_outputs:
            return VideoFeatures(self._output(x_MD, partial(self._pool_clips, packing)), None, packing.num_tokens_BS)
        if self.config.pooling == "cls":
            of_all_steps_E = self._output(x_MD, lambda x_MD: x_MD[: len(x_MD) - len(tokens_ND)])
            steps_BSE = of_all_steps_E.view(packing.num_clips, packing.num_steps, -1)
        else:
            steps_BSE = self._output(x_MD, partial(self._pool_distinct, packing))[packing.distinct_BS]
        return VideoFeatures(mean_of_steps(steps_BSE), steps_BSE, packing.num_tokens_BS)

    def _forward_run_overlap(self, tokens_ND: Tensor, packing: Packing) -> VideoFeatures:
        sequences = run_overlap_attention(packing, has_cls=self.config.has_cls, dtype=tokens_ND.dtype)
        cls_FD = self._cls_of_clip(1).repeat(len(packing.distinct_clip_F), 1)
        x_MD = self._run_blocks(tokens_ND, packing, sequences, cls_FD)
        steps_BSE = self._output(x_MD, partial(self._pool_distinct, packing))[packing.distinct_BS]
        return VideoFeatures(mean_of_steps(steps_BSE), steps_BSE, packing.num_tokens_BS)

    def _cls_of_clip(self, num_steps: int) -> Tensor:
        """(C, D): the CLS tokens that a clip begins with, if it has any: one, or one for each step."""
        if self.cls_embedding is None or self.cls_position is None:
            return self.position_embedding.new_empty(0, self.config.width)
        cls_CD: Tensor = (self.cls_embedding + self.cls_position)[None]
        if self.config.step_outputs and self.config.pooling == "cls" and self.temporal_embedding is not None:
            cls_CD = cls_CD + self.temporal_embedding[:num_steps]
        return cls_CD

    def _run_blocks(self, tokens_ND: Tensor, packing: Packing, sequences: Sequences, all_cls_D: Tensor) -> Tensor:
        """All CLS tokens of the batch, if any, come first: the packed linear layers do not care about order."""
        x_MD: Tensor = torch.cat([all_cls_D.to(tokens_ND.dtype), tokens_ND])
        rotation_M2F = None
        if self.rotary_P2F is not None:
            rotation_M2F = rotation_of(self.rotary_P2F, packing.patch_N, num_cls=len(all_cls_D))
        x_MD = self.norm_pre(x_MD)
        for block in self.blocks:
            if self.checkpoint_blocks and self.training:
                x_MD = checkpoint(block, x_MD, sequences, rotation_M2F, use_reentrant=False)
            else:
                x_MD = block(x_MD, sequences, rotation_M2F)
        return x_MD

    def _output(self, x_MD: Tensor, pool: Callable[[Tensor], Tensor]) -> Tensor:
        """Final LayerNorm, pooling and projection, in the order of the architecture; a CLS is the same in either."""
        norm_last = self.config.pooling == "cls" or self.config.norm_after_pooling
        pooled_D: Tensor = self.norm_post(pool(x_MD)) if norm_last else pool(self.norm_post(x_MD))
        if self.projection is not None:
            pooled_D = pooled_D @ self.projection
        if self.projection_bias is not None:
            pooled_D = pooled_D + self.projection_bias
        return pooled_D

    def _pool_clips(self, packing: Packing, x_MD: Tensor) -> Tensor:
        """(B, D): the CLS of each clip, or the mean of its tokens, weighted by their run lengths."""
        if self.config.pooling == "cls":
            return x_MD[: packing.num_clips]
        weight_N1 = packing.run_length_N.to(x_MD.dtype)[:, None]
        sums_BD = x_MD.new_zeros(packing.num_clips, x_MD.shape[-1])
        sums_BD = sums_BD.index_add(0, packing.clip_N, x_MD[-len(weight_N1) :] * weight_N1)
        return sums_BD / packing.keep_BShw[0].numel()  # the run lengths of a clip sum to its dense tokens

    def _pool_distinct(self, packing: Packing, x_MD: Tensor) -> Tensor:
        """(F, D): the CLS of each distinct step, or a pool of the tokens that stand for it."""
        if self.config.pooling == "cls":
            return x_MD[: len(packing.distinct_clip_F)]
        if self.attention_pool is not None:
            pooled_FD: Tensor = self.attention_pool(x_MD, alive_tokens(packing, has_cls=self.config.has_cls))
            return pooled_FD
        return x_MD[-len(packing.clip_N) :][alive_tokens(packing, has_cls=False)].mean(1)


def mean_of_steps(steps_BSE: Tensor) -> Tensor:
    """(B, E) unit vectors: the mean of the unit vectors of a clip's steps."""
    return functional.normalize(functional.normalize(steps_BSE, dim=-1).mean(1), dim=-1)


def _sinusoids(length: int, width: int) -> Tensor:
    """(length, width) sines and cosines of wavelengths from 4 to 400 positions, of amplitude 1/2."""
    wavelength_F = 4 * torch.logspace(0, 2, width // 2)
    angle_LF = 2 * math.pi * torch.arange(length)[:, None] / wavelength_F
    return 0.5 * torch.cat([angle_LF.sin(), angle_LF.cos()], dim=1)
