"""How each verb moves: what to paint at any progress (0 to 1) of an action."""

import math
from collections.abc import Callable
from typing import TypeVar

from vlrlt.toy.fixtures import Item
from vlrlt.toy.paint import Point
from vlrlt.toy.script import Prop, ScriptedAction
from vlrlt.toy.sprites import GEOMETRY
from vlrlt.toy.stage import (
    CUT_SHARE,
    JUICE_OF,
    NUM_SLICES,
    PEEL_PLACES,
    PUDDLE_DX,
    Art,
    arc,
    away,
    blend,
    carried_away,
    cut_items,
    grip_point,
    gripped,
    hand,
    held,
    resting,
    span,
    thing,
    turned,
)

_Part = TypeVar("_Part")


def action_items(art: Art, action: ScriptedAction, progress: float) -> list[Item]:
    """Everything that an action paints over the backdrop, in painting order."""
    return _MOTIONS[action.verb](art, action, progress)


def _foot(art: Art, action: ScriptedAction) -> Point:
    spot = art.kitchen.spots[_needed(action.spot)]
    return spot.x, spot.y


def _needed(value: _Part | None) -> _Part:
    if value is None:
        raise AssertionError("the planner gives each verb the place, thing and vessel it needs")
    return value


def _prop(action: ScriptedAction) -> Prop:
    return _needed(action.prop)


def _take(art: Art, action: ScriptedAction, progress: float) -> list[Item]:
    prop, foot, left = _prop(action), _foot(art, action), action.left_handed
    grip = grip_point(prop, foot, left=left)
    if progress < 0.42:
        at = blend(away(action, left=left), grip, span(progress, 0.0, 0.36))
        return [*resting(art, prop, foot), hand(art, action, "open", at, left=left)]
    gone = carried_away(action, prop, left=left)
    share = span(progress, 0.46, 1.0)
    return held(art, action, prop, arc(foot, gone, share, lift=62), left=left, angle_deg=(8 if left else -8) * share)


def _put(art: Art, action: ScriptedAction, progress: float) -> list[Item]:
    return _take(art, action, 1.0 - progress)


def _open(art: Art, action: ScriptedAction, progress: float) -> list[Item]:
    name, left = _needed(action.fixture), action.left_handed
    opened = span(progress, 0.28, 0.78)
    handle = art.fixtures.handle(name, opened)
    items = art.fixtures.items(name, opened=opened, running=0.0)
    if progress < 0.24:
        at = blend(away(action, left=left), handle, span(progress, 0.0, 0.24))
        return [*items, hand(art, action, "open", at, left=left)]
    if progress < 0.8:
        return [*items, hand(art, action, "fist", handle, left=left)]
    at = blend(handle, away(action, left=left), span(progress, 0.8, 1.0))
    return [*items, hand(art, action, "open", at, left=left)]


def _close(art: Art, action: ScriptedAction, progress: float) -> list[Item]:
    return _open(art, action, 1.0 - progress)


def _switch(art: Art, action: ScriptedAction, progress: float, *, on: bool) -> list[Item]:
    left = action.left_handed
    running = span(progress, 0.44, 0.62) if on else 1.0 - span(progress, 0.44, 0.62)
    if action.fixture is None:
        prop, foot = _prop(action), _foot(art, action)
        items = [
            *resting(art, Prop(prop.look), foot),
            Item(art.box.thing(prop.look, "on"), *foot, alpha=running),
            *steam_items(art, prop, foot, progress, strength=running),
        ]
        target = (foot[0] + 4, foot[1] - 2)
    else:
        items = art.fixtures.items(action.fixture, opened=0.0, running=running)
        target = art.fixtures.switch(action.fixture)
        if action.fixture == "tap":
            items += stream_items(art, progress * 3.0, strength=running)
            target = (target[0] - 6, target[1] - 34 * running)
    twist = (34.0 if action.nouns[0] in ("hob", "oven") else 0.0) * (running - 0.5)
    reach = span(progress, 0.0, 0.34) - span(progress, 0.68, 1.0)
    at = blend(away(action, left=left), target, reach)
    press = 7.0 * math.sin(math.pi * min(1.0, max(0.0, (progress - 0.36) / 0.3)))
    return [*items, hand(art, action, "point", (at[0], at[1] - press), left=left, twist_deg=twist)]


