"""Sidecar files of videos: subtitles, narrations, metadata. They are read, never written.

NAME.srt, NAME.vtt, NAME.LANG.srt    subtitles of the video NAME.*
NAME.json                            metadata of the video NAME.*: one JSON object
*.csv with start_timestamp           narrations as EPIC-KITCHENS has them, with video_id, stop_timestamp and narration
*.csv with video or video_id         metadata, one video a line: every other column is a key
"""

import csv
import html
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import charset_normalizer
import webvtt

from vlrlt.errors import AnnotationError
from vlrlt.formats import as_unicode, parse_time
from vlrlt.types import TimedText

MAX_BYTES = 256 * 1024 * 1024
"""A larger file is refused: it is no subtitle."""
MetadataValue = str | float | bool

_SAMPLE_BYTES = 2**20
"""So much of a file tells its encoding."""
_BREAKS = re.compile(r"\r+\n?")
_CUE = re.compile(r"^[ \t]{0,20}(?:\d{1,4}:)?\d{1,4}:\d{1,4}[.,]\d{1,9}[ \t]{0,20}-->", re.MULTILINE)
"""Every repetition has a bound: on a line of millions of digits or blanks, trying each beginning takes no longer."""
_NUMBERED_CUE = re.compile(rf"^(?:[ \t]{{0,20}}\d{{1,9}}[ \t]{{0,20}}\n)?({_CUE.pattern[1:]})", re.MULTILINE)
"""A cue of SRT, with the number before it that some leave out."""
_MARKUP = re.compile(r"<[^<>]*>|\{\\[^{}]*\}")
_LARGEST_INT = 2**1000
"""Larger ones are no floating-point numbers any more."""
_VIDEO_COLUMNS = ("video", "video_id")


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
        content = _decode(path.read_bytes())
    except OSError as error:
        raise AnnotationError(f"{path}: cannot be read: {error.strerror}") from error
    if content is None:
        raise AnnotationError(f"{path}: is not text in a known encoding; save it as UTF-8")
    return reader(path, content)


def _decode(data: bytes) -> str | None:
    """UTF-8 if it is that, else what its bytes make most likely: UTF-16, Windows-1252 and the like; None: no text."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        likely = charset_normalizer.from_bytes(data[:_SAMPLE_BYTES]).best()
    return None if likely is None else data.decode(likely.encoding, errors="replace").removeprefix("\ufeff")


def is_sidecar(path: Path) -> bool:
    """Whether the suffix is of a file that read_sidecar takes."""
    return path.suffix.lower() in _READERS


def _read_cues(path: Path, content: str) -> Sidecar:
    """SRT and WebVTT, as careless as they are in the wild; styles, notes and what else comes before are for players."""
    content = _BREAKS.sub("\n", content)
    is_web = content.lstrip().startswith("WEBVTT")
    content = content if is_web else _NUMBERED_CUE.sub(r"1\n\1", content)
    first = _CUE.search(content)
    texts = []
    if first is not None:
        from_first = io.StringIO(("WEBVTT\n\n" if is_web else "1\n") + content[first.start() :])
        try:
            cues = webvtt.from_buffer(from_first, format="vtt" if is_web else "srt").captions
        except webvtt.errors.MalformedFileError as error:
            raise AnnotationError(f"{path}: is not a subtitle file: {error}") from error
        for cue in cues:
            text = " ".join(_unescaped(_MARKUP.sub("", cue.text)).split())
            start_s, end_s = parse_time(cue.start), parse_time(cue.end)
            if text and end_s > start_s:
                texts.append(TimedText(start_s=start_s, end_s=end_s, text=text))
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
    reader = csv.DictReader(io.StringIO(content, newline=""), strict=True)
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
