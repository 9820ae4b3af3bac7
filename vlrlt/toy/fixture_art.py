"""Pictures of the parts of fixtures: doors, insides, knobs, burners, the tap and its water."""

import math

from vlrlt.toy.kitchen import Style
from vlrlt.toy.paint import Pen, Sprite, darker, lighter
from vlrlt.toy.world import Rgb


def draw_fixtures(style: Style) -> dict[str, Sprite]:
    """Draw all parts once, by name."""
    return {
        "fridge_door": _door(250, 336, style.fridge, style.trim, handle_y=150),
        "fridge_back": _door_back(250, 336, (236, 240, 244)),
        "fridge_inside": _fridge_inside(),
        "cupboard_door": _door(190, 172, style.cupboard, style.trim, handle_y=120, panel=True),
        "cupboard_back": _door_back(190, 172, lighter(style.cupboard, 0.35)),
        "cupboard_inside": _cupboard_inside(style.cupboard),
        "microwave_body": _microwave_body(style.trim),
        "microwave_door": _window_door(122, 98, (62, 64, 72), (30, 34, 42)),
        "microwave_back": _door_back(122, 98, (210, 212, 216)),
        "microwave_inside": _microwave_inside(),
        "oven_body": _oven_body(),
        "oven_door": _oven_door((70, 72, 80), (28, 28, 34)),
        "oven_back": _oven_door((120, 122, 130), (90, 92, 98)),
        "oven_glow": _oven_window_glow(),
        "drawer_front": _drawer_front(style.cupboard, style.trim, round_handle=style.round_handles),
        "drawer_inside": _drawer_inside(),
        "bin_body": _bin_body(style.bin),
        "bin_front": _bin_front(style.bin),
        "bin_lid": _bin_lid(darker(style.bin, 0.25)),
        "tap_body": _tap_body(style.trim),
        "tap_lever": _tap_lever(style.trim),
        "knob": _knob(),
        "burner": _burner_on(gas=style.gas),
        "stream": _tap_stream(),
        "splash": _splash(),
        "microwave_glow": _microwave_glow(),
    }


def _door(width: int, height: int, colour: Rgb, trim: Rgb, *, handle_y: float, panel: bool = False) -> Sprite:
    pen = Pen(width, height, oversample=2)
    pen.rect((0, 0, width, height), darker(colour, 0.3), radius=7)
    pen.rect((1, 1, width - 3, height - 3), colour, radius=7, shade="across", depth=0.2)
    if panel:
        pen.rect((20, 20, width - 22, height - 22), darker(colour, 0.2), radius=5)
        pen.rect((23, 23, width - 22, height - 22), lighter(colour, 0.06), radius=5, shade="down", depth=0.12)
    long = 34 if panel else 74
    pen.rect(
        (width - 29, handle_y - long / 2 + 3, width - 15, handle_y + long / 2 + 4), (20, 18, 24), radius=6, alpha=0.35
    )
    pen.rect(
        (width - 31, handle_y - long / 2, width - 18, handle_y + long / 2), trim, radius=6, shade="across", depth=0.5
    )
    return pen.sprite(0, 0)


def _door_back(width: int, height: int, colour: Rgb) -> Sprite:
    pen = Pen(width, height, oversample=2)
    pen.rect((0, 0, width, height), darker(colour, 0.35), radius=7)
    pen.rect((2, 2, width - 3, height - 3), darker(colour, 0.08), radius=7, shade="across", depth=0.2)
    if height > 200:
        for y in (60, 150, 240):
            pen.rect((24, y, width - 24, y + 56), lighter(colour, 0.5), radius=6, shade="down")
            pen.rect((24, y + 34, width - 24, y + 58), (176, 206, 226), radius=4, alpha=0.8)
    return pen.sprite(0, 0)


def _fridge_inside() -> Sprite:
    pen = Pen(250, 336, oversample=2)
    pen.rect((0, 0, 250, 336), (150, 160, 170), radius=6)
    pen.rect((10, 10, 240, 326), (250, 252, 248), radius=6, shade="down", depth=0.22)
    pen.soft_ellipse((60, -10, 190, 60), (255, 255, 226), blur=16, alpha=0.8)
    for y in (104, 186, 262):
        pen.rect((10, y, 240, y + 7), (150, 190, 206), shade="down")
        pen.rect((10, y + 7, 240, y + 12), (120, 130, 140), alpha=0.3)
    pen.rect((30, 48, 72, 104), (230, 90, 80), radius=6, shade="across")
    pen.rect((84, 64, 150, 104), (246, 210, 110), radius=8, shade="across")
    pen.ellipse((166, 62, 210, 106), (120, 176, 96), shade="ball")
    pen.rect((36, 130, 120, 186), (206, 150, 110), radius=8, shade="down")
    pen.rect((150, 122, 176, 186), (120, 156, 200), radius=6, shade="across")
    pen.rect((186, 132, 212, 186), (240, 240, 240), radius=4, shade="across")
    for x, colour in ((40, (208, 62, 60)), (84, (238, 142, 58)), (128, (208, 62, 60)), (172, (150, 180, 80))):
        pen.ellipse((x, 222, x + 40, 262), colour, shade="ball")
    pen.rect((22, 276, 228, 322), (206, 226, 236), radius=8, shade="down", depth=0.3)
    return pen.sprite(0, 0)


