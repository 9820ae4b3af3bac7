"""Results of a library: moments of a query, videos and status."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.filesize import decimal as format_bytes

from vlrlt.ask.second_look import LookReport
from vlrlt.formats import format_time
from vlrlt.index.library.catalog import LibraryCounts, Video
from vlrlt.index.run.control import RunView
from vlrlt.index.search.filters import undated_text
from vlrlt.index.search.request import GroupBy
from vlrlt.index.vectors.protocol import StoreInfo
from vlrlt.notebook import moments_html
from vlrlt.types import Channel, Moment


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
    num_undated: int
    """Videos that did not pass it only because it is not known when they were recorded."""
    is_empty: bool
    """Whether the library holds nothing yet."""
    hits: tuple[Moment, ...]
    next_page: str | None
    """Pass it as `page` to get the next page; None: this is the last page."""
    group_by: GroupBy = "moment"
    """How the hits are listed."""
    second_look: LookReport | None = None
    """Result and cost of the second look; None: it was not requested."""

    def __iter__(self) -> Iterator[Moment]:
        return iter(self.hits)

    def __len__(self) -> int:
        return len(self.hits)

    def __getitem__(self, place: int) -> Moment:
        return self.hits[place]

    def __str__(self) -> str:
        return self.as_text()

    def _repr_html_(self) -> str:
        about = replace(self, hits=(), next_page=None).as_text() if not self.found else ""
        return moments_html(f"{self.query}\n{about}".rstrip(), self.hits)

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
            "searched": {"vectors": self.num_searched, "undated_videos": self.num_undated},
            "videos" if self.group_by == "video" else "hits": hits,
            "next_page": self.next_page,
            "second_look": None if self.second_look is None else self.second_look.as_json(),
        }

    def by_video(self) -> dict[str, tuple[Moment, ...]]:
        """The hits of each video, the video with the best hit first."""
        videos = dict.fromkeys(hit.video for hit in self.hits)
        return {video: tuple(hit for hit in self.hits if hit.video == video) for video in videos}

    def as_text(self) -> str:
        """One line for each hit."""
        lines = []
        if self.is_empty:
            lines.append("nothing is indexed yet; run: vlrlt index PATH, or wait for the run at work: vlrlt status")
        elif not self.num_searched:
            lines.append("no part of the library passes the filter")
        elif not self.found:
            unknown = f"; {self.model} does not know: {', '.join(self.unknown_words)}" if self.unknown_words else ""
            closest = "" if self.hits else "; --tail shows the closest"
            lines.append(f"no confident match among {self.num_searched} vectors{unknown}{closest}")
        if self.group_by == "video":
            for video, hits in self.by_video().items():
                lines += [video, *(f"  {hit}  clip {hit.clip}" for hit in hits)]
        else:
            lines += [f"{hit}  clip {hit.clip}  in {Path(hit.video).parent}" for hit in self.hits]
        if self.num_undated:
            lines.append(undated_text(self.num_undated))
        if self.second_look is not None:
            lines.append(self.second_look.as_text())
        if self.next_page:
            lines.append(f"more: --page {self.next_page}")
        return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class IndexedVideo:
    """A searchable video."""

    video_id: str
    """Id of the video for clients."""
    path: Path
    duration_s: float
    """Up to the end of its last clip."""
    num_vectors: int

    @property
    def name(self) -> str:
        """Name of the file, with question marks in place of characters that are not Unicode."""
        return self.path.name.encode(errors="replace").decode()

    def as_json(self) -> dict[str, Any]:
        """The documented JSON shape for clients of the HTTP API, without the path."""
        return {
            "video_id": self.video_id,
            "video": self.name,
            "duration_s": round(self.duration_s, 3),
            "vectors": self.num_vectors,
        }


@dataclass(frozen=True, kw_only=True)
class LibraryStatus(LibraryCounts):
    """The contents of a library."""

    library_dir: Path
    model: str | None
    """None: nothing was ever indexed."""
    fingerprint: str | None
    size_bytes: int
    """Size of the library on disk."""
    failures: tuple[Video, ...]
    """The failed and the partial files, with stage and reason."""
    search: StoreInfo | None
    """The kind of its index; None: it has no index yet."""
    other_models: tuple[str, ...]
    """Indexed models that searches do not use; `vlrlt use` switches to one of them."""
    run: RunView | None
    """The current index run; None: there is none."""
    paused: bool
    """Whether index runs wait."""
    texts: dict[Channel, tuple[int, int]]
    """Lines and videos of each channel of timed text that has some."""
    last_run: dict[str, Any] | None
    """Report of the last finished run, as Catalog.last_run."""

    def __str__(self) -> str:
        return self.as_text()

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
            "vectors": self.vectors,
            "video_s": round(self.video_s, 3),
            "size_bytes": self.size_bytes,
            "search": asdict(self.search) if self.search else None,
            "run": self.run.as_json() if self.run else None,
            "paused": self.paused,
            "texts": {channel: {"lines": lines, "videos": videos} for channel, (lines, videos) in self.texts.items()},
            "last_run": {name: value for name, value in self.last_run.items() if name != "failures"}
            if self.last_run
            else None,
            "failures": [video.problem_json() for video in self.failures],
        }

    def as_text(self) -> str:
        """The same as text."""
        model = f"{self.model} ({self.fingerprint})" if self.model else "none yet"
        unsearched = "nothing; run: vlrlt index PATH" if not self.vectors else "not ready: the first search prepares it"
        return "\n".join(
            (
                f"library  {self.library_dir}, {format_bytes(self.size_bytes)}",
                f"model    {model}",
                f"videos   {self.indexed} indexed, {self.partial} partial, {self.failed} failed"
                + (f", {self.unfinished} unfinished" if self.unfinished else "")
                + (f", {self.missing} gone" if self.missing else ""),
                f"vectors  {self.vectors} of {format_time(self.video_s)} of video",
                f"search   {self.search.as_text() if self.search else unsearched}",
                *self._text_lines(),
                *(f"also     {other}" for other in self.other_models),
                *self._run_lines(),
                *(video.problem_text() for video in self.failures),
            )
        )

    def _text_lines(self) -> Iterator[str]:
        if self.texts:
            counts = (f"{lines} {channel} of {videos} videos" for channel, (lines, videos) in self.texts.items())
            yield f"lines    {', '.join(counts)}"

    def _run_lines(self) -> Iterator[str]:
        if self.run is not None:
            yield f"run      {self.run.as_text()}"
        if self.paused:
            yield f"paused   index runs wait; to continue, run: vlrlt resume --library {self.library_dir}"
        if self.last_run is not None:
            yield f"last run ended {self.last_run['ended_at']}, took {format_time(self.last_run['wall_s'])}"
