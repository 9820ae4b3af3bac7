"""The archive decoder: PyAV (FFmpeg), exact times, any codec, honest about damaged files.

Times come from presentation timestamps. A file without them (AVI with B-frames) is timed by decoding timestamps, which
the decoder hands out in display order. A frame whose time does not pass its predecessor's is never on screen.

The duration is never taken from the header alone: the packets at the end of the file are read, not decoded, to find
where the last frame ends, because the header of a cut-off file promises minutes that are not there.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Self, cast

import av
import numpy as np

from vlrlt.errors import ConfigError, CorruptVideoError
from vlrlt.types import Float64Array, Frame, UInt8Array, VideoInfo
from vlrlt.video.container import one_line, open_container
from vlrlt.video.frame_skipping import LONGEST_GAP_FRAMES, FrameSkipping

SEEKABLE_CONTAINERS = ("mov", "matroska", "flv", "mpegts")
"""They store a presentation time for every frame, so the times after a seek are those of a full decode."""

_SEEK_GAP_S = 5.0
"""Only a wanted time this far ahead is worth a seek; below it, decoding on costs about as much."""

_SEEK_MARGINS_S = (1.0, 10.0)
"""How long before a wanted time to aim, in turn: decoding times run ahead, and mpegts finds any packet, not a key."""

_KEY_TOLERANCE_S = 0.5
"""Indexes that count decoding times are so far off at most."""

_END_TOLERANCE_S = 0.25
"""Frames may end this much before the packets do: decoders withhold a frame or two of some healthy files."""

_PROMISE_TOLERANCE_S = 1.0
"""A header that promises this much more than there is (and 5 % of it) belongs to a file that was cut off."""

_MAX_DURATION_S = 31 * 86_400.0
"""A longer video has broken timestamps."""

_UNKNOWN_FRAME_S = Fraction(1, 25)
"""How long a frame lasts when the file says neither that nor a frame rate."""


def _nobody_watches() -> None:
    """The default of on_packet."""


class PyAVDecoder:
    """A video file opened with PyAV; a Decoder.

    Attributes:
        info: what the file holds.
        partial_reason: why frames that the file promises are missing, or None; final once frames_at is exhausted.
        decoded_until_s: where the last frame decoded so far ends.
        pixel_aspect: width of a pixel by its height, as the file says; None: it does not.
        key_times_s: (K,) about when the key frames come, ascending; empty where the container has no index of them.

    Raises:
        NotAVideoError: not a regular file, no known container, or no video stream.
        CorruptVideoError: no frame of it can be decoded.
    """

    def __init__(self, path: Path, *, on_packet: Callable[[], None] = _nobody_watches) -> None:
        """Decode the first frame and find the end of the last.

        Args:
            path: a regular local file.
            on_packet: called for every packet read, so that a watcher can tell slow from stuck.
        """
        self._path = path
        self._on_packet = on_packet
        self._pass: _Pass | None = None
        self.partial_reason: str | None = None
        self.decoded_until_s = 0.0
        with _Pass(path, on_packet) as video:
            first = video.first()
            promised_s = video.promised_s()
            aim_s = (promised_s or 0) - _SEEK_MARGINS_S[0]
            end_s = video.packets_end_s() if aim_s > 0 and video.seek(aim_s) else 0.0
            if end_s <= 0:
                with _Pass(path, on_packet, clock=video.clock) as whole:
                    end_s = whole.packets_end_s()
            self.info = _video_info(path, video, first, duration_s=max(first.end_s, end_s))
            self.pixel_aspect = video.stream.sample_aspect_ratio
            self.key_times_s = video.key_times_s()
            self._clock = video.clock
        duration_s = self.info.duration_s
        if duration_s > _MAX_DURATION_S:
            raise CorruptVideoError(path, stage="probe", reason=f"its frame times span {duration_s:.0f} s")
        if promised_s is not None and promised_s > duration_s * 1.05 + _PROMISE_TOLERANCE_S:
            self.partial_reason = f"the header promises {promised_s:.2f} s, the file ends after {duration_s:.2f} s"

    @property
    def first_ticks(self) -> int:
        """Presentation time of the first frame, in the stream's own units."""
        return self._clock.first_pts_ticks

    def shown_s(self, frame: av.VideoFrame) -> float:
        """When a frame of this video is shown, in seconds since its first one."""
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
        with _Pass(self._path, self._on_packet, clock=self._clock, skipping=skipping) as video:
            self._pass = video
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
        with _Pass(self._path, self._on_packet, clock=self._clock) as video:
            self._pass = video
            shown: _TimedFrame | None = video.first()
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
        with _Pass(self._path, self._on_packet, clock=self._clock, skipping="key frames") as video:
            self._pass = video
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
        with _Pass(self._path, self._on_packet, clock=self._clock) as video:
            shown = video.jump(start_s, here_s=0.0)
            while shown.pts_s < start_s and (coming := video.next()) is not None and coming.pts_s <= end_s:
                shown = coming
            is_damaged = video.error is not None or shown.end_s < start_s
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

    def _ends_early(self, video: "_Pass", end_s: float) -> bool:
        """Whether the frames ended before the packets do; says why in partial_reason."""
        duration_s = self.info.duration_s
        if video.error is not None:
            self.partial_reason = f"decoding stopped at {end_s:.2f} s of {duration_s:.2f} s: {video.error}"
        elif end_s < duration_s - _END_TOLERANCE_S - video.longest_gap_s:
            self.partial_reason = f"the frames end at {end_s:.2f} s, the packets at {duration_s:.2f} s"
        else:
            return False
        return True


