"""The kitchen's backdrop: walls, counters and cabinets along one wide panorama."""

import numpy as np
from PIL import Image

from vlrlt.toy.kitchen import (
    CABINET_TOP_Y,
    COUNTER_BACK_Y,
    COUNTER_FRONT_Y,
    FLOOR_Y,
    SCENE_HEIGHT_PX,
    Kitchen,
)
from vlrlt.toy.paint import Pen, darker, lighter, mix

_TILE_TOP_Y = 132


def draw_panorama(kitchen: Kitchen, rng: np.random.Generator) -> Image.Image:
    """Draw everything that never moves, as one RGB picture of the kitchen's width."""
    style = kitchen.style
    width = kitchen.width_px
    pen = Pen(width, SCENE_HEIGHT_PX, oversample=1)
    pen.rect((0, 0, width, COUNTER_BACK_Y + 300), style.wall, shade="down", depth=0.1)
    _tiles(pen, kitchen)
    pen.rect((0, FLOOR_Y - 70, width, SCENE_HEIGHT_PX), style.floor, shade="down", depth=0.25)
    for x in range(0, width, 96):
        pen.rect((x, FLOOR_Y - 70, x + 2, SCENE_HEIGHT_PX), darker(style.floor, 0.2))
    for name in ("prep", "sink", "hob", "counter"):
        _counter(pen, kitchen, *kitchen.zones[name])
    _edges(pen, kitchen)
    picture = pen.finish().convert("RGB")
    _paste(picture, _window(), kitchen.zones["sink"][0] + 90, 10)
    _paste(picture, _hood(kitchen), kitchen.zones["hob"][0] + 65, 0)
    _paste(picture, _sink(kitchen), sum(kitchen.zones["sink"]) / 2 - 140, 262)
    _paste(picture, _cooktop(kitchen), sum(kitchen.zones["hob"]) / 2 - 170, 262)
    _paste(picture, _fridge_body(kitchen), sum(kitchen.zones["fridge"]) / 2 - 135, 20)
    _paste(picture, _picture_frame(kitchen), sum(kitchen.zones["bin"]) / 2 - 60, 90)
    _paste(picture, _drying_rack(), kitchen.zones["counter"][1] - 150, 40)
    return _grained(picture, rng)


def _paste(picture: Image.Image, layer: Image.Image, x: float, y: float) -> None:
    picture.paste(layer, (round(x), round(y)), layer)


