"""What the motions share: the drawn things of one video, easing, and hands on the way to a place."""

import math
from dataclasses import dataclass

from vlrlt.toy.fixtures import FixtureArt, Item
from vlrlt.toy.hands import HandPose
from vlrlt.toy.kitchen import Kitchen
from vlrlt.toy.paint import Point, Sprite
from vlrlt.toy.script import Prop, ScriptedAction
from vlrlt.toy.sprites import GEOMETRY, SpriteBox

HAND_SCALE = 1.22
_ELBOW_DX, _ELBOW_DY = 128.0, 330.0
_AWAY_DX, _VIEW_EDGE_DY = 84.0, 150.0
_HAND_ABOVE_GRIP_PX = 38.0
NUM_SLICES = 4
CUT_SHARE = 0.62


@dataclass(frozen=True, slots=True)
class Art:
    """Everything that can be drawn in one kitchen."""

    kitchen: Kitchen
    box: SpriteBox
    fixtures: FixtureArt
    hands: dict[tuple[HandPose, bool], Sprite]


def ease(value: float) -> float:
    """Smooth step of `value`, clipped to [0, 1]."""
    clipped = min(1.0, max(0.0, value))
    return clipped * clipped * (3 - 2 * clipped)


def span(progress: float, start: float, stop: float) -> float:
    """Eased share of [start, stop] that `progress` has covered."""
    return ease((progress - start) / (stop - start))


def blend(first: Point, second: Point, share: float) -> Point:
    """The point `share` of the way from `first` to `second`."""
    return first[0] + (second[0] - first[0]) * share, first[1] + (second[1] - first[1]) * share


def arc(first: Point, second: Point, share: float, *, lift: float) -> Point:
    """As `blend`, along a path that bulges upwards by `lift` pixels near its start."""
    x, y = blend(first, second, share)
    return x, y - lift * 6.75 * share * (1 - share) ** 2


def turned(offset: Point, angle_deg: float) -> Point:
    """`offset` turned clockwise."""
    angle = math.radians(angle_deg)
    return (
        offset[0] * math.cos(angle) - offset[1] * math.sin(angle),
        offset[0] * math.sin(angle) + offset[1] * math.cos(angle),
    )


def away(action: ScriptedAction, *, left: bool, height_px: float = _HAND_ABOVE_GRIP_PX) -> Point:
    """A place just below the view, on the side of the hand, for something of this height."""
    return action.focus_x + (-_AWAY_DX if left else _AWAY_DX), action.focus_y + _VIEW_EDGE_DY + height_px


def carried_away(action: ScriptedAction, prop: Prop, *, left: bool) -> Point:
    """Where a held thing stands when it and the hand have just left the view."""
    geometry = GEOMETRY[prop.look.noun]
    height_px = max(12 - geometry.mouth[1], _HAND_ABOVE_GRIP_PX - geometry.grip[1])
    return away(action, left=left, height_px=height_px)


def hand(art: Art, action: ScriptedAction, pose: HandPose, at: Point, *, left: bool, twist_deg: float = 0.0) -> Item:
    """A hand at a place, with its forearm pointing to where the elbow is."""
    elbow_x = action.focus_x + (-_ELBOW_DX if left else _ELBOW_DX)
    elbow_y = action.focus_y + _ELBOW_DY
    angle = -math.degrees(math.atan2(elbow_x - at[0], max(60.0, elbow_y - at[1]))) * 0.85
    sprite = art.hands[pose, left]
    return Item(sprite, at[0], at[1], angle_deg=angle + twist_deg, stretch_x=HAND_SCALE, stretch_y=HAND_SCALE)


def thing(art: Art, prop: Prop, foot: Point, *, angle_deg: float = 0.0, stretch: Point = (1.0, 1.0)) -> Item:
    """A movable thing in the air, standing on `foot`."""
    sprite = art.box.thing(prop.look, prop.state)
    return Item(sprite, foot[0], foot[1], angle_deg=angle_deg, stretch_x=stretch[0], stretch_y=stretch[1])


