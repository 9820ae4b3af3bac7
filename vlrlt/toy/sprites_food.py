"""Pictures of food: whole, with the skin off, and the face that a cut shows."""

from vlrlt.toy.paint import Pen, darker, lighter
from vlrlt.toy.world import Rgb

# Same canvas as the ware: 200 x 150, (100, 132) touches the counter.
LEAF: Rgb = (86, 146, 70)
FLESH: dict[str, tuple[Rgb, Rgb]] = {
    "tomato": (((238, 118, 92)), ((206, 58, 56))),
    "carrot": (((250, 178, 96)), ((236, 132, 48))),
    "banana": (((252, 240, 196)), ((240, 214, 120))),
    "apple": (((252, 246, 216)), ((196, 66, 56))),
    "onion": (((250, 242, 248)), ((160, 104, 170))),
    "bread": (((250, 230, 190)), ((186, 124, 70))),
    "lemon": (((254, 238, 140)), ((240, 206, 60))),
}
"""Noun -> colour inside and colour of the rim of a slice."""
PEELED: dict[str, Rgb] = {
    "carrot": (255, 190, 110),
    "banana": (254, 246, 214),
    "apple": (250, 240, 200),
    "onion": (250, 246, 240),
}


def tomato(pen: Pen, colour: Rgb, shape: int, peeled: bool) -> None:
    """A round tomato, or a plum tomato that lies on its side."""
    del peeled
    box = (54.0, 68.0, 146.0, 138.0) if shape % 2 else (60.0, 62.0, 140.0, 138.0)
    pen.ellipse(box, colour, shade="ball", depth=0.55)
    cy = box[1] + 12
    for dx, dy in ((-18, 4), (-9, -7), (9, -7), (18, 4), (0, 10)):
        pen.capsule((100, cy), (100 + dx, cy + dy), 6, LEAF, stop_width=2)
    pen.capsule((100, cy), (102, cy - 12), 5, darker(LEAF, 0.2))
    pen.ellipse((72, 80, 88, 94), (255, 236, 226), alpha=0.65)


def carrot(pen: Pen, colour: Rgb, shape: int, peeled: bool) -> None:
    """A carrot that lies with its tip to the left."""
    thick = 17.0 if shape % 2 else 22.0
    skin = PEELED["carrot"] if peeled else colour
    for dx, dy in ((24, -20), (30, -8), (28, 6)):
        pen.capsule((150, 112), (154 + dx, 112 + dy), 8, LEAF, stop_width=4, shade="down")
    pen.smooth(
        [
            (24, 118),
            (80, 114 - thick * 0.8),
            (146, 110 - thick),
            (158, 112),
            (146, 114 + thick),
            (80, 120 + thick * 0.6),
        ],
        skin,
        shade="down",
        depth=0.4,
    )
    if not peeled:
        for x in (62, 88, 112, 134):
            pen.stroke([(x, 106), (x + 5, 112)], 2.5, darker(skin, 0.3), alpha=0.8)


def banana(pen: Pen, colour: Rgb, shape: int, peeled: bool) -> None:
    """A curved banana; peeled it is cream coloured."""
    lift = 26.0 if shape % 2 else 34.0
    skin = PEELED["banana"] if peeled else colour
    pen.smooth(
        [
            (38, 122 - lift),
            (54, 128 - lift * 0.6),
            (100, 126 - lift * 0.1),
            (146, 128 - lift * 0.6),
            (162, 118 - lift),
            (168, 126 - lift),
            (150, 138),
            (100, 146),
            (50, 138),
            (32, 128 - lift),
        ],
        skin,
        shade="down",
        depth=0.35,
    )
    if peeled:
        return
    pen.stroke([(48, 128 - lift * 0.3), (100, 136), (152, 128 - lift * 0.3)], 3, darker(skin, 0.22), alpha=0.8)
    pen.capsule((164, 122 - lift), (172, 108 - lift), 9, darker(skin, 0.35), stop_width=7)
    pen.ellipse((30, 120 - lift, 40, 131 - lift), (90, 70, 44))


def apple(pen: Pen, colour: Rgb, shape: int, peeled: bool) -> None:
    """An apple with a dent, a stalk and a leaf."""
    skin = PEELED["apple"] if peeled else colour
    bottom = 16.0 if shape % 2 else 24.0
    pen.smooth(
        [
            (100, 70),
            (122, 62),
            (142, 84),
            (136, 118),
            (100 + bottom, 136),
            (100, 135),
            (100 - bottom, 136),
            (64, 118),
            (58, 84),
            (78, 62),
        ],
        skin,
        shade="ball",
        depth=0.55,
    )
    pen.ellipse((86, 66, 114, 78), darker(skin, 0.4), alpha=0.7)
    pen.stroke([(100, 74), (102, 58), (107, 48)], 4.5, (96, 66, 44))
    pen.smooth([(106, 58), (124, 44), (138, 50), (122, 62)], LEAF, shade="down")
    pen.ellipse((70, 78, 84, 96), (255, 248, 240), alpha=0.6)


