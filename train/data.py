"""EPIC-KITCHENS-style annotations as a LightningDataModule.

Every video is decoded once, at the size the model is trained at, into a cache of uint8 frames with their presentation
times; each step then draws a random stretch around an action and a random square of the picture.

Shape legend: B clips, T frames of a clip, F frames of a video, H x W cached picture, C = 3.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import lightning as L  # noqa: N812 - the name its own documentation uses
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from vlrlt.epic import EpicData, Narration, relevancy
from vlrlt.errors import ConfigError
from vlrlt.types import ClipSpan, Float64Array, UInt8Array
from vlrlt.video.decode import DecoderName, open_decoder
from vlrlt.video.sampling import frame_times

Action = tuple[int, frozenset[int]]
"""Verb class and noun classes: two narrations of one action have relevancy 1."""


def action_of(narration: Narration) -> Action:
    """What a narration says, apart from its wording."""
    return narration.verb_class, frozenset(narration.all_noun_classes)


@dataclass(frozen=True)
class Sample:
    """One clip with its caption."""

    rgb_THWC: Tensor
    caption: str
    narration: Narration


@dataclass(frozen=True)
class Batch:
    """Clips with their captions."""

    rgb_BTHWC: Tensor
    captions: list[str]
    narrations: list[Narration]
    relevancy_BB: Tensor
    """Official relevancy of every clip to every caption: 1 for the same verb and nouns, less for a part of them."""

    def to(self, device: torch.device, **options: bool) -> "Batch":
        """The batch with its tensors on a device; Lightning calls it."""
        moved = {name: getattr(self, name).to(device, **options) for name in ("rgb_BTHWC", "relevancy_BB")}
        return replace(self, **moved)


def collate(samples: list[Sample]) -> Batch:
    """Stack samples and compare what they narrate."""
    narrations = [sample.narration for sample in samples]
    return Batch(
        rgb_BTHWC=torch.stack([sample.rgb_THWC for sample in samples]),
        captions=[sample.caption for sample in samples],
        narrations=narrations,
        relevancy_BB=torch.from_numpy(relevancy(narrations, narrations)).float(),
    )


class FrameCache:
    """All frames of a video, shrunk and kept on disk as plain arrays.

    Args:
        folder: where the arrays go; made if it is absent.
        short_side_px: of the cached picture.
        backend: which decoder fills the cache.
    """

    def __init__(self, folder: Path, *, short_side_px: int, backend: DecoderName) -> None:
        self._folder = folder
        self._short_side_px = short_side_px
        self._backend: DecoderName = backend
        self._open: dict[Path, tuple[UInt8Array, Float64Array]] = {}

    def __getstate__(self) -> dict[str, object]:
        """A worker process opens the arrays itself: a pickled memory map would be a copy of all frames."""
        return {**self.__dict__, "_open": {}}

    def frames(self, video: Path) -> tuple[UInt8Array, Float64Array]:
        """Memory-mapped pictures (F, H, W, 3) and their times (F,) in seconds; decoded on first use."""
        if video not in self._open:
            stat = video.stat()  # another file of the same name must not find these frames
            name = f"{video.stem}-{self._short_side_px}px-{stat.st_size}-{stat.st_mtime_ns}"
            rgb_path, pts_path = self._folder / f"{name}.rgb.npy", self._folder / f"{name}.pts.npy"
            if not pts_path.exists():
                self._fill(video, rgb_path, pts_path)
            rgb_FHWC = np.load(rgb_path, mmap_mode="r", allow_pickle=False)
            self._open[video] = rgb_FHWC, np.load(pts_path, allow_pickle=False)
        return self._open[video]

    def _fill(self, video: Path, rgb_path: Path, pts_path: Path) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        pictures: list[UInt8Array] = []
        pts_s: list[float] = []
        with open_decoder(video, backend=self._backend) as decoder:
            step_s = 1 / decoder.info.average_fps
            for frame in decoder.frames_at(np.arange(step_s / 2, decoder.info.duration_s, step_s)):
                if pts_s and frame.pts_s == pts_s[-1]:
                    continue
                pictures.append(self._shrink(frame.rgb_HWC))
                pts_s.append(frame.pts_s)
        np.save(rgb_path, np.stack(pictures))
        np.save(pts_path, np.array(pts_s))  # last: its presence says that the cache of this video is whole

    def _shrink(self, rgb_HWC: UInt8Array) -> UInt8Array:
        height, width = rgb_HWC.shape[:2]
        scale = self._short_side_px / min(height, width)
        size = (round(width * scale), round(height * scale))
        return np.asarray(Image.fromarray(rgb_HWC).resize(size, Image.Resampling.BICUBIC))


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What varies between two looks at one action while training."""

    time_jitter_s: float = 0.5
    """Start and stop of the action each move by up to this much."""
    min_crop: float = 0.8
    """Side of the smallest random square, as a share of the short side."""
    max_brightness: float = 0.15
    """Brightness and contrast change by up to this factor."""


