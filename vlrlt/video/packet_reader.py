"""Packets of a file in their order, on a clock that only rises; what cannot be read is counted, and reading goes on.

Recordings that are joined byte by byte, and cameras whose clock is set, hold times that jump back: the second recording
begins at 0 again. There running time goes on: from the jump on, a shift is added to every time. Each reader finds the
same shifts, because it begins with the file; where there are any, nobody seeks by time. The limits are those of FFmpeg
(`ts_discontinuity_detect` in fftools/ffmpeg_demux.c), but for the frames that are reordered.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import av
import av.container
from av.stream import Stream

from vlrlt.video.container import one_line

RESTARTING_CONTAINERS = ("mpegts", "mpeg")
"""Their clocks count from anywhere, end after 26.5 hours, and restart in joined files; a gap means a restart."""
MOST_ERRORS = 1_000
"""Reading ends after so many errors in a row: longer than the groups of pictures that depend on one another."""
_LEAST_BACK_S = 0.1
_REORDERED_FRAMES = 8
"""A time that lies further back than both is of another clock; what lies less far back is reordered or inexact."""
_MOST_AHEAD_S = 10.0
"""A clock that can restart does not leap further ahead."""


@dataclass(frozen=True, kw_only=True)
class FileClock:
    """The clock that users, players and subtitles count by, on that of the container."""

    zero_s: float
    """Where the file begins: with its first picture or sound, whatever comes first."""
    shifts_s: tuple[float, ...] = (0.0,)
    """What is added to the container's times from the beginning and from each restart on."""

    @property
    def restarts(self) -> bool:
        """Whether times of the container are ambiguous, so that nobody may seek by them."""
        return len(self.shifts_s) > 1


class PacketReader:
    """Iterates the packets of some streams, with running time in place of the container's.

    Args:
        container: at its beginning.
        streams: those that are read.
        on_packet: called for every packet.
        clock: of the file if it is known: streams of sound restart where its pictures do.

    Attributes:
        num_lost: packets that cannot be read, or of which a decoder has said so.
        first_error: why the first of them cannot be.
        error: why the packets end before the file does.
        shifts_s: as those of FileClock; found by the first stream so far.
    """

    def __init__(
        self,
        container: av.container.InputContainer,
        *streams: "av.VideoStream | av.AudioStream",
        on_packet: Callable[[], None] | None = None,
        clock: FileClock | None = None,
    ) -> None:
        self.num_lost = 0
        self.first_error: str | None = None
        self.error: str | None = None
        self._container = container
        self._streams = streams
        self._on_packet = on_packet
        self._known_s = None if clock is None else clock.shifts_s
        self.restart()

    def restart(self) -> None:
        """The container has been sought: the next packet comes from elsewhere."""
        can_leap = self._container.format.name in RESTARTING_CONTAINERS
        self._times = {
            stream.index: _RunningTime(stream, can_leap=can_leap, known_s=self._known_s) for stream in self._streams
        }
        self._packets = self._read()

    @property
    def shifts_s(self) -> tuple[float, ...]:
        """What was added from the beginning and from each restart on."""
        return tuple(next(iter(self._times.values())).shifts_s)

    def __iter__(self) -> "Iterator[av.Packet[Any]]":
        return self._packets

    def lose(self, error: Exception | str) -> None:
        """Count a packet."""
        self.num_lost += 1
        self.first_error = self.first_error or (error if isinstance(error, str) else one_line(error))

    def _read(self) -> "Iterator[av.Packet[Any]]":
        errors = 0
        while self.error is None:
            try:
                for packet in self._container.demux(*self._streams):
                    errors = 0
                    if self._on_packet is not None:
                        self._on_packet()
                    times = self._times[packet.stream.index]  # the last, empty ones have no stream_index
                    times.apply(packet)
                    if packet.is_discard and len(times.shifts_s) > 1:
                        self.lose("FFmpeg leaves out what follows the restart of its clock")
                    yield packet
                return
            except Exception as error:  # PyAV raises a dozen unrelated types on damaged files
                errors += 1
                self.lose(error)
                # Asked again, a demuxer goes on behind invalid data; a disk that does not read has no more to say.
                if errors == MOST_ERRORS or not isinstance(error, av.error.InvalidDataError):
                    self.error = one_line(error)


class _RunningTime:
    """Of one stream: adds to the times of its packets what makes them go on."""

    def __init__(self, stream: Stream, *, can_leap: bool, known_s: Sequence[float] | None) -> None:
        self._tick_s = float(stream.time_base or 1)
        rate = stream.average_rate if isinstance(stream, av.VideoStream) else None
        self._usual_ticks = max(1, round(float(1 / rate if rate else 0.04) / self._tick_s))
        self._can_leap = can_leap
        self._known_s = known_s
        self._due_ticks: int | None = None
        """When the next packet is expected to be decoded."""
        self._end_ticks = 0
        """Where the last picture ends."""
        self._shift_ticks = 0
        self.shifts_s = [0.0]

    def apply(self, packet: "av.Packet[Any]") -> None:
        if packet.size and packet.dts is packet.pts is None:  # of a raw stream: frames follow at its rate
            packet.dts = (self._due_ticks or 0) - self._shift_ticks
        if packet.dts is not None:
            due_ticks = packet.dts + self._shift_ticks
            if self._due_ticks is not None and self._is_restart((due_ticks - self._due_ticks) * self._tick_s):
                self._restart(packet, packet.dts)
                due_ticks = packet.dts + self._shift_ticks
            self._due_ticks = due_ticks + (packet.duration or self._usual_ticks)
            packet.dts = due_ticks
        if packet.pts is not None:
            packet.pts += self._shift_ticks
            self._end_ticks = max(self._end_ticks, packet.pts + (packet.duration or self._usual_ticks))

    def _is_restart(self, ahead_s: float) -> bool:
        most_back_s = max(_LEAST_BACK_S, _REORDERED_FRAMES * self._usual_ticks * self._tick_s)
        is_leap = ahead_s > _MOST_AHEAD_S and (self._can_leap or len(self.shifts_s) > 1)
        return ahead_s < -most_back_s or is_leap

    def _restart(self, packet: "av.Packet[Any]", dts_ticks: int) -> None:
        shift_ticks = (self._due_ticks or 0) - dts_ticks
        if packet.pts is not None:
            shift_ticks = max(shift_ticks, self._end_ticks - packet.pts)
        if self._known_s is not None:
            nearest_s = min(self._known_s, key=lambda shift_s: abs(shift_s - shift_ticks * self._tick_s))
            if abs(nearest_s - shift_ticks * self._tick_s) <= _MOST_AHEAD_S:
                shift_ticks = round(nearest_s / self._tick_s)
        self._shift_ticks = shift_ticks
        self.shifts_s.append(shift_ticks * self._tick_s)
