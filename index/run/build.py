"""Indexing: walk, choose, decode, encode, commit. The stages of one run, in their order.

choose.py says which files need work, decoder processes read the next videos while one is encoded (encode.py) and
committed (indexer.py). Killed at any moment, a run loses nothing that was committed, and the next one goes on there.
"""

import os
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlrlt.errors import ChangingFileError, DecodeError
from vlrlt.index.library.catalog import LibrarySettings, Video
from vlrlt.index.library.failpoints import failpoint
from vlrlt.index.library.files import NO_STAMP, unread_hash
from vlrlt.index.library.ledger import Ledger
from vlrlt.index.library.segments import let_go, set_orphans_aside
from vlrlt.index.run.agreement import measure_agreement
from vlrlt.index.run.choose import GRACE_S, Candidate, choose, sweep, walk_archive
from vlrlt.index.run.control import RunControl
from vlrlt.index.run.encode import MAX_TOKENS
from vlrlt.index.run.engine import Engine, LocalEngine, VideoSource
from vlrlt.index.run.event_log import Journal
from vlrlt.index.run.indexer import VideoIndexer
from vlrlt.index.run.maintain import open_or_repair
from vlrlt.index.run.reading import read_channels
from vlrlt.index.run.run_report import Counters, IndexProgress, IndexReport
from vlrlt.index.vectors.choice import choose_store
from vlrlt.index.vectors.faiss_base import load_faiss
from vlrlt.threads import leave_cores_to_decoders
from vlrlt.types import CameraFacts
from vlrlt.video.camera import read_camera
from vlrlt.video.clip_request import ClipRequest
from vlrlt.video.sampling import check_max_shift
from vlrlt.words.reader import ChannelReader

if TYPE_CHECKING:
    from vlrlt.embedder import Embedder

_BACK_OFF_S = (1.0, 5.0)
"""Waits before the second and the third try of what failed for a reason that may pass."""

Decode = Callable[[Iterable[ClipRequest]], Generator[tuple[VideoSource, ClipRequest]]]
Tell = Callable[[IndexProgress], None]


def index_paths(  # noqa: PLR0913  one for each option
    paths: Iterable[Path],
    *,
    library_dir: Path,
    embedder: "Embedder",
    readers: Sequence[ChannelReader] = (),
    retry_failed: bool = False,
    store: str | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    max_tokens: int = MAX_TOKENS,
    max_shift_s: float = 0.0,
    engine: Engine | None = None,
    grace_s: float = GRACE_S,
    on_progress: Tell | None = None,
) -> IndexReport:
    """Bring a library up to date with the videos below some folders.

    An unchanged file costs one stat. A file that cannot be read is listed with its reason and the run goes on. The
    process may be killed at any moment: what was committed stays, the next run does the rest. The archive is only read.

    Args:
        paths: folders and files.
        library_dir: the library; made if it is absent.
        embedder: the model.
        readers: what reads speech and text in the picture, once the pictures are indexed.
        retry_failed: try again what failed or was cut short before and has not changed since.
        store: "faiss", or the URL of a Qdrant server; the library remembers it. None: as before, at first FAISS.
        include: patterns of files, one of which a file must match; see walk_videos.
        exclude: patterns of files and folders that are left out.
        max_tokens: most dense tokens of one batch.
        max_shift_s: how far a frame may lie from the time that is looked at; see ClipRequest.
        engine: where the work is done; None: on this machine, with a decoder process for each core.
        grace_s: how long files that are gone stay searchable.
        on_progress: called before each file and after each clip.

    Raises:
        ConfigError: a path does not exist, or looks follow motion and max_shift_s is given.
        LibraryError: it is locked, damaged or cannot be written.
        MissingExtraError: faiss is not installed.
        StoppedError: somebody asked it to stop; what was done is committed.
    """
    check_max_shift(embedder.sampling, max_shift_s)
    load_faiss()  # fails before the hours of work, not after them
    started_s = time.perf_counter()
    paths = list(paths)
    files: dict[str, Any] = {"include": include, "exclude": exclude}
    counters = Counters()
    with ExitStack() as stack:
        stack.enter_context(leave_cores_to_decoders())
        ledger = stack.enter_context(Ledger.open(library_dir))
        agreement = _bind(ledger, embedder, store)
        run = ledger.start_run()
        journal = stack.enter_context(Journal(library_dir, run=run))
        control = RunControl(library_dir)
        stack.enter_context(control.listening())
        failpoint("run started")
        tell = partial(_tell, control, on_progress)
        walk = walk_archive(paths, ledger, **files, check=control.check_stop)
        candidates = choose(walk.files, ledger, counters, retry_failed=retry_failed, tell=tell)
        sweep([Path(os.path.realpath(path)) for path in paths], walk, ledger, counters, grace_s=grace_s)
        counters.look_s = time.perf_counter() - started_s
        engine = engine or LocalEngine()
        encoder = engine.encoder(embedder, counters, max_tokens=max_tokens)
        indexer = VideoIndexer(
            ledger, encoder, counters, agreement=agreement, max_shift_s=max_shift_s, check=control.check
        )
        decode = partial(engine.ordered, encoder=encoder)
        _Run(indexer, counters, journal, tell, decode=decode).index(candidates)
        _read_cameras(ledger, check=control.check_stop)
        counters.failures += [_unlisted(folder, why) for folder, why in walk.unreadable]
        encoder.compare_with_dense()
        open_or_repair(ledger)
        report = counters.report(ignored=walk.num_ignored, wall_s=time.perf_counter() - started_s)
        _finish(ledger, journal, run, report)
    options: dict[str, Any] = {**files, "retry_failed": retry_failed, "on_progress": on_progress}
    return replace(report, readings=read_channels(paths, library_dir=library_dir, readers=readers, **options))


