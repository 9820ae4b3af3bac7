"""Filters of clips: conditions on their video and on the share of moving patches. Legend: N clips, V videos."""

import fnmatch
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np

from vlrlt.errors import ConfigError
from vlrlt.formats import composed
from vlrlt.index.library.catalog import FrameRunTable
from vlrlt.index.library.sidecars import MetadataValue
from vlrlt.index.vectors.protocol import Mask

MAX_CHARS = 2000
"""Of one text of a filter; compiling a glob takes time by the square of its length."""
RECORDED_AT = "recorded_at"
"""Metadata key of when a video was recorded: ISO 8601, without an offset in local time."""

_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
    "=": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}
_OPERATOR = re.compile("(" + "|".join(_OPERATORS) + ")")
"""The longer ones first, as they stand above."""

Metadata = Mapping[str, Mapping[str, MetadataValue]]
"""Id of a video -> key -> value."""


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Conditions that must all hold. The defaults let everything pass.

    Raises:
        ConfigError: a share is not in [0, 1].
    """

    paths: tuple[str, ...] = ()
    """Globs, one of which must match the video's whole path or its name: "*/2024/*", "*.mkv"."""
    not_paths: tuple[str, ...] = ()
    """Globs, none of which may match."""
    videos: tuple[str, ...] = ()
    """Ids of videos, one of which it must be."""
    recorded_after: str | None = None
    """ISO 8601, without an offset in local time; a video whose recording time is unknown does not pass."""
    recorded_before: str | None = None
    min_duration_s: float | None = None
    """Of the video."""
    max_duration_s: float | None = None
    where: tuple[str, ...] = ()
    """Conditions on metadata such as "camera=gopro", "rating>=3"; a video without that key does not pass."""
    moving: float | None = None
    """Least share of the clip's tokens that move, in [0, 1]."""
    still: float | None = None
    """Largest share of the clip's tokens that move, in [0, 1]."""

    def __post_init__(self) -> None:
        for name in ("moving", "still"):
            share = getattr(self, name)
            if share is not None and not 0 <= share <= 1:
                raise ConfigError(f"{name} is a share in [0, 1], got {share}")
        for text in (*self.paths, *self.not_paths, *self.videos, *self.where):
            if not isinstance(text, str) or len(text) > MAX_CHARS:
                raise ConfigError(f"a filter takes texts of {MAX_CHARS} characters at most, got {text!r:.100}")

    def mask(self, clips: FrameRunTable, metadata: Metadata) -> Mask | None:
        """A mask of the clips that pass, (N,); None: all pass.

        Raises:
            ConfigError: a condition is malformed, or asks for movement that was not recorded when indexing.
        """
        if self == Filter():
            return None
        video_V = self._video_mask(clips, metadata)
        clip_N = video_V[clips.video_N]
        if self.moving is None and self.still is None:
            return clip_N
        if len(clips.kept_share_N) and np.isnan(clips.kept_share_N).all():
            raise ConfigError("this library was indexed before movement was recorded; index it again to filter by it")
        low, high = (0.0 if self.moving is None else self.moving), (1.0 if self.still is None else self.still)
        # a clip of unknown movement compares false with everything
        return clip_N & (clips.kept_share_N >= low) & (clips.kept_share_N <= high)

    def recorded_between(self, after: str, before: str) -> "Filter":
        """This filter, for videos recorded in both its own time and another."""
        afters, befores = filter(None, (self.recorded_after, after)), filter(None, (self.recorded_before, before))
        return replace(
            self, recorded_after=max(afters, key=parse_instant), recorded_before=min(befores, key=parse_instant)
        )

    def undated(self, clips: FrameRunTable, metadata: Metadata) -> int:
        """How many videos do not pass only because it is not known when they were recorded."""
        if self.recorded_after is self.recorded_before is None:
            return 0
        others = replace(self, recorded_after=None, recorded_before=None)._video_mask(clips, metadata)
        unknown = _where(math.isnan(recorded_s(metadata.get(video, {}))) for video in clips.video_ids)
        return int(np.count_nonzero(others & unknown))

    def _video_mask(self, clips: FrameRunTable, metadata: Metadata) -> Mask:
        passes = np.ones(len(clips.videos), np.bool_)
        facts = [metadata.get(video, {}) for video in clips.video_ids]
        if self.paths:
            passes &= _where(any(_matches(path, glob) for glob in self.paths) for path in clips.videos)
        if self.not_paths:
            passes &= _where(not any(_matches(path, glob) for glob in self.not_paths) for path in clips.videos)
        if self.videos:
            passes &= _where(video in self.videos for video in clips.video_ids)
        if self.recorded_after is not None or self.recorded_before is not None:
            after = -math.inf if self.recorded_after is None else parse_instant(self.recorded_after)
            before = math.inf if self.recorded_before is None else parse_instant(self.recorded_before)
            passes &= _where(after <= recorded_s(known) < before for known in facts)
        if self.min_duration_s is not None or self.max_duration_s is not None:
            duration_s_V = np.zeros(len(clips.videos))
            np.maximum.at(duration_s_V, clips.video_N, clips.end_s_N)
            longest_s = math.inf if self.max_duration_s is None else self.max_duration_s
            passes &= (duration_s_V >= (self.min_duration_s or 0.0)) & (duration_s_V <= longest_s)
        for key, compare, wanted in map(_parse_condition, self.where):
            passes &= _where(key in known and _compare(compare, known[key], wanted) for known in facts)
        return passes


