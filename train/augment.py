"""Random variation of a span in training.

Times and crops are drawn from a generator of their own, so a look depends on its seed only: not on the number of
workers, and not on where a run was interrupted. Pixels are cut on the device, the same way for all frames of a clip,
because a crop that moves would make everything move.

Shape legend: B clips, T frames, H x W picture, C = 3.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vlrlt.errors import ConfigError
from vlrlt.types import ClipSpan, Float64Array
from vlrlt.video.sampling import frame_times


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How much varies."""

    span_jitter_s: float = 0.5
    """Start and stop of the span each move by up to this much, and by at most 0.4 of its length."""
    segment_jitter: bool = False
    """Each frame is drawn anywhere in its segment of the span (AVION) instead of its centre."""
    window_share: float = 0.0
    """Share of the clips that show the span as a library would: window_s long, centred anywhere in the span."""
    window_s: float = 2.0
    """As the model's clips (`model.sampling.clip_s`)."""
    crop_area: tuple[float, float] = (0.5, 1.0)
    """RandomResizedCrop: share of the picture's area."""
    crop_ratio: tuple[float, float] = (0.75, 4 / 3)
    """RandomResizedCrop: width / height."""
    max_brightness: float = 0.0
    """Brightness and contrast each change by up to this share."""

    def __post_init__(self) -> None:
        if not 0 <= self.window_share <= 1 or not self.window_s > 0:
            raise ConfigError(
                f"window_share must be in [0, 1] and window_s > 0, got {self.window_share} and {self.window_s}"
            )
        if not 0 < self.crop_area[0] <= self.crop_area[1] <= 1 or not 0 < self.crop_ratio[0] <= self.crop_ratio[1]:
            raise ConfigError(
                f"crop_area must be ascending in (0, 1] and crop_ratio ascending > 0, "
                f"got {self.crop_area} and {self.crop_ratio}"
            )


@dataclass(frozen=True)
class AugmentParams:
    """One way to cut and light the pictures of a clip; the default is the centre square as it is."""

    area: float | None = None
    """None: the largest square."""
    ratio: float = 1.0
    """Width / height of the cut."""
    left: float = 0.5
    """Share of the free width that is left of the cut."""
    top: float = 0.5
    contrast: float = 0.0
    brightness: float = 0.0

    def box(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Top, left, height, width of the cut in pixels, inside the picture."""
        if self.area is None:
            cut_height = cut_width = min(height, width)
        else:
            cut_height = round(math.sqrt(self.area * height * width / self.ratio))
            cut_width = round(math.sqrt(self.area * height * width * self.ratio))
        cut_height, cut_width = max(1, min(cut_height, height)), max(1, min(cut_width, width))
        return int(self.top * (height - cut_height)), int(self.left * (width - cut_width)), cut_height, cut_width


def draw_augment_params(augmentation: Augmentation, random: np.random.Generator) -> AugmentParams:
    """RandomResizedCrop and light."""
    low, high = (math.log(ratio) for ratio in augmentation.crop_ratio)
    contrast, brightness = random.uniform(-augmentation.max_brightness, augmentation.max_brightness, 2)
    return AugmentParams(
        area=float(random.uniform(*augmentation.crop_area)),
        ratio=math.exp(random.uniform(low, high)),
        left=float(random.random()),
        top=float(random.random()),
        contrast=float(contrast),
        brightness=float(brightness),
    )


def draw_times(
    span: ClipSpan, num_frames: int, augmentation: Augmentation, random: np.random.Generator
) -> Float64Array:
    """(num_frames,) ascending seconds: one for each of num_frames equal segments of what is shown."""
    if augmentation.window_share and random.random() < augmentation.window_share:
        start_s = max(0.0, random.uniform(span.start_s, span.end_s) - augmentation.window_s / 2)
        shown = ClipSpan(start_s, start_s + augmentation.window_s)
    else:
        reach_s = min(augmentation.span_jitter_s, 0.4 * span.duration_s)
        start_s, stop_s = np.array([span.start_s, span.end_s]) + random.uniform(-reach_s, reach_s, 2)
        shown = ClipSpan(max(0.0, float(start_s)), float(stop_s))
    times_T = frame_times(shown, num_frames)
    if augmentation.segment_jitter:
        segment_s = shown.duration_s / num_frames
        times_T = times_T + segment_s * random.uniform(-0.5, 0.5, num_frames)
    return times_T


def cut_clips(clips: Sequence[Tensor], params: Sequence[AugmentParams], *, size_px: int) -> Tensor:
    """Cut, resize and light clips on the device where they are.

    Args:
        clips: uint8 (T, H, W, 3), of any sizes.
        params: one for each clip.
        size_px: side of the squares.

    Returns:
        rgb_BTHWC: uint8 (B, T, size_px, size_px, 3).
    """
    return torch.stack([_cut(rgb_THWC, one, size_px) for rgb_THWC, one in zip(clips, params, strict=True)])


def _cut(rgb_THWC: Tensor, params: AugmentParams, size_px: int) -> Tensor:
    top, left, height, width = params.box(rgb_THWC.shape[1], rgb_THWC.shape[2])
    cut_TCHW = rgb_THWC[:, top : top + height, left : left + width].permute(0, 3, 1, 2)
    if (height, width) != (size_px, size_px):
        cut_TCHW = torch.nn.functional.interpolate(
            cut_TCHW.float(), size=(size_px, size_px), mode="bilinear", antialias=True
        )
    if params.contrast or params.brightness:
        cut_TCHW = (cut_TCHW.float() - 128) * (1 + params.contrast) + 128 * (1 + params.brightness)
    if cut_TCHW.dtype != torch.uint8:
        cut_TCHW = cut_TCHW.round().clamp(0, 255).to(torch.uint8)
    return cut_TCHW.permute(0, 2, 3, 1)
