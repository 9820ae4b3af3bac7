"""Queries: words, pictures, pieces of video, weighted combinations of these, and sequences."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from vlrlt.errors import ConfigError
from vlrlt.formats import TIME_PATTERN, parse_time
from vlrlt.types import ClipSpan

UNLIKE_WEIGHT = -0.5
"""Of what shall not be shown, where what shall be shown weighs 1."""
LIKED_WEIGHT, DISLIKED_WEIGHT = 0.75, -0.15
"""Of all liked and of all disliked clips together, when they refine a query (Rocchio; Manning et al., IR, 9.1.1)."""
MAX_WEIGHT = 1e6
WITHIN_S = 30.0
"""From the end of one step of a sequence to the start of the next, at most."""


@dataclass(frozen=True)
class TextQuery:
    """A sentence, as a caption would have it."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class ImageQuery:
    """A picture file."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True)
class ClipQuery:
    """A piece of a video file, or all of it."""

    path: Path
    span: ClipSpan | None = None
    """None: all of it."""

    def __str__(self) -> str:
        return str(self.path) if self.span is None else f"{self.path}@{self.span.start_s:g}-{self.span.end_s:g}"


@dataclass(frozen=True)
class SimilarQuery:
    """More like a clip of the library, by its id: `clip` of a hit."""

    clip_id: int

    def __str__(self) -> str:
        return f"like {self.clip_id:016x}"


SimpleQuery = TextQuery | ImageQuery | ClipQuery | SimilarQuery


@dataclass(frozen=True)
class Part:
    """A part of a combined query."""

    query: SimpleQuery
    weight: float
    """Below 0: what shall not be shown."""


@dataclass(frozen=True)
class CombinedQuery:
    """Several queries at once. A weight counts in units of that part's own spread over the library's clips."""

    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        if not any(part.weight > 0 for part in self.parts):
            raise ConfigError("a query needs something to look for, not only what to leave out; add words to find")

    def __str__(self) -> str:
        return ", ".join(f"{part.query} ({part.weight:+g})" for part in self.parts)


@dataclass(frozen=True)
class SequenceQuery:
    """One thing, then another, in one video: each begins after the one before has ended, within `within_s`."""

    steps: tuple[SimpleQuery | CombinedQuery, ...]
    within_s: float = WITHIN_S

    def __post_init__(self) -> None:
        if len(self.steps) < 2:
            raise ConfigError(f"a sequence needs two steps or more, got {len(self.steps)}")

    def __str__(self) -> str:
        return f"{' then '.join(map(str, self.steps))}, within {self.within_s:g} s"


Query = SimpleQuery | CombinedQuery | SequenceQuery


def weighted_text(text: str) -> Part:
    """Words with a weight after a caret: "open the fridge^2"; without one the weight is 1."""
    match = re.fullmatch(r"(.*\S)\^(\d+(?:\.\d+)?)", text.strip(), re.DOTALL)
    words, weight = (match[1], float(match[2])) if match else (text.strip(), 1.0)
    if not words or not 0 < weight <= MAX_WEIGHT:
        raise ConfigError(f"words to find or leave out need text and a weight up to {MAX_WEIGHT:g}, got {text!r}")
    return Part(TextQuery(words), weight)


def parse_clip(text: str) -> ClipQuery:
    """Read FILE or FILE@START-END; a time is seconds, mm:ss or hh:mm:ss, each with decimals if need be.

    The last "@" counts, and only where two times follow it, so that a file name may contain one.

    >>> parse_clip("day1.mp4@01:02.5-70")
    ClipQuery(path=PosixPath('day1.mp4'), span=ClipSpan(start_s=62.5, end_s=70.0))

    Raises:
        ConfigError: END does not lie after START; or the times are malformed, and no file is called that.
    """
    match = re.fullmatch(rf"(.+)@({TIME_PATTERN})-({TIME_PATTERN})", text, re.DOTALL)
    if match is None:
        if re.search(r"@\d[^@/]*-[^@/]*$", text) and not os.path.exists(text):  # noqa: PTH110  Path raises for long names
            raise ConfigError(f"a piece of video is FILE@START-END with times like 70, 01:10 or 01:10.5, got {text!r}")
        return ClipQuery(Path(text))
    return ClipQuery(Path(match[1]), ClipSpan(parse_time(match[2]), parse_time(match[3])))


def parse_clip_id(text: str) -> int:
    """Read the id of a clip as hits show it: 16 hexadecimal digits.

    Raises:
        ConfigError: it is no id.
    """
    if not re.fullmatch(r"[0-9a-f]{16}", text):
        raise ConfigError(f"a clip id is 16 hexadecimal digits, got {text!r}; every hit of a search has one")
    return int(text, 16)
