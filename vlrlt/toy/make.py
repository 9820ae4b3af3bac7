"""Makes a whole toy kitchen: videos of several participants and their annotation files.

DIR/videos/P01_01.mp4 ...       384 x 288, 15 frames per second, H.264
DIR/annotations/EPIC_100_*.csv  in the format of EPIC-KITCHENS-100: retrieval and action recognition
DIR/annotations/nlq_*.json      questions, in the format of Ego4D's natural language queries
"""

import contextlib
import multiprocessing
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import av
import numpy as np

from vlrlt.atomic import replacing
from vlrlt.errors import ConfigError
from vlrlt.toy.annotations import AnnotatedVideo, NarratedAction, write_annotations
from vlrlt.toy.camera import CameraKind, draw_head_motion
from vlrlt.toy.kitchen import make_kitchen
from vlrlt.toy.plan import plan_video
from vlrlt.toy.questions import write_questions
from vlrlt.toy.render import Renderer
from vlrlt.toy.script import FPS, HEIGHT_PX, WIDTH_PX, Script

_VIDEOS_PER_PARTICIPANT = (1, 2, 3, 2)
"""Cycled through: two on average, and already the second video has another participant than the first."""
_TEST_EVERY = 4
# Streams of random numbers; kitchens and pictures belong to a participant, scripts to a video.
_KITCHEN, _TEXTURE, _SCRIPT, _SPEECH, _CAMERA = range(5)


MAX_VIDEOS = 100_000
"""Days of rendering."""


@dataclass(frozen=True, slots=True)
class ToyKitchen:
    """A finished toy kitchen on disk."""

    videos_dir: Path
    annotations_dir: Path
    num_videos: int
    num_train_videos: int
    num_test_videos: int
    num_train_actions: int
    num_test_actions: int
    video_s: float
    """Total length of all videos in seconds."""


