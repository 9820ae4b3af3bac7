"""The head camera: fixations with a slow sway, joined by quick turns."""

import math
from dataclasses import dataclass

from vlrlt.toy.script import HEIGHT_PX, Script

_SWAY_HZ = (0.17, 0.41, 0.23, 0.37, 0.11)


@dataclass(frozen=True, slots=True)
class View:
    """Where the camera points: the scene point in the middle of the frame, and the zoom."""

    x: float
    y: float
    zoom: float


def view_at(script: Script, time_s: float) -> View:
    """The camera's view at a time of the video."""
    x, y, bob = _gaze(script, time_s)
    waves = [
        math.sin(math.tau * hertz * time_s + phase) for hertz, phase in zip(_SWAY_HZ, script.sway_phases, strict=True)
    ]
    sway = script.sway_px
    x += sway * (0.7 * waves[0] + 0.3 * waves[1])
    y += sway * (0.6 * waves[2] + 0.3 * waves[3]) + bob
    half = HEIGHT_PX / 2 / script.zoom
    return View(x, max(y, half + 4), script.zoom * (1 + 0.004 * waves[4]))


def _gaze(script: Script, time_s: float) -> tuple[float, float, float]:
    previous = script.gazes[0]
    for gaze in script.gazes:
        if time_s < gaze.start_s:
            break
        if time_s < gaze.stop_s:
            share = (time_s - gaze.start_s) / (gaze.stop_s - gaze.start_s)
            eased = share * share * (3 - 2 * share)
            bob = -5 * math.sin(math.pi * share)
            x = previous.x + (gaze.x - previous.x) * eased
            return x, previous.y + (gaze.y - previous.y) * eased, bob
        previous = gaze
    return previous.x, previous.y, 0.0
