"""Chosen pictures of a video, decoded in pieces: only what they are predicted from is decoded.

A piece begins with a key frame and ends with the last picture that is wanted of its group; pictures that no other needs
are left out inside it. Pieces give exactly the pictures of a full decode (docs/experiments/looks.md). A packet that
cannot be decoded costs the pictures that need it, no more.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import av
import numpy as np

from vlrlt.video.container import one_line, open_container
from vlrlt.video.frame_pass import SEEKABLE_CONTAINERS
from vlrlt.video.packet_reader import PacketReader
from vlrlt.video.packets import PacketTable

_SEEK_PACKETS = 64
"""Reading so many packets, without decoding them, costs as much as a seek."""


@dataclass(frozen=True)
class Picture:
    """A picture that was wanted."""

    place: int
    """In the packet table."""
    frame: av.VideoFrame
    """The first frame that is shown from then on; the last one of its piece where there is none."""
    before: av.VideoFrame | None
    """The frame that was decoded before it, of the same piece."""


class PieceDecoder:
    """Decodes chosen pictures; a context manager.

    Args:
        path: a regular local file.
        packets: its packets.
        on_packet: called for every packet read.

    Attributes:
        num_lost: pictures that were wanted and could not be decoded.
        first_error: why the first packet that cannot be decoded cannot; None: all can.
    """

    def __init__(self, path: Path, packets: PacketTable, *, on_packet: Callable[[], None]) -> None:
        self.num_lost = 0
        self.first_error: str | None = None
        self._path = path
        self._packets = packets
        self._on_packet = on_packet
        self._ticks_of = dict(zip(packets.number_P.tolist(), packets.ticks_P.tolist(), strict=True))
        self._usual_ticks = int(np.median(np.diff(packets.ticks_P))) if len(packets) > 1 else 1
        self._next_ticks: int | None = None
        """When the next frame is shown if it does not say."""
        self._open()
        seekable = self._container.format.name.split(",")[0] in SEEKABLE_CONTAINERS
        self._can_seek = seekable and not packets.clock_restarts

    def _open(self) -> None:
        self._container, self._stream = open_container(self._path)
        self._context = self._stream.codec_context
        self._reader = PacketReader(self._container, self._stream, on_packet=self._on_packet)
        self._next_number = 0
        """Place in the file of the packet that comes next."""
        self._pending: av.Packet[av.VideoStream] | None = None
        """A packet that was read too early."""

    def __enter__(self) -> "PieceDecoder":
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def pictures(self, places: Sequence[int]) -> Iterator[Picture]:
        """Decode pictures.

        Args:
            places: in the packet table, ascending.

        Yields:
            Those that can be decoded, in that order.
        """
        group_P = self._packets.group_P
        for group, wanted in groupby(places, key=lambda place: int(group_P[place])):
            found = 0
            members = list(wanted)
            for picture in self._piece(group, members):
                found += 1
                yield picture
            self.num_lost += len(members) - found

    def _piece(self, group: int, places: list[int]) -> Iterator[Picture]:
        first = int(self._packets.first_number_G[group])
        last = max(int(self._packets.number_P[place]) for place in places)
        self._go_to(first)
        self._next_ticks = self._ticks_of.get(first)
        self._context.flush_buffers()
        self._context.skip_frame = "NONREF" if last > first else "DEFAULT"
        left, before = list(places), None
        while left:
            packet = self._next_packet() if self._next_number <= last else None
            for frame in self._decoded(packet):
                while left and _ticks(frame) >= self._packets.ticks_P[left[0]]:
                    yield Picture(left.pop(0), frame, before)
                before = frame
            if packet is None:
                break
        if before is not None:  # left out inside the piece: the frame before them stands for them
            yield from (Picture(place, before, None) for place in left)

    def _decoded(self, packet: "av.Packet[av.VideoStream] | None") -> list[av.VideoFrame]:
        """Frames that come out when a packet goes in; None: all that are left."""
        try:
            frames = self._context.decode(packet)
        except Exception as error:  # PyAV raises a dozen unrelated types on damaged files
            self.first_error = self.first_error or one_line(error)
            return []
        return [frame for frame in frames if isinstance(frame, av.VideoFrame) and self._is_timed(frame)]

    def _is_timed(self, frame: av.VideoFrame) -> bool:
        """Whether a frame has a time, its own or the one that follows from the frame before.

        Where only decoding times are stored, what waits in the decoder until there is no packet left has none.
        """
        if frame.pts is frame.dts is None:
            frame.pts = self._next_ticks
        if frame.pts is frame.dts is None:
            return False
        self._next_ticks = _ticks(frame) + self._usual_ticks
        return True

    def _next_packet(self) -> "av.Packet[av.VideoStream] | None":
        packet, self._pending = self._pending, None
        while packet is None:
            packet = next(iter(self._reader), None)
            if packet is None:
                self.first_error = self.first_error or self._reader.first_error
                return None
            packet = packet if packet.size else None
        self._next_number += 1
        return packet

    def _go_to(self, number: int) -> None:
        """Have the packet of a key frame come next."""
        if self._can_seek and number - self._next_number > _SEEK_PACKETS and self._seek(number):
            return
        if self._next_number > number:
            self._container.close()
            self._open()
        while self._next_number < number and self._next_packet() is not None:
            pass

    def _seek(self, number: int) -> bool:
        """Jump to a key frame; False, and no jump ever again, where the file leads elsewhere."""
        ticks = self._ticks_of.get(number)
        if ticks is None:
            return False
        try:
            self._container.seek(ticks, stream=self._stream)
        except av.FFmpegError:
            ticks = None
        self._reader.restart()
        self._pending = None
        while ticks is not None and (packet := self._next_packet()) is not None:
            packet_ticks = packet.pts if packet.pts is not None else packet.dts
            if packet_ticks == ticks and packet.is_keyframe:
                self._pending, self._next_number = packet, number
                return True
            if packet.is_keyframe and (packet_ticks is None or packet_ticks > ticks):
                break
        self._can_seek = False
        self._container.close()
        self._open()
        return False


def _ticks(frame: av.VideoFrame) -> int:
    return frame.pts if frame.pts is not None else int(frame.dts or 0)
