"""Files that say something about videos: subtitles, narrations, metadata. They are read, never written.

NAME.srt, NAME.vtt, NAME.LANG.srt    subtitles of the video NAME.*
NAME.json                            metadata of the video NAME.*: one JSON object
*.csv with start_timestamp           narrations as EPIC-KITCHENS has them, with video_id, stop_timestamp and narration
*.csv with video or video_id         metadata, one video a line: every other column is a key
"""

import csv
import html
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vlrlt.errors import AnnotationError
from vlrlt.formats import as_unicode, parse_time

MAX_BYTES = 256 * 1024 * 1024
"""A larger file is refused: it is no subtitle."""
MetadataValue = str | float | bool

_TIME = r"((?:\d{1,4}:)?\d{1,4}:\d{1,4}[.,]\d{1,9})"
_CUE_TIMES = re.compile(rf"{_TIME}[ \t]{{0,20}}-->[ \t]{{0,20}}{_TIME}")
"""Every repetition has a bound: on a line of millions of digits or blanks, trying each beginning takes no longer."""
_MARKUP = re.compile(r"<[^<>]*>|\{\\[^{}]*\}")
_LARGEST_INT = 2**1000
"""Larger ones are no floating-point numbers any more."""
_VIDEO_COLUMNS = ("video", "video_id")


@dataclass(frozen=True, kw_only=True)
class TimedText:
    """What was said or done in [start_s, end_s) of a video."""

    start_s: float
    end_s: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Sidecar:
    """What one file says; keys are names of videos, with or without folder and suffix."""

    path: Path
    texts: Mapping[str, list[TimedText]] = field(default_factory=dict)
    metadata: Mapping[str, dict[str, MetadataValue]] = field(default_factory=dict)


def read_sidecar(path: Path) -> Sidecar:
    """Read a file by its suffix.

    Raises:
        AnnotationError: it cannot be read, or a line is wrong; names file and line.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise AnnotationError(f"{path}: must be one of {', '.join(_READERS)}")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise AnnotationError(f"{path}: is larger than {MAX_BYTES} bytes")
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise AnnotationError(f"{path}: cannot be read as UTF-8: {error}") from error
    return reader(path, content)


def is_sidecar(path: Path) -> bool:
    """Whether the suffix is of a file that read_sidecar takes."""
    return path.suffix.lower() in _READERS


def _read_cues(path: Path, content: str) -> Sidecar:
    """SRT and WebVTT: a line of times, then lines of text up to an empty one; all else is for players."""
    texts = []
    for block in re.split(r"\n\s*\n", content.replace("\r\n", "\n").replace("\r", "\n")):
        lines = block.strip().split("\n")
        at = next((number for number, line in enumerate(lines) if _CUE_TIMES.search(line)), None)
        if at is None:
            continue
        start, end = (parse_time(time.replace(",", ".")) for time in _CUE_TIMES.search(lines[at]).groups())  # type: ignore[union-attr]
        text = _unescaped(_MARKUP.sub("", " ".join(lines[at + 1 :]))).strip()
        if text and end > start:
            texts.append(TimedText(start_s=start, end_s=end, text=text))
    if not texts and content.strip() not in ("", "WEBVTT"):
        raise AnnotationError(f"{path}: no subtitle found; one needs a line like 00:01:02.500 --> 00:01:04.000")
    return Sidecar(path=path, texts={path.stem: texts})


def _unescaped(text: str) -> str:
    """Without HTML entities; as it is where one of them is a number of thousands of digits."""
    try:
        return as_unicode(html.unescape(text))
    except ValueError:
        return text


def _read_json(path: Path, content: str) -> Sidecar:
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f"{path}: not JSON: {error}") from error
    if not isinstance(values, dict):
        raise AnnotationError(f"{path}: expected a JSON object, got {type(values).__name__}")
    flat = {as_unicode(key): _plain(value) for key, value in values.items() if isinstance(value, str | int | float)}
    return Sidecar(path=path, metadata={path.stem: flat})


def _plain(value: str | float | bool) -> MetadataValue:
    """A value that the catalog can hold: JSON knows halves of surrogate pairs, and whole numbers without end."""
    if isinstance(value, str):
        return as_unicode(value)
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) < _LARGEST_INT:
        return value
    return str(value)


def _read_csv(path: Path, content: str) -> Sidecar:
    rows = list(_csv_rows(path, content))
    video_column = next((name for name in _VIDEO_COLUMNS if rows and name in rows[0][1]), None)
    if video_column is None:
        raise AnnotationError(f"{path}: needs a column {' or '.join(_VIDEO_COLUMNS)} and at least one line below it")
    if "start_timestamp" in rows[0][1]:
        return _read_narrations(path, rows, video_column)
    metadata: dict[str, dict[str, MetadataValue]] = {}
    for _, cells in rows:
        facts = {key: _number(value) for key, value in cells.items() if key != video_column and value}
        metadata.setdefault(cells[video_column], {}).update(facts)
    return Sidecar(path=path, metadata=metadata)


def _read_narrations(path: Path, rows: list[tuple[int, dict[str, str]]], video_column: str) -> Sidecar:
    texts: dict[str, list[TimedText]] = {}
    for line, cells in rows:
        try:
            start_s, end_s = parse_time(cells["start_timestamp"]), parse_time(cells["stop_timestamp"])
            narration = cells["narration"]
        except (KeyError, ValueError) as error:
            raise AnnotationError(
                f"{path}:{line}: needs start_timestamp, stop_timestamp, narration: {error}"
            ) from error
        if end_s <= start_s:
            raise AnnotationError(f"{path}:{line}: stop_timestamp must be later than start_timestamp")
        texts.setdefault(cells[video_column], []).append(TimedText(start_s=start_s, end_s=end_s, text=narration))
    return Sidecar(path=path, texts=texts)


def _csv_rows(path: Path, content: str) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.DictReader(content.splitlines(), strict=True)
    try:
        for cells in reader:
            if None in cells or None in cells.values():
                raise AnnotationError(f"{path}:{reader.line_num}: must have {len(reader.fieldnames or ())} cells")
            yield reader.line_num, cells
    except csv.Error as error:
        raise AnnotationError(f"{path}:{reader.line_num}: {error}") from error


def _number(value: str) -> MetadataValue:
    try:
        return float(value)
    except ValueError:
        return value


_READERS: dict[str, Callable[[Path, str], Sidecar]] = {
    ".srt": _read_cues,
    ".vtt": _read_cues,
    ".csv": _read_csv,
    ".json": _read_json,
}
