"""Choose the files that need work. Content identifies a file, so moved, copied or touched files are not decoded.

Content is known by a hash of samples. A file that was still new when it was indexed may have been completed in place
since (a download that fills holes), between the samples: every byte of such a file is hashed, and compared once the
file has been written again.
"""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import xxhash

from vlrlt.errors import DecodeError
from vlrlt.index.library.catalog import Video
from vlrlt.index.library.files import (
    NO_STAMP,
    FileStamp,
    Walk,
    file_stamp,
    full_hash,
    quick_hash,
    unread_hash,
    walk_videos,
)
from vlrlt.index.library.ledger import File, Ledger
from vlrlt.index.run.run_report import Counters, IndexProgress

GRACE_S = 7 * 86_400.0
"""How long a file that is gone stays searchable."""

NEW_S = 86_400.0
"""A file that changed less than so long ago may not be finished."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A file that needs work."""

    path: Path
    stamp: FileStamp
    content_hash: str
    twins: list["Candidate"] = field(default_factory=list)
    """Files with the same content: what becomes of this one becomes of them."""

    def video(self, **facts: object) -> Video:
        """Its row, with these facts."""
        return Video(path=self.path, stamp=self.stamp, content_hash=self.content_hash, **facts)  # type: ignore[arg-type]


def walk_archive(
    paths: Iterable[Path],
    ledger: Ledger,
    *,
    include: Sequence[str],
    exclude: Sequence[str],
    check: Callable[[], None] = lambda: None,
) -> Walk:
    """Find the videos below folders; a folder of the library that is not there now is away, not an error."""
    known = [file.path for file in ledger.files()]
    return walk_videos(
        paths,
        library_dir=ledger.library_dir,
        include=include,
        exclude=exclude,
        is_known=lambda root: any(root == path or root in path.parents for path in known),
        check=check,
    )


def choose(
    files: Sequence[Path],
    ledger: Ledger,
    counters: Counters,
    *,
    retry_failed: bool,
    tell: Callable[[IndexProgress], None],
) -> list[Candidate]:
    """Note what is known already, list what cannot be read, return the rest: unfinished videos first."""
    chosen: dict[str, Candidate] = {}
    begun: set[str] = set()
    for number, path in enumerate(files):
        tell(_scanning(path, number, len(files)))
        stamp = NO_STAMP
        try:
            stamp = file_stamp(path)
            noted = ledger.file_at(path)
            content_hash = _content_hash(path, stamp, noted)
        except DecodeError as error:
            video = Candidate(path=path, stamp=stamp, content_hash=unread_hash(path)).video(
                state="failed", stage=error.stage, reason=error.reason, retry_at=time.time() if error.may_pass else None
            )
            ledger.commit(video)
            counters.failures.append(video)
            continue
        candidate = Candidate(path=path, stamp=stamp, content_hash=content_hash)
        known = ledger.video_with(content_hash)
        if content_hash in chosen:
            chosen[content_hash].twins.append(candidate)
        elif known is None or needs_work(known, retry_failed=retry_failed or _was_written(stamp, noted)):
            chosen[content_hash] = candidate
            if known is not None and known.state == "unfinished":
                begun.add(content_hash)
        else:
            if not _is_noted(stamp, content_hash, noted):
                ledger.note_file(path, stamp, content_hash)
            counters.skipped += 1
            counters.failed_before += known.state != "indexed"
    return sorted(chosen.values(), key=lambda candidate: candidate.content_hash not in begun)


def needs_work(video: Video, *, retry_failed: bool) -> bool:
    """Whether the next run should look at this content again."""
    if video.state == "indexed":
        return False
    if retry_failed or video.reason is None:
        return True
    return video.retry_at is not None and video.retry_at <= time.time()


def sweep(roots: Sequence[Path], walk: Walk, ledger: Ledger, counters: Counters, *, grace_s: float) -> None:
    """Note which known files are gone, and forget those that have been gone for long enough.

    A folder more than half of whose files are gone is taken for unplugged, and so is a file whose place now belongs to
    another file system (an empty mount point): nothing is noted of them.
    """
    seen = set(walk.files)
    known = ledger.files()
    present = {file.content_hash for file in known if file.path in seen}
    elsewhere = [file for file in known if file.path not in seen and file.content_hash in present]
    closed = {folder for folder, _ in walk.unreadable}
    old = [file.path for file in elsewhere if file.missing_since is None and _is_gone(file.path, closed)]
    ledger.mark_missing(old)  # also outside of the roots: hits must name a file that is there
    counters.moved = len(old)
    for root in roots:
        below = [file for file in known if root in file.path.parents or root == file.path]
        gone = [file for file in below if file.path not in seen and _is_gone(file.path, closed)]
        moved = [file.path for file in gone if file.content_hash in present]
        ledger.forget_files(moved)
        lost = [file for file in gone if file.content_hash not in present]
        if root in walk.away or 2 * len(lost) > len(below) - len(moved):
            counters.away += [str(root)] if lost else []
            continue
        lost = [file for file in lost if _same_file_system(file)]
        ledger.mark_missing(file.path for file in lost)
        counters.missing += len(lost)
    expired = [file.path for file in known if file.missing_since and file.missing_since < time.time() - grace_s]
    expired = [path for path in expired if not path.exists()]
    ledger.forget_files(expired)
    counters.pruned += len(expired)


def _scanning(path: Path, number: int, total: int) -> IndexProgress:
    counts = {"files_done": number, "files_total": total, "bytes_done": 0, "bytes_total": 0}
    return IndexProgress(path=path, scanning=True, video_s_done=0, **counts)


def _content_hash(path: Path, stamp: FileStamp, known: File | None) -> str:
    """From the catalog if the file has not changed since, else from the file."""
    if known is not None and known.stamp == stamp:
        return known.content_hash
    sampled = quick_hash(path, size_bytes=stamp.size_bytes)
    if known is None or known.content_hash != sampled or known.full_hash is None:
        return sampled
    whole = full_hash(path)
    return sampled if whole == known.full_hash else xxhash.xxh3_128_hexdigest(f"{sampled} {whole}".encode())


def _was_written(stamp: FileStamp, known: File | None) -> bool:
    """Whether a known file has changed since it was looked at, by its size or times."""
    return known is not None and known.stamp != stamp


def _is_noted(stamp: FileStamp, content_hash: str, known: File | None) -> bool:
    """Whether the catalog has a file as it is now."""
    seen = None if known is None else (known.stamp, known.stamp.device, known.content_hash, known.missing_since)
    return seen == (stamp, stamp.device, content_hash, None)


def _is_gone(path: Path, closed: set[Path]) -> bool:
    return not os.path.lexists(path) and closed.isdisjoint(path.parents)


def _same_file_system(file: File) -> bool:
    place = next(folder for folder in file.path.parents if folder.exists())
    return file.stamp.device in (0, place.stat().st_dev)
