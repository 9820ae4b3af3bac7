"""The spans of each batch, and a seed for each use of a span.

A batch is the global one: with W processes each takes every W-th of its spans, so that W processes see together what
one would. Everything follows from (seed, epoch, batch), so a resumed run continues with the batches it would have had.
"""

import math
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch.utils.data import Sampler

from vlrlt.datasets.base import CaptionedSpan
from vlrlt.datasets.relevancy import Action
from vlrlt.errors import ConfigError

BatchKind = Literal["distinct_actions", "shuffled", "scenes"]


@dataclass(frozen=True)
class Draw:
    """One look at one span."""

    index: int
    """Of the span."""
    seed: int | None
    """None: the span as it is, without augmentation."""


@dataclass(frozen=True)
class Share:
    """Which part of every global batch this process takes."""

    rank: int = 0
    num_processes: int = 1


class BatchSampler(Sampler[list[Draw]], ABC):
    """Batches of one epoch.

    Args:
        batch_size: spans of a global batch.
        num_batches: batches of an epoch.
        seed: the same seed draws the same batches.
        share: of this process.
        first_batch: asked when an epoch begins: how many of its batches are done already.
    """

    def __init__(
        self,
        *,
        batch_size: int,
        num_batches: int,
        seed: int,
        share: Share,
        first_batch: Callable[[], int] = lambda: 0,
    ) -> None:
        if batch_size % share.num_processes:
            raise ConfigError(
                f"batch_size counts the clips of all processes and must be a multiple of their number, "
                f"got {batch_size} and {share.num_processes}"
            )
        self.batch_size = batch_size
        self._num_batches = num_batches
        self._seed = seed
        self._share = share
        self._first_batch = first_batch
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls it when an epoch begins."""
        self._epoch = epoch

    @property
    def local_batch_size(self) -> int:
        """Spans of a batch that are this process's."""
        return self.batch_size // self._share.num_processes

    def __len__(self) -> int:
        """Batches per epoch."""
        return self._num_batches

    def __iter__(self) -> Iterator[list[Draw]]:
        """This process's draws of each batch that is left of the epoch."""
        for number in range(self._first_batch() % max(1, len(self)), len(self)):
            indices = self.batch(self._epoch, number)
            seeds = self._random(self._epoch, number, 1).integers(2**63, size=len(indices))
            draws = [Draw(index, int(seed)) for index, seed in zip(indices, seeds, strict=True)]
            yield draws[self._share.rank :: self._share.num_processes]

    @abstractmethod
    def batch(self, epoch: int, number: int) -> list[int]:
        """Indices of a global batch."""

    def _random(self, *path: int) -> np.random.Generator:
        return np.random.default_rng((self._seed, *path))


class MicroBatches(Sampler[list[Draw]]):
    """The same draws, a few at a time: what one worker decodes at once.

    Args:
        sampler: of the batches; Lightning tells the epoch to whatever a loader's batch_sampler has under this name.
        size: draws of a micro-batch; the last of a batch may be smaller.
    """

    def __init__(self, sampler: BatchSampler, *, size: int) -> None:
        self.sampler = sampler
        self._size = size

    @property
    def per_batch(self) -> int:
        """Micro-batches of one batch."""
        return math.ceil(self.sampler.local_batch_size / self._size)

    def set_epoch(self, epoch: int) -> None:
        """For loops without Lightning."""
        self.sampler.set_epoch(epoch)

    def __len__(self) -> int:
        """Micro-batches per epoch."""
        return len(self.sampler) * self.per_batch

    def __iter__(self) -> Iterator[list[Draw]]:
        """Batch after batch."""
        for batch in self.sampler:
            for start in range(0, len(batch), self._size):
                yield batch[start : start + self._size]


