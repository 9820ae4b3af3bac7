"""A dataset as a LightningDataModule."""

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import lightning as L  # noqa: N812 - the name its own documentation uses
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch.utils.data import DataLoader, Dataset

from vlrlt.datasets.base import CaptionedSpan, CaptionedVideos
from vlrlt.datasets.relevancy import ActionTable
from vlrlt.errors import ConfigError, DecodeError
from vlrlt.train.augment import Augmentation, cut_clips
from vlrlt.train.clips import Batch, Sample, SpanClips, collate, join
from vlrlt.train.frames import CachedFrames, DecodedFrames, FrameSource
from vlrlt.train.sampler import BatchKind, BatchSampler, DistinctActions, Draw, MicroBatches, Scenes, Share, Shuffled
from vlrlt.train.unreadable import UnreadableClips
from vlrlt.video.decode import DecoderName

MICRO_BATCH_CLIPS = 16
"""What a worker decodes at once. All workers together are two batches ahead of the model, however many they are: a
worker with a batch of its own would hold 3.6 GB for 512 clips of 16 frames at 288 px."""


class ClipLoader(DataLoader[Sample]):
    """Batches of which every worker decodes a part.

    Tells Lightning that it may resume inside an epoch: the sampler itself looks how far the epoch has come.
    """

    def __init__(
        self,
        clips: SpanClips,
        *,
        batches: BatchSampler,
        num_workers: int,
        **options: Any,  # noqa: ANN401 - DataLoader's
    ) -> None:
        self._parts = MicroBatches(batches, size=MICRO_BATCH_CLIPS)
        ahead = math.ceil(2 * self._parts.per_batch / num_workers) if num_workers else None
        super().__init__(clips, batch_sampler=self._parts, num_workers=num_workers, prefetch_factor=ahead, **options)

    def __len__(self) -> int:
        """Batches per epoch."""
        return len(self._parts.sampler)

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        """Batches of this process."""
        parts = super().__iter__()
        while taken := list(islice(parts, self._parts.per_batch)):
            yield join(taken)

    def state_dict(self) -> dict[str, Any]:
        """Nothing: see BatchSampler.first_batch."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing to load."""


class _WithoutAugmentation(Dataset[Sample]):
    """Every span in its order."""

    def __init__(self, clips: SpanClips) -> None:
        self._clips = clips

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, index: int) -> Sample:
        return self._clips[Draw(index, None)]


