"""CSV files whose errors name file and line."""

import ast
import csv
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from vlrlt.errors import AnnotationError

_Item = TypeVar("_Item", int, str)
_TIMESTAMP = re.compile(r"(\d+):([0-5]?\d):([0-5]?\d(?:\.\d+)?)")


@dataclass
class Repairs:
    """What a reader mends or leaves out of a file that is too large to be refused for a few bad lines."""

    SHOWN = 10

    counts: Counter[str] = field(default_factory=Counter)
    """How often, by what was done."""
    first: list[str] = field(default_factory=list)
    """The first SHOWN, with file and line."""

    def add(self, path: Path, line: int, what: str) -> None:
        """Count one."""
        if self.counts.total() < self.SHOWN:
            self.first.append(f"{path}:{line}: {what}")
        self.counts[what] += 1

    def clear(self) -> None:
        """Forget what was counted: the file is read anew."""
        self.counts.clear()
        self.first.clear()

    def merge(self, other: "Repairs") -> None:
        """Add those of another file."""
        self.first += other.first[: max(0, self.SHOWN - len(self.first))]
        self.counts += other.counts

    def as_text(self) -> str:
        """Counts, then the first lines; empty where nothing was repaired."""
        counts = (f"{number} {'line' if number == 1 else 'lines'}: {what}" for what, number in self.counts.items())
        return "\n".join((*counts, *(f"  {line}" for line in self.first)))


@dataclass(frozen=True)
class Row:
    """One line of a table."""

    path: Path
    line: int
    cells: Mapping[str, str]

    def error(self, column: str, allowed: str) -> AnnotationError:
        """What to raise: the cell of a column is not what is allowed."""
        return AnnotationError(f"{self.path}:{self.line}: {column} is {self.cells[column]!r}, must be {allowed}")

    def text(self, column: str) -> str:
        """A text that is not empty."""
        if not self.cells[column].strip():
            raise self.error(column, "a text that is not empty")
        return self.cells[column]

    def class_id(self, column: str) -> int:
        """A whole number >= 0."""
        if not self.cells[column].isdecimal():
            raise self.error(column, "a whole number >= 0")
        return int(self.cells[column])

    def number(self, column: str) -> float:
        """Seconds as a plain number >= 0."""
        try:
            value = float(self.cells[column])
        except ValueError as error:
            raise self.error(column, "a number of seconds >= 0") from error
        if not 0 <= value < float("inf"):
            raise self.error(column, "a number of seconds >= 0")
        return value

    def seconds(self, column: str) -> float:
        """Seconds of a timestamp like 00:01:02.50."""
        match = _TIMESTAMP.fullmatch(self.cells[column])
        if match is None:
            raise self.error(column, "a time like 00:01:02.50")
        hours, minutes, seconds = match.groups()
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds)

    def items(self, column: str, kind: type[_Item]) -> tuple[_Item, ...]:
        """A Python list that is not empty."""
        allowed = f"a list of {kind.__name__} that is not empty, like {[kind(2)]!r}"
        try:
            value = ast.literal_eval(self.cells[column])
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
            raise self.error(column, allowed) from error
        if not isinstance(value, list) or not value or not all(type(item) is kind for item in value):
            raise self.error(column, allowed)
        return tuple(value)


def read_rows(path: Path, columns: Sequence[str], *, delimiter: str = ",") -> Iterator[Row]:
    """Lines of a table that has a header with these columns, and maybe more.

    Raises:
        AnnotationError: the file is missing, lacks a column, has a line with too few or many cells, or no line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True, delimiter=delimiter)
            missing = [column for column in columns if column not in (reader.fieldnames or ())]
            if missing:
                raise AnnotationError(
                    f"{path}:1: no column {', '.join(missing)}; found {reader.fieldnames or 'nothing'}"
                )
            for cells in reader:
                if None in cells or None in cells.values():
                    raise AnnotationError(f"{path}:{reader.line_num}: must have {len(reader.fieldnames or ())} cells")
                yield Row(path, reader.line_num, cells)
            if reader.line_num < 2:
                raise AnnotationError(f"{path}: has no line below its header")
    except FileNotFoundError as error:
        raise AnnotationError(f"{path}: no such annotation file") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AnnotationError(f"{path}: cannot be read as CSV in UTF-8: {error}") from error


def read_loose_rows(path: Path, columns: Sequence[str], repairs: Repairs, *, delimiter: str = ",") -> Iterator[Row]:
    """Lines of a table, each by itself: what is wrong with one is counted and ends nothing.

    A quote that opens and never closes is a character like any other. Empty cells at the end of a line are dropped if
    there are too many cells; a line that still has another number of cells than the header is left out, as pandas
    does with `on_bad_lines="skip"`.

    Raises:
        AnnotationError: the file is missing, is not UTF-8, lacks a column or has no line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline().rstrip("\r\n").split(delimiter)
            missing = [column for column in columns if column not in header]
            if missing:
                raise AnnotationError(f"{path}:1: no column {', '.join(missing)}; found {header}")
            number = 1
            for number, text in enumerate(file, start=2):
                cells = _split(text.rstrip("\r\n"), delimiter)
                while len(cells) > len(header) and not cells[-1]:
                    cells.pop()
                if len(cells) == len(header):
                    yield Row(path, number, dict(zip(header, cells, strict=True)))
                elif text.strip():
                    repairs.add(path, number, f"left out, must have {len(header)} cells")
            if number < 2:
                raise AnnotationError(f"{path}: has no line below its header")
    except FileNotFoundError as error:
        raise AnnotationError(f"{path}: no such annotation file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise AnnotationError(f"{path}: cannot be read as text in UTF-8: {error}") from error


def _split(text: str, delimiter: str) -> list[str]:
    if '"' not in text:
        return text.split(delimiter)
    try:
        return next(csv.reader([text], strict=True, delimiter=delimiter))
    except csv.Error:  # a stray quote
        return text.split(delimiter)


def unique(rows: Iterator[Row], column: str) -> Iterator[Row]:
    """The same rows; no two may have the same cell in a column."""
    seen: set[str] = set()
    for row in rows:
        if row.cells[column] in seen:
            raise row.error(column, "unique in the file")
        seen.add(row.cells[column])
        yield row


def read_lines(path: Path) -> list[str]:
    """Lines of a text file, without their ends and without blank ones.

    Raises:
        AnnotationError: the file is missing, empty or not UTF-8.
    """
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except FileNotFoundError as error:
        raise AnnotationError(f"{path}: no such annotation file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise AnnotationError(f"{path}: cannot be read as text in UTF-8: {error}") from error
    if not lines:
        raise AnnotationError(f"{path}: is empty")
    return lines


def read_json_object(path: Path) -> dict[str, Any]:
    """A file that holds one JSON object.

    Raises:
        AnnotationError: the file is missing or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise AnnotationError(f"{path}: no such annotation file") from error
    except (OSError, ValueError) as error:
        raise AnnotationError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise AnnotationError(f"{path}: must be a JSON object, got {type(content).__name__}")
    return content
