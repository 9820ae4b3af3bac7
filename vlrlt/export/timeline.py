"""Pieces one after the other as a timeline for editors, through OpenTimelineIO: EDL, FCPXML, OTIO."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vlrlt.errors import ConfigError
from vlrlt.export.piece import Piece
from vlrlt.extras import require
from vlrlt.video.container import open_container
from vlrlt.video.decode import probe
from vlrlt.video.limited import Limits, call_limited

TimelineFormat = Literal["edl", "fcpxml", "otio"]
_ADAPTERS: dict[TimelineFormat, tuple[str, str | None]] = {
    "edl": ("cmx_3600", "otio_cmx3600_adapter"),
    "fcpxml": ("fcpx_xml", "otio_fcpx_xml_adapter"),
    "otio": ("otio_json", None),
}
"""OpenTimelineIO's name of the format, and the package that brings it."""
_SMPTE_RATES = (24000 / 1001, 24, 25, 30000 / 1001, 30, 48, 50, 60000 / 1001, 60)
"""Frames per second that timecodes know."""
_FCPXML_RATES = (24, 25, 30, 50, 60)
"""Those whose times the adapter writes without rounding."""


@dataclass(frozen=True)
class _Source:
    """A video as editors see it."""

    url: str
    duration_s: float
    fps: float
    sound: bool
    reel: str
    """Of an EDL: letters and digits, eight at most, each video its own."""


def as_timeline(pieces: Sequence[Piece], *, title: str, kind: TimelineFormat) -> str:
    """A timeline with the pieces in their order.

    Times are whole frames of one rate: the commonest of the videos, as SMPTE has it (23.976, 29.97 without drop frames,
    ...); in FCPXML the whole number next to it. An EDL has pictures only, and reel names of eight letters or digits.

    Args:
        pieces: at least one.
        title: of the timeline.
        kind: of file.

    Raises:
        ConfigError: there is nothing to put into it.
        MissingExtraError: OpenTimelineIO or the adapter is not installed.
        DecodeError: a video cannot be read.
    """
    if not pieces:
        raise ConfigError("nothing was found, so there is no timeline to write; try vlrlt search --tail")
    otio = require("opentimelineio", extra="edit")
    adapter, package = _ADAPTERS[kind]
    if package is not None:
        require(package, extra="edit")
    videos = {piece.video: piece.url for piece in pieces}
    sources = {video: _source(video, url, kind, number) for number, (video, url) in enumerate(videos.items(), start=1)}
    fps = _common_rate([sources[piece.video].fps for piece in pieces], kind)
    timeline = _timeline(otio, pieces, sources, fps=fps, title=" ".join(title.split()) or "vlrlt")
    if kind == "edl":
        return str(otio.adapters.write_to_string(timeline, adapter, rate=fps))
    return str(otio.adapters.write_to_string(timeline, adapter))


def _source(video: Path, url: str, kind: TimelineFormat, number: int) -> _Source:
    duration_s, average_fps, sound = call_limited(_look_at, Limits(path=video), video)
    # With a host the FCPXML adapter does not run ffprobe on the file to guess a format's name.
    url = url.replace("file:///", "file://localhost/", 1) if kind == "fcpxml" else url
    reel = re.sub(r"[^A-Za-z0-9]", "", video.stem)[: 8 - len(str(number))] + str(number)
    return _Source(url, duration_s, average_fps or 25.0, sound, reel)


def _look_at(video: Path) -> tuple[float, float, bool]:
    """Length in seconds, frames per second, and whether there is sound. For limited children."""
    info = probe(video)
    container, _ = open_container(video)
    with container:
        return info.duration_s, info.average_fps, bool(container.streams.audio)


def _common_rate(rates: Sequence[float], kind: TimelineFormat) -> float:
    ((commonest, _),) = Counter(rates).most_common(1)
    known = _FCPXML_RATES if kind == "fcpxml" else _SMPTE_RATES
    return float(min(known, key=lambda rate: abs(rate - commonest)))


def _timeline(
    otio: Any,  # noqa: ANN401  it has no types
    pieces: Sequence[Piece],
    sources: dict[Path, _Source],
    *,
    fps: float,
    title: str,
) -> Any:  # noqa: ANN401
    pictures = otio.schema.Track(name="V1", kind=otio.schema.TrackKind.Video)
    sounds = otio.schema.Track(name="A1", kind=otio.schema.TrackKind.Audio)
    for piece in pieces:
        source = sources[piece.video]
        clip = _clip(otio, piece, source, fps)
        pictures.append(clip)
        sounds.append(clip.clone() if source.sound else otio.schema.Gap(duration=clip.source_range.duration))
    timeline = otio.schema.Timeline(name=title)
    timeline.tracks.append(pictures)
    if any(source.sound for source in sources.values()):
        timeline.tracks.append(sounds)
    return timeline


def _clip(otio: Any, piece: Piece, source: _Source, fps: float) -> Any:  # noqa: ANN401
    def frames(time_s: float) -> Any:  # noqa: ANN401
        return otio.opentime.RationalTime(round(time_s * fps), fps)

    start, whole = frames(piece.span.start_s), frames(source.duration_s)
    end = max(min(frames(piece.span.end_s), whole), start + otio.opentime.RationalTime(1, fps))
    media = otio.schema.ExternalReference(
        target_url=source.url, available_range=otio.opentime.TimeRange(frames(0), whole)
    )
    media.name = piece.video.name
    return otio.schema.Clip(
        # An apostrophe in a name breaks the FCPXML adapter's look-ups.
        name=piece.label.replace("'", "\N{RIGHT SINGLE QUOTATION MARK}"),
        media_reference=media,
        source_range=otio.opentime.range_from_start_end_time(start, end),
        metadata={
            "vlrlt": {key: value for key, value in piece.as_json().items() if key != "video"},
            "cmx_3600": {"reel": source.reel},
        },
    )
