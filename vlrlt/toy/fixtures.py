"""Doors, drawers, lids, knobs and taps: how they stand at any opening between shut (0) and open (1)."""

import math
from dataclasses import dataclass

from vlrlt.toy.fixture_art import draw_fixtures
from vlrlt.toy.kitchen import Fixture, Kitchen
from vlrlt.toy.paint import Point, Sprite


@dataclass(frozen=True, slots=True)
class Item:
    """One sprite at a place of the scene (pixels), turned clockwise, stretched, leaning and see-through."""

    sprite: Sprite
    x: float
    y: float
    angle_deg: float = 0.0
    stretch_x: float = 1.0
    stretch_y: float = 1.0
    lean: float = 0.0
    """Vertical shift per horizontal pixel, which makes a door look swung."""
    alpha: float = 1.0


_DOORS = {"fridge": (250.0, 336.0), "cupboard": (190.0, 172.0), "microwave": (122.0, 98.0)}
"""Hinged doors: width and height in pixels."""
_DOOR_TURN_RAD = math.radians(108)
_DRAWER_TRAVEL_PX = 82.0


class FixtureArt:
    """Draws the movable parts of one kitchen's fixtures once and poses them."""

    def __init__(self, kitchen: Kitchen) -> None:
        self._kitchen = kitchen
        self._sprites = draw_fixtures(kitchen.style)

    def sprite(self, name: str) -> Sprite:
        """One of the parts by name."""
        return self._sprites[name]

    def items(self, name: str, *, opened: float, running: float) -> list[Item]:
        """All parts of a fixture in painting order; `opened` and `running` are in [0, 1]."""
        fixture = self._kitchen.fixtures[name]
        if fixture.noun in ("fridge", "cupboard"):
            return self._cabinet(fixture, opened)
        if fixture.noun == "microwave":
            return self._microwave(fixture, opened, running)
        if fixture.noun == "oven":
            return self._oven(fixture, opened, running)
        if fixture.noun == "drawer":
            return self._drawer(fixture, opened)
        if fixture.noun == "bin":
            return self._bin(fixture, opened)
        if fixture.noun == "tap":
            return self._tap(fixture, running)
        return self._hob(fixture, running)

    def handle(self, name: str, opened: float) -> Point:
        """Where the hand holds a fixture that is opened this far."""
        fixture = self._kitchen.fixtures[name]
        if fixture.noun in _DOORS:
            x, y, width = _hinge(fixture)
            stretch, lean = _swing(opened)
            share = {"fridge": 0.9, "cupboard": 0.88, "microwave": 0.92}[fixture.noun] * width
            drop = {"fridge": 170, "cupboard": 128, "microwave": 52}[fixture.noun]
            return x + share * stretch, y + drop + share * stretch * lean
        if fixture.noun == "oven":
            return fixture.x, fixture.y + 140 - 106 * _flip(opened)
        if fixture.noun == "drawer":
            return fixture.x, fixture.y + 40 + _DRAWER_TRAVEL_PX * opened
        turn = math.radians(105) * opened
        return fixture.x + 40, fixture.y - 24 + 10 * opened + 48 * (math.cos(turn) - 0.9 * math.sin(turn))

    def switch(self, name: str) -> Point:
        """Where the hand switches a fixture on and off."""
        fixture = self._kitchen.fixtures[name]
        dx, dy = {"tap": (-62, -38), "hob": (0, 92), "oven": (78, 12), "microwave": (64, -30)}[fixture.noun]
        return fixture.x + dx, fixture.y + dy

    def _cabinet(self, fixture: Fixture, opened: float) -> list[Item]:
        x, y, _ = _hinge(fixture)
        items = [Item(self._sprites[f"{fixture.noun}_inside"], x, y)]
        return [*items, self._swung(fixture, opened)]

    def _swung(self, fixture: Fixture, opened: float) -> Item:
        x, y, _ = _hinge(fixture)
        stretch, lean = _swing(opened)
        face = "door" if stretch > 0 else "back"
        return Item(self._sprites[f"{fixture.noun}_{face}"], x, y, stretch_x=stretch, lean=lean)

    def _microwave(self, fixture: Fixture, opened: float, running: float) -> list[Item]:
        items = [Item(self._sprites["microwave_body"], fixture.x, fixture.y)]
        x, y, _ = _hinge(fixture)
        items.append(Item(self._sprites["microwave_inside"], x, y))
        items.append(self._swung(fixture, opened))
        if running > 0:
            items.append(Item(self._sprites["microwave_glow"], x, y, alpha=running))
        return items

    def _oven(self, fixture: Fixture, opened: float, running: float) -> list[Item]:
        items = [Item(self._sprites["oven_body"], fixture.x, fixture.y)]
        knob_x, knob_y = self.switch("oven")
        items.append(Item(self._sprites["knob"], knob_x, knob_y, angle_deg=110 * running, stretch_x=0.8, stretch_y=0.8))
        flip = _flip(opened)
        face = "oven_door" if flip > 0 else "oven_back"
        items.append(Item(self._sprites[face], fixture.x, fixture.y + 140, stretch_y=flip))
        if running > 0:
            items.append(Item(self._sprites["oven_glow"], fixture.x, fixture.y + 140, alpha=running * (1 - opened)))
        return items

    def _drawer(self, fixture: Fixture, opened: float) -> list[Item]:
        grow = 1 + 0.07 * opened
        y = fixture.y + _DRAWER_TRAVEL_PX * opened
        front = Item(self._sprites["drawer_front"], fixture.x, y, stretch_x=grow, stretch_y=grow)
        if opened < 0.03:
            return [front]
        return [Item(self._sprites["drawer_inside"], fixture.x, fixture.y, stretch_y=opened), front]

    def _bin(self, fixture: Fixture, opened: float) -> list[Item]:
        turn = math.radians(105) * opened
        stretch = math.cos(turn) - 0.9 * math.sin(turn)
        lid = Item(self._sprites["bin_lid"], fixture.x, fixture.y - 26 + 10 * opened, stretch_y=stretch)
        return [Item(self._sprites["bin_body"], fixture.x, fixture.y), lid]

    def _tap(self, fixture: Fixture, running: float) -> list[Item]:
        lever_x, lever_y = fixture.x - 46, fixture.y - 30
        return [
            Item(self._sprites["tap_body"], fixture.x, fixture.y),
            Item(self._sprites["tap_lever"], lever_x, lever_y, angle_deg=-12 - 62 * running),
        ]

    def _hob(self, fixture: Fixture, running: float) -> list[Item]:
        knob_x, knob_y = self.switch("hob")
        items = [Item(self._sprites["knob"], knob_x, knob_y, angle_deg=110 * running)]
        if running > 0:
            items.insert(0, Item(self._sprites["burner"], fixture.x, fixture.y + 4, alpha=running))
        return items


def _hinge(fixture: Fixture) -> tuple[float, float, float]:
    """Top of the hinge side and the width of a hinged door."""
    width, height = _DOORS[fixture.noun]
    if fixture.noun == "microwave":
        return fixture.x - 84, fixture.y - height - 8, width
    top = 26.0 if fixture.noun == "fridge" else 12.0
    return fixture.x - width / 2, top, width


def _swing(opened: float) -> tuple[float, float]:
    turn = _DOOR_TURN_RAD * opened
    stretch = math.cos(turn) - 0.3 * math.sin(turn)
    if abs(stretch) < 0.02:
        stretch = math.copysign(0.02, stretch)
    # The free edge always comes nearer and so lower, on whichever side of the hinge it is.
    return stretch, math.copysign(0.2 * math.sin(turn), stretch)


def _flip(opened: float) -> float:
    turn = math.radians(98) * opened
    flip = math.cos(turn) - 0.5 * math.sin(turn)
    return flip if abs(flip) > 0.02 else math.copysign(0.02, flip)
