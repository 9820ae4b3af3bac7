"""The application without a user interface: open a library once, search it, and show what was found.

The CLI, the Streamlit page and any other front end stand on this. Safe to use from several threads.
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from vlrlt.ask.answer import Answer
from vlrlt.ask.question import parse_question
from vlrlt.ask.retrieval import RetrievalAnswerer
from vlrlt.errors import NotFoundError
from vlrlt.export.cut import Cut, CutMode, cut_video
from vlrlt.export.export import export_file
from vlrlt.export.output import check_outside
from vlrlt.export.piece import Piece, piece_of
from vlrlt.formats import composed
from vlrlt.index.library.catalog import LibraryCounts, LibrarySettings
from vlrlt.index.run.control import is_paused, view_run
from vlrlt.index.search.curate import farthest_first
from vlrlt.index.search.filters import Filter
from vlrlt.index.search.language import parse_clip_id
from vlrlt.index.search.repeats import THRESHOLD, Repetition, find_repetitions
from vlrlt.index.search.request import SOURCE_OF, SOURCES, SearchRequest, Source
from vlrlt.index.search.saved import SavedSearches
from vlrlt.index.search.searcher import Searcher
from vlrlt.index.vectors.choice import store_info
from vlrlt.notebook import moments_html
from vlrlt.service.calibrate import CalibrationReport, calibrate
from vlrlt.service.collections import LibraryCollections
from vlrlt.service.model import LibraryModel
from vlrlt.service.pictures import Pictures
from vlrlt.service.reader import LibraryReader
from vlrlt.service.results import IndexedVideo, LibraryStatus, SearchResult
from vlrlt.service.searches import Searches
from vlrlt.service.verdicts import Verdicts
from vlrlt.types import ClipSpan, Moment, TimedText

if TYPE_CHECKING:
    from vlrlt.embedder import Embedder

SHOWN_VIDEOS = 6
"""In a notebook."""


class Library:
    """An open library: search, ask, show and export moments. A context manager.

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
        """Named searches."""
        self._reader = LibraryReader(library_dir)
        self.collections = LibraryCollections(library_dir, self._reader)
        """Moments that were kept."""
        self._model = LibraryModel(library_dir, model=model, device=device)
        self._pictures = Pictures(library_dir)
        self._searches = Searches(self._reader, self._model, thumbnail=self.thumbnail, verdicts=Verdicts(library_dir))

    def search(self, asked: str | SearchRequest = "", **options: Any) -> SearchResult:  # noqa: ANN401
        """Find the best moments. All pages of a search come from one ranking, even if an index run changes the library.

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
        return self._searches.search(request)

    def ask(
        self,
        question: str,
        *,
        options: Sequence[str] = (),
        within: Filter = Filter(),  # noqa: B008  it is immutable
        vocabulary: Sequence[str] = (),
    ) -> Answer:
        """Answer a question by searching, and cite the moments that support the answer. No language model is used.

        Args:
            question: in English.
            options: answers to choose from.
            within: which part of the library to look at.
            vocabulary: what actions may be called; empty: the library's narrations, else the model's captions.

        Raises:
            ConfigError: the question is empty or too long, there is one option only, or naming what happens needs a
                vocabulary and there is none; and as `search`.
        """
        answerer = RetrievalAnswerer(self, vocabulary=vocabulary)
        return answerer.answer(parse_question(question, options=tuple(options)), within=within)

    def similar(self, clip: str | Moment, **options: Any) -> SearchResult:  # noqa: ANN401  as SearchRequest.replaced
        """Find moments that look like a clip of the library, including copies, without the moment that holds the clip.

        Args:
            clip: a hit, or the id of a clip as hits show it.
            options: fields of SearchRequest.

        Raises:
            NotFoundError: there is no such clip; and as `search`.
        """
        known = clip.clip if isinstance(clip, Moment) else clip
        return self.search(SearchRequest(like=(known,), hidden=(known,), duplicates=True), **options)

    def search_saved(self, name: str, *, page: str | None = None) -> SearchResult:
        """Run a saved search.

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
        """Find scenes that different videos share, the longest first. No model is loaded.

        Args:
            threshold: cosine in (0, 1] from which two clips show the same.
            min_s: leave out shorter ones.
            on_progress: gets the share that is done.

        Raises:
            ConfigError: the threshold is out of range.
        """
        loaded = self._reader.now()
        return find_repetitions(
            loaded.snapshot.frame_runs, loaded.store.vectors, threshold=threshold, min_s=min_s, on_progress=on_progress
        )

    def searcher(self) -> Searcher:
        """A searcher over the current state of the library, for work below the level of `search`.

        Raises:
            IndexMismatchError: the library belongs to another model.
            LibraryError: nothing was ever indexed.
        """
        return self._searches.open()[0]

    def videos(self) -> tuple[IndexedVideo, ...]:
        """The searchable videos."""
        clips = self._reader.now().snapshot.frame_runs
        counts_V = np.bincount(clips.video_N, minlength=len(clips.videos))
        ends_s_V = np.zeros(len(clips.videos))
        np.maximum.at(ends_s_V, clips.video_N, clips.end_s_N)
        return tuple(
            IndexedVideo(video_id=video_id, path=Path(path), duration_s=float(end_s), num_vectors=int(count))
            for video_id, path, end_s, count in zip(clips.video_ids, clips.videos, ends_s_V, counts_V, strict=True)
        )

    def path_of(self, video_id: str) -> str:
        """The file of a searchable video.

        Raises:
            NotFoundError: there is no such video.
        """
        clips = self._reader.now().snapshot.frame_runs
        if video_id not in clips.video_ids:
            raise NotFoundError(f"there is no video {video_id!r} in this library")
        return clips.videos[clips.video_ids.index(video_id)]

    def transcript(
        self, video_id: str, *, sources: Sequence[Source] = SOURCES, within: ClipSpan | None = None
    ) -> tuple[TimedText, ...]:
        """Speech, text in the picture and sidecar lines of a video, by time.

        Args:
            video_id: of a hit or of `videos`.
            sources: of "subtitles", "speech" and "screen" those that are wanted.
            within: only lines that reach into these seconds.

        Raises:
            NotFoundError: there is no such video.
            ConfigError: there is no such source.
        """
        self.path_of(video_id)
        request = SearchRequest(sources=tuple(sources))
        channels = [channel for channel, source in SOURCE_OF.items() if source in request.sources]
        with self._reader.catalog() as catalog:
            lines = catalog.texts.of_video(video_id, channels)
        if within is None:
            return lines
        return tuple(line for line in lines if line.start_s < within.end_s and within.start_s < line.end_s)

    def lines_in(self, moment: Moment, *, sources: Sequence[Source] = SOURCES) -> tuple[Moment, ...]:
        """Speech and text in a moment, line by line, each as a moment.

        Raises:
            ConfigError: there is no such source.
        """
        return tuple(
            replace(
                moment.within(ClipSpan(line.start_s, line.end_s)),
                sources=(SOURCE_OF[line.channel],),
                text=line.text,
                text_marks=(),
                text_fit=None,
            )
            for line in self.transcript(moment.video_id, sources=sources, within=moment.span)
        )

    def find_video(self, name: str) -> str:
        """The video_id of a searchable video by its id, its path or its name.

        Raises:
            NotFoundError: there is no such video, or several of that name.
        """
        clips = self._reader.now().snapshot.frame_runs
        wanted = composed(name)
        paths = {composed(os.path.realpath(name)), composed(os.path.abspath(name))}  # noqa: PTH100  a link may stay one
        found = {
            video_id
            for video_id, video in zip(clips.video_ids, map(composed, clips.videos), strict=True)
            if name == video_id or video in paths or wanted in (Path(video).name, Path(video).stem)
        }
        if len(found) != 1:
            raise NotFoundError(
                f"{len(found) or 'no'} video{'s' if len(found) > 1 else ''} {name!r} in this library; give the path or "
                "the video_id of one"
            )
        return found.pop()

    def narrations(self, *, limit: int) -> tuple[str, ...]:
        """The most common narrations of the library."""
        with self._reader.catalog() as catalog:
            return catalog.texts.vocabulary(limit=limit)

    def vocabulary(self, *, limit: int) -> tuple[str, ...]:
        """Names of actions: the most common narrations of the library, otherwise the captions of its model."""
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
        clips = self._reader.now().snapshot.frame_runs
        return replace(clips.moment(clips.position(parse_clip_id(clip))), thumbnail=self.thumbnail)

    def moment_at(self, video_id: str, span: ClipSpan) -> Moment:
        """Seconds of a searchable video as a moment.

        Raises:
            NotFoundError: there is no such video.
        """
        clips = self._reader.now().snapshot.frame_runs
        self.path_of(video_id)
        positions_K = np.flatnonzero(clips.video_N == clips.video_ids.index(video_id))
        if not len(positions_K):
            raise NotFoundError(f"nothing of the video {video_id!r} can be searched yet")
        middle_s = (span.start_s + span.end_s) / 2
        apart_s_K = np.maximum(clips.start_s_N[positions_K] - middle_s, middle_s - clips.end_s_N[positions_K])
        return clips.moment(int(positions_K[apart_s_K.argmin()])).within(span)

    def pick(self, moments: Sequence[Moment], n: int) -> tuple[Moment, ...]:
        """The n moments that differ most from each other, in the order in which they came; no near-duplicates.

        Fewer than n come if all others are near-duplicates of those. The first moment is always among them.

        Raises:
            ConfigError: n is not positive.
            NotFoundError: the library has no such moment.
        """
        loaded = self._reader.now()
        positions_N = np.array([loaded.snapshot.frame_runs.position(one.clip_id) for one in moments], np.int64)
        vectors_ND = loaded.store.vectors(positions_N)
        return tuple(moments[place] for place in farthest_first(vectors_ND, n, threshold=THRESHOLD))

    def settings(self) -> LibrarySettings:
        """How the library was indexed.

        Raises:
            LibraryError: nothing was ever indexed.
        """
        return self._reader.now().snapshot.settings

    def counts(self) -> LibraryCounts:
        """The totals of `status`, without measuring the disk usage."""
        with self._reader.catalog() as catalog:
            return catalog.counts()

    def status(self) -> LibraryStatus:
        """The current contents of the library."""
        with self._reader.catalog() as catalog:
            models, counts, failures = catalog.models(), catalog.counts(), catalog.problems()
            last_run, texts = catalog.last_run(), catalog.texts.counts()
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
            texts=texts,
            last_run=last_run,
        )

    def calibrate(self, *, seed: int = 0) -> CalibrationReport:
        """Learn from the library's narrations where moments begin and end, and how sure a search can be.

        What is learnt is judged on videos that it has not seen, and kept only if it is better there.

        Args:
            seed: of the choice of those videos and of the learning.

        Raises:
            ConfigError: there are too few narrations to learn from.
            IndexMismatchError: the library belongs to another model.
            LibraryError: the library cannot be written.
        """
        return calibrate(self.library_dir, self.searcher(), self.settings(), lines_of=self.transcript, seed=seed)

    def seconds_by_kept_share(self, *, bins: int) -> tuple[float, ...]:
        """Seconds of video by the share of the patches that change, in equal bins of [0, 1]."""
        with self._reader.catalog() as catalog:
            return catalog.seconds_by_kept_share(bins=bins)

    def reports(self) -> tuple[dict[str, Any], ...]:
        """Reports of finished index runs, the latest first; the documented shape of `vlrlt index --json`."""
        with self._reader.catalog() as catalog:
            return catalog.reports()

    def thumbnail(self, moment: Moment) -> bytes:
        """A JPEG of the middle of a moment.

        Raises:
            LibraryError: the moment is not of a video of this library.
            DecodeError: the video cannot be read any more.
        """
        return self._pictures.thumbnail(moment, content_hash=self._reader.known_video(moment).content_hash).read_bytes()

    def strip(self, moment: Moment) -> bytes:
        """A JPEG of four frames of a moment side by side; raises as `thumbnail`."""
        return self._pictures.strip(moment, content_hash=self._reader.known_video(moment).content_hash).read_bytes()

    def preview(self, moment: Moment) -> Path:
        """A short mp4 of a moment that any browser plays; raises as `thumbnail`."""
        return self._pictures.preview(moment, content_hash=self._reader.known_video(moment).content_hash)

    def animation(self, moment: Moment) -> Path:
        """The first seconds of a moment as an animated WebP; raises as `thumbnail`."""
        return self._pictures.animation(moment, content_hash=self._reader.known_video(moment).content_hash)

    def cut(self, moment: Moment, out: str | Path, *, mode: CutMode = "exact", force: bool = False) -> Cut:
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
        self._reader.known_video(moment)
        target = Path(out).expanduser()
        check_outside(target, self.paths())
        return cut_video(Path(moment.video), moment.span, target, mode=mode, force=force)

    def export(
        self, moments: Iterable[Moment], out: str | Path, *, title: str = "", force: bool = False
    ) -> tuple[Path, ...]:
        """Write moments as a playlist, table, timeline, chapters or storyboard; the suffix of `out` chooses the format.

        Args:
            moments: in the order in which they are to come.
            out: .m3u, .csv, .json, .vtt, .edl, .fcpxml, .otio, .png, or .tar for clips with captions (WebDataset); or a
                folder for the chapters of each video.
            title: of the whole: the query.
            force: whether files that are there may be replaced.

        Raises:
            LibraryError: a moment is not of a video of this library.
            ConfigError: the moments do not fit the format; out lies in the archive, exists, or cannot be written.
            DecodeError: a video cannot be read any more.
        """
        chosen = tuple(moments)
        for moment in chosen:
            self._reader.known_video(moment)
        target = Path(out).expanduser()
        check_outside(target, self.paths())
        pieces = [self.informed(piece_of(moment, title=title)) for moment in chosen]
        return export_file(pieces, target, title=title, force=force)

    def informed(self, piece: Piece) -> Piece:
        """A piece with the sidecar metadata of its video, because timelines use its timecode and reel."""
        return self._reader.informed(piece)

    def paths(self) -> tuple[Path, ...]:
        """Paths of the searchable videos."""
        return tuple(map(Path, self._reader.now().snapshot.frame_runs.videos))

    def __repr__(self) -> str:
        return f"Library({str(self.library_dir)!r})"

    def _repr_html_(self) -> str:
        """For notebooks: its status, and the first moment of some of its videos."""
        shown: list[Moment] = []
        if self.counts().vectors:
            clips = self._reader.now().snapshot.frame_runs
            _, first_V = np.unique(clips.video_N, return_index=True)
            shown = [
                replace(clips.moment(int(at)), rank=rank, thumbnail=self.thumbnail)
                for rank, at in enumerate(first_V[:SHOWN_VIDEOS], start=1)
            ]
        return moments_html(self.status().as_text(), shown)

    def close(self) -> None:
        """Close the library."""
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_library(path: str | Path, *, model: "str | Embedder | None" = None, device: str = "auto") -> Library:
    """Open a library that `vlrlt index` or vlrlt.index has made.

    Args:
        path: its folder.
        model: an embedder, or what load_embedder takes; None: the model that the library was indexed with.
        device: 'auto', 'cpu', 'cuda', 'mps'.

    Raises:
        LibraryError: there is no library there.
    """
    return Library(Path(path).expanduser(), model=model, device=device)


def _size_bytes(folder: Path) -> int:
    """Of all files; one that a writer removes meanwhile does not count."""
    total = 0
    for file in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += file.stat().st_size if file.is_file() else 0
    return total
