"""Keeping a library healthy: verify checksums, repair damage, merge small segments, forget missing files."""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from vlrlt.errors import DamagedSegmentError, DecodeError, LibraryError
from vlrlt.index.library.catalog import Segment
from vlrlt.index.library.failpoints import failpoint
from vlrlt.index.library.files import full_hash
from vlrlt.index.library.ledger import Ledger
from vlrlt.index.library.rescue import CatalogState
from vlrlt.index.library.segments import (
    quarantine,
    read_segment,
    remove_orphans,
    set_orphans_aside,
    strays,
    write_contents,
)
from vlrlt.index.run.choose import GRACE_S
from vlrlt.index.run.indexer import merge_segments
from vlrlt.index.vectors.choice import update_store

_MERGED_ROWS = 65_536
"""Segments are merged up to so many vectors."""


@dataclass(frozen=True, kw_only=True)
class VerifyReport:
    """What a check of a library has found."""

    segments: int
    vectors: int
    damaged: tuple[str, ...]
    """Segments that were put aside."""
    requeued: tuple[str, ...]
    """Files that the next run indexes anew, because of that or because their content changed unseen."""
    orphans: int
    """Folders left by killed runs, removed."""
    set_aside: int
    """Whole segments that the catalog does not know: it is older than they are. They lie in quarantine."""
    catalog: CatalogState
    """With repair: whether the catalog had to be restored from its copy, or made anew."""
    adopted: int
    """With repair: videos that the catalog did not know and whose vectors say what they are."""
    files_read: int
    """Files of the archive that were read from end to end."""

    def as_json(self) -> dict[str, Any]:
        """The documented JSON shape of `vlrlt verify --json`."""
        return asdict(self)

    def as_text(self) -> str:
        """The same for people."""
        lines = [
            f"{self.segments} segments, {self.vectors} vectors: {len(self.damaged)} damaged, "
            f"{self.orphans} orphans removed"
        ]
        if self.catalog != "whole":
            source = "its copy" if self.catalog == "restored" else "the segments alone: import subtitles again"
            lines.append(f"the catalog was damaged and is in quarantine; it was rebuilt from {source}")
        if self.adopted:
            lines.append(f"{self.adopted} videos were recovered that the catalog did not list")
        if self.set_aside:
            lines.append(
                f"{self.set_aside} segments are now in quarantine, because the catalog is older and does not list "
                "them; vlrlt verify --repair recovers them"
            )
        if self.files_read:
            lines.append(f"{self.files_read} files of the archive read from end to end")
        lines += [f"  damaged {uuid}: put into quarantine" for uuid in self.damaged]
        lines += [f"  {path}: the next vlrlt index indexes it again" for path in self.requeued]
        return "\n".join(lines)


def verify(library_dir: Path, *, read_archive: bool = False, repair: bool = False) -> VerifyReport:
    """Check the catalog, compare every vector file with its checksum; put damaged ones aside, queue their videos again.

    Args:
        library_dir: the library.
        read_archive: also hash every byte of every video: the first time that is noted, later it is compared.
        repair: restore a damaged catalog, and take back vectors that it does not know.

    Raises:
        LibraryError: there is no library, it is locked, or its catalog is damaged and not to be repaired.
    """
    with Ledger.open_existing(library_dir, repair=repair) as ledger:
        ledger.check_catalog()
        damaged: list[str] = []
        requeued: list[Path] = []
        adopted = _adopt(ledger) if repair else 0
        segments = ledger.all_segments()
        dims = {model.fingerprint: model.embed_dim for model in ledger.models()}
        for segment in segments:
            try:
                read_segment(library_dir, segment, embed_dim=dims[segment.fingerprint])
            except DamagedSegmentError:
                damaged.append(segment.uuid)
                requeued += _repair(ledger, segment)
        files_read, changed = _read_archive(ledger) if read_archive else (0, [])
        orphans, set_aside = set_orphans_aside(library_dir, ledger.all_segments())
        ledger.keep_copy()
        return VerifyReport(
            segments=len(segments),
            vectors=ledger.counts().vectors,
            damaged=tuple(damaged),
            requeued=tuple(map(str, requeued + changed)),
            orphans=orphans,
            set_aside=set_aside,
            catalog=ledger.catalog_state,
            adopted=adopted,
            files_read=files_read,
        )


