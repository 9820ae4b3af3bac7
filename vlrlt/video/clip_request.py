"""What a decoder process is asked for."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from vlrlt.types import ClipSpan
from vlrlt.video.sampling import ClipSampling, clip_spans
from vlrlt.video.transforms import Preprocess


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipRequest:
    """Which clips of a video are wanted, and how they are read."""

    path: Path
    sampling: ClipSampling
    preprocess: Preprocess
    within: ClipSpan | None = None
    """The part that is cut into clips; None: all of the video."""
    first_clip: int = 0
    """Begin with this one; those before it are known."""
    stop_clip: int | None = None
    """End before this one; None: with the last."""
    seed_start_s: float | None = None
    """Where the last clip before first_clip starts that was stored: what begins still is compared with it."""
    still_255: float | None = None
    """Threshold in grey levels below which a clip that shows nothing new comes without frames; None: never."""
    max_shift_s: float = 0.0
    """How far a frame may lie from the time that is asked for, so that cheaper ones can be taken: key frames, frames
    that others are predicted from. 0: the one on screen then."""

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
            "sampling": ClipSampling(**fields["sampling"]),
            "preprocess": Preprocess.from_json(fields["preprocess"]),
            "within": None if within is None else ClipSpan(**within),
        }
        return cls(path=path, **{**fields, **rebuilt})

    def spans(self, duration_s: float) -> tuple[ClipSpan, ...]:
        """All clips of a video of this length, or of the part that is wanted; none where that lies behind its end."""
        if self.within is None:
            return clip_spans(duration_s, self.sampling)
        begin_s = self.within.start_s
        length_s = min(self.within.end_s, duration_s) - begin_s
        spans = clip_spans(length_s, self.sampling) if length_s > 0 else ()
        return tuple(ClipSpan(begin_s + span.start_s, begin_s + span.end_s) for span in spans)