def make_toy_kitchen(
    out_dir: Path,
    *,
    num_videos: int,
    seed: int,
    camera: CameraKind = "steady",
    num_workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> ToyKitchen:
    """Render `num_videos` videos and write their annotations below `out_dir`; files there are replaced.

    Video i depends on `seed` and i alone: more videos or other workers never change it.

    Args:
        out_dir: created when absent; gets the folders `videos` and `annotations`.
        num_videos: 1 to MAX_VIDEOS; from 2 on there is a test split, of other participants and kitchens.
        seed: at least 0.
        camera: steady, or as on a real head; it changes the pictures and nothing else.
        num_workers: processes to render with; 1 renders in this process.
        progress: called as `progress(videos_done, num_videos)` after each video.

    Raises:
        ConfigError: a number is out of range.
    """
    if camera not in get_args(CameraKind):
        raise ConfigError(f"camera must be one of {', '.join(get_args(CameraKind))}, got {camera!r}")
    ranges = {"num_videos": (1, MAX_VIDEOS), "seed": (0, 2**63), "num_workers": (1, MAX_VIDEOS)}
    for name, value in {"num_videos": num_videos, "seed": seed, "num_workers": num_workers}.items():
        least, most = ranges[name]
        if not least <= value <= most:
            raise ConfigError(f"{name} must be at least {least} and at most {most}, got {value:.6g}")
    videos_dir, annotations_dir = out_dir / "videos", out_dir / "annotations"
    videos_dir.mkdir(parents=True, exist_ok=True)
    annotations_dir.mkdir(parents=True, exist_ok=True)
    videos: dict[int, AnnotatedVideo] = {}
    for index, video in _all_videos(
        videos_dir, num_videos=num_videos, seed=seed, camera=camera, num_workers=num_workers
    ):
        videos[index] = video
        if progress is not None:
            progress(len(videos), num_videos)
    split: dict[bool, list[AnnotatedVideo]] = {False: [], True: []}
    for index in range(num_videos):
        split[is_test_video(index)].append(videos[index])
    write_annotations(annotations_dir, train=split[False], test=split[True])
    write_questions(annotations_dir, train=split[False], test=split[True])
    return ToyKitchen(
        videos_dir=videos_dir,
        annotations_dir=annotations_dir,
        num_videos=num_videos,
        num_train_videos=len(split[False]),
        num_test_videos=len(split[True]),
        num_train_actions=sum(len(video.actions) for video in split[False]),
        num_test_actions=sum(len(video.actions) for video in split[True]),
        video_s=sum(video.duration_s for video in videos.values()),
    )


def is_test_video(video_index: int) -> bool:
    """True when the video's participant belongs to the test split."""
    return _participant(video_index)[0] % _TEST_EVERY == 1


def make_script(*, seed: int, video_index: int, camera: CameraKind = "steady") -> Script:
    """The script of one video, without rendering it: the same actions whatever the camera."""
    participant, nth = _participant(video_index)
    rng = _rng(seed, _SCRIPT, video_index)
    participant_id = f"P{participant + 1:02d}"
    script = plan_video(
        rng,
        make_kitchen(_rng(seed, _KITCHEN, participant)),
        participant_id=participant_id,
        video_id=f"{participant_id}_{nth + 1:02d}",
        duration_s=float(rng.triangular(22, 32, 78)),
    )
    if camera == "steady":
        return script
    return replace(script, head=draw_head_motion(_rng(seed, _CAMERA, video_index), script))


def make_renderer(script: Script, *, seed: int, video_index: int) -> Renderer:
    """The renderer of the script of one video."""
    return Renderer(script, _rng(seed, _TEXTURE, _participant(video_index)[0]))


def _participant(video_index: int) -> tuple[int, int]:
    """The participant's number and which of their videos this is, both from 0."""
    participant, left = 0, video_index
    while left >= (count := _VIDEOS_PER_PARTICIPANT[participant % len(_VIDEOS_PER_PARTICIPANT)]):
        left -= count
        participant += 1
    return participant, left


def _rng(seed: int, stream: int, index: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence((seed, stream, index)))


def _all_videos(
    videos_dir: Path, *, num_videos: int, seed: int, camera: CameraKind, num_workers: int
) -> Iterator[tuple[int, AnnotatedVideo]]:
    """Make the videos, in any order."""
    if num_workers == 1 or num_videos == 1:
        for index in range(num_videos):
            yield index, _make_video(videos_dir, seed, index, camera)
        return
    try:
        with _workers(min(num_workers, num_videos)) as pool:
            jobs = {pool.submit(_make_video, videos_dir, seed, index, camera): index for index in range(num_videos)}
            for job in as_completed(jobs):
                yield jobs[job], job.result()
    finally:
        for unfinished in videos_dir.glob(".*.mp4"):  # of workers that were ended
            unfinished.unlink()


@contextlib.contextmanager
def _workers(number: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that end at once, with what is queued for them, when the block ends early: Ctrl-C is the parent's."""
    # Spawned, not forked: the caller may hold threads and GPU contexts.
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    ignore = (signal.SIGINT, signal.SIG_IGN)
    pool = ProcessPoolExecutor(number, mp_context=context, initializer=signal.signal, initargs=ignore)
    try:
        yield pool
        pool.shutdown()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in set(multiprocessing.active_children()) - others:
            worker.kill()
            worker.join()


def _make_video(videos_dir: Path, seed: int, video_index: int, camera: CameraKind) -> AnnotatedVideo:
    script = make_script(seed=seed, video_index=video_index, camera=camera)
    renderer = make_renderer(script, seed=seed, video_index=video_index)
    path = videos_dir / f"{script.video_id}.mp4"
    # Renamed when complete: an interrupted run never leaves half a video under a valid name.
    with replacing(path) as unfinished:
        _encode(unfinished, script, renderer)
    rng = _rng(seed, _SPEECH, video_index)
    actions = tuple(
        NarratedAction(
            verb=action.verb,
            nouns=action.nouns,
            words=action.words,
            start_s=action.start_s,
            stop_s=action.stop_s,
            narrated_s=round(action.start_s + float(rng.uniform(0.0, 0.6)), 3),
        )
        for action in script.actions
    )
    return AnnotatedVideo(script.participant_id, script.video_id, script.duration_s, actions)


def _encode(path: Path, script: Script, renderer: Renderer) -> None:
    options = {"crf": "23", "preset": "veryfast", "threads": "1", "g": str(2 * FPS)}
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
        for index in range(script.num_frames):
            frame = av.VideoFrame.from_ndarray(np.asarray(renderer.frame(index / FPS)), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
