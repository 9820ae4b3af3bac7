"""Indexing: walk, probe, decode, embed, store. Every video is committed by one transaction, or not at all."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vlrlt.errors import DecodeError, DecodeStage
from vlrlt.index.catalog import Catalog, LibrarySettings, Video
from vlrlt.index.files import NO_STAMP, FileStamp, file_stamp, quick_hash, walk_videos
from vlrlt.index.store import remove_orphans, write_segment
from vlrlt.index.vectors.choice import choose_store, update_store
from vlrlt.index.vectors.faiss_base import load_faiss
from vlrlt.times import format_time
from vlrlt.types import Clip, ClipSpan, Float32Array
from vlrlt.video.worker import DecodeProcess

if TYPE_CHECKING:
    from vlrlt.embed import Embedder  # brings torch, which takes seconds to import and a busy library does not need

_BATCH_CLIPS = 16


@dataclass(frozen=True, kw_only=True)
class IndexProgress:
    """How far a run has come."""

    path: Path
    """The file at hand."""
    probing: bool
    """True: durations are being read, to know how much there is to do; False: files are being indexed."""
    files_done: int
    files_total: int
    video_s_done: float
    """Seconds of video behind us; 0 while probing, like the total."""
    video_s_total: float


@dataclass(frozen=True, kw_only=True)
class IndexReport:
    """What a run has done. indexed + failed + skipped is the number of files that were found."""

    indexed: int
    """Files whose clips became searchable, the partial ones among them."""
    partial: int
    """Files of which only a part could be decoded."""
    failed: int
    """Files, and folders that cannot be listed, of which nothing could be read."""
    skipped: int
    """Files that are unchanged since an earlier run, moved, or copies of an indexed file."""
    ignored: int
    """Other files in the folders: their suffix is not of a video."""
    clips: int
    video_s: float
    """Seconds of video that became searchable."""
    wall_s: float
    decode_s: float
    """Seconds spent waiting for the decoder."""
    encode_s: float
    """Seconds spent in the model."""
    tokens: int
    """Patch tokens that the encoder processed."""
    dense_tokens: int
    """Patch tokens if nothing had been dropped."""
    failures: tuple[Video, ...]
    """The failed and the partial ones, with stage and reason."""

    def as_json(self) -> dict[str, Any]:
        """The documented JSON shape of `vlrlt index --json`."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        numbers = {name: round(value, 3) if isinstance(value, float) else value for name, value in fields.items()}
        return numbers | {"failures": [video.problem_json() for video in self.failures]}

    def as_text(self) -> str:
        """The same for people."""
        speed = f", {self.video_s / self.wall_s:.1f}x realtime" if self.video_s else ""
        lines = [
            f"{self.indexed} indexed, {self.skipped} skipped, {self.failed} failed: {self.clips} clips of "
            f"{format_time(self.video_s)} of video in {self.wall_s:.1f} s{speed}"
        ]
        if self.ignored:
            lines.append(f"{self.ignored} other files ignored: their suffix is not of a video")
        if self.failures:
            lines += [video.problem_text() for video in self.failures]
            lines.append("a changed file is tried again by the next run, an unchanged one by --retry-failed")
        return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    """A file that needs work."""

    path: Path
    stamp: FileStamp
    content_hash: str
    duration_s: float


@dataclass(kw_only=True)
class _Tally:
    """What a report is made of."""

    indexed: int = 0
    skipped: int = 0
    clips: int = 0
    video_s: float = 0.0
    decode_s: float = 0.0
    encode_s: float = 0.0
    tokens: int = 0
    dense_tokens: int = 0
    failures: list[Video] = field(default_factory=list)

    def report(self, *, ignored: int, wall_s: float) -> IndexReport:
        partial = sum(video.state == "partial" for video in self.failures)
        failed = len(self.failures) - partial
        numbers = {**vars(self), "failures": tuple(self.failures)}
        return IndexReport(partial=partial, failed=failed, ignored=ignored, wall_s=wall_s, **numbers)


