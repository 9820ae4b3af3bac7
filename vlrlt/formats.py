"""Times of a video as people write them."""

TIME_PATTERN = r"(?:\d+:){0,2}\d+(?:\.\d+)?"
"""Seconds, mm:ss or hh:mm:ss, each with decimals if need be."""


def parse_time(text: str) -> float:
    """Seconds of "75.5", "1:15.5" or "0:01:15.5"."""
    seconds = 0.0
    for part in text.split(":"):
        seconds = seconds * 60 + float(part)
    return seconds


def format_span(start_s: float, end_s: float) -> str:
    """Both to a tenth: "01:15.0-01:17.5"."""
    return f"{format_time(start_s, decimals=1)}-{format_time(end_s, decimals=1)}"


def format_time(seconds: float, *, decimals: int = 0) -> str:
    """The inverse of parse_time: "01:15", with one decimal "01:15.5", and from an hour on "1:01:15"."""
    ticks_per_s = 10**decimals
    minutes, ticks = divmod(round(seconds * ticks_per_s), 60 * ticks_per_s)
    rest = f"{ticks / ticks_per_s:0{3 + decimals if decimals else 2}.{decimals}f}"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest}" if hours else f"{minutes:02d}:{rest}"
