"""Captioned spans as training samples and batches.

Shape legend: B clips, T frames, H x W picture, C = 3.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from vlrlt.datasets.base import CaptionedSpan
from vlrlt.datasets.relevancy import ActionTable
from vlrlt.train.augment import Augmentation, Look, draw_look, draw_times
from vlrlt.train.frames import FrameSource
from vlrlt.train.sampler import Draw
from vlrlt.types import ClipSpan, Float64Array
from vlrlt.video.sampling import frame_times


@dataclass(frozen=True)
class Sample:
    """One clip with a caption."""

    rgb_THWC: Tensor
    """uint8, not cut yet."""
    look: Look
    caption: str
    clip_action: int
    """Place in the dataset's ActionTable of what the clip shows."""
    text_action: int
    """Of what the caption says: the same, unless captions of similar actions are drawn."""


@dataclass(frozen=True)
class Batch:
    """Clips with their captions."""

    clips: list[Tensor]
    """uint8 (T, H, W, 3), not cut yet; empty once they are."""
    looks: list[Look]
    captions: list[str]
    clip_action_B: Tensor
    text_action_B: Tensor
    rgb_BTHWC: Tensor | None = None
    """Squares of the model's size: made on the device, when the batch is there."""

    @property
    def squares_BTHWC(self) -> Tensor:
        """The pictures, cut."""
        if self.rgb_BTHWC is None:
            raise RuntimeError("ClipDataModule.on_after_batch_transfer has not cut this batch yet")
        return self.rgb_BTHWC

    def to(self, device: torch.device, *, non_blocking: bool = False) -> "Batch":
        """The batch with its tensors on a device; Lightning calls it."""
        return replace(
            self,
            clips=[clip.to(device, non_blocking=non_blocking) for clip in self.clips],
            clip_action_B=self.clip_action_B.to(device, non_blocking=non_blocking),
            text_action_B=self.text_action_B.to(device, non_blocking=non_blocking),
        )


def collate(samples: Sequence[Sample]) -> Batch:
    """Samples side by side; clips may differ in size."""
    return Batch(
        clips=[sample.rgb_THWC for sample in samples],
        looks=[sample.look for sample in samples],
        captions=[sample.caption for sample in samples],
        clip_action_B=torch.tensor([sample.clip_action for sample in samples]),
        text_action_B=torch.tensor([sample.text_action for sample in samples]),
    )


class SpanClips(Dataset[Sample]):
    """Captioned spans as clips of num_frames pictures.

    Args:
        spans: what is drawn from.
        paths: of every video.
        table: of all actions of the dataset.
        source: of the frames.
        num_frames: of a clip.
        augmentation: for draws that have a seed.
        positive_relevancy: a clip's caption is drawn anew from all distinct captions whose relevancy to it is larger
            (AVION: 0.1); None: it keeps its own.
    """

    def __init__(
        self,
        spans: Sequence[CaptionedSpan],
        *,
        paths: Mapping[str, Path],
        table: ActionTable,
        source: FrameSource,
        num_frames: int,
        augmentation: Augmentation,
        positive_relevancy: float | None = None,
    ) -> None:
        self.spans = spans
        self._paths = paths
        self._source = source
        self._num_frames = num_frames
        self._augmentation = augmentation
        self._table = table
        self._action_N = table.index(span.action for span in spans)
        self._positive_relevancy = positive_relevancy
        distinct = {span.caption: action for span, action in zip(spans, self._action_N.tolist(), strict=True)}
        self._captions = list(distinct)
        self._caption_action_T = np.array(list(distinct.values()), dtype=np.int64)
        self._fitting = lru_cache(maxsize=None)(self._find_fitting)

    def __getstate__(self) -> dict[str, object]:
        """The cache stays here: a wrapped method cannot be sent to a worker."""
        return {key: value for key, value in self.__dict__.items() if key != "_fitting"}

    def __setstate__(self, state: dict[str, object]) -> None:
        """The inverse, in a worker."""
        self.__dict__.update(state)
        self._fitting = lru_cache(maxsize=None)(self._find_fitting)

    def __len__(self) -> int:
        """Number of spans."""
        return len(self.spans)

    def __getitem__(self, draw: Draw) -> Sample:
        """One look at one span; everything random comes from the draw's seed."""
        span, action = self.spans[draw.index], int(self._action_N[draw.index])
        random = None if draw.seed is None else np.random.default_rng(draw.seed)
        rgb_THWC = self._source.frames(
            self._paths[span.video_id], lambda duration_s: self._times(span, duration_s, random)
        )
        caption, text_action = span.caption, action
        if random is not None and self._positive_relevancy is not None:
            choice = int(random.choice(self._fitting(action)))
            caption, text_action = self._captions[choice], int(self._caption_action_T[choice])
        look = Look() if random is None else draw_look(self._augmentation, random)
        return Sample(torch.from_numpy(np.ascontiguousarray(rgb_THWC)), look, caption, action, text_action)

    def _times(self, span: CaptionedSpan, duration_s: float, random: np.random.Generator | None) -> Float64Array:
        stop_s = duration_s if span.stop_s is None else span.stop_s
        clip = ClipSpan(span.start_s, max(stop_s, span.start_s + 1e-3))
        if random is None:
            return frame_times(clip, self._num_frames)
        return draw_times(clip, self._num_frames, self._augmentation, random)

    def _find_fitting(self, action: int) -> list[int]:
        """Distinct captions that fit an action."""
        relevancy_T = self._table.relevancy(np.array([action]), self._caption_action_T)[0]
        return np.flatnonzero(relevancy_T > (self._positive_relevancy or 0.0)).tolist()