def _cupboard_inside(colour: Rgb) -> Sprite:
    pen = Pen(190, 172, oversample=2)
    pen.rect((0, 0, 190, 172), darker(colour, 0.35), radius=5)
    pen.rect((8, 8, 182, 164), darker(colour, 0.6), shade="down", depth=-0.3)
    for y in (82, 156):
        pen.rect((8, y, 182, y + 8), lighter(colour, 0.1), shade="down")
    for step in range(5):
        pen.ellipse((18, 64 - step * 7, 82, 80 - step * 7), (244, 242, 236), shade="down")
    for x, tone in ((96, (206, 90, 80)), (126, (110, 150, 190)), (154, (236, 190, 90))):
        pen.rect((x, 46, x + 24, 82), tone, radius=5, shade="across")
    for x, tone in ((20, (150, 176, 110)), (62, (240, 214, 150)), (104, (196, 120, 90)), (146, (230, 230, 226))):
        pen.rect((x, 104, x + 32, 156), tone, radius=6, shade="across")
        pen.rect((x + 3, 98, x + 29, 108), darker(tone, 0.4), radius=3)
    return pen.sprite(0, 0)


def _microwave_body(trim: Rgb) -> Sprite:
    pen = Pen(190, 130, oversample=2)
    pen.soft_ellipse((10, 108, 186, 126), (20, 18, 26), blur=4, alpha=0.4)
    pen.rect((4, 4, 186, 120), (78, 80, 88), radius=8, shade="down", depth=0.2)
    pen.rect((136, 12, 180, 112), (48, 50, 58), radius=5)
    pen.rect((142, 18, 174, 36), (120, 220, 160), radius=3)
    for y in (46, 58, 70):
        for x in (143, 154, 165):
            pen.rect((x, y, x + 8, y + 8), (150, 154, 162), radius=2)
    pen.ellipse((146, 82, 170, 106), trim, shade="ball")
    return pen.sprite(95, 120)


def _microwave_inside() -> Sprite:
    pen = Pen(122, 98, oversample=2)
    pen.rect((0, 0, 122, 98), (60, 60, 66), radius=5)
    pen.rect((8, 8, 114, 90), (212, 206, 190), radius=4, shade="down", depth=-0.25)
    pen.ellipse((22, 66, 100, 88), (180, 200, 210), shade="down")
    return pen.sprite(0, 0)


def _window_door(width: int, height: int, frame: Rgb, pane: Rgb) -> Sprite:
    pen = Pen(width, height, oversample=2)
    pen.rect((0, 0, width, height), frame, radius=6, shade="down", depth=0.2)
    pen.rect((10, 12, width - 28, height - 12), pane, radius=6)
    pen.polygon([(20, 14), (46, 14), (26, height - 14), (12, height - 14)], lighter(pane, 0.4), alpha=0.35)
    pen.rect((width - 19, 14, width - 9, height - 14), (200, 204, 210), radius=5, shade="across", depth=0.4)
    return pen.sprite(0, 0)


def _microwave_glow() -> Sprite:
    pen = Pen(122, 98, oversample=2)
    pen.rect((10, 12, 94, 86), (255, 214, 96), radius=6, shade="ball", depth=0.2, alpha=0.95)
    pen.ellipse((24, 62, 82, 78), (206, 150, 60), alpha=0.8)
    pen.smooth([(34, 66), (38, 44), (68, 44), (72, 66)], (226, 120, 70), shade="across")
    return pen.sprite(0, 0)


def _oven_body() -> Sprite:
    pen = Pen(250, 150, oversample=2)
    pen.rect((0, 0, 250, 146), (46, 48, 54), radius=4)
    pen.rect((0, 0, 250, 26), (190, 194, 200), radius=4, shade="down", depth=0.2)
    pen.rect((98, 5, 152, 21), (30, 40, 46), radius=3)
    pen.rect((12, 34, 238, 138), (30, 28, 30), radius=4, shade="down", depth=-0.3)
    for y in (66, 100):
        pen.rect((16, y, 234, y + 3), (150, 152, 158))
    pen.rect((64, 84, 186, 100), (200, 150, 90), radius=6, shade="down")
    for x in (40, 60, 80):
        pen.ellipse((x - 7, 6, x + 7, 20), (90, 92, 98), shade="ball")
    return pen.sprite(125, 0)


