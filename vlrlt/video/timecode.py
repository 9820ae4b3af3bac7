"""SMPTE timecode: names of frames that count hours, minutes, seconds and frames of one rate, exactly.

At 30000/1001 frames a second the names of 30 run away from the clock by 3.6 s an hour. Drop-frame counting leaves out
the names of two frames (at 60: four) at the start of each minute but every tenth; no picture is left out.
Source: SMPTE ST 12-1, http://andrewduncan.net/timecodes/
"""

import re
from fractions import Fraction

NTSC = Fraction(1000, 1001)
STANDARD_RATES = tuple(sorted((*map(Fraction, (24, 25, 30, 48, 50, 60)), *(NTSC * base for base in (24, 30, 48, 60)))))
"""Frames per second of sequences in editors."""

_TOLERANCE = Fraction(1, 5000)
"""Containers round: 23.98 means 24000/1001, from which 24 is a thousandth away."""
_LABEL = re.compile(r"(\d\d):(\d\d):(\d\d)([:;.,])(\d{2,3})")


def exact_rate(fps: Fraction) -> Fraction:
    """The rate that a container's rounded number means: a whole number, such a number times 1000/1001, or itself."""
    base = max(1, round(fps / NTSC), round(fps))
    for rate in (Fraction(base), base * NTSC):
        if abs(fps - rate) <= rate * _TOLERANCE:
            return rate
    return fps


def can_drop(rate: Fraction) -> bool:
    """Whether there is drop-frame counting at a rate."""
    return rate in (30 * NTSC, 60 * NTSC)


def is_drop(label: str) -> bool:
    """Whether a timecode says by its last separator that names are dropped."""
    return len(label) > 8 and label[8] in ";."


def frame_of(label: str, rate: Fraction) -> int | None:
    """How many frames lie between midnight and the frame of a name; None: there is no such name at that rate."""
    match = _LABEL.fullmatch(label.strip())
    if match is None:
        return None
    hours, minutes, seconds, frames = (int(match[place]) for place in (1, 2, 3, 5))
    base = _base(rate)
    if hours > 23 or minutes > 59 or seconds > 59 or frames >= base:
        return None
    number = ((hours * 60 + minutes) * 60 + seconds) * base + frames
    if is_drop(label) and can_drop(rate):
        minutes += hours * 60
        number -= _dropped(rate) * (minutes - minutes // 10)
    return number


def label_of(frame: int, rate: Fraction, *, drop: bool = False) -> str:
    """The name of a frame, counted from midnight; a day later the names begin anew."""
    base = _base(rate)
    if drop and can_drop(rate):
        dropped = _dropped(rate)
        minute, ten_minutes = 60 * base - dropped, 600 * base - 9 * dropped
        tens, rest = divmod(frame % (144 * ten_minutes), ten_minutes)
        frame = tens * 600 * base + rest + dropped * max(0, (rest - dropped) // minute)
    else:
        drop = False
    seconds, frames = divmod(frame % (86_400 * base), base)
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d}{';' if drop else ':'}{frames:02d}"


def _base(rate: Fraction) -> int:
    """Names of a second."""
    return max(1, round(rate))


def _dropped(rate: Fraction) -> int:
    """Names that are left out in a minute."""
    return _base(rate) // 15
