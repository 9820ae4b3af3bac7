"""The application without a face: open a library once, search it, look at what was found.

The CLI, the Streamlit page and any other front end stand on this. Safe to use from several threads.
"""

import contextlib
import os
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import xxhash

from vlrlt.errors import LibraryError
from vlrlt.index.catalog import Catalog, LibrarySettings, Snapshot, Video, mismatch
from vlrlt.index.search import Query, embed_query, format_time, outside_video, search_moments
from vlrlt.index.vectors.choice import open_store, store_info
from vlrlt.index.vectors.protocol import StoreInfo, VectorStore
from vlrlt.types import Moment
from vlrlt.video import media

if TYPE_CHECKING:
    from vlrlt.embed import Embedder  # brings torch, which takes seconds to import and status does not need
    from vlrlt.tokens.run_length import TokenPolicy

THUMBNAIL_WIDTH_PX = 480
PREVIEW_MAX_S = 30.0
"""A preview of a longer moment shows its beginning."""


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """Answers to one query."""

    query: str
    model: str
    took_ms: float
    """Embedding the query and searching, without loading library and model."""
    hits: tuple[Moment, ...]

    def as_json(self) -> dict[str, Any]:
        """The documented JSON shape of `vlrlt search --json`."""
        return {
            "query": self.query,
            "model": self.model,
            "took_ms": round(self.took_ms, 1),
            "hits": [moment.as_json() for moment in self.hits],
        }

    def as_text(self) -> str:
        """One line for each hit."""
        if not self.hits:
            return "nothing: the library has no clips"
        return "\n".join(
            f"#{hit.rank:<3} {hit.score:6.3f}  p{hit.percentile:<5.1f} {Path(hit.video).name}  "
            f"{format_time(hit.start_s, decimals=1)}-{format_time(hit.end_s, decimals=1)}  in {Path(hit.video).parent}"
            for hit in self.hits
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
    failed: int
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
            "failed": self.failed,
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
                f"videos   {self.indexed} indexed, {self.partial} partial, {self.failed} failed",
                f"clips    {self.clips} of {self.video_s / 3600:.2f} hours of video",
                f"search   {self.search.as_text() if self.search else 'no index yet'}",
                *(video.problem_text() for video in self.failures),
            )
        )


@dataclass(frozen=True)
class _Loaded:
    snapshot: Snapshot
    store: VectorStore


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
        self._catalog = Catalog.open_reader(library_dir)
        self._model = model
        self._device = device
        self._embedder: Embedder | None = None
        self._loaded: _Loaded | None = None
        self._data_version: int | None = None
        self._lock = threading.RLock()

    def search(self, query: Query, *, k: int = 10, exclude_video: Path | None = None) -> SearchResult:
        """Find the moments that fit a query best.

        Args:
            query: words, a picture, or a piece of video.
            k: how many moments at most.
            exclude_video: a file of the library whose clips do not take part.

        Raises:
            IndexMismatchError: the library belongs to another model.
            LibraryError: nothing was ever indexed, or a segment is damaged.
            DecodeError: the query's picture or video cannot be read.
        """
        with self._lock:
            loaded = self._refresh()
            embedder = self._find_embedder(loaded.snapshot.settings)
        started_s = time.perf_counter()
        clips = loaded.snapshot.clips
        within_N = None if exclude_video is None else outside_video(clips, os.path.realpath(exclude_video))
        moments = search_moments(loaded.store, clips, embed_query(query, embedder), k=k, within_N=within_N)
        took_ms = 1000 * (time.perf_counter() - started_s)
        return SearchResult(query=str(query), model=embedder.name, took_ms=took_ms, hits=moments)

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

    def close(self) -> None:
        """Close the library."""
        self._catalog.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _refresh(self) -> _Loaded:
        """The library as it is now; loaded anew only if a writer has changed what can be found."""
        version = self._catalog.data_version()
        if self._loaded is None or version != self._data_version:
            snapshot = self._catalog.snapshot()
            if self._loaded is None or snapshot.generation != self._loaded.snapshot.generation:
                self._loaded = _Loaded(snapshot, open_store(self.library_dir, snapshot))
            else:
                self._loaded = _Loaded(snapshot, self._loaded.store)  # a file was moved: same vectors, other paths
            self._data_version = version
        return self._loaded

    def _find_embedder(self, settings: LibrarySettings) -> "Embedder":
        """The model, loaded once; it must be the library's own at every search."""
        if self._embedder is None:
            if self._model is None or isinstance(self._model, str):
                from vlrlt.embed import load_embedder

                self._embedder = load_embedder(
                    self._model or settings.model,
                    device=self._device,
                    policy=bound_policy(settings),
                    sampling=settings.sampling,
                )
            else:
                self._embedder = self._model
        if self._embedder.fingerprint != settings.fingerprint:
            raise mismatch(
                self.library_dir, settings, model=self._embedder.name, fingerprint=self._embedder.fingerprint
            )
        return self._embedder

    def _cached(self, moment: Moment, suffix: str, write: Callable[[Path], None]) -> Path:
        """A file of the cache, written first if it is absent. Only videos of this library are ever read."""
        with self._lock:
            video = self._catalog.video_at(Path(moment.video))
        if video is None or video.state == "failed":
            raise LibraryError(f"{moment.video} is not a video of {self.library_dir}")
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
