"""The writer's side of the catalog: files come, move and go, videos are committed chunk by chunk.

Every method that changes more than one row is one transaction. What a search sees is always whole.
"""

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import apsw
import numpy as np

from vlrlt.errors import ConfigError, LibraryError
from vlrlt.index.library.catalog import Catalog, LibrarySettings, Segment, Video, frame_run_id
from vlrlt.index.library.failpoints import failpoint
from vlrlt.index.library.files import FileStamp
from vlrlt.index.library.frame_runs import FrameRun, OpenRun
from vlrlt.index.library.rescue import CatalogState, adopt, copy_catalog, describe, restore_catalog
from vlrlt.index.library.schema import (
    Bindings,
    check_is_library,
    connect_writer,
    damaged,
    is_library,
    lock_library,
    mapped_errors,
)


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """What one commit adds to a video."""

    start_s: float
    """Where it begins; 0 replaces what was known of the video."""
    segment: Segment | None = None
    """Vectors of the runs, already on disk; None: no run has ended in the chunk."""
    runs: Sequence[FrameRun] = ()
    """Frame runs that have ended, in the order of the vectors."""
    open_run: OpenRun | None = None
    """The run that goes on into the next chunk; None: there is none."""


@dataclass(frozen=True, kw_only=True)
class File:
    """A path and the content that was found there."""

    path: Path
    stamp: FileStamp
    content_hash: str
    full_hash: str | None
    missing_since: float | None


