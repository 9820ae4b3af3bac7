"""The archive decoder: PyAV (FFmpeg), exact times, any codec, honest about damaged files.

Times are seconds of the file's clock, as players and subtitles count: 0 is where the file begins, with its first
picture or its first sound. They come from presentation timestamps. A file without them (AVI with B-frames) is timed by
decoding timestamps, which the decoder hands out in display order. A frame whose time does not pass its predecessor's is
never on screen.

The duration is never taken from the header alone: the packets at the end of the file are read, not decoded, to find
where the last frame ends, because the header of a cut-off file promises minutes that are not there.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import av
import numpy as np

from vlrlt.errors import ConfigError, CorruptVideoError
from vlrlt.types import Frame, UInt8Array, VideoInfo
from vlrlt.video.container import one_line, written_end
from vlrlt.video.frame_pass import SEEK_MARGINS_S, FramePass, TimedFrame
from vlrlt.video.frame_skipping import FrameSkipping
from vlrlt.video.orientation import orientation, shown_aspect
from vlrlt.video.viewing import Viewing

_SEEK_GAP_S = 5.0
"""Only a wanted time this far ahead is worth a seek; below it, decoding on costs about as much."""

_END_TOLERANCE_S = 0.25
"""Frames may end this much before the packets do: decoders withhold a frame or two of some healthy files."""

_PROMISE_TOLERANCE_S = 1.0
"""A header that promises this much more than there is (and 5 % of it) belongs to a file that was cut off."""

_MAX_DURATION_S = 31 * 86_400.0
"""A longer video has broken timestamps."""

_ENDS: dict[tuple[Path, int, int], tuple[float, tuple[float, ...]]] = {}
"""Where files end whose packets all had to be read, and the shifts of their clocks; by path, size, time of change."""
_MOST_ENDS = 1_000


def _nobody_watches() -> None:
    """The default of on_packet."""


class PyAVDecoder:
    """A video file opened with PyAV; a Decoder.

    Attributes:
        info: what the file holds.
        partial_reason: why frames that the file promises are missing, or None; final once frames_at is exhausted.
        decoded_until_s: where the last frame decoded so far ends.
        file_clock: the clock of the info on that of the container.
        pixel_aspect: width of a stored pixel by its height, as the file says; None: it does not.
        shown_aspect: width of a pixel by its height, as it is shown.
        view: how its pictures are made visible to people.
        key_times_s: (K,) about when the key frames come, ascending; empty where the container has no index of them.

    Raises:
        NotAVideoError: not a regular file, no known container, or no video stream.
        CorruptVideoError: no frame of it can be decoded.
    """

    def __init__(self, path: Path, *, on_packet: Callable[[], None] = _nobody_watches, goes_on: bool = True) -> None:
        """Decode the first frame and find the end of the last.

        Args:
            path: a regular local file.
            on_packet: called for every packet read, so that a watcher can tell slow from stuck.
            goes_on: behind packets that cannot be decoded; False: the frames end there.
        """
        self._path = path
        self._on_packet = on_packet
        self._goes_on = goes_on
        self._pass: FramePass | None = None
        self.partial_reason: str | None = None
        self.decoded_until_s = 0.0
        with FramePass(path, on_packet) as video:
            first = video.first()
            promised_s = video.promised_s()
            end_s, shifts_s = self._find_end(video, promised_s)
            self.file_clock = video.clock.file_clock(shifts_s)
            self.info = _video_info(path, video, first, duration_s=max(first.end_s, end_s))
            num_tracks = video.num_tracks
            self.pixel_aspect = video.stream.sample_aspect_ratio
            self.shown_aspect = shown_aspect(self.pixel_aspect, orientation(first.frame))
            self.view = Viewing.of(first.frame)
            self.key_times_s = np.zeros(0) if self.file_clock.restarts else video.key_times_s()
            self._clock = video.clock
        duration_s = self.info.duration_s
        if duration_s > _MAX_DURATION_S:
            raise CorruptVideoError(path, stage="probe", reason=f"its frame times span {duration_s:.0f} s")
        end = written_end(path)
        if end is not None:
            self.partial_reason = f"after {end} bytes it holds only zeros"
        elif promised_s is not None and promised_s > duration_s * 1.05 + _PROMISE_TOLERANCE_S:
            self.partial_reason = f"the header promises {promised_s:.2f} s, the file ends after {duration_s:.2f} s"
        elif num_tracks > 1:
            self.partial_reason = f"more than one track of pictures: it has {num_tracks}"

    def _find_end(self, video: FramePass, promised_s: float | None) -> tuple[float, tuple[float, ...]]:
        """Where the last packet ends, and the shifts of the file's clock."""
        aim_s = 0.0 if video.clock_may_restart or promised_s is None else promised_s - SEEK_MARGINS_S[0]
        if aim_s > 0 and video.seek(aim_s):
            end_s = video.packets_end_s()
            if end_s > 0 and len(video.packets.shifts_s) == 1 and not video.index_goes_back:
                return end_s, video.packets.shifts_s
        facts = self._path.stat()
        key = (self._path.absolute(), facts.st_size, facts.st_mtime_ns)
        if key not in _ENDS:
            with FramePass(self._path, self._on_packet, clock=video.clock) as whole:
                if len(_ENDS) >= _MOST_ENDS:
                    _ENDS.clear()
                _ENDS[key] = whole.packets_end_s(), whole.packets.shifts_s
        return _ENDS[key]

    @contextmanager
    def _new_pass(self, *, skipping: FrameSkipping = "every frame") -> Iterator[FramePass]:
        """Another pass from the beginning; what it has lost is in partial_reason afterwards."""
        can_seek = not self.file_clock.restarts
        options: dict[str, Any] = {"can_seek": can_seek, "goes_on": self._goes_on, "skipping": skipping}
        with FramePass(self._path, self._on_packet, clock=self._clock, **options) as video:
            self._pass = video
            try:
                yield video
            finally:
                self._tell_losses(video)

    @property
    def first_ticks(self) -> int:
        """Presentation time of the first frame, in the stream's own units."""
        return self._clock.first_pts_ticks

    def shown_s(self, frame: av.VideoFrame) -> float:
        """When a frame of this video is shown, in seconds of the file's clock."""
        return self._clock.shown_s(frame.pts if frame.pts is not None else int(frame.dts or 0))

    def frames_at(
        self, times_s: Iterable[float], *, skipping: FrameSkipping = "every frame", max_shift_s: float = math.inf
    ) -> Iterator[Frame]:
        """The frame on screen at each time; see vlrlt.video.decode.Decoder.frames_at.

        Args:
            times_s: as there.
            skipping: at "reference frames" the last of those on screen by then; at "key frames" the nearest of those.
            max_shift_s: where the nearest key frame lies further away, the first frame that does not is taken.
        """
        if skipping == "key frames":
            yield from self._key_frames_near(times_s, max_shift_s)
            return
        self.close()
        with self._new_pass(skipping=skipping) as video:
            shown, coming = video.first(), video.next()
            picture: Frame | None = None
            previous_s = -math.inf
            for time_s in times_s:
                if not time_s >= previous_s:
                    raise ConfigError(f"times_s must ascend, got {time_s} after {previous_s}; try sorted(times_s)")
                previous_s = time_s
                if coming is not None and time_s - coming.pts_s > _SEEK_GAP_S and video.can_jump:
                    shown, coming = video.jump(time_s, here_s=coming.pts_s), video.next()
                while coming is not None and coming.pts_s <= time_s:
                    shown, coming = coming, video.next()
                self.decoded_until_s = (coming or shown).end_s
                if coming is None and time_s >= shown.end_s and self._ends_early(video, shown.end_s):
                    return
                if picture is None or picture.pts_s != shown.pts_s:
                    picture = Frame(upright_rgb(shown.frame, self._path), shown.pts_s)
                yield picture

    def pictures_between(self, start_s: float, end_s: float) -> Iterator[tuple[av.VideoFrame, float, float]]:
        """Every picture on screen in [start_s, end_s), as it is stored, with the seconds at which it comes and goes."""
        self.close()
        with self._new_pass() as video:
            shown: TimedFrame | None = video.first()
            if start_s > _SEEK_GAP_S and video.can_jump:
                shown = video.jump(start_s, here_s=0.0)
            while shown is not None and shown.pts_s < end_s:
                coming = video.next()
                goes_s = shown.end_s if coming is None else coming.pts_s
                if goes_s > start_s:
                    yield shown.frame, max(shown.pts_s, start_s), min(goes_s, end_s)
                if coming is None and goes_s < end_s:
                    self._ends_early(video, goes_s)
                shown = coming

    def _key_frames_near(self, times_s: Iterable[float], max_shift_s: float) -> Iterator[Frame]:
        """Ends where a key frame is not what the container's index promises: other ways to read get further."""
        self.close()
        keys_s = np.append(self.key_times_s, self.info.duration_s)
        with self._new_pass(skipping="key frames") as video:
            shown: int | None = None
            picture: Frame
            for time_s in times_s:
                nearest = int(np.abs(keys_s[:-1] - time_s).argmin())
                if abs(keys_s[nearest] - time_s) > max_shift_s:
                    between = self._frame_within(time_s - max_shift_s, time_s)
                    if between is None:
                        return
                    shown, picture = None, between
                elif nearest != shown:
                    found = video.key_frame(keys_s[nearest], until_s=keys_s[nearest + 1])
                    if found is None:
                        return
                    shown, picture = nearest, Frame(upright_rgb(found.frame, self._path), found.pts_s)
                yield picture

    def _frame_within(self, start_s: float, end_s: float) -> Frame | None:
        """The first frame that comes then, else the one on screen, from the key frame before; None: it is damaged."""
        with self._new_pass() as video:
            shown = video.jump(start_s, here_s=0.0)
            while shown.pts_s < start_s and (coming := video.next()) is not None and coming.pts_s <= end_s:
                shown = coming
            is_damaged = video.packets.num_lost > 0 or video.error is not None or shown.end_s < start_s
            return None if is_damaged else Frame(upright_rgb(shown.frame, self._path), shown.pts_s)

    def close(self) -> None:
        """Give back the file; calling it twice is fine."""
        if self._pass is not None:
            self._pass.close()
            self._pass = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _tell_losses(self, video: FramePass) -> None:
        packets = video.packets
        if packets.num_lost and self.partial_reason is None:
            where = "" if video.first_loss_s is None else f", the first at {video.first_loss_s:.2f} s"
            self.partial_reason = f"packets that cannot be decoded: {packets.num_lost}{where}: {packets.first_error}"

    def _ends_early(self, video: FramePass, end_s: float) -> bool:
        """Whether the frames ended before the packets do; says why in partial_reason."""
        duration_s = self.info.duration_s
        ends_early = end_s < duration_s - _END_TOLERANCE_S - video.longest_gap_s
        error = video.error or (video.packets.first_error if ends_early else None)
        if error is not None:
            self.partial_reason = f"decoding stopped at {end_s:.2f} s of {duration_s:.2f} s: {error}"
        elif ends_early:
            self.partial_reason = f"the frames end at {end_s:.2f} s, the packets at {duration_s:.2f} s"
        return error is not None or ends_early


def _video_info(path: Path, video: FramePass, first: TimedFrame, *, duration_s: float) -> VideoInfo:
    shown = orientation(first.frame)
    size_px = first.frame.width, first.frame.height
    width_px, height_px = size_px[::-1] if shown.is_transposed else size_px
    return VideoInfo(
        path=path,
        duration_s=duration_s,
        start_s=first.pts_s,
        average_fps=float(video.stream.average_rate or 0),
        width_px=width_px,
        height_px=height_px,
        rotation_deg=shown.rotation_deg,
        codec=video.stream.codec.canonical_name,
    )


def upright_rgb(frame: av.VideoFrame, path: Path) -> UInt8Array:
    """RGB pixels as they are shown.

    Raises:
        CorruptVideoError: they cannot be converted.
    """
    try:
        rgb_HWC = frame.to_ndarray(format="rgb24", threads=1)
    except Exception as error:  # as in FramePass
        raise CorruptVideoError(path, stage="decode", reason=one_line(error)) from error
    return orientation(frame).upright(np.asarray(rgb_HWC, np.uint8))
