"""Clips and texts of a dataset as vectors.

Threads decode what comes next while the model embeds. A clip that cannot be read ends nothing: its vector is zero, as
if the model had no opinion, and the report counts it.

Shape legend: N spans, V views of a span, B clips of a batch, T frames, HWC one picture, D embedding.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import xxhash

from vlrlt.datasets.base import CaptionedSpan, CaptionedVideos
from vlrlt.embedder import Embedder
from vlrlt.errors import CorruptVideoError, DecodeError, UnreadableClipsError
from vlrlt.types import ClipSpan, Float32Array, Float64Array, UInt8Array, VideoInfo
from vlrlt.video.chunks import open_video
from vlrlt.video.decode import Decoder, DecoderName
from vlrlt.video.sampling import frame_times

_CLIP_BATCH = 16
_TEXT_BATCH = 256
_SPANS_AT_ONCE = 8
"""Spans of one video that a thread decodes before it hands them over: bounds memory, a video may have hundreds."""

Crop = Literal["centre", "first", "last"]
"""Of the longer side: the middle, the left or top end, the right or bottom end."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ClipView:
    """One look at a span; each crop of it becomes a vector."""

    times_T: Float64Array
    """Ascending seconds."""
    crops: tuple[Crop, ...] = ("centre",)


Views = Callable[[VideoInfo, CaptionedSpan, int], Sequence[ClipView]]
"""Which views of a span a protocol takes, given the number of frames of the model's clips."""


@dataclass(frozen=True, kw_only=True)
class EncodeOptions:
    """How clips are embedded; no result depends on it."""

    num_threads: int = min(4, os.cpu_count() or 1)
    """That decode beside the model."""
    keep: Path | None = None
    """Vectors are kept in a file whose name begins so, and one that is there is gone on with; None: nothing is kept."""
    on_progress: Progress | None = None
    """Called with (spans done, spans in all)."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What encoding took."""

    tokens_kept: float
    """Mean share of patch tokens that the encoder processed, in (0, 1]."""
    decode_s: float
    """Reading, decoding and resizing the frames: seconds of all decoding threads together."""
    encode_s: float
    """Embedding the clips."""

    def as_json(self) -> dict[str, float]:
        """The documented JSON shape."""
        return asdict(self)

    def as_text(self) -> str:
        """The same for people."""
        return f"tokens kept {self.tokens_kept:.3f}, decoding {self.decode_s:.1f} s, encoding {self.encode_s:.1f} s"


@dataclass(frozen=True)
class EncodedSpans:
    """Vectors of all views and their cost."""

    vectors_NVD: Float32Array
    """Zero for spans that cannot be read."""
    cost: Cost
    unreadable: tuple[str, ...]
    """The spans that cannot be read, and why."""


def one_view(info: VideoInfo, span: CaptionedSpan, num_frames: int) -> tuple[ClipView]:
    """The centres of num_frames equal segments of the span, the middle of the picture."""
    stop_s = info.duration_s if span.stop_s is None else span.stop_s
    return (ClipView(frame_times(ClipSpan(span.start_s, stop_s), num_frames)),)


def embed_spans(
    dataset: CaptionedVideos,
    spans: Sequence[CaptionedSpan],
    embedder: Embedder,
    *,
    views: Views = one_view,
    decoder: DecoderName = "pyav",
    options: EncodeOptions = EncodeOptions(),
) -> EncodedSpans:
    """Embed every span; all videos are looked for before the first is opened.

    Args:
        dataset: where the videos are.
        spans: what to embed; at least one.
        embedder: the model.
        views: how a protocol looks at a span; every span gets as many vectors.
        decoder: which library reads the videos.
        options: threads, what is kept, progress.

    Raises:
        AnnotationError: a video is missing.
        UnreadableClipsError: not one span can be read.
    """
    paths = _video_paths(dataset, spans)
    kept = _Kept(_key(spans, paths, embedder, views, decoder), num_spans=len(spans), options=options)
    reader = _Reader(spans, embedder, views, decoder)
    unreadable: dict[int, str] = {}
    encode_s, num_done = 0.0, len(spans) - len(kept.missing)
    with closing(_decode_ahead(_units(spans, paths, kept.missing), reader.read, options.num_threads)) as decoded:
        for batch in _batches(decoded, unreadable):
            started_s = time.perf_counter()
            embeddings = embedder.embed_clips(np.stack([clip.rgb_THWC for clip in batch]))
            encode_s += time.perf_counter() - started_s
            shares_B = embeddings.num_tokens_B / embeddings.num_dense_tokens
            for clip, vector_D, share in zip(batch, embeddings.vectors_BD, shares_B, strict=True):
                kept.put(clip, vector_D, float(share))
                num_done += clip.number == clip.num_views - 1
            if options.on_progress:
                options.on_progress(num_done + len(unreadable), len(spans))
    reasons = tuple(f"{spans[row].span_id}: {reason}" for row, reason in sorted(unreadable.items()))
    if len(reasons) == len(spans):
        raise UnreadableClipsError(f"none of the {len(spans)} clips can be read", reasons)
    vectors_NVD, tokens_kept = kept.result()
    return EncodedSpans(vectors_NVD, Cost(tokens_kept=tokens_kept, decode_s=reader.read_s, encode_s=encode_s), reasons)