class Ledger(Catalog):
    """A library opened to write to it; a context manager. Not to be used by two threads at the same time."""

    def __init__(self, library_dir: Path, connection: apsw.Connection, lock_fd: int) -> None:
        super().__init__(library_dir, connection)
        self.catalog_state: CatalogState = "whole"
        self._lock_fd: int | None = lock_fd
        self._bound: LibrarySettings | None = None

    @classmethod
    def open(cls, library_dir: Path, *, repair: bool = False) -> Self:
        """Open a library to write to it, or create it.

        Args:
            library_dir: the library.
            repair: put a catalog that cannot be believed aside, and its copy or a new one into its place.

        Raises:
            LibraryBusyError: another process is writing.
            LibraryError: the folder holds other things, it cannot be written, or its catalog is damaged.
        """
        lock_fd = lock_library(library_dir)
        try:
            state = restore_catalog(library_dir) if repair else "whole"
            ledger = cls(library_dir, connect_writer(library_dir, may_be_blank=repair), lock_fd)
        except LibraryError:
            os.close(lock_fd)
            raise
        ledger.catalog_state = state
        return ledger

    @classmethod
    def open_existing(cls, library_dir: Path, *, repair: bool = False) -> Self:
        """Open a library to write to it; a mistyped name must not become one. See `open`.

        Raises:
            LibraryBusyError: another process is writing.
            LibraryError: there is none, or it cannot be written.
        """
        if not (repair and (library_dir / "segments").is_dir()):
            check_is_library(library_dir)
        return cls.open(library_dir, repair=repair)

    def close(self) -> None:
        """Close the database and let the next writer in."""
        super().close()
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def check_catalog(self) -> None:
        """Read all of the database.

        Raises:
            LibraryError: it is damaged.
        """
        ((found,), *_) = self._rows("PRAGMA integrity_check(1)")
        if found != "ok":
            raise damaged(self._path, found.replace("\n", " "))

    def keep_copy(self) -> None:
        """Keep a copy of the catalog, from which it can be restored.

        Raises:
            LibraryError: the disk is full or cannot be written.
        """
        copy_catalog(self._connection, self.library_dir)

    def describe(self, segment: Segment) -> dict[str, Any]:
        """What is known of a segment, as JSON from which the catalog can be made again."""
        with mapped_errors(self._path):
            return describe(self._connection, segment.uuid)

    def adopt(self, segment: Segment, contents: Mapping[str, Any]) -> int:
        """Take a segment that the catalog does not name, by what `describe` said of it once; returns how many videos.

        Raises:
            LibraryError: what it said is damaged.
        """
        try:
            with self._transaction():
                return adopt(self._connection, contents, segment)
        except (KeyError, TypeError, ValueError) as error:
            raise LibraryError(f"segment {segment.uuid}: {error!r:.200}") from error

    # Models

    def bind(self, settings: LibrarySettings, *, agreement: Callable[[], float]) -> float:
        """Write vectors of this model from now on, beside those of other models; the first one answers searches.

        Args:
            settings: the model.
            agreement: measures the cosine from which its outputs belong to one frame run; asked for a new model only.

        Returns:
            The agreement of the library's vectors of this model.
        """
        with self._transaction():
            for other in self.models():
                if other.fingerprint != settings.fingerprint and not self._segments(
                    "fingerprint = ?", (other.fingerprint,)
                ):
                    self._delete_model(other)
            if all(settings.fingerprint != known.fingerprint for known in self.models()):
                fields = {"sampling": json.dumps(asdict(settings.sampling)), "policy": json.dumps(settings.policy)}
                self._rows(
                    "INSERT INTO models VALUES (NULL, :model, :fingerprint, :embed_dim, :sampling, :policy, "
                    ":precision, :agreement, NOT EXISTS (SELECT 1 FROM models WHERE active))",
                    asdict(settings) | fields | {"agreement": agreement()},
                )
            mark = (settings.model, settings.fingerprint)
            self._rows("UPDATE models SET model = ? WHERE fingerprint = ?", mark)
            ((stored,),) = self._rows("SELECT agreement FROM models WHERE fingerprint = ?", (settings.fingerprint,))
        self._bound = settings
        return float(stored)

    def use(self, settings: LibrarySettings) -> None:
        """Let this model answer searches."""
        with self._transaction():
            self._rows("UPDATE models SET active = 0")
            self._rows("UPDATE models SET active = 1 WHERE fingerprint = ?", (settings.fingerprint,))

    def forget_model(self, settings: LibrarySettings) -> None:
        """Remove a model and its vectors.

        Raises:
            ConfigError: it is the one that answers searches.
        """
        if self.settings() == settings:
            raise ConfigError(f"model {settings.model!r} is used for searches; first choose another one with vlrlt use")
        with self._transaction():
            self._delete_model(settings)

    def _delete_model(self, settings: LibrarySettings) -> None:
        self._delete_videos("fingerprint = ?", (settings.fingerprint,))
        self._rows("DELETE FROM models WHERE fingerprint = ?", (settings.fingerprint,))

    def num_videos_missing_from(self, settings: LibrarySettings) -> int:
        """Videos that the active model can find and this one cannot yet."""
        with self._transaction():
            ((count,),) = self._rows(
                "SELECT count(*) FROM videos a WHERE fingerprint = ? AND state IN ('indexed', 'partial') "
                "AND NOT EXISTS (SELECT 1 FROM videos b WHERE b.content_hash = a.content_hash AND b.fingerprint = ? "
                "AND b.state <> 'unfinished')",
                (super()._fingerprint(), settings.fingerprint),
            )
        return int(count)

    def _fingerprint(self) -> str:
        return super()._fingerprint() if self._bound is None else self._bound.fingerprint

    # Files

    def file_at(self, path: Path) -> File | None:
        """What was found at a path."""
        return next(map(_file, self._rows(f"{_SELECT_FILE} WHERE path = ?", (os.fsencode(path),))), None)

    def files(self) -> tuple[File, ...]:
        """All files, by path."""
        return tuple(map(_file, self._rows(f"{_SELECT_FILE} ORDER BY path")))

    def files_with(self, content_hash: str) -> tuple[File, ...]:
        """All files with this content, by path."""
        return tuple(map(_file, self._rows(f"{_SELECT_FILE} WHERE content_hash = ? ORDER BY path", (content_hash,))))

    def note_file(self, path: Path, stamp: FileStamp, content_hash: str) -> None:
        """Note what lies at a path; content that lies nowhere any more goes, with its vectors."""
        with self._transaction():
            before = self.file_at(path)
            self._rows(
                "INSERT INTO files VALUES (NULL, :path, :size_bytes, :mtime_ns, :inode, :device, :content_hash, NULL, "
                "NULL) ON CONFLICT (path) DO UPDATE SET size_bytes = :size_bytes, mtime_ns = :mtime_ns, "
                "inode = :inode, device = :device, content_hash = :content_hash, missing_since = NULL, "
                "full_hash = CASE WHEN content_hash = :content_hash THEN full_hash END",
                {**asdict(stamp), "path": os.fsencode(path), "content_hash": content_hash},
            )
            if before is not None and before.content_hash != content_hash:
                self._forget_homeless(before.content_hash)

    def note_full_hash(self, path: Path, full_hash: str) -> None:
        """Note the hash of every byte of a file."""
        self._rows("UPDATE files SET full_hash = ? WHERE path = ?", (full_hash, os.fsencode(path)))

    def mark_missing(self, paths: Iterable[Path]) -> None:
        """Note that files are gone; those that were gone before keep their date."""
        with self._transaction():
            for path in paths:
                self._rows(
                    "UPDATE files SET missing_since = ? WHERE path = ? AND missing_since IS NULL",
                    (time.time(), os.fsencode(path)),
                )

    def forget_files(self, paths: Iterable[Path]) -> None:
        """Remove files, and content that lies nowhere any more, with its vectors."""
        with self._transaction():
            for path in paths:
                file = self.file_at(path)
                if file is not None:
                    self._rows("DELETE FROM files WHERE path = ?", (os.fsencode(path),))
                    self._forget_homeless(file.content_hash)

    def _forget_homeless(self, content_hash: str) -> None:
        if not self.files_with(content_hash):
            self._delete_videos("content_hash = ?", (content_hash,))
            for table in ("texts", "readings"):
                self._rows(f"DELETE FROM {table} WHERE content_hash = ?", (content_hash,))

    def _delete_videos(self, condition: str, bindings: tuple[Any, ...]) -> None:
        """Remove videos, their frame runs, and the segments that lose their last vector by that."""
        videos = f"FROM videos WHERE {condition}"
        segments = self._rows(f"SELECT DISTINCT segment FROM frame_runs WHERE video IN (SELECT id {videos})", bindings)
        self._rows(f"DELETE {videos}", bindings)
        for (segment,) in segments:
            self._rows(
                "DELETE FROM segments WHERE id = :id AND NOT EXISTS (SELECT 1 FROM frame_runs WHERE segment = :id)",
                {"id": segment},
            )

    # Videos

    def commit(self, video: Video, chunk: Chunk | None = None) -> None:
        """Note what became of a file and add a chunk of frame runs, all or nothing. The commit point of indexing.

        Args:
            video: its new facts.
            chunk: what it adds; None: nothing, and what was searchable of this content goes.
        """
        anew = chunk is None or chunk.start_s == 0
        with self._transaction():
            self.note_file(video.path, video.stamp, video.content_hash)
            failpoint("in the transaction, file noted")
            if anew:
                self._delete_videos("content_hash = ? AND fingerprint = ?", (video.content_hash, self._fingerprint()))
            video_id = self._upsert(video)
            if chunk is not None:
                self._add(chunk, video, video_id)
            failpoint("in the transaction, frame runs noted")
        failpoint("chunk is committed")

    def open_run(self, video: Video) -> OpenRun | None:
        """The frame run that an unfinished video goes on with; None: there is none."""
        rows = self._rows(
            "SELECT start_s, num_looks, changes, sum, reference FROM open_runs JOIN videos v ON v.id = video "
            "WHERE v.content_hash = ? AND v.fingerprint = ?",
            (video.content_hash, self._fingerprint()),
        )
        for start_s, num_looks, changes, sum_bytes, reference_bytes in rows:
            return OpenRun(
                start_s=start_s,
                num_looks=num_looks,
                changes=changes,
                sum_D=np.frombuffer(sum_bytes, _BLOB_DTYPE).astype(np.float32),
                reference_D=np.frombuffer(reference_bytes, _BLOB_DTYPE).astype(np.float32),
            )
        return None

    def segments_of(self, video: Video) -> tuple[Segment, ...]:
        """Segments that hold vectors of a video, in the order of their vectors."""
        return self._segments(
            "s.id IN (SELECT segment FROM frame_runs JOIN videos v ON v.id = video "
            "WHERE v.content_hash = ? AND v.fingerprint = ?)",
            (video.content_hash, self._fingerprint()),
        )

    def all_segments(self) -> tuple[Segment, ...]:
        """Committed segments of all models."""
        return self._segments("1", ())

    def merge(self, sources: Sequence[Segment], merged: Segment) -> None:
        """Let one segment take the place of several; it holds their live vectors one after the other."""
        with self._transaction():
            target = self._insert_segment(merged)
            runs = (
                run
                for source in sources
                for run in self._rows(
                    "SELECT r.id FROM frame_runs r JOIN segments s ON s.id = segment WHERE uuid = ? ORDER BY row",
                    (source.uuid,),
                )
            )
            for row, (run,) in enumerate(runs):
                self._rows("UPDATE frame_runs SET segment = ?, row = ? WHERE id = ?", (target, row, run))
            self._connection.executemany("DELETE FROM segments WHERE uuid = ?", [(source.uuid,) for source in sources])
            failpoint("in the transaction of a merge")

    def requeue(self, segment: Segment) -> tuple[Path, ...]:
        """Forget a damaged segment; its videos are indexed anew by the next run. Returns their files."""
        with self._transaction():
            contents = self._rows(
                "SELECT DISTINCT v.id, content_hash FROM videos v JOIN frame_runs r ON r.video = v.id "
                "JOIN segments s ON s.id = r.segment WHERE uuid = ?",
                (segment.uuid,),
            )
            for video_id, _ in contents:
                self._delete_videos("id = ?", (video_id,))
            self._rows("DELETE FROM segments WHERE uuid = ?", (segment.uuid,))
            return tuple(file.path for _, content_hash in contents for file in self.files_with(content_hash))

    def _upsert(self, video: Video) -> int:
        fields = {**vars(video), "fingerprint": self._fingerprint(), "changed_at": _now()}
        for key in ("path", "stamp", "missing_since"):
            del fields[key]
        ((video_id,),) = self._rows(
            "INSERT INTO videos VALUES (NULL, :content_hash, :fingerprint, :state, :duration_s, :done_s, :stage, "
            ":reason, :attempts, :retry_at, :changed_at) ON CONFLICT (content_hash, fingerprint) DO UPDATE SET "
            "state = :state, duration_s = :duration_s, done_s = :done_s, stage = :stage, reason = :reason, "
            "attempts = :attempts, retry_at = :retry_at, changed_at = :changed_at RETURNING id",
            fields,
        )
        return int(video_id)

    def _add(self, chunk: Chunk, video: Video, video_id: int) -> None:
        self._rows("DELETE FROM open_runs WHERE video = ?", (video_id,))
        if chunk.open_run is not None:
            run = chunk.open_run
            blobs = (run.sum_D.astype(_BLOB_DTYPE).tobytes(), run.reference_D.astype(_BLOB_DTYPE).tobytes())
            self._rows(
                "INSERT INTO open_runs VALUES (?, ?, ?, ?, ?, ?)",
                (video_id, run.start_s, run.num_looks, run.changes, *blobs),
            )
        if chunk.segment is None:
            return
        segment_id, fingerprint = self._insert_segment(chunk.segment), chunk.segment.fingerprint
        self._connection.executemany(
            "INSERT INTO frame_runs VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    frame_run_id(video.content_hash, run.span, fingerprint),
                    *(video_id, segment_id, row),
                    *(run.span.start_s, run.span.end_s, run.num_looks, run.kept_share),
                )
                for row, run in enumerate(chunk.runs)
            ],
        )

    def _insert_segment(self, segment: Segment) -> int:
        fields = replace(segment, live_rows=None)
        return self._insert("INSERT INTO segments VALUES (NULL, :uuid, :rows, :xxh3, :fingerprint)", asdict(fields))

    # Runs

    def start_run(self) -> int:
        """Note that a run has begun; returns its number."""
        return self._insert("INSERT INTO runs (started_at) VALUES (:now)", {"now": _now()})

    def finish_run(self, run: int, report: Mapping[str, Any]) -> None:
        """Note how a run has ended."""
        self._rows("UPDATE runs SET ended_at = ?, report = ? WHERE id = ?", (_now(), json.dumps(report), run))

    def _insert(self, sql: str, bindings: Bindings) -> int:
        self._rows(sql, bindings)
        return self._connection.last_insert_rowid()


_BLOB_DTYPE = np.dtype("<f4")
_SELECT_FILE = "SELECT path, size_bytes, mtime_ns, inode, device, content_hash, full_hash, missing_since FROM files"


def _file(row: tuple[Any, ...]) -> File:
    path, size_bytes, mtime_ns, inode, device, content_hash, full_hash, missing_since = row
    return File(
        path=Path(os.fsdecode(path)),
        stamp=FileStamp(size_bytes=size_bytes, mtime_ns=mtime_ns, inode=inode, device=device),
        content_hash=content_hash,
        full_hash=full_hash,
        missing_since=missing_since,
    )


def library_models(library_dir: Path) -> tuple[LibrarySettings, ...]:
    """The models of a library, asked before writing to it, the active one first; none where there is no library yet.

    Raises:
        LibraryBusyError: another process is writing.
        LibraryError: it is damaged, or of a newer version of vlrlt.
    """
    if not is_library(library_dir):
        return ()
    with Ledger.open(library_dir) as ledger:
        return ledger.models()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
