"""EPIC-KITCHENS-100 retrieval annotations, real or toy: read them, find their videos, compute relevancy.

DIR/annotations/EPIC_100_retrieval_{train,test}.csv             one narrated action a line
DIR/annotations/EPIC_100_retrieval_{train,test}_sentence.csv    the narrations that serve as text queries
DIR/annotations/EPIC_100_verb_classes.csv, EPIC_100_noun_classes.csv
DIR/videos/<video_id>.mp4   or   DIR/<participant_id>/videos/<video_id>.MP4
"""

import ast
import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

from vlrlt.errors import AnnotationError
from vlrlt.types import Float64Array

Split = Literal["train", "test"]
IntArray = npt.NDArray[np.int64]
_Item = TypeVar("_Item", int, str)

_TIMESTAMP = re.compile(r"(\d+):([0-5]?\d):([0-5]?\d(?:\.\d+)?)")


@dataclass(frozen=True, kw_only=True)
class Narration:
    """One narrated action: [start_s, stop_s) of a video, what was said, and its classes."""

    narration_id: str
    participant_id: str
    video_id: str
    start_s: float
    stop_s: float
    narration: str
    verb: str
    """As narrated; the name of verb_class is in the class file."""
    verb_class: int
    noun: str
    """The main noun as narrated, e.g. "board:chopping"."""
    noun_class: int
    all_nouns: tuple[str, ...]
    all_noun_classes: tuple[int, ...]
    """At least one, the main noun's class among them."""


@dataclass(frozen=True)
class _Row:
    """One line of a CSV file whose errors name that line."""

    path: Path
    line: int
    cells: Mapping[str, str]

    def error(self, column: str, allowed: str) -> AnnotationError:
        return AnnotationError(f"{self.path}:{self.line}: {column} is {self.cells[column]!r}, must be {allowed}")

    def text(self, column: str) -> str:
        if not self.cells[column].strip():
            raise self.error(column, "a text that is not empty")
        return self.cells[column]

    def class_id(self, column: str) -> int:
        if not self.cells[column].isdecimal():
            raise self.error(column, "a whole number >= 0")
        return int(self.cells[column])

    def seconds(self, column: str) -> float:
        match = _TIMESTAMP.fullmatch(self.cells[column])
        if match is None:
            raise self.error(column, "a time like 00:01:02.50")
        hours, minutes, seconds = match.groups()
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds)

    def items(self, column: str, kind: type[_Item]) -> tuple[_Item, ...]:
        allowed = f"a list of {kind.__name__} that is not empty, like {[kind(2)]!r}"
        try:
            value = ast.literal_eval(self.cells[column])
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
            raise self.error(column, allowed) from error
        if not isinstance(value, list) or not value or not all(type(item) is kind for item in value):
            raise self.error(column, allowed)
        return tuple(value)


