"""The interface of decoders, and the choice between the two of them.

PyAV reads archives: every codec, exact times, damaged files. decord reads curated training sets, where many random
frames of healthy files are wanted. Both give the same frames at the same times; tests/test_video.py holds them to it.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, Protocol, Self, get_args

from vlrlt.errors import ConfigError
from vlrlt.types import Frame, VideoInfo

DecoderName = Literal["pyav", "decord"]


class Decoder(Protocol):
    """An open video file; a context manager."""

    @property
    def info(self) -> VideoInfo:
        """What the file holds."""
        ...

    def frames_at(self, times_s: Iterable[float]) -> Iterator[Frame]:
        """The frame on screen at each time: the last with pts_s <= time, or the first frame before that.

        Frames are RGB, upright, of the stream's own pixels (a sample aspect ratio other than 1 is ignored, HDR is not
        tone-mapped). Memory does not grow with the length of the video.

        Args:
            times_s: seconds of the file's clock, ascending; read one at a time.

        Yields:
            One Frame per time; consecutive times with the same picture get the same object. Ends early where frames
            that the file promises cannot be decoded.

        Raises:
            ConfigError: the times descend.
            DecodeError: no frame can be read.
        """
        ...

    def close(self) -> None:
        """Give back the file; calling it twice is fine."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def open_decoder(path: Path, *, backend: DecoderName = "pyav") -> Decoder:
    """Open a video file and decode its first frame.

    Args:
        path: a regular local file.
        backend: "pyav" for anything, "decord" for curated files.

    Raises:
        NotAVideoError: not a regular file, no known container, or no video stream.
        CorruptVideoError: no frame of it can be decoded.
        ConfigError: no such backend, or decord cannot be imported.
    """
    if backend == "pyav":
        from vlrlt.video.pyav import PyAVDecoder

        return PyAVDecoder(path, goes_on=False)  # a clip of a dataset is whole or an error
    if backend == "decord":
        from vlrlt.video.decord import DecordDecoder

        return DecordDecoder(path)
    raise ConfigError(f"backend must be one of {', '.join(get_args(DecoderName))}, got {backend!r}; try pyav")


def probe(path: Path) -> VideoInfo:
    """Look at a video file without decoding more than its first frame.

    Raises:
        DecodeError: as open_decoder.
    """
    with open_decoder(path) as decoder:
        return decoder.info
