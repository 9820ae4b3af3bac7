"""What a camera has written into a file beside pictures and sound: timecode, reel, time, place, device.

Only the header is read, by a limited child. Sources of the names of tags: FFmpeg (libavformat/mov.c, matroskadec.c,
mxfdec.c), Apple's QuickTime File Format ("com.apple.quicktime"), Android's MPEG4Writer ("com.android").
"""

import re
import struct
from collections.abc import Iterator, Mapping
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import av
from av.container import InputContainer

from vlrlt.formats import as_unicode, printable_line
from vlrlt.types import CameraFacts
from vlrlt.video.container import open_container
from vlrlt.video.limited import Limits, call_limited
from vlrlt.video.timecode import STANDARD_RATES, exact_rate
from vlrlt.video.viewing import HDR_TRANSFERS

_HEADER_CPU_S = 30.0
_MAX_CHARS = 200
"""Of one tag."""
_FIRST_YEAR = 1990
"""Earlier times are those of clocks that nobody has set: 1904 and 1970 are the zeros of QuickTime and Unix."""
_CREATED = ("com.apple.quicktime.creationdate", "creation_time", "date_recorded", "date")
"""Apple's has the zone; creation_time is UTC by the standard of MP4."""
_PLACE = ("com.apple.quicktime.location.iso6709", "location", "location-eng")
_REEL = ("reel_name", "com.apple.proapps.reel", "tape_name")
_MAKE = ("com.apple.quicktime.make", "com.android.manufacturer", "make")
_MODEL = ("com.apple.quicktime.model", "com.android.model", "model")
_ISO_6709 = re.compile(r"([+-]\d{2}(?:\.\d+)?)([+-]\d{3}(?:\.\d+)?)([+-]\d+(?:\.\d+)?)?(?:CRS\w+)?/?")
"""Degrees with decimals, as phones write them."""
_TIMECODE = re.compile(r"\d\d:\d\d:\d\d[:;.,]\d{2,3}")
_DROPPED_SHARE = Fraction(1, 20)
"""Of its frames a camera of variable rate may leave out at most."""
_BOX, _LARGE_BOX = struct.Struct(">I4s"), struct.Struct(">Q")
_TO_SAMPLES = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")
_ENTRIES_BYTES = 8
"""Before the first entry of stsd: version, flags and the number of entries."""
_TIMECODE_ENTRY = struct.Struct(">4x4s16xII")
"""Size, kind, 8 bytes of every entry, reserved, flags, then ticks per second and per frame."""
_PROGRESSIVE = (0, 1)
"""AVFieldOrder: unknown and progressive."""


def read_camera(path: Path) -> CameraFacts:
    """What the camera says of a file.

    Raises:
        DecodeError: it cannot be opened.
    """
    return CameraFacts.from_json(call_limited(_read_camera, Limits(path=path, cpu_s=_HEADER_CPU_S), path))


def _read_camera(path: Path) -> dict[str, Any]:
    """CameraFacts as JSON. For limited children."""
    container, stream = open_container(path)
    with container:
        tags = _tags(container, stream)
        latitude, longitude, altitude_m = _place(_first(tags, _PLACE) or "")
        timecode = _first(tags, ("timecode",))
        sound = next(iter(container.streams.audio), None)
        rate, timecode_rate = _rate(stream), _timecode_rate(path) if timecode else None
        return CameraFacts(
            rate=rate,
            timecode=timecode if timecode and _TIMECODE.fullmatch(timecode) else None,
            timecode_rate=None if timecode_rate == rate else timecode_rate,
            reel=_first(tags, _REEL),
            created_at=_created(tags),
            latitude=latitude,
            longitude=longitude,
            altitude_m=altitude_m,
            device=_device(_first(tags, _MAKE), _first(tags, _MODEL)),
            audio_tracks=len(container.streams.audio),
            audio_channels=sound.channels if sound and sound.codec_context else 0,
            audio_rate_hz=sound.rate if sound and sound.codec_context else 0,
            chapters=len(container.chapters()),
            transfer=HDR_TRANSFERS.get(int(stream.codec_context.color_trc)),
            interlaced=int(stream.codec_context.field_order) not in _PROGRESSIVE,
            pixel_aspect=stream.sample_aspect_ratio or None,
        ).as_json()


