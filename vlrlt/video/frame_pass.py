"""One pass over the frames of a file, with their times: forward, or from a later key frame on."""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Self, cast

import av
import numpy as np

from vlrlt.errors import CorruptVideoError
from vlrlt.types import Float64Array
from vlrlt.video.container import one_line, open_container, picture_tracks
from vlrlt.video.frame_skipping import LONGEST_GAP_FRAMES, FrameSkipping
from vlrlt.video.packet_reader import MOST_ERRORS, RESTARTING_CONTAINERS, FileClock, PacketReader

SEEKABLE_CONTAINERS = ("mov", "matroska", "flv", "mpegts")
"""They store a presentation time for every frame, so the times after a seek are those of a full decode."""

SEEK_MARGINS_S = (1.0, 10.0)
"""How long before a wanted time to aim, in turn: decoding times run ahead, and mpegts finds any packet, not a key."""

_KEY_TOLERANCE_S = 0.5
"""Indexes that count decoding times are so far off at most."""

_LATE_S = 0.1
"""Pictures that begin up to so much after the file begin with it: sound codecs need a few samples before the first."""

_UNKNOWN_FRAME_S = Fraction(1, 25)
"""How long a frame lasts when the file says neither that nor a frame rate."""


@dataclass(frozen=True)
class TimedFrame:
    """A decoded picture, and the seconds at which it comes and goes."""

    frame: av.VideoFrame
    pts_s: float
    end_s: float


@dataclass(frozen=True)
class StreamClock:
    """Turns a stream's ticks into seconds of the file's clock."""

    time_base: Fraction
    zero_ticks: int
    """Where the file begins."""
    first_pts_ticks: int
    """The first frame's timestamp."""
    first_dts_ticks: int
    """The first packet's decoding timestamp."""

    def shown_s(self, pts_ticks: int) -> float:
        """When a frame with this timestamp is shown."""
        return (pts_ticks - self.zero_ticks) * self.time_base.numerator / self.time_base.denominator

    def decoded_s(self, dts_ticks: int) -> float:
        """When a frame is shown whose packet has this decoding timestamp, in files without others."""
        return self.shown_s(dts_ticks - self.first_dts_ticks + self.first_pts_ticks)

    def pts_ticks(self, time_s: float) -> int:
        """The timestamp at a time."""
        return self.zero_ticks + math.floor(time_s / self.time_base)

    def file_clock(self, shifts_s: tuple[float, ...]) -> FileClock:
        """The same for all streams."""
        return FileClock(zero_s=float(self.zero_ticks * self.time_base), shifts_s=shifts_s)


