"""Repeated scenes: parts of two videos whose clips are nearly identical, one by one.

Clips are put into cells, each into those of its four nearest centres, and compared with all clips of the same cell:
two that show the same share one. Nothing is missed up to 20,000 clips, which are one cell; `benchmarks/repeats.py`
measures time, and what is missed beyond. The library's own index is no use here: the nearest neighbours of a clip are
the clips beside it in its own video.
Shape legend: N clips, M clips of a cell, B clips of a block, C centres, H cells of a clip, P pairs, D embedding.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vlrlt.errors import ConfigError
from vlrlt.formats import format_span
from vlrlt.index.library.catalog import FrameRunTable
from vlrlt.index.vectors.protocol import evenly
from vlrlt.types import Float32Array, Int64Array, Moment

THRESHOLD = 0.98
"""Cosine from which two clips show the same; found on real videos, see docs/experiments/duplicates.md."""
_BLOCK_CLIPS = 2048
_CELL_CLIPS = 20_000
"""So many are compared with each other at most: of what still more clips show, some repetitions are enough."""
_HOMES = 4
"""Cells that each clip is in."""
_MAX_PARTNERS = 8
"""So many of a clip's best partners are followed: thousands of clips of one dark wall all look alike."""
_MAX_SKIP = 2
"""A stretch goes on over one clip that has no partner."""

_Float16Array = npt.NDArray[np.float16]
_Pairs = tuple[Int64Array, Int64Array, Float32Array]
"""First positions, second positions, cosines."""


@dataclass(frozen=True, kw_only=True)
class Repetition:
    """Two parts of videos that show the same scene."""

    first: Moment
    second: Moment
    similarity: float
    """Mean cosine of its clips with their best partners."""
    num_clips: int
    """Duration of the shorter part."""

    def __str__(self) -> str:
        return self.as_text()

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
            f"{Path(one.video).name} {format_span(one.start_s, one.end_s)}" for one in (self.first, self.second)
        )
        return f"{self.similarity:.3f}  {self.duration_s:6.1f} s  {'  =  '.join(stretches)}"

    @property
    def duration_s(self) -> float:
        """Duration of the shorter part."""
        return min(stretch.end_s - stretch.start_s for stretch in (self.first, self.second))


def _stretch_json(stretch: Moment) -> dict[str, Any]:
    shown = stretch.as_json()
    return {key: shown[key] for key in ("clip", "video", "video_id", "start_s", "end_s")}


def find_repetitions(
    clips: FrameRunTable,
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
    order_N = np.lexsort((clips.start_s_N, clips.video_N))  # what was resumed lies behind younger videos
    clips = clips.take(order_N)
    found = [
        _repetition(clips, *stretch)
        for pairs in _by_video_pair(clips, _alike(clips, lambda at: vectors(order_N[at]), threshold, on_progress))
        for stretch in _stretches(*pairs)
    ]
    kept = [repetition for repetition in found if repetition.duration_s >= min_s]
    return tuple(sorted(kept, key=lambda one: (-one.duration_s, -one.similarity, one.first.video, one.first.start_s)))


def _alike(
    clips: FrameRunTable,
    vectors: Callable[[Int64Array], Float32Array],
    threshold: float,
    on_progress: Callable[[float], None],
) -> _Pairs:
    """Pairs of clips of different videos, the first before the second in the table: of each clip the best few."""
    vectors_ND = _read(vectors, len(clips.ids_N))
    cells = _cells(vectors_ND, threshold)
    total, done = sum(len(cell_M) ** 2 for cell_M in cells), 0
    parts = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))]
    for cell_M in cells:
        parts.extend(_pairs_within(cell_M, vectors_ND, clips.video_N, threshold))
        done += len(cell_M) ** 2
        on_progress(done / total)
    first_P, second_P, cosines_P = map(np.concatenate, zip(*parts, strict=True))
    _, once = np.unique(first_P * len(vectors_ND) + second_P, return_index=True)
    kept = once[_best_of_each(first_P[once], cosines_P[once])]
    return first_P[kept], second_P[kept], cosines_P[kept]


def _read(vectors: Callable[[Int64Array], Float32Array], num_clips: int) -> _Float16Array:
    """All vectors, as they are stored."""
    blocks = [
        vectors(np.arange(start, min(start + _BLOCK_CLIPS, num_clips))).astype(np.float16)
        for start in range(0, num_clips, _BLOCK_CLIPS)
    ]
    return np.concatenate(blocks) if blocks else np.empty((0, 0), np.float16)


