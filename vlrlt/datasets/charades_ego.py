"""Charades-Ego (arXiv 1804.09626): first-person videos with several timed actions each, of 157 classes.

ANNOTATIONS_DIR/CharadesEgo_v1_{train,test}_only1st.csv    as released
ANNOTATIONS_DIR/Charades_v1_classes.txt                    "c000 Holding some clothes"
VIDEOS_DIR/<id>.mp4
"""

from dataclasses import dataclass, field
from pathlib import Path

from vlrlt.datasets.base import CaptionedSpan, CaptionedVideos, Split, find_video
from vlrlt.datasets.relevancy import Action
from vlrlt.datasets.tables import Repairs, Row, read_lines, read_rows, unique
from vlrlt.errors import AnnotationError


@dataclass(frozen=True, kw_only=True)
class LabelledVideo:
    """A whole video and every class that is done in it."""

    video_id: str
    duration_s: float
    classes: frozenset[int]
    """What is done; may be empty."""
    actions: tuple[tuple[int, float, float], ...]
    """Class, start_s, stop_s of what is done, as far as the times make sense."""


@dataclass(frozen=True)
class CharadesEgo(CaptionedVideos):
    """The first-person half of Charades-Ego."""

    title = "Charades-Ego"

    annotations_dir: Path
    videos_dir: Path
    _repairs: Repairs = field(default_factory=Repairs, init=False, repr=False, compare=False)

    @property
    def repairs(self) -> Repairs:
        """Actions whose times make no sense: they are no spans, but their video shows them."""
        return self._repairs

    def class_names(self) -> tuple[str, ...]:
        """Names in the order of their numbers, c000 first.

        Raises:
            AnnotationError: the file is missing, or its lines are not numbered c000, c001, ...
        """
        path = self.annotations_dir / "Charades_v1_classes.txt"
        names = []
        for line, text in enumerate(read_lines(path)):
            number, _, name = text.partition(" ")
            if number != f"c{line:03d}" or not name.strip():
                raise AnnotationError(f"{path}:{line + 1}: must be c{line:03d} and a name, got {text!r}")
            names.append(name.strip())
        return tuple(names)

    def videos(self, split: Split) -> tuple[LabelledVideo, ...]:
        """The whole videos of a split.

        Raises:
            AnnotationError: no such split, or a bad line, which is named.
        """
        self.require(split)
        path = self.annotations_dir / f"CharadesEgo_v1_{split}_only1st.csv"
        num_classes = len(self.class_names())
        self._repairs.clear()
        return tuple(
            self._video(row, num_classes) for row in unique(read_rows(path, ("id", "actions", "length")), "id")
        )

    def spans(self, split: Split) -> tuple[CaptionedSpan, ...]:
        """Every timed action with its class name as the caption; a video is a group."""
        names = self.class_names()
        return tuple(
            CaptionedSpan(
                span_id=f"{video.video_id}:{position}",
                video_id=video.video_id,
                start_s=start_s,
                stop_s=stop_s,
                caption=names[number],
                action=Action.of(number, (number,)),
                group=video.video_id,
            )
            for video in self.videos(split)
            for position, (number, start_s, stop_s) in enumerate(video.actions)
        )

    def video_path(self, video_id: str) -> Path:
        """The file of a video."""
        return find_video(video_id, (self.videos_dir,))

    def _video(self, row: Row, num_classes: int) -> LabelledVideo:
        actions = _actions(row, num_classes)
        timed = tuple(action for action in actions if 0 <= action[1] < action[2])
        for _ in range(len(actions) - len(timed)):
            self._repairs.add(
                row.path, row.line, "an action is not a span: it must start at 0 s or later and end after it starts"
            )
        return LabelledVideo(
            video_id=row.text("id"),
            duration_s=row.number("length"),
            classes=frozenset(number for number, _, _ in actions),
            actions=timed,
        )


def _actions(row: Row, num_classes: int) -> tuple[tuple[int, float, float], ...]:
    """Of a cell like "c092 11.90 21.20;c147 0.00 12.60"."""
    actions = []
    for text in filter(None, row.cells["actions"].split(";")):
        try:
            name, start, stop = text.split(" ")
            action = int(name.removeprefix("c")), float(start), float(stop)
        except ValueError as error:
            raise row.error("actions", "like 'c092 11.90 21.20;c147 0.00 12.60'") from error
        if not 0 <= action[0] < num_classes:
            raise row.error("actions", f"classes c000 to c{num_classes - 1:03d}")
        actions.append(action)
    return tuple(actions)
