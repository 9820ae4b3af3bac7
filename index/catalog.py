"""The catalog of a library: what is indexed. Its transactions are the commit point of everything.

What is not in here does not exist: a segment folder without a row was left by a killed run. Readers are never blocked
by the writer (WAL), and there is one writer at a time (a lock file).
"""

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self

import apsw
import numpy as np
import numpy.typing as npt
import xxhash

from vlrlt.errors import IndexMismatchError, LibraryError
from vlrlt.index.annotations import Annotations
from vlrlt.index.files import FileStamp
from vlrlt.index.schema import connect_reader, connect_writer, lock_library, mapped_errors
from vlrlt.types import ClipSpan, Float64Array
from vlrlt.video.sampling import ClipSampling

VideoState = Literal["indexed", "partial", "failed"]
Bindings = tuple[Any, ...] | dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class LibrarySettings:
    """Which model the vectors of a library come from, and how to load it again."""

    model: str
    """What load_embedder takes."""
    fingerprint: str
    embed_dim: int
    sampling: ClipSampling
    policy: dict[str, Any] | None
    """Fields of the token policy; None: the model's own."""


@dataclass(frozen=True, kw_only=True)
class Video:
    """One file of the archive, as the catalog knows it."""

    path: Path
    stamp: FileStamp
    content_hash: str | None
    """None: the file could not be read."""
    state: VideoState
    """indexed: all of it; partial: searchable up to where decoding failed; failed: not at all."""
    duration_s: float | None = None
    stage: str | None = None
    """What failed; None when state is indexed."""
    reason: str | None = None

    def problem_json(self) -> dict[str, Any]:
        """The documented JSON shape of a failed or partial file."""
        return {"path": str(self.path), "state": self.state, "stage": self.stage, "reason": self.reason}

    def problem_text(self) -> str:
        """The same for people."""
        return f"  {self.state:8}{self.path}: cannot {self.stage}: {self.reason}"


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A committed folder of vectors."""

    uuid: str
    rows: int
    xxh3: str
    """Of vectors.f16, hexadecimal."""
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class ClipTable:
    """All clips of a library, in the order of their vectors. The clips of one video are consecutive, by start.

    Shape legend: N clips, V videos.
    """

    ids_N: npt.NDArray[np.int64]
    video_N: npt.NDArray[np.int64]
    """Position in `videos`."""
    start_s_N: Float64Array
    end_s_N: Float64Array
    moving_N: Float64Array
    """Share of tokens that were kept, in [0, 1]; NaN: indexed by a vlrlt that did not record it."""
    videos: tuple[str, ...]
    """(V,) paths."""
    video_ids: tuple[str, ...]
    """(V,) content hashes: what clients know videos by."""

    def take(self, positions_K: npt.NDArray[np.int64]) -> Self:
        """Some of the clips; their positions must ascend."""
        return replace(
            self,
            ids_N=self.ids_N[positions_K],
            video_N=self.video_N[positions_K],
            start_s_N=self.start_s_N[positions_K],
            end_s_N=self.end_s_N[positions_K],
            moving_N=self.moving_N[positions_K],
        )


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What one read transaction saw: everything that a search needs."""

    settings: LibrarySettings
    generation: str
    segments: tuple[Segment, ...]
    clips: ClipTable


@dataclass(frozen=True, kw_only=True)
class LibraryCounts:
    """Totals of a library."""

    indexed: int
    partial: int
    failed: int
    clips: int
    video_s: float
    """Of the searchable files."""


def clip_id(content_hash: str, span: ClipSpan, fingerprint: str) -> int:
    """Identity of a clip: 63 bits that depend on the video's content, the span in microseconds and the model only."""
    start_us, end_us = round(span.start_s * 1e6), round(span.end_s * 1e6)
    return xxhash.xxh3_64_intdigest(f"{content_hash} {start_us} {end_us} {fingerprint}".encode()) >> 1


def generation_of(segments: Sequence[Segment]) -> str:
    """Name of a set of committed segments: 16 hexadecimal digits."""
    return xxhash.xxh3_64_hexdigest("\n".join(sorted(segment.uuid for segment in segments)).encode())


def mismatch(library_dir: Path, bound: LibrarySettings, *, model: str, fingerprint: str) -> IndexMismatchError:
    """The error for a model whose vectors cannot be compared with those of the library."""
    return IndexMismatchError(
        f"{library_dir} was indexed with model {bound.model!r} ({bound.fingerprint[:12]}), not with {model!r} "
        f"({fingerprint[:12]}); weights, sampling and token policy must be the same: leave those options out, or use "
        "another library folder"
    )


