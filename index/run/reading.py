"""Read speech and text after the pictures, video by video and part by part; committed parts are kept."""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from vlrlt.errors import DecodeError
from vlrlt.index.library.catalog import Video
from vlrlt.index.library.ledger import Ledger
from vlrlt.index.library.timed_texts import Reading, ReadingState
from vlrlt.index.run.choose import walk_archive
from vlrlt.index.run.control import RunControl
from vlrlt.index.run.run_report import IndexProgress, ReadingReport
from vlrlt.words.reader import ChannelReader


def read_channels(
    paths: Iterable[Path],
    *,
    library_dir: Path,
    readers: Sequence[ChannelReader],
    retry_failed: bool = False,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    on_progress: Callable[[IndexProgress], None] | None = None,
) -> tuple[ReadingReport, ...]:
    """Read channels of the indexed videos below some folders; what the same reader has read is not read again.

    Args:
        paths: folders and files.
        library_dir: the library.
        readers: one for each channel; what another one has read of it before goes.
        retry_failed: read again what could not be read before.
        include: as for index_paths.
        exclude: likewise.
        on_progress: called before each video and after each part.

    Raises:
        LibraryError: it is locked, damaged or cannot be written.
        StoppedError: somebody asked it to stop; what was read is committed.
    """
    if not readers:
        return ()
    with Ledger.open_existing(library_dir) as ledger:
        control = RunControl(library_dir)
        with control.listening():
            videos = _videos_below(paths, ledger, include=include, exclude=exclude)

            def tell(progress: IndexProgress) -> None:
                control.check()
                control.tell(progress)
                if on_progress is not None:
                    on_progress(progress)

            return tuple(_Reading(ledger, reader, tell).read(videos, retry_failed=retry_failed) for reader in readers)


def _videos_below(
    paths: Iterable[Path], ledger: Ledger, *, include: Sequence[str], exclude: Sequence[str]
) -> list[Video]:
    """Those that are searchable, each content once, at a path where it is now."""
    found: dict[str, Video] = {}
    for path in walk_archive(paths, ledger, include=include, exclude=exclude).files:
        video = ledger.video_at(path)
        if video is not None and video.state in ("indexed", "partial") and video.duration_s:
            found.setdefault(video.content_hash, video)
    return list(found.values())


class _Reading:
    """One reader over some videos."""

    def __init__(self, ledger: Ledger, reader: ChannelReader, tell: Callable[[IndexProgress], None]) -> None:
        self._ledger = ledger
        self._reader = reader
        self._tell = tell
        self._report = ReadingReport(channel=reader.channel, reader=reader.name)

    def read(self, videos: Sequence[Video], *, retry_failed: bool) -> ReadingReport:
        started_s = time.perf_counter()
        for number, video in enumerate(videos):
            reading = self._ledger.texts.reading(video.content_hash, self._reader.channel)
            is_ours = reading is not None and reading.maker == self._reader.maker
            state = reading.state if reading is not None and is_ours else None
            if state == "read" or (state == "failed" and not retry_failed):
                self._report.skipped += 1
                continue
            start_s = reading.done_s if reading is not None and state == "unfinished" else 0.0
            self._read_video(video, start_s, on_part=partial(self._tell_of, video, number, len(videos)))
        self._report.wall_s = time.perf_counter() - started_s
        return self._report

    def _read_video(self, video: Video, start_s: float, *, on_part: Callable[[], None]) -> None:
        duration_s, reader, texts = video.duration_s or 0.0, self._reader, self._ledger.texts
        at_hand = Reading(channel=reader.channel, maker=reader.maker, done_s=start_s, state="unfinished", reason=None)
        if start_s == 0:
            texts.begin_reading(video.content_hash, reader.channel, maker=reader.maker)
        try:
            on_part()
            for part in reader.read(video.path, start_s=start_s, duration_s=duration_s):
                before_s, reason = at_hand.done_s, at_hand.reason or part.problem
                ended: ReadingState = "failed" if reason else "read"
                state: ReadingState = ended if part.done_s >= duration_s else "unfinished"
                at_hand = replace(at_hand, done_s=part.done_s, state=state, reason=reason)
                texts.commit_reading(video.content_hash, part.lines, at_hand)
                self._report.lines += len(part.lines)
                self._report.video_s += part.done_s - before_s
                self._report.busy_s += part.busy_s
                on_part()
        except DecodeError as error:
            at_hand = replace(at_hand, state="unfinished" if error.may_pass else "failed", reason=error.reason)
            texts.commit_reading(video.content_hash, (), at_hand)
        if at_hand.reason is None:
            self._report.read += 1
        else:
            self._report.failures.append((os.fspath(video.path), at_hand.reason))

    def _tell_of(self, video: Video, files_done: int, files_total: int) -> None:
        self._tell(
            IndexProgress(
                path=video.path,
                scanning=False,
                files_done=files_done,
                files_total=files_total,
                bytes_done=files_done,
                bytes_total=files_total,
                video_s_done=self._report.video_s,
            )
        )
