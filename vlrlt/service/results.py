"""What a library answers: moments that fit a query, and what it holds."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.filesize import decimal as format_bytes

from vlrlt.formats import format_time
from vlrlt.index.library.catalog import LibraryCounts, Video
from vlrlt.index.run.control import RunView
from vlrlt.index.search.request import GroupBy
from vlrlt.index.vectors.protocol import StoreInfo
from vlrlt.types import Moment


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """One page of answers to one query."""

    query: str
    model: str
    took_ms: float
    """Embedding the query and searching, without loading library and model."""
    found: bool
    """False: nothing in the library is a confident match."""
    unknown_words: tuple[str, ...]
    """Words that the model does not know; with one of them nothing is a confident match."""
    num_searched: int
    """Clips that passed the filter."""
    hits: tuple[Moment, ...]
    next_page: str | None
    """Give it back as `page` to go on; None: this was the last page."""
    group_by: GroupBy = "moment"
    """How the hits are written down."""

    def as_json(self, *, show: Callable[[Moment], dict[str, Any]] = Moment.as_json) -> dict[str, Any]:
        """The documented JSON shape of `vlrlt search --json`; `show` gives that of a hit."""
        hits = [show(hit) for hit in self.hits]
        if self.group_by == "video":
            groups = [[hit for hit in hits if hit["video_id"] == name] for name in {hit["video_id"]: 0 for hit in hits}]
            hits = [{"video": group[0]["video"], "video_id": group[0]["video_id"], "hits": group} for group in groups]
        return {
            "query": self.query,
            "model": self.model,
            "took_ms": round(self.took_ms, 1),
            "found": self.found,
            "unknown_words": list(self.unknown_words),
            "searched": {"clips": self.num_searched},
            "videos" if self.group_by == "video" else "hits": hits,
            "next_page": self.next_page,
        }

    def by_video(self) -> dict[str, tuple[Moment, ...]]:
        """The hits of each video, the video with the best hit first."""
        videos = dict.fromkeys(hit.video for hit in self.hits)
        return {video: tuple(hit for hit in self.hits if hit.video == video) for video in videos}

    def as_text(self) -> str:
        """One line for each hit."""
        lines = []
        if not self.num_searched:
            lines.append("nothing: no clip of the library passes")
        elif not self.found:
            unknown = f"; {self.model} does not know: {', '.join(self.unknown_words)}" if self.unknown_words else ""
            closest = "" if self.hits else "; --tail shows the closest"
            lines.append(f"no confident match among {self.num_searched} clips{unknown}{closest}")
        if self.group_by == "video":
            for video, hits in self.by_video().items():
                lines += [video, *(f"  {_hit_text(hit)}" for hit in hits)]
        else:
            lines += [f"{_hit_text(hit)}  in {Path(hit.video).parent}" for hit in self.hits]
        if self.next_page:
            lines.append(f"more: --page {self.next_page}")
        return "\n".join(lines)


def _hit_text(hit: Moment) -> str:
    confidence = "" if hit.confidence is None else f"  {hit.confidence:4.0%} sure"
    said = f"  {hit.text!r}" if hit.text else ""
    steps = " then ".join(_times(step.start_s, step.end_s) for step in hit.steps)
    return (
        f"#{hit.rank:<3} {hit.score:6.3f}  p{hit.percentile:<5.1f}{confidence}  {Path(hit.video).name}  "
        f"{_times(hit.start_s, hit.end_s)}{said}{f': {steps}' if steps else ''}"
    )


def _times(start_s: float, end_s: float) -> str:
    return f"{format_time(start_s, decimals=1)}-{format_time(end_s, decimals=1)}"


@dataclass(frozen=True, kw_only=True)
class LibraryStatus(LibraryCounts):
    """What a library holds."""

    library_dir: Path
    model: str | None
    """None: nothing was ever indexed."""
    fingerprint: str | None
    size_bytes: int
    """Of the library on disk."""
    failures: tuple[Video, ...]
    """The failed and the partial files, with stage and reason."""
    search: StoreInfo | None
    """How it is searched; None: it has no index yet."""
    other_models: tuple[str, ...]
    """Models that there are vectors of and that do not answer; `vlrlt use` makes one answer."""
    run: RunView | None
    """The index run that is at work; None: there is none."""
    paused: bool
    """Whether index runs wait."""
    last_run: dict[str, Any] | None
    """What the last finished run said, as Catalog.last_run."""

    def as_json(self) -> dict[str, Any]:
        """The documented JSON shape of `vlrlt status --json`."""
        return {
            "library": str(self.library_dir),
            "model": self.model,
            "fingerprint": self.fingerprint,
            "other_models": list(self.other_models),
            "indexed": self.indexed,
            "partial": self.partial,
            "unfinished": self.unfinished,
            "failed": self.failed,
            "missing": self.missing,
            "clips": self.clips,
            "video_s": round(self.video_s, 3),
            "size_bytes": self.size_bytes,
            "search": asdict(self.search) if self.search else None,
            "run": self.run.as_json() if self.run else None,
            "paused": self.paused,
            "last_run": {name: value for name, value in self.last_run.items() if name != "failures"}
            if self.last_run
            else None,
            "failures": [video.problem_json() for video in self.failures],
        }

    def as_text(self) -> str:
        """The same for people."""
        model = f"{self.model} ({self.fingerprint})" if self.model else "none yet"
        unsearched = "nothing; run: vlrlt index PATH" if not self.clips else "not ready: the first search prepares it"
        return "\n".join(
            (
                f"library  {self.library_dir}, {format_bytes(self.size_bytes)}",
                f"model    {model}",
                f"videos   {self.indexed} indexed, {self.partial} partial, {self.failed} failed"
                + (f", {self.unfinished} unfinished" if self.unfinished else "")
                + (f", {self.missing} gone" if self.missing else ""),
                f"clips    {self.clips} of {format_time(self.video_s)} of video",
                f"search   {self.search.as_text() if self.search else unsearched}",
                *(f"also     {other}" for other in self.other_models),
                *self._run_lines(),
                *(video.problem_text() for video in self.failures),
            )
        )

    def _run_lines(self) -> Iterator[str]:
        if self.run is not None:
            yield f"run      {self.run.as_text()}"
        if self.paused:
            yield f"paused   index runs wait; go on with: vlrlt resume --library {self.library_dir}"
        if self.last_run is not None:
            yield f"last run ended {self.last_run['ended_at']}, took {format_time(self.last_run['wall_s'])}"