def _cells(vectors_ND: _Float16Array, threshold: float) -> list[Int64Array]:
    """Positions of clips that are compared with each other, ascending in each cell.

    Centres are clips. Of those that show the same one is enough: else its clips would be spread over all of them.
    """
    num_clips = len(vectors_ND)
    if num_clips <= _CELL_CLIPS:
        return [np.arange(num_clips)] if num_clips else []
    centres_CD = vectors_ND[evenly(num_clips, most=int(_HOMES * sqrt(num_clips / 2)))].astype(np.float32)
    same_CC = np.triu(centres_CD @ centres_CD.T >= threshold, 1)
    centres_CD = centres_CD[~same_CC.any(axis=0)]
    num_homes = min(_HOMES, len(centres_CD))
    homes_NH = np.empty((num_clips, num_homes), np.int64)
    for start in range(0, num_clips, _BLOCK_CLIPS):
        block = slice(start, start + _BLOCK_CLIPS)
        cosines_BC = vectors_ND[block].astype(np.float32) @ centres_CD.T
        homes_NH[block] = np.argpartition(cosines_BC, -num_homes, axis=1)[:, -num_homes:]
    order = np.argsort(homes_NH.ravel(), kind="stable")
    sizes_C = np.bincount(homes_NH.ravel(), minlength=len(centres_CD))
    return [
        part_M
        for cell_M in np.split(order // num_homes, np.cumsum(sizes_C)[:-1])
        for part_M in np.array_split(cell_M, len(cell_M) // _CELL_CLIPS + 1)
    ]


def _pairs_within(
    cell_M: Int64Array, vectors_ND: _Float16Array, video_N: Int64Array, threshold: float
) -> Iterator[_Pairs]:
    """The pairs of a cell."""
    cell_MD, video_M = vectors_ND[cell_M].astype(np.float32), video_N[cell_M]
    next_M = np.searchsorted(video_M, video_M, side="right")  # where the next video begins
    for start in range(0, len(cell_M), _BLOCK_CLIPS):
        next_B = next_M[start : start + _BLOCK_CLIPS]
        first, last = int(next_B[0]), int(next_B[-1])
        cosines_BM = cell_MD[start : start + _BLOCK_CLIPS] @ cell_MD[first:].T
        cosines_BM[:, : last - first][np.arange(first, last) < next_B[:, None]] = -1  # clips of the same video
        rows_P, columns_P = _best(cosines_BM, threshold)
        yield cell_M[start + rows_P], cell_M[first + columns_P], cosines_BM[rows_P, columns_P]


def _best(cosines_BM: Float32Array, threshold: float) -> tuple[Int64Array, Int64Array]:
    """Rows and columns from the threshold on, the best few of each row."""
    counts_B = np.count_nonzero(cosines_BM >= threshold, axis=1)
    for row in np.flatnonzero(counts_B > _MAX_PARTNERS):
        worst = np.argpartition(-cosines_BM[row], _MAX_PARTNERS)[_MAX_PARTNERS:]
        cosines_BM[row, worst] = -1
    rows_P, columns_P = np.nonzero(cosines_BM >= threshold)
    return rows_P, columns_P


def _best_of_each(first_P: Int64Array, cosines_P: Float32Array) -> Int64Array:
    """Which pairs are among the best few of their first clip."""
    order_P = np.lexsort((-cosines_P, first_P))
    rank_P = np.arange(len(order_P)) - np.searchsorted(first_P[order_P], first_P[order_P])
    return order_P[rank_P < _MAX_PARTNERS]


def _by_video_pair(clips: FrameRunTable, pairs: _Pairs) -> Iterator[_Pairs]:
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


def _repetition(clips: FrameRunTable, first_P: Int64Array, second_P: Int64Array, cosines_P: Float32Array) -> Repetition:
    best = [float(cosines_P[first_P == first].max()) for first in np.unique(first_P)]
    return Repetition(
        first=_stretch(clips, first_P),
        second=_stretch(clips, second_P),
        similarity=float(np.mean(best)),
        num_clips=min(len(np.unique(first_P)), len(np.unique(second_P))),
    )


def _stretch(clips: FrameRunTable, positions_P: Int64Array) -> Moment:
    first, last = clips.moment(int(positions_P.min())), clips.moment(int(positions_P.max()))
    return replace(first, end_s=last.end_s)
