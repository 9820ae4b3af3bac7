"""Where videos are decoded and encoded: what indexing needs of an engine, and the one on this machine."""

import os
from collections.abc import Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Protocol

from vlrlt.index.run.encode import Encoder
from vlrlt.index.run.run_report import Counters
from vlrlt.types import Clip, VideoInfo
from vlrlt.video.clip_request import ClipRequest
from vlrlt.video.worker import DecodePool

if TYPE_CHECKING:
    from vlrlt.embedder import Embedder

_MAX_WORKERS = 8


class ClipStream(Protocol):
    """A video on its way out of a decoder; see vlrlt.video.worker.DecodedVideo."""

    info: VideoInfo
    partial_reason: str | None
    decode_s: float
    resize_s: float

    def __iter__(self) -> Iterator[Clip]:
        """Yield each clip; raises DecodeError."""


class VideoSource(Protocol):
    """Something that a video has been asked of."""

    def open(self, request: ClipRequest) -> ClipStream:
        """The video; raises DecodeError."""


class Engine(Protocol):
    """Runs the stages of indexing."""

    def encoder(self, embedder: "Embedder", counters: Counters, *, max_tokens: int) -> Encoder:
        """The encoding stage."""

    def ordered(
        self, requests: Iterable[ClipRequest], *, encoder: Encoder
    ) -> Generator[tuple[VideoSource, ClipRequest]]:
        """The decoding stage: videos in their order, the next ones being decoded meanwhile.

        Args:
            requests: what to decode.
            encoder: the encoding stage that takes their clips.
        """


class LocalEngine:
    """Decoder processes of this machine, and the model in this process.

    Args:
        workers: decoder processes; None: one for each core, up to eight.
    """

    def __init__(self, workers: int | None = None) -> None:
        self._workers = workers or min(_MAX_WORKERS, os.cpu_count() or 1)

    def encoder(self, embedder: "Embedder", counters: Counters, *, max_tokens: int) -> Encoder:
        """As Engine."""
        return Encoder(embedder, counters, max_tokens=max_tokens)

    def ordered(
        self,
        requests: Iterable[ClipRequest],
        *,
        encoder: Encoder,  # noqa: ARG002  frames stay on this machine
    ) -> Generator[tuple[VideoSource, ClipRequest]]:
        """As Engine."""
        with DecodePool(self._workers) as pool:
            yield from pool.ordered(requests)
