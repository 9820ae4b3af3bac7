"""Pictures and short films of moments, made on demand and kept in the cache of the library."""

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import xxhash

from vlrlt.errors import LibraryError
from vlrlt.export.pictures import write_animation
from vlrlt.service.cache import find_cached, forget_cached, new_cached
from vlrlt.types import ClipSpan, Moment
from vlrlt.video import media

THUMBNAIL_WIDTH_PX = 480
STRIP_FRAMES = 4
PREVIEW_MAX_S = 30.0
"""A preview of a longer moment shows its beginning."""
CACHE_MAX_BYTES = 2_000_000_000
"""What was not looked at for longest is removed beyond."""
_SUFFIXES = (".jpg", ".mp4", ".webp")


class Pictures:
    """The cache of pictures and films.

    Each method raises DecodeError if the video cannot be read any more, LibraryError if the cache cannot be written.

    Args:
        library_dir: the library.
        max_bytes: of all pictures and films together.
    """

    def __init__(self, library_dir: Path, *, max_bytes: int = CACHE_MAX_BYTES) -> None:
        self._library_dir = library_dir
        self._max_bytes = max_bytes

    def thumbnail(self, moment: Moment, *, content_hash: str) -> Path:
        """A JPEG of the middle of a moment of a video with these contents."""
        middle_s = (moment.start_s + moment.end_s) / 2

        def write(out: Path) -> None:
            out.write_bytes(media.thumbnail(Path(moment.video), middle_s, width_px=THUMBNAIL_WIDTH_PX))

        return self._cached(moment, content_hash, f"{THUMBNAIL_WIDTH_PX}.jpg", write)

    def strip(self, moment: Moment, *, content_hash: str) -> Path:
        """A JPEG of four frames of a moment, from its start to its end, side by side."""
        part_s = (moment.end_s - moment.start_s) / STRIP_FRAMES
        times_s = [moment.start_s + (part + 0.5) * part_s for part in range(STRIP_FRAMES)]

        def write(out: Path) -> None:
            out.write_bytes(media.strip(Path(moment.video), times_s, width_px=THUMBNAIL_WIDTH_PX))

        return self._cached(moment, content_hash, f"strip-{THUMBNAIL_WIDTH_PX}.jpg", write)

    def preview(self, moment: Moment, *, content_hash: str) -> Path:
        """A short mp4 of a moment that any browser plays."""
        end_s = min(moment.end_s, moment.start_s + PREVIEW_MAX_S)

        def write(out: Path) -> None:
            media.cut_preview(Path(moment.video), moment.start_s, end_s, out)

        return self._cached(moment, content_hash, "mp4", write)

    def animation(self, moment: Moment, *, content_hash: str) -> Path:
        """A moment as an animated WebP, its first seconds."""
        span = ClipSpan(moment.start_s, moment.end_s)

        def write(out: Path) -> None:
            write_animation(Path(moment.video), span, out)

        return self._cached(moment, content_hash, "webp", write)

    def _cached(self, moment: Moment, content_hash: str, suffix: str, write: Callable[[Path], object]) -> Path:
        """A file of the cache, written first if it is absent."""
        key = xxhash.xxh3_128_hexdigest(f"{content_hash} {moment.start_s:.3f} {moment.end_s:.3f}".encode())
        name = f"{key}.{suffix}"
        path = find_cached(self._library_dir, name)
        if path is not None:
            with contextlib.suppress(OSError):
                os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))  # looked at, not changed
            return path
        try:
            with new_cached(self._library_dir, name) as unfinished:
                write(unfinished)
        except OSError as error:
            raise LibraryError(f"{self._library_dir / 'cache'} cannot be written: {error.strerror}") from error
        path = find_cached(self._library_dir, name)
        if path is None:
            raise LibraryError(f"a file written to {self._library_dir / 'cache'} is lost; is its disk failing?")
        self._forget_oldest(kept=path)
        return path

    def _forget_oldest(self, *, kept: Path) -> None:
        """Remove what was not looked at for longest until the rest fits; never the file that was just made."""
        found = []
        for path in kept.parent.iterdir():
            if path.suffix in _SUFFIXES and path != kept:
                with contextlib.suppress(OSError):
                    facts = path.stat()
                    found.append((facts.st_atime_ns, facts.st_size, path))
        total_bytes = kept.stat().st_size + sum(size for _, size, _ in found)
        for _, size_bytes, path in sorted(found):
            if total_bytes <= self._max_bytes:
                break
            forget_cached(path)
            total_bytes -= size_bytes