def index_paths(
    paths: Iterable[Path],
    *,
    library_dir: Path,
    embedder: "Embedder",
    retry_failed: bool = False,
    store: str | None = None,
    on_progress: Callable[[IndexProgress], None] | None = None,
) -> IndexReport:
    """Bring a library up to date with the videos below some folders.

    An unchanged file costs one stat. A file that cannot be read is listed with its reason and the run goes on. The
    process may be killed at any moment: what was committed stays, the next run does the rest. The archive is only read.

    Args:
        paths: folders and files.
        library_dir: the library; made if it is absent.
        embedder: the model.
        retry_failed: try again what failed or was cut short before and has not changed since.
        store: "faiss", or the URL of a Qdrant server; the library remembers it. None: as before, at first FAISS.
        on_progress: called before each file and after each batch of clips.

    Raises:
        ConfigError: a path does not exist.
        IndexMismatchError: the library belongs to another model.
        LibraryError: it is locked, damaged or cannot be written.
        MissingExtraError: faiss is not installed.
    """
    started_s = time.perf_counter()
    tell = on_progress or (lambda _progress: None)
    load_faiss()  # fails before the hours of work, not after them
    with Catalog.open_writer(library_dir) as catalog:
        catalog.bind(_settings(embedder))
        remove_orphans(library_dir, catalog.segments())
        if store is not None:
            choose_store(library_dir, store)
        run = catalog.start_run()
        walk = walk_videos(paths, exclude=library_dir)
        with DecodeProcess() as decoder:
            indexer = _Indexer(library_dir, catalog, decoder, embedder, retry_failed=retry_failed)
            candidates = indexer.choose(walk.files, tell)
            indexer.index(candidates, tell)
        tally = indexer.tally
        tally.failures += [_failed(folder, NO_STAMP, None, stage="open", reason=why) for folder, why in walk.unreadable]
        update_store(library_dir, catalog.snapshot())
        report = tally.report(ignored=walk.num_ignored, wall_s=time.perf_counter() - started_s)
        catalog.finish_run(run, report.as_json())
    return report


class _Indexer:
    """The steps of one run."""

    def __init__(
        self, library_dir: Path, catalog: Catalog, decoder: DecodeProcess, embedder: "Embedder", *, retry_failed: bool
    ) -> None:
        self.tally = _Tally()
        self._library_dir = library_dir
        self._catalog = catalog
        self._decoder = decoder
        self._embedder = embedder
        self._retry_failed = retry_failed

    def choose(self, files: Sequence[Path], tell: Callable[[IndexProgress], None]) -> list[_Candidate]:
        """Skip what is known, list what cannot be probed, return the rest."""
        candidates = []
        for number, path in enumerate(files):
            tell(
                IndexProgress(
                    path=path,
                    probing=True,
                    files_done=number,
                    files_total=len(files),
                    video_s_done=0,
                    video_s_total=0,
                )
            )
            candidate = self._candidate(path)
            if candidate is not None:
                candidates.append(candidate)
        return candidates

    def index(self, candidates: Sequence[_Candidate], tell: Callable[[IndexProgress], None]) -> None:
        """Decode, embed and commit file by file."""
        video_s_total = sum(candidate.duration_s for candidate in candidates)
        video_s_done = 0.0
        for number, candidate in enumerate(candidates):
            progress = IndexProgress(
                path=candidate.path,
                probing=False,
                files_done=number,
                files_total=len(candidates),
                video_s_done=video_s_done,
                video_s_total=video_s_total,
            )
            tell(progress)
            self._index_file(candidate, progress, tell)
            video_s_done += candidate.duration_s

    def _candidate(self, path: Path) -> _Candidate | None:
        """The file, if it needs work and can be probed."""
        stamp, content_hash = NO_STAMP, None
        try:
            stamp = file_stamp(path)
            row = self._catalog.video_at(path)
            if row is not None and row.stamp == stamp and not self._to_retry(row):
                self.tally.skipped += 1
                return None
            content_hash = quick_hash(path, size_bytes=stamp.size_bytes)
            if self._is_known(path, stamp, content_hash):
                return None
            info = self._decoder.probe(path)
        except DecodeError as error:
            self._fail(_failed(path, stamp, content_hash, stage=error.stage, reason=error.reason))
            return None
        return _Candidate(path=path, stamp=stamp, content_hash=content_hash, duration_s=info.duration_s)

    def _is_known(self, path: Path, stamp: FileStamp, content_hash: str) -> bool:
        """Whether this content is indexed already: then the file was touched or moved, or it is a copy."""
        known = self._catalog.video_with(content_hash)
        if known is None or (known.path == path and self._to_retry(known)):
            return False
        if known.path != path and _is_unchanged(known):
            self._catalog.forget(path)  # a copy; what was here before is gone
        else:
            self._catalog.relocate(known, path=path, stamp=stamp)
        self.tally.skipped += 1
        return True

    def _to_retry(self, video: Video) -> bool:
        return self._retry_failed and video.state != "indexed"

    def _index_file(
        self, candidate: _Candidate, progress: IndexProgress, tell: Callable[[IndexProgress], None]
    ) -> None:
        path, stamp, content_hash = candidate.path, candidate.stamp, candidate.content_hash
        if self._is_known(path, stamp, content_hash):  # its twin came earlier in this run
            return
        try:
            embedded = self._embed(path, progress, tell)
            if file_stamp(path) != stamp:
                raise DecodeError(path, stage="decode", reason="it changed while it was being read; run again")
        except DecodeError as error:
            self._fail(_failed(path, stamp, content_hash, stage=error.stage, reason=error.reason))
            return
        video = Video(
            path=path,
            stamp=stamp,
            content_hash=content_hash,
            state="indexed" if embedded.reason is None else "partial",
            duration_s=embedded.spans[-1].end_s,
            stage=embedded.stage,
            reason=embedded.reason,
        )
        segment = write_segment(self._library_dir, embedded.vectors_ND, fingerprint=self._embedder.fingerprint)
        self._catalog.commit(video, segment=segment, spans=embedded.spans, moving=embedded.moving)
        self.tally.indexed += 1
        self.tally.clips += len(embedded.spans)
        self.tally.video_s += embedded.spans[-1].end_s
        if video.state == "partial":
            self.tally.failures.append(video)

    def _embed(self, path: Path, progress: IndexProgress, tell: Callable[[IndexProgress], None]) -> "_Embedded":
        """Vectors of the clips of a file: of all, or of those before its decoding broke off."""
        started_s, encode_s = time.perf_counter(), 0.0
        vectors, spans, moving = [], [], []
        stage, reason = None, None
        decoded = self._decoder.clips(path, sampling=self._embedder.sampling, preprocess=self._embedder.preprocess)
        try:
            for batch in _batches(decoded):
                encode_started_s = time.perf_counter()
                embeddings = self._embedder.embed_clips(np.stack([clip.rgb_THWC for clip in batch]))
                encode_s += time.perf_counter() - encode_started_s
                vectors.append(embeddings.vectors_BD)
                spans += [clip.span for clip in batch]
                moving += (embeddings.num_tokens_B / embeddings.num_dense_tokens).tolist()
                self.tally.tokens += int(embeddings.num_tokens_B.sum())
                self.tally.dense_tokens += embeddings.num_dense_tokens * len(batch)
                tell(replace(progress, video_s_done=progress.video_s_done + spans[-1].end_s))
        except DecodeError as error:
            if not spans:
                raise
            stage, reason = error.stage, error.reason
        if decoded.partial_reason is not None:
            stage, reason = "decode", decoded.partial_reason
        if not spans:
            raise DecodeError(path, stage="decode", reason=reason or "it has no frames")
        self.tally.encode_s += encode_s
        self.tally.decode_s += time.perf_counter() - started_s - encode_s
        return _Embedded(np.concatenate(vectors), tuple(spans), tuple(moving), stage, reason)

    def _fail(self, video: Video) -> None:
        self._catalog.commit(video)
        self.tally.failures.append(video)


