"""Two cameras: a steady one (fixations with a slow sway, joined by quick turns), and one as on a real head.

A real head never rests: it walks (a bob and a roll with every step), leans in, glances aside and back, and its sensor
blurs what moves and adds noise. Two looks a second apart by half a second then differ in 0.7 to 0.9 of their patches,
as in real head-mounted kitchen videos; what happens, and when, is the same as with the steady camera.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from vlrlt.toy.script import HEIGHT_PX, WIDTH_PX, Gaze, Glance, HeadMotion, Script

CameraKind = Literal["steady", "head"]
_SWAY_HZ = (0.17, 0.41, 0.23, 0.37, 0.11)
_DRIFT_HZ = (0.21, 0.57, 1.13, 0.29, 0.71, 1.31, 0.17, 0.43, 0.13)
_EXPOSURE_S = 1 / 40
_BLUR_STEP_PX = 4.0
"""A blurred picture is the mean of views that lie about this far from each other, and of at most _MOST_VIEWS."""
_MOST_VIEWS = 9
_SHARP_PX = 0.7
"""A picture that moves less than this while it is exposed is sharp."""
_WALK_PX = 150.0
"""Turns longer than this are walks."""


@dataclass(frozen=True, slots=True)
class CameraView:
    """Where the camera points: the scene point in the middle of the frame, the zoom, and how far the head is tilted."""

    x: float
    y: float
    zoom: float
    roll_deg: float = 0.0


def view_at(script: Script, time_s: float) -> CameraView:
    """The camera's view at a time of the video."""
    x, y, bob = _gaze(script, time_s)
    waves = [
        math.sin(math.tau * hertz * time_s + phase) for hertz, phase in zip(_SWAY_HZ, script.sway_phases, strict=True)
    ]
    sway = script.sway_px
    x += sway * (0.7 * waves[0] + 0.3 * waves[1])
    y += sway * (0.6 * waves[2] + 0.3 * waves[3]) + bob
    view = CameraView(x, y, script.zoom * (1 + 0.004 * waves[4]))
    if script.head is not None:
        return _on_a_head(view, script, script.head, time_s)
    return CameraView(x, max(y, HEIGHT_PX / 2 / script.zoom + 4), view.zoom)


def exposed_views(script: Script, time_s: float) -> list[CameraView]:
    """The views whose mean is the picture at a time: one, unless the camera moves while the picture is exposed."""
    first = view_at(script, time_s)
    if script.head is None:
        return [first]
    last = view_at(script, time_s + _EXPOSURE_S)
    turned_px = math.radians(abs(last.roll_deg - first.roll_deg)) * WIDTH_PX / 2
    moved_px = math.hypot(last.x - first.x, last.y - first.y) + turned_px
    if moved_px < _SHARP_PX:
        return [first]
    num_steps = min(_MOST_VIEWS - 1, 1 + math.ceil(moved_px / _BLUR_STEP_PX))
    between = (view_at(script, time_s + _EXPOSURE_S * number / num_steps) for number in range(1, num_steps))
    return [first, *between, last]


def draw_head_motion(rng: np.random.Generator, script: Script) -> HeadMotion:
    """How the wearer of one video moves; equal generators give equal motions."""
    glances = []
    time_s = float(rng.uniform(0.5, 2.5))
    while time_s < script.duration_s:
        length_s = float(rng.uniform(0.5, 1.3))
        # While something is done the eyes leave it less far.
        reach = 1.0 if script.action_at(time_s + length_s / 2) is None else 0.4
        angle, far = rng.uniform(0, math.tau), rng.uniform(35, 120) * reach
        glances.append(Glance(time_s, time_s + length_s, far * math.cos(angle), 0.5 * far * math.sin(angle)))
        time_s += length_s + float(rng.uniform(0.8, 3.5))
    return HeadMotion(
        glances=tuple(glances),
        drift_px=float(rng.uniform(9, 16)),
        lean=float(rng.uniform(0.03, 0.06)),
        roll_deg=float(rng.uniform(1.5, 3.0)),
        step_hz=float(rng.uniform(1.6, 2.1)),
        step_px=float(rng.uniform(7, 13)),
        phases=tuple(float(value) for value in rng.uniform(0, math.tau, size=len(_DRIFT_HZ))),
        noise_sd=float(rng.uniform(3.0, 6.0)),
        noise_seed=int(rng.integers(2**31)),
    )


def _on_a_head(view: CameraView, script: Script, head: HeadMotion, time_s: float) -> CameraView:
    wave = [math.sin(math.tau * hertz * time_s + phase) for hertz, phase in zip(_DRIFT_HZ, head.phases, strict=True)]
    walk = _walk_share(script.gazes, time_s)
    step = math.tau * head.step_hz * time_s + head.phases[0]
    x = view.x + head.drift_px * (0.7 * wave[0] + 0.45 * wave[1] + 0.2 * wave[2])
    y = view.y + head.drift_px * (0.5 * wave[3] + 0.35 * wave[4] + 0.2 * wave[5])
    # Both feet lift the head, each foot leans it to its own side.
    x += walk * 0.6 * head.step_px * math.sin(step / 2)
    y += walk * head.step_px * math.sin(step)
    for glance in head.glances:
        share = _glance_share(glance, time_s)
        x, y = x + share * glance.dx, y + share * glance.dy
    zoom = view.zoom * (1 + head.lean * (0.7 * wave[6] + 0.3 * wave[7]))
    roll_deg = head.roll_deg * (0.6 * wave[7] + 0.4 * wave[8]) + walk * 1.5 * math.sin(step / 2)
    reach_x, reach_y = WIDTH_PX / 2 / zoom + 12, HEIGHT_PX / 2 / zoom + 12
    return CameraView(min(max(x, reach_x), script.kitchen.width_px - reach_x), max(y, reach_y), zoom, roll_deg)


def _walk_share(gazes: tuple[Gaze, ...], time_s: float) -> float:
    """1 between two places, 0 at one."""
    for before, after in pairwise(gazes):
        if abs(after.x - before.x) > _WALK_PX and after.start_s - 0.3 < time_s < after.stop_s + 0.5:
            rise = min((time_s - after.start_s + 0.3) / 0.3, (after.stop_s + 0.5 - time_s) / 0.5)
            return min(1.0, rise)
    return 0.0


def _glance_share(glance: Glance, time_s: float) -> float:
    """Aside within a seventh of a second, and back as fast."""
    if not glance.start_s < time_s < glance.stop_s:
        return 0.0
    share = min(1.0, (time_s - glance.start_s) / 0.15, (glance.stop_s - time_s) / 0.15)
    return share * share * (3 - 2 * share)


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
