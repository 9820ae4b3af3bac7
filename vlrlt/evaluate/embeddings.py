"""Clips and texts of a dataset as vectors.

Shape legend: N spans, V views of a span, B clips of a batch, T frames, HWC one picture, D embedding.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from vlrlt.datasets.base import CaptionedSpan, CaptionedVideos
from vlrlt.embed import Embedder
from vlrlt.errors import AnnotationError, CorruptVideoError
from vlrlt.types import ClipSpan, Float32Array, Float64Array, UInt8Array, VideoInfo
from vlrlt.video.chunks import open_video
from vlrlt.video.decode import Decoder, DecoderName
from vlrlt.video.sampling import frame_times

_CLIP_BATCH = 16
_TEXT_BATCH = 256

Crop = Literal["centre", "first", "last"]
"""Of the longer side: the middle, the left or top end, the right or bottom end."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class View:
    """One look at a span."""

    times_T: Float64Array
    """Ascending seconds."""
    crop: Crop = "centre"


Views = Callable[[VideoInfo, CaptionedSpan, int], Sequence[View]]
"""Which views of a span a protocol takes, given the number of frames of the model's clips."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What encoding took."""

    tokens_kept: float
    """Mean share of patch tokens that the encoder processed, in (0, 1]."""
    decode_s: float
    """Reading, decoding and resizing the frames."""
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
    cost: Cost


def one_view(info: VideoInfo, span: CaptionedSpan, num_frames: int) -> tuple[View]:
    """The centres of num_frames equal segments of the span, the middle of the picture."""
    stop_s = info.duration_s if span.stop_s is None else span.stop_s
    return (View(frame_times(ClipSpan(span.start_s, stop_s), num_frames)),)


def embed_spans(
    dataset: CaptionedVideos,
    spans: Sequence[CaptionedSpan],
    embedder: Embedder,
    *,
    views: Views = one_view,
    decoder: DecoderName = "pyav",
    on_progress: Progress | None = None,
) -> EncodedSpans:
    """Embed every span; all videos are looked for before the first is opened, and each is opened once.

    Args:
        dataset: where the videos are.
        spans: what to embed; at least one.
        embedder: the model.
        views: how a protocol looks at a span; every span gets as many views.
        decoder: which library reads the videos.
        on_progress: called with (views done, views in all).

    Raises:
        AnnotationError: a video is missing, or shorter than its annotation.
        DecodeError: a video cannot be read.
    """
    started_s = time.perf_counter()
    encode_s = 0.0
    vectors: dict[tuple[int, int], Float32Array] = {}
    num_kept = num_views = 0
    share_kept = 0.0
    for places, rgb_BTHWC, total in _batches(dataset, spans, embedder, views, decoder):
        encode_started_s = time.perf_counter()
        embeddings = embedder.embed_clips(rgb_BTHWC)
        encode_s += time.perf_counter() - encode_started_s
        vectors.update(zip(places, embeddings.vectors_BD, strict=True))
        share_kept += float(embeddings.num_tokens_B.sum()) / embeddings.num_dense_tokens
        num_kept += len(places)
        num_views = total
        if on_progress:
            on_progress(num_kept, total)
    per_span = num_views // len(spans)
    vectors_NVD = np.array([[vectors[row, view] for view in range(per_span)] for row in range(len(spans))])
    decode_s = time.perf_counter() - started_s - encode_s
    return EncodedSpans(vectors_NVD, Cost(tokens_kept=share_kept / num_kept, decode_s=decode_s, encode_s=encode_s))


def embed_texts(texts: Sequence[str], embedder: Embedder) -> Float32Array:
    """Unit vectors (len(texts), D)."""
    starts = range(0, len(texts), _TEXT_BATCH)
    return np.concatenate([embedder.embed_texts(texts[start : start + _TEXT_BATCH]) for start in starts])


def _batches(
    dataset: CaptionedVideos, spans: Sequence[CaptionedSpan], embedder: Embedder, views: Views, decoder: DecoderName
) -> Iterator[tuple[list[tuple[int, int]], UInt8Array, int]]:
    """Places (span, view) and their frames, up to _CLIP_BATCH together; and the number of views in all."""
    places: list[tuple[int, int]] = []
    batch: list[UInt8Array] = []
    total = 0
    for place, rgb_THWC, per_span in _decode(dataset, spans, embedder, views, decoder):
        total = per_span * len(spans)
        places.append(place)
        batch.append(rgb_THWC)
        if len(batch) == _CLIP_BATCH:
            yield places, np.stack(batch), total
            places, batch = [], []
    if batch:
        yield places, np.stack(batch), total


def _decode(
    dataset: CaptionedVideos, spans: Sequence[CaptionedSpan], embedder: Embedder, views: Views, decoder: DecoderName
) -> Iterator[tuple[tuple[int, int], UInt8Array, int]]:
    by_path: dict[Path, list[int]] = {}
    paths: dict[str, Path] = {}
    for row, span in enumerate(spans):
        if span.video_id not in paths:
            paths[span.video_id] = dataset.video_path(span.video_id)
        by_path.setdefault(paths[span.video_id], []).append(row)
    for path, rows in by_path.items():
        with open_video(path, backend=decoder) as video:
            for row in sorted(rows, key=lambda row: spans[row].start_s):
                _check_start(video.info, spans[row])
                looks = views(video.info, spans[row], embedder.sampling.num_frames)
                for number, view in enumerate(looks):
                    yield (row, number), _frames(video, spans[row], view, embedder), len(looks)


def _check_start(info: VideoInfo, span: CaptionedSpan) -> None:
    if span.start_s >= info.duration_s:
        raise AnnotationError(
            f"{span.span_id} starts at {span.start_s} s, but {info.path} lasts only {info.duration_s:.2f} s; "
            f"is this the video that was annotated?"
        )


def _frames(video: Decoder, span: CaptionedSpan, view: View, embedder: Embedder) -> UInt8Array:
    frames = [embedder.preprocess(_cut(frame.rgb_HWC, view.crop)) for frame in video.frames_at(view.times_T)]
    if len(frames) < len(view.times_T):
        reason = f"only {len(frames)} of the {len(view.times_T)} frames of {span.span_id}"
        raise CorruptVideoError(video.info.path, stage="decode", reason=reason)
    return np.stack(frames)


def _cut(rgb_HWC: UInt8Array, crop: Crop) -> UInt8Array:
    """The whole picture, whose centre the preprocessing takes, or the square at one end."""
    if crop == "centre":
        return rgb_HWC
    side_px = min(rgb_HWC.shape[:2])
    return rgb_HWC[:side_px, :side_px] if crop == "first" else rgb_HWC[-side_px:, -side_px:]