def _oven_door(frame: Rgb, pane: Rgb) -> Sprite:
    pen = Pen(250, 112, oversample=2)
    pen.rect((0, 0, 250, 110), frame, radius=6, shade="down", depth=0.2)
    pen.rect((30, 32, 220, 96), pane, radius=8)
    pen.polygon([(60, 34), (100, 34), (70, 94), (34, 94)], lighter(pane, 0.35), alpha=0.3)
    pen.rect((26, 9, 224, 20), (206, 210, 216), radius=5, shade="down", depth=0.4)
    return pen.sprite(125, 112)


def _oven_window_glow() -> Sprite:
    pen = Pen(250, 112, oversample=2)
    pen.rect((30, 32, 220, 96), (250, 140, 44), radius=8, shade="down", depth=-0.3, alpha=0.95)
    pen.rect((34, 62, 216, 65), (120, 60, 30))
    pen.smooth([(80, 62), (92, 44), (125, 38), (160, 44), (172, 62)], (166, 96, 44), shade="ball")
    return pen.sprite(125, 112)


def _drawer_front(colour: Rgb, trim: Rgb, *, round_handle: bool) -> Sprite:
    pen = Pen(224, 92, oversample=2)
    pen.rect((0, 2, 224, 90), darker(colour, 0.4), radius=6)
    pen.rect((1, 1, 221, 85), colour, radius=6, shade="down", depth=0.2)
    pen.rect((12, 12, 211, 75), darker(colour, 0.12), radius=4)
    pen.rect((14, 14, 211, 75), colour, radius=4, shade="down", depth=0.14)
    if round_handle:
        pen.ellipse((98, 28, 126, 58), darker(trim, 0.4))
        pen.ellipse((98, 26, 126, 54), trim, shade="ball", depth=0.5)
    else:
        pen.rect((68, 36, 156, 52), darker(trim, 0.5), radius=7)
        pen.rect((68, 33, 156, 47), trim, radius=7, shade="down", depth=0.5)
    return pen.sprite(112, 0)


def _drawer_inside() -> Sprite:
    pen = Pen(220, 88, oversample=2)
    pen.rect((0, 0, 220, 88), (60, 46, 38))
    pen.rect((8, 4, 212, 88), (214, 178, 132), shade="down", depth=-0.3)
    for x in (58, 110, 162):
        pen.rect((x, 4, x + 5, 88), (170, 130, 90))
    for x, tone in ((20, (206, 212, 218)), (38, (206, 212, 218)), (72, (190, 196, 204)), (92, (206, 212, 218))):
        pen.capsule((x, 22), (x, 84), 6, tone)
        pen.ellipse((x - 8, 8, x + 8, 34), tone, shade="ball")
    for x, tone in ((124, (60, 60, 66)), (144, (180, 80, 70)), (178, (196, 146, 94)), (198, (196, 146, 94))):
        pen.rect((x - 5, 40, x + 5, 84), tone, radius=4)
        pen.polygon([(x - 5, 42), (x - 5, 12), (x + 5, 20), (x + 5, 42)], (216, 222, 228))
    return pen.sprite(110, 0)


def _bin_body(colour: Rgb) -> Sprite:
    pen = Pen(190, 220, oversample=2)
    pen.soft_ellipse((24, 186, 180, 214), (20, 18, 26), blur=6, alpha=0.5)
    pen.polygon([(18, 34), (172, 34), (156, 200), (34, 200)], colour, shade="across", depth=0.4)
    pen.ellipse((34, 186, 156, 212), darker(colour, 0.1), shade="across", depth=0.4)
    pen.ellipse((18, 8, 172, 60), lighter(colour, 0.2), shade="across", depth=0.3)
    pen.ellipse((26, 13, 164, 55), (34, 32, 38), shade="down", depth=-0.2)
    pen.ellipse((50, 30, 140, 54), (236, 236, 230), alpha=0.2)
    return pen.sprite(95, 34)


def _bin_front(colour: Rgb) -> Sprite:
    """The near wall again, painted over things that fall into the bin."""
    pen = Pen(190, 220, oversample=2)
    pen.smooth(
        [(19, 36), (40, 53), (95, 60), (150, 53), (171, 36), (164, 120), (156, 196), (95, 211), (34, 196), (26, 120)],
        colour,
        shade="across",
        depth=0.4,
    )
    pen.stroke([(20, 37), (42, 52), (95, 59), (148, 52), (170, 37)], 4, lighter(colour, 0.3))
    return pen.sprite(95, 34)