def _turn_on(art: Art, action: ScriptedAction, progress: float) -> list[Item]:
    return _switch(art, action, progress, on=True)


def _turn_off(art: Art, action: ScriptedAction, progress: float) -> list[Item]:
    return _switch(art, action, progress, on=False)


def stream_items(art: Art, time_s: float, *, strength: float) -> list[Item]:
    """Water from the tap into the sink; `strength` in [0, 1]."""
    if strength <= 0:
        return []
    tap = art.kitchen.fixtures["tap"]
    x, y = tap.x + 12, tap.y - 48
    flicker = 1 + 0.12 * math.sin(time_s * 19)
    stream = Item(
        art.fixtures.sprite("stream"), x, y, stretch_x=flicker * (0.5 + 0.5 * strength), stretch_y=1.06 * strength
    )
    splash = Item(
        art.fixtures.sprite("splash"), x, y + 134, stretch_x=0.8 + 0.2 * flicker, stretch_y=flicker, alpha=strength
    )
    return [stream, splash] if strength > 0.7 else [stream]


def steam_items(art: Art, prop: Prop, foot: Point, time_s: float, *, strength: float) -> list[Item]:
    """Puffs that rise from the mouth of a thing; `strength` in [0, 1]."""
    if strength <= 0.3:
        return []
    dx, dy = GEOMETRY[prop.look.noun].mouth
    puff = art.box.plain("steam")
    items = []
    for index in range(3):
        age = (time_s * 0.7 + index / 3) % 1.0
        size = 0.55 + 0.7 * age
        x = foot[0] + dx + 9 * math.sin(age * 5 + index)
        fade = strength * math.sin(math.pi * age) * 0.9
        items.append(Item(puff, x, foot[1] + dy - 10 - 62 * age, stretch_x=size, stretch_y=size, alpha=fade))
    return items


def _wash(art: Art, action: ScriptedAction, progress: float) -> list[Item]:
    tap = art.kitchen.fixtures["tap"]
    prop = _prop(action)
    items = art.fixtures.items("tap", opened=0.0, running=1.0) + stream_items(art, progress * 3.0, strength=1.0)
    dy = GEOMETRY[prop.look.noun].grip[1]
    under = (tap.x + 12, tap.y + 52 - dy)
    inside = span(progress, 0.0, 0.2) - span(progress, 0.82, 1.0)
    turn = math.tau * (action.num_strokes * progress + action.phase)
    rub = (24 * math.sin(turn) * inside, 9 * math.cos(turn) * inside)
    left = not GEOMETRY[prop.look.noun].handle
    foot = blend(carried_away(action, prop, left=left), under, inside)
    foot = (foot[0] + rub[0], foot[1] + rub[1])
    items += held(art, action, prop, foot, left=left, angle_deg=9 * math.sin(turn))
    sponge_at = (foot[0] + (56 if left else -56) - 1.7 * rub[0], foot[1] + dy + 26 - 1.6 * rub[1])
    if 0.12 < progress < 0.9:
        items.append(
            Item(art.box.plain("foam"), foot[0] + 6 * math.cos(turn), foot[1] + dy + 8, stretch_x=0.6, stretch_y=0.8)
        )
    items.append(hand(art, action, "fist", sponge_at, left=not left))
    return items


def _cut(art: Art, action: ScriptedAction, progress: float) -> list[Item]:
    prop, foot = _prop(action), _foot(art, action)
    reach = GEOMETRY[prop.look.noun].half_width
    middle = GEOMETRY[prop.look.noun].mouth[1]
    strokes = NUM_SLICES + 1
    worked = min(1.0, max(0.0, (progress - 0.18) / 0.68))
    done = min(NUM_SLICES, int(worked * strokes))
    inside = span(progress, 0.0, 0.18) - span(progress, 0.86, 1.0)
    cut_x = foot[0] + reach - 2 * reach * CUT_SHARE * min(done + 1, NUM_SLICES) / NUM_SLICES
    chop = abs(math.sin(math.pi * worked * strokes)) if 0 < worked < 1 else 0.5
    blade = (cut_x, foot[1] + middle * 0.7 - 50 * (1 - (1 - chop) ** 2) if worked < 1 else foot[1] - 50)
    blade = blend(away(action, left=False), blade, inside)
    holding = blend(away(action, left=True), (foot[0] - reach * 0.72, foot[1] + middle), inside)
    pictures = gripped(art, action, cut_items(art, prop, foot, done), holding, left=True)
    return [*pictures, *_knife_items(art, action, blade, angle_deg=52)]


