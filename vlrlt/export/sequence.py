"""Pieces one after the other as editors see them: one exact model, from which EDL, FCPXML and OTIO are written.

Times are whole frames of an exact rate, so rational seconds. The sequence has one rate, every source keeps its own.
docs/decisions/0010-timelines.md says why each rule is as it is.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from vlrlt.errors import ConfigError
from vlrlt.export.piece import Piece
from vlrlt.types import CameraFacts
from vlrlt.video.camera import read_camera
from vlrlt.video.decode import probe
from vlrlt.video.limited import Limits, call_limited
from vlrlt.video.timecode import STANDARD_RATES, can_drop, frame_of, is_drop

_UNKNOWN_RATE = Fraction(25)
_SAME_FRAME = 0.01
"""Of a frame: a time so close to the next one means that one."""
_REEL_CHARS = 8
"""CMX 3600 has room for so many."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A video as editors see it."""

    name: str
    """Of its file: editors find media by it."""
    url: str
    rate: Fraction
    num_frames: int
    first_frame: int
    """Its timecode, in frames since midnight; 0: it has none."""
    drop: bool
    """Whether its timecode counts with drop frames."""
    reel: str
    """Letters and digits, eight at most."""
    width_px: int
    height_px: int
    audio_tracks: int
    audio_channels: int
    audio_rate_hz: int

    @property
    def start(self) -> Fraction:
        """Seconds at which the editor's clock of this video begins."""
        return self.first_frame / self.rate

    @property
    def duration(self) -> Fraction:
        """Seconds."""
        return self.num_frames / self.rate


@dataclass(frozen=True, kw_only=True)
class Event:
    """A piece of a source at its place in the sequence."""

    source: Source
    piece: Piece
    in_frame: int
    """Of the source, counted by its timecode."""
    num_frames: int
    """Of the source."""
    record_frame: int
    """Of the sequence, where it begins."""
    record_frames: int
    """Of the sequence; at another rate than the source's never longer than the piece."""

    @property
    def title(self) -> str:
        """What it shows, as one line; empty: nobody says."""
        return " ".join(self.piece.title.split())


@dataclass(frozen=True, kw_only=True)
class EditSequence:
    """Events one after the other."""

    title: str
    rate: Fraction
    drop: bool
    events: tuple[Event, ...]

    @property
    def sources(self) -> tuple[Source, ...]:
        """Each once, in the order of their first events."""
        return tuple(dict.fromkeys(event.source for event in self.events))

    @property
    def num_frames(self) -> int:
        """Of the whole."""
        return sum(event.record_frames for event in self.events)


def build_sequence(pieces: Sequence[Piece], *, title: str) -> EditSequence:
    """The pieces in their order, by what their files say of themselves, where no sidecar says otherwise.

    A piece has every frame that is on screen between its ends.

    Raises:
        ConfigError: there is nothing to put into it, or a piece begins after its video's end.
        DecodeError: a video cannot be read.
    """
    if not pieces:
        raise ConfigError("nothing was found, so there is no timeline to write; try vlrlt search --tail")
    sources = _sources({piece.video: piece for piece in pieces})
    rate = sequence_rate([sources[piece.video].rate for piece in pieces])
    events: list[Event] = []
    for piece in pieces:
        place = events[-1].record_frame + events[-1].record_frames if events else 0
        events.append(_event(piece, sources[piece.video], rate=rate, record_frame=place))
    ours = Counter(event.source.drop for event in events if event.source.rate == rate)
    drop = can_drop(rate) and ours[True] > ours[False]
    return EditSequence(title=" ".join(title.split()) or "vlrlt", rate=rate, drop=drop, events=tuple(events))


def sequence_rate(rates: Iterable[Fraction]) -> Fraction:
    """The commonest of some rates if editors have it, else the next that shows all of its frames, else the nearest."""
    ((commonest, _),) = Counter(rates).most_common(1)
    if commonest in STANDARD_RATES:
        return commonest
    whole = [rate for rate in STANDARD_RATES if (rate / commonest).denominator == 1]
    parts = [rate for rate in reversed(STANDARD_RATES) if (commonest / rate).denominator == 1]
    is_whole = commonest.denominator == 1
    near = sorted(STANDARD_RATES, key=lambda rate: ((rate.denominator == 1) != is_whole, abs(rate - commonest)))
    return (*whole, *parts, *near)[0]


