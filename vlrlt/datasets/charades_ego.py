"""Charades-Ego (arXiv 1804.09626): first-person videos with several timed actions each, of 157 classes.

ANNOTATIONS_DIR/CharadesEgo_v1_{train,test}_only1st.csv    as released
ANNOTATIONS_DIR/Charades_v1_classes.txt                    "c000 Holding some clothes"
VIDEOS_DIR/<id>.mp4
"""

from dataclasses import dataclass
from pathlib import Path

from vlrlt.datasets.base import CaptionedSpan, CaptionedVideos, Split, find_video
from vlrlt.datasets.tables import Row, read_lines, read_rows, unique
from vlrlt.errors import AnnotationError


@dataclass(frozen=True, kw_only=True)
class LabelledVideo:
    """A whole video and every class that is done in it."""

    video_id: str
    duration_s: float
    actions: tuple[tuple[int, float, float], ...]
    """Class, start_s, stop_s; may be empty."""

    @property
    def classes(self) -> frozenset[int]:
        """What is done."""
        return frozenset(number for number, _, _ in self.actions)


@dataclass(frozen=True)
class CharadesEgo(CaptionedVideos):
    """The first-person half of Charades-Ego."""

    title = "Charades-Ego"

    annotations_dir: Path
    videos_dir: Path

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
        rows = unique(read_rows(path, ("id", "actions", "length")), "id")
        return tuple(
            LabelledVideo(video_id=row.text("id"), duration_s=row.number("length"), actions=_actions(row, num_classes))
            for row in rows
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
                action=(number, frozenset((number,))),
                group=video.video_id,
            )
            for video in self.videos(split)
            for position, (number, start_s, stop_s) in enumerate(video.actions)
        )

    def video_path(self, video_id: str) -> Path:
        """The file of a video."""
        return find_video(video_id, (self.videos_dir,))


def _actions(row: Row, num_classes: int) -> tuple[tuple[int, float, float], ...]:
    """Of a cell like "c092 11.90 21.20;c147 0.00 12.60"."""
    actions = []
    for text in filter(None, row.cells["actions"].split(";")):
        try:
            name, start, stop = text.split(" ")
            action = int(name.removeprefix("c")), float(start), float(stop)
        except ValueError as error:
            raise row.error("actions", "like 'c092 11.90 21.20;c147 0.00 12.60'") from error
        number, start_s, stop_s = action
        if not 0 <= number < num_classes or not 0 <= start_s < stop_s:
            raise row.error("actions", f"classes c000 to c{num_classes - 1:03d} with 0 <= start < stop")
        actions.append(action)
    return tuple(actions)
