"""What happens in one video: the kitchen's state over time, timed actions, and where the wearer looks."""

from dataclasses import dataclass

from vlrlt.toy.kitchen import Kitchen, Look

FPS = 15
WIDTH_PX = 384
HEIGHT_PX = 288


@dataclass(frozen=True, slots=True)
class Prop:
    """A movable thing and the state it is in: `plain`, `cut`, `peeled`, `squeezed`, `on`, or what it contains."""

    look: Look
    state: str = "plain"


@dataclass(frozen=True, slots=True)
class Level:
    """How far a fixture is open and how much it runs, both in [0, 1]."""

    opened: float = 0.0
    running: float = 0.0


@dataclass(frozen=True, slots=True)
class Words:
    """How an action is narrated: the sentence, the dashed verb and the nouns as EPIC writes them."""

    narration: str
    verb: str
    nouns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ScriptedAction:
    """One narrated action, `[start_s, stop_s)`, and all that is needed to draw it."""

    verb: str
    nouns: tuple[str, ...]
    words: Words
    start_s: float
    stop_s: float
    focus_x: float
    focus_y: float
    spot: str | None
    fixture: str | None
    prop: Prop | None
    """The thing that is handled, as it is before the action."""
    target: Prop | None
    """The vessel that is poured into, as it is before the action."""
    left_handed: bool
    num_strokes: int
    phase: float
    """Where repeated motions start, in [0, 1)."""


@dataclass(frozen=True, slots=True)
class SceneState:
    """The kitchen from `start_s` on: what stands where; `busy` names what the running action draws itself."""

    start_s: float
    props: dict[str, Prop]
    levels: dict[str, Level]
    busy: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Gaze:
    """The wearer turns to a point of the scene between `start_s` and `stop_s` and stays there."""

    start_s: float
    stop_s: float
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Glance:
    """The head turns aside and back between `start_s` and `stop_s`, by so many scene pixels."""

    start_s: float
    stop_s: float
    dx: float
    dy: float


@dataclass(frozen=True, slots=True)
class HeadMotion:
    """How a real head moves with the camera on it, and what its sensor adds."""

    glances: tuple[Glance, ...]
    drift_px: float
    """How far the head wanders while it looks at one place."""
    lean: float
    """Share by which things grow and shrink as the wearer leans."""
    roll_deg: float
    step_hz: float
    step_px: float
    """How far each step lifts the head."""
    phases: tuple[float, ...]
    noise_sd: float
    """Of the sensor, in grey levels."""
    noise_seed: int


@dataclass(frozen=True, slots=True)
class Script:
    """Everything that one video shows."""

    participant_id: str
    video_id: str
    kitchen: Kitchen
    num_frames: int
    actions: tuple[ScriptedAction, ...]
    snapshots: tuple[SceneState, ...]
    gazes: tuple[Gaze, ...]
    zoom: float
    sway_px: float
    sway_phases: tuple[float, ...]
    head: HeadMotion | None = None
    """None: the steady camera."""

    @property
    def duration_s(self) -> float:
        """Length of the video in seconds."""
        return self.num_frames / FPS

    def snapshot_at(self, time_s: float) -> SceneState:
        """The kitchen's state at a time of the video."""
        current = self.snapshots[0]
        for snapshot in self.snapshots:
            if snapshot.start_s > time_s:
                break
            current = snapshot
        return current

    def action_at(self, time_s: float) -> ScriptedAction | None:
        """The action that runs at a time of the video, if any."""
        for action in self.actions:
            if action.start_s <= time_s < action.stop_s:
                return action
        return None
