"""Opening a file of unknown origin with FFmpeg: only local files, only the demuxers and decoders that are meant to run.

FFmpeg has hundreds of decoders, many of them hardly ever used and the source of most of its security holes. A playlist
must not make it open other files or network addresses.
"""

import io
import os
import stat
from pathlib import Path
from typing import IO, cast

import av
import av.container
from av.stream import Disposition

from vlrlt.errors import CorruptVideoError, NotAVideoError

_CONTAINERS = "mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,mxf,nut,ivf,rm,dv,yuv4mpegpipe,h264,hevc,mjpeg"
"""FFmpeg's names of the demuxers that may run: no playlists, no still images."""

_CODECS = (
    "h264,hevc,vvc,av1,libdav1d,libaom-av1,vp8,vp9,libvpx,libvpx-vp9,mpeg4,mpeg2video,mpeg1video,prores,mjpeg,dnxhd,dvvideo,"
    "h263,h263i,h261,flv,vp6,vp6f,vp6a,theora,wmv1,wmv2,wmv3,vc1,msmpeg4v1,msmpeg4v2,msmpeg4,rv10,rv20,rv30,rv40,svq1,svq3,"
    "cinepak,indeo2,indeo3,indeo4,indeo5,cfhd,ffv1,huffyuv,ffvhuff,utvideo,rawvideo,png,qtrle"
)
"""FFmpeg's names of the decoders that may run: what cameras, phones, editors and the web have written."""

_SOUND_CODECS = (
    "aac,aac_latm,mp3float,mp3,mp2float,mp2,mp1float,opus,libopus,vorbis,libvorbis,flac,alac,ac3,eac3,dca,wmav1,wmav2,wmapro,"
    "amrnb,amrwb,pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,pcm_f32le,pcm_f32be,pcm_u8,pcm_s8,pcm_alaw,"
    "pcm_mulaw,adpcm_ms,adpcm_ima_wav,adpcm_ima_qt,adpcm_swf,nellymoser,speex,gsm_ms,truehd,mlp"
)
"""Those for sound, which run only where a film is cut."""

_STILL_CODECS = ("png", "mjpeg")
"""Of cover pictures; of films too, but not beside tracks of others."""

_MAGIC_BYTES = 32
_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
"""Names, at byte 4, of what an MP4 or QuickTime file may begin with."""

_ZEROS = 2**16
"""So many zeros at the end of a file are no part of a picture."""

MAX_PIXELS = 2**27
"""Of a frame: 16,384 x 8,192. A header that claims more is damaged, or a trap for memory."""


def open_container(path: Path, *, with_sound: bool = False) -> tuple[av.container.InputContainer, av.VideoStream]:
    """Open a regular local file and pick its video stream: never a cover picture.

    Args:
        path: the file.
        with_sound: let the decoders of sound run too.

    Raises:
        NotAVideoError: not a regular file, no known container, or no video stream.
        CorruptVideoError: no decoder may read it, or its pictures are absurdly large.
    """
    codecs = f"{_CODECS},{_SOUND_CODECS}" if with_sound else _CODECS
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise NotAVideoError(path, stage="open", reason="it is not a regular file")
        end = written_end(path)
        container = av.open(
            # An absolute path starts with "/", so that no part of a name is taken for a protocol or an option.
            str(path.absolute()) if end is None else _Beginning(path, end),
            mode="r",
            options={
                "protocol_whitelist": "file",
                "format_whitelist": _CONTAINERS,
                "codec_whitelist": codecs,
                "correct_ts_overflow": "0",  # it takes a clock that restarts for one that has wrapped
            },
            metadata_errors="replace",
        )
    except NotAVideoError:
        raise
    except av.error.ArgumentError as error:
        raise NotAVideoError(path, stage="open", reason=f"its container is not one of {_CONTAINERS}") from error
    except Exception as error:  # PyAV raises a dozen unrelated types on damaged files
        raise NotAVideoError(path, stage="open", reason=_why_unopened(path, error)) from error
    # PyAV switches this on; it invents presentation times where a container stores none, and they run backwards. Those
    # of an MPEG program stream, which stores every few of them, are right.
    if container.format.name != "mpeg":
        container.flags &= ~cast(int, av.container.Flags.gen_pts.value)
    streams = picture_tracks(container)
    if not streams:
        container.close()
        raise NotAVideoError(path, stage="open", reason="it has no video stream")
    best = container.streams.best("video")
    stream = best if best in streams else streams[0]
    if stream.codec_context is None:
        container.close()
        raise CorruptVideoError(path, stage="open", reason="FFmpeg has no decoder for its video stream")
    context = stream.codec_context
    reason = None
    if context.codec.name not in _CODECS.split(","):
        reason = f"the decoder {context.codec.name!r} is not on the list of allowed decoders"
    elif context.width * context.height > MAX_PIXELS:
        reason = f"its pictures of {context.width} x {context.height} pixels are larger than {MAX_PIXELS} pixels"
    if reason is not None:
        container.close()
        raise CorruptVideoError(path, stage="open", reason=reason)
    context.options = {"max_pixels": str(MAX_PIXELS)}
    # Measured no slower for many files; threads delay errors and hang beside PyTorch (PyAV#1962).
    stream.thread_count = 1
    return container, stream


