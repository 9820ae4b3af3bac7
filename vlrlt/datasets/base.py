"""The interface of datasets for training and evaluation: captioned spans and their videos."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from vlrlt.datasets.relevancy import Action
from vlrlt.datasets.tables import Repairs
from vlrlt.errors import AnnotationError

Split = Literal["train", "val", "test"]
SUFFIXES = (".mp4", ".MP4", ".mkv", ".webm", ".avi", ".mov", "")
"""In this order; the last is for names that carry their suffix, and for folders of chunks."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionedSpan:
    """[start_s, stop_s) of a video and what is said of it."""

    span_id: str
    """For people: narration id, clip name, line."""
    video_id: str
    start_s: float
    stop_s: float | None
    """None: the end of the video."""
    caption: str
    action: Action
    """Verb and noun classes where the dataset has them, else one action for each distinct caption."""
    group: str
    """What must not be divided between training and validation: a participant, a video."""


class CaptionedVideos(ABC):
    """A dataset on disk."""

    title: ClassVar[str]
    """What people call it."""

    @property
    def splits(self) -> tuple[Split, ...]:
        """Which splits it has."""
        return ("train", "test")

    @property
    def repairs(self) -> Repairs:
        """What the last call of `spans` mended or left out; nothing, unless a dataset's files are known to need it."""
        return Repairs()

    def require(self, split: Split) -> None:
        """Refuse a split that it does not have.

        Raises:
            AnnotationError: says which it has.
        """
        if split not in self.splits:
            raise AnnotationError(f"{self.title} has no split {split!r}; it has {', '.join(self.splits)}")

    @abstractmethod
    def spans(self, split: Split) -> tuple[CaptionedSpan, ...]:
        """The captioned spans of a split, in the order of the annotation file.

        Raises:
            AnnotationError: a file is missing or has a bad line, which is named; or the dataset has no such split.
        """

    @abstractmethod
    def video_path(self, video_id: str) -> Path:
        """The file of a video, or its folder of chunks.

        Raises:
            AnnotationError: there is none; says where it was looked for.
        """


def find_video(video_id: str, folders: Iterable[Path]) -> Path:
    """A video file, or a folder of chunks named by their first second: ID.mp4/0.mp4, ID.mp4/300.mp4 (AVION, LaViLa).

    Raises:
        AnnotationError: there is none; says where it was looked for.
    """
    searched = list(folders)
    for folder in searched:
        for suffix in SUFFIXES:
            if (folder / f"{video_id}{suffix}").exists():
                return folder / f"{video_id}{suffix}"
    suffixes = ", ".join(filter(None, SUFFIXES))
    raise AnnotationError(f"no video {video_id} ({suffixes}) in {', '.join(map(str, searched))}")


def caption_actions(captions: Iterable[str]) -> list[Action]:
    """One action for each distinct caption, whatever its case: only equal captions have relevancy 1, others 0."""
    positions: dict[str, int] = {}
    numbers = [positions.setdefault(caption.strip().casefold(), len(positions)) for caption in captions]
    actions = [Action.of(number, (number,)) for number in range(len(positions))]
    return [actions[number] for number in numbers]
