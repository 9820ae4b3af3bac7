"""One video from the decoder into the library, chunk by chunk: what is committed is never done again.

A chunk is a fixed stretch of video, so that a run that goes on later cuts, batches and encodes exactly as an
undisturbed one. A finished video has one segment: those of its chunks are merged.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from vlrlt.errors import ChangingFileError, DecodeError, DecodeStage
from vlrlt.index.library.catalog import Segment, Video
from vlrlt.index.library.failpoints import failpoint
from vlrlt.index.library.files import file_stamp, quick_hash
from vlrlt.index.library.ledger import Chunk, Ledger
from vlrlt.index.library.segments import read_segment, write_segment
from vlrlt.index.run.choose import Candidate
from vlrlt.index.run.encode import Encoder
from vlrlt.index.run.engine import ClipStream, VideoSource
from vlrlt.index.run.run_report import Counters
from vlrlt.types import Clip, ClipSpan, Float32Array
from vlrlt.video.clip_request import ClipRequest
from vlrlt.video.sampling import ClipSampling

CHUNK_S = 300.0
"""Seconds of video after which a commit is due: at most this much is done again after a kill."""

_RETRY_S = 600.0
_MAX_ATTEMPTS = 5
"""An error that may pass is tried again by runs that start 10, 40, 160 ... minutes later, so many times."""


def clips_per_chunk(sampling: ClipSampling) -> int:
    """Every so many clips of a video are committed together."""
    return max(1, round(CHUNK_S / sampling.stride_s))


@dataclass
class _ChunkAtHand:
    """What is decoded and not committed yet."""

    first_clip: int
    spans: list[ClipSpan] = field(default_factory=list)
    extends_to_s: float | None = None
    waiting: list[Clip] = field(default_factory=list)
    vectors: list[Float32Array] = field(default_factory=list)
    moving: list[float] = field(default_factory=list)
    num_clips: int = 0

    def add(self, clip: Clip) -> None:
        self.num_clips += 1
        if not clip.is_still:
            self.spans.append(clip.span)
            self.waiting.append(clip)
        elif self.spans:
            self.spans[-1] = ClipSpan(self.spans[-1].start_s, clip.span.end_s)
        else:
            self.extends_to_s = clip.span.end_s


class VideoIndexer:
    """Brings candidates into a library.

    Args:
        ledger: the library.
        encoder: the model.
        counters: gets what was done.
        max_shift_s: see ClipRequest.
        check: called now and then; it raises what ends the run.
    """

    def __init__(
        self, ledger: Ledger, encoder: Encoder, counters: Counters, *, max_shift_s: float, check: Callable[[], None]
    ) -> None:
        self._ledger = ledger
        self._encoder = encoder
        self._counters = counters
        self._max_shift_s = max_shift_s
        self._check = check

    def request(self, candidate: Candidate) -> ClipRequest:
        """What the decoder is to do for a candidate: all of it, or what an earlier run has left."""
        embedder = self._encoder.embedder
        policy = embedder.policy
        known = self._ledger.video_with(candidate.content_hash)
        begun = known if known is not None and known.state == "unfinished" and known.clips_done else None
        return ClipRequest(
            path=candidate.path,
            sampling=embedder.sampling,
            preprocess=embedder.preprocess,
            first_clip=begun.clips_done if begun else 0,
            seed_start_s=self._ledger.last_start_s(begun) if begun else None,
            still_255=policy.threshold_255 if policy is not None and policy.kind == "threshold" else None,
            max_shift_s=self._max_shift_s,
        )

    def index(
        self,
        candidate: Candidate,
        request: ClipRequest,
        process: VideoSource,
        on_clip: Callable[[float, float], None],
    ) -> None:
        """Decode, encode and commit one video.

        Args:
            candidate: the file.
            request: what its process was asked for.
            process: decodes it.
            on_clip: called with the seconds done and the seconds there are.

        Raises:
            DecodeError: nothing can be read, or an error that may pass; what was committed stays.
            ChangingFileError: the file changed meanwhile.
        """
        started_s = time.perf_counter()
        others_s = self._counters.encode_s + self._counters.write_s
        try:
            self._index(candidate, request, process.open(request), on_clip)
        finally:
            others_s = self._counters.encode_s + self._counters.write_s - others_s
            self._counters.decode_s += time.perf_counter() - started_s - others_s

    def fail(self, candidate: Candidate, error: DecodeError) -> None:
        """Note that a video cannot be read now, and when it is worth another try; what is committed of it stays."""
        known = self._ledger.video_with(candidate.content_hash)
        attempts = 1 if known is None else known.attempts + 1
        retry_at = time.time() + _RETRY_S * 4 ** (attempts - 1) if error.may_pass and attempts < _MAX_ATTEMPTS else None
        facts = {"stage": error.stage, "reason": error.reason, "attempts": attempts, "retry_at": retry_at}
        if known is not None and known.clips_done:
            video = replace(known, path=candidate.path, stamp=candidate.stamp, **facts)  # type: ignore[arg-type]
            self._ledger.commit(video, Chunk(first_clip=known.clips_done))
        else:
            video = candidate.video(state="failed", **facts)
            self._ledger.commit(video)
        self._settle(candidate, video)

    def _index(
        self, candidate: Candidate, request: ClipRequest, decoded: ClipStream, on_clip: Callable[[float, float], None]
    ) -> None:
        chunk = _ChunkAtHand(request.first_clip)
        step = clips_per_chunk(request.sampling)
        begun = self._ledger.video_with(candidate.content_hash) if request.first_clip else None
        end_s, stage, reason = begun.duration_s or 0.0 if begun else 0.0, None, None
        try:
            for number, clip in enumerate(decoded, start=request.first_clip):
                if number % step == 0 and chunk.num_clips:
                    self._commit(candidate, chunk, state="unfinished", duration_s=end_s)
                    chunk = _ChunkAtHand(number)
                chunk.add(clip)
                end_s = clip.span.end_s
                if len(chunk.waiting) >= self._encoder.batch_clips:
                    self._encode(chunk)
                self._check()
                on_clip(end_s, decoded.info.duration_s)
        except DecodeError as error:
            self._check_unchanged(candidate, after_error=True)
            if error.may_pass or not end_s:
                raise
            stage, reason = error.stage, error.reason
        self._counters.worker_decode_s += decoded.decode_s
        self._counters.worker_resize_s += decoded.resize_s
        if decoded.partial_reason is not None:
            self._check_unchanged(candidate, after_error=True)
            stage, reason = "decode", decoded.partial_reason
        self._finish(candidate, chunk, end_s, stage, reason)

    def _finish(
        self, candidate: Candidate, chunk: _ChunkAtHand, end_s: float, stage: DecodeStage | None, reason: str | None
    ) -> None:
        if not chunk.num_clips and not chunk.first_clip:
            raise DecodeError(candidate.path, stage="decode", reason=reason or "it has no frames")
        state = "indexed" if reason is None else "partial"
        video = self._commit(candidate, chunk, state=state, duration_s=end_s, stage=stage, reason=reason)
        self._merge(video)
        self._counters.indexed += 1
        self._counters.video_s += end_s
        self._settle(candidate, video)

    def _settle(self, candidate: Candidate, video: Video) -> None:
        """Put the result into the report, and note that the twins are the same."""
        if video.state != "indexed":
            self._counters.failures.append(video)
        for twin in candidate.twins:
            self._ledger.note_file(twin.path, twin.stamp, twin.content_hash)
            if video.state in ("indexed", "partial"):
                self._counters.skipped += 1
            else:
                self._counters.failures.append(replace(video, path=twin.path, stamp=twin.stamp))

    def _encode(self, chunk: _ChunkAtHand) -> None:
        if chunk.waiting:
            vectors_BD, moving = self._encoder.encode(chunk.waiting)
            chunk.vectors.append(vectors_BD)
            chunk.moving += moving
            chunk.waiting.clear()

    def _commit(self, candidate: Candidate, chunk: _ChunkAtHand, **facts: object) -> Video:
        """Vectors on disk first, then the one transaction that makes them count."""
        self._encode(chunk)
        self._check_unchanged(candidate)
        started_s = time.perf_counter()
        segment = None
        if chunk.spans:
            fingerprint = self._encoder.embedder.fingerprint
            segment = write_segment(self._ledger.library_dir, np.concatenate(chunk.vectors), fingerprint=fingerprint)
        video = candidate.video(clips_done=chunk.first_clip + chunk.num_clips, **facts)
        self._ledger.commit(
            video,
            Chunk(
                first_clip=chunk.first_clip,
                segment=segment,
                spans=chunk.spans,
                moving=chunk.moving,
                extends_to_s=chunk.extends_to_s,
            ),
        )
        self._counters.write_s += time.perf_counter() - started_s
        self._counters.clips += len(chunk.spans)
        self._encoder.count_still(chunk.num_clips - len(chunk.spans))
        return video

    def _merge(self, video: Video) -> None:
        """One segment for the whole video."""
        started_s = time.perf_counter()
        segments = self._ledger.segments_of(video)
        if len(segments) > 1:
            failpoint("before chunks are merged")
            merge_segments(self._ledger, segments, embed_dim=self._encoder.embedder.embed_dim)
            failpoint("chunks are merged")
        self._counters.write_s += time.perf_counter() - started_s

    def _check_unchanged(self, candidate: Candidate, *, after_error: bool = False) -> None:
        """Raise ChangingFileError if the file is not the one that was chosen, DecodeError if it is out of reach."""
        if file_stamp(candidate.path) != candidate.stamp:
            raise ChangingFileError(candidate.path)
        if after_error:  # was it the file, or the disk?
            quick_hash(candidate.path, size_bytes=candidate.stamp.size_bytes)


def merge_segments(ledger: Ledger, segments: Sequence[Segment], *, embed_dim: int) -> None:
    """Replace segments by one with all their live vectors."""
    vectors_ND = np.concatenate(
        [read_segment(ledger.library_dir, segment, embed_dim=embed_dim) for segment in segments]
    )
    merged = write_segment(ledger.library_dir, vectors_ND, fingerprint=segments[0].fingerprint)
    ledger.merge(segments, merged)
