"""Captioned spans as training samples and batches.

Shape legend: B clips, T frames, H x W picture, C = 3.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from vlrlt.datasets.base import CaptionedSpan
from vlrlt.datasets.relevancy import ActionTable
from vlrlt.errors import DecodeError, UnreadableClipsError
from vlrlt.train.augment import Augmentation, AugmentParams, draw_augment_params, draw_times
from vlrlt.train.frames import FrameSource
from vlrlt.train.sampler import Draw
from vlrlt.train.unreadable import UnreadableClip
from vlrlt.types import ClipSpan, Float64Array, Int64Array
from vlrlt.video.sampling import frame_times


@dataclass(frozen=True)
class Sample:
    """One clip with a caption."""

    rgb_THWC: Tensor
    """uint8, not cut yet."""
    augment_params: AugmentParams
    caption: str
    clip_action: int
    """Place in the dataset's ActionTable of what the clip shows."""
    text_action: int
    """Of what the caption says: the same, unless captions of similar actions are drawn."""
    shown_T: Tensor
    """Of what each frame shows: the same in the span, NO_ACTION or another action before and after it."""
    unreadable: tuple[UnreadableClip, ...] = ()
    """What could not be read before this clip took its place."""


@dataclass(frozen=True)
class Batch:
    """Clips with their captions."""

    clips: list[Tensor]
    """uint8 (T, H, W, 3), not cut yet; empty once they are."""
    augment_params: list[AugmentParams]
    captions: list[str]
    clip_action_B: Tensor
    text_action_B: Tensor
    shown_BT: Tensor
    unreadable: tuple[UnreadableClip, ...] = ()
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
            shown_BT=self.shown_BT.to(device, non_blocking=non_blocking),
        )


def collate(samples: Sequence[Sample]) -> Batch:
    """Samples side by side; clips may differ in size."""
    return Batch(
        clips=[sample.rgb_THWC for sample in samples],
        augment_params=[sample.augment_params for sample in samples],
        captions=[sample.caption for sample in samples],
        clip_action_B=torch.tensor([sample.clip_action for sample in samples]),
        text_action_B=torch.tensor([sample.text_action for sample in samples]),
        shown_BT=torch.stack([sample.shown_T for sample in samples]),
        unreadable=tuple(clip for sample in samples for clip in sample.unreadable),
    )


def join(parts: Sequence[Batch]) -> Batch:
    """Micro-batches that are not cut yet as one batch; no pixel is copied."""
    return Batch(
        clips=[clip for part in parts for clip in part.clips],
        augment_params=[params for part in parts for params in part.augment_params],
        captions=[caption for part in parts for caption in part.captions],
        clip_action_B=torch.cat([part.clip_action_B for part in parts]),
        text_action_B=torch.cat([part.text_action_B for part in parts]),
        shown_BT=torch.cat([part.shown_BT for part in parts]),
        unreadable=tuple(clip for part in parts for clip in part.unreadable),
    )


NO_ACTION = -1
"""What a frame shows that lies in no annotated span."""
_MAX_CANDIDATES = 50
"""Spans that are tried in the place of one that cannot be read: of its own action, then of any."""


class Texts:
    """Many texts in two tensors, which worker processes share; a list of strings would be copied to every one."""

    def __init__(self, texts: Iterable[str]) -> None:
        encoded = [text.encode() for text in texts]
        self._bytes = torch.from_numpy(np.frombuffer(bytearray(b"".join(encoded)), np.uint8))
        self._ends = torch.tensor([0, *accumulate(map(len, encoded))])

    def __getitem__(self, place: int) -> str:
        """One of them."""
        start, end = self._ends[place : place + 2].tolist()
        return self._bytes[start:end].numpy().tobytes().decode()