def embed_texts(texts: Sequence[str], embedder: Embedder) -> Float32Array:
    """Unit vectors (len(texts), D)."""
    starts = range(0, len(texts), _TEXT_BATCH)
    return np.concatenate([embedder.embed_texts(texts[start : start + _TEXT_BATCH]) for start in starts])


@dataclass(frozen=True)
class _Clip:
    """One view of a span, decoded."""

    row: int
    number: int
    num_views: int
    rgb_THWC: UInt8Array


@dataclass(frozen=True)
class _Unreadable:
    row: int
    reason: str


class _Kept:
    """Vectors as they come, in memory or in a file that outlives an interruption, each followed by its share of tokens.

    Args:
        key: of everything that a vector depends on.
        num_spans: N.
        options: where the file goes.
    """

    def __init__(self, key: str, *, num_spans: int, options: EncodeOptions) -> None:
        keep = options.keep
        self._path = None if keep is None else keep.with_name(f"{keep.name}.{key}.partial")
        self._values_NVW: Float32Array | None = None
        self._num_spans = num_spans
        if self._path is not None:
            with suppress(OSError, ValueError):  # there is none, or it was cut off
                self._values_NVW = np.lib.format.open_memmap(self._path, mode="r+")

    @property
    def missing(self) -> list[int]:
        """Rows that are not there yet."""
        if self._values_NVW is None:
            return list(range(self._num_spans))
        return np.flatnonzero(np.isnan(self._values_NVW).any(axis=(1, 2))).tolist()

    def put(self, clip: _Clip, vector_D: Float32Array, share: float) -> None:
        """One vector."""
        if self._values_NVW is None:
            self._values_NVW = self._empty((self._num_spans, clip.num_views, len(vector_D) + 1))
        self._values_NVW[clip.row, clip.number] = [*vector_D, share]

    def result(self) -> tuple[Float32Array, float]:
        """(N, V, D) with zeros for what is missing, and the mean share of tokens."""
        assert self._values_NVW is not None  # noqa: S101 - at least one span was read
        values_NVW = np.array(self._values_NVW)
        return np.nan_to_num(values_NVW[..., :-1], nan=0.0), float(np.nanmean(values_NVW[..., -1]))

    def _empty(self, shape: tuple[int, int, int]) -> Float32Array:
        if self._path is None:
            return np.full(shape, np.nan, np.float32)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        values_NVW: Float32Array = np.lib.format.open_memmap(self._path, mode="w+", dtype=np.float32, shape=shape)
        values_NVW[:] = np.nan
        return values_NVW


