"""Frames of training clips: decoded on demand, or from a cache of whole videos.

Shape legend: T frames of a clip, F frames of a video, HWC one picture.
"""

from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from vlrlt.errors import CorruptVideoError
from vlrlt.types import Float64Array, UInt8Array
from vlrlt.video.chunks import TimesOf, open_video, read_frames
from vlrlt.video.decode import DecoderName


class FrameSource(Protocol):
    """Frames of a video at given times."""

    def frames(self, video: Path, times_of: TimesOf) -> UInt8Array:
        """Pictures (T, H, W, 3) on screen at the times, with a bounded short side.

        Raises:
            DecodeError: the video cannot be read there.
        """
        ...


class DecodedFrames:
    """Decodes the clip and nothing else: for datasets that are too large to keep decoded.

    Args:
        short_side_px: larger pictures are shrunk to it in the worker; smaller ones stay as they are.
        backend: which decoder.
    """

    def __init__(self, *, short_side_px: int, backend: DecoderName) -> None:
        self._short_side_px = short_side_px
        self._backend: DecoderName = backend

    def frames(self, video: Path, times_of: TimesOf) -> UInt8Array:
        """See FrameSource."""
        frames = read_frames(video, times_of, backend=self._backend)
        return np.stack([shrink(frame.rgb_HWC, self._short_side_px) for frame in frames])


class CachedFrames:
    """All frames of every video, shrunk and kept on disk as plain arrays: for small datasets seen many times.

    Args:
        folder: where the arrays go; made if it is absent.
        short_side_px: of the cached pictures.
        backend: which decoder fills the cache.
    """

    def __init__(self, folder: Path, *, short_side_px: int, backend: DecoderName) -> None:
        self._folder = folder
        self._short_side_px = short_side_px
        self._backend: DecoderName = backend
        self._open: dict[Path, tuple[UInt8Array, Float64Array]] = {}

    def __getstate__(self) -> dict[str, object]:
        """A worker process opens the arrays itself: a pickled memory map would be a copy of all frames."""
        return {**self.__dict__, "_open": {}}

    def frames(self, video: Path, times_of: TimesOf) -> UInt8Array:
        """See FrameSource."""
        rgb_FHWC, pts_s = self.video(video)
        on_screen = np.searchsorted(pts_s[:-1], times_of(lambda: float(pts_s[-1])), side="right") - 1
        clip_THWC: UInt8Array = rgb_FHWC[on_screen.clip(0, len(rgb_FHWC) - 1)]
        return clip_THWC

    def video(self, video: Path) -> tuple[UInt8Array, Float64Array]:
        """Memory-mapped pictures (F, H, W, 3) and (F + 1,) seconds: their times, then the duration."""
        if video not in self._open:
            stat = video.stat()  # another file of the same name must not find these frames
            name = f"{video.stem}-{self._short_side_px}px-{stat.st_size}-{stat.st_mtime_ns}"
            rgb_path, pts_path = self._folder / f"{name}.rgb.npy", self._folder / f"{name}.pts.npy"
            if not pts_path.exists():
                self._fill(video, rgb_path, pts_path)
            rgb_FHWC = np.load(rgb_path, mmap_mode="r", allow_pickle=False)
            self._open[video] = rgb_FHWC, np.load(pts_path, allow_pickle=False)
        return self._open[video]

    def _fill(self, video: Path, rgb_path: Path, pts_path: Path) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        pictures: list[UInt8Array] = []
        pts_s: list[float] = []
        with open_video(video, backend=self._backend) as decoder:
            step_s = 1 / decoder.info.average_fps
            times_s = np.arange(step_s / 2, decoder.info.duration_s, step_s)
            num_shown = 0
            for frame in decoder.frames_at(times_s):
                num_shown += 1
                if pts_s and frame.pts_s == pts_s[-1]:
                    continue
                pictures.append(shrink(frame.rgb_HWC, self._short_side_px))
                pts_s.append(frame.pts_s)
            pts_s.append(decoder.info.duration_s)
        if num_shown < len(times_s):
            reason = f"its frames end at {times_s[max(0, num_shown - 1)]:.2f} s of {pts_s[-1]:.2f} s"
            raise CorruptVideoError(video, stage="decode", reason=reason)
        np.save(rgb_path, np.stack(pictures))
        np.save(pts_path, np.array(pts_s))  # last: its presence says that the cache of this video is whole


def shrink(rgb_HWC: UInt8Array, short_side_px: int) -> UInt8Array:
    """The picture with that short side, antialiased; unchanged if it is not larger."""
    height, width = rgb_HWC.shape[:2]
    if min(height, width) <= short_side_px:
        return rgb_HWC
    scale = short_side_px / min(height, width)
    size = (round(width * scale), round(height * scale))
    return np.asarray(Image.fromarray(rgb_HWC).resize(size, Image.Resampling.BICUBIC))