def _tiles(pen: Pen, kitchen: Kitchen) -> None:
    style = kitchen.style
    left = min(kitchen.zones[name][0] for name in ("prep", "sink", "hob", "counter"))
    right = max(kitchen.zones[name][1] for name in ("prep", "sink", "hob", "counter"))
    grout = darker(style.tile, 0.14)
    pen.rect((left, _TILE_TOP_Y, right, COUNTER_BACK_Y), grout)
    step = style.tile_px
    for row, y in enumerate(range(COUNTER_BACK_Y - step, _TILE_TOP_Y - step, -step)):
        shift = step if row % 2 and step % 2 else 0
        for x in range(int(left) + shift - 2 * step, int(right), 2 * step):
            tone = lighter(style.tile, 0.16 * ((x // step + row * 3) % 3) / 2)
            box = (max(left, x), max(_TILE_TOP_Y, y), min(right, x + 2 * step - 2), y + step - 2)
            if box[2] - box[0] > 4 and box[3] - box[1] > 4:
                pen.rect(box, tone, radius=2, shade="down", depth=0.06)


def _counter(pen: Pen, kitchen: Kitchen, left: float, right: float) -> None:
    style = kitchen.style
    front = mix(style.cupboard, (120, 110, 100), 0.12)
    pen.rect((left, COUNTER_BACK_Y, right, COUNTER_FRONT_Y), style.counter, shade="down", depth=-0.16)
    pen.rect((left, COUNTER_BACK_Y, right, COUNTER_BACK_Y + 5), darker(style.counter, 0.3), alpha=0.6)
    pen.rect((left, COUNTER_FRONT_Y, right, CABINET_TOP_Y), darker(style.counter, 0.3), shade="down", depth=0.3)
    pen.rect((left, CABINET_TOP_Y, right, FLOOR_Y), front, shade="down", depth=0.18)
    pen.rect((left, CABINET_TOP_Y, right, CABINET_TOP_Y + 7), darker(front, 0.45), alpha=0.7)
    pen.rect((left, FLOOR_Y - 16, right, FLOOR_Y), darker(front, 0.6))
    count = max(2, round((right - left) / 120))
    for index in range(count):
        x0 = left + (right - left) * index / count + 5
        x1 = left + (right - left) * (index + 1) / count - 5
        pen.rect((x0, CABINET_TOP_Y + 12, x1, FLOOR_Y - 22), darker(front, 0.22), radius=5)
        pen.rect((x0 + 2, CABINET_TOP_Y + 13, x1 - 1, FLOOR_Y - 24), front, radius=5, shade="down", depth=0.1)
        pen.rect(((x0 + x1) / 2 - 16, CABINET_TOP_Y + 24, (x0 + x1) / 2 + 16, CABINET_TOP_Y + 30), style.trim, radius=3)


def _edges(pen: Pen, kitchen: Kitchen) -> None:
    left = min(kitchen.zones[name][0] for name in ("prep", "sink", "hob", "counter"))
    right = max(kitchen.zones[name][1] for name in ("prep", "sink", "hob", "counter"))
    side = darker(kitchen.style.counter, 0.4)
    pen.rect((left, COUNTER_BACK_Y, left + 3, CABINET_TOP_Y), side, alpha=0.5)
    pen.rect((right - 3, COUNTER_BACK_Y, right, CABINET_TOP_Y), side, alpha=0.5)


def _window() -> Image.Image:
    pen = Pen(250, 130, oversample=2)
    pen.rect((0, 0, 250, 122), (246, 244, 238), radius=5, shade="down", depth=0.1)
    pen.rect((10, 8, 240, 112), (168, 210, 238), shade="down", depth=-0.35)
    pen.smooth([(10, 96), (60, 76), (120, 92), (180, 70), (240, 92), (240, 112), (10, 112)], (122, 170, 104))
    pen.ellipse((176, 18, 206, 48), (255, 246, 200), alpha=0.9)
    pen.rect((121, 8, 129, 112), (240, 238, 232))
    pen.rect((0, 114, 250, 128), (232, 228, 220), radius=3, shade="down", depth=0.2)
    return pen.finish()


def _hood(kitchen: Kitchen) -> Image.Image:
    pen = Pen(280, 110, oversample=2)
    steel = mix((190, 196, 204), kitchen.style.trim, 0.15)
    pen.rect((96, 0, 184, 60), steel, shade="across", depth=0.3)
    pen.polygon([(96, 52), (184, 52), (276, 92), (4, 92)], steel, shade="across", depth=0.3)
    pen.rect((4, 90, 276, 104), darker(steel, 0.25), radius=3, shade="down", depth=0.3)
    return pen.finish()


def _sink(kitchen: Kitchen) -> Image.Image:
    pen = Pen(280, 170)
    steel = (196, 202, 208)
    pen.rect((4, 6, 276, 162), darker(kitchen.style.counter, 0.35), radius=24, alpha=0.5)
    pen.rect((6, 4, 274, 158), steel, radius=22, shade="down", depth=0.15)
    pen.rect((20, 16, 260, 148), darker(steel, 0.45), radius=20)
    pen.rect((22, 22, 258, 148), darker(steel, 0.22), radius=20, shade="down", depth=-0.3)
    pen.rect((44, 44, 236, 140), darker(steel, 0.08), radius=18, shade="down", depth=-0.15)
    pen.ellipse((122, 80, 160, 100), darker(steel, 0.5))
    pen.ellipse((128, 84, 154, 97), darker(steel, 0.75))
    return pen.finish()


def _cooktop(kitchen: Kitchen) -> Image.Image:
    pen = Pen(340, 170)
    slab = (188, 192, 198) if kitchen.style.gas else (44, 46, 54)
    pen.polygon([(26, 4), (314, 4), (336, 160), (4, 160)], darker(slab, 0.5), alpha=0.6)
    pen.polygon([(28, 2), (312, 2), (334, 154), (6, 154)], slab, shade="down", depth=0.12)
    for x, y, half in ((104, 32, 38), (236, 32, 38), (88, 92, 60), (250, 98, 60)):
        if kitchen.style.gas:
            pen.ellipse((x - half * 0.5, y - half * 0.23, x + half * 0.5, y + half * 0.23), (60, 62, 70), shade="ball")
            for dx, dy in ((half, 0), (-half, 0), (0, half * 0.46), (0, -half * 0.46)):
                pen.capsule((x + dx * 0.25, y + dy * 0.25), (x + dx, y + dy), 7, (40, 42, 48))
        else:
            pen.ellipse((x - half, y - half * 0.46, x + half, y + half * 0.46), lighter(slab, 0.28))
            pen.ellipse((x - half + 3, y - half * 0.46 + 2, x + half - 3, y + half * 0.46 - 2), darker(slab, 0.1))
    return pen.finish()


def _fridge_body(kitchen: Kitchen) -> Image.Image:
    pen = Pen(270, 600, oversample=2)
    colour = kitchen.style.fridge
    pen.rect((4, 6, 268, 596), (20, 18, 26), radius=12, alpha=0.3)
    pen.rect((0, 0, 262, 590), darker(colour, 0.3), radius=10, shade="across", depth=0.25)
    pen.rect((8, 380, 254, 578), colour, radius=8, shade="across", depth=0.22)
    pen.rect((206, 398, 216, 476), kitchen.style.trim, radius=5, shade="across", depth=0.4)
    return pen.finish()


def _picture_frame(kitchen: Kitchen) -> Image.Image:
    pen = Pen(120, 100, oversample=2)
    pen.rect((4, 6, 118, 98), (20, 18, 26), radius=3, alpha=0.25)
    pen.rect((0, 0, 114, 92), darker(kitchen.style.trim, 0.2), radius=3)
    pen.rect((8, 8, 106, 84), lighter(kitchen.style.wall, 0.6))
    pen.ellipse((40, 22, 74, 56), (238, 142, 58), shade="ball")
    pen.smooth([(8, 84), (30, 58), (60, 70), (90, 52), (106, 84)], (106, 150, 140))
    return pen.finish()


def _drying_rack() -> Image.Image:
    pen = Pen(130, 60, oversample=2)
    pen.rect((0, 40, 130, 50), (196, 146, 94), radius=3, shade="down")
    for x, colour in ((10, (206, 90, 80)), (44, (240, 206, 120)), (78, (110, 150, 170))):
        pen.rect((x, 6, x + 28, 41), colour, radius=5, shade="across")
        pen.rect((x + 2, 2, x + 26, 10), darker(colour, 0.4), radius=3)
    return pen.finish()


def _grained(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A faint grain keeps large areas from looking like flat fill and gives the camera texture to move over."""
    width, height = picture.size
    noise = np.zeros((height, width), np.float32)
    for step, amount in ((2, 2.6), (9, 2.0), (70, 2.4)):
        coarse = rng.normal(size=(height // step + 2, width // step + 2)).astype(np.float32)
        fine = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        noise += amount * np.asarray(fine)
    rgb = np.asarray(picture, np.float32) + noise[..., None]
    return Image.fromarray(np.clip(rgb, 0, 255).astype(np.uint8))