def _knife_items(art: Art, action: ScriptedAction, blade: Point, *, angle_deg: float) -> list[Item]:
    """A knife whose blade is at a point, in the right fist."""
    knife = art.kitchen.looks["knife"][0]
    dx, dy = turned((-34.0, -22.0), angle_deg)
    foot = (blade[0] - dx, blade[1] - dy)
    prop = Prop(knife)
    at = grip_point(prop, foot, left=False, angle_deg=angle_deg)
    return [thing(art, prop, foot, angle_deg=angle_deg), hand(art, action, "fist", at, left=False)]


def _pour(art: Art, action: ScriptedAction, progress: float) -> list[Item]:
    prop, foot = _prop(action), _foot(art, action)
    vessel = _needed(action.target)
    kind = {"milk": "milk", "oil": "oil", "kettle": "water"}[prop.look.noun]
    tilt = span(progress, 0.24, 0.38) - span(progress, 0.78, 0.9)
    flow = span(progress, 0.36, 0.42) - span(progress, 0.76, 0.8)
    filled = span(progress, 0.42, 0.8)
    items = resting(art, vessel, foot)
    if filled > 0:
        items.append(Item(art.box.thing(vessel.look, kind), *foot, alpha=filled))
    spout_dx, spout_dy = GEOMETRY[vessel.look.noun].mouth
    spout = (foot[0] + spout_dx + 14, foot[1] + spout_dy - 46)
    # A kettle's spout is on its right: it is held the other way round.
    side = -1.0 if kind == "water" else 1.0
    angle = (-58.0 if kind == "water" else -104.0) * tilt
    mouth_dx, mouth_dy = GEOMETRY[prop.look.noun].mouth
    reach_dx, reach_dy = turned((side * mouth_dx, mouth_dy), -58.0 if kind == "water" else -104.0)
    above = (spout[0] - reach_dx, spout[1] - reach_dy + 10 * math.sin(math.tau * (progress + action.phase)) * tilt)
    inside = span(progress, 0.0, 0.24) - span(progress, 0.86, 1.0)
    # Lifted only while it tilts: an upright carton that high would leave the view.
    base = blend(
        carried_away(action, prop, left=False), (above[0] + 16 * (1 - tilt), above[1] + 74 * (1 - tilt)), inside
    )
    tip_dx, tip_dy = turned((side * mouth_dx, mouth_dy), angle)
    if flow > 0:
        tip = (base[0] + tip_dx, base[1] + tip_dy)
        drop = foot[1] + spout_dy + 6 - tip[1]
        items.append(
            Item(art.box.plain(f"stream_{kind}"), *tip, stretch_x=0.9 * flow, stretch_y=max(0.1, drop * flow / 100))
        )
    at = grip_point(prop, base, left=False, angle_deg=angle)
    return [
        *items,
        *gripped(art, action, [thing(art, prop, base, angle_deg=angle, stretch=(side, 1.0))], at, left=False),
    ]


def _stir(art: Art, action: ScriptedAction, progress: float) -> list[Item]:
    prop, foot = _prop(action), _foot(art, action)
    spoon = Prop(art.kitchen.looks["spoon"][0])
    dx, dy = GEOMETRY[prop.look.noun].mouth
    turn = math.tau * (action.num_strokes * 0.8 * progress + action.phase)
    wide = min(34.0, GEOMETRY[prop.look.noun].half_width * 0.62)
    centre = (foot[0] + dx + wide * math.cos(turn), foot[1] + dy + 4 + wide * 0.42 * math.sin(turn))
    inside = span(progress, 0.0, 0.18) - span(progress, 0.84, 1.0)
    angle = 44.0 + 9.0 * math.cos(turn)
    tip_dx, tip_dy = turned((-50.0, -20.0), angle)
    at_foot = blend(carried_away(action, spoon, left=False), (centre[0] - tip_dx, centre[1] - tip_dy), inside)
    items = [*resting(art, prop, foot), *steam_items(art, prop, foot, progress * 2.0, strength=0.6)]
    left_at = (foot[0] - GEOMETRY[prop.look.noun].half_width * 0.8, foot[1] - 22)
    if prop.look.noun != "pan":
        steady = blend(away(action, left=True), left_at, inside)
        items = gripped(art, action, items, steady, left=True)
    return [*items, *held(art, action, spoon, at_foot, left=False, angle_deg=angle)]


