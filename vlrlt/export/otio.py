"""A sequence as an OpenTimelineIO timeline: every clip counts in frames of its own source's rate, by its timecode."""

from fractions import Fraction
from typing import Any

from vlrlt.export.sequence import EditSequence, Event
from vlrlt.extras import require


def as_otio(sequence: EditSequence) -> str:
    """The sequence as the text of an .otio file.

    Raises:
        MissingExtraError: OpenTimelineIO is not installed.
    """
    otio = require("opentimelineio", extra="edit")
    timeline = otio.schema.Timeline(name=sequence.title)
    timeline.global_start_time = otio.opentime.RationalTime(0, float(sequence.rate))
    pictures = otio.schema.Track(name="V1", kind=otio.schema.TrackKind.Video)
    sounds = otio.schema.Track(name="A1", kind=otio.schema.TrackKind.Audio)
    for event in sequence.events:
        pictures.append(_clip(otio, event, with_title=True))
        has_sound = event.source.audio_tracks > 0
        sounds.append(_clip(otio, event, with_title=False) if has_sound else _gap(otio, event))
    timeline.tracks.append(pictures)
    if any(event.source.audio_tracks for event in sequence.events):
        timeline.tracks.append(sounds)
    return str(otio.adapters.write_to_string(timeline, "otio_json"))


def _clip(otio: Any, event: Event, *, with_title: bool) -> Any:  # noqa: ANN401  it has no types
    source = event.source
    media = otio.schema.ExternalReference(
        target_url=source.url, available_range=_range(otio, source.first_frame, source.num_frames, source.rate)
    )
    media.name = source.name
    span = _range(otio, event.in_frame, event.num_frames, source.rate)
    clip = otio.schema.Clip(name=source.name, media_reference=media, source_range=span)
    clip.metadata["vlrlt"] = {key: value for key, value in event.piece.as_json().items() if key != "video"}
    clip.metadata["cmx_3600"] = {"reel": source.reel}
    if with_title and event.title:
        clip.markers.append(otio.schema.Marker(name=event.title, marked_range=span))
    return clip


def _gap(otio: Any, event: Event) -> Any:  # noqa: ANN401
    return otio.schema.Gap(source_range=_range(otio, 0, event.num_frames, event.source.rate))


def _range(otio: Any, frame: int, num_frames: int, rate: Fraction) -> Any:  # noqa: ANN401
    start = otio.opentime.RationalTime(frame, float(rate))
    return otio.opentime.TimeRange(start, otio.opentime.RationalTime(num_frames, float(rate)))
