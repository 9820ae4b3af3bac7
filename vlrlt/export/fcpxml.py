"""A sequence as FCPXML 1.8, which Final Cut Pro and DaVinci Resolve read: all times are rational seconds.

Source: https://developer.apple.com/documentation/professional-video-applications/fcpxml-reference
"""

from fractions import Fraction
from xml.etree import ElementTree as Xml

from vlrlt.export.sequence import EditSequence, Event, Source
from vlrlt.video.timecode import NTSC

VERSION = "1.8"
"""The last in which an asset names its file itself; later programs read it too."""
_RATE_NAMES = {
    **{Fraction(rate): str(rate) for rate in (24, 25, 30, 48, 50, 60)},
    **{NTSC * base: name for base, name in ((24, "23.98"), (30, "29.97"), (48, "47.95"), (60, "59.94"))},
}
"""As conform-rate has them."""


def as_fcpxml(sequence: EditSequence) -> str:
    """The sequence as the text of an FCPXML file."""
    root = Xml.Element("fcpxml", version=VERSION)
    resources = Xml.SubElement(root, "resources")
    width_px, height_px = sequence.events[0].source.width_px, sequence.events[0].source.height_px
    _format(resources, "r0", rate=sequence.rate, size_px=(width_px, height_px))
    assets: dict[Source, str] = {}
    for number, source in enumerate(sequence.sources, start=1):
        _format(resources, f"f{number}", rate=source.rate, size_px=(source.width_px, source.height_px))
        assets[source] = f"r{number}"
        _asset(resources, source, name=assets[source], shape=f"f{number}")
    event = Xml.SubElement(Xml.SubElement(root, "library"), "event", name=sequence.title)
    project = Xml.SubElement(event, "project", name=sequence.title)
    attributes = {
        "format": "r0",
        "duration": _seconds(sequence.num_frames / sequence.rate),
        "tcStart": "0s",
        "tcFormat": _tc_format(sequence.drop),
    }
    spine = Xml.SubElement(Xml.SubElement(project, "sequence", attributes), "spine")
    for one in sequence.events:
        _clip(spine, one, sequence, ref=assets[one.source])
    Xml.indent(root)
    text = Xml.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE fcpxml>\n\n{text}\n'


def _format(resources: Xml.Element, name: str, *, rate: Fraction, size_px: tuple[int, int]) -> None:
    width_px, height_px = size_px
    attributes = {"id": name, "frameDuration": _seconds(1 / rate), "width": str(width_px), "height": str(height_px)}
    Xml.SubElement(resources, "format", attributes)


def _asset(resources: Xml.Element, source: Source, *, name: str, shape: str) -> None:
    attributes = {
        "id": name,
        "name": source.name,
        "src": source.url,
        "start": _seconds(source.start),
        "duration": _seconds(source.duration),
        "hasVideo": "1",
        "format": shape,
    }
    if source.audio_tracks:
        attributes |= {"hasAudio": "1", "audioSources": "1", "audioChannels": str(source.audio_channels or 1)}
        attributes |= {"audioRate": str(source.audio_rate_hz)} if source.audio_rate_hz else {}
    Xml.SubElement(resources, "asset", attributes)


def _clip(spine: Xml.Element, event: Event, sequence: EditSequence, *, ref: str) -> None:
    source = event.source
    attributes = {
        "ref": ref,
        "name": source.name,
        "offset": _seconds(event.record_frame / sequence.rate),
        "start": _seconds(event.in_frame / source.rate),
        "duration": _seconds(event.record_frames / sequence.rate),
        "tcFormat": _tc_format(source.drop),
    }
    clip = Xml.SubElement(spine, "asset-clip", attributes)
    if event.title:
        Xml.SubElement(clip, "note").text = event.title
    if source.rate != sequence.rate and source.rate in _RATE_NAMES:
        Xml.SubElement(clip, "conform-rate", scaleEnabled="0", srcFrameRate=_RATE_NAMES[source.rate])


def _tc_format(drop: bool) -> str:
    return "DF" if drop else "NDF"


def _seconds(time: Fraction) -> str:
    return f"{time.numerator}s" if time.denominator == 1 else f"{time.numerator}/{time.denominator}s"