def onion(pen: Pen, colour: Rgb, shape: int, peeled: bool) -> None:
    """An onion: pointed top, vertical stripes, roots."""
    skin = PEELED["onion"] if peeled else colour
    half = 42.0 if shape % 2 else 38.0
    for dx in (-8, -3, 3, 8):
        pen.stroke([(100 + dx * 0.5, 130), (100 + dx, 141)], 2, (150, 126, 96))
    pen.smooth(
        [
            (100, 44),
            (106, 62),
            (100 + half * 0.8, 78),
            (100 + half, 104),
            (100 + half * 0.6, 130),
            (100, 137),
            (100 - half * 0.6, 130),
            (100 - half, 104),
            (100 - half * 0.8, 78),
            (94, 62),
        ],
        skin,
        shade="ball",
        depth=0.5,
    )
    for share in (-0.62, -0.25, 0.15, 0.55):
        x = 100 + half * share
        pen.stroke(
            [(100 + share * 8, 58), (x, 92), (100 + half * share * 0.6, 132)], 2.2, darker(skin, 0.28), alpha=0.65
        )
    pen.ellipse((74, 80, 86, 98), lighter(skin, 0.85), alpha=0.6)


def egg(pen: Pen, colour: Rgb, shape: int, peeled: bool) -> None:
    """One egg, upright or lying."""
    del peeled
    if shape % 2:
        pen.smooth(
            [(64, 108), (74, 86), (104, 80), (134, 92), (142, 110), (130, 128), (100, 136), (72, 130)],
            colour,
            shade="ball",
            depth=0.4,
        )
    else:
        pen.smooth(
            [(100, 62), (122, 78), (132, 108), (120, 130), (100, 136), (80, 130), (68, 108), (78, 78)],
            colour,
            shade="ball",
            depth=0.4,
        )
    for x, y in ((92, 100), (108, 112), (112, 94), (98, 122)):
        pen.ellipse((x - 1.5, y - 1.5, x + 1.5, y + 1.5), darker(colour, 0.3), alpha=0.6)


def bread(pen: Pen, colour: Rgb, shape: int, peeled: bool) -> None:
    """A loaf with scored top, or a longer, thinner one."""
    del peeled
    colour = (206, 142, 82) if colour == (198, 140, 100) else colour
    top = 88.0 if shape % 2 else 70.0
    left, right = (26.0, 174.0) if shape % 2 else (38.0, 162.0)
    pen.smooth(
        [
            (left, 112),
            (left + 14, top + 8),
            (100, top),
            (right - 14, top + 8),
            (right, 112),
            (right - 12, 134),
            (100, 138),
            (left + 12, 134),
        ],
        colour,
        shade="down",
        depth=0.45,
    )
    for x in (66, 92, 118, 142):
        pen.stroke([(x - 8, top + 22), (x + 4, top + 10), (x + 10, top + 6)], 6, lighter(colour, 0.5))


def lemon(pen: Pen, colour: Rgb, shape: int, peeled: bool) -> None:
    """A lemon: pointed at both ends."""
    del peeled
    half = 27.0 if shape % 2 else 32.0
    cy = 136 - half
    pen.smooth(
        [
            (50, cy),
            (62, cy - 8),
            (82, cy - half * 0.92),
            (112, cy - half),
            (136, cy - 12),
            (152, cy),
            (138, cy + 10),
            (114, cy + half * 0.95),
            (84, cy + half * 0.9),
            (62, cy + 8),
        ],
        colour,
        shade="ball",
        depth=0.42,
    )
    for x, y in ((84, -10), (100, 8), (118, -6), (106, -16), (90, 14), (124, 10)):
        pen.ellipse((x - 1.6, cy + y - 1.6, x + 1.6, cy + y + 1.6), darker(colour, 0.25), alpha=0.7)


def slice_face(pen: Pen, noun: str) -> None:
    """One slice lying on the board, about 44 x 30 px, centred at (30, 22) of a 60 x 44 canvas."""
    inside, rim = FLESH[noun]
    pen.soft_ellipse((8, 16, 54, 40), (20, 16, 24), blur=3, alpha=0.35)
    pen.ellipse((7, 9, 53, 39), darker(rim, 0.3))
    pen.ellipse((7, 5, 53, 35), rim)
    pen.ellipse((11, 8, 49, 32), inside, shade="down", depth=0.08)
    if noun in ("tomato", "lemon"):
        for dx, dy in ((-11, 0), (11, 0), (-5, -7), (5, -7), (-5, 7), (5, 7)):
            pen.ellipse((30 + dx - 4, 20 + dy - 3, 30 + dx + 4, 20 + dy + 3), darker(rim, 0.05), alpha=0.75)
    elif noun == "onion":
        for grow in (14, 9, 4):
            pen.ellipse((30 - grow, 20 - grow * 0.6, 30 + grow, 20 + grow * 0.6), rim, alpha=0.5)
            pen.ellipse((32 - grow, 21 - grow * 0.6, 28 + grow, 19 + grow * 0.6), inside)
    elif noun in ("apple", "banana", "carrot"):
        for dx in (-5, 0, 5):
            pen.ellipse((30 + dx - 1.8, 18, 30 + dx + 1.8, 23), darker(rim, 0.3), alpha=0.85)
