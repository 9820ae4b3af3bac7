"""The catalog's file: its tables, how they are migrated, and how a reader or the one writer opens it."""

import fcntl
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import apsw
import apsw.fts5

from vlrlt.errors import LibraryBusyError, LibraryError

Bindings = tuple[Any, ...] | dict[str, Any]
MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE models (
        id INTEGER PRIMARY KEY,
        model TEXT NOT NULL,                    -- what load_embedder takes
        fingerprint TEXT NOT NULL UNIQUE,
        embed_dim INTEGER NOT NULL,
        sampling TEXT NOT NULL,                 -- JSON
        policy TEXT NOT NULL,                   -- JSON; null: the model's own
        precision TEXT NOT NULL CHECK (precision IN ('float32', 'bfloat16')),
        agreement REAL NOT NULL,                -- cosine from which outputs belong to one frame run
        active INTEGER NOT NULL CHECK (active IN (0, 1))
    ) STRICT;
    CREATE UNIQUE INDEX models_active ON models (active) WHERE active = 1;
    CREATE TABLE files (
        id INTEGER PRIMARY KEY,
        path BLOB NOT NULL UNIQUE,              -- os.fsencode: file names need not be UTF-8
        size_bytes INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        inode INTEGER NOT NULL,
        device INTEGER NOT NULL,
        content_hash TEXT NOT NULL,             -- files.unread_hash(path): the file could not be read
        full_hash TEXT,                         -- of every byte; NULL: never asked for
        missing_since REAL                      -- seconds since 1970; NULL: it was there when last looked for
    ) STRICT;
    CREATE INDEX files_content ON files (content_hash);
    CREATE TABLE videos (
        id INTEGER PRIMARY KEY,
        content_hash TEXT NOT NULL,
        fingerprint TEXT NOT NULL,              -- of the model that looked at it
        state TEXT NOT NULL CHECK (state IN ('unfinished', 'indexed', 'partial', 'failed')),
        duration_s REAL,
        done_s REAL NOT NULL,                   -- an unfinished video goes on here
        stage TEXT,
        reason TEXT,
        attempts INTEGER NOT NULL,              -- that failed one after another
        retry_at REAL,                          -- seconds since 1970; NULL: only when asked to
        changed_at TEXT NOT NULL,
        UNIQUE (content_hash, fingerprint)
    ) STRICT;
    CREATE TABLE segments (
        id INTEGER PRIMARY KEY,
        uuid TEXT NOT NULL UNIQUE,
        rows INTEGER NOT NULL,
        xxh3 TEXT NOT NULL,
        fingerprint TEXT NOT NULL
    ) STRICT;
    CREATE TABLE frame_runs (
        id INTEGER PRIMARY KEY,                 -- frame_run_id(): the same run has the same id in every library
        video INTEGER NOT NULL REFERENCES videos ON DELETE CASCADE,
        segment INTEGER NOT NULL REFERENCES segments ON DELETE CASCADE,
        row INTEGER NOT NULL,
        start_s REAL NOT NULL,
        end_s REAL NOT NULL,
        num_looks INTEGER NOT NULL,
        kept_share REAL NOT NULL,               -- of the patches, that changed from one look to the next
        UNIQUE (segment, row)
    ) STRICT;
    CREATE INDEX frame_runs_video ON frame_runs (video);
    CREATE TABLE open_runs (                    -- of unfinished videos: the run that may still grow
        video INTEGER PRIMARY KEY REFERENCES videos ON DELETE CASCADE,
        start_s REAL NOT NULL,
        num_looks INTEGER NOT NULL,
        changes REAL NOT NULL,
        sum BLOB NOT NULL,                      -- float32, little-endian
        reference BLOB NOT NULL
    ) STRICT;
    CREATE TABLE runs (
        id INTEGER PRIMARY KEY,
        started_at TEXT NOT NULL,
        ended_at TEXT,                          -- NULL: still running, or killed
        report TEXT                             -- JSON
    ) STRICT;
    CREATE TABLE texts (
        id INTEGER PRIMARY KEY AUTOINCREMENT,   -- never used twice: what is read anew is told from what was there
        content_hash TEXT NOT NULL,             -- of the video: outlives its row
        channel TEXT NOT NULL CHECK (channel IN ('sidecar', 'embedded', 'speech', 'screen')),
        maker TEXT NOT NULL,                    -- the sidecar file, the track, or the fingerprint of who has read it
        start_s REAL NOT NULL,
        end_s REAL NOT NULL,
        language TEXT,
        confidence REAL,
        word_starts_s TEXT,                     -- JSON; NULL: unknown
        text TEXT NOT NULL
    ) STRICT;
    CREATE INDEX texts_video ON texts (content_hash, channel, start_s);
    CREATE INDEX texts_maker ON texts (maker);
    CREATE TABLE readings (                     -- how far who reads a channel has come
        content_hash TEXT NOT NULL,
        channel TEXT NOT NULL,
        maker TEXT NOT NULL,
        done_s REAL NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('unfinished', 'read', 'failed')),
        reason TEXT,
        PRIMARY KEY (content_hash, channel)
    ) STRICT;
    CREATE VIRTUAL TABLE texts_fts USING fts5 (
        text, content = 'texts', content_rowid = 'id', tokenize = 'porter simplify casefold 1 strip 1 unicodewords'
    );
    CREATE TRIGGER texts_inserted AFTER INSERT ON texts BEGIN
        INSERT INTO texts_fts (rowid, text) VALUES (new.id, new.text);
    END;
    CREATE TRIGGER texts_deleted AFTER DELETE ON texts BEGIN
        INSERT INTO texts_fts (texts_fts, rowid, text) VALUES ('delete', old.id, old.text);
    END;
    CREATE TABLE metadata (
        content_hash TEXT NOT NULL,
        key TEXT NOT NULL,
        value TEXT NOT NULL,                    -- JSON
        PRIMARY KEY (content_hash, key)
    ) STRICT;
    CREATE TABLE saved_searches (
        name TEXT PRIMARY KEY,
        request TEXT NOT NULL                   -- JSON
    ) STRICT;
    """,
    """
    CREATE TABLE cameras (                      -- what the header of a file says; no row: nobody has looked
        content_hash TEXT PRIMARY KEY,
        facts TEXT NOT NULL                     -- JSON
    ) STRICT;
    """,
    """
    CREATE TABLE collections (
        name TEXT PRIMARY KEY,
        created_at TEXT NOT NULL
    ) STRICT;
    CREATE TABLE kept_moments (
        id INTEGER PRIMARY KEY AUTOINCREMENT,   -- people and links name moments by it
        collection TEXT NOT NULL,
        place INTEGER NOT NULL,                 -- in the collection, ascending
        content_hash TEXT NOT NULL,             -- of the video: outlives its row, its path and its vectors
        start_s REAL NOT NULL,
        end_s REAL NOT NULL,
        title TEXT NOT NULL,
        rating INTEGER CHECK (rating BETWEEN 1 AND 5),
        note TEXT NOT NULL,
        tags TEXT NOT NULL,                     -- JSON
        added_at TEXT NOT NULL,
        UNIQUE (collection, content_hash, start_s, end_s)
    ) STRICT;
    """,
    """
    CREATE TABLE alerts (
        search TEXT PRIMARY KEY                 -- name of the saved search
    ) STRICT;
    CREATE TABLE alert_checks (                 -- videos that an alert has looked through
        search TEXT NOT NULL,
        content_hash TEXT NOT NULL,
        PRIMARY KEY (search, content_hash)
    ) STRICT;
    CREATE TABLE alert_moments (                -- what it has told
        search TEXT NOT NULL,
        content_hash TEXT NOT NULL,
        start_s REAL NOT NULL,
        end_s REAL NOT NULL
    ) STRICT;
    CREATE INDEX alert_moments_video ON alert_moments (search, content_hash);
    """,
)
"""Migration i leads to schema FIRST_SCHEMA + i. Append only: what a release has written must stay readable."""

FIRST_SCHEMA = 4
"""The schemas before it, of vlrlt 0.1, had one vector a clip, which cannot be compared with those of frame runs."""
TOKENIZER = ("porter", ["simplify", "casefold", "1", "strip", "1", "unicodewords"])
"""What the texts are indexed with, as Connection.fts5_tokenizer takes it."""
NEWEST_SCHEMA = FIRST_SCHEMA + len(MIGRATIONS) - 1

CATALOG_COPY = "catalog.db.copy"
_BUSY_TIMEOUT_MS = 10_000
_OUR_FILES = frozenset(
    {
        *("catalog.db", "catalog.db-wal", "catalog.db-shm", CATALOG_COPY, "lock", "store"),
        *("pause", "stop", "progress.json"),
        *("segments", "faiss", "cache", "quarantine", "log"),
    }
)


def is_library(library_dir: Path) -> bool:
    """Whether anything was ever indexed into a folder.

    Raises:
        LibraryError: it may not be looked into.
    """
    try:
        return (library_dir / "catalog.db").is_file()
    except PermissionError as error:
        raise LibraryError(f"{library_dir} cannot be read: {error.strerror}") from error


def check_is_library(library_dir: Path) -> None:
    """Refuse what is no library.

    Raises:
        LibraryError: it is none, or may not be looked into.
    """
    if not is_library(library_dir):
        raise LibraryError(
            f"{library_dir} is not a vlrlt library (no catalog.db); run: vlrlt index PATH --library {library_dir}"
        )


def connect_reader(library_dir: Path) -> apsw.Connection:
    """Open the catalog of a library; it cannot be changed through this connection.

    Raises:
        LibraryError: there is none, or it is damaged, or of another version of vlrlt.
        LibraryBusyError: another machine is writing.
    """
    check_is_library(library_dir)
    check_written_here(library_dir)
    path = library_dir / "catalog.db"
    with mapped_errors(path):
        connection = _open_to_read(path)
        connection.set_busy_timeout(_BUSY_TIMEOUT_MS)
        version = connection.pragma("user_version")
        _check_known(connection, version)
        _check_not_blank(library_dir, version)
        if version < NEWEST_SCHEMA:
            raise LibraryError(f"{path} has schema {version}, this vlrlt needs {NEWEST_SCHEMA}: run vlrlt index on it")
        add_tokenizers(connection)
        connection.pragma("query_only", value=True)
    return connection


def add_tokenizers(connection: apsw.Connection) -> None:
    """Unicode's own words (UAX 29), without case and accents; SQLite's unicode61 breaks Hindi and never Japanese."""
    words: Callable[..., Any] = apsw.fts5.UnicodeWordsTokenizer
    apsw.fts5.register_tokenizers(connection, {"unicodewords": words, "simplify": apsw.fts5.SimplifyTokenizer})


def _open_to_read(path: Path) -> apsw.Connection:
    """A reader in WAL mode writes its locks; where it may not, it follows a writer's log or reads a file at rest."""
    if _is_writable(path):
        return apsw.Connection(os.fspath(path), flags=apsw.SQLITE_OPEN_READWRITE)
    if not _beside(path, "-wal").exists():
        at_rest = f"{path.absolute().as_uri()}?immutable=1"
        return apsw.Connection(at_rest, flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
    if not _beside(path, "-shm").exists():
        raise LibraryError(
            f"{path.parent} cannot be written, and what its last run committed is in catalog.db-wal without a "
            f"catalog.db-shm: run vlrlt status --library {path.parent} once where it can be written"
        )
    return apsw.Connection(os.fspath(path), flags=apsw.SQLITE_OPEN_READONLY)


def check_written_here(library_dir: Path) -> None:
    """Refuse to read what another machine is writing: its memory, in which SQLite says what is valid, is not shared.

    The writer's flock cannot be seen here by lockf, unless a network share has made a lock of bytes of it.

    Raises:
        LibraryBusyError: another machine is writing.
    """
    with suppress(OSError):
        lock_fd = os.open(library_dir / "lock", os.O_RDONLY)
        try:
            os.lockf(lock_fd, os.F_TEST, 0)
        except PermissionError:  # any other error: this file system has no locks to ask for
            process, machine = _owner(lock_fd)
        else:
            return
        finally:
            os.close(lock_fd)
        if machine != _this_machine():
            raise LibraryBusyError(
                f"{library_dir} is being written on another machine (process {process} there) and cannot be read from "
                "here until that has finished; meanwhile, query a vlrlt serve that runs there"
            )


def stamp_at_rest(library_dir: Path) -> tuple[int, ...] | None:
    """What changes when somebody writes to a catalog that connect_reader opens without locks; None: it locks.

    Raises:
        LibraryError: there is none.
    """
    check_is_library(library_dir)
    path = library_dir / "catalog.db"
    if _is_writable(path) or _beside(path, "-wal").exists():
        return None
    facts = path.stat()
    return facts.st_ino, facts.st_size, facts.st_mtime_ns


def _is_writable(path: Path) -> bool:
    return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(f"{path.name}{suffix}")


def connect_writer(library_dir: Path, *, may_be_blank: bool = False) -> apsw.Connection:
    """Open or create the catalog of a library and bring it to the newest schema; the caller holds the lock.

    Args:
        library_dir: the library.
        may_be_blank: also where there are vectors, which nothing may then be done to on the word of the catalog.

    Raises:
        LibraryError: it is damaged, of a newer vlrlt, or cannot be written.
    """
    path = library_dir / "catalog.db"
    if not may_be_blank and not path.exists():
        _check_not_blank(library_dir, 0)
    with mapped_errors(path):
        connection = apsw.Connection(os.fspath(path))
        if not may_be_blank:
            _check_not_blank(library_dir, connection.pragma("user_version"))
        connection.set_busy_timeout(_BUSY_TIMEOUT_MS)
        connection.transaction_mode = "IMMEDIATE"
        if connection.pragma("journal_mode", "wal") != "wal":
            raise LibraryError(f"{path}: this file system has no shared memory for SQLite; use a local disk")
        connection.pragma("synchronous", "FULL")
        add_tokenizers(connection)
        _back_up(connection, path)
        connection.pragma("foreign_keys", value=False)  # a migration replaces tables that others refer to
        migrate(connection, MIGRATIONS)
        connection.pragma("foreign_keys", value=True)
    return connection


def _check_not_blank(library_dir: Path, version: int) -> None:
    """Refuse a catalog without tables where there are vectors: on its word all of them would be removed."""
    segments = [folder for folder in (library_dir / "segments").glob("*") if folder.suffix != ".tmp"]
    if version == 0 and segments:
        raise damaged(library_dir / "catalog.db", f"it is missing, but there are {len(segments)} segments of vectors")


def _back_up(connection: apsw.Connection, path: Path) -> None:
    """Keep a copy of a catalog that is about to be migrated."""
    version = connection.pragma("user_version")
    backup = path.with_name(f"{path.name}.v{version}")
    if FIRST_SCHEMA <= version < NEWEST_SCHEMA and not backup.exists():
        connection.execute("VACUUM INTO ?", (os.fspath(backup),))


def migrate(connection: apsw.Connection, migrations: Sequence[str]) -> None:
    """Bring a catalog to the newest schema, one transaction for each step.

    Raises:
        LibraryError: it was written by a newer vlrlt, or by one that knew no frame runs.
    """
    version = connection.pragma("user_version")
    newest = FIRST_SCHEMA + len(migrations) - 1
    _check_known(connection, version, newest=newest)
    for number in range(max(version + 1, FIRST_SCHEMA), newest + 1):
        with connection:
            connection.execute(migrations[number - FIRST_SCHEMA])
            connection.pragma("user_version", number)


def _check_known(connection: apsw.Connection, version: int, *, newest: int = NEWEST_SCHEMA) -> None:
    path = Path(connection.filename)
    if version > newest:
        raise LibraryError(f"{path} has schema {version}, this vlrlt knows {newest}: upgrade vlrlt")
    if 0 < version < FIRST_SCHEMA:
        raise LibraryError(
            f"{path} was written by vlrlt 0.1, whose index this version cannot read: index the archive into a new "
            f"folder, with vlrlt index PATH --library NEW"
        )


def lock_library(library_dir: Path) -> int:
    """Create the folder if need be and become its only writer, until the returned file descriptor is closed.

    Raises:
        LibraryBusyError: another process is writing.
        LibraryError: the folder holds other things, or it cannot be written.
    """
    try:
        library_dir.mkdir(parents=True, exist_ok=True)
        strangers = sorted(entry.name for entry in library_dir.iterdir() if entry.name not in _OUR_FILES)
        if strangers and not (library_dir / "catalog.db").exists():
            raise LibraryError(
                f"{library_dir} is not a vlrlt library and holds {strangers[0]!r}; give a new or an empty folder"
            )
        lock_fd = os.open(library_dir / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise LibraryError(f"{library_dir} cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        process, machine = _owner(lock_fd)
        os.close(lock_fd)
        where = "" if machine == _this_machine() else " on another machine"
        raise LibraryBusyError(
            f"{library_dir} is being written by another vlrlt (process {process}{where}); "
            "wait until it has finished or stop it"
        ) from None
    os.ftruncate(lock_fd, 0)
    os.pwrite(lock_fd, f"{os.getpid()} {_this_machine()}".encode(), 0)
    return lock_fd


def _owner(lock_fd: int) -> tuple[str, str]:
    """Process and machine of the last writer; a share that refuses to let a locked file be read tells neither."""
    try:
        process, _, machine = os.pread(lock_fd, 100, 0).decode().partition(" ")
    except OSError:
        return "unknown", ""
    return process, machine


def _this_machine() -> str:
    """On Linux the same in all containers of a machine, and another after it has started anew; elsewhere its name."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return platform.node()


class Tables:
    """Tables of a catalog; those who share a connection share its transactions.

    Args:
        connection: of the catalog.
        path: of its file, for messages.
    """

    def __init__(self, connection: apsw.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    def _rows(self, sql: str, bindings: Bindings = ()) -> list[tuple[Any, ...]]:
        with mapped_errors(self._path):
            return list(self._connection.execute(sql, bindings))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with mapped_errors(self._path), self._connection:
            yield


@contextmanager
def mapped_errors(path: Path) -> Iterator[None]:
    """Raise SQLite's errors as LibraryError with the file's name."""
    try:
        yield
    except apsw.ReadOnlyError as error:
        raise LibraryError(f"{path} cannot be written: {error}") from error
    except (apsw.CorruptError, apsw.NotADBError) as error:
        raise damaged(path, str(error)) from error
    except apsw.Error as error:
        raise LibraryError(f"{path}: {error}") from error


def damaged(path: Path, problem: str) -> LibraryError:
    """The error for a catalog that cannot be believed."""
    return LibraryError(
        f"{path}: {problem}; run: vlrlt verify --repair --library {path.parent} (it rebuilds the catalog from its copy "
        "and from the segments), or restore the library folder from a backup"
    )
