"""Every error that vlrlt raises on purpose.

VlrltError
├── ConfigError (ValueError)        an option, file or combination that is not allowed
│   ├── MissingExtraError           an optional dependency is not installed
│   └── NotFoundError               a clip, video, saved search or job that is not there
├── DecodeError                     a video cannot be read: names file, stage and reason
│   ├── NotAVideoError              no container or no video stream in the file
│   ├── CorruptVideoError           the container opens, its frames cannot be decoded
│   ├── DecodeTimeoutError          the decoder did not answer before its deadline, or died
│   └── UnreachableFileError        the file cannot be read now; the next try may work
├── ChangingFileError               a video is still being written
├── UnreadableClipsError            more clips of a dataset than a run may leave out cannot be read
├── CheckpointError                 a model folder, file or name cannot be loaded
├── AnnotationError                 an annotation file is missing or has a bad line
├── EndpointError                   a model's server cannot be used
├── ServerBusyError                 the HTTP API has too much to do already
├── StoppedError                    an index run was asked to stop
└── LibraryError                    a library folder is absent, damaged or locked
    ├── LibraryBusyError            another process writes to it
    ├── DamagedSegmentError         a file of vectors is missing or is not what was written
    ├── IndexMismatchError          vectors of one model, queries of another
    └── PageExpiredError            a page of results whose library state is gone

tests/test_errors.py holds the code to it: no module raises anything else.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

DecodeStage = Literal["open", "probe", "seek", "decode", "preprocess"]


class VlrltError(Exception):
    """Base of every error that vlrlt raises on purpose."""


class ConfigError(VlrltError, ValueError):
    """An option, file or combination of them is not allowed."""


class MissingExtraError(ConfigError):
    """An optional dependency is missing; the message is the command that installs it."""

    def __init__(self, module: str, extra: str, *, note: str = "") -> None:
        super().__init__(f"{module} is not installed; run: pip install 'vlrlt[{extra}]'{note}")


class NotFoundError(ConfigError):
    """There is no clip, video, saved search or job of this name."""


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

    def as_json(self) -> dict[str, Any]:
        """The error for another process, which has its own name for the file."""
        return {"kind": type(self).__name__, "stage": self.stage, "reason": self.reason, "may_pass": self.may_pass}

    @staticmethod
    def from_json(fields: Mapping[str, Any], *, path: Path) -> "DecodeError":
        """The inverse of as_json, with this path of the file."""
        kinds: dict[str, type[DecodeError]] = {kind.__name__: kind for kind in DecodeError.__subclasses__()}
        error = kinds.get(fields["kind"], DecodeError)(path, stage=fields["stage"], reason=fields["reason"])
        error.may_pass = fields["may_pass"]
        return error


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


class ChangingFileError(VlrltError):
    """A video is still being written: it waits for the next run."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} changed while vlrlt read it; index it when it is complete")


class UnreadableClipsError(VlrltError):
    """More clips of a dataset cannot be read than a run may leave out; the message lists the first of them."""

    SHOWN = 20

    def __init__(self, what: str, reasons: Iterable[str]) -> None:
        listed = list(reasons)
        more = [f"... and {len(listed) - self.SHOWN} more"] if len(listed) > self.SHOWN else []
        advice = f"{what}; `vlrlt data check --decode 1000` lists all of them"
        super().__init__("\n  ".join([advice, *listed[: self.SHOWN], *more]))


class CheckpointError(VlrltError):
    """A model folder, file or name cannot be loaded; a mismatch names every key."""


class AnnotationError(VlrltError):
    """An annotation file is missing, or one of its lines is wrong: names file and line."""


class EndpointError(VlrltError):
    """A server (of a model, of an alert) cannot be reached, takes too long, or does not reply with an answer.

    Attributes:
        status: HTTP status, if the server refused the request; None: it did not.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class ServerBusyError(VlrltError):
    """The HTTP API has more requests of this kind than it can answer soon."""


class StoppedError(VlrltError):
    """An index run was asked to stop; committed work is kept, and the next run continues there."""

    def __init__(self) -> None:
        super().__init__("the run was stopped; all committed work is kept; run the same command again to continue")


class LibraryError(VlrltError):
    """A library folder is absent, damaged or locked."""


class LibraryBusyError(LibraryError):
    """Another process writes to the library."""


class DamagedSegmentError(LibraryError):
    """A file of vectors is missing, or its bytes are not those that were written.

    Attributes:
        uuid: of the segment.
    """

    def __init__(self, folder: Path, reason: str) -> None:
        super().__init__(
            f"segment {folder} is damaged ({reason}); run: vlrlt verify --library {folder.parents[1]}, then vlrlt "
            "index PATH, which indexes the videos of the segment again"
        )
        self.uuid = folder.name


class IndexMismatchError(LibraryError):
    """The library holds vectors of one model and the query comes from another."""


class PageExpiredError(LibraryError):
    """The library has changed since a page of results was made, and its ranking has been dropped."""
