"""Scenes that an archive has more than once: stretches of two videos whose clips are near-identical, one by one.

Every clip is compared with every other, in blocks; nothing is indexed or approximated. The cost grows with the
square of the clips: `benchmarks/repeats.py` measures it.
Shape legend: N clips, B clips of a block, P pairs, D embedding.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from vlrlt.errors import ConfigError
from vlrlt.index.catalog import ClipTable
from vlrlt.times import format_time
from vlrlt.types import Float32Array, Int64Array, Moment

THRESHOLD = 0.98
"""Cosine from which two clips show the same; found on real videos, see docs/experiments.md."""
_BLOCK_CLIPS = 2048
_MAX_PARTNERS = 8
"""So many of a clip's best partners are followed: thousands of clips of one dark wall all look alike."""
_MAX_SKIP = 2
"""A stretch goes on over one clip that has no partner."""

_Pairs = tuple[Int64Array, Int64Array, Float32Array]
"""First positions, second positions, cosines."""


@dataclass(frozen=True, kw_only=True)
class Repetition:
    """Two stretches that show the same."""

    first: Moment
    second: Moment
    similarity: float
    """Mean cosine of its clips with their best partners."""
    num_clips: int
    """Of the shorter stretch."""

    def as_json(self) -> dict[str, Any]:
        """The documented JSON shape of one entry of `vlrlt duplicates --json`."""
        return {
            "similarity": round(self.similarity, 4),
            "clips": self.num_clips,
            "duration_s": round(self.duration_s, 3),
            "stretches": [_stretch_json(self.first), _stretch_json(self.second)],
        }

    def as_text(self) -> str:
        """One line."""
        stretches = (
            f"{Path(one.video).name} {format_time(one.start_s, decimals=1)}-{format_time(one.end_s, decimals=1)}"
            for one in (self.first, self.second)
        )
        return f"{self.similarity:.3f}  {self.duration_s:6.1f} s  {'  =  '.join(stretches)}"

    @property
    def duration_s(self) -> float:
        """Of the shorter stretch."""
        return min(stretch.end_s - stretch.start_s for stretch in (self.first, self.second))


def _stretch_json(stretch: Moment) -> dict[str, Any]:
    shown = stretch.as_json()
    return {key: shown[key] for key in ("clip", "video", "video_id", "start_s", "end_s")}


def find_repetitions(
    clips: ClipTable,
    vectors: Callable[[Int64Array], Float32Array],
    *,
    threshold: float = THRESHOLD,
    min_s: float = 0.0,
    on_progress: Callable[[float], None] = lambda _share: None,
) -> tuple[Repetition, ...]:
    """Find what different videos have in common, the longest first.

    Args:
        clips: all clips.
        vectors: unit vectors of positions.
        threshold: cosine in (0, 1] from which two clips show the same.
        min_s: leave out shorter stretches.
        on_progress: gets the share that is done.

    Raises:
        ConfigError: the threshold is out of range.
        LibraryError: vectors cannot be read.
    """
    if not 0 < threshold <= 1:
        raise ConfigError(f"a threshold is a cosine in (0, 1], got {threshold}; try {THRESHOLD}")
    found = [
        _repetition(clips, *stretch)
        for pairs in _by_video_pair(clips, _alike(clips, vectors, threshold, on_progress))
        for stretch in _stretches(*pairs)
    ]
    kept = [repetition for repetition in found if repetition.duration_s >= min_s]
    return tuple(sorted(kept, key=lambda one: (-one.duration_s, -one.similarity, one.first.video, one.first.start_s)))


