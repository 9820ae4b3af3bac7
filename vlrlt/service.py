"""The application without a face: open a library once, search it, look at what was found.

The CLI, the Streamlit page and any other front end stand on this. Safe to use from several threads.
"""

import contextlib
import re
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import xxhash

from vlrlt.errors import ConfigError, LibraryError, MissingExtraError, PageExpiredError
from vlrlt.export.cut import Cut, CutMode, cut_video
from vlrlt.export.export import export_file
from vlrlt.export.output import check_outside
from vlrlt.export.pictures import write_animation
from vlrlt.export.piece import piece_of
from vlrlt.index.annotations import TextHit
from vlrlt.index.catalog import Catalog, LibrarySettings, Snapshot, Video, mismatch
from vlrlt.index.query.confidence import background_texts
from vlrlt.index.query.embed import TextEmbedder
from vlrlt.index.query.language import Query, SimilarQuery
from vlrlt.index.query.request import GroupBy
from vlrlt.index.query.searcher import Ranking, Searcher, SearchOptions, is_match
from vlrlt.index.repeats import THRESHOLD, Repetition, find_repetitions
from vlrlt.index.saved import SavedSearches
from vlrlt.index.vectors.choice import open_store, store_info
from vlrlt.index.vectors.protocol import StoreInfo, VectorStore
from vlrlt.models.text_onnx import OnnxText
from vlrlt.times import format_time
from vlrlt.types import ClipSpan, Float32Array, Moment
from vlrlt.video import media

if TYPE_CHECKING:
    from vlrlt.embed import Embedder  # brings torch, which takes seconds to import and status does not need
    from vlrlt.tokens.run_length import TokenPolicy

THUMBNAIL_WIDTH_PX = 480
STRIP_FRAMES = 4
PREVIEW_MAX_S = 30.0
"""A preview of a longer moment shows its beginning."""
KEPT_RANKINGS = 32
"""So many searches can be paged through while the library changes."""
DEFAULT_OPTIONS = SearchOptions()


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

    def as_json(self, *, group_by: GroupBy = "moment") -> dict[str, Any]:
        """The documented JSON shape of `vlrlt search --json`."""
        if group_by == "video":
            hits = [
                {"video": video, "video_id": moments[0].video_id, "hits": [moment.as_json() for moment in moments]}
                for video, moments in self.by_video().items()
            ]
        else:
            hits = [moment.as_json() for moment in self.hits]
        return {
            "query": self.query,
            "model": self.model,
            "took_ms": round(self.took_ms, 1),
            "found": self.found,
            "unknown_words": list(self.unknown_words),
            "searched": {"clips": self.num_searched},
            "videos" if group_by == "video" else "hits": hits,
            "next_page": self.next_page,
        }

    def by_video(self) -> dict[str, tuple[Moment, ...]]:
        """The hits of each video, the video with the best hit first."""
        videos = dict.fromkeys(hit.video for hit in self.hits)
        return {video: tuple(hit for hit in self.hits if hit.video == video) for video in videos}

    def as_text(self, *, group_by: GroupBy = "moment") -> str:
        """One line for each hit."""
        lines = []
        if not self.num_searched:
            lines.append("nothing: no clip of the library passes")
        elif not self.found:
            unknown = f"; {self.model} does not know: {', '.join(self.unknown_words)}" if self.unknown_words else ""
            lines.append(f"no confident match among {self.num_searched} clips{unknown}")
        if group_by == "video":
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
    return (
        f"#{hit.rank:<3} {hit.score:6.3f}  p{hit.percentile:<5.1f}{confidence}  {Path(hit.video).name}  "
        f"{format_time(hit.start_s, decimals=1)}-{format_time(hit.end_s, decimals=1)}{said}"
    )