def _peel(art: Art, action: ScriptedAction, progress: float) -> list[Item]:
    prop, foot = _prop(action), _foot(art, action)
    reach = GEOMETRY[prop.look.noun].half_width
    worked = min(1.0, max(0.0, (progress - 0.24) / 0.56))
    strokes = max(3, action.num_strokes)
    lifted = span(progress, 0.14, 0.24) - span(progress, 0.82, 0.9)
    up = (foot[0], foot[1] - 44 * lifted)
    inside = span(progress, 0.0, 0.14) - span(progress, 0.9, 1.0)
    items = [] if lifted > 0 else [thing(art, prop, foot)]
    peel = art.box.plain(f"peel_{prop.look.colour}")
    for index, (dx, dy, turn) in enumerate(PEEL_PLACES):
        fallen = (worked * strokes - (index + 1) * strokes / len(PEEL_PLACES) + 0.6) / 0.6
        if fallen > 0:
            place = blend((up[0] + dx * 0.4, up[1] - 20), (foot[0] + dx, foot[1] + dy), min(1.0, fallen) ** 2)
            items.append(Item(peel, *place, angle_deg=turn * min(1.0, fallen)))
    parts = [Item(part, *up) for part in art.box.wiped(prop.look, worked)]
    holding = blend(
        away(action, left=True), (up[0] - reach * 0.95, up[1] + GEOMETRY[prop.look.noun].mouth[1] + 8), inside
    )
    stroke = 0.5 - 0.5 * math.cos(math.tau * worked * strokes)
    blade = (
        up[0] - reach * 0.5 + reach * 1.3 * stroke,
        up[1] + 1.7 * GEOMETRY[prop.look.noun].mouth[1] - 8 + 22 * stroke,
    )
    blade = blend(away(action, left=False), blade, inside)
    return [*items, *gripped(art, action, parts, holding, left=True), *_knife_items(art, action, blade, angle_deg=26)]


def _shake(art: Art, action: ScriptedAction, progress: float) -> list[Item]:
    prop, foot, left = _prop(action), _foot(art, action), action.left_handed
    if progress < 0.16 or progress > 0.9:
        reach = span(progress, 0.0, 0.16) if progress < 0.5 else 1 - span(progress, 0.9, 1.0)
        at = blend(away(action, left=left), grip_point(prop, foot, left=left), reach)
        return [*resting(art, prop, foot), hand(art, action, "open", at, left=left)]
    lifted = span(progress, 0.18, 0.3) - span(progress, 0.8, 0.9)
    worked = min(1.0, max(0.0, (progress - 0.28) / 0.52))
    swing = math.sin(math.tau * (worked * (action.num_strokes + 1))) if 0 < worked < 1 else 0.0
    tipped = (155.0 if prop.look.noun == "salt" else 0.0) * (1 if left else -1) * lifted
    rise = -GEOMETRY[prop.look.noun].mouth[1] if prop.look.noun == "salt" else 0.0
    at_foot = (foot[0] + 9 * swing, foot[1] - (62 + rise) * lifted - 30 * swing)
    items: list[Item] = []
    if prop.look.noun == "salt" and 0.02 < worked < 0.98:
        tip_dx, tip_dy = turned(GEOMETRY["salt"].mouth, tipped)
        for index in range(9):
            fall = (worked * 4 + index * 0.37) % 1.0
            x = at_foot[0] + tip_dx + 16 * math.sin(index * 2.4) * (0.4 + fall)
            items.append(Item(art.box.plain("grain"), x, at_foot[1] + tip_dy + 4 + 66 * fall))
    return [*items, *held(art, action, prop, at_foot, left=left, angle_deg=tipped + 14 * swing)]


