"""Ego4D: the EgoClip pre-training list and the EgoMCQ questions of EgoVLP (arXiv 2206.01670), as published.

Videos: VIDEOS_DIR/<video_uid>.mp4, a file or a folder of chunks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vlrlt.datasets.base import CaptionedSpan, CaptionedVideos, Split, caption_actions, find_video, no_such_split
from vlrlt.datasets.tables import read_json_object, read_rows
from vlrlt.errors import AnnotationError

QuestionKind = Literal["intra", "inter"]
_KINDS: Mapping[int, QuestionKind] = {1: "intra", 2: "inter"}
"""`types` of egomcq.json, in the order in which EgoVLP's metric names them."""


@dataclass(frozen=True)
class EgoClip(CaptionedVideos):
    """egoclip.csv: tab-separated, 3.8 million clips in the published file; all of them are training."""

    list_file: Path
    videos_dir: Path

    def spans(self, split: Split) -> tuple[CaptionedSpan, ...]:
        """Clips that have a caption and a length; a video is a group."""
        if split != "train":
            raise no_such_split(split, known=("train",), name="EgoClip")
        columns = ("video_uid", "clip_start", "clip_end", "clip_text")
        rows = [
            row
            for row in read_rows(self.list_file, columns, delimiter="\t")
            if row.cells["clip_text"].strip() and row.number("clip_end") > row.number("clip_start")
        ]
        actions = caption_actions(row.cells["clip_text"] for row in rows)
        return tuple(
            CaptionedSpan(
                span_id=f"{row.cells['video_uid']}:{row.line}",
                video_id=row.text("video_uid"),
                start_s=row.number("clip_start"),
                stop_s=row.number("clip_end"),
                caption=row.cells["clip_text"].strip(),
                action=action,
                group=row.cells["video_uid"],
            )
            for row, action in zip(rows, actions, strict=True)
        )

    def video_path(self, video_id: str) -> Path:
        """The file of a video, or its folder of chunks."""
        return find_video(video_id, (self.videos_dir,))


@dataclass(frozen=True)
class Question:
    """Which of five clips does a text describe?"""

    query: str
    choices: tuple[CaptionedSpan, ...]
    answer: int
    """Place of the right clip among the choices."""
    kind: QuestionKind
    """intra: all clips are of one video; inter: of different videos."""


@dataclass(frozen=True)
class EgoMCQ(CaptionedVideos):
    """egomcq.json: 39 thousand questions; evaluation only."""

    questions_file: Path
    videos_dir: Path

    def questions(self) -> tuple[Question, ...]:
        """All questions, in file order.

        Raises:
            AnnotationError: the file is missing, no JSON, or a question is not as published; names the question.
        """
        items = read_json_object(self.questions_file)
        if not items:
            raise AnnotationError(f"{self.questions_file}: has no question")
        return tuple(self._question(name, item) for name, item in items.items())

    def spans(self, split: Split) -> tuple[CaptionedSpan, ...]:
        """Every choice of every question."""
        if split != "test":
            raise no_such_split(split, known=("test",), name="EgoMCQ")
        return tuple(choice for question in self.questions() for choice in question.choices)

    def video_path(self, video_id: str) -> Path:
        """The file of a video, or its folder of chunks."""
        return find_video(video_id, (self.videos_dir,))

    def _question(self, name: str, item: Any) -> Question:  # noqa: ANN401 - JSON
        try:
            choices = tuple(
                CaptionedSpan(
                    span_id=f"{name}:{position}",
                    video_id=str(choice["video_uid"]),
                    start_s=float(choice["clip_start"]),
                    stop_s=float(choice["clip_end"]),
                    caption=str(choice["clip_text"]),
                    action=caption_actions([choice["clip_text"]])[0],
                    group=str(choice["video_uid"]),
                )
                for position, choice in ((place, item["choices"][str(place)]) for place in range(len(item["choices"])))
            )
            question = Question(
                query=str(item["query"]["clip_text"]),
                choices=choices,
                answer=int(item["answer"]),
                kind=_KINDS[int(item["types"])],
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise AnnotationError(f"{self.questions_file}: question {name} is not as published: {error!r}") from error
        if not 0 <= question.answer < len(choices):
            raise AnnotationError(
                f"{self.questions_file}: question {name} has answer {question.answer} of {len(choices)} choices"
            )
        return question
