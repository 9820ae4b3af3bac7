"""Pieces: seconds of videos with the search result that they come from."""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vlrlt.errors import ConfigError
from vlrlt.formats import format_time
from vlrlt.types import ClipSpan, Moment


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Seconds of a video."""

    video: Path
    span: ClipSpan
    title: str
    """What it shows: the query that found it, or the line that was said."""
    hit: Mapping[str, Any] = field(default_factory=dict)
    """As `vlrlt search --json` has it; empty: no search has found it."""
    sidecar: Mapping[str, Any] = field(default_factory=dict)
    """What sidecar files say of its video; timecode and reel count in timelines."""
    name_only: bool = False
    """Lists name the video without its folder: for those who have it elsewhere."""

    def as_json(self) -> dict[str, Any]:
        """The hit, with the seconds and the path that are taken away."""
        span = {"start_s": round(self.span.start_s, 3), "end_s": round(self.span.end_s, 3)}
        return {**self.hit, "video": self.video.name if self.name_only else str(self.video), **span}

    @property
    def url(self) -> str:
        """Where players and editors look for the video."""
        return quote(os.fsencode(self.video.name)) if self.name_only else self.video.absolute().as_uri()

    @property
    def label(self) -> str:
        """One line for people: title, video and time."""
        text = f"{self.title} ({self.video.name} {format_time(self.span.start_s, decimals=1)})"
        return " ".join(text.encode(errors="replace").decode().split())

    @property
    def file_stem(self) -> str:
        """A name for a file: the video's, and the times in seconds."""
        return f"{self.video.stem}-{self.span.start_s:.2f}-{self.span.end_s:.2f}"

    def padded(self, pad_s: float) -> "Piece":
        """With some seconds before and after it."""
        return replace(self, span=ClipSpan(max(0.0, self.span.start_s - pad_s), self.span.end_s + pad_s))


def piece_of(moment: Moment, *, title: str) -> Piece:
    """A moment that a search has found.

    Args:
        moment: the moment.
        title: the query.
    """
    return Piece(
        video=Path(moment.video),
        span=ClipSpan(moment.start_s, moment.end_s),
        title=moment.text or title,
        hit=moment.as_json(),
    )


def read_result(result: object) -> tuple[Piece, ...]:
    """The hits of `vlrlt search --json` or the citations of `vlrlt ask --json`, parsed.

    Raises:
        ConfigError: it is neither.
    """
    if not isinstance(result, Mapping):
        raise ConfigError(
            f"a result must be a JSON object as `vlrlt search --json` prints it, got {type(result).__name__}"
        )
    title = str(result.get("query") or result.get("question") or "")
    return tuple(_read_hit(hit, title) for hit in _hits(result))


def _hits(result: Mapping[str, Any]) -> Iterator[object]:
    groups = [result.get("hits"), result.get("citations")]
    videos = result.get("videos")
    if isinstance(videos, list):
        groups += [group.get("hits") for group in videos if isinstance(group, Mapping)]
    if all(group is None for group in groups):
        raise ConfigError("this JSON has no hits; give what `vlrlt search --json` or `vlrlt ask --json` prints")
    for group in groups:
        yield from group if isinstance(group, list) else ()


def _read_hit(hit: object, title: str) -> Piece:
    try:
        if not isinstance(hit, Mapping):
            raise TypeError(f"it must be an object, not {type(hit).__name__}")
        if hit["video"] is None:
            raise TypeError("the library has forgotten its video")
        return Piece(
            video=Path(str(hit["video"])),
            span=ClipSpan(float(hit["start_s"]), float(hit["end_s"])),
            title=str(hit.get("text") or title),
            hit=dict(hit),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"a hit needs video, start_s and end_s: {type(error).__name__}: {error}") from error


def by_video(pieces: Iterable[Piece]) -> dict[Path, tuple[Piece, ...]]:
    """The pieces of each video by start, the videos in order of their first piece."""
    videos: dict[Path, list[Piece]] = {}
    for piece in pieces:
        videos.setdefault(piece.video, []).append(piece)
    return {video: tuple(sorted(found, key=lambda piece: piece.span)) for video, found in videos.items()}