def writable_settings(library_dir: Path) -> LibrarySettings | None:
    """Which model a library belongs to, asked before writing to it; None where there is no library yet.

    Raises:
        LibraryError: it cannot be written now: locked, damaged or of a newer version of vlrlt.
    """
    if not (library_dir / "catalog.db").exists():
        return None
    with Catalog.open_writer(library_dir) as catalog:
        return catalog.settings()


class Catalog:
    """An open catalog; a context manager. Not to be used by two threads at the same time."""

    def __init__(self, library_dir: Path, connection: apsw.Connection, lock_fd: int | None = None) -> None:
        self._library_dir = library_dir
        self._connection = connection
        self._lock_fd = lock_fd

    @classmethod
    def open_reader(cls, library_dir: Path) -> Self:
        """Open a library to search it.

        Raises:
            LibraryError: there is none, or it is damaged, or of another version of vlrlt.
        """
        return cls(library_dir, connect_reader(library_dir))

    @classmethod
    def open_writer(cls, library_dir: Path) -> Self:
        """Open a library to write to it, or create it.

        Raises:
            LibraryError: another process is writing, the folder holds other things, or it cannot be written.
        """
        lock_fd = lock_library(library_dir)
        try:
            return cls(library_dir, connect_writer(library_dir), lock_fd)
        except LibraryError:
            os.close(lock_fd)
            raise

    def close(self) -> None:
        """Close the database and let the next writer in."""
        self._connection.close()
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def settings(self) -> LibrarySettings | None:
        """Which model the library belongs to; None before the first run."""
        for model, fingerprint, embed_dim, sampling, policy in self._rows(
            "SELECT model, fingerprint, embed_dim, sampling, policy FROM settings"
        ):
            return LibrarySettings(
                model=model,
                fingerprint=fingerprint,
                embed_dim=embed_dim,
                sampling=ClipSampling(**json.loads(sampling)),
                policy=json.loads(policy),
            )
        return None

    def bind(self, settings: LibrarySettings) -> None:
        """Bind the library to a model; one without clips may still change its mind.

        Raises:
            IndexMismatchError: it holds vectors of another model.
        """
        bound = self.settings()
        if bound is not None and bound.fingerprint != settings.fingerprint and self.counts().clips:
            raise mismatch(self._library_dir, bound, model=settings.model, fingerprint=settings.fingerprint)
        self._rows(
            "INSERT OR REPLACE INTO settings VALUES (1, :model, :fingerprint, :embed_dim, :sampling, :policy)",
            asdict(settings)
            | {"sampling": json.dumps(asdict(settings.sampling)), "policy": json.dumps(settings.policy)},
        )

    def video_at(self, path: Path) -> Video | None:
        """The file at a path, if it is known."""
        return next(map(_video, self._rows("SELECT * FROM videos WHERE path = ?", (os.fsencode(path),))), None)

    def video_with(self, content_hash: str) -> Video | None:
        """The searchable file with this content, if there is one."""
        rows = self._rows("SELECT * FROM videos WHERE content_hash = ? AND state <> 'failed'", (content_hash,))
        return next(map(_video, rows), None)

    def problems(self) -> tuple[Video, ...]:
        """Files that are failed or partial, by path."""
        return tuple(map(_video, self._rows("SELECT * FROM videos WHERE state <> 'indexed' ORDER BY path")))

    def commit(
        self,
        video: Video,
        *,
        segment: Segment | None = None,
        spans: Sequence[ClipSpan] = (),
        moving: Sequence[float] | None = None,
    ) -> None:
        """Replace what is known of a file, all or nothing. This is the commit point of indexing it.

        Args:
            video: its new row.
            segment: its vectors, already on disk; None for a failed file.
            spans: the clips, in the order of the vectors.
            moving: share of the tokens of each clip that were kept; None: not recorded.
        """
        with self._transaction():
            self.forget(video.path)
            video_id = self._insert(
                "INSERT INTO videos VALUES (NULL, :path, :size_bytes, :mtime_ns, :content_hash, :duration_s, :state, "
                ":stage, :reason, :indexed_at)",
                {**vars(video), **vars(video.stamp), "path": os.fsencode(video.path), "indexed_at": _now()},
            )
            if segment is None:
                return
            segment_id = self._insert(
                "INSERT INTO segments VALUES (NULL, :uuid, :video, :rows, :xxh3, :fingerprint)",
                asdict(segment) | {"video": video_id},
            )
            shares = [None] * len(spans) if moving is None else moving
            ids = [clip_id(str(video.content_hash), span, segment.fingerprint) for span in spans]
            self._connection.executemany(
                "INSERT INTO clips VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    (ids[row], video_id, segment_id, row, span.start_s, span.end_s, share)
                    for row, (span, share) in enumerate(zip(spans, shares, strict=True))
                ],
            )

    def forget(self, path: Path) -> None:
        """Remove a file and its clips, if it is known."""
        self._rows("DELETE FROM videos WHERE path = ?", (os.fsencode(path),))

    def relocate(self, video: Video, *, path: Path, stamp: FileStamp) -> None:
        """Note that known content now lies at `path`, with this stamp; what was known there before is forgotten."""
        with self._transaction():
            if path != video.path:
                self.forget(path)
            self._rows(
                "UPDATE videos SET path = ?, size_bytes = ?, mtime_ns = ? WHERE path = ?",
                (os.fsencode(path), stamp.size_bytes, stamp.mtime_ns, os.fsencode(video.path)),
            )

    @property
    def annotations(self) -> Annotations:
        """What sidecar files say of the videos."""
        return Annotations(self._connection, self._library_dir / "catalog.db")

    def segments(self) -> tuple[Segment, ...]:
        """Committed segments, in the order of their vectors."""
        rows = self._rows("SELECT uuid, rows, xxh3, fingerprint FROM segments ORDER BY id")
        return tuple(Segment(uuid=uuid, rows=num, xxh3=xxh3, fingerprint=mark) for uuid, num, xxh3, mark in rows)

    def data_version(self) -> int:
        """A number that changes when another process has committed something."""
        ((version,),) = self._rows("PRAGMA data_version")
        return int(version)

    def snapshot(self) -> Snapshot:
        """Everything that a search needs, as of one moment.

        Raises:
            LibraryError: nothing was ever indexed.
        """
        with self._transaction():
            settings = self.settings()
            if settings is None:
                raise LibraryError(f"{self._library_dir} is empty; run: vlrlt index PATH --library {self._library_dir}")
            segments = self.segments()
            clips = self._clip_table()
        return Snapshot(settings=settings, generation=generation_of(segments), segments=segments, clips=clips)

    def counts(self) -> LibraryCounts:
        """Totals of the library."""
        states = dict(self._rows("SELECT state, count(*) FROM videos GROUP BY state"))
        ((clips,),) = self._rows("SELECT count(*) FROM clips")
        ((video_s,),) = self._rows("SELECT total(duration_s) FROM videos WHERE state <> 'failed'")
        return LibraryCounts(
            indexed=states.get("indexed", 0),
            partial=states.get("partial", 0),
            failed=states.get("failed", 0),
            clips=clips,
            video_s=video_s,
        )

    def start_run(self) -> int:
        """Note that a run has begun; returns its number."""
        return self._insert("INSERT INTO runs (started_at) VALUES (:now)", {"now": _now()})

    def finish_run(self, run: int, report: Mapping[str, Any]) -> None:
        """Note how a run has ended."""
        self._rows("UPDATE runs SET ended_at = ?, report = ? WHERE id = ?", (_now(), json.dumps(report), run))

    def _clip_table(self) -> ClipTable:
        videos = self._rows("SELECT id, path, content_hash FROM videos WHERE state <> 'failed' ORDER BY id")
        position = {video_id: index for index, (video_id, _, _) in enumerate(videos)}
        clips = self._rows("SELECT id, video, start_s, end_s, moving FROM clips ORDER BY segment, row")
        return ClipTable(
            moving_N=np.array([math.nan if clip[4] is None else clip[4] for clip in clips], dtype=np.float64),
            ids_N=np.array([clip[0] for clip in clips], dtype=np.int64),
            video_N=np.array([position[clip[1]] for clip in clips], dtype=np.int64),
            start_s_N=np.array([clip[2] for clip in clips], dtype=np.float64),
            end_s_N=np.array([clip[3] for clip in clips], dtype=np.float64),
            videos=tuple(os.fsdecode(path) for _, path, _ in videos),
            video_ids=tuple(content_hash for _, _, content_hash in videos),
        )

    def _rows(self, sql: str, bindings: Bindings = ()) -> list[tuple[Any, ...]]:
        with mapped_errors(self._library_dir / "catalog.db"):
            return list(self._connection.execute(sql, bindings))

    def _insert(self, sql: str, bindings: Bindings) -> int:
        self._rows(sql, bindings)
        return self._connection.last_insert_rowid()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with mapped_errors(self._library_dir / "catalog.db"), self._connection:
            yield


def _video(row: tuple[Any, ...]) -> Video:
    _, path, size_bytes, mtime_ns, content_hash, duration_s, state, stage, reason, _ = row
    return Video(
        path=Path(os.fsdecode(path)),
        stamp=FileStamp(size_bytes=size_bytes, mtime_ns=mtime_ns),
        content_hash=content_hash,
        duration_s=duration_s,
        state=state,
        stage=stage,
        reason=reason,
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
