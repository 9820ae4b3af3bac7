"""Unreadable clips: another clip replaces each of them, and too many of them end the run."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from vlrlt.errors import UnreadableClipsError

ALLOWED_SHARE = 0.01
"""Of the training clips; one is always allowed."""
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class UnreadableClip:
    """A span whose frames cannot be decoded."""

    index: int
    """Of the span."""
    reason: str
    """Names the file."""


class UnreadableClips:
    """Those that this process has met; each is logged once.

    Args:
        num_clips: of the training split.
    """

    def __init__(self, num_clips: int) -> None:
        self._allowed = max(1, int(ALLOWED_SHARE * num_clips))
        self._reasons: dict[int, str] = {}

    def __len__(self) -> int:
        """How many so far."""
        return len(self._reasons)

    def add(self, found: Iterable[UnreadableClip]) -> None:
        """Count what a batch has met."""
        for clip in found:
            if clip.index not in self._reasons:
                self._reasons[clip.index] = clip.reason
                _LOG.warning("replaced a clip that cannot be read: %s", clip.reason)

    def check(self, num_all: int) -> None:
        """End the run if there are too many.

        Args:
            num_all: unreadable clips of all processes together.

        Raises:
            UnreadableClipsError: lists those of this process.
        """
        if num_all > self._allowed:
            what = f"{num_all} training clips cannot be read, and {self._allowed} may be left out"
            raise UnreadableClipsError(what, self._reasons.values())
