"""Every error that vlrlt raises on purpose.

VlrltError
├── ConfigError (ValueError)        an option, file or combination that is not allowed
│   └── MissingExtraError           an optional dependency is not installed
├── DecodeError                     a video cannot be read: names file, stage and reason
│   ├── NotAVideoError              no container or no video stream in the file
│   ├── CorruptVideoError           the container opens, its frames cannot be decoded
│   ├── DecodeTimeoutError          the decoder did not answer before its deadline, or died
│   └── UnreachableFileError        the file cannot be read now; the next try may work
├── CheckpointError                 a model folder, file or name cannot be loaded
├── AnnotationError                 an annotation file is missing or has a bad line
├── EndpointError                   a vision-language model's server cannot be used
└── LibraryError                    a library folder is absent, damaged or locked
    ├── IndexMismatchError          vectors of one model, queries of another
    └── PageExpiredError            a page of results whose library state is gone
"""

from pathlib import Path
from typing import Literal

DecodeStage = Literal["open", "probe", "seek", "decode", "preprocess"]


class VlrltError(Exception):
    """Base of every error that vlrlt raises on purpose."""


class ConfigError(VlrltError, ValueError):
    """An option, file or combination of them is not allowed."""


class MissingExtraError(ConfigError):
    """An optional dependency is missing; the message is the command that installs it."""

    def __init__(self, module: str, extra: str, *, note: str = "") -> None:
        super().__init__(f"{module} is not installed; run: pip install 'vlrlt[{extra}]'{note}")


class DecodeError(VlrltError):
    """A video cannot be read.

    Attributes:
        path: the file.
        stage: what was being done.
        reason: one line, from the decoder where it has one.
        may_pass: whether the same file may be readable a moment later.
    """

    may_pass = False

    def __init__(self, path: Path, *, stage: DecodeStage, reason: str) -> None:
        super().__init__(f"{path}: cannot {stage}: {reason}")
        self.path = path
        self.stage: DecodeStage = stage
        self.reason = reason


class NotAVideoError(DecodeError):
    """The file has no container that can be opened, or no video stream."""


class CorruptVideoError(DecodeError):
    """The container opens but its frames cannot be decoded."""


class DecodeTimeoutError(DecodeError):
    """The decoder process did not answer before its deadline, or died."""

    may_pass = True


class UnreachableFileError(DecodeError):
    """The file cannot be read now: a share is down, a disk does not answer."""

    may_pass = True


class CheckpointError(VlrltError):
    """A model folder, file or name cannot be loaded; a mismatch names every key."""


class AnnotationError(VlrltError):
    """An annotation file is missing, or one of its lines is wrong: names file and line."""


class EndpointError(VlrltError):
    """A vision-language model's server cannot be reached, takes too long, or replies with what is no answer."""


class LibraryError(VlrltError):
    """A library folder is absent, damaged or locked."""


class LibraryBusyError(LibraryError):
    """Another process writes to the library."""


class IndexMismatchError(LibraryError):
    """The library holds vectors of one model and the query comes from another."""


class PageExpiredError(LibraryError):
    """The library has changed since a page of results was made, and that ranking is no longer kept."""