class SpanClips(Dataset[Sample]):
    """Captioned spans as clips of num_frames pictures.

    Worker processes get the spans as tensors in shared memory: EgoClip has 3.8 million of them.

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
        self._source = source
        self._num_frames = num_frames
        self._augmentation = augmentation
        self._positive_relevancy = positive_relevancy
        self._table = None if positive_relevancy is None else table
        self._paths = list(paths.values())
        video_places = {video_id: place for place, video_id in enumerate(paths)}
        action_N = table.index(span.action for span in spans)
        caption_places: dict[str, int] = {}
        for span in spans:
            caption_places.setdefault(span.caption, len(caption_places))
        caption_N = np.array([caption_places[span.caption] for span in spans], dtype=np.int64)
        self._captions = Texts(caption_places)
        self._caption_N, self._action_N = torch.from_numpy(caption_N), torch.from_numpy(action_N)
        # A caption that several actions share stands for the first.
        self._caption_action_T = torch.from_numpy(action_N[np.unique(caption_N, return_index=True)[1]])
        self._video_N = torch.tensor([video_places[span.video_id] for span in spans], dtype=torch.int64)
        self._start_N = torch.tensor([span.start_s for span in spans], dtype=torch.float64)
        ends = (math.nan if span.stop_s is None else span.stop_s for span in spans)
        self._stop_N = torch.tensor(list(ends), dtype=torch.float64)
        self._sorted_video_N, self._by_video_N = self._video_N.sort(stable=True)
        self._unreadable: set[int] = set()
        self._fitting = lru_cache(maxsize=None)(self._find_fitting)

    def __getstate__(self) -> dict[str, object]:
        """The cache, a wrapped method, cannot be sent to a worker; the spans are there as tensors."""
        return {key: value for key, value in self.__dict__.items() if key not in ("_fitting", "spans")}

    def __setstate__(self, state: dict[str, object]) -> None:
        """The inverse, in a worker."""
        self.__dict__.update(state)
        self._fitting = lru_cache(maxsize=None)(self._find_fitting)

    def __len__(self) -> int:
        """Number of spans."""
        return len(self._start_N)

    def __getitem__(self, draw: Draw) -> Sample:
        """One look at one span; everything random comes from the draw's seed.

        Another span takes the place of one that cannot be read; a span that is to be seen as it is turns black instead.

        Raises:
            UnreadableClipsError: no other can be read either.
        """
        found: list[UnreadableClip] = []
        for index in self._candidates(draw):
            if index in self._unreadable:
                continue
            try:
                return replace(self._sample(index, draw.seed), unreadable=tuple(found))
            except DecodeError as error:
                self._unreadable.add(index)
                found.append(UnreadableClip(index, f"clip at {float(self._start_N[index]):.2f} s of {error}"))
        if draw.seed is not None:
            raise UnreadableClipsError(f"{len(found)} clips in a row cannot be read", [clip.reason for clip in found])
        action, caption = int(self._action_N[draw.index]), int(self._caption_N[draw.index])
        black_THWC = torch.zeros((self._num_frames, 8, 8, 3), dtype=torch.uint8)
        shown_T = torch.full((self._num_frames,), action)
        return Sample(black_THWC, AugmentParams(), self._captions[caption], action, action, shown_T, tuple(found))

    def _candidates(self, draw: Draw) -> Iterator[int]:
        """The span that is drawn, then others of the same action, then any: always the same ones for one seed."""
        yield draw.index
        if draw.seed is None:
            return
        random = np.random.default_rng((draw.seed, 1))
        same = torch.nonzero(self._action_N == self._action_N[draw.index]).flatten().numpy()
        yield from random.permutation(same[same != draw.index])[:_MAX_CANDIDATES].tolist()
        yield from random.integers(len(self), size=_MAX_CANDIDATES).tolist()

    def _sample(self, index: int, seed: int | None) -> Sample:
        random = None if seed is None else np.random.default_rng(seed)
        action, caption = int(self._action_N[index]), int(self._caption_N[index])
        looks_s = np.empty(0)

        def times_of(duration: Callable[[], float]) -> Float64Array:
            nonlocal looks_s
            looks_s = self._times(index, duration, random)
            return looks_s

        rgb_THWC = self._source.frames(self._paths[int(self._video_N[index])], times_of)
        if random is not None and self._positive_relevancy is not None:
            caption = int(random.choice(self._fitting(action)))
            text_action = int(self._caption_action_T[caption])
        else:
            text_action = action
        augment_params = AugmentParams() if random is None else draw_augment_params(self._augmentation, random)
        clip_THWC = torch.from_numpy(np.ascontiguousarray(rgb_THWC))
        shown_T = torch.from_numpy(self._shown(index, looks_s))
        return Sample(clip_THWC, augment_params, self._captions[caption], action, text_action, shown_T)

    def _times(self, index: int, duration: Callable[[], float], random: np.random.Generator | None) -> Float64Array:
        start_s, stop_s = float(self._start_N[index]), float(self._stop_N[index])
        clip = ClipSpan(start_s, max(duration() if math.isnan(stop_s) else stop_s, start_s + 1e-3))
        if random is None:
            return frame_times(clip, self._num_frames)
        return draw_times(clip, self._num_frames, self._augmentation, random)

    def _shown(self, index: int, times_T: Float64Array) -> Int64Array:
        """(T,): inside the span its own action, outside that of the first other span of the video, or NO_ACTION."""
        video = int(self._video_N[index])
        first, last = torch.searchsorted(self._sorted_video_N, torch.tensor([video, video + 1])).tolist()
        spans = [index, *self._by_video_N[first:last].tolist()]
        start_S, stop_S = (
            self._start_N[spans].numpy()[:, None],
            self._stop_N[spans].nan_to_num(math.inf).numpy()[:, None],
        )
        inside_ST = (start_S <= times_T) & (times_T < stop_S)
        shown_T: Int64Array = np.where(
            inside_ST.any(0), self._action_N[spans].numpy()[inside_ST.argmax(0)], np.int64(NO_ACTION)
        )
        return shown_T

    def _find_fitting(self, action: int) -> list[int]:
        """Places of the distinct captions that fit an action."""
        assert self._table is not None  # noqa: S101 - there is one wherever captions are drawn by relevancy
        relevancy_T = self._table.relevancy(np.array([action]), self._caption_action_T.numpy())[0]
        return np.flatnonzero(relevancy_T > (self._positive_relevancy or 0.0)).tolist()