@dataclass(frozen=True, kw_only=True)
class LibraryStatus:
    """What a library holds."""

    library_dir: Path
    model: str | None
    """None: nothing was ever indexed."""
    fingerprint: str | None
    indexed: int
    """Files that are searchable from end to end."""
    partial: int
    """Files that are searchable up to where decoding failed."""
    unfinished: int
    """Files that are searchable as far as a run has come; the next one goes on."""
    failed: int
    missing: int
    """Files that were not there when last looked for; they are searchable until they are pruned."""
    clips: int
    video_s: float
    """Seconds of searchable video."""
    size_bytes: int
    """Of the library on disk."""
    failures: tuple[Video, ...]
    """The failed and the partial files, with stage and reason."""
    search: StoreInfo | None
    """How it is searched; None: it has no index yet."""

    def as_json(self) -> dict[str, Any]:
        """The documented JSON shape of `vlrlt status --json`."""
        return {
            "library": str(self.library_dir),
            "model": self.model,
            "fingerprint": self.fingerprint,
            "indexed": self.indexed,
            "partial": self.partial,
            "unfinished": self.unfinished,
            "failed": self.failed,
            "missing": self.missing,
            "clips": self.clips,
            "video_s": round(self.video_s, 3),
            "size_bytes": self.size_bytes,
            "search": asdict(self.search) if self.search else None,
            "failures": [video.problem_json() for video in self.failures],
        }

    def as_text(self) -> str:
        """The same for people."""
        model = f"{self.model} ({self.fingerprint})" if self.model else "none yet"
        return "\n".join(
            (
                f"library  {self.library_dir}, {self.size_bytes / 1e6:.1f} MB",
                f"model    {model}",
                f"videos   {self.indexed} indexed, {self.partial} partial, {self.failed} failed"
                + (f", {self.unfinished} unfinished" if self.unfinished else "")
                + (f", {self.missing} gone" if self.missing else ""),
                f"clips    {self.clips} of {self.video_s / 3600:.2f} hours of video",
                f"search   {self.search.as_text() if self.search else 'no index yet'}",
                *(video.problem_text() for video in self.failures),
            )
        )


@dataclass(frozen=True)
class _Loaded:
    snapshot: Snapshot
    store: VectorStore
    state: str
    """Names vectors and annotations: the same query gives the same ranking for the same state."""