def grip_point(prop: Prop, foot: Point, *, left: bool, angle_deg: float = 0.0) -> Point:
    """Where the hand holds a thing that stands on `foot`, turned about that point."""
    dx, dy = GEOMETRY[prop.look.noun].grip
    dx, dy = turned((-dx if left else dx, dy), angle_deg)
    return foot[0] + dx, foot[1] + dy


def held(
    art: Art,
    action: ScriptedAction,
    prop: Prop,
    foot: Point,
    *,
    left: bool,
    angle_deg: float = 0.0,
    stretch: Point = (1.0, 1.0),
) -> list[Item]:
    """A hand that holds a thing: fingers behind it and thumb before it, or a fist around its handle."""
    at = grip_point(prop, foot, left=left, angle_deg=angle_deg)
    picture = thing(art, prop, foot, angle_deg=angle_deg, stretch=stretch)
    return gripped(art, action, [picture], at, left=left, fist=GEOMETRY[prop.look.noun].handle)


def gripped(
    art: Art, action: ScriptedAction, pictures: list[Item], at: Point, *, left: bool, fist: bool = False
) -> list[Item]:
    """Pictures in a hand."""
    if fist:
        return [*pictures, hand(art, action, "fist", at, left=left)]
    back = hand(art, action, "grip_back", at, left=left)
    return [back, *pictures, hand(art, action, "grip_front", at, left=left)]


def resting(art: Art, prop: Prop, foot: Point, *, scale: float = 1.0) -> list[Item]:
    """A thing that stands somewhere, with the traces of what was done to it."""
    look, x, y = prop.look, foot[0], foot[1]
    if prop.state == "cut":
        return cut_items(art, prop, foot, NUM_SLICES)
    items = [Item(art.box.thing(look, prop.state, resting=True), x, y, stretch_x=scale, stretch_y=scale)]
    if prop.state == "peeled":
        peel = art.box.plain(f"peel_{look.colour}")
        return [*items, *(Item(peel, x + dx, y + dy, angle_deg=turn) for dx, dy, turn in PEEL_PLACES)]
    if prop.state == "squeezed":
        puddle = art.box.plain(f"puddle_{JUICE_OF[look.noun]}")
        return [Item(puddle, x + PUDDLE_DX, y + 6), *items]
    return items


JUICE_OF = {"lemon": "juice", "sponge": "water", "ketchup": "ketchup"}
PUDDLE_DX = -34.0
PEEL_PLACES: tuple[tuple[float, float, float], ...] = (
    (-58, 8, 10),
    (30, 14, -25),
    (-14, 18, 40),
    (62, 4, 160),
    (-38, 20, -60),
)
"""Where peels land around the foot of the thing, and how they are turned."""


def cut_items(art: Art, prop: Prop, foot: Point, num_slices: int) -> list[Item]:
    """What is left of a thing after cutting off `num_slices` slices, and the slices beside it."""
    geometry = GEOMETRY[prop.look.noun]
    share = CUT_SHARE * num_slices / NUM_SLICES
    x, y = foot
    chunk = Item(art.box.chunk(prop.look, share), x, y)
    if num_slices == 0:
        return [chunk]
    face = art.box.slice_of(prop.look.noun)
    cut_x = x + geometry.half_width * (1 - 2 * share)
    tall = min(1.7, 0.55 - 0.031 * geometry.grip[1])
    cut_face = Item(face, cut_x, y - 4 + 0.9 * geometry.mouth[1], stretch_x=0.38, stretch_y=tall)
    first_x = x + 0.55 * geometry.half_width + 4
    slices = [Item(face, first_x + 17 * index, y - 12 + 9 * (index % 2)) for index in reversed(range(num_slices))]
    return [chunk, cut_face, *slices]
