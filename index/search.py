"""Queries to vectors, scores to moments.

The arithmetic takes plain arrays. Shape legend: N clips of a library in the order of their vectors, D embedding.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from vlrlt.errors import ConfigError, DecodeError
from vlrlt.index.catalog import ClipTable
from vlrlt.types import ClipSpan, Float32Array, Moment, UInt8Array
from vlrlt.video.worker import DecodeProcess

if TYPE_CHECKING:
    from vlrlt.embed import Embedder

_TOUCH_S = 1e-3
"""Clips that lie no further apart than this touch each other; clips that share less than this do not overlap."""


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


def find_moments(scores_N: Float32Array, clips: ClipTable, *, k: int) -> tuple[Moment, ...]:
    """Merge clips into moments, by seed and grow.

    The best clip that is not taken yet is the seed of the next moment. The moment grows from it to both sides, clip by
    clip, as long as the neighbour touches or overlaps it in time, is not taken and scores at least half way between the
    library's median and the seed. Then every clip that overlaps the moment is taken. The seed's score is the moment's.

        clip of one video     0    1    2    3    4    5    6    7    8    9      clips end to end, library median .1
        score                .1   .6   .9   .7   .1   .1   .6   .1   .1   .1

        seed 2 (.9): half way to .1 is .5, so it takes 1 (.6) and 3 (.7)   ->  #1  clips 1 to 3, score .9
        seed 6 (.6): half way to .1 is .35, so it stays alone              ->  #2  clip 6, score .6

    Args:
        scores_N: cosine similarities with the query.
        clips: the same N clips.
        k: how many moments at most, >= 1.

    Returns:
        Moments by falling score; those of one video never overlap.

    Raises:
        ConfigError: k is not positive.
    """
    if k < 1:
        raise ConfigError(f"k must be 1 or more, got {k}; try 10")
    if not len(scores_N):
        return ()
    order_N = np.argsort(-scores_N, kind="stable")
    ascending_N = scores_N[order_N[::-1]]
    median = float(np.median(scores_N))
    taken_N = np.zeros(len(scores_N), dtype=np.bool_)
    moments: list[Moment] = []
    for seed in order_N:
        if taken_N[seed]:
            continue
        score = float(scores_N[seed])
        first, last = _grow(int(seed), (score + median) / 2, scores_N, clips, taken_N)
        moments.append(
            Moment(
                rank=len(moments) + 1,
                score=score,
                percentile=100 * float(np.searchsorted(ascending_N, scores_N[seed])) / len(scores_N),
                video=clips.videos[clips.video_N[seed]],
                start_s=float(clips.start_s_N[first]),
                end_s=float(clips.end_s_N[last]),
            )
        )
        if len(moments) == k:
            break
        _take(first, last, clips, taken_N)
    return tuple(moments)


def _grow(
    seed: int, threshold: float, scores_N: Float32Array, clips: ClipTable, taken_N: npt.NDArray[np.bool_]
) -> tuple[int, int]:
    """First and last clip of the moment around a seed."""

    def joins(clip: int) -> bool:
        return _same_video(clips, clip, seed) and not taken_N[clip] and scores_N[clip] >= threshold

    first = last = seed
    while joins(first - 1) and clips.end_s_N[first - 1] >= clips.start_s_N[first] - _TOUCH_S:
        first -= 1
    while joins(last + 1) and clips.start_s_N[last + 1] <= clips.end_s_N[last] + _TOUCH_S:
        last += 1
    return first, last


def _take(first: int, last: int, clips: ClipTable, taken_N: npt.NDArray[np.bool_]) -> None:
    """Mark the clips first..last, and those around them that overlap them."""
    before, after = first, last
    while _same_video(clips, before - 1, first) and clips.end_s_N[before - 1] > clips.start_s_N[first] + _TOUCH_S:
        before -= 1
    while _same_video(clips, after + 1, last) and clips.start_s_N[after + 1] < clips.end_s_N[last] - _TOUCH_S:
        after += 1
    taken_N[before : after + 1] = True


def _same_video(clips: ClipTable, clip: int, other: int) -> bool:
    return 0 <= clip < len(clips.video_N) and bool(clips.video_N[clip] == clips.video_N[other])


def without_video(scores_N: Float32Array, clips: ClipTable, video: str) -> tuple[Float32Array, ClipTable]:
    """Leave one video's clips out, for instance the one that the query was cut from."""
    if video not in clips.videos:
        return scores_N, clips
    keep_N = clips.video_N != clips.videos.index(video)
    kept = replace(
        clips,
        ids_N=clips.ids_N[keep_N],
        video_N=clips.video_N[keep_N],
        start_s_N=clips.start_s_N[keep_N],
        end_s_N=clips.end_s_N[keep_N],
    )
    return scores_N[keep_N], kept