def _bin_lid(colour: Rgb) -> Sprite:
    pen = Pen(190, 66, oversample=2)
    pen.ellipse((14, 2, 176, 60), darker(colour, 0.4))
    pen.ellipse((14, 0, 176, 55), colour, shade="ball", depth=0.3)
    pen.ellipse((76, 32, 114, 50), lighter(colour, 0.5), shade="down")
    return pen.sprite(95, 2)


def _tap_body(trim: Rgb) -> Sprite:
    pen = Pen(140, 130)
    metal = lighter(trim, 0.25)
    pen.ellipse((6, 106, 52, 126), darker(metal, 0.45))
    pen.rect((18, 66, 42, 118), metal, radius=6, shade="across", depth=0.55)
    for width, tone in ((19, darker(metal, 0.4)), (15, metal), (5, lighter(metal, 0.75))):
        pen.stroke([(30, 76), (30, 34), (50, 13), (76, 16), (88, 40), (88, 62)], width, tone)
    pen.rect((77, 58, 99, 72), darker(metal, 0.25), radius=4, shade="across", depth=0.5)
    return pen.sprite(76, 118)


def _tap_lever(trim: Rgb) -> Sprite:
    pen = Pen(84, 84)
    metal = lighter(trim, 0.25)
    pen.ellipse((30, 30, 54, 54), darker(metal, 0.35))
    pen.capsule((42, 42), (12, 34), 15, darker(metal, 0.3), stop_width=13)
    pen.capsule((42, 41), (12, 33), 11, metal, stop_width=10, shade="down", depth=0.5)
    pen.ellipse((34, 34, 50, 50), (206, 70, 66), shade="ball")
    return pen.sprite(42, 42)


def _knob() -> Sprite:
    pen = Pen(52, 52)
    pen.ellipse((4, 6, 50, 51), (24, 22, 28), alpha=0.5)
    pen.ellipse((4, 3, 48, 47), (74, 76, 84), shade="ball", depth=0.5)
    pen.rect((20, 4, 32, 46), (112, 114, 122), radius=5, shade="across", depth=0.4)
    pen.rect((24, 5, 28, 18), (255, 240, 220), radius=2)
    return pen.sprite(26, 25)


def _burner_on(*, gas: bool) -> Sprite:
    pen = Pen(180, 100)
    if gas:
        pen.soft_ellipse((40, 34, 140, 76), (90, 150, 255), blur=9, alpha=0.5)
        for index in sorted(range(16), key=lambda i: math.sin(i / 16 * math.tau)):
            x = 90 + 52 * math.cos(index / 16 * math.tau)
            y = 56 + 22 * math.sin(index / 16 * math.tau)
            pen.smooth(
                [(x - 9, y + 3), (x - 3, y - 14), (x, y - 28), (x + 4, y - 13), (x + 9, y + 3), (x, y + 8)],
                (54, 116, 244),
                alpha=0.92,
            )
            pen.smooth([(x - 4, y + 4), (x, y - 14), (x + 4, y + 4)], (255, 196, 96), alpha=0.95)
        return pen.sprite(90, 56)
    pen.soft_ellipse((26, 24, 154, 84), (255, 70, 30), blur=9, alpha=0.75)
    for half, tone in (
        (60, (255, 88, 40)),
        (50, (120, 30, 24)),
        (44, (255, 112, 50)),
        (33, (120, 30, 24)),
        (27, (255, 150, 70)),
        (15, (120, 30, 24)),
    ):
        pen.ellipse((90 - half, 54 - half * 0.46, 90 + half, 54 + half * 0.46), tone)
    return pen.sprite(90, 54)


def _tap_stream() -> Sprite:
    pen = Pen(22, 130)
    pen.rect((4, 0, 18, 130), (150, 206, 240), radius=5, shade="across", depth=0.4, alpha=0.88)
    pen.rect((7, 0, 10, 126), (255, 255, 255), radius=1, alpha=0.75)
    for y in (22, 58, 96):
        pen.ellipse((11, y, 17, y + 16), (235, 248, 255), alpha=0.7)
    return pen.sprite(11, 0)


def _splash() -> Sprite:
    pen = Pen(110, 54)
    pen.ellipse((12, 20, 98, 48), (178, 218, 244), alpha=0.55)
    pen.ellipse((28, 26, 82, 44), (232, 246, 255), alpha=0.7)
    for x, y in ((18, 18), (34, 8), (54, 4), (74, 9), (92, 17)):
        pen.ellipse((x - 4, y - 4, x + 4, y + 5), (214, 238, 252), alpha=0.9)
    return pen.sprite(55, 33)
