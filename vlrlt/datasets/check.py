"""Check annotations against videos: list every problem before a training run fails at the first one."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from vlrlt.datasets.base import CaptionedSpan, CaptionedVideos
from vlrlt.errors import AnnotationError, CorruptVideoError, DecodeError
from vlrlt.types import Float64Array
from vlrlt.video.chunks import OVERLAP_TOLERANCE_S, ChunkFile, list_chunks, pyav_has_last_word, read_frames
from vlrlt.video.decode import DecoderName, open_decoder

ProblemKind = Literal["missing", "unreadable", "past the end", "gap", "overlap"]
END_TOLERANCE_S = 0.5
"""Annotated ends are rounded, and the last frame's own duration is often lost."""


@dataclass(frozen=True)
class DataProblem:
    """One thing that is wrong."""

    kind: ProblemKind
    what: str
    """A video, a chunk or a span, and why."""


def check_dataset(
    dataset: CaptionedVideos,
    spans: Sequence[CaptionedSpan],
    *,
    decoder: DecoderName = "decord",
    num_decoded: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[DataProblem, ...]:
    """Look for every video, decode the first and the last frame of every file and chunk, compare spans with durations.

    An unreadable chunk hides no other problem of its video. Damage between the first and the last frame is found by
    decoding inside the spans.

    Args:
        dataset: where the videos are.
        spans: of the splits that matter.
        decoder: the one that training will use; what only another can open is a problem.
        num_decoded: spans of each video, spread over it, of which the start, the middle and the end are decoded.
        on_progress: called with (videos done, videos in all).
    """
    by_video: dict[str, list[CaptionedSpan]] = {}
    for span in spans:
        by_video.setdefault(span.video_id, []).append(span)
    problems: list[DataProblem] = []
    for done, (video_id, of_video) in enumerate(by_video.items(), start=1):
        problems += _check_video(dataset, video_id, of_video, decoder)
        problems += _check_spans(dataset, of_video, decoder, num_decoded)
        if on_progress:
            on_progress(done, len(by_video))
    return tuple(problems)


def _check_video(
    dataset: CaptionedVideos, video_id: str, spans: Sequence[CaptionedSpan], decoder: DecoderName
) -> Iterator[DataProblem]:
    try:
        path = dataset.video_path(video_id)
        chunks = list_chunks(path) if path.is_dir() else (ChunkFile(0, path),)
    except (AnnotationError, DecodeError) as error:
        kind: ProblemKind = "missing" if isinstance(error, AnnotationError) else "unreadable"
        yield DataProblem(kind, f"{error} ({len(spans)} spans)")
        return
    end_s = 0.0
    for chunk, following_s in zip(chunks, (*(chunk.start_s for chunk in chunks[1:]), math.inf), strict=True):
        try:
            end_s = chunk.start_s + pyav_has_last_word(partial(_read, chunk.path), decoder)
        except DecodeError as error:
            num_spans = sum(_meets(span, chunk.start_s, following_s) for span in spans)
            yield DataProblem("unreadable", f"{error} ({num_spans} spans)")
            end_s = following_s
        if math.isfinite(following_s) and following_s - end_s > END_TOLERANCE_S:
            yield DataProblem("gap", f"{chunk.path} ends at {end_s:.2f} s, the next chunk begins at {following_s} s")
        if end_s - following_s > OVERLAP_TOLERANCE_S:
            yield DataProblem(
                "overlap", f"{chunk.path} ends at {end_s:.2f} s, the next chunk begins at {following_s} s"
            )
    for span in spans:
        last_s = span.start_s if span.stop_s is None else span.stop_s
        if span.start_s >= end_s or last_s > end_s + END_TOLERANCE_S:
            yield DataProblem(
                "past the end",
                f"{span.span_id}: [{span.start_s}, {span.stop_s}) s of {path}, which lasts {end_s:.2f} s",
            )


def _check_spans(
    dataset: CaptionedVideos, spans: Sequence[CaptionedSpan], decoder: DecoderName, num_decoded: int
) -> Iterator[DataProblem]:
    """Decode inside some spans of a video; what is wrong with the file itself has been said already."""
    in_order = sorted(spans, key=lambda span: span.start_s)
    for place in np.linspace(0, len(spans) - 1, min(num_decoded, len(spans))).round().astype(int):
        span = in_order[place]
        try:
            path = dataset.video_path(span.video_id)
            read_frames(path, partial(_three_times, span), backend=decoder)
        except CorruptVideoError as error:
            if error.stage == "decode":
                yield DataProblem("unreadable", f"{span.span_id}: [{span.start_s}, {span.stop_s}) s of {error}")
        except (AnnotationError, DecodeError):
            return


def _three_times(span: CaptionedSpan, duration: Callable[[], float]) -> Float64Array:
    stop_s = duration() if span.stop_s is None else span.stop_s
    return np.linspace(span.start_s, stop_s, 3) - [0.0, 0.0, min(0.05, 0.5 * (stop_s - span.start_s))]


def _meets(span: CaptionedSpan, start_s: float, stop_s: float) -> bool:
    return span.start_s < stop_s and (span.stop_s is None or span.stop_s > start_s)


def _read(path: Path, decoder: DecoderName) -> float:
    """Decode the first and the last frame of a file; its duration in seconds.

    Raises:
        DecodeError: one of them cannot be decoded.
    """
    with open_decoder(path, backend=decoder) as video:
        duration_s = video.info.duration_s
        if not list(video.frames_at([max(0.0, duration_s - 0.5 / video.info.average_fps)])):
            raise CorruptVideoError(path, stage="decode", reason="its last frame cannot be decoded; is it cut off?")
        return duration_s
