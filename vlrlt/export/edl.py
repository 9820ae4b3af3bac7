"""An edit decision list (CMX 3600): one rate, and timecode with frames of that rate.

Source: CMX 3600 as https://xmil.biz/EDL-X/CMX3600.pdf has it. Resolve and Premiere find media by FROM CLIP NAME.
"""

from collections.abc import Iterator

from vlrlt.export.sequence import EditSequence, Event, Source
from vlrlt.video.timecode import can_drop, frame_of, label_of


def as_edl(sequence: EditSequence) -> str:
    """The sequence as the text of an EDL."""
    lines = [f"TITLE: {sequence.title}", f"FCM: {'DROP FRAME' if sequence.drop else 'NON-DROP FRAME'}", ""]
    for number, event in enumerate(sequence.events, start=1):
        lines += _event_lines(number, event, sequence)
    return "\n".join(lines) + "\n"


def _event_lines(number: int, event: Event, sequence: EditSequence) -> Iterator[str]:
    source, until = event.source, event.record_frame + event.record_frames
    in_frame, drop = _converted(event, sequence)
    times = (
        label_of(in_frame, sequence.rate, drop=drop),
        label_of(in_frame + event.record_frames, sequence.rate, drop=drop),
        label_of(event.record_frame, sequence.rate, drop=sequence.drop),
        label_of(until, sequence.rate, drop=sequence.drop),
    )
    yield f"{number:03d}  {source.reel:8} {_channels(source):5} C        {' '.join(times)}"
    yield f"* FROM CLIP NAME: {source.name}"
    yield f"* FROM FILE: {source.url}"
    if event.title:
        yield f"* COMMENT: {event.title}"
    if source.rate != sequence.rate:
        exact = label_of(event.in_frame, source.rate, drop=source.drop)
        yield f"* COMMENT: SOURCE TIMECODE {exact} AT {float(source.rate):.5g} FPS"


def _converted(event: Event, sequence: EditSequence) -> tuple[int, bool]:
    """The source's timecode in frames of the sequence's rate; hours, minutes and seconds are those of the camera."""
    source = event.source
    if source.rate == sequence.rate:
        return event.in_frame, source.drop
    drop = source.drop and can_drop(sequence.rate)
    label = label_of(event.in_frame, source.rate, drop=source.drop)
    frames = int(label[9:]) * round(sequence.rate) // max(1, round(source.rate))
    converted = frame_of(f"{label[:8]}{';' if drop else ':'}{frames:02d}", sequence.rate)
    return converted or 0, drop


def _channels(source: Source) -> str:
    """Pictures, and of the sound the first one or two channels, which is all that CMX 3600 can name in one event."""
    if not source.audio_tracks:
        return "V"
    return "B" if source.audio_tracks == 1 and source.audio_channels == 1 else "AA/V"