def _bind(ledger: Ledger, embedder: "Embedder", store: str | None) -> float:
    """Make the library one of this model; returns the cosine from which its outputs agree."""
    agreement = ledger.bind(settings_of(embedder), agreement=partial(measure_agreement, embedder))
    set_orphans_aside(ledger.library_dir, ledger.all_segments())
    if store is not None:
        choose_store(ledger.library_dir, store)
    return agreement


def _tell(control: RunControl, on_progress: Tell | None, progress: IndexProgress) -> None:
    control.check_stop()
    control.tell(progress)
    if on_progress is not None:
        on_progress(progress)


def _finish(ledger: Ledger, journal: Journal, run: int, report: IndexReport) -> None:
    let_go(ledger.library_dir, ledger.all_segments())
    ledger.finish_run(run, report.as_json())
    ledger.keep_copy()
    journal.write("run finished", **report.as_json())
    failpoint("run is over")


class _Run:
    """The loop over candidates."""

    def __init__(
        self, indexer: VideoIndexer, counters: Counters, journal: Journal, tell: Tell, *, decode: Decode
    ) -> None:
        self._indexer = indexer
        self._counters = counters
        self._journal = journal
        self._tell = tell
        self._decode = decode
        self._files_done = self._bytes_done = 0

    def index(self, candidates: Sequence[Candidate]) -> None:
        """Index candidates; what fails for a reason that may pass gets two more tries at the end."""
        total = len(candidates), sum(candidate.stamp.size_bytes for candidate in candidates)
        for wait_s in (0.0, *_BACK_OFF_S):
            if candidates:
                time.sleep(wait_s)
                failed = self._index_once(candidates, *total)
                candidates = [candidate for candidate, _ in failed]
        for candidate, error in failed if candidates else ():
            self._give_up(candidate, error)

    def _index_once(
        self, candidates: Sequence[Candidate], files_total: int, bytes_total: int
    ) -> list[tuple[Candidate, DecodeError]]:
        may_pass = []
        by_path = {candidate.path: candidate for candidate in candidates}
        with closing(self._decode(map(self._indexer.request, candidates))) as videos:
            for process, request in videos:
                candidate = by_path[request.path]

                def on_clip(done_s: float, length_s: float, candidate: Candidate = candidate) -> None:
                    part = done_s / length_s if length_s else 0.0
                    self._tell(
                        IndexProgress(
                            path=candidate.path,
                            scanning=False,
                            files_done=self._files_done,
                            files_total=files_total,
                            bytes_done=self._bytes_done + round(part * candidate.stamp.size_bytes),
                            bytes_total=bytes_total,
                            video_s_done=self._counters.video_s + done_s,
                        )
                    )

                on_clip(0.0, 0.0)
                started_s = time.perf_counter()
                try:
                    self._indexer.index(candidate, request, process, on_clip)
                except ChangingFileError:
                    self._counters.waiting += 1 + len(candidate.twins)
                    self._journal.write("video waits", path=candidate.path)
                except DecodeError as error:
                    if error.may_pass:
                        may_pass.append((candidate, error))
                        continue
                    self._give_up(candidate, error)
                else:
                    self._journal.write(
                        "video indexed",
                        path=candidate.path,
                        duration_ms=round(1000 * (time.perf_counter() - started_s)),
                    )
                self._files_done += 1
                self._bytes_done += candidate.stamp.size_bytes
        return may_pass

    def _give_up(self, candidate: Candidate, error: DecodeError) -> None:
        self._indexer.fail(candidate, error)
        facts = {"stage": error.stage, "error_class": type(error).__name__, "reason": error.reason}
        self._journal.write("video failed", path=candidate.path, **facts)


def _read_cameras(ledger: Ledger, *, check: Callable[[], None]) -> None:
    """Note what the headers of all files say that nobody has asked: those of this run, and of older versions."""
    for path, content_hash in ledger.annotations.without_camera():
        check()
        try:
            ledger.annotations.note_camera(content_hash, read_camera(path))
        except DecodeError as error:
            if not error.may_pass:
                ledger.annotations.note_camera(content_hash, CameraFacts())


def model_source(model: str) -> str:
    """What load_embedder takes, made independent of the working directory."""
    return str(Path(model).resolve()) if model != "default" and Path(model).is_dir() else model


def settings_of(embedder: "Embedder") -> LibrarySettings:
    """How to load this model again."""
    return LibrarySettings(
        model=model_source(embedder.name),
        fingerprint=embedder.fingerprint,
        embed_dim=embedder.embed_dim,
        sampling=embedder.sampling,
        policy=None if embedder.policy is None else asdict(embedder.policy),
        precision=embedder.precision,
    )


def _unlisted(folder: Path, reason: str) -> Video:
    return Candidate(path=folder, stamp=NO_STAMP, content_hash=unread_hash(folder)).video(
        state="failed", stage="open", reason=reason
    )