class _Reader:
    """Decodes spans; called by several threads at once."""

    def __init__(self, spans: Sequence[CaptionedSpan], embedder: Embedder, views: Views, decoder: DecoderName) -> None:
        self._spans = spans
        self._embedder = embedder
        self._views = views
        self._decoder: DecoderName = decoder
        self.read_s = 0.0
        """Seconds of all threads together."""

    def read(self, path: Path, rows: Sequence[int]) -> list[_Clip | _Unreadable]:
        """All views of some spans of a video, or why they cannot be had."""
        started_s = time.perf_counter()
        found: list[_Clip | _Unreadable] = []
        try:
            with open_video(path, backend=self._decoder) as video:
                for row in rows:
                    found += self._span(video, row)
        except DecodeError as error:
            found += [_Unreadable(row, str(error)) for row in rows[len({item.row for item in found}) :]]
        self.read_s += time.perf_counter() - started_s
        return found

    def _span(self, video: Decoder, row: int) -> list[_Clip | _Unreadable]:
        span = self._spans[row]
        info = video.info
        if span.start_s >= info.duration_s:
            return [_Unreadable(row, f"it starts at {span.start_s} s, but {info.path} lasts {info.duration_s:.2f} s")]
        try:
            views = self._views(info, span, self._embedder.sampling.num_frames)
            clips = [rgb_THWC for view in views for rgb_THWC in self._crops(video, view)]
        except DecodeError as error:
            return [_Unreadable(row, str(error))]
        return [_Clip(row, number, len(clips), rgb_THWC) for number, rgb_THWC in enumerate(clips)]

    def _crops(self, video: Decoder, view: ClipView) -> Iterator[UInt8Array]:
        """A stretch is decoded once, whatever is cut out of it."""
        frames = list(video.frames_at(view.times_T))
        if len(frames) < len(view.times_T):
            reason = f"only {len(frames)} of the {len(view.times_T)} frames from {view.times_T[0]:.2f} s on"
            raise CorruptVideoError(video.info.path, stage="decode", reason=reason)
        for crop in view.crops:
            yield np.stack([self._embedder.preprocess(_cut(frame.rgb_HWC, crop)) for frame in frames])


def _video_paths(dataset: CaptionedVideos, spans: Sequence[CaptionedSpan]) -> dict[str, Path]:
    return {video_id: dataset.video_path(video_id) for video_id in dict.fromkeys(span.video_id for span in spans)}


def _key(
    spans: Sequence[CaptionedSpan], paths: dict[str, Path], embedder: Embedder, views: Views, decoder: DecoderName
) -> str:
    digest = xxhash.xxh3_64(f"{embedder.fingerprint} {views.__name__} {decoder}".encode())
    for span in spans:
        path = paths[span.video_id]
        digest.update(f"{span.span_id} {span.start_s} {span.stop_s} {path} {path.stat().st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _units(
    spans: Sequence[CaptionedSpan], paths: dict[str, Path], rows: Sequence[int]
) -> Iterator[tuple[Path, list[int]]]:
    """What a thread decodes at once: a few spans of one video, in their order."""
    by_path: dict[Path, list[int]] = {}
    for row in rows:
        by_path.setdefault(paths[spans[row].video_id], []).append(row)
    for path, of_video in by_path.items():
        ordered = sorted(of_video, key=lambda row: spans[row].start_s)
        for start in range(0, len(ordered), _SPANS_AT_ONCE):
            yield path, ordered[start : start + _SPANS_AT_ONCE]


def _decode_ahead(
    units: Iterator[tuple[Path, list[int]]],
    read: Callable[[Path, Sequence[int]], list[_Clip | _Unreadable]],
    num_threads: int,
) -> Generator[_Clip | _Unreadable, None, None]:
    """What is read, in order; a unit for each thread and one more is decoded or being decoded."""
    waiting: deque[Future[list[_Clip | _Unreadable]]] = deque()
    with ThreadPoolExecutor(num_threads) as pool:
        try:
            for path, rows in units:
                waiting.append(pool.submit(read, path, rows))
                if len(waiting) > num_threads:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _batches(decoded: Iterator[_Clip | _Unreadable], unreadable: dict[int, str]) -> Iterator[list[_Clip]]:
    """Up to _CLIP_BATCH clips together; what cannot be read is noted."""
    batch: list[_Clip] = []
    for item in decoded:
        if isinstance(item, _Unreadable):
            unreadable[item.row] = item.reason
            continue
        batch.append(item)
        if len(batch) == _CLIP_BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _cut(rgb_HWC: UInt8Array, crop: Crop) -> UInt8Array:
    """The whole picture, whose centre the preprocessing takes, or the square at one end."""
    if crop == "centre":
        return rgb_HWC
    side_px = min(rgb_HWC.shape[:2])
    return rgb_HWC[:side_px, :side_px] if crop == "first" else rgb_HWC[-side_px:, -side_px:]