def parse_instant(text: str) -> float:
    """Seconds since 1970 of an ISO 8601 date or time; without an offset it is in local time.

    Raises:
        ConfigError: it is none.
    """
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"a time must be ISO 8601 like 2024-05-01 or 2024-05-01T18:30, got {text!r}") from error
    try:
        return instant.timestamp()
    except (OverflowError, OSError) as error:  # the year 1 or 9999, moved to UTC
        raise ConfigError(f"a time must be in the years 2 to 9998, got {text!r}") from error


def local_zone() -> str:
    """Name of the time zone in which times without an offset are meant: CET."""
    return datetime.now().astimezone().tzname() or "local time"


def undated_text(num_videos: int) -> str:
    """That videos were left out because nobody knows when they were recorded."""
    out, when = ("1 video was", "it was") if num_videos == 1 else (f"{num_videos} videos were", "they were")
    return f"{out} left out, because it is not known when {when} recorded; vlrlt import adds recorded_at"


def recorded_s(known: Mapping[str, MetadataValue]) -> float:
    """When a video was recorded, in seconds since 1970; NaN, which compares false with everything: it is unknown."""
    try:
        return parse_instant(str(known[RECORDED_AT]))
    except (KeyError, ConfigError):
        return math.nan


def _matches(path: str, glob: str) -> bool:
    path, glob = composed(path), composed(glob)
    return fnmatch.fnmatchcase(path, glob) or fnmatch.fnmatchcase(path.rpartition("/")[2], glob)


def _parse_condition(text: str) -> tuple[str, Callable[[Any, Any], bool], str]:
    """KEY, operator and value; the first operator counts, so that a value may hold any."""
    key, *rest = _OPERATOR.split(text, maxsplit=1)
    key = key.strip()
    if not rest or not key or "!" in key:
        raise ConfigError(f"a condition is KEY, one of {' '.join(_OPERATORS)}, and a value, got {text!r}")
    sign, value = rest
    return key, _OPERATORS[sign], value.strip()


def _compare(compare: Callable[[Any, Any], bool], known: MetadataValue, wanted: str) -> bool:
    """As numbers if both are, else as text."""
    try:
        return compare(float(known), float(wanted))
    except (ValueError, OverflowError):
        return compare(str(known).lower(), wanted.lower())


def _where(flags: Iterable[bool]) -> Mask:
    return np.fromiter(flags, np.bool_)
