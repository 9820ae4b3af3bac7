"""The application without a face: open a library once, search it, look at what was found.

The CLI, the Streamlit page and any other front end stand on this. Safe to use from several threads.
"""

import contextlib
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import xxhash

from vlrlt.errors import ConfigError, LibraryError, NotFoundError, PageExpiredError
from vlrlt.export.cut import Cut, CutMode, cut_video
from vlrlt.export.export import export_file
from vlrlt.export.output import check_outside
from vlrlt.export.piece import piece_of
from vlrlt.index.library.annotations import TextHit
from vlrlt.index.library.catalog import Catalog, LibraryCounts, LibrarySettings, Snapshot, Video
from vlrlt.index.run.control import is_paused, view_run
from vlrlt.index.search.language import parse_clip_id
from vlrlt.index.search.repeats import THRESHOLD, Repetition, find_repetitions
from vlrlt.index.search.request import SearchRequest
from vlrlt.index.search.saved import SavedSearches
from vlrlt.index.search.searcher import Ranking, Searcher, is_match
from vlrlt.index.vectors.choice import open_store, store_info
from vlrlt.index.vectors.protocol import VectorStore
from vlrlt.service.model import LibraryModel
from vlrlt.service.pictures import Pictures
from vlrlt.service.results import LibraryStatus, SearchResult
from vlrlt.types import ClipSpan, Moment

if TYPE_CHECKING:
    from vlrlt.embed import Embedder  # brings torch, which takes seconds to import and status does not need

KEPT_RANKINGS = 32
"""So many searches can be paged through while the library changes."""


@dataclass(frozen=True)
class _Loaded:
    snapshot: Snapshot
    store: VectorStore
    state: str
    """Names vectors and annotations: the same query gives the same ranking for the same state."""