@dataclass(frozen=True)
class _TimedFrame:
    frame: av.VideoFrame
    pts_s: float
    end_s: float


@dataclass(frozen=True)
class _Clock:
    """Turns a stream's ticks into seconds since its first frame."""

    time_base: Fraction
    first_pts_ticks: int
    """The first frame's timestamp."""
    first_dts_ticks: int
    """The first packet's decoding timestamp."""

    def shown_s(self, pts_ticks: int) -> float:
        return (pts_ticks - self.first_pts_ticks) * self.time_base.numerator / self.time_base.denominator

    def decoded_s(self, dts_ticks: int) -> float:
        return (dts_ticks - self.first_dts_ticks) * self.time_base.numerator / self.time_base.denominator

    def pts_ticks(self, time_s: float) -> int:
        return self.first_pts_ticks + math.floor(time_s / self.time_base)


class _Pass:
    """One pass forward over the frames of a file, with their times; it can jump to a later key frame."""

    def __init__(
        self,
        path: Path,
        on_packet: Callable[[], None],
        *,
        clock: _Clock | None = None,
        skipping: FrameSkipping = "every frame",
    ) -> None:
        self._path = path
        self._on_packet = on_packet
        self._clock = clock
        self._skipping = skipping
        self._start()
        self.can_jump = self._container.format.name.split(",")[0] in SEEKABLE_CONTAINERS

    def _start(self) -> None:
        self._container, self.stream = open_container(self._path)
        if self._skipping == "reference frames":
            self.stream.codec_context.skip_frame = "NONREF"
        self._time_base = cast(Fraction, self.stream.time_base)  # None only for output
        self._frames = self._decode()
        self._first_dts_ticks = 0
        self._last_ticks: int | None = None
        self._next_ticks: int | None = None
        self.error: str | None = None
        """Why the frames ended before the packets did."""

    @property
    def longest_gap_s(self) -> float:
        """How much of the end may be missing because frames are left out on purpose."""
        tick_s = self._time_base.numerator / self._time_base.denominator
        return 0.0 if self._skipping == "every frame" else LONGEST_GAP_FRAMES * self._usual_frame_ticks() * tick_s

    @property
    def clock(self) -> _Clock:
        """Known from the first frame on."""
        return cast(_Clock, self._clock)

    def first(self) -> _TimedFrame:
        """The first frame of the file; CorruptVideoError where there is none."""
        frame = self.next()
        if frame is None:
            raise CorruptVideoError(self._path, stage="decode", reason=self.error or "it has no video frame")
        return frame

    def next(self) -> _TimedFrame | None:
        """The next frame that is ever on screen; None at the end of the file or of what can be decoded."""
        for frame in self._frames:
            ticks = next((ticks for ticks in (frame.pts, frame.dts, self._next_ticks) if ticks is not None), None)
            if ticks is None:
                self.error = "its frames carry no times"
                return None
            if self._last_ticks is not None and ticks <= self._last_ticks:
                continue
            self._last_ticks = ticks
            self._next_ticks = ticks + (frame.duration or self._usual_frame_ticks())
            if self._clock is None:
                self._clock = _Clock(self._time_base, ticks, self._first_dts_ticks)
            return _TimedFrame(frame, self.clock.shown_s(ticks), self.clock.shown_s(self._next_ticks))
        return None

    def jump(self, time_s: float, *, here_s: float) -> _TimedFrame:
        """Go on at the key frame before time_s, or from the start in a file where seeking goes astray."""
        for margin_s in _SEEK_MARGINS_S:
            found = self.next() if self.seek(time_s - margin_s) else None
            # A decoder that starts elsewhere, because the file names the wrong packets as keys, gives broken pictures.
            if found is not None and found.pts_s <= time_s and found.frame.key_frame:
                break
        else:
            self.close()
            self._start()
            found = self.first()
        # Not ahead: the key frames lie further apart than the wanted times, so decoding on costs less.
        self.can_jump = found.pts_s > here_s
        return found

    def key_frame(self, time_s: float, *, until_s: float) -> _TimedFrame | None:
        """The key frame at a time of the container's index, and no other; None where it cannot be had.

        Demuxers that leave out packets themselves (AVDISCARD) give wrong times in mp4, so each is sought.
        """
        found = self.next() if self.seek((time_s + until_s) / 2) else None
        is_it = found is not None and abs(found.pts_s - time_s) <= max(_KEY_TOLERANCE_S, (until_s - time_s) / 2)
        return found if is_it else None

    def seek(self, time_s: float) -> bool:
        """Move to the key frame before time_s, where FFmpeg can."""
        self._last_ticks = self._next_ticks = self.error = None
        try:
            self._container.seek(self.clock.pts_ticks(time_s), stream=self.stream)
        except Exception:  # whatever it was, the caller has another way
            return False
        self._frames = self._decode()
        return True

    def promised_s(self) -> float | None:
        """The length of the video stream that the header claims, if it does."""
        stream, container = self.stream, self._container
        if stream.duration:
            return float(stream.duration * self._time_base)
        if tag := re.fullmatch(r"(\d+):(\d+):(\d+\.?\d*)", stream.metadata.get("DURATION", "")):  # Matroska
            return int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3])
        return container.duration / av.time_base if container.duration and len(container.streams) == 1 else None

    def key_times_s(self) -> Float64Array:
        """Where the container's index has key frames, ascending; some indexes count decoding times."""
        entries = self.stream.index_entries
        ticks = np.sort([entry.timestamp for entry in entries if entry.is_keyframe])
        tick_s = self._time_base.numerator / self._time_base.denominator
        return np.asarray((ticks - ticks[0]) * tick_s if len(ticks) else [], np.float64)

    def packets_end_s(self) -> float:
        """Where the last packet ends that can be read from here on; 0 where there is none."""
        shown_end_s = decoded_end_s = 0.0
        all_shown = True
        usual_ticks = self._usual_frame_ticks()
        for packet in self._packets():
            length_ticks = packet.duration or usual_ticks
            if packet.dts is not None:
                all_shown &= packet.pts is not None
                decoded_end_s = max(decoded_end_s, self.clock.decoded_s(packet.dts + length_ticks))
            if packet.pts is not None and not packet.is_discard:
                shown_end_s = max(shown_end_s, self.clock.shown_s(packet.pts + length_ticks))
        return shown_end_s if all_shown else decoded_end_s

    def close(self) -> None:
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _packets(self) -> "Iterator[av.Packet[av.VideoStream]]":
        """Every packet up to the end of the file or of what can be read."""
        try:
            for packet in self._container.demux(self.stream):
                self._on_packet()
                yield packet
        except Exception as error:  # PyAV raises a dozen unrelated types on damaged files
            self.error = one_line(error)

    def _decode(self) -> Iterator[av.VideoFrame]:
        """Every frame in display order, or the first key frame; after a seek, decoders begin with a key frame."""
        for index, packet in enumerate(self._packets()):
            if index == 0:
                self._first_dts_ticks = packet.dts or 0
            if self._skipping == "key frames" and not packet.is_keyframe:
                continue
            try:
                frames = packet.decode()
            except Exception as error:  # as above
                self.error = one_line(error)
                break
            yield from frames
            if self._skipping == "key frames":
                break
        if self.error is not None or self._skipping == "key frames":
            yield from self._delayed()

    def _delayed(self) -> list[av.VideoFrame]:
        """The frames that were sent to the decoder before an error and wait in it for their turn."""
        try:
            return self.stream.decode(None)
        except Exception:  # the reason is already known
            return []

    def _usual_frame_ticks(self) -> int:
        """A frame's length where the container does not tell."""
        frame_s = 1 / self.stream.average_rate if self.stream.average_rate else _UNKNOWN_FRAME_S
        return max(1, round(frame_s / self._time_base))


