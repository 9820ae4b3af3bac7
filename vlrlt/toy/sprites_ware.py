"""Pictures of crockery, cookware, cutlery, bottles and the like, drawn around the point they stand on."""

from vlrlt.toy.paint import Pen, darker, lighter, mix
from vlrlt.toy.world import COLOURS, Rgb

# Every function draws on a 200 x 150 canvas; (100, 132) is the point that touches the counter.
FOOT_X, FOOT_Y = 100.0, 132.0
STEEL: Rgb = (186, 194, 202)
LIQUIDS: dict[str, Rgb] = {
    "milk": (252, 250, 244),
    "oil": (226, 186, 52),
    "water": (128, 190, 226),
    "soup": (222, 128, 56),
}


def _contents(pen: Pen, box: tuple[float, float, float, float], contents: str) -> None:
    if contents in LIQUIDS:
        colour = LIQUIDS[contents]
        pen.ellipse(box, darker(colour, 0.12), shade="down", depth=0.1)
        width = box[2] - box[0]
        height = box[3] - box[1]
        shine = (box[0] + width * 0.15, box[1] + height * 0.2, box[0] + width * 0.5, box[1] + height * 0.5)
        pen.ellipse(shine, lighter(colour, 0.6), alpha=0.6)
        if contents == "soup":
            for share, tone in ((0.25, (120, 170, 80)), (0.55, (240, 180, 90)), (0.72, (200, 70, 50))):
                x = box[0] + width * share
                y = box[1] + height * (0.35 + share * 0.4)
                pen.ellipse((x, y - 3, x + 9, y + 2), tone)


def cup(pen: Pen, colour: Rgb, shape: int, contents: str) -> None:
    """A mug with a handle: straight and tall, or round and low."""
    top, half, foot = ((52.0, 32.0, 30.0), (66.0, 39.0, 24.0))[shape % 2]
    handle = darker(colour, 0.22)
    mid = (top + FOOT_Y) / 2
    pen.stroke(
        [
            (100 + half - 4, top + 16),
            (100 + half + 22, top + 16),
            (100 + half + 22, mid + 14),
            (100 + half - 6, mid + 22),
        ],
        9.5,
        handle,
    )
    pen.smooth(
        [
            (100 - half, top),
            (100 - half + 1, mid),
            (100 - foot, FOOT_Y - 4),
            (100, FOOT_Y + 3),
            (100 + foot, FOOT_Y - 4),
            (100 + half - 1, mid),
            (100 + half, top),
            (100, top + 5),
        ],
        colour,
        shade="across",
        depth=0.42,
    )
    pen.ellipse((100 - half, top - 11, 100 + half, top + 11), lighter(colour, 0.35))
    pen.ellipse((100 - half + 5, top - 8, 100 + half - 5, top + 9), darker(colour, 0.42), shade="down", depth=-0.25)
    _contents(pen, (100 - half + 7, top - 3, 100 + half - 7, top + 9), contents)
    if shape % 2 == 0:
        pen.rect((100 - half + 3, mid + 4, 100 + half - 3, mid + 12), lighter(colour, 0.6), radius=3, alpha=0.5)


