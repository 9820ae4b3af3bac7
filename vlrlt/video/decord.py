"""The training decoder: decord (the decord2 distribution), quick at many frames of healthy files.

Before a file is opened for the first time, PyAV looks at it: it tells what decord does not (codec, start, rotation) and
turns away files on which decord's C++ aborts the process. Pixels and times are decord's own; decord already turns
rotated videos upright. It counts frames wrongly where a container has no index (mpegts, flv, fragmented mp4), so its
first frame is checked against PyAV's. A process remembers which files it has looked at: training opens them again and
again.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from vlrlt.errors import ConfigError, CorruptVideoError
from vlrlt.types import Float32Array, Frame, UInt8Array, VideoInfo
from vlrlt.video.pyav import PyAVDecoder

if TYPE_CHECKING:
    import decord

_MAX_BATCH_BYTES = 64 * 2**20
"""Pixels that one read from decord may return."""

_TIME_TOLERANCE_S = 1.0
"""decord counts times in float32 and knows no edit lists; a start this far past the end is garbage."""

_MAX_DIFFERENCE_255 = 8.0
"""Mean grey levels between two decoders' pictures of one frame; rounding and dithering stay below 3."""


_LOOKED_AT: dict[tuple[Path, tuple[int, int]], VideoInfo] = {}
"""Files of this process that PyAV has looked at, by their path, size and time of change."""


class DecordDecoder:
    """A video file opened with decord; a Decoder.

    Raises:
        NotAVideoError: not a regular file, no known container, or no video stream.
        CorruptVideoError: no frame of it can be decoded, or decord takes its frames for others.
        ConfigError: decord cannot be imported.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        version = _version(path)
        looked_at = _LOOKED_AT.get((path, version))
        if looked_at is None:
            with PyAVDecoder(path) as checked:
                self.info = checked.info
                first = next(checked.frames_at([0.0]))
        else:
            self.info = looked_at
        self._reader = _open(path)
        self._starts_N = self._checked_starts()
        if looked_at is None:
            self._check_first(first)
            _LOOKED_AT[path, version] = self.info

    def frames_at(self, times_s: Iterable[float]) -> Iterator[Frame]:
        """The frame on screen at each time; see vlrlt.video.decode.Decoder.frames_at."""
        batch_size = max(1, _MAX_BATCH_BYTES // (self.info.width_px * self.info.height_px * 3))
        times = iter(times_s)
        frame: Frame | None = None
        previous_s = -np.inf
        while batch_s := list(islice(times, batch_size)):
            if not (np.diff([previous_s, *batch_s]) >= 0).all():
                raise ConfigError(f"times_s must ascend, got {batch_s} after {previous_s}; try sorted(times_s)")
            previous_s = batch_s[-1]
            # decord's times are float32: a wanted time has to be rounded as they are to meet its own frame.
            wanted_T = np.asarray(batch_s, dtype=np.float32)
            indices = np.maximum(np.searchsorted(self._starts_N, wanted_T, side="right") - 1, 0)
            distinct = np.unique(indices)
            try:
                rgb_THWC = self._reader.get_batch(distinct).asnumpy()
            except Exception as error:  # decord raises its own DECORDError, RuntimeError and IndexError
                raise CorruptVideoError(self._path, stage="decode", reason=_one_line(error)) from error
            for row in np.searchsorted(distinct, indices):
                pts_s = float(self._starts_N[distinct[row]])
                if frame is None or frame.pts_s != pts_s:
                    frame = Frame(rgb_THWC[row].copy(), pts_s)
                yield frame

    def close(self) -> None:
        """Give back the file; calling it twice is fine."""
        self._reader = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_first(self, first: Frame) -> None:
        rgb_HWC = next(self.frames_at([0.0])).rgb_HWC
        if rgb_HWC.shape != first.rgb_HWC.shape or _difference_255(rgb_HWC, first.rgb_HWC) > _MAX_DIFFERENCE_255:
            reason = "decord's first frame is not the file's first frame; try backend='pyav'"
            raise CorruptVideoError(self._path, stage="probe", reason=reason)

    def _checked_starts(self) -> Float32Array:
        """(N,) ascending seconds of the file's clock."""
        try:
            starts_N: Float32Array = self._reader.get_frame_timestamp(range(len(self._reader)))[:, 0]
        except Exception as error:  # as above
            raise CorruptVideoError(self._path, stage="probe", reason=_one_line(error)) from error
        inside = (starts_N >= 0) & (starts_N <= self.info.duration_s + _TIME_TOLERANCE_S)
        if not inside.all() or (np.diff(starts_N) <= 0).any():
            reason = f"decord's frame times are invalid ({starts_N.min():.3g} to {starts_N.max():.3g} s)"
            raise CorruptVideoError(self._path, stage="probe", reason=f"{reason}; try backend='pyav'")
        starts_N += np.float32(self.info.start_s) - starts_N[0]
        return starts_N


def _version(path: Path) -> tuple[int, int]:
    """Size and time of change; (0, 0) of what is not there, which PyAV refuses in its own words."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


def _open(path: Path) -> "decord.VideoReader":
    try:
        import decord
    except ImportError as error:
        raise ConfigError(f"decord cannot be imported ({error}); try backend='pyav' or: pip install decord2") from error
    decord.logging.set_level(decord.logging.QUIET)
    try:
        return decord.VideoReader(str(path.absolute()), ctx=decord.cpu(0), num_threads=1)
    except Exception as error:  # as above
        raise CorruptVideoError(path, stage="open", reason=f"{_one_line(error)}; try backend='pyav'") from error


def _difference_255(a_HWC: UInt8Array, b_HWC: UInt8Array) -> float:
    return float(np.abs(a_HWC.astype(np.int16) - b_HWC).mean())


def _one_line(error: Exception) -> str:
    return f"decord: {' '.join(str(error).split())[:200]}"
