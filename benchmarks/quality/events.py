"""Long quiet clips in which something short or small happens, and what to ask for it.

A quiet clip is the quietest stretch of a fixed camera's video, played to and fro for 20 to 60 s, so that its noise is
real. Every ten seconds another video breaks in for 0.3 to 1 s, over the whole frame or as a small inset; the query is
what that video shows just before and after. The toy kitchen gives the same with small things: its head camera is held
still, and an action that took seconds is squeezed into 0.3 to 1 s; the query is the action as its own video shows it.
Everything goes through H.264 once, so that noise and key frames are those of a codec.

Shape legend: T frames, H = W = 224, C = 3, D embedding.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

import av
import numpy as np
from bridge import PREPROCESS, BridgeEmbedder
from PIL import Image

from quality.archive import GRID_FPS, Footage, changed_patches, grid_times
from vlrlt.tokens.run_length import DENSE
from vlrlt.toy.make import make_renderer, make_script
from vlrlt.toy.script import Gaze, Script, ScriptedAction
from vlrlt.types import ClipSpan, Float32Array, UInt8Array

EventKind = Literal["full frame", "part of the frame", "toy kitchen"]

SEGMENT_S = 10.0
_MIN_EVENT_S, _MAX_EVENT_S = 0.3, 1.0
_MIN_SEGMENTS, _MAX_SEGMENTS = 2, 6
_QUIET_FRAMES = 16
_AROUND_FRAMES = 8
_MAX_EVENT_FRAMES = 8
_INSET_PX = 128
_KEY_FRAMES_EVERY_S = 8.0
"""x264's default of 250 frames at 30 frames a second, about."""

