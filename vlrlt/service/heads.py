"""The moment head of a library: one that `vlrlt calibrate` has made for it, else the one that its model brings."""

from pathlib import Path

from vlrlt.embedder import DEFAULT_MODEL, DEFAULT_MODEL_DIR
from vlrlt.index.library.catalog import LibrarySettings
from vlrlt.models.moment_head import MomentHead

_NAME = "moment_head"


def head_path(library_dir: Path, settings: LibrarySettings) -> Path:
    """Where the head of a library lies for one of its models."""
    return library_dir / f"{_NAME}-{settings.fingerprint[:12]}.safetensors"


def find_head(library_dir: Path, settings: LibrarySettings) -> MomentHead | None:
    """The head that fits how the library's videos were looked at; None: there is none.

    Raises:
        CheckpointError: its file is damaged.
    """
    for path in _paths(library_dir, settings):
        if path.is_file():
            head = MomentHead.load(path)
            if head.sampling == repr(settings.sampling):
                return head
    return None


def head_stamp(library_dir: Path, settings: LibrarySettings) -> str:
    """Changes when the library gets another head."""
    path = head_path(library_dir, settings)
    return str(path.stat().st_mtime_ns) if path.is_file() else ""


def _paths(library_dir: Path, settings: LibrarySettings) -> tuple[Path, Path]:
    folder = DEFAULT_MODEL_DIR if settings.model == DEFAULT_MODEL else Path(settings.model)
    return head_path(library_dir, settings), folder / f"{_NAME}.safetensors"
