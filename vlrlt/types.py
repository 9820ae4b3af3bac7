"""The values that flow through vlrlt. Times are seconds of the video's own clock, intervals are [start, end).

Shape legend: T frames, H height_px, W width_px, C = 3 RGB channels, D embedding, N tokens, B clips.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from vlrlt.errors import ConfigError
from vlrlt.formats import format_span
from vlrlt.notebook import Thumbnail, moments_html

BoolArray = npt.NDArray[np.bool_]
UInt8Array = npt.NDArray[np.uint8]
Int64Array = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
NO_FRAMES: UInt8Array = np.zeros((0, 0, 0, 3), np.uint8)
"""Of a clip that shows nothing new."""
Precision = Literal["float32", "bfloat16"]
PrecisionChoice = Literal["auto", "float32", "bfloat16"]
"""auto: what is fastest on the device."""

Verdict = Literal["confirmed", "rejected", "unverified"]
"""What a second look says of a moment; unverified: it has no answer."""
Channel = Literal["sidecar", "embedded", "speech", "screen"]
"""Where timed text of a video comes from: a file beside it, a track inside it, what is said, what is written in it."""


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """What a probe tells of one video file."""

    path: Path
    duration_s: float
    """Where the last frame ends on the file's clock: seconds since the file begins, with its first picture or sound."""
    start_s: float
    """When the first frame is shown on that clock: 0, or later where sound comes first."""
    average_fps: float
    """For information only: no time is ever computed from it."""
    width_px: int
    """As displayed, after rotation."""
    height_px: int
    rotation_deg: int
    """Clockwise turn that was applied for display: 0, 90, 180 or 270."""
    codec: str


_FRACTIONS = ("rate", "timecode_rate", "pixel_aspect")