class FramePass:
    """One pass forward over the frames of a file, with their times; it can jump to a later key frame.

    A packet that cannot be decoded is counted and the pass goes on, unless MOST_ERRORS come in a row.

    Attributes:
        stream: the pictures.
        can_jump: whether a jump to a time leads there.
        first_loss_s: about when the first picture is missing; None: none is, as far as the pass has come.
    """

    def __init__(
        self,
        path: Path,
        on_packet: Callable[[], None],
        *,
        clock: StreamClock | None = None,
        can_seek: bool = True,
        goes_on: bool = True,
        skipping: FrameSkipping = "every frame",
    ) -> None:
        """Open the file.

        Args:
            path: a regular local file.
            on_packet: called for every packet read.
            clock: known from an earlier pass.
            can_seek: whether the container's times are in order.
            goes_on: behind packets that cannot be decoded; False: the frames end there.
            skipping: which frames are left out.
        """
        self._path = path
        self._on_packet = on_packet
        self._clock = clock
        self._skipping = skipping
        self.first_loss_s: float | None = None
        self._goes_on = goes_on
        self._start()
        self.can_jump = can_seek and self._container.format.name.split(",")[0] in SEEKABLE_CONTAINERS

    def _start(self) -> None:
        self._container, self.stream = open_container(self._path)
        if self._skipping == "reference frames":
            self.stream.codec_context.skip_frame = "NONREF"
        self._time_base = cast(Fraction, self.stream.time_base)  # None only for output
        self.packets = PacketReader(self._container, self.stream, on_packet=self._on_packet)
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
    def clock(self) -> StreamClock:
        """Known from the first frame on."""
        return cast(StreamClock, self._clock)

    def first(self) -> TimedFrame:
        """The first frame of the file; CorruptVideoError where there is none."""
        frame = self.next()
        if frame is None:
            reason = self.error or self.packets.first_error or "it has no video frames"
            raise CorruptVideoError(self._path, stage="decode", reason=reason)
        return frame

    def next(self) -> TimedFrame | None:
        """The next frame that is ever on screen; None at the end of the file or of what can be decoded."""
        for frame in self._frames:
            ticks = next((ticks for ticks in (frame.pts, frame.dts, self._next_ticks) if ticks is not None), None)
            if ticks is None:
                self.error = "its frames have no times"
                return None
            if self._last_ticks is not None and ticks <= self._last_ticks:
                continue
            self._last_ticks = ticks
            self._next_ticks = ticks + (frame.duration or self._usual_frame_ticks())
            if self._clock is None:
                self._clock = StreamClock(self._time_base, self._zero_ticks(frame, ticks), ticks, self._first_dts_ticks)
            return TimedFrame(frame, self.clock.shown_s(ticks), self.clock.shown_s(self._next_ticks))
        return None

    def jump(self, time_s: float, *, here_s: float) -> TimedFrame:
        """Go on at the key frame before time_s, or from the start in a file where seeking goes astray."""
        for margin_s in SEEK_MARGINS_S:
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

    def key_frame(self, time_s: float, *, until_s: float) -> TimedFrame | None:
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
        self.packets.restart()
        self._frames = self._decode()
        return True

    def _zero_ticks(self, first: av.VideoFrame, first_ticks: int) -> int:
        """Where the file begins in ticks of the pictures."""
        if self._container.start_time is None:
            return first_ticks
        # Decoding times are not those at which pictures are shown: the first of them belongs to the first picture.
        start_ticks = self.stream.start_time
        shown_ticks = start_ticks if first.pts is None and start_ticks is not None else first_ticks
        late_s = shown_ticks * self._time_base - Fraction(self._container.start_time, av.time_base)
        return first_ticks - (round(late_s / self._time_base) if late_s > _LATE_S else 0)

    @property
    def clock_may_restart(self) -> bool:
        """Whether only all packets tell how long the file is; some recorders of flv count anew as well."""
        return self._container.format.name in (*RESTARTING_CONTAINERS, "flv")

    @property
    def index_goes_back(self) -> bool:
        """Whether packets stand before earlier ones, as far as the container has an index: its clock restarts."""
        ticks = [entry.timestamp for entry in self.stream.index_entries]
        places = [entry.pos for entry in self.stream.index_entries]
        return ticks != sorted(ticks) or places != sorted(places)

    @property
    def num_tracks(self) -> int:
        """Of pictures, covers aside."""
        return len(picture_tracks(self._container))

    def promised_s(self) -> float | None:
        """The end of the video stream that the header claims, if it does."""
        stream, container = self.stream, self._container
        if container.format.name in RESTARTING_CONTAINERS:
            return None  # they have no header; FFmpeg estimates
        late_s = self.clock.shown_s(self.clock.first_pts_ticks)
        if container.format.name == "avi" and stream.frames:
            return late_s + float(stream.frames * self._time_base)  # FFmpeg makes the duration fit the file
        if stream.duration:
            return late_s + float(stream.duration * self._time_base)
        if tag := re.fullmatch(r"(\d+):(\d+):(\d+\.?\d*)", stream.metadata.get("DURATION", "")):  # Matroska
            return int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3])
        return container.duration / av.time_base if container.duration and len(container.streams) == 1 else None

    def key_times_s(self) -> Float64Array:
        """Where the container's index has key frames, ascending; some indexes count decoding times."""
        entries = self.stream.index_entries
        ticks = np.sort([entry.timestamp for entry in entries if entry.is_keyframe])
        tick_s = self._time_base.numerator / self._time_base.denominator
        first_s = self.clock.shown_s(self.clock.first_pts_ticks)
        return np.asarray(first_s + (ticks - ticks[0]) * tick_s if len(ticks) else [], np.float64)

    def packets_end_s(self) -> float:
        """Where the last packet ends that can be read from here on; 0 where there is none."""
        shown_end_s = decoded_end_s = 0.0
        all_shown = True
        usual_ticks = self._usual_frame_ticks()
        for packet in self.packets:
            length_ticks = packet.duration or usual_ticks
            if packet.dts is not None:
                all_shown &= packet.pts is not None
                decoded_end_s = max(decoded_end_s, self.clock.decoded_s(packet.dts + length_ticks))
            if packet.pts is not None and not packet.is_discard:
                shown_end_s = max(shown_end_s, self.clock.shown_s(packet.pts + length_ticks))
        return shown_end_s if all_shown else decoded_end_s

    def close(self) -> None:
        """Give back the file."""
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _decode(self) -> Iterator[av.VideoFrame]:
        """Every frame in display order, or the first key frame; after a seek, decoders begin with a key frame."""
        errors = 0
        for index, packet in enumerate(self.packets):
            if index == 0:
                self._first_dts_ticks = packet.dts or 0
            if self._skipping == "key frames" and not packet.is_keyframe:
                continue
            try:
                frames = packet.decode()
            except Exception as error:  # PyAV raises a dozen unrelated types on damaged files
                errors += 1
                self._lose(packet, error)
                if errors == (MOST_ERRORS if self._goes_on else 1):
                    self.error = one_line(error)
                    break
                continue
            errors = 0 if frames else errors
            yield from frames
            if self._skipping == "key frames":
                break
        self.error = self.error or self.packets.error
        if self.error is not None or self._skipping == "key frames":
            yield from self._delayed()

    def _lose(self, packet: "av.Packet[av.VideoStream]", error: Exception) -> None:
        self.packets.lose(error)
        ticks = packet.pts if packet.pts is not None else packet.dts
        if self.first_loss_s is None and ticks is not None and self._clock is not None:
            self.first_loss_s = self._clock.shown_s(ticks)

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
