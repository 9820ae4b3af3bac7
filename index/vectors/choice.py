"""Which vector store a library uses: FAISS beside it, or the server of `vlrlt index --store`."""

from pathlib import Path

from vlrlt.atomic import replacing
from vlrlt.errors import ConfigError, LibraryError
from vlrlt.index.library.catalog import Snapshot
from vlrlt.index.vectors import faiss_store, qdrant_store
from vlrlt.index.vectors.faiss_store import FaissStore
from vlrlt.index.vectors.protocol import StoreInfo, VectorStore
from vlrlt.index.vectors.qdrant_store import QdrantStore

FAISS = "faiss"
_FILE = "store"


def chosen_store(library_dir: Path) -> str:
    """A qdrant:// URL, or "faiss"."""
    try:
        return (library_dir / _FILE).read_text().strip()
    except FileNotFoundError:
        return FAISS
    except (OSError, UnicodeDecodeError) as error:
        raise LibraryError(f"{library_dir / _FILE} cannot be read: {error}") from error


def choose_store(library_dir: Path, store: str) -> None:
    """Remember the store of a library; only for the writer.

    Raises:
        ConfigError: the URL of the store is wrong.
        MissingExtraError: qdrant-client is not installed.
        LibraryError: the library cannot be written, or the server cannot be reached.
    """
    if store != FAISS:
        qdrant_store.check_server(store, library_dir=library_dir)
    try:
        with replacing(library_dir / _FILE) as unfinished:
            unfinished.write_text(f"{store}\n")
    except OSError as error:
        raise LibraryError(f"{library_dir} cannot be written: {error.strerror}") from error


def open_store(library_dir: Path, snapshot: Snapshot) -> VectorStore:
    """The store of a library, for searching.

    Raises:
        ConfigError: the URL of the store is wrong.
        MissingExtraError: faiss or qdrant-client is not installed.
        LibraryError: a segment is damaged, or the server cannot be reached.
    """
    store = chosen_store(library_dir)
    return FaissStore(library_dir, snapshot) if store == FAISS else QdrantStore(store, library_dir, snapshot)


def update_store(library_dir: Path, snapshot: Snapshot) -> None:
    """Bring the store up to date with the catalog; only for the writer.

    Raises:
        ConfigError: the URL of the store is wrong.
        MissingExtraError: faiss or qdrant-client is not installed.
        LibraryError: a segment is damaged, or the server cannot be reached.
    """
    store = open_store(library_dir, snapshot)
    if isinstance(store, QdrantStore):
        store.sync()
    store.close()


def snapshot_store(library_dir: Path, snapshot: Snapshot) -> str:
    """Have the server of a library take a snapshot of its collection; its name there.

    Raises:
        ConfigError: there is no server.
        MissingExtraError: qdrant-client is not installed.
        LibraryError: a segment is damaged, or the server cannot be reached or cannot take one.
    """
    if chosen_store(library_dir) == FAISS:
        raise ConfigError(f"{library_dir} does not use a vector server; to back it up, copy the folder")
    store = QdrantStore(chosen_store(library_dir), library_dir, snapshot)
    try:
        return store.snapshot()
    finally:
        store.close()


def store_info(library_dir: Path, fingerprint: str) -> StoreInfo | None:
    """How a library is searched, without opening anything; None: it has no index yet."""
    store = chosen_store(library_dir)
    return faiss_store.info_of(library_dir, fingerprint) if store == FAISS else qdrant_store.info_of(store)
