"""Index an archive in one call: vlrlt.index of the public API."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vlrlt.errors import ConfigError
from vlrlt.index.run.build import index_paths
from vlrlt.index.run.model_choice import choose_embedder
from vlrlt.index.run.run_report import IndexProgress, IndexReport
from vlrlt.types import PrecisionChoice
from vlrlt.words.choose import choose_readers

if TYPE_CHECKING:
    from vlrlt.embedder import Embedder


def index_archive(  # noqa: PLR0913  one for each option
    paths: str | Path | Iterable[str | Path],
    *,
    library: str | Path,
    model: "str | Embedder | None" = None,
    device: str = "auto",
    precision: PrecisionChoice | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    retry_failed: bool = False,
    max_shift_s: float = 0.0,
    speech: str | None = None,
    screen_text: bool = False,
    on_progress: Callable[[IndexProgress], None] | None = None,
) -> IndexReport:
    """Bring a library up to date with the videos below some folders. Calling it again does only what is new.

    It starts decoder processes: a script that calls it needs no `if __name__ == "__main__"`.

    Args:
        paths: folders and files, or one of them.
        library: the library's folder; made if it is absent.
        model: an embedder, or what load_embedder takes; None: the model of the library, at first 'default', which knows
            only the toy kitchen and warns of it.
        device: where a model that is named runs.
        precision: of its video encoder; None: that of the library, at first the fastest of the device.
        include: only files that match one of these patterns, such as '2026-*'.
        exclude: not the files and folders that match.
        retry_failed: try again what failed before and has not changed since.
        max_shift_s: how far a frame may lie from its time, so that key frames suffice: cheaper, coarser.
        speech: also read what is said, by this speech model: a name such as 'whisper/small', or a folder.
        screen_text: also read what is written in the picture.
        on_progress: called before each file and after each clip.

    Raises:
        ConfigError: a path does not exist, or no such device here.
        CheckpointError: the model cannot be loaded.
        LibraryError: it is locked, damaged or cannot be written.
        MissingExtraError: faiss, or what reads speech or text in pictures, is not installed.
        StoppedError: somebody asked it to stop; what was done is committed.
    """
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    if not given:
        raise ConfigError("nothing to index; give the folders or files that hold the videos")
    library_dir = Path(library).expanduser()
    if model is None or isinstance(model, str):
        embedder: Embedder = choose_embedder(library_dir, model=model, device=device, precision=precision, notify=_warn)
    else:
        embedder = model
    return index_paths(
        [Path(path).expanduser() for path in given],
        library_dir=library_dir,
        embedder=embedder,
        readers=choose_readers(speech=speech, screen_text=screen_text, device=device),
        retry_failed=retry_failed,
        include=include,
        exclude=exclude,
        max_shift_s=max_shift_s,
        on_progress=on_progress,
    )


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=5)  # of who called vlrlt.index
