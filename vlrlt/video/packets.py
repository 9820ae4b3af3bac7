"""The packets of a video: how many bytes its encoder has spent on each picture, known without decoding one.

Legend: P pictures in the order in which they are shown, G groups of pictures in the order of the file.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vlrlt.errors import CorruptVideoError
from vlrlt.types import BoolArray, Float64Array, Int64Array
from vlrlt.video.container import open_container
from vlrlt.video.packet_reader import PacketReader


@dataclass(frozen=True, kw_only=True)
class PacketTable:
    """One row a picture."""

    ticks_P: Int64Array
    """Presentation times in the stream's own units, ascending."""
    time_s_P: Float64Array
    """The same in seconds since the first picture."""
    size_P: Float64Array
    """Bytes."""
    is_key_P: BoolArray
    number_P: Int64Array
    """Place in the file: the order of decoding."""
    group_P: Int64Array
    """Number of the key frame that decoding begins with, counted in the file."""
    first_number_G: Int64Array
    """Place in the file of each key frame."""
    clock_restarts: bool = False
    """Whether the file's own times are ambiguous; those of this table go on."""

    def __len__(self) -> int:
        return len(self.ticks_P)


def read_packets(path: Path, *, first_ticks: int, on_packet: Callable[[], None]) -> PacketTable:
    """Read the packets of a video's stream, without decoding.

    Args:
        path: a regular local file.
        first_ticks: presentation time of the first frame that can be decoded; pictures before it are left out.
        on_packet: called for every packet read.

    Raises:
        NotAVideoError: not a regular file, no known container, or no video stream.
        CorruptVideoError: there is no packet, or none has a time.
    """
    container, stream = open_container(path)
    ticks, sizes, keys = [], [], []
    with container:
        time_base = stream.time_base or 1
        reader = PacketReader(container, stream, on_packet=on_packet)
        for packet in reader:
            if packet.size:
                ticks.append(packet.pts if packet.pts is not None else packet.dts)
                sizes.append(packet.size)
                keys.append(packet.is_keyframe)
        if not ticks and reader.first_error is not None:
            raise CorruptVideoError(path, stage="probe", reason=reader.first_error)
    if all(tick is None or tick < first_ticks for tick in ticks):
        raise CorruptVideoError(path, stage="probe", reason="its packets have no times")
    table = _table(ticks, sizes, keys, first_ticks=first_ticks, tick_s=float(time_base))
    return replace(table, clock_restarts=len(reader.shifts_s) > 1)


def _table(
    ticks: list[int | None], sizes: list[int], keys: list[bool], *, first_ticks: int, tick_s: float
) -> PacketTable:
    is_key = np.array(keys, np.bool_)
    is_key[0] = True  # decoding cannot begin earlier
    number = np.flatnonzero([tick is not None and tick >= first_ticks for tick in ticks])
    all_ticks = np.array([tick if tick is not None else 0 for tick in ticks], np.int64)
    order_P = number[np.argsort(all_ticks[number], kind="stable")]
    ticks_P = all_ticks[order_P]
    return PacketTable(
        ticks_P=ticks_P,
        time_s_P=np.asarray((ticks_P - first_ticks) * tick_s, np.float64),
        size_P=np.array(sizes, np.float64)[order_P],
        is_key_P=is_key[order_P],
        number_P=order_P,
        group_P=(np.cumsum(is_key) - 1)[order_P],
        first_number_G=np.flatnonzero(is_key),
    )