def _alike(
    clips: ClipTable,
    vectors: Callable[[Int64Array], Float32Array],
    threshold: float,
    on_progress: Callable[[float], None],
) -> _Pairs:
    """Pairs of clips of different videos, the first before the second in the table."""
    num_clips = len(clips.ids_N)
    everything_ND = vectors(np.arange(num_clips))
    parts: list[_Pairs] = []
    for start in range(0, num_clips, _BLOCK_CLIPS):
        stop = min(start + _BLOCK_CLIPS, num_clips)
        cosines_BN = everything_ND[start:stop] @ everything_ND[start:].T
        cosines_BN[clips.video_N[start:stop, None] >= clips.video_N[None, start:]] = -1  # of each pair, one order
        rows_P, columns_P = _best(cosines_BN, threshold)
        parts.append((start + rows_P, start + columns_P, cosines_BN[rows_P, columns_P]))
        on_progress(1 - ((num_clips - stop) / num_clips) ** 2)
    if not parts:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
    first, second, cosines = zip(*parts, strict=True)
    return np.concatenate(first), np.concatenate(second), np.concatenate(cosines)


def _best(cosines_BN: Float32Array, threshold: float) -> tuple[Int64Array, Int64Array]:
    """Rows and columns from the threshold on, the best few of each row."""
    counts_B = np.count_nonzero(cosines_BN >= threshold, axis=1)
    for row in np.flatnonzero(counts_B > _MAX_PARTNERS):
        worst = np.argpartition(-cosines_BN[row], _MAX_PARTNERS)[_MAX_PARTNERS:]
        cosines_BN[row, worst] = -1
    rows_P, columns_P = np.nonzero(cosines_BN >= threshold)
    return rows_P, columns_P


def _by_video_pair(clips: ClipTable, pairs: _Pairs) -> Iterator[_Pairs]:
    """The pairs of clips of each pair of videos."""
    first_P, second_P, cosines_P = pairs
    if not len(first_P):
        return
    videos_P2 = np.stack([clips.video_N[first_P], clips.video_N[second_P]], axis=1)
    order_P = np.lexsort((second_P, first_P, videos_P2[:, 1], videos_P2[:, 0]))
    changes = np.flatnonzero(np.any(np.diff(videos_P2[order_P], axis=0), axis=1)) + 1
    for start, stop in pairwise([0, *changes.tolist(), len(order_P)]):
        chosen = order_P[start:stop]
        yield first_P[chosen], second_P[chosen], cosines_P[chosen]


def _stretches(
    first_P: Int64Array, second_P: Int64Array, cosines_P: Float32Array
) -> Iterator[tuple[Int64Array, Int64Array, Float32Array]]:
    """Pairs that lie next to each other in both videos, joined: a diagonal, or a block where nothing moves."""
    place = {
        (first, second): at for at, (first, second) in enumerate(zip(first_P.tolist(), second_P.tolist(), strict=True))
    }
    unseen = set(place)
    for start in place:
        if start not in unseen:
            continue
        unseen.remove(start)
        joined, edge = [place[start]], [start]
        while edge:
            for neighbour in _around(edge.pop()):
                if neighbour in unseen:
                    unseen.remove(neighbour)
                    joined.append(place[neighbour])
                    edge.append(neighbour)
        yield first_P[joined], second_P[joined], cosines_P[joined]


def _around(pair: tuple[int, int]) -> Iterable[tuple[int, int]]:
    first, second = pair
    steps = range(-_MAX_SKIP, _MAX_SKIP + 1)
    return ((first + down, second + right) for down in steps for right in steps)


def _repetition(clips: ClipTable, first_P: Int64Array, second_P: Int64Array, cosines_P: Float32Array) -> Repetition:
    best = [float(cosines_P[first_P == first].max()) for first in np.unique(first_P)]
    return Repetition(
        first=_stretch(clips, first_P),
        second=_stretch(clips, second_P),
        similarity=float(np.mean(best)),
        num_clips=min(len(np.unique(first_P)), len(np.unique(second_P))),
    )


def _stretch(clips: ClipTable, positions_P: Int64Array) -> Moment:
    first, last = clips.moment(int(positions_P.min())), clips.moment(int(positions_P.max()))
    return replace(first, end_s=last.end_s)