def _video_info(path: Path, video: _Pass, first: _TimedFrame, *, duration_s: float) -> VideoInfo:
    turns = quarter_turns(first.frame)
    height_px, width_px = first.frame.height, first.frame.width
    if turns % 2:
        height_px, width_px = width_px, height_px
    return VideoInfo(
        path=path,
        duration_s=duration_s,
        start_s=float(video.clock.first_pts_ticks * video.clock.time_base),
        average_fps=float(video.stream.average_rate or 0),
        width_px=width_px,
        height_px=height_px,
        rotation_deg=-90 * turns % 360,
        codec=video.stream.codec.canonical_name,
    )


def quarter_turns(frame: av.VideoFrame) -> int:
    """Counterclockwise quarter turns that the display matrix asks for."""
    return round(frame.rotation / 90) % 4


def upright_rgb(frame: av.VideoFrame, path: Path) -> UInt8Array:
    """RGB pixels as they are shown.

    Raises:
        CorruptVideoError: they cannot be converted.
    """
    try:
        rgb_HWC = frame.to_ndarray(format="rgb24", threads=1)
    except Exception as error:  # as in _Pass
        raise CorruptVideoError(path, stage="decode", reason=one_line(error)) from error
    return np.ascontiguousarray(np.rot90(rgb_HWC, quarter_turns(frame)), dtype=np.uint8)
