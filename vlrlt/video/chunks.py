"""Videos cut into chunks, as AVION and LaViLa keep them: a folder NAME.mp4/ of files named by their first second.

    P01_01.MP4/0.MP4  P01_01.MP4/15.MP4  P01_01.MP4/30.MP4 ...

A folder is a Decoder like any file: times are seconds of the whole video. A chunk that ends a few frames before the
next begins shows its last frame until then.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from vlrlt.errors import ConfigError, NotAVideoError
from vlrlt.types import Frame
from vlrlt.video.decode import Decoder, DecoderName, open_decoder


@dataclass(frozen=True, order=True)
class Chunk:
    """One file of a chunked video."""

    start_s: int
    """Where it begins on the clock of the whole video."""
    path: Path


def open_video(path: Path, *, backend: DecoderName = "pyav") -> Decoder:
    """Open a video file or a folder of chunks.

    Raises:
        DecodeError: as `open_decoder`; or the folder has no chunk.
    """
    return ChunkedDecoder(path, backend=backend) if path.is_dir() else open_decoder(path, backend=backend)


def list_chunks(folder: Path) -> tuple[Chunk, ...]:
    """The chunks of a video in their order.

    Raises:
        NotAVideoError: no file is named by a whole number of seconds, or none begins at 0.
    """
    chunks = sorted(Chunk(int(path.stem), path) for path in folder.iterdir() if path.stem.isdecimal())
    if not chunks or chunks[0].start_s:
        found = f"the first of {len(chunks)} is {chunks[0].path.name}" if chunks else "there is none"
        reason = f"a folder of chunks needs files named by their first second, from 0 on; {found}"
        raise NotAVideoError(folder, stage="open", reason=reason)
    return tuple(chunks)


class ChunkedDecoder:
    """A folder of chunks as one video; a Decoder. One chunk is open at a time.

    Raises:
        DecodeError: as `list_chunks`, or the last chunk cannot be opened.
    """

    def __init__(self, folder: Path, *, backend: DecoderName = "pyav") -> None:
        self._backend: DecoderName = backend
        self._chunks = list_chunks(folder)
        self._open: tuple[Chunk, Decoder] | None = None
        last = self._chunks[-1]
        info = self._decoder(last).info
        self.info = replace(info, path=folder, duration_s=last.start_s + info.duration_s)

    def frames_at(self, times_s: Iterable[float]) -> Iterator[Frame]:
        """The frame on screen at each time; see vlrlt.video.decode.Decoder.frames_at."""
        starts_s = [chunk.start_s for chunk in self._chunks]
        places = ((max(0, int(np.searchsorted(starts_s, time_s, side="right")) - 1), time_s) for time_s in times_s)
        previous_s = -np.inf
        for place, group in groupby(places, key=lambda pair: pair[0]):
            chunk = self._chunks[place]
            inside_s = [time_s - chunk.start_s for _, time_s in group]
            if chunk.start_s + inside_s[0] < previous_s:
                raise ConfigError("times_s must ascend; try sorted(times_s)")
            previous_s = chunk.start_s + inside_s[-1]
            shown: tuple[Frame, Frame] | None = None
            for frame in self._decoder(chunk).frames_at(inside_s):
                if shown is None or frame is not shown[0]:
                    shown = frame, Frame(frame.rgb_HWC, chunk.start_s + frame.pts_s)
                yield shown[1]

    def close(self) -> None:
        """Give back the file; calling it twice is fine."""
        if self._open is not None:
            self._open[1].close()
            self._open = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _decoder(self, chunk: Chunk) -> Decoder:
        if self._open is None or self._open[0] != chunk:
            self.close()
            self._open = chunk, open_decoder(chunk.path, backend=self._backend)
        return self._open[1]