def glass(pen: Pen, colour: Rgb, shape: int, contents: str) -> None:
    """A drinking glass (tapered) or a wine-like goblet; see-through."""
    tint = mix(colour, (214, 234, 244), 0.55)
    if shape % 2:
        pen.ellipse((74, 122, 126, 138), tint, alpha=0.8)
        pen.capsule((100, 96), (100, 130), 6, tint, alpha=0.85)
        top, bottom, half, foot = 32.0, 100.0, 34.0, 10.0
    else:
        top, bottom, half, foot = 42.0, 134.0, 31.0, 23.0
    if contents in LIQUIDS:
        pen.polygon(
            [
                (100 - half + 5, top + 26),
                (100 + half - 5, top + 26),
                (100 + foot - 1, bottom - 5),
                (100 - foot + 1, bottom - 5),
            ],
            LIQUIDS[contents],
            shade="across",
            depth=0.2,
            alpha=0.95,
        )
        pen.ellipse((100 - half + 5, top + 18, 100 + half - 5, top + 34), darker(LIQUIDS[contents], 0.08))
    pen.smooth(
        [
            (100 - half, top),
            (100 - foot - 2, bottom - 8),
            (100, bottom + 2),
            (100 + foot + 2, bottom - 8),
            (100 + half, top),
            (100, top + 6),
        ],
        tint,
        shade="across",
        depth=0.35,
        alpha=0.5,
    )
    pen.stroke(
        [(100 - half, top), (100 - half * 0.72 - 3, (top + bottom) / 2), (100 - foot, bottom - 4)],
        3,
        darker(tint, 0.25),
        alpha=0.7,
    )
    pen.stroke(
        [(100 + half, top), (100 + half * 0.72 + 3, (top + bottom) / 2), (100 + foot, bottom - 4)],
        3,
        darker(tint, 0.3),
        alpha=0.7,
    )
    pen.ellipse((100 - half, top - 9, 100 + half, top + 9), darker(tint, 0.15), alpha=0.85)
    pen.ellipse((100 - half + 3, top - 6, 100 + half - 3, top + 7), lighter(tint, 0.5), alpha=0.85)
    pen.capsule((100 - half * 0.55, top + 20), (100 - half * 0.45, bottom - 20), 5, (255, 255, 255), alpha=0.75)


def bowl(pen: Pen, colour: Rgb, shape: int, contents: str) -> None:
    """A wide bowl with an elliptic opening."""
    top, half, foot = ((84.0, 58.0, 24.0), (92.0, 62.0, 36.0))[shape % 2]
    pen.ellipse((100 - foot, 122, 100 + foot, 138), darker(colour, 0.4))
    pen.smooth(
        [
            (100 - half, top),
            (100 - half * 0.86, top + 26),
            (100 - foot, 132),
            (100 + foot, 132),
            (100 + half * 0.86, top + 26),
            (100 + half, top),
            (100, top - 4),
        ],
        colour,
        shade="across",
        depth=0.42,
    )
    pen.ellipse((100 - half, top - 22, 100 + half, top + 20), lighter(colour, 0.4))
    pen.ellipse((100 - half + 5, top - 17, 100 + half - 5, top + 17), darker(colour, 0.25), shade="down", depth=-0.35)
    _contents(pen, (100 - half + 12, top - 9, 100 + half - 12, top + 16), contents)
    if shape % 2 == 0:
        pen.stroke(
            [(100 - half * 0.9, top + 22), (100, top + 36), (100 + half * 0.9, top + 22)],
            4,
            lighter(colour, 0.65),
            alpha=0.7,
        )


def plate(pen: Pen, colour: Rgb, shape: int, contents: str) -> None:
    """A flat plate seen at an angle: round, or square with rounded corners."""
    del contents
    if shape % 2:
        outer = [(46.0, 84.0), (154.0, 84.0), (164.0, 134.0), (36.0, 134.0)]
        inner = [(60.0, 91.0), (140.0, 91.0), (147.0, 125.0), (53.0, 125.0)]
        pen.smooth([(x, y + 5) for x, y in outer], darker(colour, 0.4))
        pen.smooth(outer, colour, shade="down", depth=0.15)
        pen.smooth(inner, darker(colour, 0.14), shade="down", depth=-0.2)
        return
    pen.ellipse((34, 79, 166, 142), darker(colour, 0.4))
    pen.ellipse((34, 74, 166, 137), colour, shade="down", depth=0.15)
    pen.ellipse((57, 84, 143, 126), darker(colour, 0.16), shade="down", depth=-0.25)
    pen.ellipse((61, 88, 139, 124), colour, shade="down", depth=-0.12)