class ActionClips(Dataset[Sample]):
    """Narrated actions as clips of num_frames square pictures."""

    def __init__(
        self,
        data: EpicData,
        narrations: tuple[Narration, ...],
        *,
        cache: FrameCache,
        num_frames: int,
        image_size_px: int,
        augmentation: Augmentation | None,
    ) -> None:
        self.narrations = narrations
        self._data = data
        self._cache = cache
        self._num_frames = num_frames
        self._image_size_px = image_size_px
        self._augmentation = augmentation

    def __len__(self) -> int:
        """Number of narrations."""
        return len(self.narrations)

    def __getitem__(self, index: int) -> Sample:
        """One clip; random draws come from torch's generator, so that workers and runs are seeded by Lightning."""
        narration = self.narrations[index]
        rgb_FHWC, pts_s = self._cache.frames(self._data.video_path(narration))
        span = ClipSpan(narration.start_s, narration.stop_s)
        if self._augmentation:
            span = _jitter(span, self._augmentation.time_jitter_s)
        on_screen = np.searchsorted(pts_s, frame_times(span, self._num_frames), side="right") - 1
        rgb_THWC = torch.from_numpy(rgb_FHWC[on_screen.clip(0, len(pts_s) - 1)])
        if self._augmentation:
            rgb_THWC = _random_square(rgb_THWC, self._image_size_px, self._augmentation)
        else:
            rgb_THWC = _centre_square(rgb_THWC, self._image_size_px)
        return Sample(rgb_THWC, narration.narration, narration)