_NEAR_PX = 130.0
_NOISE_LEVELS = 1.5


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something short, and how to ask for it."""

    kind: EventKind
    video: int
    """Index of the quiet clip it happens in."""
    span: ClipSpan
    example_D: Float32Array
    caption: str


@dataclass(frozen=True, kw_only=True)
class _Visitor:
    """A few seconds of a video that may break in somewhere."""

    scene: str
    caption: str
    around_THWC: UInt8Array
    inside_THWC: UInt8Array


@dataclass(kw_only=True)
class EventMaker:
    """Collects material while an archive passes by; then makes quiet clips of it."""

    seed: int
    max_videos: int
    embedder: BridgeEmbedder
    events: list[Event] = field(default_factory=list)
    _hosts: list[tuple[float, str, UInt8Array]] = field(default_factory=list)
    _visitors: list[_Visitor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)

    def add(self, footage: Footage) -> None:
        """Keep what may be needed of a video."""
        rgb_THWC = footage.rgb_THWC
        if footage.camera == "fixed" and len(rgb_THWC) >= _QUIET_FRAMES:
            share_T = changed_patches(rgb_THWC).mean((1, 2))
            sums_T = np.convolve(share_T, np.ones(_QUIET_FRAMES - 1), mode="valid")
            start = int(sums_T.argmin())
            self._hosts.append((float(sums_T[start]), footage.scene, rgb_THWC[start : start + _QUIET_FRAMES].copy()))
            self._hosts = sorted(self._hosts, key=lambda host: host[0])[: self.max_videos]
        num_frames = _MAX_EVENT_FRAMES + 2 * _AROUND_FRAMES
        if len(rgb_THWC) >= num_frames:
            start = int(self._rng.integers(len(rgb_THWC) - num_frames + 1))
            part_THWC = rgb_THWC[start : start + num_frames]
            inside = slice(_AROUND_FRAMES, _AROUND_FRAMES + _MAX_EVENT_FRAMES)
            self._visitors.append(
                _Visitor(
                    scene=footage.scene,
                    caption=footage.caption,
                    around_THWC=np.delete(part_THWC, inside, axis=0),
                    inside_THWC=part_THWC[inside].copy(),
                )
            )

    def quiet_clips(self) -> Iterator[Footage]:
        """Real ones; every visitor comes once before any comes again."""
        waiting: list[_Visitor] = []
        for video, (_, scene, quiet_THWC) in enumerate(self._hosts):
            num_segments = int(self._rng.integers(_MIN_SEGMENTS, _MAX_SEGMENTS + 1))
            rgb_THWC = _to_and_fro(quiet_THWC, round(num_segments * SEGMENT_S * GRID_FPS))
            for segment in range(num_segments):
                guests = [guest for guest in waiting if guest.scene != scene]
                if not guests:
                    waiting += [self._visitors[index] for index in self._rng.permutation(len(self._visitors))]
                    guests = [guest for guest in waiting if guest.scene != scene]
                if guests:
                    waiting.remove(guests[0])
                    self.events.append(self._break_in(rgb_THWC, guests[0], video, segment))
            yield _through_codec(rgb_THWC, name=f"quiet-{video:03d}", scene=scene)

    def _break_in(self, rgb_THWC: UInt8Array, guest: _Visitor, video: int, segment: int) -> Event:
        kind: EventKind = "full frame" if len(self.events) % 2 == 0 else "part of the frame"
        span = draw_span(self._rng, segment)
        frames_T = frames_in(span, len(rgb_THWC))
        top, left = self._rng.integers(PREPROCESS.image_size_px - _INSET_PX, size=2)
        for number, index in enumerate(frames_T):
            picture_HWC = guest.inside_THWC[min(number, len(guest.inside_THWC) - 1)]
            if kind == "full frame":
                rgb_THWC[index] = picture_HWC
            else:
                inset = Image.fromarray(picture_HWC).resize((_INSET_PX, _INSET_PX), Image.Resampling.BICUBIC)
                rgb_THWC[index, top : top + _INSET_PX, left : left + _INSET_PX] = np.asarray(inset)
        example_D = example_vector(guest.around_THWC, self.embedder)
        return Event(kind=kind, video=video, span=span, example_D=example_D, caption=guest.caption)


def toy_clips(events: list[Event], *, seed: int, num_videos: int, embedder: BridgeEmbedder) -> Iterator[Footage]:
    """Quiet clips of the toy kitchen; appends what happens in them to `events`."""
    rng = np.random.default_rng(seed)
    for video in range(num_videos):
        script = make_script(seed=seed, video_index=video)
        moving = make_renderer(script, seed=seed, video_index=video)
        actions = _neighbours(script)
        gaze = Gaze(0.0, 0.0, actions[0].focus_x, actions[0].focus_y)
        still = make_renderer(replace(script, sway_px=0.0, gazes=(gaze,)), seed=seed, video_index=video)
        frames = []
        for segment, action in enumerate(actions):
            span = draw_span(rng, segment)
            for time_s in segment * SEGMENT_S + grid_times(round(SEGMENT_S * GRID_FPS)):
                share = np.clip((time_s - span.start_s) / span.duration_s, 0, 1)
                shown_s = action.start_s - 0.01 + share * (action.stop_s - action.start_s + 0.02)
                frames.append(PREPROCESS(np.asarray(still.frame(float(shown_s)))))
            asked_s = np.linspace(action.start_s, action.stop_s, 10)[1:-1]
            asked_THWC = np.stack([PREPROCESS(np.asarray(moving.frame(float(time_s)))) for time_s in asked_s])
            example_D = example_vector(asked_THWC, embedder)
            events.append(Event(kind="toy kitchen", video=video, span=span, example_D=example_D, caption=""))
        clean_THWC = np.stack(frames)
        noise_THWC = rng.normal(0, _NOISE_LEVELS, clean_THWC.shape).astype(np.float32)
        noisy_THWC = np.clip(clean_THWC + noise_THWC, 0, 255).astype(np.uint8)
        yield _through_codec(noisy_THWC, name=f"toy-{video:03d}", scene=script.video_id)


def draw_span(rng: np.random.Generator, segment: int) -> ClipSpan:
    """When something happens in a segment: it is over before the segment is."""
    length_s = float(rng.uniform(_MIN_EVENT_S, _MAX_EVENT_S))
    start_s = segment * SEGMENT_S + float(rng.uniform(0, SEGMENT_S - length_s))
    return ClipSpan(start_s, start_s + length_s)


def frames_in(span: ClipSpan, num_frames: int) -> list[int]:
    """Indices of the frames of the grid that a span covers."""
    return [index for index, time_s in enumerate(grid_times(num_frames)) if span.start_s <= time_s < span.end_s]


def example_vector(rgb_THWC: UInt8Array, embedder: BridgeEmbedder) -> Float32Array:
    """(D,) unit vector of some frames, encoded densely."""
    vectors_TD = embedder.embed_frames(rgb_THWC[:, None], DENSE)[0][:, 0]
    mean_D: Float32Array = vectors_TD.mean(0)
    scaled_D: Float32Array = mean_D / np.linalg.norm(mean_D)
    return scaled_D


def _neighbours(script: Script) -> list[ScriptedAction]:
    """The largest group of actions that one still camera sees, from two on if there are any; at most six."""

    def group(anchor: ScriptedAction) -> list[ScriptedAction]:
        rest = [
            action
            for action in script.actions
            if action is not anchor
            and abs(action.focus_x - anchor.focus_x) < _NEAR_PX
            and abs(action.focus_y - anchor.focus_y) < _NEAR_PX
        ]
        return [anchor, *rest]

    largest = max((group(action) for action in script.actions), key=len)[:_MAX_SEGMENTS]
    return largest if len(largest) >= _MIN_SEGMENTS else largest * _MIN_SEGMENTS


def _to_and_fro(rgb_THWC: UInt8Array, num_frames: int) -> UInt8Array:
    last = len(rgb_THWC) - 1
    phase_T = np.arange(num_frames) % (2 * last)
    played_THWC: UInt8Array = rgb_THWC[last - np.abs(last - phase_T)]
    return played_THWC


def _through_codec(rgb_THWC: UInt8Array, *, name: str, scene: str) -> Footage:
    """Frames after H.264, with the key frames that its encoder chose."""
    buffer = io.BytesIO()
    gop = str(round(_KEY_FRAMES_EVERY_S * GRID_FPS))
    # Without mbtree, or two runs differ: x264's lookahead is not deterministic here, not even in one thread.
    options = {"crf": "23", "preset": "veryfast", "threads": "1", "g": gop, "x264-params": "mbtree=0"}
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=round(GRID_FPS), options=options)
        stream.width, stream.height, stream.pix_fmt = rgb_THWC.shape[2], rgb_THWC.shape[1], "yuv420p"
        for rgb_HWC in rgb_THWC:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb_HWC, format="rgb24")))
        container.mux(stream.encode())
    buffer.seek(0)
    with av.open(buffer, "r") as coded:
        frames = list(coded.decode(video=0))
    decoded_THWC = np.stack([frame.to_ndarray(format="rgb24") for frame in frames]).astype(np.uint8)
    keys_K = np.flatnonzero([frame.key_frame for frame in frames])
    return Footage(
        name=name,
        scene=scene,
        caption="",
        camera="fixed",
        rgb_THWC=decoded_THWC,
        keys_KHWC=decoded_THWC[keys_K],
        key_times_K=grid_times(len(frames))[keys_K],
        decode_s=0.0,
    )
