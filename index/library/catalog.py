"""The catalog of a library: the record of what is indexed. Its transactions are the commit point of all work.

What is not in here does not exist: a segment folder without a row was left by a killed run. Readers are never blocked
by the writer (WAL); the one writer is a Ledger (ledger.py).
"""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import apsw
import numpy as np
import numpy.typing as npt
import xxhash

from vlrlt.errors import IndexMismatchError, LibraryError, NotFoundError
from vlrlt.index.library.annotations import Annotations
from vlrlt.index.library.files import NO_STAMP, FileStamp, unread_hash
from vlrlt.index.library.schema import Tables, check_written_here, connect_reader, mapped_errors, stamp_at_rest
from vlrlt.index.library.timed_texts import TimedTexts
from vlrlt.types import ClipSpan, Float64Array, Moment, Precision
from vlrlt.video.sampling import Sampling, sampling_from_json

if TYPE_CHECKING:
    from vlrlt.tokens.run_length import TokenPolicy

_RUN_ROW = np.dtype(
    [(name, "i8") for name in ("id", "segment", "row", "video")]
    + [(name, "f8") for name in ("start_s", "end_s", "kept_share")]
)
VideoState = Literal["unfinished", "indexed", "partial", "failed"]


@dataclass(frozen=True, kw_only=True)
class LibrarySettings:
    """Which model the vectors of a library come from, and how to load it again."""

    model: str
    """What load_embedder takes."""
    fingerprint: str
    embed_dim: int
    sampling: Sampling
    policy: dict[str, Any] | None
    """Fields of the token policy; None: the model's own."""
    precision: Precision
    """What the video encoder computes in."""

    def token_policy(self) -> "TokenPolicy | None":
        """How tokens were dropped; None: as the model has it."""
        from vlrlt.tokens.run_length import TokenPolicy  # brings torch, which status does not need

        return None if self.policy is None else TokenPolicy(**self.policy)

    def __str__(self) -> str:
        """What tells it from others of the same name."""
        policy = self.policy or {}
        dropped = f", policy {policy['kind']}" if "kind" in policy else ""
        threshold = f" {policy['threshold_255']:g}" if policy.get("kind") == "threshold" else ""
        return f"{self.model} ({self.fingerprint[:12]}): {self.sampling}{dropped}{threshold}"


@dataclass(frozen=True, kw_only=True)
class Video:
    """One file of the archive, and what became of its content."""

    path: Path
    stamp: FileStamp
    content_hash: str
    """files.unread_hash(path) if the file could not be read."""
    state: VideoState
    """indexed: all of it; partial: searchable up to where decoding failed; failed: not at all; unfinished: searchable
    as far as a run has come, the next one goes on."""
    duration_s: float | None = None
    stage: str | None = None
    """What failed; None when state is indexed."""
    reason: str | None = None
    done_s: float = 0.0
    """An unfinished video goes on here."""
    attempts: int = 0
    """That failed one after another."""
    retry_at: float | None = None
    """Seconds since 1970 from which on another try makes sense; None: only when asked to."""
    missing_since: float | None = None
    """Seconds since 1970; None: the file was there when last looked for."""

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
    """Vectors that frame runs have."""
    xxh3: str
    """Of vectors.f16, hexadecimal."""
    fingerprint: str
    live_rows: tuple[int, ...] | None = None
    """Where they are in the file; None: it holds no others."""


