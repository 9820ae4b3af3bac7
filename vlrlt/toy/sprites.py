"""The sprite box of one video: every picture is drawn once, on first use."""

from collections.abc import Callable
from dataclasses import dataclass

from vlrlt.toy import sprites_food, sprites_ware
from vlrlt.toy.kitchen import Look
from vlrlt.toy.paint import Pen, Sprite, darker
from vlrlt.toy.world import COLOURS, Rgb

CANVAS_PX = (200, 150)
FOOT: tuple[float, float] = (sprites_ware.FOOT_X, sprites_ware.FOOT_Y)

_WARE = {
    "cup": sprites_ware.cup, "glass": sprites_ware.glass, "bowl": sprites_ware.bowl, "plate": sprites_ware.plate,
    "pan": sprites_ware.pan, "pot": sprites_ware.pot, "kettle": sprites_ware.kettle, "milk": sprites_ware.milk,
    "oil": sprites_ware.oil, "ketchup": sprites_ware.ketchup, "salt": sprites_ware.salt, "knife": sprites_ware.knife,
    "spoon": sprites_ware.spoon, "board:chopping": sprites_ware.board, "sponge": sprites_ware.sponge,
}  # fmt: skip
_FOOD = {
    "tomato": sprites_food.tomato, "carrot": sprites_food.carrot, "banana": sprites_food.banana,
    "apple": sprites_food.apple, "onion": sprites_food.onion, "egg": sprites_food.egg,
    "bread": sprites_food.bread, "lemon": sprites_food.lemon,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where a thing is held and where its opening is, relative to the point it stands on (pixels, y down)."""

    grip: tuple[float, float]
    mouth: tuple[float, float]
    half_width: float
    handle: bool = False
    """True when it is held by its handle, with a fist."""


GEOMETRY: dict[str, Geometry] = {
    "kettle": Geometry((8, -44), (50, -80), 44),
    "pan": Geometry((66, -2), (-16, -30), 60, handle=True),
    "pot": Geometry((26, -32), (0, -68), 56),
    "plate": Geometry((42, -20), (0, -28), 66),
    "bowl": Geometry((34, -26), (0, -42), 60),
    "cup": Geometry((12, -38), (0, -72), 36),
    "glass": Geometry((6, -44), (0, -92), 32),
    "milk": Geometry((8, -48), (16, -108), 32),
    "oil": Geometry((0, -40), (0, -118), 25),
    "ketchup": Geometry((0, -44), (0, -116), 27),
    "salt": Geometry((0, -32), (0, -74), 24),
    "knife": Geometry((56, -22), (-30, -14), 70, handle=True),
    "spoon": Geometry((60, -21), (-50, -20), 74, handle=True),
    "board:chopping": Geometry((54, -22), (0, -26), 76),
    "sponge": Geometry((16, -24), (0, -24), 45),
    "tomato": Geometry((10, -34), (0, -34), 40),
    "carrot": Geometry((20, -20), (0, -22), 70),
    "banana": Geometry((30, -10), (0, -14), 66),
    "apple": Geometry((10, -36), (0, -36), 40),
    "onion": Geometry((10, -34), (0, -34), 40),
    "egg": Geometry((6, -28), (0, -28), 33),
    "bread": Geometry((32, -26), (0, -30), 64),
    "lemon": Geometry((12, -30), (0, -30), 48),
}


class SpriteBox:
    """Draws things on first use and keeps the pictures."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Look, str, bool], Sprite] = {}
        self._slices: dict[str, Sprite] = {}
        self._plain: dict[str, Sprite] = {}

    def thing(self, look: Look, state: str, *, resting: bool = False) -> Sprite:
        """The picture of a thing; a resting one has its contact shadow below it."""
        key = (look, state, resting)
        if key not in self._kept:
            self._kept[key] = _draw_thing(look, state, resting=resting)
        return self._kept[key]

    def slice_of(self, noun: str) -> Sprite:
        """One slice that lies on the board; its anchor is the middle."""
        if noun not in self._slices:
            pen = Pen(60, 44)
            sprites_food.slice_face(pen, noun)
            self._slices[noun] = pen.sprite(30, 22)
        return self._slices[noun]

    def chunk(self, look: Look, share: float) -> Sprite:
        """The left part of a thing after cutting away `share` (0 to 1) of its width from the right."""
        whole = self.thing(look, "plain")
        reach = GEOMETRY[look.noun].half_width
        if share <= 0:
            return whole
        right = max(1, round(whole.anchor_x + reach - 2 * reach * share))
        return Sprite(whole.image.crop((0, 0, right, whole.image.height)), whole.anchor_x, whole.anchor_y)

    def wiped(self, look: Look, share: float) -> tuple[Sprite, Sprite]:
        """A thing with `share` (0 to 1) of its skin peeled off from the left: the bare and the skinned part."""
        bare, skin = self.thing(look, "peeled"), self.thing(look, "plain")
        edge = (2 * share - 1) * (GEOMETRY[look.noun].half_width + 8)
        bare_stop = min(bare.image.width, max(1, round(bare.anchor_x + edge)))
        skin_start = min(skin.image.width - 1, max(0, round(skin.anchor_x + edge)))
        left = bare.image.crop((0, 0, bare_stop, bare.image.height))
        right = skin.image.crop((skin_start, 0, skin.image.width, skin.image.height))
        return Sprite(left, bare.anchor_x, bare.anchor_y), Sprite(right, skin.anchor_x - skin_start, skin.anchor_y)

    def plain(self, name: str) -> Sprite:
        """A small effect: drop, splash, foam, steam, peel, grain, glow, or a liquid stream."""
        if name not in self._plain:
            self._plain[name] = _EFFECTS[name]()
        return self._plain[name]


def _draw_thing(look: Look, state: str, *, resting: bool) -> Sprite:
    pen = Pen(*CANVAS_PX)
    if resting:
        reach = GEOMETRY[look.noun].half_width
        pen.soft_ellipse((100 - reach * 0.95, 122, 100 + reach * 1.15, 142), (24, 18, 30), blur=4, alpha=0.42)
    colour = COLOURS[look.colour]
    if look.noun in _WARE:
        _WARE[look.noun](pen, colour, look.shape, state)
    else:
        _FOOD[look.noun](pen, colour, look.shape, state == "peeled")
    return pen.sprite(*FOOT)


def _stream(colour: Rgb) -> Sprite:
    pen = Pen(16, 100)
    pen.rect((3, 0, 13, 100), colour, shade="across", depth=0.35, alpha=0.9)
    pen.rect((5, 0, 7, 100), (255, 255, 255), alpha=0.55)
    return pen.sprite(8, 0)


def _drop(colour: Rgb) -> Sprite:
    pen = Pen(14, 18)
    pen.smooth([(7, 1), (12, 11), (7, 17), (2, 11)], colour, shade="ball", depth=0.4)
    return pen.sprite(7, 9)


def _steam() -> Sprite:
    pen = Pen(90, 80, oversample=2)
    pen.soft_ellipse((26, 26, 64, 54), (252, 252, 255), blur=9, alpha=0.7)
    return pen.sprite(45, 40)


def _foam() -> Sprite:
    pen = Pen(100, 44)
    for x, y, r in (
        (20, 26, 11),
        (36, 20, 13),
        (54, 24, 14),
        (72, 21, 12),
        (84, 28, 9),
        (46, 32, 10),
        (64, 33, 9),
        (28, 34, 8),
    ):
        pen.ellipse((x - r, y - r * 0.75, x + r, y + r * 0.75), (246, 250, 255), shade="ball", depth=0.14, alpha=0.9)
    return pen.sprite(50, 26)


def _peel(colour: Rgb) -> Sprite:
    pen = Pen(44, 24)
    pen.stroke([(5, 15), (14, 8), (26, 17), (39, 9)], 8, darker(colour, 0.3))
    pen.stroke([(5, 14), (14, 7), (26, 16), (39, 8)], 6, colour)
    return pen.sprite(22, 12)


def _grain() -> Sprite:
    pen = Pen(8, 8)
    pen.ellipse((1, 1, 7, 7), (255, 255, 255))
    return pen.sprite(4, 4)


def _puddle(colour: Rgb) -> Sprite:
    pen = Pen(80, 32)
    pen.smooth([(6, 18), (22, 6), (52, 8), (74, 16), (58, 27), (24, 26)], colour, shade="down", depth=0.2, alpha=0.92)
    pen.ellipse((22, 10, 42, 16), (255, 255, 255), alpha=0.5)
    return pen.sprite(40, 17)


KETCHUP: Rgb = (200, 44, 40)
JUICE: Rgb = (250, 226, 90)
WATER: Rgb = (150, 204, 238)
_EFFECTS: dict[str, Callable[[], Sprite]] = {
    "stream_milk": lambda: _stream((252, 250, 244)),
    "stream_oil": lambda: _stream((230, 188, 48)),
    "stream_water": lambda: _stream(WATER),
    "drop_water": lambda: _drop(WATER),
    "drop_juice": lambda: _drop(JUICE),
    "drop_ketchup": lambda: _drop(KETCHUP),
    "puddle_water": lambda: _puddle(WATER),
    "puddle_juice": lambda: _puddle(JUICE),
    "puddle_ketchup": lambda: _puddle(KETCHUP),
    "steam": _steam,
    "foam": _foam,
    "grain": _grain,
    "peel_orange": lambda: _peel(COLOURS["orange"]),
    "peel_yellow": lambda: _peel(COLOURS["yellow"]),
    "peel_red": lambda: _peel(COLOURS["red"]),
    "peel_green": lambda: _peel(COLOURS["green"]),
    "peel_purple": lambda: _peel(COLOURS["purple"]),
    "peel_brown": lambda: _peel(COLOURS["brown"]),
}
