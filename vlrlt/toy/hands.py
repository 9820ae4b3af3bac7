"""Pictures of hands with forearm and sleeve, seen by their owner."""

from typing import Literal

from PIL import ImageOps

from vlrlt.toy.paint import Pen, Point, Sprite, cropped, darker, lighter
from vlrlt.toy.world import Rgb

HandPose = Literal["open", "grip_back", "grip_front", "fist", "point"]
HAND_POSES: tuple[HandPose, ...] = ("open", "grip_back", "grip_front", "fist", "point")

_WIDTH_PX, _HEIGHT_PX = 220, 470
# The grip point: what the hand holds or touches is here; the forearm runs down from it.
_GRIP_X, _GRIP_Y = 110.0, 74.0


def draw_hands(skin: Rgb, sleeve: Rgb) -> dict[tuple[HandPose, bool], Sprite]:
    """All poses for the right hand (False) and, mirrored, the left (True)."""
    sprites: dict[tuple[HandPose, bool], Sprite] = {}
    for pose in HAND_POSES:
        pen = Pen(_WIDTH_PX, _HEIGHT_PX)
        _DRAW[pose](pen, skin, sleeve)
        right = pen.finish()
        left = ImageOps.mirror(right)
        for mirrored, picture in ((False, right), (True, left)):
            grip_x = _WIDTH_PX - _GRIP_X if mirrored else _GRIP_X
            sprites[pose, mirrored] = cropped(picture, grip_x, _GRIP_Y)
    return sprites


def _arm(pen: Pen, wrist: Point, skin: Rgb, sleeve: Rgb) -> None:
    x, y = wrist
    elbow = (x + 14, y + 330)
    pen.capsule((x, y), elbow, 34, darker(skin, 0.28), stop_width=64)
    pen.capsule((x, y), elbow, 31, skin, stop_width=60, shade="across", depth=0.28)
    cuff = (x + 3, y + 62)
    pen.capsule(cuff, elbow, 48, darker(sleeve, 0.3), stop_width=84)
    pen.capsule((cuff[0], cuff[1] + 5), elbow, 45, sleeve, stop_width=80, shade="across", depth=0.4)
    pen.capsule((cuff[0] - 21, cuff[1] - 16), (cuff[0] + 21, cuff[1] - 17), 11, lighter(sleeve, 0.18), shade="down")
    for step in (34, 74, 120):
        pen.stroke(
            [(x - 10, cuff[1] + step), (x + 4, cuff[1] + step + 6), (x + 20, cuff[1] + step)],
            2.5,
            darker(sleeve, 0.28),
            alpha=0.6,
        )


def _finger(pen: Pen, start: Point, stop: Point, skin: Rgb, *, width: float = 13.5, nail: bool = False) -> None:
    pen.capsule(start, stop, width, darker(skin, 0.34), stop_width=width - 1.5)
    pen.capsule(start, stop, width - 2.6, skin, stop_width=width - 4, shade="across", depth=0.22)
    if nail:
        x, y = stop
        pen.ellipse((x - 3.2, y - 4.4, x + 3.2, y + 2.4), lighter(skin, 0.5))


def _palm(pen: Pen, points: list[Point], skin: Rgb) -> None:
    pen.smooth(points, darker(skin, 0.3))
    cx = sum(p[0] for p in points) / len(points)
    cy = sum(p[1] for p in points) / len(points)
    inner = [(cx + (x - cx) * 0.95, cy + (y - cy) * 0.95) for x, y in points]
    pen.smooth(inner, skin, shade="ball", depth=0.24)


def _at(points: list[Point]) -> list[Point]:
    return [(x + _GRIP_X, y + _GRIP_Y) for x, y in points]


def _open(pen: Pen, skin: Rgb, sleeve: Rgb) -> None:
    (wrist,) = _at([(0, 96)])
    _arm(pen, wrist, skin, sleeve)
    thumb = _at([(-16, 66), (-38, 34)])
    _finger(pen, thumb[0], thumb[1], skin, width=16, nail=True)
    for base, tip in (((18, 36), (33, -2)), ((8, 30), (14, -20)), ((-3, 29), (-5, -22)), ((-14, 34), (-24, -10))):
        start, stop = _at([base, tip])
        _finger(pen, start, stop, skin, width=14.5, nail=True)
    _palm(pen, _at([(-22, 44), (-12, 28), (14, 28), (26, 40), (22, 76), (12, 100), (-12, 100), (-22, 74)]), skin)


def _grip_back(pen: Pen, skin: Rgb, sleeve: Rgb) -> None:
    (wrist,) = _at([(50, 84)])
    _arm(pen, wrist, skin, sleeve)
    for base, tip in (((46, -14), (4, -20)), ((50, 0), (2, -4)), ((50, 14), (6, 12)), ((48, 28), (12, 27))):
        start, stop = _at([base, tip])
        _finger(pen, start, stop, skin, width=14.5)
    _palm(pen, _at([(34, -16), (54, -18), (66, 6), (70, 40), (64, 84), (38, 84), (30, 44), (30, 10)]), skin)


def _grip_front(pen: Pen, skin: Rgb, sleeve: Rgb) -> None:
    del sleeve
    start, middle, tip = _at([(48, 40), (32, 24), (18, 18)])
    _finger(pen, start, middle, skin, width=17)
    _finger(pen, middle, tip, skin, width=15, nail=True)


def _fist(pen: Pen, skin: Rgb, sleeve: Rgb) -> None:
    (wrist,) = _at([(8, 76)])
    _arm(pen, wrist, skin, sleeve)
    _palm(pen, _at([(-22, 4), (-8, -12), (20, -10), (30, 10), (26, 48), (20, 80), (-6, 80), (-20, 44)]), skin)
    for base, tip in (((18, -8), (22, 14)), ((6, -13), (8, 12)), ((-6, -12), (-6, 12)), ((-17, -5), (-19, 13))):
        start, stop = _at([base, tip])
        _finger(pen, start, stop, skin, width=14)
    start, stop = _at([(-20, 40), (2, 22)])
    _finger(pen, start, stop, skin, width=15, nail=True)


def _point(pen: Pen, skin: Rgb, sleeve: Rgb) -> None:
    (wrist,) = _at([(10, 104)])
    _arm(pen, wrist, skin, sleeve)
    start, stop = _at([(-2, 42), (0, 2)])
    _finger(pen, start, stop, skin, width=15, nail=True)
    _palm(pen, _at([(-14, 46), (0, 32), (26, 36), (34, 54), (30, 82), (22, 108), (-2, 108), (-14, 78)]), skin)
    for base, tip in (((30, 46), (28, 62)), ((21, 40), (19, 60)), ((11, 38), (9, 58))):
        start, stop = _at([base, tip])
        _finger(pen, start, stop, skin, width=13)
    start, stop = _at([(-14, 76), (4, 62)])
    _finger(pen, start, stop, skin, width=15, nail=True)


_DRAW = {"open": _open, "grip_back": _grip_back, "grip_front": _grip_front, "fist": _fist, "point": _point}