def pan(pen: Pen, colour: Rgb, shape: int, contents: str) -> None:
    """A shallow frying pan with one long handle to the right front."""
    grip = COLOURS["wooden"] if shape % 2 else (54, 54, 60)
    pen.capsule((122, 118), (182, 140), 13, darker(grip, 0.3), stop_width=15)
    pen.capsule((122, 115), (182, 137), 11, grip, stop_width=13, shade="down", depth=0.3)
    pen.ellipse((22, 84, 144, 142), darker(colour, 0.45))
    pen.rect((22, 102, 144, 116), darker(colour, 0.3), shade="across", depth=0.3)
    pen.ellipse((22, 72, 144, 130), lighter(colour, 0.25), shade="across", depth=0.3)
    pen.ellipse((28, 77, 138, 127), mix(darker(colour, 0.5), (70, 72, 78), 0.6), shade="down", depth=-0.25)
    _contents(pen, (42, 88, 124, 122), contents)


def pot(pen: Pen, colour: Rgb, shape: int, contents: str) -> None:
    """A deep saucepan with two ears."""
    top = 72.0 if shape % 2 else 62.0
    ear = darker(colour, 0.45)
    for side in (-1, 1):
        pen.stroke(
            [
                (100 + side * 50, top + 14),
                (100 + side * 72, top + 14),
                (100 + side * 70, top + 26),
                (100 + side * 50, top + 26),
            ],
            7,
            ear,
        )
    pen.ellipse((46, 110, 154, 142), darker(colour, 0.4), shade="across", depth=0.4)
    pen.rect((46, top, 154, 126), colour, shade="across", depth=0.5)
    pen.ellipse((46, 112, 154, 140), colour, shade="across", depth=0.5)
    pen.ellipse((44, top - 19, 156, top + 19), lighter(colour, 0.4), shade="across", depth=0.25)
    pen.ellipse((50, top - 15, 150, top + 16), mix(darker(colour, 0.5), (90, 94, 102), 0.5), shade="down", depth=-0.3)
    _contents(pen, (55, top - 6, 145, top + 15), contents)


def kettle(pen: Pen, colour: Rgb, shape: int, contents: str) -> None:
    """An electric kettle on its base: tall with a side handle, or round with a top handle."""
    trim = (50, 52, 58)
    pen.ellipse((56, 122, 144, 142), trim)
    if shape % 2:
        pen.stroke([(64, 66), (72, 26), (128, 26), (136, 66)], 9, trim)
        pen.polygon([(136, 92), (166, 66), (172, 74), (140, 112)], darker(colour, 0.2))
        pen.smooth(
            [(58, 100), (66, 64), (100, 52), (134, 64), (142, 100), (130, 130), (100, 134), (70, 130)],
            colour,
            shade="ball",
            depth=0.5,
        )
    else:
        pen.stroke([(66, 54), (34, 56), (36, 110), (64, 116)], 10, trim)
        pen.polygon([(128, 52), (158, 44), (134, 78)], darker(colour, 0.15))
        pen.smooth(
            [(70, 46), (66, 90), (60, 130), (100, 136), (140, 130), (134, 90), (130, 46), (100, 42)],
            colour,
            shade="across",
            depth=0.5,
        )
        pen.ellipse((69, 34, 131, 54), darker(colour, 0.25), shade="down", depth=0.2)
        pen.ellipse((91, 26, 109, 42), trim, shade="ball")
        pen.rect((94, 76, 106, 118), (150, 200, 226), radius=5, alpha=0.85)
    pen.rect((86, 126, 114, 134), (255, 150, 60) if contents == "on" else (84, 88, 96), radius=4)
    if contents == "on":
        pen.soft_ellipse((76, 120, 124, 142), (255, 120, 40), blur=6, alpha=0.75)


