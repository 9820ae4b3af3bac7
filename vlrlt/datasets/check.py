"""Do annotations and videos fit together? Every problem by name, before a training run stumbles over the first."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vlrlt.datasets.base import CaptionedSpan, CaptionedVideos
from vlrlt.errors import AnnotationError, DecodeError
from vlrlt.types import VideoInfo
from vlrlt.video.chunks import list_chunks
from vlrlt.video.decode import DecoderName, open_decoder

ProblemKind = Literal["missing", "unreadable", "past the end", "gap"]
END_TOLERANCE_S = 0.5
"""Annotated ends are rounded, and the last frame's own duration is often lost."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong."""

    kind: ProblemKind
    what: str
    """A video, a chunk or a span, and why."""


def check_dataset(
    dataset: CaptionedVideos,
    spans: Sequence[CaptionedSpan],
    *,
    decoder: DecoderName = "decord",
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[Problem, ...]:
    """Look for every video, open every file and chunk, decode a frame of each, compare spans with durations.

    Args:
        dataset: where the videos are.
        spans: of the splits that matter.
        decoder: the one that training will use; what only another can open is a problem.
        on_progress: called with (videos done, videos in all).
    """
    by_video: dict[str, list[CaptionedSpan]] = {}
    for span in spans:
        by_video.setdefault(span.video_id, []).append(span)
    problems: list[Problem] = []
    for done, (video_id, of_video) in enumerate(by_video.items(), start=1):
        problems += _check_video(dataset, video_id, of_video, decoder)
        if on_progress:
            on_progress(done, len(by_video))
    return tuple(problems)


def _check_video(
    dataset: CaptionedVideos, video_id: str, spans: Sequence[CaptionedSpan], decoder: DecoderName
) -> Iterator[Problem]:
    try:
        path = dataset.video_path(video_id)
    except AnnotationError as error:
        yield Problem("missing", f"{error} ({len(spans)} spans)")
        return
    try:
        if path.is_dir():
            chunks = list_chunks(path)
            for chunk, following in zip(chunks, (*chunks[1:], None), strict=True):
                info = _open(decoder, chunk.path)
                end_s = chunk.start_s + info.duration_s
                if following is not None and following.start_s - end_s > END_TOLERANCE_S:
                    yield Problem("gap", f"{chunk.path} ends at {end_s:.2f} s, {following.path.name} comes next")
            duration_s = end_s
        else:
            duration_s = _open(decoder, path).duration_s
    except DecodeError as error:
        yield Problem("unreadable", f"{error} ({len(spans)} spans)")
        return
    for span in spans:
        last_s = span.start_s if span.stop_s is None else span.stop_s
        if span.start_s >= duration_s or last_s > duration_s + END_TOLERANCE_S:
            yield Problem(
                "past the end",
                f"{span.span_id}: [{span.start_s}, {span.stop_s}) s of {path}, which lasts {duration_s:.2f} s",
            )


def _open(decoder: DecoderName, path: Path) -> VideoInfo:
    with open_decoder(path, backend=decoder) as video:
        return video.info
