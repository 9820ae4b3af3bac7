"""Read a library while another process may write to it: readers always see one consistent state."""

import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import xxhash

from vlrlt.errors import LibraryError
from vlrlt.export.piece import Piece
from vlrlt.index.library.catalog import Catalog, Snapshot, Video
from vlrlt.index.library.timed_texts import TextHit
from vlrlt.index.vectors.choice import open_store
from vlrlt.index.vectors.protocol import VectorStore
from vlrlt.types import Channel, Moment


@dataclass(frozen=True)
class Loaded:
    """One state of a library."""

    snapshot: Snapshot
    store: VectorStore
    state: str
    """Names vectors and annotations: the same query gives the same ranking for the same state."""


class LibraryReader:
    """Reads a library, and loads it anew when a writer has changed it. Safe to use from several threads.

    Args:
        library_dir: the library.

    Raises:
        LibraryError: there is no library there.
    """

    def __init__(self, library_dir: Path) -> None:
        self._library_dir = library_dir
        self._catalog = Catalog.open_reader(library_dir)
        self._loaded: Loaded | None = None
        self._data_version: int | None = None
        self._lock = threading.RLock()
        self._loading = threading.Lock()

    @contextmanager
    def catalog(self) -> Iterator[Catalog]:
        """The catalog as it is now, for one thread at a time."""
        with self._lock:
            self._catalog.renew()
            yield self._catalog

    def now(self) -> Loaded:
        """The library as it is now; while one thread loads what a writer has changed, others go on with what was."""
        with self.catalog() as catalog:
            version = catalog.data_version()
            if self._loaded is not None and version == self._data_version:
                return self._loaded
        if self._loaded is not None and self._loading.locked():
            return self._loaded
        with self._loading:
            if self._loaded is None or version != self._data_version:
                self._loaded, self._data_version = self._load_beside(self._loaded), version
            return self._loaded

    def find_text(
        self, text: str, *, channels: Collection[Channel], videos: Collection[str] | None
    ) -> tuple[TextHit, ...]:
        """Lines that fit a text, as TimedTexts.search."""
        with self.catalog() as catalog:
            return catalog.texts.search(text, channels=channels, videos=videos)

    def known_video(self, moment: Moment) -> Video:
        """The video of a moment: only videos of this library are ever read.

        Raises:
            LibraryError: it is none.
        """
        with self.catalog() as catalog:
            video = catalog.video_at(Path(moment.video))
        if video is None or video.state == "failed":
            raise LibraryError(f"{moment.video} is not a video of {self._library_dir}")
        return video

    def informed(self, piece: Piece) -> Piece:
        """A piece with what sidecar files say of its video."""
        with self.catalog() as catalog:
            video = catalog.video_at(piece.video.absolute())
            sidecar = {} if video is None else catalog.annotations.sidecar_of(video.content_hash)
        return replace(piece, sidecar=sidecar)

    def close(self) -> None:
        """Close the catalog."""
        self._catalog.close()

    def _load_beside(self, before: Loaded | None) -> Loaded:
        """The library as it is now, by a catalog of its own: a large one takes seconds."""
        with Catalog.open_reader(self._library_dir) as catalog:
            snapshot = catalog.snapshot()
            state = _state(snapshot, f"{catalog.texts.version()} {catalog.annotations.version()}")
        if before is not None and snapshot.generation == before.snapshot.generation:
            store = before.store  # a file was moved, or annotated: the same vectors
        else:
            store = open_store(self._library_dir, snapshot)
        return Loaded(snapshot, store, state)


def _state(snapshot: Snapshot, annotations: str) -> str:
    """16 hexadecimal digits."""
    named = "\n".join((snapshot.generation, annotations, *snapshot.frame_runs.videos))
    return xxhash.xxh3_64_hexdigest(named.encode(errors="surrogateescape"))
