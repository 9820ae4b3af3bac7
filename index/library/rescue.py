"""Restore a lost catalog from its copy and from the segments.

LIBRARY/catalog.db.copy is the catalog as the last run or import left it. Beside the vectors of finished videos lies
contents.json, the catalog's rows of that segment; subtitles, metadata and saved searches are in the catalog and its
copy only.
"""

import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Literal

import apsw

from vlrlt.atomic import replacing
from vlrlt.errors import LibraryError
from vlrlt.index.library.catalog import Segment, frame_run_id
from vlrlt.index.library.schema import CATALOG_COPY, add_tokenizers, mapped_errors
from vlrlt.types import ClipSpan

CatalogState = Literal["whole", "restored", "new"]
"""restored: from its copy; new: that cannot be read either."""

_Value = str | bytes | int | float | None
_MODEL = ("model", "fingerprint", "embed_dim", "sampling", "policy", "precision", "agreement")
_VIDEO = ("content_hash", "fingerprint", "state", "duration_s", "done_s", "stage", "reason")
_FILE = ("path", "size_bytes", "mtime_ns", "inode", "device")
_RUN = ("row", "start_s", "end_s", "num_looks", "kept_share")


def restore_catalog(library_dir: Path) -> CatalogState:
    """Put a catalog that cannot be believed aside, and its copy into its place; the caller holds the lock.

    Raises:
        LibraryError: the library cannot be written.
    """
    path, copy = library_dir / "catalog.db", library_dir / CATALOG_COPY
    if _is_whole(path):
        return "whole"
    aside = library_dir / "quarantine" / f"catalog-{uuid.uuid4()}"
    try:
        aside.mkdir(parents=True)
        for name in ("catalog.db", "catalog.db-wal", "catalog.db-shm"):
            with suppress(FileNotFoundError):
                (library_dir / name).rename(aside / name)
        if not _is_whole(copy):
            return "new"
        with replacing(path) as unfinished:
            shutil.copyfile(copy, unfinished)
    except OSError as error:
        raise LibraryError(f"{library_dir} cannot be written: {error.strerror}") from error
    return "restored"


def copy_catalog(connection: apsw.Connection, library_dir: Path) -> None:
    """Keep a copy of the catalog beside it.

    Raises:
        LibraryError: the disk is full or cannot be written.
    """
    path = library_dir / CATALOG_COPY
    with mapped_errors(path), replacing(path) as unfinished:
        connection.execute("VACUUM INTO ?", (os.fspath(unfinished),))


def _is_whole(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        with closing(apsw.Connection(os.fspath(path))) as connection:
            add_tokenizers(connection)
            found = list(connection.execute("PRAGMA integrity_check(1)"))
            return found == [("ok",)] and bool(connection.pragma("user_version"))
    except apsw.Error:
        return False


def describe(connection: apsw.Connection, segment_uuid: str) -> dict[str, Any]:
    """The catalog's rows of a segment as JSON: its model, and its videos with their files and frame runs."""
    ((segment, fingerprint),) = _rows(connection, "SELECT id, fingerprint FROM segments WHERE uuid = ?", segment_uuid)
    (model,) = _select(connection, _MODEL, "models WHERE fingerprint = ?", fingerprint)
    videos = []
    for (number,) in _rows(connection, "SELECT DISTINCT video FROM frame_runs WHERE segment = ?", segment):
        (video,) = _select(connection, _VIDEO, "videos WHERE id = ?", number)
        files = _select(connection, _FILE, "files WHERE content_hash = ? ORDER BY path", video["content_hash"])
        runs = _select(connection, _RUN, "frame_runs WHERE video = ? AND segment = ? ORDER BY row", number, segment)
        videos.append(
            {
                "video": video,
                "files": [file | {"path": os.fsdecode(file["path"])} for file in files],
                "runs": [list(run.values()) for run in runs],
            }
        )
    return {"model": model, "videos": videos}


def adopt(connection: apsw.Connection, contents: Mapping[str, Any], segment: Segment) -> int:
    """Put what `describe` said back into a catalog, within a transaction of the caller's; returns how many videos.

    What the catalog knows better stays: videos that it has, and paths at which it knows other content.

    Raises:
        KeyError, TypeError, ValueError: the contents are damaged.
    """
    model = {name: contents["model"][name] for name in _MODEL}
    if not _select(connection, _MODEL, "models WHERE fingerprint = ?", segment.fingerprint):
        has_active = bool(_select(connection, _MODEL, "models WHERE active"))
        _insert(connection, "models", model | {"active": int(not has_active)})
    wanted = [said for said in contents["videos"] if _make_room(connection, said)]
    if wanted:
        facts = {name: getattr(segment, name) for name in ("uuid", "rows", "xxh3", "fingerprint")}
        segment_id = _insert(connection, "segments", facts)
        for said in wanted:
            _insert_video(connection, said, segment_id)
    return len(wanted)


def _make_room(connection: apsw.Connection, said: Mapping[str, Any]) -> bool:
    """Whether a video is to be put back; its files are then known, and an unfinished or failed row of it is gone."""
    content_hash, mark = said["video"]["content_hash"], (said["video"]["content_hash"], said["video"]["fingerprint"])
    if _select(
        connection,
        _VIDEO,
        "videos WHERE content_hash = ? AND fingerprint = ? AND state IN ('indexed', 'partial')",
        *mark,
    ):
        return False
    for file in said["files"]:
        path = os.fsencode(file["path"])
        if not _select(connection, _FILE, "files WHERE path = ?", path):
            facts = {name: file[name] for name in _FILE} | {"path": path, "content_hash": content_hash}
            _insert(connection, "files", facts)
    if not _select(connection, _FILE, "files WHERE content_hash = ?", content_hash):
        return False
    _rows(connection, "DELETE FROM videos WHERE content_hash = ? AND fingerprint = ?", *mark)
    return True


def _insert_video(connection: apsw.Connection, said: Mapping[str, Any], segment_id: int) -> None:
    video = {name: said["video"][name] for name in _VIDEO}
    video_id = _insert(connection, "videos", video | {"attempts": 0, "changed_at": ""})
    for values in said["runs"]:
        run = dict(zip(_RUN, values, strict=True))
        run_id = frame_run_id(video["content_hash"], ClipSpan(run["start_s"], run["end_s"]), video["fingerprint"])
        _insert(connection, "frame_runs", {"id": run_id, "video": video_id, "segment": segment_id} | run)


def _select(connection: apsw.Connection, columns: Sequence[str], what: str, *values: _Value) -> list[dict[str, Any]]:
    rows = _rows(connection, f"SELECT {', '.join(columns)} FROM {what}", *values)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _insert(connection: apsw.Connection, table: str, facts: Mapping[str, Any]) -> int:
    sql = f"INSERT INTO {table} ({', '.join(facts)}) VALUES ({', '.join('?' for _ in facts)})"
    _rows(connection, sql, *facts.values())
    return connection.last_insert_rowid()


def _rows(connection: apsw.Connection, sql: str, *values: _Value) -> list[tuple[Any, ...]]:
    return list(connection.execute(sql, values))