class Service:
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
        self._catalog = Catalog.open_reader(library_dir)
        self._model = model
        self._device = device
        self._embedder: Embedder | None = None
        self._loaded: _Loaded | None = None
        self._data_version: int | None = None
        self._searcher: Searcher | None = None
        self._searcher_state: _Loaded | None = None
        self._rankings: dict[tuple[str, str], Ranking] = {}
        self._lock = threading.RLock()

    def search(
        self, query: Query, *, k: int = 10, options: SearchOptions = DEFAULT_OPTIONS, page: str | None = None
    ) -> SearchResult:
        """Find the moments that fit a query best.

        Args:
            query: words, a picture, a piece of video, a combination of them or a sequence.
            k: how many moments at most.
            options: how to search and what to show.
            page: `next_page` of an earlier result of the same query and options. Pages come from one ranking, whatever
                is indexed meanwhile.

        Raises:
            ConfigError: k is not positive, a filter is malformed, or the page is of another search.
            PageExpiredError: the library has changed and the ranking that the page is of is gone.
            IndexMismatchError: the library belongs to another model.
            LibraryError: nothing was ever indexed, or a segment is damaged.
            DecodeError: the query's picture or video cannot be read.
        """
        if k < 1:
            raise ConfigError(f"k must be 1 or more, got {k}; try 10")
        searcher, state = self._open_searcher()
        key = xxhash.xxh3_64_hexdigest(repr((query, options)).encode(errors="surrogateescape"))
        state, first = (state, 0) if page is None else self._parse_page(page, key, state)
        started_s = time.perf_counter()
        ranking = self._rankings.get((state, key)) or searcher.rank(query, options)
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
        )

    def similar(
        self, clip_id: int, *, k: int = 10, options: SearchOptions = DEFAULT_OPTIONS, page: str | None = None
    ) -> SearchResult:
        """Find moments that look like a clip of the library, without the one that it is part of.

        Raises:
            ConfigError: there is no such clip; and as `search`.
        """
        return self.search(SimilarQuery(clip_id), k=k, options=replace(options, hidden=(clip_id,)), page=page)

    def search_saved(self, name: str, *, page: str | None = None) -> SearchResult:
        """Search again for what was saved under a name.

        Raises:
            ConfigError: there is no such name; and as `search`.
        """
        request = self.saved.get(name)
        return self.search(request.query(), k=request.k, options=request.options(), page=page)

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
            on_progress: gets the share that is done: the cost grows with the square of the clips.

        Raises:
            ConfigError: the threshold is out of range.
        """
        with self._lock:
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
        with self._lock:
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
            ConfigError: there is no such video.
        """
        with self._lock:
            clips = self._refresh().snapshot.clips
        if video_id not in clips.video_ids:
            raise ConfigError(f"no video {video_id!r} in this library")
        return clips.videos[clips.video_ids.index(video_id)]

    def narrations(self, *, limit: int) -> tuple[str, ...]:
        """The commonest narrations of the library."""
        with self._lock:
            return self._catalog.annotations.vocabulary(limit=limit)

    def vocabulary(self, *, limit: int) -> tuple[str, ...]:
        """What actions may be called: the commonest narrations of the library, else the captions of its model."""
        return self.narrations(limit=limit) or tuple(getattr(self.embedder(), "captions", ()))[:limit]

    def embedder(self) -> "Embedder":
        """The library's model.

        Raises:
            IndexMismatchError: the library belongs to another model.
            LibraryError: nothing was ever indexed.
        """
        with self._lock:
            return self._find_embedder(self._refresh().snapshot.settings)

    def clip(self, clip_id: int) -> Moment:
        """A clip of the library as a moment.

        Raises:
            ConfigError: there is no such clip.
        """
        with self._lock:
            clips = self._refresh().snapshot.clips
        return clips.moment(clips.position(clip_id))

    def status(self) -> LibraryStatus:
        """What the library holds at this moment."""
        with self._lock:
            settings, counts, failures = self._catalog.settings(), self._catalog.counts(), self._catalog.problems()
        return LibraryStatus(
            library_dir=self.library_dir,
            model=settings.model if settings else None,
            fingerprint=settings.fingerprint if settings else None,
            **vars(counts),
            size_bytes=_size_bytes(self.library_dir),
            failures=failures,
            search=store_info(self.library_dir, settings.fingerprint) if settings else None,
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
        middle_s = (moment.start_s + moment.end_s) / 2

        def write(out: Path) -> None:
            media.thumbnail(Path(moment.video), middle_s, width_px=THUMBNAIL_WIDTH_PX).save(out, "JPEG", quality=85)

        return self._cached(moment, f"{THUMBNAIL_WIDTH_PX}.jpg", write).read_bytes()

    def strip(self, moment: Moment) -> bytes:
        """A JPEG of four frames of a moment, from its start to its end, side by side.

        Raises:
            LibraryError: the moment is not of a video of this library.
            DecodeError: the video cannot be read any more.
        """
        part_s = (moment.end_s - moment.start_s) / STRIP_FRAMES
        times_s = [moment.start_s + (part + 0.5) * part_s for part in range(STRIP_FRAMES)]

        def write(out: Path) -> None:
            media.strip(Path(moment.video), times_s, width_px=THUMBNAIL_WIDTH_PX).save(out, "JPEG", quality=80)

        return self._cached(moment, f"strip-{THUMBNAIL_WIDTH_PX}.jpg", write).read_bytes()

    def preview(self, moment: Moment) -> Path:
        """A short mp4 of a moment that any browser plays.

        Raises:
            LibraryError: the moment is not of a video of this library.
            DecodeError: the video cannot be read any more.
        """
        end_s = min(moment.end_s, moment.start_s + PREVIEW_MAX_S)
        return self._cached(
            moment, "mp4", lambda out: media.cut_preview(Path(moment.video), moment.start_s, end_s, out)
        )

    def animation(self, moment: Moment) -> Path:
        """A moment as an animated WebP, its first seconds, cached under the library.

        Raises:
            LibraryError: the moment is not of a video of this library.
            DecodeError: the video cannot be read any more.
        """
        span = ClipSpan(moment.start_s, moment.end_s)
        return self._cached(moment, "webp", lambda out: write_animation(Path(moment.video), span, out))

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
        with self._lock:
            return tuple(map(Path, self._refresh().snapshot.clips.videos))

    def close(self) -> None:
        """Close the library."""
        self._catalog.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open_searcher(self) -> tuple[Searcher, str]:
        """A searcher over the library as it is now, and the name of this state."""
        with self._lock:
            loaded = self._refresh()
            embedder = self._find_embedder(loaded.snapshot.settings)
            if self._searcher is None or self._searcher_state is not loaded:
                self._searcher_state = loaded
                self._searcher = Searcher(
                    clips=loaded.snapshot.clips,
                    store=loaded.store,
                    metadata=self._catalog.annotations.metadata(),
                    find_text=self._find_text,
                    embedder=embedder,
                    background_MD=self._background(embedder),
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
        """The library as it is now; loaded anew only if a writer has changed what can be found."""
        version = self._catalog.data_version()
        if self._loaded is None or version != self._data_version:
            snapshot = self._catalog.snapshot()
            if self._loaded is not None and snapshot.generation == self._loaded.snapshot.generation:
                store = self._loaded.store  # a file was moved, or annotated: the same vectors
            else:
                store = open_store(self.library_dir, snapshot)
            state = _state(snapshot, self._catalog.annotations.version())
            self._loaded = _Loaded(snapshot, store, state)
            self._data_version = version
        return self._loaded

    def _background(self, embedder: "Embedder") -> Float32Array:
        """Vectors of the background queries, from the cache if they are there: a text tower takes seconds for them."""
        texts = background_texts(getattr(embedder, "captions", ()))
        name = xxhash.xxh3_128_hexdigest("\n".join((embedder.fingerprint, *texts)).encode())
        path = self.library_dir / "cache" / f"background-{name}.npy"
        with contextlib.suppress(OSError, ValueError):
            vectors_MD: Float32Array = np.load(path, allow_pickle=False)
            if vectors_MD.shape == (len(texts), embedder.embed_dim):
                return vectors_MD
        vectors_MD = embedder.embed_text(texts)
        with contextlib.suppress(OSError):  # only a copy
            path.parent.mkdir(exist_ok=True)
            partial = path.with_name(f"{uuid.uuid4()}.npy")
            np.save(partial, vectors_MD, allow_pickle=False)
            partial.rename(path)
        return vectors_MD

    def _find_embedder(self, settings: LibrarySettings) -> "Embedder":
        """The model, loaded once; it must be the library's own at every search."""
        if self._embedder is None:
            text_only = self._text_embedder(settings) if self._model is None else None
            self._embedder = text_only or self._load_embedder(settings)
        if self._embedder.fingerprint != settings.fingerprint:
            raise mismatch(
                self.library_dir, settings, model=self._embedder.name, fingerprint=self._embedder.fingerprint
            )
        return self._embedder

    def _load_embedder(self, settings: LibrarySettings) -> "Embedder":
        """The whole model; the text tower of the library's own is written down for later searches."""
        if self._model is not None and not isinstance(self._model, str):
            return self._model
        from vlrlt.embed import load_embedder

        embedder = load_embedder(
            self._model or settings.model,
            device=self._device,
            policy=bound_policy(settings),
            sampling=settings.sampling,
        )
        path = self._text_path(settings)
        if embedder.fingerprint == settings.fingerprint and not path.exists():
            with contextlib.suppress(MissingExtraError, OSError):  # only a copy, to start faster
                path.parent.mkdir(exist_ok=True)
                embedder.export_text(path)
        return embedder

    def _text_embedder(self, settings: LibrarySettings) -> "Embedder | None":
        """The library's model without torch, if an earlier search has written its text tower down."""
        path = self._text_path(settings)
        if not path.exists():
            return None
        try:
            text = OnnxText(path)
        except MissingExtraError:
            return None
        except Exception:
            path.unlink(missing_ok=True)
            return None
        return TextEmbedder(settings, text=text, load=lambda: self._load_checked(settings))

    def _load_checked(self, settings: LibrarySettings) -> "Embedder":
        embedder = self._load_embedder(settings)
        if embedder.fingerprint != settings.fingerprint:
            raise mismatch(self.library_dir, settings, model=embedder.name, fingerprint=embedder.fingerprint)
        return embedder

    def _text_path(self, settings: LibrarySettings) -> Path:
        return self.library_dir / "cache" / f"text-{settings.fingerprint}.onnx"

    def _known_video(self, moment: Moment) -> Video:
        """The video of a moment: only videos of this library are ever read."""
        with self._lock:
            video = self._catalog.video_at(Path(moment.video))
        if video is None or video.state == "failed":
            raise LibraryError(f"{moment.video} is not a video of {self.library_dir}")
        return video

    def _cached(self, moment: Moment, suffix: str, write: Callable[[Path], None]) -> Path:
        """A file of the cache, written first if it is absent."""
        video = self._known_video(moment)
        key = xxhash.xxh3_128_hexdigest(f"{video.content_hash} {moment.start_s:.3f} {moment.end_s:.3f}".encode())
        path = self.library_dir / "cache" / f"{key}.{suffix}"
        if not path.exists():
            partial = path.with_name(f"{uuid.uuid4()}.{suffix}")
            try:
                path.parent.mkdir(exist_ok=True)
                write(partial)
                partial.rename(path)
            except OSError as error:
                raise LibraryError(f"{path.parent} cannot be written: {error.strerror}") from error
            finally:
                with contextlib.suppress(OSError):
                    partial.unlink()
        return path


def _state(snapshot: Snapshot, annotations: str) -> str:
    """16 hexadecimal digits."""
    named = "\n".join((snapshot.generation, annotations, *snapshot.clips.videos))
    return xxhash.xxh3_64_hexdigest(named.encode(errors="surrogateescape"))


def bound_policy(settings: LibrarySettings) -> "TokenPolicy | None":
    """The token policy that a library was indexed with; None: the model's own."""
    from vlrlt.tokens.run_length import TokenPolicy

    return None if settings.policy is None else TokenPolicy(**settings.policy)


def _size_bytes(folder: Path) -> int:
    """Of all files; one that a writer removes meanwhile does not count."""
    total = 0
    for file in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += file.stat().st_size if file.is_file() else 0
    return total
