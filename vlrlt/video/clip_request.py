"""Requests to a decoder process."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from vlrlt.types import ClipSpan
from vlrlt.video.sampling import Sampling, frames_per_clip, sampling_from_json
from vlrlt.video.transforms import Preprocess

CHUNK_S = 300.0
"""Seconds of video that are read and encoded without a look at what lies before them."""


@dataclass(frozen=True, kw_only=True)
class ClipRequest:
    """Which clips of a video are wanted, and how they are read."""

    path: Path
    sampling: Sampling
    preprocess: Preprocess
    within: ClipSpan | None = None
    """The part that is cut into clips; None: all of the video."""
    start_s: float = 0.0
    """Only clips that answer for what begins here or later."""
    stop_s: float | None = None
    """Only clips that answer for what begins earlier; None: all to the end."""
    chunk_s: float = CHUNK_S
    """A clip is static only in comparison with clips of its own chunk, so that chunks can be read one by one."""
    static_255: float | None = None
    """Grey levels up to which a clip that shows nothing new comes without frames; None: every clip has its frames."""
    max_shift_s: float = 0.0
    """How far a frame may lie from the time that is asked for, so that cheaper ones can be taken: key frames, frames
    that others are predicted from. 0: the one on screen then."""

    @property
    def frames_per_clip(self) -> int:
        """At most."""
        return frames_per_clip(self.sampling)

    def chunk_of(self, clip_start_s: float) -> int:
        """Number of the chunk that a clip belongs to whose own span begins then."""
        return int((clip_start_s + 1e-6) // self.chunk_s)

    def wants(self, own: ClipSpan) -> bool:
        """Whether the clip with this own span is asked for."""
        return self.start_s <= own.start_s + 1e-6 and (self.stop_s is None or own.start_s + 1e-6 < self.stop_s)

    def as_json(self) -> dict[str, Any]:
        """All but the path; from_json is the inverse."""
        fields = dataclasses.asdict(self)
        del fields["path"]
        return fields | {"preprocess": self.preprocess.as_json()}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any], *, path: Path) -> Self:
        """The inverse of as_json."""
        within = fields["within"]
        rebuilt = {
            "sampling": sampling_from_json(fields["sampling"]),
            "preprocess": Preprocess.from_json(fields["preprocess"]),
            "within": None if within is None else ClipSpan(**within),
        }
        return cls(path=path, **{**fields, **rebuilt})
