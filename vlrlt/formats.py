"""Times of a video as people write them, and foreign text as it may be shown to them."""

import base64
import re
import unicodedata

TIME_PATTERN = r"(?:\d+:){0,2}\d+(?:\.\d+)?"
"""Seconds, mm:ss or hh:mm:ss, each with decimals if need be."""


def parse_time(text: str) -> float:
    """Seconds of "75.5", "1:15.5" or "0:01:15.5"."""
    seconds = 0.0
    for part in text.split(":"):
        seconds = seconds * 60 + float(part)
    return seconds


def format_span(start_s: float, end_s: float, *, decimals: int = 1) -> str:
    """Both ends, to a tenth if nothing else is wanted: "01:15.0-01:17.5"."""
    return f"{format_time(start_s, decimals=decimals)}-{format_time(end_s, decimals=decimals)}"


def format_time(seconds: float, *, decimals: int = 0) -> str:
    """The inverse of parse_time: "01:15", with one decimal "01:15.5", and from an hour on "1:01:15"."""
    ticks_per_s = 10**decimals
    minutes, ticks = divmod(round(seconds * ticks_per_s), 60 * ticks_per_s)
    rest = f"{ticks / ticks_per_s:0{3 + decimals if decimals else 2}.{decimals}f}"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest}" if hours else f"{minutes:02d}:{rest}"


def counted(number: int, noun: str) -> str:
    """A number with its noun: "1 piece", "2 pieces"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def data_url(content: bytes, kind: str = "image/jpeg") -> str:
    """A URL that holds the content itself, of a media type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # those that terminals obey, without tab and line feed
    "\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]"  # and those that turn the direction of text
)


def printable(text: str) -> str:
    """Text whose control characters are shown instead of obeyed: names and replies may hold any."""
    return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def printable_line(text: str) -> str:
    """The same for what must stay on one line: line feeds and tabs are shown too."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def is_unicode(text: str) -> bool:
    """Whether text can be encoded; arguments and JSON may hold halves of surrogate pairs, which are no characters."""
    return text.isascii() or not any("\ud800" <= sign <= "\udfff" for sign in text)


def as_unicode(text: str) -> str:
    """Text without halves of surrogate pairs."""
    return text if is_unicode(text) else text.encode(errors="replace").decode()


def composed(name: str) -> str:
    """A name with each accent in its letter (NFC): macOS stores them apart, keyboards type them together."""
    return unicodedata.normalize("NFC", name)
