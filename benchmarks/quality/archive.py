"""Videos as the frames that all ways of encoding share: decoded and resized once, at the finest rate that any needs.

Shape legend: T frames of the grid, K key frames, H = W = 224, C = 3, P patches.
"""

import csv
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal, get_args

import av
import numpy as np
import numpy.typing as npt
from bridge import PREPROCESS

from vlrlt.errors import DecodeError
from vlrlt.index.library.files import VIDEO_SUFFIXES
from vlrlt.tokens.run_length import PAPER_THRESHOLD_255
from vlrlt.types import Float64Array, UInt8Array
from vlrlt.video.decode import Decoder, open_decoder

GRID_FPS = 8.0
"""Frames per second that are decoded; every slower sampling is a subset of them."""

MAX_VIDEO_S = 16.0
"""Longer videos are cut: one long recording must not decide a mean over an archive."""

Camera = Literal["fixed", "hand-held", "head-mounted"]
CAMERAS: tuple[Camera, ...] = get_args(Camera)
HEAD_MOUNTED_KINDS = ("ego", "kitchen_ego")
_FIXED_BORDER_SHARE = 0.15


@dataclass(frozen=True, kw_only=True)
class Source:
    """A video file and what is known of it."""

    path: Path
    caption: str = ""
    """Empty: nothing can be asked in words."""
    scene: str
    """Files of one scene show the same."""
    head_mounted: bool = False


@dataclass(frozen=True, kw_only=True)
class Footage:
    """The frames of a video."""

    name: str
    """Unique in its archive, usable as a file name."""
    scene: str
    caption: str
    camera: Camera
    rgb_THWC: UInt8Array
    """At the times (index + 1/2) / GRID_FPS."""
    keys_KHWC: UInt8Array
    key_times_K: Float64Array
    decode_s: float
    """CPU seconds of decoding and resizing."""

    @property
    def duration_s(self) -> float:
        """As long as the frames last."""
        return len(self.rgb_THWC) / GRID_FPS


def find_sources(videos_dir: Path) -> list[Source]:
    """The files marked `use = yes` of DIR/manifest.tsv, or else every video below DIR, in a fixed order."""
    manifest = videos_dir / "manifest.tsv"
    if not manifest.exists():
        paths = sorted(path for path in videos_dir.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES)
        return [Source(path=path, scene=str(path.relative_to(videos_dir))) for path in paths]
    with manifest.open(encoding="utf-8", newline="") as file:
        return [
            Source(
                path=videos_dir / row["file"],
                caption=row["caption"],
                scene=row["dup_group"] or row["file"],
                head_mounted=row["kind"] in HEAD_MOUNTED_KINDS,
            )
            for row in csv.DictReader(file, delimiter="\t")
            if row["use"] == "yes"
        ]


def read_footage(source: Source) -> Footage | None:
    """Decode a file; None, with a line that says why, where less than two frames of the grid can be read."""
    started_s = time.process_time()
    try:
        with open_decoder(source.path) as decoder:
            frames = dict(_read(decoder, _key_times(source.path, decoder.info.start_s)))
    except DecodeError as error:
        print(f"  left out: {source.path.name}: {error}")
        return None
    decode_s = time.process_time() - started_s
    grid = [rgb_HWC for (kind, _), rgb_HWC in frames.items() if kind == "grid"]
    keys = {time_s: rgb_HWC for (kind, time_s), rgb_HWC in frames.items() if kind == "key"}
    if len(grid) < 2:
        print(f"  left out: {source.path.name}: shorter than two frames at {GRID_FPS:g} frames a second")
        return None
    rgb_THWC = np.stack(grid)
    return Footage(
        name=f"{source.path.parent.name}+{source.path.name}",
        scene=source.scene,
        caption=source.caption,
        camera="head-mounted" if source.head_mounted else measure_camera(rgb_THWC),
        rgb_THWC=rgb_THWC,
        keys_KHWC=np.stack(list(keys.values())) if keys else rgb_THWC[:1],
        key_times_K=np.array(list(keys) or [0.0]),
        decode_s=decode_s,
    )


def measure_camera(rgb_THWC: UInt8Array) -> Camera:
    """Fixed where the border of the picture mostly stays from one frame to the next, hand-held elsewhere."""
    changed_Tyx = changed_patches(rgb_THWC)
    border_TP = np.concatenate(
        [changed_Tyx[:, 0], changed_Tyx[:, -1], changed_Tyx[:, 1:-1, 0], changed_Tyx[:, 1:-1, -1]], axis=1
    )
    return "fixed" if np.median(border_TP.mean(1)) < _FIXED_BORDER_SHARE else "hand-held"


def changed_patches(rgb_THWC: UInt8Array) -> npt.NDArray[np.bool_]:
    """(T - 1, rows, columns): which 16 px patches differ from the frame before by more than the paper's threshold."""
    side = PREPROCESS.image_size_px // 16
    changes = [
        np.abs(now.astype(np.int16) - before).reshape(side, 16, side, 16, 3).mean((1, 3, 4)) > PAPER_THRESHOLD_255
        for before, now in pairwise(rgb_THWC)
    ]
    return np.stack(changes)


def grid_times(num_frames: int) -> Float64Array:
    """(T,) seconds of the frames of the grid."""
    return (np.arange(num_frames, dtype=np.float64) + 0.5) / GRID_FPS


def _read(decoder: Decoder, key_times_s: list[float]) -> Iterator[tuple[tuple[str, float], UInt8Array]]:
    """Frames of the grid and key frames in one pass; what is on screen for long is resized once."""
    length_s = min(decoder.info.duration_s, MAX_VIDEO_S)
    wanted = [("grid", float(time_s)) for time_s in grid_times(int(length_s * GRID_FPS))]
    wanted += [("key", time_s) for time_s in key_times_s if time_s < length_s]
    wanted.sort(key=lambda item: item[1])
    last_pts_s, rgb_HWC = -1.0, None
    for item, frame in zip(wanted, decoder.frames_at(time_s for _, time_s in wanted), strict=False):
        if rgb_HWC is None or frame.pts_s != last_pts_s:
            last_pts_s, rgb_HWC = frame.pts_s, PREPROCESS(frame.rgb_HWC)
        yield item, rgb_HWC


def _key_times(path: Path, start_s: float) -> list[float]:
    """Times of the key frames that the container names, the first at start_s; none where it cannot be read so far."""
    times_s = set()
    with suppress(av.FFmpegError), av.open(str(path)) as container:
        for packet in container.demux(container.streams.video[0]):
            if packet.is_keyframe and packet.pts is not None and packet.time_base is not None:
                times_s.add(float(packet.pts * packet.time_base))
    return [start_s + time_s - min(times_s) for time_s in sorted(times_s)]
