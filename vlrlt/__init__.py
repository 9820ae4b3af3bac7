"""Index a video archive, find moments by natural language, with run-length tokenization.

The public API is what `__all__` names; everything else may change from one version to the next.

>>> import vlrlt
>>> vlrlt.index(["~/Videos"], library="lib", model="PE-Core-B-16/meta")  # doctest: +SKIP
>>> for moment in vlrlt.open_library("lib").search("a dog catches a frisbee", k=5):  # doctest: +SKIP
...     print(moment.video, moment.start_s, moment.end_s, moment.score)

Names are imported when they are first used (PEP 562): `import vlrlt` brings neither torch nor NumPy.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING

from vlrlt.telemetry import switch_off

if TYPE_CHECKING:
    from vlrlt.ask.answer import Answer
    from vlrlt.embed import DualEncoderEmbedder, load_embedder
    from vlrlt.embedder import Embedder, EmbedderSettings, VideoVectors, fingerprint_of
    from vlrlt.errors import (
        AnnotationError,
        ChangingFileError,
        CheckpointError,
        ConfigError,
        CorruptVideoError,
        DamagedSegmentError,
        DecodeError,
        DecodeTimeoutError,
        EndpointError,
        IndexMismatchError,
        LibraryBusyError,
        LibraryError,
        MissingExtraError,
        NotAVideoError,
        NotFoundError,
        PageExpiredError,
        ServerBusyError,
        StoppedError,
        UnreachableFileError,
        UnreadableClipsError,
        VlrltError,
    )
    from vlrlt.export.cut import Cut
    from vlrlt.index.run.archive import index_archive as index
    from vlrlt.index.run.run_report import IndexProgress, IndexReport
    from vlrlt.index.search.filters import Filter
    from vlrlt.index.search.repeats import Repetition
    from vlrlt.index.search.request import SearchRequest
    from vlrlt.service.library import Library, open_library
    from vlrlt.service.results import IndexedVideo, LibraryStatus, SearchResult
    from vlrlt.types import ClipEmbeddings, ClipSpan, Moment, TimedText
    from vlrlt.video.sampling import ClipSampling, MotionSampling
    from vlrlt.video.transforms import Preprocess

__version__ = "0.1.0"
__all__ = [
    "AnnotationError",
    "Answer",
    "ChangingFileError",
    "CheckpointError",
    "ClipEmbeddings",
    "ClipSampling",
    "ClipSpan",
    "ConfigError",
    "CorruptVideoError",
    "Cut",
    "DamagedSegmentError",
    "DecodeError",
    "DecodeTimeoutError",
    "DualEncoderEmbedder",
    "Embedder",
    "EmbedderSettings",
    "EndpointError",
    "Filter",
    "IndexMismatchError",
    "IndexProgress",
    "IndexReport",
    "IndexedVideo",
    "Library",
    "LibraryBusyError",
    "LibraryError",
    "LibraryStatus",
    "MissingExtraError",
    "Moment",
    "MotionSampling",
    "NotAVideoError",
    "NotFoundError",
    "PageExpiredError",
    "Preprocess",
    "Repetition",
    "SearchRequest",
    "SearchResult",
    "ServerBusyError",
    "StoppedError",
    "TimedText",
    "UnreachableFileError",
    "UnreadableClipsError",
    "VideoVectors",
    "VlrltError",
    "__version__",
    "fingerprint_of",
    "index",
    "load_embedder",
    "open_library",
]
_HOMES = {
    "vlrlt.ask.answer": ("Answer",),
    "vlrlt.embed": ("DualEncoderEmbedder", "load_embedder"),
    "vlrlt.embedder": ("Embedder", "EmbedderSettings", "VideoVectors", "fingerprint_of"),
    "vlrlt.export.cut": ("Cut",),
    "vlrlt.index.run.run_report": ("IndexProgress", "IndexReport"),
    "vlrlt.index.search.filters": ("Filter",),
    "vlrlt.index.search.repeats": ("Repetition",),
    "vlrlt.index.search.request": ("SearchRequest",),
    "vlrlt.service.library": ("Library", "open_library"),
    "vlrlt.service.results": ("IndexedVideo", "LibraryStatus", "SearchResult"),
    "vlrlt.types": ("ClipEmbeddings", "ClipSpan", "Moment", "TimedText"),
    "vlrlt.video.sampling": ("ClipSampling", "MotionSampling"),
    "vlrlt.video.transforms": ("Preprocess",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

if sys.platform == "win32":
    raise ImportError("vlrlt runs on Linux and macOS; on Windows install it in WSL2 (docs/decisions/0009-platforms.md)")

switch_off()


if not TYPE_CHECKING:  # type checkers know the names from above, and no others

    def __getattr__(name: str) -> object:
        """Import what a public name stands for; errors are the rest of __all__."""
        if name == "index":  # the package vlrlt.index, which can be called
            return import_module("vlrlt.index")
        if name not in __all__:
            raise AttributeError(f"module 'vlrlt' has no attribute {name!r}")
        value: object = getattr(import_module(_HOME_OF.get(name, "vlrlt.errors")), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