def _rate(stream: av.VideoStream) -> Fraction | None:
    """Of editors: phones drop a frame here and there, which makes an average of 29.83 of what was shot at 30."""
    if not stream.average_rate:
        return None
    average = exact_rate(stream.average_rate)
    nominal = exact_rate(stream.base_rate) if stream.base_rate else average
    is_near = abs(nominal - average) <= _DROPPED_SHARE * nominal
    return nominal if average not in STANDARD_RATES and nominal in STANDARD_RATES and is_near else average


def _timecode_rate(path: Path) -> Fraction | None:
    """Of the timecode track of a QuickTime or MP4 file, which FFmpeg does not tell; None: there is no such track.

    Source: QuickTime File Format Specification, "Timecode sample description".
    """
    with path.open("rb") as file:
        for start, _ in _boxes(file, 0, path.stat().st_size, _TO_SAMPLES):
            file.seek(start + _ENTRIES_BYTES)
            entry = file.read(_TIMECODE_ENTRY.size)
            if len(entry) < _TIMECODE_ENTRY.size:
                continue
            kind, timescale, frame_ticks = _TIMECODE_ENTRY.unpack(entry)
            if kind == b"tmcd" and timescale and frame_ticks:
                return exact_rate(Fraction(timescale, frame_ticks))
    return None


def _boxes(file: BinaryIO, start: int, end: int, path: tuple[bytes, ...]) -> Iterator[tuple[int, int]]:
    """Where the contents of the boxes at a path of names begin and end."""
    if not path:
        yield start, end
        return
    while start + _BOX.size <= end:
        file.seek(start)
        size, kind = _BOX.unpack(file.read(_BOX.size))
        header = _BOX.size
        if size == 1 and start + header + _LARGE_BOX.size <= end:
            (size,), header = _LARGE_BOX.unpack(file.read(_LARGE_BOX.size)), header + _LARGE_BOX.size
        stop = end if size == 0 else min(end, start + size)
        if stop < start + header:
            return
        if kind == path[0]:
            yield from _boxes(file, start + header, stop, path[1:])
        start = stop


def _tags(container: InputContainer, stream: av.VideoStream) -> dict[str, str]:
    """All tags of the file, those of its video stream before those of the whole before those of its data streams."""
    sources = (*(data.metadata for data in container.streams.data), container.metadata, stream.metadata)
    return {
        key.lower(): printable_line(as_unicode(value))[:_MAX_CHARS].strip()
        for tags in sources
        for key, value in tags.items()
    }


def _first(tags: Mapping[str, str], keys: tuple[str, ...]) -> str | None:
    return next((tags[key] for key in keys if tags.get(key)), None)


def _created(tags: Mapping[str, str]) -> str | None:
    for key in _CREATED:
        try:
            created = datetime.fromisoformat(tags.get(key, ""))
        except ValueError:
            continue
        if created.year >= _FIRST_YEAR and len(tags[key]) > len("2024-05-01"):
            return created.isoformat()
    return None


def _place(text: str) -> tuple[float | None, float | None, float | None]:
    """Latitude, longitude and altitude of ISO 6709; phones without a fix write zeros."""
    match = _ISO_6709.fullmatch(text)
    if match is None or (float(match[1]) == 0 and float(match[2]) == 0):
        return None, None, None
    return float(match[1]), float(match[2]), float(match[3]) if match[3] else None


def _device(make: str | None, model: str | None) -> str | None:
    """Make and model; many models repeat the make."""
    if make and model and model.lower().startswith(make.lower()):
        return model
    return " ".join(filter(None, (make, model))) or None
