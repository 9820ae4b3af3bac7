"""Ego4D: the EgoClip pre-training list and the EgoMCQ questions of EgoVLP (arXiv 2206.01670), as published.

Videos: VIDEOS_DIR/<video_uid>.mp4, a file or a folder of chunks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from sys import intern
from typing import Any, Literal

from vlrlt.datasets.base import CaptionedSpan, CaptionedVideos, Split, caption_actions, find_video
from vlrlt.datasets.tables import read_json_object, read_rows
from vlrlt.errors import AnnotationError

QuestionKind = Literal["intra", "inter"]
_KINDS: Mapping[int, QuestionKind] = {1: "intra", 2: "inter"}
"""`types` of egomcq.json, in the order in which EgoVLP's metric names them."""


@dataclass(frozen=True)
class EgoClip(CaptionedVideos):
    """egoclip.csv: tab-separated, 3.8 million clips in the published file; all of them are training."""

    title = "EgoClip"

    list_file: Path
    videos_dir: Path

    @property
    def splits(self) -> tuple[Split, ...]:
        """Everything is training."""
        return ("train",)

    def spans(self, split: Split) -> tuple[CaptionedSpan, ...]:
        """Clips that have a caption and a length; a video is a group."""
        self.require(split)
        columns = ("video_uid", "clip_start", "clip_end", "clip_text")
        clips = [
            # Interned: 9,600 videos and their captions are named again and again, and all of it stays in memory.
            (row.line, intern(row.text("video_uid")), row.number("clip_start"), stop_s, intern(caption))
            for row in read_rows(self.list_file, columns, delimiter="\t")
            if (caption := row.cells["clip_text"].strip())
            and (stop_s := row.number("clip_end")) > row.number("clip_start")
        ]
        actions = caption_actions(caption for *_, caption in clips)
        return tuple(
            CaptionedSpan(
                span_id=f"{video_uid}:{line}",
                video_id=video_uid,
                start_s=start_s,
                stop_s=stop_s,
                caption=caption,
                action=action,
                group=video_uid,
            )
            for (line, video_uid, start_s, stop_s, caption), action in zip(clips, actions, strict=True)
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

    title = "EgoMCQ"

    questions_file: Path
    videos_dir: Path

    @property
    def splits(self) -> tuple[Split, ...]:
        """The questions."""
        return ("test",)

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
        self.require(split)
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