def picture_tracks(container: av.container.InputContainer) -> list[av.VideoStream]:
    """The streams of pictures but covers, whether they are said to be covers or are stills beside a film."""
    tracks = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    films = [stream for stream in tracks if stream.codec_context is None or stream.codec.name not in _STILL_CODECS]
    return films or [stream for stream in tracks if stream.frames != 1] or tracks


def written_end(path: Path) -> int | None:
    """Bytes before the zeros that a file ends with, as recorders and downloads reserve space; None: there are few.

    They are found by bisection, since FFmpeg looks for a packet at every byte of gigabytes of zeros. Zeros of an MP4
    file may be sound or pictures, and its demuxer does not look for packets.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        beginning = file.read(_MAGIC_BYTES)
        if beginning[4:8] in _MP4_BOXES or not beginning.strip(b"\0") or not _is_zero(file, size // _ZEROS - 1):
            return None
        filled, zero = 0, size // _ZEROS - 1
        while zero - filled > 1:
            middle = (filled + zero) // 2
            filled, zero = (filled, middle) if _is_zero(file, middle) else (middle, zero)
        file.seek(filled * _ZEROS)
        return filled * _ZEROS + len(file.read(2 * _ZEROS).rstrip(b"\0"))


def _is_zero(file: IO[bytes], block: int) -> bool:
    file.seek(max(0, block) * _ZEROS)
    return block >= 0 and not file.read(_ZEROS).strip(b"\0")


class _Beginning(io.FileIO):
    """A file that ends earlier than it does."""

    def __init__(self, path: Path, end: int) -> None:
        super().__init__(path)
        self._end = end

    def __del__(self) -> None:
        self.close()  # PyAV does not

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(0, self._end - self.tell())
        return super().read(left if size is None or size < 0 else min(size, left)) or b""

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        return super().seek(self._end + offset if whence == os.SEEK_END else offset, whence % os.SEEK_END)


def _why_unopened(path: Path, error: Exception) -> str:
    """FFmpeg tries any contents as the container that the file's name promises, and misses the same things in all."""
    if not isinstance(error, av.error.InvalidDataError):
        return one_line(error)
    with path.open("rb") as file:
        beginning = file.read(_MAGIC_BYTES)
    if not beginning:
        return "it is empty"
    if beginning[4:8] in _MP4_BOXES:
        return f"it is cut short or was never finished: {one_line(error)}"
    if not beginning.strip(b"\0"):
        return "it begins with zeros: it was never written, or is not written yet"
    if beginning.isascii():
        return f"it is text, not a video: {one_line(error)}"
    return one_line(error)


def one_line(error: Exception) -> str:
    """What went wrong, with FFmpeg's own words where its log is on."""
    if not isinstance(error, av.FFmpegError):
        if isinstance(error, OSError) and error.strerror:
            return error.strerror
        return " ".join(f"{type(error).__name__}: {error}".split())
    detail = f" ({str(error.log[-1]).strip()})" if error.log else ""
    return f"{error.strerror or type(error).__name__}{detail}"
