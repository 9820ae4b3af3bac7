"""A tiny vector painter: antialiased, softly shaded shapes on transparent sprites."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from vlrlt.toy.world import Rgb

Shade = Literal["flat", "down", "across", "ball"]
Point = tuple[float, float]
Box = tuple[float, float, float, float]


def mix(first: Rgb, second: Rgb, share: float) -> Rgb:
    """Blend two colours; `share` in [0, 1] is how much of `second`."""
    r, g, b = (round(a + (c - a) * share) for a, c in zip(first, second, strict=True))
    return (r, g, b)


def lighter(colour: Rgb, share: float) -> Rgb:
    """Blend towards warm white."""
    return mix(colour, (255, 252, 245), share)


def darker(colour: Rgb, share: float) -> Rgb:
    """Blend towards a bluish black, which looks softer than plain black."""
    return mix(colour, (28, 24, 40), share)


@dataclass(frozen=True, slots=True)
class Sprite:
    """An RGBA picture and the point of it (in its pixels) that is put at a place in the scene."""

    image: Image.Image
    anchor_x: float
    anchor_y: float


def cropped(picture: Image.Image, anchor_x: float, anchor_y: float) -> Sprite:
    """A sprite without empty margins: fewer pixels to turn and paint in every frame."""
    box = picture.getbbox() or (0, 0, 1, 1)
    return Sprite(picture.crop(box), anchor_x - box[0], anchor_y - box[1])


class Pen:
    """Draws on an oversampled transparent canvas; coordinates are in final pixels.

    Args:
        width_px, height_px: size of the finished picture.
        oversample: how much finer the drawing is done (2 to 4).
    """

    def __init__(self, width_px: int, height_px: int, *, oversample: int = 3) -> None:
        self._factor = oversample
        self._size = (width_px * oversample, height_px * oversample)
        self._image = Image.new("RGBA", self._size, (0, 0, 0, 0))

    def finish(self) -> Image.Image:
        """The picture at its final size."""
        return self._image.reduce(self._factor)

    def sprite(self, anchor_x: float, anchor_y: float) -> Sprite:
        """The picture without its empty margins, and its anchor point (final pixels of the whole canvas)."""
        return cropped(self.finish(), anchor_x, anchor_y)

    def ellipse(self, box: Box, colour: Rgb, *, shade: Shade = "flat", depth: float = 0.3, alpha: float = 1.0) -> None:
        """Fill the ellipse inscribed in `box`."""
        self._paint(box, lambda draw, at: draw.ellipse(at(box), fill=255), colour, shade, depth, alpha)

    def rect(
        self,
        box: Box,
        colour: Rgb,
        *,
        radius: float = 0.0,
        shade: Shade = "flat",
        depth: float = 0.3,
        alpha: float = 1.0,
    ) -> None:
        """Fill a rectangle with rounded corners."""
        corner = radius * self._factor
        self._paint(
            box, lambda draw, at: draw.rounded_rectangle(at(box), radius=corner, fill=255), colour, shade, depth, alpha
        )

    def polygon(
        self, points: Sequence[Point], colour: Rgb, *, shade: Shade = "flat", depth: float = 0.3, alpha: float = 1.0
    ) -> None:
        """Fill a polygon."""
        flat = [value for point in points for value in point]
        box = (min(flat[0::2]), min(flat[1::2]), max(flat[0::2]), max(flat[1::2]))
        self._paint(box, lambda draw, at: draw.polygon(at(flat), fill=255), colour, shade, depth, alpha)

    def smooth(
        self, points: Sequence[Point], colour: Rgb, *, shade: Shade = "flat", depth: float = 0.3, alpha: float = 1.0
    ) -> None:
        """Fill the closed smooth curve through `points`."""
        self.polygon(_closed_curve(points), colour, shade=shade, depth=depth, alpha=alpha)

    def capsule(
        self, start: Point, stop: Point, width: float, colour: Rgb, *, stop_width: float | None = None,
        shade: Shade = "flat", depth: float = 0.3, alpha: float = 1.0,
    ) -> None:  # fmt: skip
        """Fill a thick line with round ends; `stop_width` makes it taper."""
        end_width = width if stop_width is None else stop_width
        outline = _capsule_outline(start, stop, width / 2, end_width / 2)
        self.polygon(outline, colour, shade=shade, depth=depth, alpha=alpha)

    def stroke(self, points: Sequence[Point], width: float, colour: Rgb, *, alpha: float = 1.0) -> None:
        """Draw an open smooth curve of constant width with round ends."""
        curve = _open_curve(points)
        pad = width
        xs = [p[0] for p in curve]
        ys = [p[1] for p in curve]
        box = (min(xs) - pad, min(ys) - pad, max(xs) + pad, max(ys) + pad)

        def draw_it(draw: ImageDraw.ImageDraw, at: "_Mapper") -> None:
            thick = max(1, round(width * self._factor))
            flat = at([value for point in curve for value in point])
            draw.line(flat, fill=255, width=thick, joint="curve")
            for x, y in ((flat[0], flat[1]), (flat[-2], flat[-1])):
                draw.ellipse((x - thick / 2, y - thick / 2, x + thick / 2, y + thick / 2), fill=255)

        self._paint(box, draw_it, colour, "flat", 0.0, alpha)

    def soft_ellipse(self, box: Box, colour: Rgb, *, blur: float, alpha: float) -> None:
        """Fill a blurred ellipse (shadow, glow)."""
        pad = blur * 2.5
        grown = (box[0] - pad, box[1] - pad, box[2] + pad, box[3] + pad)
        self._paint(
            grown,
            lambda draw, at: draw.ellipse(at(box), fill=255),
            colour,
            "flat",
            0.0,
            alpha,
            blur=blur * self._factor,
        )

    def _paint(
        self, box: Box, draw_it: "_DrawIt", colour: Rgb, shade: Shade, depth: float, alpha: float, *, blur: float = 0.0
    ) -> None:
        f = self._factor
        left = max(0, int(np.floor(box[0] * f)) - 1)
        top = max(0, int(np.floor(box[1] * f)) - 1)
        right = min(self._size[0], int(np.ceil(box[2] * f)) + 2)
        bottom = min(self._size[1], int(np.ceil(box[3] * f)) + 2)
        if right <= left or bottom <= top:
            return
        mask = Image.new("L", (right - left, bottom - top), 0)
        draw_it(ImageDraw.Draw(mask), _Mapper(f, left, top))
        if blur > 0:
            mask = mask.filter(ImageFilter.GaussianBlur(blur))
        if alpha < 1.0:
            mask = mask.point([round(value * alpha) for value in range(256)])
        layer = _shaded(mask.size, colour, shade, depth)
        layer.putalpha(mask)
        self._image.alpha_composite(layer, (left, top))


class _Mapper:
    """Maps final-pixel coordinates to pixels of the mask that is being drawn."""

    def __init__(self, factor: int, left: int, top: int) -> None:
        self._factor, self._left, self._top = factor, left, top

    def __call__(self, values: Sequence[float]) -> list[float]:
        offsets = (self._left, self._top)
        return [value * self._factor - offsets[index % 2] for index, value in enumerate(values)]


_DrawIt = Callable[[ImageDraw.ImageDraw, _Mapper], object]


def _shaded(size: tuple[int, int], colour: Rgb, shade: Shade, depth: float) -> Image.Image:
    if shade == "flat":
        return Image.new("RGBA", size, (*colour, 255))
    width, height = size
    x = np.linspace(0.0, 1.0, width, dtype=np.float32)[None, :]
    y = np.linspace(0.0, 1.0, height, dtype=np.float32)[:, None]
    if shade == "down":
        light = np.broadcast_to(0.5 - y, (height, width))
    elif shade == "across":
        light = np.broadcast_to(0.45 - 1.6 * (x - 0.3) ** 2 - 0.25 * x, (height, width))
    else:
        light = 0.55 - 1.15 * np.sqrt((x - 0.34) ** 2 + (y - 0.28) ** 2)
    light = np.clip(light * 2 * depth, -1.0, 1.0)[..., None]
    base = np.array(colour, np.float32)
    bright = np.array(lighter(colour, 1.0), np.float32)
    dark = np.array(darker(colour, 1.0), np.float32)
    rgb = base + np.where(light > 0, light * (bright - base), -light * (dark - base))
    return Image.fromarray(rgb.astype(np.uint8)).convert("RGBA")


def _closed_curve(points: Sequence[Point], *, steps: int = 8) -> list[Point]:
    count = len(points)
    return [
        _catmull(points[i - 1], points[i], points[(i + 1) % count], points[(i + 2) % count], step / steps)
        for i in range(count)
        for step in range(steps)
    ]


def _open_curve(points: Sequence[Point], *, steps: int = 8) -> list[Point]:
    padded = [points[0], *points, points[-1]]
    curve = [
        _catmull(padded[i - 1], padded[i], padded[i + 1], padded[i + 2], step / steps)
        for i in range(1, len(padded) - 2)
        for step in range(steps)
    ]
    return [*curve, points[-1]]


def _catmull(p0: Point, p1: Point, p2: Point, p3: Point, t: float) -> Point:
    def axis(a: float, b: float, c: float, d: float) -> float:
        return 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)

    return axis(p0[0], p1[0], p2[0], p3[0]), axis(p0[1], p1[1], p2[1], p3[1])


def _capsule_outline(start: Point, stop: Point, start_radius: float, stop_radius: float) -> list[Point]:
    angle = float(np.arctan2(stop[1] - start[1], stop[0] - start[0]))
    turns = np.linspace(-np.pi / 2, np.pi / 2, 14)
    head = [
        (stop[0] + stop_radius * float(np.cos(angle + a)), stop[1] + stop_radius * float(np.sin(angle + a)))
        for a in turns
    ]
    tail = [
        (start[0] - start_radius * float(np.cos(angle + a)), start[1] - start_radius * float(np.sin(angle + a)))
        for a in turns
    ]
    return head + tail