def _squeeze(art: Art, action: ScriptedAction, progress: float) -> list[Item]:
    prop, foot = _prop(action), _foot(art, action)
    juice = JUICE_OF[prop.look.noun]
    items: list[Item] = []
    worked = min(1.0, max(0.0, (progress - 0.3) / 0.48))
    if worked > 0.15:
        grown = min(1.0, worked * 1.3)
        items.append(
            Item(art.box.plain(f"puddle_{juice}"), foot[0] + PUDDLE_DX, foot[1] + 6, stretch_x=grown, stretch_y=grown)
        )
    lifted = span(progress, 0.18, 0.3) - span(progress, 0.8, 0.9)
    press = math.sin(math.pi * worked * action.num_strokes) ** 2 if worked < 1 else 0.0
    upside = 180.0 * lifted if prop.look.noun == "ketchup" else 0.0
    tall = 116.0 if prop.look.noun == "ketchup" else 0.0
    at_foot = (foot[0] + PUDDLE_DX * lifted, foot[1] - (70 + tall) * lifted)
    middle = turned((0.0, GEOMETRY[prop.look.noun].grip[1]), upside)
    for index in range(5):
        fall = (worked * action.num_strokes + index * 0.2) % 1.0
        if 0 < worked < 1:
            x = at_foot[0] + 7 * math.sin(index * 2.1)
            items.append(
                Item(art.box.plain(f"drop_{juice}"), x, foot[1] - 62 + 64 * fall, stretch_x=1.2, stretch_y=1.3)
            )
    inside = span(progress, 0.0, 0.18) - span(progress, 0.9, 1.0)
    gap = GEOMETRY[prop.look.noun].half_width * (0.75 - 0.4 * press)
    centre = (at_foot[0] + middle[0], at_foot[1] + middle[1])
    right_at = blend(away(action, left=False), (centre[0] + gap - 16, centre[1] + 4), inside)
    left_at = blend(away(action, left=True), (centre[0] - gap + 16, centre[1] + 4), inside)
    squashed = thing(art, prop, at_foot, angle_deg=upside, stretch=(1 - 0.4 * press, 1 + 0.2 * press))
    picture = [squashed] if lifted > 0 else resting(art, prop, foot)
    return [*items, *gripped(art, action, gripped(art, action, picture, left_at, left=True), right_at, left=False)]


def _throw(art: Art, action: ScriptedAction, progress: float) -> list[Item]:
    prop, left = _prop(action), action.left_handed
    rubbish = art.kitchen.fixtures["bin"]
    side = -1.0 if left else 1.0
    items = art.fixtures.items("bin", opened=1.0, running=0.0)
    ready = (rubbish.x + side * 74, rubbish.y - 34)
    release = (rubbish.x + side * 34, rubbish.y - 92)
    front = Item(art.fixtures.sprite("bin_front"), rubbish.x, rubbish.y)
    if progress < 0.5:
        foot = blend(carried_away(action, prop, left=left), ready, span(progress, 0.0, 0.3))
        foot = blend(foot, release, span(progress, 0.32, 0.5))
        return [
            *items,
            front,
            *held(art, action, prop, foot, left=left, angle_deg=-side * 16 * span(progress, 0.32, 0.5)),
        ]
    fall = min(1.0, (progress - 0.5) / 0.24)
    x = release[0] + (rubbish.x - release[0]) * fall
    y = release[1] - 40 * math.sin(math.pi * min(1.0, fall * 1.2)) + 190 * fall * fall
    if fall < 1:
        items.append(thing(art, prop, (x, y), angle_deg=-side * 140 * fall))
    at = blend(grip_point(prop, release, left=left), away(action, left=left), span(progress, 0.62, 1.0))
    return [*items, front, hand(art, action, "open", at, left=left)]


_MOTIONS: dict[str, Callable[[Art, ScriptedAction, float], list[Item]]] = {
    "take": _take,
    "put": _put,
    "open": _open,
    "close": _close,
    "wash": _wash,
    "cut": _cut,
    "pour": _pour,
    "stir": _stir,
    "turn-on": _turn_on,
    "turn-off": _turn_off,
    "peel": _peel,
    "shake": _shake,
    "squeeze": _squeeze,
    "throw": _throw,
}
