"""Videos cut into chunks: a folder NAME.mp4/ (or NAME/) of files, in one of two layouts.

    P01_01.MP4/0.MP4  P01_01.MP4/15.MP4  P01_01.MP4/30.MP4 ...    named by their first second (AVION, LaViLa)
    uid/0.mp4         uid/1.mp4          uid/2.mp4 ...            numbered, all of one length (EgoVLP: 600 s)

How long the files last tells the two apart. A folder is a Decoder like any file: times are seconds of the whole video.
A chunk that ends a few frames before the next begins shows its last frame until then.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from itertools import groupby
from pathlib import Path
from typing import Self, TypeVar

import numpy as np

from vlrlt.errors import ConfigError, CorruptVideoError, DecodeError, NotAVideoError
from vlrlt.types import Float64Array, Frame, VideoInfo
from vlrlt.video.decode import Decoder, DecoderName, open_decoder, probe

OVERLAP_TOLERANCE_S = 0.5
"""A chunk may last this much longer than its name allows: cutting rounds to frames, and sound to packets."""
_LENGTH_TOLERANCE_S = 0.25
"""Numbered chunks last a whole number of seconds, give or take a few frames."""


@dataclass(frozen=True, order=True)
class ChunkFile:
    """One file of a chunked video."""

    start_s: int
    """Where it begins on the clock of the whole video."""
    path: Path


def open_video(path: Path, *, backend: DecoderName = "pyav") -> Decoder:
    """Open a video file or a folder of chunks.

    Raises:
        DecodeError: as `open_decoder` and `list_chunks`.
    """
    return ChunkedDecoder(path, backend=backend) if path.is_dir() else open_decoder(path, backend=backend)


Read = TypeVar("Read")
TimesOf = Callable[[Callable[[], float]], Float64Array]
"""What tells the duration of the video in seconds, if it is wanted -> ascending times (T,) in seconds.

Of a video in chunks only the last chunk knows the duration, and few clips need it.
"""


def read_frames(path: Path, times_of: TimesOf, *, backend: DecoderName) -> list[Frame]:
    """The frames of one clip: all of them, or an error.

    Raises:
        DecodeError: the file cannot be opened, or a frame of the clip cannot be decoded.
    """
    return pyav_has_last_word(partial(_read_frames, path, times_of), backend)


def pyav_has_last_word(read: Callable[[DecoderName], Read], backend: DecoderName) -> Read:
    """What a backend reads, or PyAV where that backend fails to decode.

    decord decodes ahead of what is asked for, so it fails near damage, and not always at the same place.

    Raises:
        DecodeError: as `read` with PyAV.
    """
    try:
        return read(backend)
    except CorruptVideoError as error:
        if backend == "pyav" or error.stage != "decode":
            raise
        return read("pyav")


def _read_frames(path: Path, times_of: TimesOf, backend: DecoderName) -> list[Frame]:
    with open_video(path, backend=backend) as decoder:
        times_T = times_of(lambda: decoder.info.duration_s)
        frames = list(decoder.frames_at(times_T))
    if len(frames) < len(times_T):
        reason = f"only {len(frames)} of the {len(times_T)} frames from {times_T[0]:.2f} s on"
        raise CorruptVideoError(path, stage="decode", reason=reason)
    return frames


def list_chunks(folder: Path) -> tuple[ChunkFile, ...]:
    """The chunks of a video in their order; looked at once, until a file comes or goes.

    Raises:
        NotAVideoError: no file is named by a whole number, none is named 0, or durations fit neither layout.
        DecodeError: the layout cannot be told because the chunks cannot be read.
    """
    return _list_chunks(folder, folder.stat().st_mtime_ns)


@lru_cache(maxsize=2**16)
def _list_chunks(folder: Path, _mtime_ns: int) -> tuple[ChunkFile, ...]:
    named = sorted(ChunkFile(int(path.stem), path) for path in folder.iterdir() if path.stem.isdecimal())
    if not named or named[0].start_s:
        found = f"the first of {len(named)} is {named[0].path.name}" if named else "there is none"
        raise _refusal(
            folder, f"a folder of chunks needs files named by their first second or numbered, from 0 on; {found}"
        )
    if [chunk.start_s for chunk in named] != list(range(len(named))) or len(named) == 1:
        _check_first_chunk(folder, named)
        return tuple(named)
    chunk_s = _length_s(folder, named)
    return tuple(ChunkFile(chunk.start_s * chunk_s, chunk.path) for chunk in named)


def _length_s(folder: Path, numbered: list[ChunkFile]) -> int:
    """Seconds of each of the chunks 0, 1, 2, ...: 1 if their names are their first seconds."""
    length_s = _first_duration_s(numbered[:-1])
    if abs(length_s - round(length_s)) > _LENGTH_TOLERANCE_S or round(length_s) < 1:
        reason = f"its files are named 0, 1, 2, ... but last {length_s:.2f} s, and numbered chunks last whole seconds"
        raise _refusal(folder, reason)
    return round(length_s)


def _first_duration_s(chunks: list[ChunkFile]) -> float:
    """Duration of the first that can be read."""
    for chunk in chunks[:-1]:
        try:
            return probe(chunk.path).duration_s
        except DecodeError:
            continue
    return probe(chunks[-1].path).duration_s


def _check_first_chunk(folder: Path, chunks: list[ChunkFile]) -> None:
    """Names that are no seconds betray themselves at the first chunk; `vlrlt data check` looks at all of them."""
    if len(chunks) == 1:
        return
    try:
        duration_s = probe(chunks[0].path).duration_s
    except DecodeError:
        return  # who reads it will hear of it
    if duration_s > chunks[1].start_s + OVERLAP_TOLERANCE_S:
        names = f"{chunks[0].path.name} lasts {duration_s:.2f} s, but the next file is {chunks[1].path.name}"
        raise _refusal(folder, f"{names}: names must be first seconds, or 0, 1, 2, ... without a gap")


def _refusal(folder: Path, reason: str) -> NotAVideoError:
    return NotAVideoError(folder, stage="open", reason=reason)


class ChunkedDecoder:
    """A folder of chunks as one video; a Decoder. One chunk is open at a time.

    Raises:
        DecodeError: as `list_chunks`.
    """

    def __init__(self, folder: Path, *, backend: DecoderName = "pyav") -> None:
        self._folder = folder
        self._backend: DecoderName = backend
        self._chunks = list_chunks(folder)
        self._open: tuple[ChunkFile, Decoder] | None = None

    @cached_property
    def info(self) -> VideoInfo:
        """That of the last chunk, which says where the video ends: opened only if someone asks.

        Raises:
            DecodeError: the last chunk cannot be opened.
        """
        last = self._chunks[-1]
        info = self._decoder(last).info
        return replace(info, path=self._folder, duration_s=last.start_s + info.duration_s)

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

    def __exit__(self, *_: object) -> None:
        self.close()

    def _decoder(self, chunk: ChunkFile) -> Decoder:
        if self._open is None or self._open[0] != chunk:
            self.close()
            self._open = chunk, open_decoder(chunk.path, backend=self._backend)
        return self._open[1]
