"""Ego4D: the EgoClip pre-training list and the EgoMCQ questions of EgoVLP (arXiv 2206.01670), as published.

Videos: VIDEOS_DIR/<video_uid>.mp4 or VIDEOS_DIR/<video_uid>, a file or a folder of chunks.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from sys import intern
from typing import Any, Literal, NamedTuple, get_args

from vlrlt.datasets.base import CaptionedSpan, CaptionedVideos, Split, caption_actions, find_video
from vlrlt.datasets.relevancy import Action
from vlrlt.datasets.tables import Repairs, Row, read_json_object, read_loose_rows
from vlrlt.errors import AnnotationError, ConfigError

QuestionKind = Literal["intra", "inter"]
_TYPES: dict[QuestionKind, int] = {"inter": 1, "intra": 2}
"""`types` of egomcq.json. EgoVLP's first metric printed both names the wrong way round (its issue 19)."""
ActionKind = Literal["captions", "tags"]
INSTANT_S = 1e-3
"""Length of a clip that starts when it stops: it shows one picture, as EgoVLP reads it."""
_TAGS = re.compile(r"\[\s*(\d+(?:\s*,\s*\d+)*)?\s*\]")


@dataclass(frozen=True)
class EgoClip(CaptionedVideos):
    """egoclip.csv: tab-separated, 3.8 million clips in the published file; all of them are training.

    A start before the video is its start, and a clip that starts when it stops shows one picture. Lines without a
    caption, with a broken number or another number of cells are left out; `repairs` counts all of it.
    """

    title = "EgoClip"

    list_file: Path
    videos_dir: Path
    actions: ActionKind = "captions"
    """captions: only equal captions describe the same. tags: the numbers of tag_verb and tag_noun, for EgoNCE; a clip
    without one of them describes the same as its own caption only."""
    _repairs: Repairs = field(default_factory=Repairs, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.actions not in get_args(ActionKind):
            raise ConfigError(f"actions must be one of {', '.join(get_args(ActionKind))}, got {self.actions!r}")

    @property
    def splits(self) -> tuple[Split, ...]:
        """Everything is training."""
        return ("train",)

    @property
    def repairs(self) -> Repairs:
        """What the last reading mended or left out."""
        return self._repairs

    def spans(self, split: Split) -> tuple[CaptionedSpan, ...]:
        """Clips that have a caption; a video is a group."""
        self.require(split)
        self._repairs.clear()
        clips = list(self._clips())
        by_caption = caption_actions(clip.caption for clip in clips)
        return tuple(
            CaptionedSpan(
                span_id=f"{clip.video_uid}:{clip.line}",
                video_id=clip.video_uid,
                start_s=clip.start_s,
                stop_s=clip.stop_s,
                caption=clip.caption,
                action=clip.tags or (action if self.actions == "captions" else _untagged(action)),
                group=clip.video_uid,
            )
            for clip, action in zip(clips, by_caption, strict=True)
        )

    def video_path(self, video_id: str) -> Path:
        """The file of a video, or its folder of chunks."""
        return find_video(video_id, (self.videos_dir,))

    def _clips(self) -> Iterator["_Clip"]:
        columns = ["video_uid", "clip_start", "clip_end", "clip_text"]
        columns += ["tag_verb", "tag_noun"] if self.actions == "tags" else []
        tags_seen: dict[Action, Action] = {}
        for row in read_loose_rows(self.list_file, columns, self._repairs, delimiter="\t"):
            found = self._clip(row)
            if found is not None:
                tags = None if found.tags is None else tags_seen.setdefault(found.tags, found.tags)
                yield found._replace(tags=tags)

    def _clip(self, row: Row) -> "_Clip | None":
        caption, video_uid = row.cells["clip_text"].strip(), row.cells["video_uid"].strip()
        try:
            start_s, stop_s = float(row.cells["clip_start"]), float(row.cells["clip_end"])
        except ValueError:
            start_s = stop_s = float("nan")
        wrong = {
            "left out, it has no caption": not caption,
            "left out, it has no video": not video_uid,
            "left out, clip_start and clip_end must be seconds, clip_end the later": not (
                start_s <= stop_s < float("inf") and stop_s >= 0
            ),
        }
        for what, is_wrong in wrong.items():
            if is_wrong:
                self._repairs.add(row.path, row.line, what)
                return None
        if start_s < 0:
            self._repairs.add(row.path, row.line, "starts at 0 s, clip_start lies before the video")
            start_s = 0.0
        if stop_s <= start_s:
            self._repairs.add(row.path, row.line, "shows one picture, clip_end is clip_start")
            stop_s = start_s + INSTANT_S
        tags = self._tags(row) if self.actions == "tags" else None
        # Interned: 9,600 videos and their captions are named again and again, and all of it stays in memory.
        return _Clip(row.line, intern(video_uid), start_s, stop_s, intern(caption), tags)

    def _tags(self, row: Row) -> Action | None:
        lists = [_TAGS.fullmatch(row.cells[column].strip()) for column in ("tag_verb", "tag_noun")]
        numbers = [
            [] if found is None else [int(text) for text in (found[1] or "").split(",") if text] for found in lists
        ]
        if None in lists:
            self._repairs.add(row.path, row.line, "counts as untagged, tag_verb and tag_noun must be like [93, 4]")
        verbs, nouns = (frozenset(group) for group in numbers)
        return Action(verbs, nouns) if verbs and nouns else None


def _untagged(action: Action) -> Action:
    """A caption's action under numbers that no tag has."""
    return Action(frozenset(-1 - number for number in action.verbs), frozenset(-1 - number for number in action.nouns))


class _Clip(NamedTuple):
    """One line of egoclip.csv."""

    line: int
    video_uid: str
    start_s: float
    stop_s: float
    caption: str
    tags: Action | None


@dataclass(frozen=True)
class McqQuestion:
    """Which of five clips does a text describe?"""

    query: str
    choices: tuple[CaptionedSpan, ...]
    answer: int
    """Place of the right clip among the choices."""

    @property
    def kind(self) -> QuestionKind:
        """intra: all clips are of one video; inter: of different videos."""
        return "intra" if len({choice.video_id for choice in self.choices}) == 1 else "inter"


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

    def questions(self) -> tuple[McqQuestion, ...]:
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

    def _question(self, name: str, item: Any) -> McqQuestion:  # noqa: ANN401 - JSON
        try:
            choices = tuple(
                _choice(f"{name}:{place}", item["choices"][str(place)]) for place in range(len(item["choices"]))
            )
            question = McqQuestion(query=str(item["query"]["clip_text"]), choices=choices, answer=int(item["answer"]))
            types = int(item["types"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise AnnotationError(
                f"{self.questions_file}: question {name} does not have the published format: {error!r}"
            ) from error
        if not 0 <= question.answer < len(choices):
            raise AnnotationError(
                f"{self.questions_file}: question {name} has answer {question.answer} of {len(choices)} choices"
            )
        if types != _TYPES[question.kind]:
            num_videos = len({choice.video_id for choice in choices})
            raise AnnotationError(
                f"{self.questions_file}: question {name} has types {types}, but its clips are of {num_videos} videos: "
                f"1 stands for different videos (inter), 2 for one video (intra)"
            )
        return question


def _choice(span_id: str, choice: dict[str, Any]) -> CaptionedSpan:
    start_s = max(0.0, float(choice["clip_start"]))  # EgoVLP does the same
    return CaptionedSpan(
        span_id=span_id,
        video_id=str(choice["video_uid"]),
        start_s=start_s,
        stop_s=max(start_s + INSTANT_S, float(choice["clip_end"])),
        caption=str(choice["clip_text"]),
        action=caption_actions([choice["clip_text"]])[0],
        group=str(choice["video_uid"]),
    )