@dataclass(frozen=True)
class _Embedded:
    vectors_ND: Float32Array
    spans: tuple[ClipSpan, ...]
    moving: tuple[float, ...]
    """Share of each clip's tokens that were kept."""
    stage: DecodeStage | None
    reason: str | None
    """Why the rest of the file is missing; None: it is not."""


def _batches(clips: Iterable[Clip]) -> Iterator[list[Clip]]:
    """Clips in batches; where decoding breaks off, those before come first, then the error."""
    batch: list[Clip] = []
    try:
        for clip in clips:
            batch.append(clip)
            if len(batch) == _BATCH_CLIPS:
                yield batch
                batch = []
    except DecodeError:
        if batch:
            yield batch
        raise
    if batch:
        yield batch


def model_source(model: str) -> str:
    """What load_embedder takes, made independent of the working directory."""
    return str(Path(model).resolve()) if model != "default" and Path(model).is_dir() else model


def _settings(embedder: "Embedder") -> LibrarySettings:
    """How to load this model again."""
    policy = getattr(embedder, "policy", None)
    return LibrarySettings(
        model=model_source(embedder.name),
        fingerprint=embedder.fingerprint,
        embed_dim=embedder.embed_dim,
        sampling=embedder.sampling,
        policy=None if policy is None else asdict(policy),
    )


def _is_unchanged(video: Video) -> bool:
    """Whether the file is still where it was, with the same stamp."""
    try:
        return file_stamp(video.path) == video.stamp
    except DecodeError:
        return False


def _failed(path: Path, stamp: FileStamp, content_hash: str | None, *, stage: str, reason: str) -> Video:
    return Video(path=path, stamp=stamp, content_hash=content_hash, state="failed", stage=stage, reason=reason)
