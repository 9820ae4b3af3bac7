"""Plans a video: picks sensible actions one after the other and keeps the kitchen's state consistent.

Things change only by actions that are seen, or while they are out of view (somebody else tidied up).
"""

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from vlrlt.toy.kitchen import Kitchen, Look
from vlrlt.toy.narrate import say
from vlrlt.toy.script import FPS, HEIGHT_PX, WIDTH_PX, Gaze, Level, Prop, SceneState, Script, ScriptedAction
from vlrlt.toy.world import COMBINATIONS, MOVABLE, VERB_BY_KEY

_OPEN_SPOTS = ("prep_side", "drain", "counter_0", "counter_1", "counter_2")
_SPOTS: dict[str, tuple[str, ...]] = {
    "cut": ("board",),
    "peel": ("board", "prep_side", "counter_0", "counter_1"),
}
_MANY_NOUNS_POWER = 0.45
_LIQUID_OF = {"milk": "milk", "oil": "oil", "kettle": "water"}
_HANDLED_ON_RIGHT = ("pan", "knife", "spoon")
_TWO_FISTED = ("cut", "stir", "pour", "peel", "wash")


@dataclass(frozen=True, slots=True)
class _Stage:
    """A feasible action: where it happens, and the state before and after."""

    verb: str
    nouns: tuple[str, ...]
    focus: tuple[float, float]
    spot: str | None = None
    fixture: str | None = None
    prop: Prop | None = None
    target: Prop | None = None
    before: Prop | None = None
    after: Prop | None = None
    level_before: Level | None = None
    level_after: Level | None = None


def plan_video(
    rng: np.random.Generator, kitchen: Kitchen, *, participant_id: str, video_id: str, duration_s: float
) -> Script:
    """Plan a video of about `duration_s` seconds; equal generators give equal scripts."""
    return _Planner(rng, kitchen).plan(participant_id, video_id, duration_s)