def _adopt(ledger: Ledger) -> int:
    """Take back segments that the catalog does not name."""
    num_adopted = 0
    for segment, contents in strays(ledger.library_dir, ledger.all_segments()):
        with suppress(LibraryError):  # it says nonsense
            num_adopted += ledger.adopt(segment, contents)
    return num_adopted


def open_or_repair(ledger: Ledger) -> None:
    """Bring the search index up to date; segments that turn out to be damaged are put aside, their videos queued."""
    while True:
        try:
            failpoint("before the index is saved")
            update_store(ledger.library_dir, ledger.snapshot())
        except DamagedSegmentError as error:
            _repair(ledger, next(one for one in ledger.all_segments() if one.uuid == error.uuid))
        else:
            return


def compact(library_dir: Path) -> tuple[int, int]:
    """Merge segments into few large ones and drop the vectors of forgotten clips; returns how many were and are."""
    with Ledger.open_existing(library_dir) as ledger:
        before = ledger.all_segments()
        set_orphans_aside(library_dir, before)
        dims = {model.fingerprint: model.embed_dim for model in ledger.models()}
        for fingerprint, segments in groupby(sorted(before, key=_fingerprint), key=_fingerprint):
            for group in _groups(list(segments)):
                if len(group) > 1 or group[0].live_rows is not None:
                    merge_segments(ledger, group, embed_dim=dims[fingerprint])
        after = ledger.all_segments()
        for segment in after:
            write_contents(library_dir, segment, ledger.describe(segment))
        ledger.keep_copy()
        remove_orphans(library_dir, after)
        open_or_repair(ledger)
        return len(before), len(after)


def prune(library_dir: Path, *, grace_s: float = GRACE_S) -> tuple[Path, ...]:
    """Forget files that have been gone for longer than grace_s seconds, with their clips; returns them."""
    with Ledger.open_existing(library_dir) as ledger:
        set_orphans_aside(library_dir, ledger.all_segments())
        limit = time.time() - grace_s
        gone = [file.path for file in ledger.files() if file.missing_since is not None and file.missing_since <= limit]
        gone = [path for path in gone if not path.exists()]
        ledger.forget_files(gone)
        ledger.keep_copy()
        remove_orphans(library_dir, ledger.all_segments())
        return tuple(gone)


def _fingerprint(segment: Segment) -> str:
    return segment.fingerprint


def _groups(segments: Sequence[Segment]) -> list[list[Segment]]:
    """Consecutive segments of at most _MERGED_ROWS vectors together."""
    groups: list[list[Segment]] = []
    num_rows = _MERGED_ROWS
    for segment in segments:
        if num_rows + segment.rows > _MERGED_ROWS:
            groups.append([])
            num_rows = 0
        groups[-1].append(segment)
        num_rows += segment.rows
    return groups


def _repair(ledger: Ledger, segment: Segment) -> tuple[Path, ...]:
    files = ledger.requeue(segment)
    quarantine(ledger.library_dir, segment)
    return files


def _read_archive(ledger: Ledger) -> tuple[int, list[Path]]:
    """Files read, and those whose bytes are not what they were although size, time and samples are."""
    num_read, changed = 0, []
    for file in ledger.files():
        try:
            found = full_hash(file.path)
        except DecodeError:
            continue
        num_read += 1
        if file.full_hash is None:
            ledger.note_full_hash(file.path, found)
        elif file.full_hash != found:
            changed.append(file.path)
            ledger.forget_files([file.path])
    return num_read, changed