@dataclass
class ClipDataModule(L.LightningDataModule):
    """Training and validation clips of any dataset of `vlrlt.datasets`.

    Validation takes the dataset's own split `val` where it has one, else the last groups (participants, videos) of the
    training split; the test split is never touched.
    """

    dataset: CaptionedVideos
    batch_size: int = 64
    """Clips of one step of all processes together."""
    batches: BatchKind = "shuffled"
    """shuffled: every clip once an epoch; distinct_actions: no action twice in a batch, all verbs of each noun; scenes:
    half a batch as shuffled, and for each of its clips another of the same scene (EgoVLP's hard negatives)."""
    num_batches: int = 100
    """Batches of an epoch, for distinct_actions."""
    scene_s: float = 60.0
    """Length of a scene in seconds, for scenes."""
    val_share: float = 0.1
    """Share of the groups that is held out; 0: none, the model of the last step is the result."""
    cache_dir: Path | None = None
    """Keep all frames of all videos there, at short_side_px (0.5 MB per second at 96 px); None: decode every clip."""
    short_side_px: int | None = None
    """Larger pictures are shrunk to it by the workers, before they are cut on the device; None: image_size_px."""
    positive_relevancy: float | None = None
    """Draw a clip's caption from all whose relevancy is larger (AVION: 0.1); None: it keeps its own."""
    num_workers: int = 1
    seed: int = 0
    backend: DecoderName = "decord"
    augmentation: Augmentation = field(default_factory=Augmentation)
    num_frames: int = 16
    image_size_px: int = 96

    def __post_init__(self) -> None:
        super().__init__()

    @property
    def captions(self) -> list[str]:
        """Every caption of the training split: what a vocabulary is fitted on."""
        return [span.caption for span in self.dataset.spans("train")]

    def setup(self, stage: str) -> None:  # noqa: ARG002 - the same for every stage
        """Divide the spans, look for every video, fill the cache.

        Raises:
            AnnotationError: annotations or videos are missing.
            ConfigError: too few groups to hold one out.
        """
        train, val = self._divide()
        if self.dataset.repairs.counts:
            rank_zero_info(self.dataset.repairs.as_text())
        self.table = ActionTable(span.action for span in (*train, *val))
        paths = {span.video_id: Path() for span in (*train, *val)}
        paths = {video_id: self.dataset.video_path(video_id) for video_id in sorted(paths)}
        short_side_px = self.short_side_px or self.image_size_px
        source: FrameSource
        if self.cache_dir is None:
            source = DecodedFrames(short_side_px=short_side_px, backend=self.backend)
        else:
            source = CachedFrames(self.cache_dir, short_side_px=short_side_px, backend=self.backend)
            for path in paths.values():
                with suppress(DecodeError):  # its clips are counted when they are drawn
                    source.video(path)
        shared: dict[str, Any] = {
            "paths": paths,
            "table": self.table,
            "source": source,
            "num_frames": self.num_frames,
            "augmentation": self.augmentation,
        }
        self.train_clips = SpanClips(train, positive_relevancy=self.positive_relevancy, **shared)
        self.val_clips = SpanClips(val, **shared)
        self.unreadable = UnreadableClips(len(train))

    def train_dataloader(self) -> ClipLoader:
        """Batches as configured."""
        return ClipLoader(self.train_clips, batches=self._sampler(), **self._workers())

    def val_dataloader(self) -> list[DataLoader[Sample]]:
        """Every held-out clip, in order, if there is any."""
        if not len(self.val_clips):
            return []
        return [DataLoader(_WithoutAugmentation(self.val_clips), batch_size=MICRO_BATCH_CLIPS, **self._workers())]

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:  # noqa: ARG002 - Lightning's
        """Cut, resize and light the clips where the model is."""
        rgb_BTHWC = cut_clips(batch.clips, batch.augment_params, size_px=self.image_size_px)
        return replace(batch, clips=[], augment_params=[], rgb_BTHWC=rgb_BTHWC)

    def _divide(self) -> tuple[tuple[CaptionedSpan, ...], tuple[CaptionedSpan, ...]]:
        train = self.dataset.spans("train")
        if "val" in self.dataset.splits:
            return train, self.dataset.spans("val")
        if not self.val_share:
            return train, ()
        groups = sorted({span.group for span in train})
        num_val = max(1, round(self.val_share * len(groups)))
        if num_val >= len(groups):
            raise ConfigError(
                f"{len(groups)} groups (participants or videos) in the training split cannot be divided into training "
                f"and validation; make more videos"
            )
        held_out = set(groups[-num_val:])
        return (
            tuple(span for span in train if span.group not in held_out),
            tuple(span for span in train if span.group in held_out),
        )

    def _sampler(self) -> BatchSampler:
        shared: dict[str, Any] = {"batch_size": self.batch_size, "seed": self.seed}
        if self.trainer is not None:
            progress = self.trainer.fit_loop.epoch_loop.batch_progress
            shared["share"] = Share(self.trainer.global_rank, self.trainer.world_size)
            shared["first_batch"] = lambda: progress.current.ready
        if self.batches == "shuffled":
            return Shuffled(self.train_clips.spans, **shared)
        if self.batches == "scenes":
            return Scenes(self.train_clips.spans, scene_s=self.scene_s, **shared)
        return DistinctActions(self.train_clips.spans, num_batches=self.num_batches, **shared)

    def _workers(self) -> dict[str, Any]:
        return {
            "collate_fn": collate,
            "num_workers": self.num_workers,
            "persistent_workers": self.num_workers > 0,
            "multiprocessing_context": "spawn" if self.num_workers else None,
            # Its own: an iterator draws a number when it is made, which would shift the model's random numbers.
            "generator": torch.Generator(),
        }