def _rows(path: Path, columns: Sequence[str]) -> Iterator[_Row]:
    """Lines of a CSV file, which must have these columns and may have more."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            missing = [column for column in columns if column not in (reader.fieldnames or ())]
            if missing:
                raise AnnotationError(
                    f"{path}:1: no column {', '.join(missing)}; found {reader.fieldnames or 'nothing'}"
                )
            for cells in reader:
                if None in cells or None in cells.values():
                    raise AnnotationError(f"{path}:{reader.line_num}: must have {len(reader.fieldnames or ())} cells")
                yield _Row(path, reader.line_num, cells)
            if reader.line_num < 2:
                raise AnnotationError(f"{path}: has no line below its header")
    except FileNotFoundError as error:
        raise AnnotationError(f"{path}: no such annotation file") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AnnotationError(f"{path}: cannot be read as CSV in UTF-8: {error}") from error


def _unique(rows: Iterator[_Row], column: str) -> Iterator[_Row]:
    seen: set[str] = set()
    for row in rows:
        if row.cells[column] in seen:
            raise row.error(column, "unique in the file")
        seen.add(row.cells[column])
        yield row


def read_narrations(path: Path) -> tuple[Narration, ...]:
    """The narrated actions of a split, in file order.

    Raises:
        AnnotationError: the file is missing, lacks a column, or has a bad line, which is named.
    """
    columns = (
        *("narration_id", "participant_id", "video_id", "start_timestamp", "stop_timestamp", "narration"),
        *("verb", "verb_class", "noun", "noun_class", "all_nouns", "all_noun_classes"),
    )
    return tuple(_narration(row) for row in _unique(_rows(path, columns), "narration_id"))


def _narration(row: _Row) -> Narration:
    start_s, stop_s = row.seconds("start_timestamp"), row.seconds("stop_timestamp")
    if stop_s <= start_s:
        raise row.error("stop_timestamp", f"later than start_timestamp {row.cells['start_timestamp']!r}")
    noun_class, all_noun_classes = row.class_id("noun_class"), row.items("all_noun_classes", int)
    if noun_class not in all_noun_classes:
        raise row.error("all_noun_classes", f"a list with noun_class {noun_class} in it")
    return Narration(
        narration_id=row.text("narration_id"),
        participant_id=row.text("participant_id"),
        video_id=row.text("video_id"),
        start_s=start_s,
        stop_s=stop_s,
        narration=row.text("narration"),
        verb=row.text("verb"),
        verb_class=row.class_id("verb_class"),
        noun=row.text("noun"),
        noun_class=noun_class,
        all_nouns=row.items("all_nouns", str),
        all_noun_classes=all_noun_classes,
    )


def read_sentences(path: Path) -> dict[str, str]:
    """The text queries of a split: narration_id -> sentence, in file order.

    Raises:
        AnnotationError: as `read_narrations`.
    """
    rows = _unique(_rows(path, ("narration_id", "narration")), "narration_id")
    return {row.text("narration_id"): row.text("narration") for row in rows}


def read_classes(path: Path) -> dict[int, str]:
    """Names of the verb or noun classes: id -> key, e.g. 6 -> "turn-on".

    Raises:
        AnnotationError: as `read_narrations`.
    """
    return {row.class_id("id"): row.text("key") for row in _unique(_rows(path, ("id", "key")), "id")}


def relevancy(rows: Sequence[Narration], columns: Sequence[Narration]) -> Float64Array:
    """Official EPIC-KITCHENS-100 relevancy of every row to every column.

    1/2 [same verb class] + 1/2 |A & B| / |A | B| of the two sets of noun classes A and B.

    Returns:
        (len(rows), len(columns)), in [0, 1]; exactly 1.0 where verb class and noun sets are equal.
    """
    # Few distinct actions stand behind many narrations, so the table of distinct ones is small.
    num_nouns = 1 + max((noun for n in (*rows, *columns) for noun in n.all_noun_classes), default=0)
    row_verbs_U, row_members_UN, row_index = _distinct_actions(rows, num_nouns)
    column_verbs_V, column_members_VN, column_index = _distinct_actions(columns, num_nouns)
    shared_UV = row_members_UN @ column_members_VN.T
    union_UV = row_members_UN.sum(axis=1)[:, None] + column_members_VN.sum(axis=1) - shared_UV
    table_UV: Float64Array = 0.5 * (row_verbs_U[:, None] == column_verbs_V) + 0.5 * (shared_UV / union_UV)
    return table_UV[np.ix_(row_index, column_index)]


def _distinct_actions(narrations: Sequence[Narration], num_nouns: int) -> tuple[IntArray, Float64Array, IntArray]:
    """U distinct actions: (U,) verb classes, (U, N) 1.0 where a noun class is in; and each narration's action."""
    positions: dict[tuple[int, frozenset[int]], int] = {}
    index = [positions.setdefault((n.verb_class, frozenset(n.all_noun_classes)), len(positions)) for n in narrations]
    members_UN = np.zeros((len(positions), num_nouns))
    for position, (_, nouns) in enumerate(positions):
        members_UN[position, list(nouns)] = 1.0
    verbs_U = np.array([verb for verb, _ in positions], dtype=np.int64)
    return verbs_U, members_UN, np.array(index, dtype=np.int64)


@dataclass(frozen=True)
class EpicData:
    """A folder with annotations and videos, laid out as the head of this module shows."""

    data_dir: Path

    def _annotations(self, name: str) -> Path:
        return self.data_dir / "annotations" / f"EPIC_100_{name}.csv"

    def narrations(self, split: Split) -> tuple[Narration, ...]:
        """The clips of a split."""
        return read_narrations(self._annotations(f"retrieval_{split}"))

    def sentences(self, split: Split) -> dict[str, str]:
        """The text queries of a split: narration_id -> sentence."""
        return read_sentences(self._annotations(f"retrieval_{split}_sentence"))

    def verb_classes(self) -> dict[int, str]:
        """Verb class -> name."""
        return read_classes(self._annotations("verb_classes"))

    def noun_classes(self) -> dict[int, str]:
        """Noun class -> name."""
        return read_classes(self._annotations("noun_classes"))

    def video_path(self, narration: Narration) -> Path:
        """The file of a narration's video.

        Raises:
            AnnotationError: no such file; says where it was looked for.
        """
        folders = (self.data_dir / "videos", self.data_dir / narration.participant_id / "videos")
        candidates = [folder / f"{narration.video_id}{suffix}" for folder in folders for suffix in (".mp4", ".MP4")]
        for candidate in candidates:
            if candidate.is_file():
                return candidate
        raise AnnotationError(
            f"no video {narration.video_id} for narration {narration.narration_id}; "
            f"looked for {', '.join(map(str, candidates))}"
        )
