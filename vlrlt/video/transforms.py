"""From a decoded frame to the uint8 square that an encoder takes.

The pixels equal those of open_clip's image transform before normalisation (torchvision's Resize and CenterCrop on a PIL
image), so that a pretrained tower sees what it was trained on. Frames stay uint8: the keep mask is computed on grey
levels, and normalising is the encoder's job, after the mask.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

import numpy as np
from PIL import Image

from vlrlt.errors import ConfigError
from vlrlt.types import UInt8Array

Interpolation = Literal["bicubic", "bilinear"]
ResizeMode = Literal["shortest", "squash"]
MAX_SIZE_PX = 2**16

_MARGIN_PX = 3
"""A bicubic filter sees two pixels of the target beyond the edge."""
_RESAMPLING: dict[Interpolation, Image.Resampling] = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
}


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """Resize a frame to a square; carries the normalisation that the encoder applies later.

    Raises:
        ConfigError: a field is out of its range.
    """

    image_size_px: int
    """Side of the square, 1 to MAX_SIZE_PX."""
    interpolation: Interpolation = "bicubic"
    """Always antialiased."""
    resize_mode: ResizeMode = "shortest"
    """shortest: the shorter side becomes image_size_px and the centre is cut out; squash: both sides do, uncut."""
    mean: tuple[float, float, float]
    """Of R, G, B values in [0, 1]."""
    std: tuple[float, float, float]
    """Of R, G, B values in [0, 1], > 0."""

    def __post_init__(self) -> None:
        if not 1 <= self.image_size_px <= MAX_SIZE_PX:
            raise ConfigError(f"image_size_px must be 1 to {MAX_SIZE_PX}, got {self.image_size_px:.6g}; try 224")
        for field, got, allowed in (
            ("interpolation", self.interpolation, get_args(Interpolation)),
            ("resize_mode", self.resize_mode, get_args(ResizeMode)),
        ):
            if got not in allowed:
                raise ConfigError(f"{field} must be one of {', '.join(allowed)}, got {got!r}; try {allowed[0]}")
        values = (*self.mean, *self.std)
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0 or not all(map(math.isfinite, values)):
            raise ConfigError(f"mean and std need three values each, std > 0, got {self.mean} and {self.std}; try 0.5")

    def __call__(self, rgb_HWC: UInt8Array) -> UInt8Array:
        """Resize one frame: to the pixels that open_clip's transform gives.

        Of frames that are wider than high only the part that is kept is resized, which halves the time. Pillow rounds
        the borders of that part to float32, so that one value in hundreds may differ by a grey level or two.

        Args:
            rgb_HWC: (height_px, width_px, 3) uint8.

        Returns:
            (image_size_px, image_size_px, 3) uint8.
        """
        height_px, width_px, _ = rgb_HWC.shape
        size_px = self.image_size_px
        resized_px = (size_px, size_px)
        if self.resize_mode == "shortest":
            short_px, long_px = sorted((width_px, height_px))
            long_resized_px = int(size_px * long_px / short_px)
            resized_px = (size_px, long_resized_px) if width_px <= height_px else (long_resized_px, size_px)
        # round() and not //: torchvision's CenterCrop rounds halves to even.
        left_px, top_px = (round((side_px - size_px) / 2) for side_px in resized_px)
        image, resampling = Image.fromarray(rgb_HWC), _RESAMPLING[self.interpolation]
        if left_px > _MARGIN_PX and not top_px:  # what is cut off at the sides need not be resized
            scale, margin_px = width_px / resized_px[0], _MARGIN_PX
            box = (scale * (left_px - margin_px), 0.0, scale * (left_px + size_px + margin_px), float(height_px))
            image = image.resize((size_px + 2 * margin_px, size_px), resampling, box)
            left_px = margin_px
        else:  # upright pictures would be rounded once more: Pillow resizes parts of them in another order
            image = image.resize(resized_px, resampling)
        return np.array(image.crop((left_px, top_px, left_px + size_px, top_px + size_px)))

    def as_json(self) -> dict[str, Any]:
        """Every field, for a checkpoint's config, a fingerprint or another process."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """The inverse of as_json, also after the tuples became JSON lists.

        Raises:
            ConfigError: a field is missing, unknown or out of its range.
        """
        try:
            return cls(**{**fields, "mean": tuple(fields["mean"]), "std": tuple(fields["std"])})
        except (KeyError, TypeError) as error:
            allowed = ", ".join(field.name for field in dataclasses.fields(cls))
            raise ConfigError(f"preprocessing needs the fields {allowed}, got {dict(fields)}") from error
