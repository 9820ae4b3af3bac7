"""The interface of readers, which read a channel of timed text from a video, part by part."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from vlrlt.types import Channel, TimedText

PART_S = 300.0
"""Of a video, committed at once: a killed run loses no more."""


@dataclass(frozen=True, kw_only=True)
class ReadPart:
    """What was read of a video up to some time."""

    lines: Sequence[TimedText]
    done_s: float
    """All before it is read; the next part begins here."""
    busy_s: float
    """Seconds of it that had to be looked at closely: speech, or new pictures."""
    problem: str | None = None
    """Why less was read than is there."""


class ChannelReader(Protocol):
    """Reads one channel of any video."""

    channel: Channel
    name: str
    """For people."""
    maker: str
    """Fingerprint: lines of different makers never mix."""

    def read(self, path: Path, *, start_s: float, duration_s: float) -> Iterator[ReadPart]:
        """Read a video from a time on, to its end.

        Raises:
            DecodeError: it cannot be read.
        """
