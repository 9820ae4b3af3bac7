"""EGTEA Gaze+ (arXiv 2006.00626): trimmed clips of 106 cooking actions, three splits.

ANNOTATIONS_DIR/{train,test}_split{1,2,3}.txt    "OP01-R01-PastaSalad-1002316-1004005-F024051-F024101 4 2 6"
ANNOTATIONS_DIR/action_idx.txt                   "Open Fridge 1"
VIDEOS_DIR/OP01-R01-PastaSalad/<clip>.mp4
"""

from dataclasses import dataclass
from pathlib import Path

from vlrlt.datasets.base import CaptionedSpan, CaptionedVideos, Split, find_video
from vlrlt.datasets.relevancy import Action
from vlrlt.datasets.tables import read_lines
from vlrlt.errors import AnnotationError, ConfigError


@dataclass(frozen=True)
class Egtea(CaptionedVideos):
    """EGTEA's trimmed clips."""

    title = "EGTEA"

    annotations_dir: Path
    videos_dir: Path
    fold: int = 1
    """Which of the three official divisions; results are usually given for the first."""

    def __post_init__(self) -> None:
        if self.fold not in (1, 2, 3):
            raise ConfigError(f"fold must be 1, 2 or 3, got {self.fold}")

    def class_names(self) -> dict[int, str]:
        """Class number -> name, lower-cased, with spaces.

        Raises:
            AnnotationError: the file is missing or has a bad line.
        """
        path = self.annotations_dir / "action_idx.txt"
        names: dict[int, str] = {}
        for line, text in enumerate(read_lines(path), start=1):
            name, _, number = text.strip().rpartition(" ")
            if not name or not number.isdecimal() or int(number) in names:
                raise AnnotationError(f"{path}:{line}: must be a name and a new number, got {text!r}")
            names[int(number)] = name.replace("_", " ").lower()
        return names

    def spans(self, split: Split) -> tuple[CaptionedSpan, ...]:
        """The whole clips of a split, captioned by their class; the session is the group."""
        self.require(split)
        names = self.class_names()
        path = self.annotations_dir / f"{split}_split{self.fold}.txt"
        spans = []
        for line, text in enumerate(read_lines(path), start=1):
            clip, *numbers = text.split()
            if not numbers or not numbers[0].isdecimal() or int(numbers[0]) not in names:
                raise AnnotationError(f"{path}:{line}: must be a clip and a class of action_idx.txt, got {text!r}")
            number = int(numbers[0])
            spans.append(
                CaptionedSpan(
                    span_id=clip,
                    video_id=clip,
                    start_s=0.0,
                    stop_s=None,
                    caption=names[number],
                    action=Action.of(number, (number,)),
                    group=_session(clip),
                )
            )
        return tuple(spans)

    def video_path(self, video_id: str) -> Path:
        """The file of a clip."""
        return find_video(video_id, (self.videos_dir / _session(video_id), self.videos_dir))


def _session(clip: str) -> str:
    """OP01-R01-PastaSalad of OP01-R01-PastaSalad-1002316-1004005-F024051-F024101."""
    return "-".join(clip.split("-")[:3])