class Library:
    """An open library.

    Args:
        library_dir: the library.
        model: an embedder, or what load_embedder takes; None: the model that the library was indexed with. It is loaded
            by the first search.
        device: where to run it.

    Raises:
        LibraryError: there is no library there.
    """

    def __init__(self, library_dir: Path, *, model: "str | Embedder | None" = None, device: str = "auto") -> None:
        self.library_dir = library_dir
        self.saved = SavedSearches(library_dir)
        """Searches that were given a name."""
        self._reader = Catalog.open_reader(library_dir)
        self._model = LibraryModel(library_dir, model=model, device=device)
        self._pictures = Pictures(library_dir)
        self._loaded: _Loaded | None = None
        self._data_version: int | None = None
        self._searcher: Searcher | None = None
        self._searcher_state: _Loaded | None = None
        self._rankings: dict[tuple[str, str], Ranking] = {}
        self._lock = threading.RLock()
        self._loading = threading.Lock()

    def search(self, asked: str | SearchRequest = "", **options: Any) -> SearchResult:  # noqa: ANN401
        """Find the moments that fit best. Pages of one search come from one ranking, whatever is indexed meanwhile.

        Args:
            asked: what to find, in words; or all of it. Empty: what the options say.
            options: fields of SearchRequest and its filter, as SearchRequest.replaced takes them: k=5, without="a pan".

        Raises:
            ConfigError: there is nothing to find, a filter is malformed, or the page is of another search.
            PageExpiredError: the library has changed and the ranking that the page is of is gone.
            IndexMismatchError: the library belongs to another model.
            LibraryError: nothing was ever indexed, or a segment is damaged.
            DecodeError: the request's picture or video cannot be read.
        """
        request = asked if isinstance(asked, SearchRequest) else SearchRequest(text=(asked,) if asked else ())
        request = request.replaced(**options)
        query, key, k = request.query(), request.ranking_key(), request.k
        searcher, state = self._open_searcher()
        state, first = (state, 0) if request.page is None else self._parse_page(request.page, key, state)
        started_s = time.perf_counter()
        ranking = self._rankings.get((state, key)) or searcher.rank(request)
        moments = ranking[first : first + k + 1]
        took_ms = 1000 * (time.perf_counter() - started_s)
        with self._lock:
            self._rankings[state, key] = ranking
            while len(self._rankings) > KEPT_RANKINGS:
                del self._rankings[next(iter(self._rankings))]
        return SearchResult(
            query=str(query),
            model=searcher.model,
            took_ms=took_ms,
            found=any(map(is_match, moments)),
            unknown_words=searcher.unknown_words(query),
            num_searched=ranking.num_searched,
            hits=moments[:k],
            next_page=f"{state}-{key}-{first + k}" if len(moments) > k else None,
            group_by=request.group_by,
        )

    def similar(self, clip: str | Moment, **options: Any) -> SearchResult:  # noqa: ANN401  as SearchRequest.replaced
        """Find moments that look like a clip of the library, also copies, without the one that it is part of.

        Args:
            clip: a hit, or the id of a clip as hits show it.
            options: fields of SearchRequest.

        Raises:
            NotFoundError: there is no such clip; and as `search`.
        """
        known = clip.clip if isinstance(clip, Moment) else clip
        return self.search(SearchRequest(like=(known,), hidden=(known,), duplicates=True), **options)

    def search_saved(self, name: str, *, page: str | None = None) -> SearchResult:
        """Search again for what was saved under a name.

        Raises:
            NotFoundError: there is no such name; and as `search`.
        """
        return self.search(replace(self.saved.get(name), page=page))

    def duplicates(
        self,
        *,
        threshold: float = THRESHOLD,
        min_s: float = 0.0,
        on_progress: Callable[[float], None] = lambda _share: None,
    ) -> tuple[Repetition, ...]:
        """Scenes that different videos have in common, the longest first. No model is loaded.

        Args:
            threshold: cosine in (0, 1] from which two clips show the same.
            min_s: leave out shorter ones.
            on_progress: gets the share that is done.

        Raises:
            ConfigError: the threshold is out of range.
        """
        loaded = self._refresh()
        return find_repetitions(
            loaded.snapshot.clips, loaded.store.vectors, threshold=threshold, min_s=min_s, on_progress=on_progress
        )

    def searcher(self) -> Searcher:
        """The library as it is now, for those who look closer than `search` does.

        Raises:
            IndexMismatchError: the library belongs to another model.
            LibraryError: nothing was ever indexed.
        """
        return self._open_searcher()[0]

    def videos(self) -> list[dict[str, Any]]:
        """The searchable videos: id, name, length and number of clips."""
        clips = self._refresh().snapshot.clips
        counts_V = np.bincount(clips.video_N, minlength=len(clips.videos))
        ends_s_V = np.zeros(len(clips.videos))
        np.maximum.at(ends_s_V, clips.video_N, clips.end_s_N)
        return [
            {
                "video_id": video_id,
                "video": Path(path).name.encode(errors="replace").decode(),
                "duration_s": round(float(end_s), 3),
                "clips": int(count),
            }
            for video_id, path, end_s, count in zip(clips.video_ids, clips.videos, ends_s_V, counts_V, strict=True)
        ]

    def path_of(self, video_id: str) -> str:
        """The file of a searchable video.

        Raises:
            NotFoundError: there is no such video.
        """
        clips = self._refresh().snapshot.clips
        if video_id not in clips.video_ids:
            raise NotFoundError(f"no video {video_id!r} in this library")
        return clips.videos[clips.video_ids.index(video_id)]

    def narrations(self, *, limit: int) -> tuple[str, ...]:
        """The commonest narrations of the library."""
        with self._lock:
            return self._catalog.annotations.vocabulary(limit=limit)

    def vocabulary(self, *, limit: int) -> tuple[str, ...]:
        """What actions may be called: the commonest narrations of the library, else the captions of its model."""
        narrations = self.narrations(limit=limit)
        if narrations:
            return narrations
        return self._model.find(self.settings()).captions[:limit]

    def embedder(self) -> "Embedder":
        """The library's model.

        Raises:
            IndexMismatchError: the library belongs to another model.
            LibraryError: nothing was ever indexed.
        """
        return self._model.whole(self.settings())

    def clip(self, clip: str) -> Moment:
        """A clip of the library as a moment, by its id as hits show it.

        Raises:
            NotFoundError: there is no such clip.
        """
        clips = self._refresh().snapshot.clips
        return clips.moment(clips.position(parse_clip_id(clip)))

    def settings(self) -> LibrarySettings:
        """How the library was indexed.

        Raises:
            LibraryError: nothing was ever indexed.
        """
        return self._refresh().snapshot.settings

    def counts(self) -> LibraryCounts:
        """The totals of `status`, without looking at the disk."""
        with self._lock:
            return self._catalog.counts()

    def status(self) -> LibraryStatus:
        """What the library holds at this moment."""
        with self._lock:
            catalog = self._catalog
            models, counts, failures = catalog.models(), catalog.counts(), catalog.problems()
            last_run = catalog.last_run()
        settings = models[0] if models else None
        return LibraryStatus(
            library_dir=self.library_dir,
            model=settings.model if settings else None,
            fingerprint=settings.fingerprint if settings else None,
            **vars(counts),
            size_bytes=_size_bytes(self.library_dir),
            failures=failures,
            search=store_info(self.library_dir, settings.fingerprint) if settings else None,
            other_models=tuple(map(str, models[1:])),
            run=view_run(self.library_dir),
            paused=is_paused(self.library_dir),
            last_run=last_run,
        )

    def moving_s(self, *, bins: int) -> tuple[float, ...]:
        """Seconds of clips by the share of their tokens that move, in equal bins of [0, 1]."""
        with self._lock:
            return self._catalog.moving_s(bins=bins)

    def reports(self) -> tuple[dict[str, Any], ...]:
        """What finished index runs said, the latest first; the documented shape of `vlrlt index --json`."""
        with self._lock:
            return self._catalog.reports()

    def thumbnail(self, moment: Moment) -> bytes:
        """A JPEG of the middle of a moment.

        Raises:
            LibraryError: the moment is not of a video of this library.
            DecodeError: the video cannot be read any more.
        """
        return self._pictures.thumbnail(moment, content_hash=self._known_video(moment).content_hash).read_bytes()

    def strip(self, moment: Moment) -> bytes:
        """A JPEG of four frames of a moment side by side; raises as `thumbnail`."""
        return self._pictures.strip(moment, content_hash=self._known_video(moment).content_hash).read_bytes()

    def preview(self, moment: Moment) -> Path:
        """A short mp4 of a moment that any browser plays; raises as `thumbnail`."""
        return self._pictures.preview(moment, content_hash=self._known_video(moment).content_hash)

    def animation(self, moment: Moment) -> Path:
        """The first seconds of a moment as an animated WebP; raises as `thumbnail`."""
        return self._pictures.animation(moment, content_hash=self._known_video(moment).content_hash)

    def cut(self, moment: Moment, out: Path, *, mode: CutMode = "exact", force: bool = False) -> Cut:
        """Cut a moment out of its video, with its sound.

        Args:
            moment: of a search, or `clip(...).within(span)`.
            out: the film; its suffix is the container.
            mode: "exact" encodes again, "copy" copies from the key frame before it: what it has written it says.
            force: whether a file that is there may be replaced.

        Raises:
            LibraryError: the moment is not of a video of this library.
            ConfigError: out lies in the archive, exists, or cannot be written.
            DecodeError: the video cannot be read any more.
        """
        self._known_video(moment)
        check_outside(out, self.paths())
        return cut_video(Path(moment.video), ClipSpan(moment.start_s, moment.end_s), out, mode=mode, force=force)

    def export(self, moments: Sequence[Moment], out: Path, *, title: str, force: bool = False) -> tuple[Path, ...]:
        """Write moments as a playlist, table, timeline, chapters or storyboard: what the suffix of out says.

        Args:
            moments: in the order in which they are to come.
            out: .m3u, .csv, .json, .vtt, .edl, .fcpxml, .otio or .png; or a folder for the chapters of each video.
            title: of the whole: the query.
            force: whether files that are there may be replaced.

        Raises:
            LibraryError: a moment is not of a video of this library.
            ConfigError: the moments do not fit the format; out lies in the archive, exists, or cannot be written.
            DecodeError: a video cannot be read any more.
        """
        for moment in moments:
            self._known_video(moment)
        check_outside(out, self.paths())
        return export_file([piece_of(moment, title=title) for moment in moments], out, title=title, force=force)

    def paths(self) -> tuple[Path, ...]:
        """Of the searchable videos."""
        return tuple(map(Path, self._refresh().snapshot.clips.videos))

    def close(self) -> None:
        """Close the library."""
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _catalog(self) -> Catalog:
        """The catalog as it is now; to be used under the lock."""
        self._reader.renew()
        return self._reader

    def _open_searcher(self) -> tuple[Searcher, str]:
        """A searcher over the library as it is now, and the name of this state."""
        loaded = self._refresh()
        with self._lock:
            if self._searcher is not None and self._searcher_state is loaded:
                return self._searcher, loaded.state
        embedder = self._model.find(loaded.snapshot.settings)  # takes seconds at first; only searches wait for it
        with self._lock:
            self._searcher_state = loaded
            self._searcher = Searcher(
                clips=loaded.snapshot.clips,
                store=loaded.store,
                metadata=self._catalog.annotations.metadata(),
                find_text=self._find_text,
                embedder=embedder,
                background=partial(self._model.background, embedder),
            )
            return self._searcher, loaded.state

    def _find_text(self, text: str) -> tuple[TextHit, ...]:
        with self._lock:
            return self._catalog.annotations.search(text)

    def _parse_page(self, page: str, key: str, state: str) -> tuple[str, int]:
        """State and first rank of a page token."""
        match = re.fullmatch(r"([0-9a-f]{16})-([0-9a-f]{16})-(\d{1,9})", page)
        if match is None or match[2] != key:
            raise ConfigError(f"page {page!r} is not of this search; give next_page of a result of the same options")
        if match[1] != state and (match[1], key) not in self._rankings:
            raise PageExpiredError("the library has changed since that page was made; search again from the first page")
        return match[1], int(match[3])

    def _refresh(self) -> _Loaded:
        """The library as it is now; while one thread loads what a writer has changed, others go on with what was."""
        with self._lock:
            version = self._catalog.data_version()
            if self._loaded is not None and version == self._data_version:
                return self._loaded
        if self._loaded is not None and self._loading.locked():
            return self._loaded
        with self._loading:
            if self._loaded is None or version != self._data_version:
                self._loaded, self._data_version = self._load_beside(self._loaded), version
            return self._loaded

    def _load_beside(self, before: _Loaded | None) -> _Loaded:
        """The library as it is now, by a reader of its own: a large one takes seconds."""
        with Catalog.open_reader(self.library_dir) as reader:
            snapshot = reader.snapshot()
            state = _state(snapshot, reader.annotations.version())
        if before is not None and snapshot.generation == before.snapshot.generation:
            store = before.store  # a file was moved, or annotated: the same vectors
        else:
            store = open_store(self.library_dir, snapshot)
        return _Loaded(snapshot, store, state)

    def _known_video(self, moment: Moment) -> Video:
        """The video of a moment: only videos of this library are ever read."""
        with self._lock:
            video = self._catalog.video_at(Path(moment.video))
        if video is None or video.state == "failed":
            raise LibraryError(f"{moment.video} is not a video of {self.library_dir}")
        return video


def _state(snapshot: Snapshot, annotations: str) -> str:
    """16 hexadecimal digits."""
    named = "\n".join((snapshot.generation, annotations, *snapshot.clips.videos))
    return xxhash.xxh3_64_hexdigest(named.encode(errors="surrogateescape"))


def _size_bytes(folder: Path) -> int:
    """Of all files; one that a writer removes meanwhile does not count."""
    total = 0
    for file in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += file.stat().st_size if file.is_file() else 0
    return total