class DistinctActions(BatchSampler):
    """Batches in which no action occurs twice and every noun brings all its verbs: "open fridge" meets "close fridge".

    batch_size shrinks to the number of distinct actions if there are fewer.
    """

    def __init__(
        self,
        spans: Sequence[CaptionedSpan],
        *,
        batch_size: int,
        num_batches: int,
        seed: int,
        share: Share = Share(),
        first_batch: Callable[[], int] = lambda: 0,
    ) -> None:
        by_noun: dict[frozenset[int], dict[Action, list[int]]] = defaultdict(lambda: defaultdict(list))
        for index, span in enumerate(spans):
            by_noun[span.action.nouns][span.action].append(index)
        self._by_noun = [by_noun[nouns] for nouns in sorted(by_noun, key=sorted)]
        num_actions = sum(map(len, self._by_noun))
        fitting = min(batch_size, num_actions - num_actions % share.num_processes)
        super().__init__(batch_size=fitting, num_batches=num_batches, seed=seed, share=share, first_batch=first_batch)

    def batch(self, epoch: int, number: int) -> list[int]:
        """Nouns in random order, each with one span for each of its verbs."""
        random = self._random(epoch, number)
        batch: list[int] = []
        for noun in random.permutation(len(self._by_noun)):
            batch += [int(random.choice(spans)) for spans in self._by_noun[noun].values()]
            if len(batch) >= self.batch_size:
                break
        return batch[: self.batch_size]


class Shuffled(BatchSampler):
    """Every span once an epoch, in random order; what does not fill a batch is left out."""

    def __init__(
        self,
        spans: Sequence[CaptionedSpan],
        *,
        batch_size: int,
        seed: int,
        share: Share = Share(),
        first_batch: Callable[[], int] = lambda: 0,
    ) -> None:
        if len(spans) < batch_size:
            raise ConfigError(f"{len(spans)} training spans do not fill one batch of {batch_size}")
        self._num_spans = len(spans)
        super().__init__(
            batch_size=batch_size,
            num_batches=len(spans) // batch_size,
            seed=seed,
            share=share,
            first_batch=first_batch,
        )
        self._order: tuple[int, list[int]] = -1, []

    def batch(self, epoch: int, number: int) -> list[int]:
        """A slice of the epoch's order."""
        if self._order[0] != epoch:
            self._order = epoch, self._random(epoch).permutation(self._num_spans).tolist()
        return self._order[1][number * self.batch_size : (number + 1) * self.batch_size]


class Scenes(BatchSampler):
    """Half a batch of spans in random order, every one once an epoch, and for each of them another of its scene.

    A scene is a stretch of a video; what happens there looks alike, so the other half are hard negatives (EgoVLP,
    arXiv 2206.01670, section 3.2). A span that is alone in its scene brings any other.

    Args:
        scene_s: length of a scene in seconds; a span belongs to the one in which its middle lies.
    """

    def __init__(
        self,
        spans: Sequence[CaptionedSpan],
        *,
        batch_size: int,
        scene_s: float,
        seed: int,
        share: Share = Share(),
        first_batch: Callable[[], int] = lambda: 0,
    ) -> None:
        if batch_size % 2:
            raise ConfigError(f"batches of scenes have two halves: batch_size must be even, got {batch_size}")
        self._anchors = Shuffled(spans, batch_size=batch_size // 2, seed=seed)
        numbers: dict[tuple[str, int], int] = {}
        scene_N = np.array([numbers.setdefault(_scene(span, scene_s), len(numbers)) for span in spans])
        self._scene_N = scene_N
        self._by_scene_N = scene_N.argsort(kind="stable")
        self._first_of_scene = np.searchsorted(scene_N[self._by_scene_N], np.arange(len(numbers) + 1))
        super().__init__(
            batch_size=batch_size, num_batches=len(self._anchors), seed=seed, share=share, first_batch=first_batch
        )

    def batch(self, epoch: int, number: int) -> list[int]:
        """The anchors, then their neighbours in the same order."""
        anchors = self._anchors.batch(epoch, number)
        random = self._random(epoch, number, 2)
        return [*anchors, *(self._neighbour(anchor, random) for anchor in anchors)]

    def _neighbour(self, anchor: int, random: np.random.Generator) -> int:
        scene = self._scene_N[anchor]
        members = self._by_scene_N[self._first_of_scene[scene] : self._first_of_scene[scene + 1]]
        others = members[members != anchor]
        return int(random.choice(others)) if len(others) else int(random.integers(len(self._scene_N)))


def _scene(span: CaptionedSpan, scene_s: float) -> tuple[str, int]:
    """EgoVLP divides the time of the narration, which is the middle of an EgoClip span."""
    middle_s = span.start_s if span.stop_s is None else (span.start_s + span.stop_s) / 2
    return span.video_id, int(middle_s // scene_s)