def milk(pen: Pen, colour: Rgb, shape: int, contents: str) -> None:
    """A milk carton with a gable top and a splash on the front, or a slim one with a cap."""
    del contents
    paper = (248, 248, 246)
    pen.polygon([(70, 58), (118, 58), (118, 134), (70, 134)], paper, shade="across", depth=0.08)
    pen.polygon([(118, 58), (134, 50), (134, 126), (118, 134)], darker(paper, 0.22))
    pen.polygon([(70, 58), (80, 30), (126, 30), (118, 58)], colour, shade="down", depth=0.2)
    pen.polygon([(118, 58), (126, 30), (134, 50)], darker(colour, 0.3))
    pen.rect((78, 20, 128, 33), lighter(colour, 0.25), radius=2)
    pen.rect((70, 106, 118, 134), colour, shade="across", depth=0.15)
    pen.polygon([(118, 106), (134, 98), (134, 126), (118, 134)], darker(colour, 0.3))
    if shape % 2:
        pen.ellipse((92, 36, 110, 52), (250, 250, 250), shade="ball")
        pen.ellipse((80, 68, 108, 98), colour, shade="ball", depth=0.2)
        pen.ellipse((86, 74, 98, 88), paper)
    else:
        pen.smooth([(94, 66), (106, 84), (102, 98), (86, 98), (82, 84)], lighter(colour, 0.2))


def oil(pen: Pen, colour: Rgb, shape: int, contents: str) -> None:
    """A slim see-through bottle of oil."""
    del contents
    body = mix(colour, (214, 178, 40), 0.6)
    half = 26.0 if shape % 2 else 22.0
    pen.rect((92, 14, 108, 28), (70, 54, 44), radius=3)
    pen.smooth(
        [
            (93, 26),
            (93, 50),
            (100 - half, 72),
            (100 - half, 128),
            (100, 136),
            (100 + half, 128),
            (100 + half, 72),
            (107, 50),
            (107, 26),
        ],
        body,
        shade="across",
        depth=0.5,
    )
    pen.rect((100 - half + 1, 84, 100 + half - 1, 116), (244, 238, 214), radius=2, shade="across", depth=0.12)
    pen.smooth([(100, 88), (108, 102), (100, 111), (92, 102)], (110, 140, 60))
    pen.capsule((100 - half + 8, 74), (100 - half + 8, 80), 4, (255, 255, 240), alpha=0.8)


def ketchup(pen: Pen, colour: Rgb, shape: int, contents: str) -> None:
    """A squeeze bottle with a pointed white cap."""
    del contents
    half = 28.0 if shape % 2 else 23.0
    pen.polygon([(96, 16), (104, 16), (112, 44), (88, 44)], (246, 244, 238), shade="across", depth=0.2)
    pen.rect((84, 40, 116, 50), (234, 232, 226), radius=3)
    pen.smooth(
        [
            (84, 50),
            (100 - half, 66),
            (100 - half + 4, 96),
            (100 - half, 130),
            (100, 137),
            (100 + half, 130),
            (100 + half - 4, 96),
            (100 + half, 66),
            (116, 50),
        ],
        colour,
        shade="across",
        depth=0.45,
    )
    pen.ellipse((84, 80, 116, 112), (250, 246, 236), shade="ball", depth=0.1)
    pen.ellipse((92, 88, 108, 104), colour)


def salt(pen: Pen, colour: Rgb, shape: int, contents: str) -> None:
    """A salt shaker: steel cap with holes, letter-like band."""
    del contents
    half = 25.0 if shape % 2 else 21.0
    pen.smooth(
        [(100 - half + 4, 76), (100 - half, 126), (100, 136), (100 + half, 126), (100 + half - 4, 76), (100, 70)],
        mix(colour, (250, 250, 250), 0.35),
        shade="across",
        depth=0.4,
    )
    pen.rect((100 - half + 1, 96, 100 + half - 1, 114), (60, 84, 130), radius=2, shade="across", depth=0.2)
    pen.ellipse((100 - half + 2, 56, 100 + half - 2, 88), STEEL, shade="ball", depth=0.5)
    for dx, dy in ((-8, 66), (0, 63), (8, 66), (-4, 72), (4, 72)):
        pen.ellipse((100 + dx - 2, dy - 2, 100 + dx + 2, dy + 2), (70, 74, 82))


