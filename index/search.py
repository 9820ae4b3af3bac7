"""Queries to vectors, scores to moments.

The arithmetic takes plain arrays. Shape legend: N clips of a library in the order of their vectors, D embedding.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from vlrlt.errors import ConfigError, DecodeError
from vlrlt.index.catalog import ClipTable
from vlrlt.index.vectors.protocol import Hits, Mask, VectorStore
from vlrlt.types import ClipSpan, Float32Array, Moment, UInt8Array
from vlrlt.video.worker import DecodeProcess

if TYPE_CHECKING:
    from vlrlt.embed import Embedder

_TOUCH_S = 1e-3
"""Clips that lie no further apart than this touch each other; clips that share less than this do not overlap."""
_HITS_PER_MOMENT = 16
"""How deep a search looks at first; it goes deeper where too many hits fall into the same moments."""
_WINDOW = 8
"""Clips on either side whose scores are looked up together."""


@dataclass(frozen=True)
class TextQuery:
    """A sentence, as a caption would have it."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class ImageQuery:
    """A picture file."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True)
class ClipQuery:
    """A piece of a video file, or all of it."""

    path: Path
    span: ClipSpan | None = None
    """None: all of it."""

    def __str__(self) -> str:
        return str(self.path) if self.span is None else f"{self.path}@{self.span.start_s:g}-{self.span.end_s:g}"


Query = TextQuery | ImageQuery | ClipQuery


def parse_clip(text: str) -> ClipQuery:
    """Read FILE or FILE@START-END; a time is seconds, mm:ss or hh:mm:ss, each with decimals if need be.

    The last "@" counts, and only where two times follow it, so that a file name may contain one.

    >>> parse_clip("day1.mp4@01:02.5-70")
    ClipQuery(path=PosixPath('day1.mp4'), span=ClipSpan(start_s=62.5, end_s=70.0))

    Raises:
        ConfigError: END does not lie after START.
    """
    time = r"(?:\d+:){0,2}\d+(?:\.\d+)?"
    match = re.fullmatch(rf"(.+)@({time})-({time})", text, re.DOTALL)
    if match is None:
        return ClipQuery(Path(text))
    return ClipQuery(Path(match[1]), ClipSpan(parse_time(match[2]), parse_time(match[3])))


def parse_time(text: str) -> float:
    """Seconds of "75.5", "1:15.5" or "0:01:15.5"."""
    seconds = 0.0
    for part in text.split(":"):
        seconds = seconds * 60 + float(part)
    return seconds


def format_time(seconds: float, *, decimals: int = 0) -> str:
    """The inverse of parse_time: "01:15", with one decimal "01:15.5", and from an hour on "1:01:15"."""
    ticks_per_s = 10**decimals
    minutes, ticks = divmod(round(seconds * ticks_per_s), 60 * ticks_per_s)
    rest = f"{ticks / ticks_per_s:0{3 + decimals if decimals else 2}.{decimals}f}"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest}" if hours else f"{minutes:02d}:{rest}"


def embed_query(query: Query, embedder: "Embedder") -> Float32Array:
    """The vector of a query, (D,). Video is read by a process of its own, like the archive.

    Raises:
        DecodeError: the picture or video cannot be read.
        ConfigError: the piece lies outside its video.
    """
    if isinstance(query, TextQuery):
        return mean_direction(embedder.embed_text([query.text]))
    if isinstance(query, ImageQuery):
        square_HWC = embedder.preprocess(_read_image(query.path))
        return mean_direction(embedder.embed_clips(square_HWC[None, None]).vectors_BD)
    with DecodeProcess() as decoder:
        clips = decoder.clips(query.path, sampling=embedder.sampling, preprocess=embedder.preprocess, within=query.span)
        vectors = [embedder.embed_clips(clip.rgb_THWC[None]).vectors_BD for clip in clips]
    if not vectors:
        raise DecodeError(query.path, stage="decode", reason=clips.partial_reason or "it has no frames")
    return mean_direction(np.concatenate(vectors))


def _read_image(path: Path) -> UInt8Array:
    """RGB pixels, upright."""
    try:
        with Image.open(path) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise DecodeError(path, stage="open", reason=getattr(error, "strerror", None) or str(error)) from error


def mean_direction(vectors_ND: Float32Array) -> Float32Array:
    """The mean of unit vectors as one unit vector, (D,)."""
    mean_D = vectors_ND.mean(axis=0)
    return np.asarray(mean_D / np.linalg.norm(mean_D), np.float32)


def find_moments(
    hits: Hits, clips: ClipTable, *, k: int, median: float, num_clips: int, score_of: Callable[[int], float]
) -> tuple[Moment, ...]:
    """Merge clips into moments, by seed and grow.

    The best hit that is not taken yet is the seed of the next moment. The moment grows from it to both sides, clip by
    clip, as long as the neighbour touches or overlaps it in time, is not taken and scores at least half way between the
    library's median and the seed. Then every clip that overlaps the moment is taken. The seed's score is the moment's.

        clip of one video     0    1    2    3    4    5    6    7    8    9      clips end to end, library median .1
        score                .1   .6   .9   .7   .1   .1   .6   .1   .1   .1

        seed 2 (.9): half way to .1 is .5, so it takes 1 (.6) and 3 (.7)   ->  #1  clips 1 to 3, score .9
        seed 6 (.6): half way to .1 is .35, so it stays alone              ->  #2  clip 6, score .6

    Args:
        hits: the best clips for a query. More hits never change the first moments.
        clips: all N clips of the library.
        k: how many moments at most, >= 1.
        median: of the library's scores.
        num_clips: how many clips took part.
        score_of: the score of any clip; -inf for one that does not take part.

    Returns:
        Moments by falling score; those of one video never overlap.

    Raises:
        ConfigError: k is not positive.
    """
    if k < 1:
        raise ConfigError(f"k must be 1 or more, got {k}; try 10")
    ascending_K = hits.scores_K[::-1]
    taken: set[int] = set()
    moments: list[Moment] = []
    for seed, score in zip(hits.positions_K.tolist(), hits.scores_K.tolist(), strict=True):
        if seed in taken:
            continue
        first, last = _grow(seed, clips, _joins(taken, score_of, (score + median) / 2))
        num_not_lower = len(ascending_K) - int(np.searchsorted(ascending_K, score))
        moments.append(
            Moment(
                rank=len(moments) + 1,
                score=score,
                percentile=100 * (num_clips - num_not_lower) / num_clips,
                video=clips.videos[clips.video_N[seed]],
                start_s=float(clips.start_s_N[first]),
                end_s=float(clips.end_s_N[last]),
            )
        )
        if len(moments) == k:
            break
        taken.update(_overlapping(first, last, clips))
    return tuple(moments)


def _joins(taken: set[int], score_of: Callable[[int], float], threshold: float) -> Callable[[int], bool]:
    return lambda clip: clip not in taken and score_of(clip) >= threshold


def _grow(seed: int, clips: ClipTable, joins: Callable[[int], bool]) -> tuple[int, int]:
    """First and last clip of the moment around a seed."""
    first = last = seed
    while (
        _same_video(clips, first - 1, seed)
        and clips.end_s_N[first - 1] >= clips.start_s_N[first] - _TOUCH_S
        and joins(first - 1)
    ):
        first -= 1
    while (
        _same_video(clips, last + 1, seed)
        and clips.start_s_N[last + 1] <= clips.end_s_N[last] + _TOUCH_S
        and joins(last + 1)
    ):
        last += 1
    return first, last


def _overlapping(first: int, last: int, clips: ClipTable) -> range:
    """The clips first..last, and those around them that overlap them."""
    before, after = first, last
    while _same_video(clips, before - 1, first) and clips.end_s_N[before - 1] > clips.start_s_N[first] + _TOUCH_S:
        before -= 1
    while _same_video(clips, after + 1, last) and clips.start_s_N[after + 1] < clips.end_s_N[last] - _TOUCH_S:
        after += 1
    return range(before, after + 1)


def _same_video(clips: ClipTable, clip: int, other: int) -> bool:
    return 0 <= clip < len(clips.video_N) and bool(clips.video_N[clip] == clips.video_N[other])


def outside_video(clips: ClipTable, video: str) -> Mask | None:
    """Mask of the clips that are not of one video, for instance the one that the query was cut from."""
    return clips.video_N != clips.videos.index(video) if video in clips.videos else None


def search_moments(
    store: VectorStore, clips: ClipTable, query_D: Float32Array, *, k: int, within_N: Mask | None = None
) -> tuple[Moment, ...]:
    """The k best moments of a library, fewer where there are fewer.

    Args:
        store: the vectors.
        clips: the same clips.
        query_D: L2-normalised.
        k: how many, >= 1.
        within_N: which clips take part; None: all.

    Raises:
        ConfigError: k is not positive.
        LibraryError: vectors cannot be read.
    """
    num_clips = len(store) if within_N is None else int(within_N.sum())
    median = float(np.median(store.sample_SD @ query_D)) if num_clips else 0.0
    depth = _HITS_PER_MOMENT * k
    while True:
        hits = store.search(query_D, k=max(depth, 1), within_N=within_N)
        score_of = _NeighbourScores(store, query_D, hits, within_N)
        moments = find_moments(hits, clips, k=k, median=median, num_clips=num_clips, score_of=score_of)
        if len(moments) == k or len(hits.positions_K) < depth:
            return moments
        depth *= 8


class _NeighbourScores:
    """Scores of hits, and of the clips around them, which are looked up a few at a time."""

    def __init__(self, store: VectorStore, query_D: Float32Array, hits: Hits, within_N: Mask | None) -> None:
        self._store, self._query_D, self._within_N = store, query_D, within_N
        self._known: dict[int, float] = dict(zip(hits.positions_K.tolist(), hits.scores_K.tolist(), strict=True))

    def __call__(self, clip: int) -> float:
        if clip not in self._known:
            window_K = np.arange(max(clip - _WINDOW, 0), min(clip + _WINDOW + 1, len(self._store)))
            scores_K = self._store.vectors(window_K) @ self._query_D
            if self._within_N is not None:
                scores_K[~self._within_N[window_K]] = -np.inf
            self._known = dict(zip(window_K.tolist(), scores_K.tolist(), strict=True)) | self._known
        return self._known[clip]