class DistinctActions(Sampler[list[int]]):
    """Batches in which no action occurs twice and every noun brings all its verbs: "open fridge" meets "close fridge".

    Args:
        narrations: what is sampled from.
        batch_size: actions per batch; at most the number of distinct actions.
        num_batches: batches per epoch.
        seed: the same seed draws the same batches.
    """

    def __init__(self, narrations: tuple[Narration, ...], *, batch_size: int, num_batches: int, seed: int) -> None:
        clips_by_noun: dict[frozenset[int], dict[Action, list[int]]] = defaultdict(lambda: defaultdict(list))
        for index, narration in enumerate(narrations):
            verb_class, nouns = action_of(narration)
            clips_by_noun[nouns][verb_class, nouns].append(index)
        self._clips_by_noun = [clips_by_noun[nouns] for nouns in sorted(clips_by_noun, key=sorted)]
        self._batch_size = min(batch_size, sum(map(len, self._clips_by_noun)))
        self._num_batches = num_batches
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning tells which epoch is drawn, so that a resumed run continues with the batches it would have had."""
        self._epoch = epoch

    def __len__(self) -> int:
        """Batches per epoch."""
        return self._num_batches

    def __iter__(self) -> Iterator[list[int]]:
        """Indices of narrations."""
        random = np.random.default_rng((self._seed, self._epoch))
        for _ in range(self._num_batches):
            batch: list[int] = []
            for noun in random.permutation(len(self._clips_by_noun)):
                batch += [int(random.choice(clips)) for clips in self._clips_by_noun[noun].values()]
            yield batch[: self._batch_size]


@dataclass
class EpicDataModule(L.LightningDataModule):
    """Training and validation clips of a folder in the EPIC-KITCHENS-100 layout; see `vlrlt.epic.EpicData`.

    Validation takes the last participants of the training split; the test split is never touched.
    """

    data_dir: Path
    cache_dir: Path
    """Decoded frames are kept here; about 0.5 MB per second of toy video."""
    batch_size: int = 64
    num_batches: int = 100
    """Batches per epoch."""
    val_share: float = 0.1
    """Share of the training participants that are held out for validation."""
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
        return [narration.narration for narration in EpicData(self.data_dir).narrations("train")]

    def setup(self, stage: str) -> None:  # noqa: ARG002 - the same for every stage
        """Split by participant and fill the frame cache."""
        data = EpicData(self.data_dir)
        narrations = data.narrations("train")
        participants = sorted({narration.participant_id for narration in narrations})
        num_val = max(1, round(self.val_share * len(participants)))
        if num_val >= len(participants):
            raise ConfigError(
                f"{self.data_dir}: {len(participants)} participants in the training split cannot be divided into "
                f"training and validation; make more videos"
            )
        held_out = set(participants[-num_val:])
        cache = FrameCache(self.cache_dir, short_side_px=self.image_size_px, backend=self.backend)
        for video in sorted({data.video_path(narration) for narration in narrations}):
            cache.frames(video)
        shape: dict[str, Any] = {"num_frames": self.num_frames, "image_size_px": self.image_size_px}
        train = tuple(narration for narration in narrations if narration.participant_id not in held_out)
        val = tuple(narration for narration in narrations if narration.participant_id in held_out)
        self.train_clips = ActionClips(data, train, cache=cache, augmentation=self.augmentation, **shape)
        self.val_clips = ActionClips(data, val, cache=cache, augmentation=None, **shape)

    def train_dataloader(self) -> DataLoader[Sample]:
        """Batches of distinct actions."""
        sampler = DistinctActions(
            self.train_clips.narrations, batch_size=self.batch_size, num_batches=self.num_batches, seed=self.seed
        )
        return DataLoader(
            self.train_clips,
            batch_sampler=sampler,
            collate_fn=collate,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            multiprocessing_context="spawn" if self.num_workers else None,
        )

    def val_dataloader(self) -> DataLoader[Sample]:
        """Every clip of the held-out participants, in order."""
        return DataLoader(self.val_clips, batch_size=self.batch_size, collate_fn=collate)


def _jitter(span: ClipSpan, time_jitter_s: float) -> ClipSpan:
    start_shift_s, stop_shift_s = ((torch.rand(2) * 2 - 1) * min(time_jitter_s, 0.4 * span.duration_s)).tolist()
    return ClipSpan(max(0.0, span.start_s + start_shift_s), span.end_s + stop_shift_s)


def _centre_square(rgb_THWC: Tensor, size_px: int) -> Tensor:
    height, width = rgb_THWC.shape[1:3]
    top, left = (height - size_px) // 2, (width - size_px) // 2
    return rgb_THWC[:, top : top + size_px, left : left + size_px]


def _random_square(rgb_THWC: Tensor, size_px: int, augmentation: Augmentation) -> Tensor:
    """A random square near the centre, the same for all frames, with one change of brightness and contrast."""
    height, width = rgb_THWC.shape[1:3]
    side_px = round(min(height, width) * float(torch.empty(()).uniform_(augmentation.min_crop, 1.0)))
    top = int(torch.randint(height - side_px + 1, ()))
    middle = (width - side_px) // 2
    slack = min(middle, (size_px - side_px) // 2 + size_px // 12)
    left = middle + int(torch.randint(-slack, slack + 1, ()))
    square_THWC = rgb_THWC[:, top : top + side_px, left : left + side_px]
    square_TCHW = torch.nn.functional.interpolate(
        square_THWC.permute(0, 3, 1, 2), size=(size_px, size_px), mode="bilinear", antialias=True
    )
    contrast, brightness = ((torch.rand(2) * 2 - 1) * augmentation.max_brightness).tolist()
    levels_256 = (torch.arange(256) - 128) * (1 + contrast) + 128 * (1 + brightness)
    lit_THWC: Tensor = levels_256.round().clamp(0, 255).to(torch.uint8)[square_TCHW.permute(0, 2, 3, 1).long()]
    return lit_THWC