@dataclass(frozen=True, kw_only=True)
class FrameRunTable:
    """All frame runs of a library, in the order of their vectors.

    Those of one video ascend by start and do not overlap. They are consecutive, unless the video is not finished: then
    others may lie between what several index runs have done of it.

    Shape legend: N frame runs, V videos.
    """

    ids_N: npt.NDArray[np.int64]
    video_N: npt.NDArray[np.int64]
    """Position in `videos`."""
    start_s_N: Float64Array
    end_s_N: Float64Array
    kept_share_N: Float64Array
    """Share of the patches that change from one look to the next, in [0, 1]."""
    videos: tuple[str, ...]
    """(V,) paths."""
    video_ids: tuple[str, ...]
    """(V,) content hashes: what clients know videos by."""

    def position(self, clip_id: int) -> int:
        """Where a frame run is in the table.

        Raises:
            NotFoundError: the library has no such frame run.
        """
        sorted_ids_N, order_N = self._sorted_ids
        at = int(np.searchsorted(sorted_ids_N, clip_id))
        if at == len(sorted_ids_N) or sorted_ids_N[at] != clip_id:
            raise NotFoundError(f"no clip {clip_id:016x} in this library; every hit of a search names its clip")
        return int(order_N[at])

    def moment(self, position: int) -> Moment:
        """The frame run at a position as a moment."""
        video = int(self.video_N[position])
        return Moment(
            rank=1,
            score=1.0,
            percentile=100.0,
            clip_id=int(self.ids_N[position]),
            video=self.videos[video],
            video_id=self.video_ids[video],
            start_s=float(self.start_s_N[position]),
            end_s=float(self.end_s_N[position]),
        )

    @cached_property
    def _sorted_ids(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Ids, ascending, and the position of each."""
        order_N = np.argsort(self.ids_N)
        return self.ids_N[order_N], order_N

    def take(self, positions_K: npt.NDArray[np.int64]) -> Self:
        """Some of the frame runs, in this order; those of one video must ascend by start."""
        return replace(
            self,
            ids_N=self.ids_N[positions_K],
            video_N=self.video_N[positions_K],
            start_s_N=self.start_s_N[positions_K],
            end_s_N=self.end_s_N[positions_K],
            kept_share_N=self.kept_share_N[positions_K],
        )


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What one read transaction saw: everything that a search needs."""

    settings: LibrarySettings
    generation: str
    segments: tuple[Segment, ...]
    frame_runs: FrameRunTable


@dataclass(frozen=True, kw_only=True)
class LibraryCounts:
    """Totals of a library."""

    indexed: int
    """Files that are searchable from end to end."""
    partial: int
    """Files that are searchable up to where decoding failed."""
    unfinished: int
    """Files that are searchable as far as a run has come; the next one goes on."""
    failed: int
    missing: int
    """Files that were not there when last looked for; they stay searchable until they are pruned."""
    vectors: int
    """Frame runs that can be found."""
    video_s: float
    """Of the searchable videos, each counted once."""


def frame_run_id(content_hash: str, span: ClipSpan, fingerprint: str) -> int:
    """Identity of a frame run: 63 bits of the video's content, the span in microseconds and the model only."""
    start_us, end_us = round(span.start_s * 1e6), round(span.end_s * 1e6)
    return xxhash.xxh3_64_intdigest(f"{content_hash} {start_us} {end_us} {fingerprint}".encode()) >> 1


def generation_of(segments: Sequence[Segment]) -> str:
    """Name of a set of committed vectors: 16 hexadecimal digits."""
    names = (
        segment.uuid if segment.live_rows is None else f"{segment.uuid} {segment.live_rows}" for segment in segments
    )
    return xxhash.xxh3_64_hexdigest("\n".join(sorted(names)).encode())


def mismatch(library_dir: Path, bound: LibrarySettings, *, model: str, fingerprint: str) -> IndexMismatchError:
    """The error for a model whose vectors cannot be compared with those of the library."""
    if model == bound.model:
        return IndexMismatchError(
            f"{library_dir} was indexed with a version of {model!r} ({bound.fingerprint[:12]}) other than this one "
            f"({fingerprint[:12]}): index its videos again, then run: "
            f"vlrlt use {fingerprint[:12]} --library {library_dir}"
        )
    return IndexMismatchError(
        f"{library_dir} is searched with model {bound.model!r} ({bound.fingerprint[:12]}), not with {model!r} "
        f"({fingerprint[:12]}): leave out the model, or index with {model!r} and then run vlrlt use"
    )


class Catalog(Tables):
    """An open catalog; a context manager. Not to be used by two threads at the same time."""

    def __init__(self, library_dir: Path, connection: apsw.Connection) -> None:
        super().__init__(connection, library_dir / "catalog.db")
        self.library_dir = library_dir
        self._at_rest: tuple[int, ...] | None = None

    @classmethod
    def open_reader(cls, library_dir: Path) -> Self:
        """Open a library to search it; it may lie where nothing can be written.

        Raises:
            LibraryError: there is none, or it is damaged, of another version of vlrlt, or being written elsewhere.
        """
        at_rest = stamp_at_rest(library_dir)
        catalog = cls(library_dir, connect_reader(library_dir))
        catalog._at_rest = at_rest
        return catalog

    def renew(self) -> None:
        """Open a catalog again that was at rest and could not be locked, if somebody has written to it since.

        Raises:
            LibraryError: as open_reader.
        """
        check_written_here(self.library_dir)
        if self._was_written():
            at_rest, before = stamp_at_rest(self.library_dir), self._connection
            self._connection, self._at_rest = connect_reader(self.library_dir), at_rest
            before.close()

    def _was_written(self) -> bool:
        return self._at_rest is not None and stamp_at_rest(self.library_dir) != self._at_rest

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def settings(self) -> LibrarySettings | None:
        """Which model answers searches; None before the first run."""
        return next(map(_settings, self._rows(f"{_SELECT_MODEL} WHERE active")), None)

    def models(self) -> tuple[LibrarySettings, ...]:
        """All models that there are vectors of, the active one first."""
        return tuple(map(_settings, self._rows(f"{_SELECT_MODEL} ORDER BY active DESC, id")))

    def video_at(self, path: Path) -> Video | None:
        """The file at a path, if it is known."""
        return self._video("f.path = ?", os.fsencode(path))

    def video_with(self, content_hash: str) -> Video | None:
        """A file with this content, if there is one."""
        return self._video("f.content_hash = ?", content_hash)

    def problems(self) -> tuple[Video, ...]:
        """Files that are failed or partial, or unfinished because of an error, by path; then folders that are closed.

        Those are what the last run could not list.
        """
        where = "v.state <> 'indexed' AND v.reason IS NOT NULL ORDER BY f.path"
        files = map(_video, self._rows(f"{_SELECT_VIDEO} AND {where}", (self._fingerprint(),)))
        return (*files, *self._unlisted())

    def _unlisted(self) -> Iterator[Video]:
        for problem in (self.last_run() or {}).get("failures", ()):
            path = Path(problem["path"])
            if not self._rows("SELECT 1 FROM files WHERE path = ?", (os.fsencode(path),)):
                yield Video(
                    path=path,
                    stamp=NO_STAMP,
                    content_hash=unread_hash(path),
                    state="failed",
                    stage=problem["stage"],
                    reason=problem["reason"],
                )

    def segments(self) -> tuple[Segment, ...]:
        """Committed segments of the model, in the order of their vectors."""
        return self._segments("fingerprint = ?", (self._fingerprint(),))

    @property
    def annotations(self) -> Annotations:
        """What sidecar files say of the videos."""
        return Annotations(self._connection, self._path)

    @property
    def texts(self) -> TimedTexts:
        """What is said and written in the videos."""
        return TimedTexts(self._connection, self._path)

    def data_version(self) -> int:
        """A number that changes when another process has committed something."""
        ((version,),) = self._rows("PRAGMA data_version")
        return hash((version, self._at_rest))

    def snapshot(self) -> Snapshot:
        """Everything that a search needs, as of one moment.

        Raises:
            LibraryError: nothing was ever indexed.
        """
        with self._transaction():
            settings = self.settings()
            if settings is None:
                raise LibraryError(f"{self.library_dir} is empty; run: vlrlt index PATH --library {self.library_dir}")
            segments = self.segments()
            frame_runs = self._frame_run_table()
        if self._was_written():
            raise LibraryError(f"{self.library_dir} was written to while it was read; try again")
        return Snapshot(settings=settings, generation=generation_of(segments), segments=segments, frame_runs=frame_runs)

    def counts(self) -> LibraryCounts:
        """Totals of the library."""
        mark = (self._fingerprint(),)
        states = dict(
            self._rows(
                "SELECT state, count(*) FROM files f JOIN videos v USING (content_hash) WHERE fingerprint = ? "
                "GROUP BY state",
                mark,
            )
        )
        ((missing,),) = self._rows("SELECT count(*) FROM files WHERE missing_since IS NOT NULL")
        ((vectors,),) = self._rows(
            "SELECT count(*) FROM frame_runs r JOIN segments s ON s.id = segment WHERE fingerprint = ?", mark
        )
        ((video_s,),) = self._rows(
            "SELECT total(duration_s) FROM videos WHERE fingerprint = ? AND state IN ('indexed', 'partial')", mark
        )
        return LibraryCounts(
            indexed=states.get("indexed", 0),
            partial=states.get("partial", 0),
            unfinished=states.get("unfinished", 0),
            failed=states.get("failed", 0),
            missing=missing,
            vectors=vectors,
            video_s=video_s,
        )

    def seconds_by_kept_share(self, *, bins: int) -> tuple[float, ...]:
        """Seconds of video by the share of the patches that change: equal bins of [0, 1]."""
        rows = self._rows(
            "SELECT min(cast(kept_share * ? AS INTEGER), ?), total(end_s - start_s) FROM frame_runs r "
            "JOIN segments s ON s.id = segment WHERE fingerprint = ? GROUP BY 1",
            (bins, bins - 1, self._fingerprint()),
        )
        known = dict(rows)
        return tuple(known.get(bin_, 0.0) for bin_ in range(bins))

    def reports(self) -> tuple[dict[str, Any], ...]:
        """What finished runs said, as JSON (IndexReport.as_json), the latest first."""
        rows = self._rows("SELECT report FROM runs WHERE report IS NOT NULL ORDER BY id DESC")
        return tuple(json.loads(report) for (report,) in rows)

    def last_run(self) -> dict[str, Any] | None:
        """What the last finished run said, and `ended_at`, ISO 8601 in UTC; None: no run has finished yet."""
        rows = self._rows("SELECT ended_at, report FROM runs WHERE report IS NOT NULL ORDER BY id DESC LIMIT 1")
        return next((json.loads(report) | {"ended_at": ended_at} for ended_at, report in rows), None)

    def _fingerprint(self) -> str:
        """Of the model whose vectors and states are meant: the active one."""
        settings = self.settings()
        return "" if settings is None else settings.fingerprint

    def _video(self, condition: str, value: bytes | str) -> Video | None:
        rows = self._rows(
            f"{_SELECT_VIDEO} AND {condition} ORDER BY {_PRESENT_FIRST} LIMIT 1", (self._fingerprint(), value)
        )
        return next(map(_video, rows), None)

    def _segments(self, condition: str, bindings: tuple[Any, ...]) -> tuple[Segment, ...]:
        rows = self._rows(
            "SELECT s.id, uuid, rows, xxh3, fingerprint, count(r.id) FROM segments s "
            f"LEFT JOIN frame_runs r ON r.segment = s.id WHERE {condition} GROUP BY s.id ORDER BY s.id",
            bindings,
        )
        return tuple(
            Segment(
                uuid=uuid,
                rows=num_live,
                xxh3=xxh3,
                fingerprint=fingerprint,
                live_rows=None if num_live == num_rows else self._live_rows(number),
            )
            for number, uuid, num_rows, xxh3, fingerprint, num_live in rows
        )

    def _live_rows(self, segment: int) -> tuple[int, ...]:
        return tuple(
            row for (row,) in self._rows("SELECT row FROM frame_runs WHERE segment = ? ORDER BY row", (segment,))
        )

    def _frame_run_table(self) -> FrameRunTable:
        mark = (self._fingerprint(),)
        videos = self._rows(
            "SELECT v.id, content_hash, (SELECT path FROM files f WHERE f.content_hash = v.content_hash "
            f"ORDER BY {_PRESENT_FIRST} LIMIT 1) "
            "FROM videos v WHERE fingerprint = ? AND state <> 'failed' ORDER BY v.id",
            mark,
        )
        with mapped_errors(self._path):  # row by row: a list of tuples takes six times the memory
            runs_N = np.fromiter(
                self._connection.execute("SELECT id, segment, row, video, start_s, end_s, kept_share FROM frame_runs"),
                dtype=_RUN_ROW,
            )
        # Sorted here: SQLite would look up a million rows by an index, which takes three times as long.
        segments = [segment for (segment,) in self._rows("SELECT id FROM segments WHERE fingerprint = ?", mark)]
        runs_N = runs_N[np.isin(runs_N["segment"], segments)]
        runs_N = runs_N[np.argsort(runs_N["segment"] * 2**32 + runs_N["row"])]
        return FrameRunTable(
            ids_N=runs_N["id"].copy(),
            video_N=np.searchsorted([video_id for video_id, *_ in videos], runs_N["video"]).astype(np.int64),
            start_s_N=runs_N["start_s"].copy(),
            end_s_N=runs_N["end_s"].copy(),
            kept_share_N=runs_N["kept_share"].copy(),
            videos=tuple(os.fsdecode(path) for _, _, path in videos),
            video_ids=tuple(content_hash for _, content_hash, _ in videos),
        )


_SELECT_MODEL = "SELECT model, fingerprint, embed_dim, sampling, policy, precision FROM models"
_SELECT_VIDEO = (
    "SELECT f.path, f.size_bytes, f.mtime_ns, f.inode, f.device, f.content_hash, v.state, v.duration_s, v.stage, "
    "v.reason, v.done_s, v.attempts, v.retry_at, f.missing_since FROM files f JOIN videos v USING (content_hash) "
    "WHERE v.fingerprint = ?"
)
_PRESENT_FIRST = "f.missing_since IS NOT NULL, f.path"


def _settings(row: tuple[Any, ...]) -> LibrarySettings:
    model, fingerprint, embed_dim, sampling, policy, precision = row
    return LibrarySettings(
        model=model,
        fingerprint=fingerprint,
        embed_dim=embed_dim,
        sampling=sampling_from_json(json.loads(sampling)),
        policy=json.loads(policy),
        precision=precision,
    )


def _video(row: tuple[Any, ...]) -> Video:
    path, size_bytes, mtime_ns, inode, device, content_hash, state, duration_s, stage, reason, *rest = row
    done_s, attempts, retry_at, missing_since = rest
    return Video(
        path=Path(os.fsdecode(path)),
        stamp=FileStamp(size_bytes=size_bytes, mtime_ns=mtime_ns, inode=inode, device=device),
        content_hash=content_hash,
        state=state,
        duration_s=duration_s,
        stage=stage,
        reason=reason,
        done_s=done_s,
        attempts=attempts,
        retry_at=retry_at,
        missing_since=missing_since,
    )
