"""Functions that misbehave in a limited child, and files that make decoders misbehave."""

import os
import struct
import sys
import time
import zlib
from pathlib import Path

from vlrlt.errors import ConfigError, NotAVideoError


def echo(*values: object) -> object:
    return values


def environment() -> dict[str, str]:
    return dict(os.environ)


def open_files() -> list[str]:
    """What the child has open beside its pipes."""
    links = list(Path("/proc/self/fd").iterdir())
    return [str(link.readlink()) for link in links if link.is_symlink()]


def process_id() -> int:
    return os.getpid()


def many_bytes(count: int) -> bytes:
    return bytes(count)


def print_much() -> int:
    sys.stdout.write("x" * 100_000)
    sys.stdout.flush()
    return 1


def spin() -> None:
    while True:
        pass


def sleep(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def crash() -> None:
    os.abort()


def allocate(num_bytes: int) -> int:
    return len(bytearray(num_bytes))


def write(path: Path, num_bytes: int) -> None:
    with path.open("wb") as file:
        file.write(bytes(num_bytes))


def fail(kind: str, path: Path) -> None:
    if kind == "not a video":
        raise NotAVideoError(path, stage="open", reason="it is a picture")
    if kind == "config":
        raise ConfigError("try something else")
    if kind == "os":
        (path / "absent").read_bytes()
    raise RuntimeError("something\nunforeseen")


def png_header(width_px: int, height_px: int) -> bytes:
    """A grey PNG of this size whose pixels are all 0: 30,000 x 30,000 take a few hundred kilobytes."""
    deflate = zlib.compressobj(9, wbits=-15)
    ten_rows = deflate.compress(bytes(10 * (width_px + 1)))
    ten_rows += deflate.flush(zlib.Z_FULL_FLUSH)  # may be repeated: it refers to nothing before it
    checksum = 1 | (width_px + 1) * height_px % 65521 << 16  # Adler-32 of zeros
    packed = b"\x78\xda" + ten_rows * (height_px // 10) + b"\x03\x00" + struct.pack(">I", checksum)
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", width_px, height_px, 8, 0, 0, 0, 0)), (b"IDAT", packed), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
