"""One participant's kitchen: how it looks and where everything is, in scene pixels."""

from dataclasses import dataclass

import numpy as np

from vlrlt.toy.world import NOUN_BY_KEY, Rgb

SCENE_HEIGHT_PX = 680
COUNTER_BACK_Y = 236
COUNTER_FRONT_Y = 434
CABINET_TOP_Y = 450
FLOOR_Y = 606
_MARGIN_PX = 220
_ZONE_WIDTHS_PX = {"fridge": 290, "prep": 430, "sink": 430, "hob": 410, "counter": 590, "bin": 300}

_WALLS: tuple[Rgb, ...] = ((238, 228, 206), (214, 226, 230), (232, 216, 212), (220, 228, 208), (226, 222, 232))
_TILES: tuple[Rgb, ...] = (
    (244, 242, 236),
    (176, 206, 214),
    (226, 196, 160),
    (190, 210, 180),
    (232, 206, 206),
    (150, 170, 196),
)
_CUPBOARDS: tuple[Rgb, ...] = (
    (246, 242, 234), (122, 150, 158), (190, 142, 98), (142, 166, 136), (92, 104, 130), (222, 180, 120), (196, 110, 96),
)  # fmt: skip
_COUNTERS: tuple[Rgb, ...] = (
    (206, 170, 126),
    (196, 196, 196),
    (122, 118, 120),
    (228, 220, 208),
    (164, 126, 96),
    (172, 182, 186),
)
_FLOORS: tuple[Rgb, ...] = ((170, 130, 96), (150, 150, 156), (196, 182, 164), (112, 92, 80))
_FRIDGES: tuple[Rgb, ...] = ((236, 238, 240), (176, 184, 192), (196, 84, 76), (132, 176, 176), (70, 76, 88))
_SKINS: tuple[Rgb, ...] = ((242, 200, 172), (226, 174, 138), (198, 142, 104), (160, 106, 74), (112, 74, 54))
_SLEEVES: tuple[Rgb, ...] = (
    (72, 104, 160), (170, 66, 70), (90, 130, 96), (60, 62, 74), (226, 196, 120), (150, 110, 160), (222, 222, 218),
)  # fmt: skip
_LIGHTS: tuple[tuple[float, float, float], ...] = (
    (1.0, 1.0, 1.0), (1.04, 0.99, 0.90), (0.94, 0.98, 1.05), (0.90, 0.87, 0.84), (1.05, 1.03, 0.99),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Look:
    """What one thing looks like: its noun, which shape of that noun, and the name of its colour."""

    noun: str
    shape: int
    colour: str


@dataclass(frozen=True, slots=True)
class Spot:
    """A place where a thing can stand: the point it touches, and how large it is drawn there."""

    x: float
    y: float
    scale: float
    stage: bool
    """True where actions happen, False for the back row of the counter."""


@dataclass(frozen=True, slots=True)
class Fixture:
    """An immovable thing of the kitchen: its noun, reference point, and where the wearer looks to use it."""

    noun: str
    x: float
    y: float
    focus_x: float
    focus_y: float


@dataclass(frozen=True, slots=True)
class Style:
    """Colours and habits of one kitchen and its owner."""

    wall: Rgb
    tile: Rgb
    tile_px: int
    cupboard: Rgb
    counter: Rgb
    floor: Rgb
    fridge: Rgb
    bin: Rgb
    trim: Rgb
    skin: Rgb
    sleeve: Rgb
    light: tuple[float, float, float]
    gas: bool
    round_handles: bool


@dataclass(frozen=True, slots=True)
class Kitchen:
    """One participant's kitchen."""

    style: Style
    width_px: int
    zones: dict[str, tuple[float, float]]
    """Zone name -> left and right edge in scene pixels."""
    spots: dict[str, Spot]
    fixtures: dict[str, Fixture]
    looks: dict[str, tuple[Look, ...]]
    """Noun -> the things of that kind which this household owns."""


def make_kitchen(rng: np.random.Generator) -> Kitchen:
    """Build a random kitchen; equal generators give equal kitchens."""
    style = _make_style(rng)
    middle = ["prep", "sink", "hob", "counter"]
    rng.shuffle(middle)
    order = ["fridge", *middle, "bin"]
    if rng.random() < 0.5:
        order.reverse()
    zones: dict[str, tuple[float, float]] = {}
    left = float(_MARGIN_PX)
    for name in order:
        zones[name] = (left, left + _ZONE_WIDTHS_PX[name])
        left += _ZONE_WIDTHS_PX[name]
    spots = _make_spots(zones)
    fixtures = _make_fixtures(zones)
    looks = {key: _make_looks(rng, key) for key in NOUN_BY_KEY if NOUN_BY_KEY[key].movable}
    return Kitchen(style, int(left) + _MARGIN_PX, zones, spots, fixtures, looks)


def _make_style(rng: np.random.Generator) -> Style:
    def pick(options: tuple[Rgb, ...]) -> Rgb:
        base = options[int(rng.integers(len(options)))]
        jitter = rng.integers(-10, 11, size=3)
        r, g, b = (int(np.clip(channel + step, 20, 250)) for channel, step in zip(base, jitter, strict=True))
        return (r, g, b)

    return Style(
        wall=pick(_WALLS),
        tile=pick(_TILES),
        tile_px=int(rng.integers(26, 46)),
        cupboard=pick(_CUPBOARDS),
        counter=pick(_COUNTERS),
        floor=pick(_FLOORS),
        fridge=pick(_FRIDGES),
        bin=pick(_FRIDGES),
        trim=((196, 202, 208), (70, 72, 80), (206, 168, 96))[int(rng.integers(3))],
        skin=pick(_SKINS),
        sleeve=pick(_SLEEVES),
        light=_LIGHTS[int(rng.integers(len(_LIGHTS)))],
        gas=bool(rng.random() < 0.5),
        round_handles=bool(rng.random() < 0.5),
    )


def _make_looks(rng: np.random.Generator, key: str) -> tuple[Look, ...]:
    noun = NOUN_BY_KEY[key]
    colours = noun.colours
    count = min(len(colours), 3) if noun.named_by_colour else min(len(colours), 2)
    chosen = rng.permutation(len(colours))[:count]
    return tuple(Look(key, int(rng.integers(noun.num_shapes)), colours[int(index)]) for index in chosen)


def _make_spots(zones: dict[str, tuple[float, float]]) -> dict[str, Spot]:
    spots: dict[str, Spot] = {}

    def stage(name: str, x: float, y: float = 386.0) -> None:
        spots[name] = Spot(x, y, 1.0, True)

    def back(name: str, x: float, y: float = 286.0) -> None:
        spots[name] = Spot(x, y, 0.82, False)

    prep, sink, hob = (sum(zones[name]) / 2 for name in ("prep", "sink", "hob"))
    stage("board", prep - 70)
    stage("prep_side", prep + 110)
    stage("drain", sink + 160)
    stage("burner", hob + 80, 368.0)
    counter_left = zones["counter"][0]
    for index in range(3):
        stage(f"counter_{index}", counter_left + 80 + 150 * index)
    for index, x in enumerate((prep - 150, prep - 30, prep + 70, prep + 165)):
        back(f"prep_back_{index}", x)
    back("sink_back", sink + 165)
    back("sink_back_left", sink - 165)
    for index in range(3):
        back(f"counter_back_{index}", counter_left + 50 + 125 * index)
    return spots


def _make_fixtures(zones: dict[str, tuple[float, float]]) -> dict[str, Fixture]:
    centre = {name: (left + right) / 2 for name, (left, right) in zones.items()}
    oven_x = centre["hob"]
    counter_right = zones["counter"][1]
    drawer_b = zones["counter"][0] + 170
    return {
        "tap": Fixture("tap", centre["sink"], 262, centre["sink"], 272),
        "fridge": Fixture("fridge", centre["fridge"], 0, centre["fridge"], 214),
        "cupboard_a": Fixture("cupboard", centre["prep"] - 60, 0, centre["prep"] - 60, 152),
        "cupboard_b": Fixture("cupboard", drawer_b, 0, drawer_b, 152),
        "drawer_a": Fixture("drawer", centre["prep"] - 60, 462, centre["prep"] - 60, 500),
        "drawer_b": Fixture("drawer", drawer_b, 462, drawer_b, 500),
        "hob": Fixture("hob", oven_x - 82, 350, oven_x - 70, 366),
        "oven": Fixture("oven", oven_x, 458, oven_x, 512),
        "bin": Fixture("bin", centre["bin"], 440, centre["bin"], 436),
        "microwave": Fixture("microwave", counter_right - 105, 344, counter_right - 105, 300),
    }
