"""Draws the frames of a scripted video."""

import math

import numpy as np
from PIL import Image, ImageChops

from vlrlt.toy.camera import CameraView, exposed_views
from vlrlt.toy.fixtures import FixtureArt, Item
from vlrlt.toy.hands import draw_hands
from vlrlt.toy.kitchen import Look
from vlrlt.toy.motion import action_items, steam_items, stream_items
from vlrlt.toy.scene import draw_panorama
from vlrlt.toy.script import FPS, HEIGHT_PX, WIDTH_PX, HeadMotion, Prop, SceneState, Script
from vlrlt.toy.sprites import SpriteBox
from vlrlt.toy.stage import Art, resting

_PAD_PX = 2
_BOARD_DY = 24.0


class Renderer:
    """Draws any frame of one script; the kitchen and its things are drawn once."""

    def __init__(self, script: Script, rng: np.random.Generator) -> None:
        kitchen = script.kitchen
        self._script = script
        hands = draw_hands(kitchen.style.skin, kitchen.style.sleeve)
        self._art = Art(kitchen, SpriteBox(), FixtureArt(kitchen), hands)
        self._panorama = draw_panorama(kitchen, rng)
        self._backdrop = self._panorama
        self._backdrop_of: SceneState | None = None
        self._vignette = _vignette(kitchen.style.light)

    def frame(self, time_s: float) -> Image.Image:
        """The RGB picture, 384 x 288, at a time of the video in seconds."""
        views = exposed_views(self._script, time_s)
        view = views[len(views) // 2]
        snapshot = self._script.snapshot_at(time_s)
        if snapshot is not self._backdrop_of:
            self._backdrop = self._draw_backdrop(snapshot)
            self._backdrop_of = snapshot
        left, top, right, bottom = _bounds(views)
        canvas = self._backdrop.crop((left, top, right, bottom))
        for item in self._moving_items(snapshot, time_s, view):
            _draw(canvas, item, left, top)
        picture = _exposed([_through_camera(canvas, each, left, top) for each in views])
        lit = ImageChops.multiply(picture, self._vignette)
        head = self._script.head
        return lit if head is None else _with_noise(lit, head, round(time_s * FPS))

    def _moving_items(self, snapshot: SceneState, time_s: float, view: CameraView) -> list[Item]:
        art = self._art
        items: list[Item] = []
        tap = art.kitchen.fixtures["tap"]
        if "tap" not in snapshot.busy and snapshot.levels["tap"].running and abs(tap.x - view.x) < WIDTH_PX:
            items += stream_items(art, time_s, strength=1.0)
        for name, prop in snapshot.props.items():
            spot = art.kitchen.spots[name]
            if prop.state == "on" and name not in snapshot.busy and abs(spot.x - view.x) < WIDTH_PX:
                items += steam_items(art, prop, (spot.x, spot.y), time_s, strength=1.0)
        action = self._script.action_at(time_s)
        if action is not None:
            progress = (time_s - action.start_s) / (action.stop_s - action.start_s)
            items += action_items(art, action, progress)
        return items

    def _draw_backdrop(self, snapshot: SceneState) -> Image.Image:
        art = self._art
        canvas = self._panorama.copy()
        items: list[tuple[float, list[Item]]] = []
        for name in art.kitchen.fixtures:
            if name not in snapshot.busy:
                level = snapshot.levels[name]
                items.append((0.0, art.fixtures.items(name, opened=level.opened, running=level.running)))
        board = art.kitchen.spots["board"]
        look = Look("board:chopping", 0, art.kitchen.looks["board:chopping"][0].colour)
        items.append((1.0, resting(art, Prop(look), (board.x, board.y + _BOARD_DY), scale=1.15)))
        for name, prop in snapshot.props.items():
            if name not in snapshot.busy:
                spot = art.kitchen.spots[name]
                items.append((spot.y, resting(art, prop, (spot.x, spot.y), scale=spot.scale)))
        for _, group in sorted(items, key=lambda pair: pair[0]):
            for item in group:
                _draw(canvas, item, 0, 0)
        return canvas


def _draw(canvas: Image.Image, item: Item, left: int, top: int) -> None:
    """Paint a sprite on a canvas whose corner is at (left, top) of the scene."""
    if item.alpha <= 0.01:
        return
    angle = math.radians(item.angle_deg)
    cos, sin = math.cos(angle), math.sin(angle)
    # Scene offset = turn * (stretch, then lean) * sprite offset.
    a = cos * item.stretch_x - sin * item.stretch_x * item.lean
    b = -sin * item.stretch_y
    c = sin * item.stretch_x + cos * item.stretch_x * item.lean
    d = cos * item.stretch_y
    sprite = item.sprite
    x, y = item.x - left, item.y - top
    width, height = sprite.image.size
    corners = [(u - sprite.anchor_x, v - sprite.anchor_y) for u in (0, width) for v in (0, height)]
    xs = [x + a * u + b * v for u, v in corners]
    ys = [y + c * u + d * v for u, v in corners]
    box = (
        max(0, math.floor(min(xs))), max(0, math.floor(min(ys))),
        min(canvas.width, math.ceil(max(xs))), min(canvas.height, math.ceil(max(ys))),
    )  # fmt: skip
    determinant = a * d - b * c
    if box[2] <= box[0] or box[3] <= box[1] or abs(determinant) < 1e-6:
        return
    ia, ib, ic, id_ = d / determinant, -b / determinant, -c / determinant, a / determinant
    shift_x, shift_y = box[0] - x, box[1] - y
    inverse = (
        ia, ib, ia * shift_x + ib * shift_y + sprite.anchor_x,
        ic, id_, ic * shift_x + id_ * shift_y + sprite.anchor_y,
    )  # fmt: skip
    size = (box[2] - box[0], box[3] - box[1])
    layer = sprite.image.transform(size, Image.Transform.AFFINE, inverse, Image.Resampling.BILINEAR)
    mask = layer.getchannel("A")
    if item.alpha < 1:
        mask = mask.point([round(value * item.alpha) for value in range(256)])
    canvas.paste(layer.convert("RGB"), (box[0], box[1]), mask)


def _bounds(views: list[CameraView]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the part of the scene that some views see."""
    edges = []
    for view in views:
        half_w, half_h = WIDTH_PX / 2 / view.zoom, HEIGHT_PX / 2 / view.zoom
        cos, sin = (abs(wave(math.radians(view.roll_deg))) for wave in (math.cos, math.sin))
        wide, high = half_w * cos + half_h * sin + _PAD_PX, half_h * cos + half_w * sin + _PAD_PX
        edges.append((view.x - wide, view.y - high, view.x + wide, view.y + high))
    lefts, tops, rights, bottoms = zip(*edges, strict=True)
    return math.floor(min(lefts)), math.floor(min(tops)), math.ceil(max(rights)), math.ceil(max(bottoms))


def _exposed(pictures: list[Image.Image]) -> Image.Image:
    if len(pictures) == 1:
        return pictures[0]
    mean_HWC = np.mean([np.asarray(picture, dtype=np.float32) for picture in pictures], axis=0)
    return Image.fromarray(mean_HWC.round().astype(np.uint8))


def _with_noise(picture: Image.Image, head: HeadMotion, frame: int) -> Image.Image:
    """Grain of two pixels, as cameras leave it after their own smoothing."""
    rng = np.random.default_rng((head.noise_seed, frame))
    grain_HWC = rng.normal(0, head.noise_sd, (HEIGHT_PX // 2, WIDTH_PX // 2, 3)).astype(np.float32)
    noisy_HWC = np.asarray(picture, dtype=np.float32) + grain_HWC.repeat(2, axis=0).repeat(2, axis=1)
    return Image.fromarray(noisy_HWC.round().clip(0, 255).astype(np.uint8))


def _through_camera(canvas: Image.Image, view: CameraView, left: int, top: int) -> Image.Image:
    half_w, half_h = WIDTH_PX / 2 / view.zoom, HEIGHT_PX / 2 / view.zoom
    x, y = view.x - left, view.y - top
    if view.roll_deg:
        angle = math.radians(view.roll_deg)
        cos, sin = math.cos(angle) / view.zoom, math.sin(angle) / view.zoom
        corner_x = x - cos * WIDTH_PX / 2 + sin * HEIGHT_PX / 2
        corner_y = y - sin * WIDTH_PX / 2 - cos * HEIGHT_PX / 2
        turned = (cos, -sin, corner_x, sin, cos, corner_y)
        return canvas.transform((WIDTH_PX, HEIGHT_PX), Image.Transform.AFFINE, turned, Image.Resampling.BILINEAR)
    box = (x - half_w, y - half_h, x + half_w, y + half_h)
    return canvas.resize((WIDTH_PX, HEIGHT_PX), Image.Resampling.BILINEAR, box=box)


def _vignette(light: tuple[float, float, float]) -> Image.Image:
    """Light of the room, a little darker towards the corners; multiplied onto each frame."""
    x = np.linspace(-1, 1, WIDTH_PX)[None, :]
    y = np.linspace(-1, 1, HEIGHT_PX)[:, None]
    falloff = 1.0 - 0.16 * np.clip((x**2 + y**2) - 0.35, 0, None) / 1.65
    gains = np.array(light) / max(light)
    return Image.fromarray(np.clip(255 * falloff[..., None] * gains, 0, 255).astype(np.uint8))
