"""Progress of a run, and its final report."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vlrlt.formats import format_time, printable_line
from vlrlt.index.library.catalog import Video
from vlrlt.types import Channel


@dataclass(frozen=True, kw_only=True)
class IndexProgress:
    """The progress of a run."""

    path: Path
    """The current file."""
    scanning: bool
    """True: files are being compared with the catalog; False: they are being indexed."""
    files_done: int
    files_total: int
    bytes_done: int
    """Of files; 0 while scanning, like the total."""
    bytes_total: int
    video_s_done: float
    """Seconds of video that are done."""


@dataclass(kw_only=True)
class ReadingReport:
    """What reading one channel has done."""

    channel: Channel
    reader: str
    """Its name."""
    read: int = 0
    """Videos that were read to their end."""
    skipped: int = 0
    """Videos that this reader has read before."""
    lines: int = 0
    video_s: float = 0.0
    """Seconds of video that were read."""
    busy_s: float = 0.0
    """Seconds of them that had to be looked at closely."""
    wall_s: float = 0.0
    failures: list[tuple[str, str]] = field(default_factory=list)
    """Path and reason of what could not be read, or not all of it."""

    def as_json(self) -> dict[str, Any]:
        """The documented JSON shape of `vlrlt index --json` for one channel."""
        numbers = {name: round(value, 3) if isinstance(value, float) else value for name, value in vars(self).items()}
        return numbers | {"failures": [{"path": path, "reason": reason} for path, reason in self.failures]}

    def as_text(self) -> str:
        """The same for people."""
        share = f", {self.busy_s / self.video_s:.0%} of it read in detail" if self.video_s else ""
        speed = f", {self.video_s / self.wall_s:.1f}x realtime" if self.video_s else ""
        head = (
            f"{self.channel} by {self.reader}: {self.read} videos read, {self.skipped} skipped, "
            f"{len(self.failures)} failed; {self.lines} lines of {format_time(self.video_s)} of video{share}, "
            f"in {self.wall_s:.1f} s{speed}"
        )
        return "\n".join([head, *(f"{printable_line(path)}: {reason}" for path, reason in self.failures)])


@dataclass(frozen=True, kw_only=True)
class IndexReport:
    """The result of a run. indexed + failed + skipped + waiting is the number of files that were found."""

    indexed: int
    """Files that became searchable, the partial ones among them."""
    partial: int
    """Files of which only a part could be decoded."""
    failed: int
    """Files, and folders that cannot be listed, of which nothing could be read."""
    skipped: int
    """Files that are unchanged since an earlier run, moved, or copies of an indexed file."""
    failed_before: int
    """Those of the skipped that failed or were cut short in an earlier run."""
    waiting: int
    """Files that changed while they were read, because another program still writes them."""
    ignored: int
    """Other files in the folders: their suffix is not of a video, or a pattern left them out."""
    missing: int
    """Files that have disappeared since an earlier run; they stay searchable until they are pruned."""
    moved: int
    """Files that are gone and whose content was found under other names, which hits now give."""
    pruned: int
    """Files that had been gone for longer than the grace period and were forgotten."""
    away: tuple[str, ...]
    """Folders so much of which is gone that they are taken for unplugged: nothing of them is forgotten."""
    vectors: int
    """Frame runs that were stored: one vector each."""
    looks: int
    """Frames that were encoded."""
    static_looks: int
    """Frames in which nothing had changed: they were not encoded, the frame run before them goes on."""
    video_s: float
    """Seconds of video that became searchable."""
    wall_s: float
    look_s: float
    """Seconds spent on scanning for new files."""
    decode_s: float
    """Seconds spent waiting for the decoder processes."""
    encode_s: float
    """Seconds spent in the model."""
    write_s: float
    """Seconds spent on putting vectors and catalog on disk."""
    worker_decode_s: float
    """CPU seconds of the decoder processes, which run in parallel."""
    worker_resize_s: float
    tokens: int
    """Patch tokens that the encoder processed."""
    dense_tokens: int
    """Patch tokens if nothing had been dropped, the static looks among them."""
    dense_encode_s: float | None
    """About how long the model would have taken for all tokens, from a sample; None: not known."""
    failures: tuple[Video, ...]
    """The failed and the partial ones, with stage and reason."""
    readings: tuple[ReadingReport, ...] = ()
    """Results of reading speech and text, if requested."""

    def __str__(self) -> str:
        return self.as_text()

    def as_json(self) -> dict[str, Any]:
        """The documented JSON shape of `vlrlt index --json`."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        numbers = {name: round(value, 3) if isinstance(value, float) else value for name, value in fields.items()}
        readings = [reading.as_json() for reading in self.readings]
        return numbers | {"failures": [video.problem_json() for video in self.failures], "readings": readings}

    def as_text(self) -> str:
        """The same for people."""
        speed = f", {self.video_s / self.wall_s:.1f}x realtime" if self.video_s else ""
        made = f": {self.vectors} vectors of {format_time(self.video_s)} of video" if self.vectors else ""
        files = f"{self.indexed} indexed, {self.skipped} skipped, {self.failed} failed"
        lines = [f"{files}{made} in {self.wall_s:.1f} s{speed}"]
        if not (self.indexed or self.skipped or self.failures or self.waiting or self.missing or self.pruned):
            lines.append("no videos found: vlrlt recognises videos in folders by their suffix (.mp4, .mkv, ...)")
        if self.dense_tokens:
            lines += [self._savings(), self._where_time_went()]
        if self.failed_before:
            lines.append(
                f"{self.failed_before} of the skipped files failed earlier or in part: vlrlt failures lists them"
            )
        if self.waiting:
            lines.append(f"{self.waiting} files are still being written and wait for the next run")
        if self.moved:
            lines.append(f"{self.moved} files have moved or been renamed: hits show their new paths")
        if self.missing or self.pruned:
            lines.append(f"{self.missing} files are missing (vlrlt prune forgets them), {self.pruned} were forgotten")
        lines += [f"{folder} seems to be unplugged: the library keeps its videos" for folder in self.away]
        if self.ignored:
            lines.append(f"{self.ignored} other files were ignored because of their suffix or a pattern")
        if self.failures:
            lines += [video.problem_text() for video in self.failures]
            lines.append("the next run retries files that have changed; --retry-failed retries all of them")
        lines += [reading.as_text() for reading in self.readings]
        return "\n".join(lines)

    def _savings(self) -> str:
        share = f"{100 * self.tokens / self.dense_tokens:.0f} % of tokens encoded"
        kept = f"{share}; {self.static_looks} static looks skipped"
        if self.dense_encode_s is None:
            return kept
        return f"{kept}: encoding took {self.encode_s:.1f} s, all tokens would take about {self.dense_encode_s:.1f} s"

    def _where_time_went(self) -> str:
        stages = {"scan": self.look_s, "decoder": self.decode_s, "encoder": self.encode_s, "disk": self.write_s}
        waits = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in stages.items())
        workers = f"decoding {self.worker_decode_s:.1f} s, resizing {self.worker_resize_s:.1f} s"
        return f"time: {waits}; CPU time of the decoder processes: {workers}"


@dataclass(kw_only=True)
class Counters:
    """What a report is made of, while it grows."""

    indexed: int = 0
    skipped: int = 0
    failed_before: int = 0
    waiting: int = 0
    missing: int = 0
    moved: int = 0
    pruned: int = 0
    away: list[str] = field(default_factory=list)
    vectors: int = 0
    looks: int = 0
    static_looks: int = 0
    video_s: float = 0.0
    look_s: float = 0.0
    decode_s: float = 0.0
    encode_s: float = 0.0
    write_s: float = 0.0
    worker_decode_s: float = 0.0
    worker_resize_s: float = 0.0
    tokens: int = 0
    dense_tokens: int = 0
    dense_encode_s: float | None = None
    failures: list[Video] = field(default_factory=list)

    def report(self, *, ignored: int, wall_s: float) -> IndexReport:
        """The finished report."""
        partial = sum(video.state == "partial" for video in self.failures)
        failed = len(self.failures) - partial
        numbers = {**vars(self), "failures": tuple(self.failures), "away": tuple(self.away)}
        return IndexReport(partial=partial, failed=failed, ignored=ignored, wall_s=wall_s, **numbers)