def _event(piece: Piece, source: Source, *, rate: Fraction, record_frame: int) -> Event:
    first = math.floor(Fraction(piece.span.start_s) * source.rate + Fraction(_SAME_FRAME))
    until = math.ceil(Fraction(piece.span.end_s) * source.rate - Fraction(_SAME_FRAME))
    if first >= source.num_frames:
        lasts = f"lasts {float(source.duration):.2f} s"
        raise ConfigError(f"{piece.video} {lasts}, so it has no frame at {piece.span.start_s:.2f} s")
    num_frames = max(1, min(until, source.num_frames) - first)
    return Event(
        source=source,
        piece=piece,
        in_frame=source.first_frame + first,
        num_frames=num_frames,
        record_frame=record_frame,
        record_frames=max(1, math.floor(num_frames / source.rate * rate)),
    )


def _sources(videos: Mapping[Path, Piece]) -> dict[Path, Source]:
    facts = {video: with_sidecar(read_camera(video), piece.sidecar) for video, piece in videos.items()}
    reels = _reels({video: known.reel for video, known in facts.items()})
    return {video: _source(piece, facts[video], reel=reels[video]) for video, piece in videos.items()}


def with_sidecar(facts: CameraFacts, sidecar: Mapping[str, Any]) -> CameraFacts:
    """Facts of a camera, where a sidecar's keys timecode and reel do not say otherwise.

    Raises:
        ConfigError: the sidecar's timecode is none at the video's rate.
    """
    given: dict[str, Any] = {key: str(sidecar[key]) for key in ("timecode", "reel") if key in sidecar}
    given |= {"timecode_rate": None} if "timecode" in given else {}
    if "timecode" in given and frame_of(given["timecode"], facts.rate or _UNKNOWN_RATE) is None:
        raise ConfigError(
            f"a sidecar's timecode must look like 14:09:42:00 at {float(facts.rate or _UNKNOWN_RATE):g} frames a "
            f"second, got {given['timecode']!r:.50}"
        )
    return replace(facts, **given)


def _source(piece: Piece, facts: CameraFacts, *, reel: str) -> Source:
    width_px, height_px, duration_s = call_limited(_size, Limits(path=piece.video), piece.video)
    rate = facts.rate or _UNKNOWN_RATE
    first_frame = _first_frame(facts, rate)
    return Source(
        name=" ".join(piece.video.name.encode(errors="replace").decode().split()),
        url=piece.url,
        rate=rate,
        num_frames=max(1, round(Fraction(duration_s) * rate)),
        first_frame=first_frame or 0,
        drop=first_frame is not None and is_drop(facts.timecode or "") and can_drop(rate),
        reel=reel,
        width_px=width_px,
        height_px=height_px,
        audio_tracks=facts.audio_tracks,
        audio_channels=facts.audio_channels,
        audio_rate_hz=facts.audio_rate_hz,
    )


def _first_frame(facts: CameraFacts, rate: Fraction) -> int | None:
    """The timecode in frames since midnight, also where it counts fewer names than frames; None: there is none."""
    named = None if facts.timecode is None else frame_of(facts.timecode, facts.timecode_rate or rate)
    return None if named is None else round(named / (facts.timecode_rate or rate) * rate)


def _size(video: Path) -> tuple[int, int, float]:
    """Width and height as they are shown, and length in seconds. For limited children."""
    info = probe(video)
    return info.width_px, info.height_px, info.duration_s


def _reels(named: Mapping[Path, str | None]) -> dict[Path, str]:
    """The camera's reel names where they fit; else one of the file's name and a number, each video its own."""
    reels: dict[Path, str] = {}
    for number, (video, name) in enumerate(named.items(), start=1):
        reel = _letters(name or "")
        fits = 0 < len(reel) <= _REEL_CHARS
        reels[video] = reel if fits else _letters(video.stem)[: _REEL_CHARS - len(str(number))] + str(number)
    return reels


def _letters(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", "", name)