def knife(pen: Pen, colour: Rgb, shape: int, contents: str) -> None:
    """A kitchen knife that lies with its blade to the left."""
    del contents
    belly = 14.0 if shape % 2 else 21.0
    pen.smooth(
        [(34, 112), (64, 104), (124, 102), (126, 102 + belly), (90, 104 + belly), (56, 102 + belly * 0.8)],
        (216, 222, 228),
        shade="down",
        depth=0.2,
    )
    pen.stroke([(40, 113), (70, 104 + belly - 4), (122, 102 + belly - 3)], 2.5, (250, 252, 255), alpha=0.9)
    pen.rect((122, 99, 130, 119), (120, 126, 134), radius=2)
    pen.capsule((134, 108), (176, 112), 16, colour, stop_width=18, shade="down", depth=0.35)
    for x in (142, 156, 169):
        pen.ellipse((x - 2, 107, x + 2, 111), lighter(colour, 0.6))


def spoon(pen: Pen, colour: Rgb, shape: int, contents: str) -> None:
    """A cooking spoon that lies with its bowl to the left."""
    del contents
    pen.capsule((66, 110), (176, 112), 8, darker(colour, 0.1), stop_width=11, shade="down", depth=0.35)
    if shape % 2:
        pen.ellipse((24, 92, 76, 130), colour, shade="down", depth=0.2)
        pen.ellipse((31, 97, 70, 125), darker(colour, 0.22), shade="down", depth=-0.3)
    else:
        pen.smooth([(24, 104), (46, 92), (76, 106), (76, 115), (46, 130), (24, 118)], colour, shade="down", depth=0.2)
        pen.ellipse((34, 99, 64, 124), darker(colour, 0.2), shade="down", depth=-0.3)


def board(pen: Pen, colour: Rgb, shape: int, contents: str) -> None:
    """A chopping board seen at an angle, with a hole or a handle."""
    del contents
    if shape % 2:
        pen.capsule((150, 84), (180, 74), 20, darker(colour, 0.15))
        pen.ellipse((172, 68, 184, 79), darker(colour, 0.55))
    pen.polygon([(34, 80), (156, 80), (172, 128), (18, 128)], colour, shade="down", depth=0.12)
    pen.rect((18, 128, 172, 138), darker(colour, 0.35), radius=3)
    for y, tone in ((90, 0.1), (102, 0.14), (114, 0.1)):
        pen.stroke(
            [(42 - (y - 90) * 0.4, y), (100, y + 2), (160 + (y - 90) * 0.3, y - 1)],
            1.6,
            darker(colour, tone + 0.1),
            alpha=0.7,
        )
    if shape % 2 == 0:
        pen.ellipse((132, 84, 152, 93), darker(colour, 0.6))


def sponge(pen: Pen, colour: Rgb, shape: int, contents: str) -> None:
    """A sponge with a scouring side and pores."""
    del contents
    scour = (70, 130, 80) if colour != COLOURS["green"] else (70, 96, 160)
    pen.rect((56, 86, 146, 110), colour, radius=10, shade="down", depth=0.15)
    pen.rect((56, 100, 146, 126), darker(colour, 0.16), radius=7, shade="down", depth=0.1)
    pen.rect((56, 120, 146, 136), scour, radius=5, shade="across", depth=0.2)
    spots = ((70, 94), (88, 98), (104, 92), (122, 97), (134, 93), (78, 110), (96, 113), (116, 109), (132, 113))
    for x, y in spots[: 9 if shape % 2 else 7]:
        pen.ellipse((x - 3, y - 2, x + 3, y + 2), darker(colour, 0.36))