class _Planner:
    def __init__(self, rng: np.random.Generator, kitchen: Kitchen) -> None:
        self._rng = rng
        self._kitchen = kitchen
        self._props: dict[str, Prop] = {}
        self._levels = {name: Level() for name in kitchen.fixtures}
        self._held: list[Look] = []
        self._counts: Counter[str] = Counter()
        self._combination_counts: Counter[tuple[str, tuple[str, ...]]] = Counter()
        self._snapshots: list[SceneState] = []
        self._gazes: list[Gaze] = []
        self._focus = (0.0, 0.0)

    def plan(self, participant_id: str, video_id: str, duration_s: float) -> Script:
        rng = self._rng
        self._furnish()
        first = self._kitchen.fixtures["tap"]
        self._focus = (first.focus_x, first.focus_y)
        actions: list[ScriptedAction] = []
        now_s = 0.0
        while True:
            stage = self._choose(first=not actions)
            gap_s = _gap_s(rng) if actions else float(rng.uniform(0.5, 1.2))
            verb = VERB_BY_KEY[stage.verb]
            length_s = float(rng.uniform(verb.min_s, verb.max_s))
            self._tidy(now_s, stage)
            start_s = round(self._look_at(now_s, gap_s, stage.focus, first=not actions), 2)
            stop_s = round(start_s + length_s, 2)
            if stop_s > duration_s - 0.4 and actions:
                break
            actions.append(self._perform(stage, start_s, stop_s))
            now_s = stop_s
        self._gazes = self._gazes[: len(actions)]
        end_s = max(now_s + float(rng.uniform(0.5, 1.5)), 20.1)
        self._snapshots = [snapshot for snapshot in self._snapshots if snapshot.start_s <= now_s]
        return Script(
            participant_id=participant_id,
            video_id=video_id,
            kitchen=self._kitchen,
            num_frames=int(end_s * FPS),
            actions=tuple(actions),
            snapshots=tuple(self._snapshots),
            gazes=tuple(self._gazes),
            zoom=float(rng.uniform(0.98, 1.08)),
            sway_px=float(rng.uniform(0.8, 2.2)),
            sway_phases=tuple(float(value) for value in rng.uniform(0, 6.28, size=5)),
        )

    def _furnish(self) -> None:
        for name, spot in self._kitchen.spots.items():
            share = 0.4 if spot.stage else 0.8
            if name not in ("board", "burner") and self._rng.random() < share:
                self._props[name] = Prop(self._any_look())

    def _any_look(self) -> Look:
        return self._look(MOVABLE[int(self._rng.integers(len(MOVABLE)))])

    def _look(self, noun: str) -> Look:
        looks = self._kitchen.looks[noun]
        return looks[int(self._rng.integers(len(looks)))]

    def _choose(self, *, first: bool) -> _Stage:
        """Sample verbs about evenly, then nouns; the rarer so far, the likelier."""
        verbs = list(COMBINATIONS)
        # Verbs with many nouns come a little more often: otherwise "take salt" would hardly ever occur.
        wanted = [len(COMBINATIONS[verb]) ** _MANY_NOUNS_POWER for verb in verbs]
        weights = np.array([(share / (1 + self._counts[verb])) ** 2 for share, verb in zip(wanted, verbs, strict=True)])
        order = self._rng.choice(len(verbs), size=len(verbs), replace=False, p=weights / weights.sum())
        for verb in (verbs[int(index)] for index in order):
            combinations = COMBINATIONS[verb]
            odds = np.array([1.0 / (1 + self._combination_counts[verb, nouns]) ** 2 for nouns in combinations])
            picks = self._rng.choice(len(combinations), size=len(combinations), replace=False, p=odds / odds.sum())
            for pick in picks[:4]:
                stage = self._stage(verb, combinations[int(pick)], first=first)
                if stage is not None:
                    return stage
        raise AssertionError("some action is always feasible: fixtures far away can be reset")

    def _stage(self, verb: str, nouns: tuple[str, ...], *, first: bool) -> _Stage | None:
        if verb in ("open", "close", "turn-on", "turn-off") and nouns[0] != "kettle":
            return self._stage_fixture(verb, nouns, first=first)
        if verb == "wash":
            return self._stage_wash(nouns, first=first)
        if verb == "throw":
            return self._stage_throw(nouns, first=first)
        return self._stage_spot(verb, nouns, first=first)

    def _stage_fixture(self, verb: str, nouns: tuple[str, ...], *, first: bool) -> _Stage | None:
        names = [name for name, fixture in self._kitchen.fixtures.items() if fixture.noun == nouns[0]]
        name = names[int(self._rng.integers(len(names)))]
        before, after = {
            "open": (Level(), Level(opened=1.0)),
            "close": (Level(opened=1.0), Level()),
            "turn-on": (Level(), Level(running=1.0)),
            "turn-off": (Level(running=1.0), Level()),
        }[verb]
        fixture = self._kitchen.fixtures[name]
        if self._levels[name] != before and not first and self._in_view(fixture.focus_x, fixture.focus_y, 330):
            return None
        focus = (fixture.focus_x, fixture.focus_y)
        return _Stage(verb, nouns, focus, fixture=name, level_before=before, level_after=after)

    def _stage_wash(self, nouns: tuple[str, ...], *, first: bool) -> _Stage | None:
        tap = self._kitchen.fixtures["tap"]
        running = Level(running=1.0)
        if self._levels["tap"] != running and not first and self._in_view(tap.x, tap.y, 330):
            return None
        prop = Prop(self._look(nouns[0]))
        focus = (tap.x + 12, tap.y + 42)
        return _Stage("wash", nouns, focus, fixture="tap", prop=prop, level_before=running, level_after=running)

    def _stage_throw(self, nouns: tuple[str, ...], *, first: bool) -> _Stage | None:
        rubbish = self._kitchen.fixtures["bin"]
        opened = Level(opened=1.0)
        if self._levels["bin"] != opened and not first and self._in_view(rubbish.x, rubbish.y, 330):
            return None
        focus = (rubbish.focus_x, rubbish.focus_y - 18)
        prop = Prop(self._look(nouns[0]))
        return _Stage("throw", nouns, focus, fixture="bin", prop=prop, level_before=opened, level_after=opened)

    def _stage_spot(self, verb: str, nouns: tuple[str, ...], *, first: bool) -> _Stage | None:
        prop, target, before, after = self._states(verb, nouns)
        options = list(_SPOTS.get(verb, _OPEN_SPOTS))
        vessel = nouns[-1]
        if verb in ("pour", "stir") and vessel in ("pan", "pot"):
            options = ["burner"]
        for index in self._rng.permutation(len(options)):
            name = options[int(index)]
            spot = self._kitchen.spots[name]
            if not first and self._in_view(spot.x, spot.y - 50, 95):
                here = self._props.get(name)
                if (here is None) != (before is None) or (before and here and here.look.noun != before.look.noun):
                    continue
                if here is not None and before is not None and here.state != before.state:
                    continue
                if here is not None and before is not None:
                    # Use what already stands there: it cannot be swapped under the wearer's eyes.
                    after = None if after is None else replace(after, look=here.look)
                    prop = replace(prop, look=here.look) if prop == before else prop
                    target = replace(target, look=here.look) if target is not None else None
                    before = here
            lift = 72.0 if verb == "pour" else 50.0
            focus = (spot.x, spot.y - lift)
            return _Stage(verb, nouns, focus, spot=name, prop=prop, target=target, before=before, after=after)
        return None

    def _states(self, verb: str, nouns: tuple[str, ...]) -> tuple[Prop, Prop | None, Prop | None, Prop | None]:
        """What is handled, what is poured into, and what stands at the spot before and after."""
        prop = Prop(self._look(nouns[0]))
        if verb == "take":
            return prop, None, prop, None
        if verb == "put":
            kept = [look for look in self._held if look.noun == nouns[0]]
            prop = Prop(kept[-1]) if kept else prop
            return prop, None, None, prop
        if verb == "pour":
            target = Prop(self._look(nouns[1]))
            return prop, target, target, replace(target, state=_LIQUID_OF[nouns[0]])
        if verb == "stir":
            prop = replace(prop, state="soup")
            return prop, None, prop, prop
        if verb == "turn-off":
            return replace(prop, state="on"), None, replace(prop, state="on"), prop
        ends = {"turn-on": "on", "cut": "cut", "peel": "peeled", "squeeze": "squeezed", "shake": "plain"}
        return prop, None, prop, replace(prop, state=ends[verb])

    def _in_view(self, x: float, y: float, reach_px: float) -> bool:
        focus_x, focus_y = self._focus
        return abs(x - focus_x) < WIDTH_PX / 2 + reach_px and abs(y - focus_y) < HEIGHT_PX / 2 + reach_px

    def _tidy(self, now_s: float, stage: _Stage) -> None:
        """Prepare the stage of the next action and reset some of what is out of view."""
        for name, level in self._levels.items():
            fixture = self._kitchen.fixtures[name]
            hidden = not self._in_view(fixture.focus_x, fixture.focus_y, 330)
            if level != Level() and hidden and self._rng.random() < 0.5:
                self._levels[name] = Level()
        if stage.spot is not None:
            self._set_prop(stage.spot, stage.before)
        if stage.fixture is not None and stage.level_before is not None:
            self._levels[stage.fixture] = stage.level_before
        self._note(now_s)

    def _set_prop(self, spot: str, prop: Prop | None) -> None:
        if prop is None:
            self._props.pop(spot, None)
        else:
            self._props[spot] = prop

    def _note(self, start_s: float, *, busy: frozenset[str] = frozenset()) -> None:
        snapshot = SceneState(start_s, dict(self._props), dict(self._levels), busy)
        if self._snapshots and self._snapshots[-1].start_s == start_s:
            self._snapshots.pop()
        self._snapshots.append(snapshot)

    def _look_at(self, now_s: float, gap_s: float, focus: tuple[float, float], *, first: bool) -> float:
        """Turn to the next stage within the gap; returns when the action can start."""
        rng = self._rng
        x = focus[0] + float(rng.uniform(-24, 24))
        y = focus[1] + float(rng.uniform(-10, 10))
        distance = float(np.hypot(x - self._focus[0], y - self._focus[1]))
        turn_s = float(np.clip(0.28 + distance / 2600, 0.3, 0.75))
        gap_s = max(gap_s, turn_s + 0.1)
        begin_s = now_s if first else now_s + float(rng.uniform(0, gap_s - turn_s - 0.05))
        self._gazes.append(Gaze(begin_s, begin_s if first else begin_s + turn_s, x, y))
        self._focus = (x, y)
        return now_s + gap_s

    def _perform(self, stage: _Stage, start_s: float, stop_s: float) -> ScriptedAction:
        rng = self._rng
        self._note(start_s, busy=frozenset(name for name in (stage.spot, stage.fixture) if name is not None))
        if stage.spot is not None:
            self._set_prop(stage.spot, stage.after)
        if stage.fixture is not None and stage.level_after is not None:
            self._levels[stage.fixture] = stage.level_after
        self._note(stop_s)
        if stage.prop is not None and stage.verb == "take":
            self._held.append(stage.prop.look)
        self._counts[stage.verb] += 1
        self._combination_counts[stage.verb, stage.nouns] += 1
        looks = tuple(prop.look for prop in (stage.prop, stage.target) if prop is not None)
        right_only = stage.verb in _TWO_FISTED or stage.nouns[0] in _HANDLED_ON_RIGHT
        return ScriptedAction(
            verb=stage.verb,
            nouns=stage.nouns,
            words=say(rng, stage.verb, stage.nouns, looks),
            start_s=start_s,
            stop_s=stop_s,
            focus_x=self._focus[0],
            focus_y=self._focus[1],
            spot=stage.spot,
            fixture=stage.fixture,
            prop=stage.prop,
            target=stage.target,
            left_handed=bool(rng.random() < 0.4) and not right_only,
            num_strokes=max(2, round((stop_s - start_s) * float(rng.uniform(1.6, 2.3)))),
            phase=float(rng.random()),
        )


def _gap_s(rng: np.random.Generator) -> float:
    """Most pauses are short; in some, the wearer just stands there for a few seconds."""
    return float(rng.uniform(3.0, 6.0)) if rng.random() < 0.16 else float(rng.uniform(0.3, 1.0))
