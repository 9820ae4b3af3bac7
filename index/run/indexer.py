"""One video from the decoder into the library, chunk by chunk; committed work is never repeated.

A chunk is a fixed stretch of video, so that a run that goes on later cuts, batches and encodes exactly as an
undisturbed one. A finished video has one segment: those of its chunks are merged.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np

from vlrlt.errors import ChangingFileError, DecodeError, DecodeStage
from vlrlt.index.library.catalog import Segment, Video
from vlrlt.index.library.failpoints import failpoint
from vlrlt.index.library.files import file_stamp, full_hash, quick_hash
from vlrlt.index.library.frame_runs import FrameRun
from vlrlt.index.library.ledger import Chunk, Ledger
from vlrlt.index.library.segments import read_segment, write_contents, write_segment
from vlrlt.index.run.choose import NEW_S, Candidate
from vlrlt.index.run.encode import Encoder
from vlrlt.index.run.engine import ClipStream, VideoSource
from vlrlt.index.run.frame_runs import FrameRunJoiner, join_clip
from vlrlt.index.run.run_report import Counters
from vlrlt.types import Clip
from vlrlt.video.clip_request import CHUNK_S, ClipRequest

_RETRY_S = 600.0
_MAX_ATTEMPTS = 5
"""An error that may pass is tried again by runs that start 10, 40, 160 ... minutes later, so many times."""


@dataclass
class _ChunkAtHand:
    """What is decoded and not committed yet."""

    start_s: float
    number: int
    waiting: list[Clip] = field(default_factory=list)
    """Clips that are not encoded yet, the static ones among them."""
    runs: list[FrameRun] = field(default_factory=list)


class VideoIndexer:
    """Brings candidates into a library.

    Args:
        ledger: the library.
        encoder: the model.
        counters: gets what was done.
        agreement: cosine from which consecutive outputs belong to one frame run.
        max_shift_s: see ClipRequest.
        check: called now and then; it raises what ends the run.
    """

    def __init__(
        self,
        ledger: Ledger,
        encoder: Encoder,
        counters: Counters,
        *,
        agreement: float,
        max_shift_s: float,
        check: Callable[[], None],
    ) -> None:
        self._ledger = ledger
        self._agreement = agreement
        self._encoder = encoder
        self._counters = counters
        self._max_shift_s = max_shift_s
        self._check = check

    def request(self, candidate: Candidate) -> ClipRequest:
        """What the decoder is to do for a candidate: all of it, or what an earlier run has left."""
        embedder = self._encoder.embedder
        policy = embedder.policy
        known = self._ledger.video_with(candidate.content_hash)
        return ClipRequest(
            path=candidate.path,
            sampling=embedder.sampling,
            preprocess=embedder.preprocess,
            start_s=known.done_s if known is not None and known.state == "unfinished" else 0.0,
            chunk_s=CHUNK_S,
            static_255=policy.threshold_255 if policy is not None and policy.kind == "threshold" else None,
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
        if known is not None and known.done_s:
            video = replace(known, path=candidate.path, stamp=candidate.stamp, **facts)  # type: ignore[arg-type]
            self._ledger.commit(video, Chunk(start_s=known.done_s, open_run=self._ledger.open_run(known)))
        else:
            video = candidate.video(state="failed", **facts)
            self._ledger.commit(video)
        self._settle(candidate, video)

    def _index(
        self, candidate: Candidate, request: ClipRequest, decoded: ClipStream, on_clip: Callable[[float, float], None]
    ) -> None:
        begun = self._ledger.video_with(candidate.content_hash) if request.start_s else None
        self._joiner = FrameRunJoiner(
            agreement=self._agreement, open_run=self._ledger.open_run(begun) if begun else None
        )
        chunk: _ChunkAtHand | None = None
        end_s, stage, reason = request.start_s, None, None
        try:
            for clip in decoded:
                number = request.chunk_of(clip.own.start_s)
                if chunk is not None and number != chunk.number:
                    self._commit(candidate, chunk, state="unfinished", duration_s=end_s, done_s=clip.own.start_s)
                    chunk = None
                chunk = chunk or _ChunkAtHand(clip.own.start_s, number)
                chunk.waiting.append(clip)
                end_s = clip.own.end_s
                if sum(not waiting.is_static for waiting in chunk.waiting) >= self._encoder.batch_clips:
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
        if not end_s:
            raise DecodeError(candidate.path, stage="decode", reason=reason or "it has no frames")
        self._finish(candidate, chunk or _ChunkAtHand(end_s, -1), end_s, stage, reason)

    def _finish(
        self, candidate: Candidate, chunk: _ChunkAtHand, end_s: float, stage: DecodeStage | None, reason: str | None
    ) -> None:
        self._encode(chunk)
        last = self._joiner.finish(end_s)
        chunk.runs += [last] if last else []
        state = "indexed" if reason is None else "partial"
        facts = {"duration_s": end_s, "done_s": end_s, "stage": stage, "reason": reason}
        video = self._commit(candidate, chunk, state=state, **facts)
        self._merge(video)
        self._note_if_new(candidate)
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
        """Encode what waits, and join its outputs to frame runs."""
        outputs = iter(self._encoder.encode_clips([clip for clip in chunk.waiting if not clip.is_static]))
        for clip in chunk.waiting:
            self._encoder.count_static(clip.num_static)
            if clip.is_static:
                self._joiner.extend(clip.num_looks)
            else:
                chunk.runs += join_clip(self._joiner, clip, *next(outputs))
        chunk.waiting.clear()

    def _commit(self, candidate: Candidate, chunk: _ChunkAtHand, **facts: object) -> Video:
        """Vectors on disk first, then the one transaction that makes them count."""
        self._encode(chunk)
        self._check_unchanged(candidate)
        started_s = time.perf_counter()
        segment = None
        if chunk.runs:
            vectors_ND = np.stack([run.vector_D for run in chunk.runs])
            segment = write_segment(
                self._ledger.library_dir, vectors_ND, fingerprint=self._encoder.embedder.fingerprint
            )
        video = candidate.video(**facts)
        self._ledger.commit(
            video,
            Chunk(start_s=chunk.start_s, segment=segment, runs=chunk.runs, open_run=self._joiner.open_run),
        )
        self._counters.write_s += time.perf_counter() - started_s
        self._counters.vectors += len(chunk.runs)
        return video

    def _merge(self, video: Video) -> None:
        """One segment for the whole video, which says what is in it."""
        started_s = time.perf_counter()
        segments = self._ledger.segments_of(video)
        if len(segments) > 1:
            failpoint("before chunks are merged")
            merge_segments(self._ledger, segments, embed_dim=self._encoder.embedder.embed_dim)
            failpoint("chunks are merged")
        for segment in self._ledger.segments_of(video):
            write_contents(self._ledger.library_dir, segment, self._ledger.describe(segment))
        self._counters.write_s += time.perf_counter() - started_s

    def _note_if_new(self, candidate: Candidate) -> None:
        """Hash every byte of a file that may not be finished; it is among the memory's pages still."""
        if time.time() - candidate.stamp.mtime_ns / 1e9 < NEW_S:
            with suppress(DecodeError):  # it is out of reach now
                whole = full_hash(candidate.path)
                is_same = file_stamp(candidate.path) == candidate.stamp
                self._ledger.note_full_hash(candidate.path, whole if is_same else "changed meanwhile")

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
