"""The result of an adapter for an image tower, and helpers that all adapters share.

Shape legend: D width, K pixels of a patch in (row, column, channel) order.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from vlrlt.errors import CheckpointError
from vlrlt.models.config import VideoEncoderConfig
from vlrlt.video.sampling import MotionSampling

IMAGE_TOWER_SAMPLING = MotionSampling()
"""The default of image towers: looks follow motion."""

SUPPORTED = (
    "supported are open_clip's VisionTransformer (OpenAI, LAION, DataComp, MetaCLIP, TinyCLIP, CLIPA: ViT-B-16, ...), "
    "timm's VisionTransformer (SigLIP, SigLIP2: ViT-B-16-SigLIP2, ...) and "
    "timm's Eva with the rotary positions of PE-Core (PE-Core-B-16, ...)"
)


@dataclass(frozen=True, kw_only=True)
class Tower:
    """An image tower as a video encoder in the run-overlap regime."""

    config: VideoEncoderConfig
    """Known also of a tower on the meta device."""
    weights: Callable[[], dict[str, Tensor]]
    """Makes the encoder's state dict."""


def refuse(name: str, *problems: tuple[bool, str]) -> None:
    """Name what an image tower has that the video encoder lacks.

    Raises:
        CheckpointError: any problem is real.
    """
    found = [text for wrong, text in problems if wrong]
    if found:
        raise CheckpointError(f"{name}: the image tower has {', '.join(found)}; {SUPPORTED}")


def patch_weight(convolution_DCHW: Tensor) -> Tensor:
    """A patch convolution as the matrix (D, K) of a linear layer."""
    return convolution_DCHW.permute(0, 2, 3, 1).flatten(1)


def rename(weights: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """Replace parts of keys, in the order given."""
    renamed = dict(weights)
    for old, new in names.items():
        renamed = {key.replace(old, new): tensor for key, tensor in renamed.items()}
    return renamed


def fold_layer_scale(weights: dict[str, Tensor], gamma: str, linear: str) -> None:
    """Multiply the gammas of a layer scale into the linear layer before it, wherever a key ends with them."""
    for key in [key for key in weights if key.endswith(gamma)]:
        prefix, gamma_D = key.removesuffix(gamma) + linear, weights.pop(key)
        weights[f"{prefix}.weight"] = gamma_D[:, None] * weights[f"{prefix}.weight"]
        weights[f"{prefix}.bias"] = gamma_D * weights[f"{prefix}.bias"]
