"""The architecture of a model, without its weights. Every class is stored in a checkpoint's config.json."""

from dataclasses import dataclass
from typing import Literal, get_args

from vlrlt.errors import ConfigError

Regime = Literal["joint", "run_overlap"]
Pooling = Literal["cls", "mean", "attention"]
Activation = Literal["gelu", "gelu_tanh", "quick_gelu"]
Projection = Literal["linear", "affine", "none"]
_LARGEST = {"depth": 256, "num_frames": 1024, "image_size_px": 8192, "vocab_size": 2**20}
_LARGEST_ELSE = 2**16
"""Ten times what the largest published models have."""


@dataclass(frozen=True, kw_only=True)
class VideoEncoderConfig:
    """Architecture of the video encoder; see `vlrlt.models.video_encoder` for the two regimes."""

    regime: Regime
    image_size_px: int
    patch_size_px: int
    num_frames: int
    """Frames of a clip that the temporal embedding has room for; run_overlap takes any number."""
    width: int
    depth: int
    num_heads: int
    embed_dim: int
    """Size of the vector shared with the text tower."""
    tubelet_size: int = 1
    mlp_width: int | None = None
    """Hidden size of the MLPs; 4 * width when None."""
    pooling: Pooling = "cls"
    """attention: a learned query attends to the tokens of a frame (SigLIP, PE-Core), in run_overlap only."""
    cls_token: bool | None = None
    """A CLS in the sequence, whether or not it is pooled; None: exactly when pooling is 'cls'."""
    norm_after_pooling: bool = False
    """With mean pooling: the final LayerNorm is of the mean, not of the tokens (CLIPA)."""
    pool_heads: int | None = None
    """Heads of attention pooling; num_heads when None."""
    pool_mlp_width: int | None = None
    """Hidden size of the MLP of attention pooling; that of the blocks when None."""
    projection: Projection = "linear"
    """From width to embed_dim: without a bias, with one, or none at all."""
    activation: Activation = "gelu"
    norm_epsilon: float = 1e-5
    patch_bias: bool = False
    pre_norm: bool = False
    """A LayerNorm between the embeddings and the first block (CLIP)."""
    rotary_embedding: bool = False
    """Queries and keys of patches are rotated by their place in the grid (PE-Core)."""
    temporal_embedding: bool = False
    run_length_embedding: bool = False
    log_run_length: bool = True
    """joint only: attention logits get + log(run length) of the key; off for ablations."""
    step_outputs: bool = False
    """joint only: the clip is pooled step by step, and each step has an output, which locates a moment in the clip."""
    drop_path: float = 0.0
    """Chance that a clip skips a residual branch of the last block while training; grows linearly with depth."""

    def __post_init__(self) -> None:
        _check_sizes(self)
        problems = [
            text
            for wrong, text in (
                (self.regime not in get_args(Regime), f"regime must be one of {get_args(Regime)}"),
                (self.pooling not in get_args(Pooling), f"pooling must be one of {get_args(Pooling)}"),
                (self.activation not in get_args(Activation), f"activation must be one of {get_args(Activation)}"),
                (not 0 <= self.drop_path < 1, "drop_path must be in [0, 1)"),
                (self.projection not in get_args(Projection), f"projection must be one of {get_args(Projection)}"),
                (self.image_size_px < self.patch_size_px, "image_size_px must be patch_size_px or more"),
                (self.pooling == "cls" and not self.has_cls, "pooling = 'cls' needs a CLS token"),
                (
                    self.pooling == "attention" and self.regime != "run_overlap",
                    "attention pooling belongs to the run_overlap regime",
                ),
                (self.norm_after_pooling and self.pooling != "mean", "norm_after_pooling is for mean pooling"),
                (
                    self.projection == "none" and self.embed_dim != self.width,
                    "without a projection embed_dim is the width",
                ),
                (self.width % (self.pool_heads or 1), "width must be a multiple of pool_heads"),
                (
                    self.rotary_embedding and self.width // self.num_heads % 4,
                    "rotary embeddings need heads of a multiple of 4",
                ),
                (self.num_frames % self.tubelet_size, "num_frames must be a multiple of tubelet_size"),
                (self.width % self.num_heads, "width must be a multiple of num_heads"),
                (self.width % 4, "width must be a multiple of 4"),
                (
                    self.regime == "run_overlap" and self.tubelet_size != 1,
                    "the run_overlap regime looks at single frames: tubelet_size = 1",
                ),
                (
                    self.regime == "run_overlap" and (self.temporal_embedding or self.run_length_embedding),
                    "temporal and run-length embeddings belong to the joint regime",
                ),
                (
                    self.step_outputs and self.regime != "joint",
                    "step_outputs is for the joint regime: run_overlap has an output for each frame anyway",
                ),
                (
                    self.step_outputs and self.pooling == "cls" and not self.temporal_embedding,
                    "step_outputs of CLS tokens need a temporal embedding, which alone tells them apart",
                ),
            )
            if wrong
        ]
        if problems:
            raise ConfigError(f"video encoder: {'; '.join(problems)}; got {self}")

    @property
    def has_cls(self) -> bool:
        """There is a CLS in the sequence."""
        return self.pooling == "cls" if self.cls_token is None else self.cls_token

    @property
    def grid_size(self) -> int:
        """Patches along one side of a frame; pixels beyond the last whole patch are not seen, as in a convolution."""
        return self.image_size_px // self.patch_size_px

    @property
    def num_steps(self) -> int:
        """Tubelets along the time of a clip."""
        return self.num_frames // self.tubelet_size

    @property
    def num_dense_tokens(self) -> int:
        """Patch tokens of a clip of num_frames frames when nothing is dropped."""
        return self.num_steps * self.grid_size**2


@dataclass(frozen=True, kw_only=True)
class SentencePieceTextConfig:
    """The project's own small text tower over a fitted SentencePiece vocabulary."""

    vocab_size: int
    context_length: int = 24
    width: int = 128
    depth: int = 2
    num_heads: int = 4
    embed_dim: int = 128

    def __post_init__(self) -> None:
        _check_sizes(self)
        if self.width % self.num_heads:
            raise ConfigError(f"text tower: width must be a multiple of num_heads; got {self}")


@dataclass(frozen=True, kw_only=True)
class OpenClipTextConfig:
    """The text tower of an open_clip architecture, with that architecture's tokenizer."""

    architecture: str
    embed_dim: int


@dataclass(frozen=True, kw_only=True)
class NoTextConfig:
    """An image tower alone; it is no open-vocabulary model until a text tower is trained with it."""

    embed_dim: int


def _check_sizes(config: VideoEncoderConfig | SentencePieceTextConfig) -> None:
    """Every whole number of an architecture is a size or a count, and none is so large that building never ends."""
    for name, value in vars(config).items():
        if (
            isinstance(value, int)
            and not isinstance(value, bool)
            and not 1 <= value <= _LARGEST.get(name, _LARGEST_ELSE)
        ):
            raise ConfigError(f"{name} must be 1 to {_LARGEST.get(name, _LARGEST_ELSE)}, got {value:.6g}")