@dataclass(frozen=True, kw_only=True)
class CameraFacts:
    """What the camera or the program that wrote a file says of it. None: it says nothing."""

    rate: Fraction | None = None
    """Frames per second, exactly: 30000/1001."""
    timecode: str | None = None
    """Of the first frame: 14:09:42:00, with drop frames 14:09:42;00."""
    timecode_rate: Fraction | None = None
    """Names of a second, exactly; cameras may count 30 names for 60 frames. None: as many as frames."""
    reel: str | None = None
    """Reel or tape name."""
    created_at: str | None = None
    """When recording began, ISO 8601, with the zone where the file has it."""
    latitude: float | None = None
    """Degrees, WGS 84."""
    longitude: float | None = None
    altitude_m: float | None = None
    device: str | None = None
    """Make and model."""
    audio_tracks: int = 0
    audio_channels: int = 0
    """Of the first audio track."""
    audio_rate_hz: int = 0
    """Of the first audio track."""
    chapters: int = 0
    transfer: str | None = None
    """Of colour: "pq" and "hlg" are HDR; None: SDR or unknown."""
    interlaced: bool = False
    pixel_aspect: Fraction | None = None
    """Width of a pixel by its height."""

    def as_json(self) -> dict[str, Any]:
        """JSON from which from_json makes it again; only what is known."""
        known = {name: value for name, value in asdict(self).items() if value not in (None, 0)}
        return {name: str(value) if isinstance(value, Fraction) else value for name, value in known.items()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "CameraFacts":
        """The inverse of as_json."""
        fractions: dict[str, Any] = {name: Fraction(values[name]) for name in _FRACTIONS if name in values}
        return cls(**(values | fractions))


@dataclass(frozen=True)
class Frame:
    """One decoded picture: RGB, upright, with its real presentation time."""

    rgb_HWC: UInt8Array
    pts_s: float
    """Seconds of the file's clock, never index / fps."""


@dataclass(frozen=True, order=True)
class ClipSpan:
    """The interval [start_s, end_s) of one video that becomes one vector."""

    start_s: float
    end_s: float

    def __post_init__(self) -> None:
        if not 0 <= self.start_s < self.end_s:
            raise ConfigError(
                f"a clip begins at 0 s or later and ends after it begins, got {self.start_s} s to {self.end_s} s"
            )

    @property
    def duration_s(self) -> float:
        """Length in seconds, > 0."""
        return self.end_s - self.start_s


@dataclass(frozen=True, kw_only=True)
class Clip:
    """Frames that are encoded together, and what they stand for: what an embedder takes.

    Clips may overlap, so that each output has frames on both sides. The spans that they answer for never do.
    """

    span: ClipSpan
    """Of its frames."""
    own: ClipSpan
    """The part that the clip answers for."""
    rgb_THWC: UInt8Array
    """Square frames of the model's image size; none (T = 0) if nothing has changed since the clip before."""
    pts_s: Float64Array
    """(T,) real presentation times of the frames."""
    starts_s: Float64Array
    """(T,) from when on each frame stands for the video, ascending."""
    num_looks_T: Int64Array
    """(T,) looks that each frame stands for: its own, and those after it in which nothing had changed."""
    num_looks: int
    """How often the video was looked at in its own part, whether there is a frame of it or not."""
    num_static: int
    """Frames that are left out because nothing had changed."""

    @property
    def is_static(self) -> bool:
        """Whether it shows nothing new: then it is not encoded, and the frame run before it goes on."""
        return len(self.rgb_THWC) == 0


@dataclass(frozen=True, kw_only=True)
class ClipEmbeddings:
    """Vectors of a batch of clips and what they cost. Legend: B clips, S outputs along a clip."""

    vectors_BD: Float32Array
    """One vector a clip, L2-normalised."""
    num_tokens_B: Int64Array
    """Patch tokens that the encoder processed for each clip."""
    num_dense_tokens: int
    """Patch tokens of one clip when nothing is dropped."""
    outputs_BSD: Float32Array | None = None
    """What the encoder says along the clip, L2-normalised, one output for each S-th part of its frames. None: the
    clip's vector is its only output."""
    changed_BS: Float32Array | None = None
    """Share of the patches that have changed since the output before, in [0, 1]; the first output repeats the second.
    None: the share of all tokens that were kept."""


def join_embeddings(parts: Sequence[ClipEmbeddings]) -> ClipEmbeddings:
    """Those of one batch of clips, from those of its parts."""
    return ClipEmbeddings(
        vectors_BD=np.concatenate([part.vectors_BD for part in parts]),
        num_tokens_B=np.concatenate([part.num_tokens_B for part in parts]),
        num_dense_tokens=parts[0].num_dense_tokens,
        outputs_BSD=_concatenated([part.outputs_BSD for part in parts]),
        changed_BS=_concatenated([part.changed_BS for part in parts]),
    )


def _concatenated(parts: Sequence[Float32Array | None]) -> Float32Array | None:
    given = [part for part in parts if part is not None]
    return np.concatenate(given) if given else None


@dataclass(frozen=True, kw_only=True)
class TimedText:
    """A line of speech, text or notes in [start_s, end_s) of a video."""

    start_s: float
    end_s: float
    text: str
    channel: Channel = "sidecar"
    language: str | None = None
    """ISO 639 code; None: unknown."""
    confidence: float | None = None
    """Of who has read it, in [0, 1]; None: nobody says."""
    word_starts_s: tuple[float, ...] = ()
    """When each word begins, words being what blanks divide; empty: unknown."""

    def as_json(self) -> dict[str, Any]:
        """The documented JSON shape of one line of a transcript."""
        return {
            "start_s": round(self.start_s, 3),
            "end_s": round(self.end_s, 3),
            "channel": self.channel,
            "language": self.language,
            "confidence": None if self.confidence is None else round(self.confidence, 3),
            "text": self.text,
        }


@dataclass(frozen=True, kw_only=True)
class Moment:
    """Adjacent hits of one video, merged into one answer."""

    rank: int
    """1 is best."""
    score: float
    """Cosine of its best frame run with the query, for words and single looks averaged with the 32 s around it; of a
    sequence, the cosine of its weakest step."""
    percentile: float
    """Share of the searched frame runs, in percent, whose own cosine is lower than that of its best run."""
    confidence: float | None = None
    """Probability in [0, 1] that it shows what the words say; None: the query has no words."""
    clip_id: int
    """Of its best clip; of a sequence, of its first step."""
    video: str
    """Path of the video file."""
    video_id: str
    """Id of the video for clients."""
    start_s: float
    end_s: float
    sources: tuple[str, ...] = ("picture",)
    """Which sources found it: picture, subtitles, speech, screen."""
    text: str | None = None
    """The line of text that was found."""
    text_marks: tuple[tuple[int, int], ...] = ()
    """Where in the line the words of the query stand: [start, end) in characters."""
    text_fit: float | None = None
    """How well the line fits the query, in [0, 1]; 1: it holds every word of it."""
    seek_s: float | None = None
    """Where to begin playing: at the first of these words; at the line's start if it is unknown when it is said."""
    steps: tuple[ClipSpan, ...] = ()
    """Of a sequence: where each step was found."""
    verdict: Verdict | None = None
    """Of a second look; None: there was none."""
    likelihood: float | None = None
    """In [0, 1], that it shows the words, by the second look; None: it has no answer."""
    thumbnail: Thumbnail | None = field(default=None, repr=False, compare=False)
    """Makes its picture for notebooks; None: the moment does not come from an open library."""

    @property
    def clip(self) -> str:
        """The clip's id for clients, 16 hexadecimal digits, because many JSON readers round numbers of 63 bits."""
        return f"{self.clip_id:016x}"

    @property
    def span(self) -> ClipSpan:
        """Its start and end."""
        return ClipSpan(self.start_s, self.end_s)

    def __str__(self) -> str:
        """One line: rank, score, percentile, how sure, video, when, and what was said or seen step by step."""
        confidence = "" if self.confidence is None else f"  {self.confidence:4.0%} sure"
        said = f"  {self.marked_text()!r}" if self.text else ""
        steps = " then ".join(format_span(step.start_s, step.end_s) for step in self.steps)
        return (
            f"#{self.rank:<3} {self.score:6.3f}  p{self.percentile:<5.1f}{confidence}  {Path(self.video).name}  "
            f"{format_span(self.start_s, self.end_s)}{said}{f': {steps}' if steps else ''}{self._verdict_text()}"
        )

    def _repr_html_(self) -> str:
        return moments_html("", [self])

    def _verdict_text(self) -> str:
        likelihood = "" if self.likelihood is None else f" {self.likelihood:.0%}"
        return f"  {self.verdict}{likelihood}" if self.verdict else ""

    def marked_text(self, before: str = "[", after: str = "]") -> str:
        """The line with the query's words marked; empty: there is no line."""
        marked, done = "", 0
        for start, end in self.text_marks:
            marked += f"{(self.text or '')[done:start]}{before}{(self.text or '')[start:end]}{after}"
            done = end
        return marked + (self.text or "")[done:]

    def within(self, span: ClipSpan) -> "Moment":
        """Other seconds of the same video."""
        return replace(self, start_s=span.start_s, end_s=span.end_s, seek_s=None)

    def as_json(self) -> dict[str, Any]:
        """The documented JSON shape of one search hit."""
        return {
            "rank": self.rank,
            "score": round(self.score, 4),
            "percentile": round(self.percentile, 2),
            "confidence": None if self.confidence is None else round(self.confidence, 3),
            "clip": self.clip,
            "video": self.video,
            "video_id": self.video_id,
            "start_s": round(self.start_s, 3),
            "end_s": round(self.end_s, 3),
            "sources": list(self.sources),
            "text": self.text,
            "text_marks": [list(mark) for mark in self.text_marks],
            "text_fit": None if self.text_fit is None else round(self.text_fit, 3),
            "seek_s": None if self.seek_s is None else round(self.seek_s, 3),
            "steps": [[round(step.start_s, 3), round(step.end_s, 3)] for step in self.steps],
            "verdict": self.verdict,
            "likelihood": None if self.likelihood is None else round(self.likelihood, 3),
        }
