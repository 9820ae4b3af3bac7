"""A program that indexes in small chunks, for tests that kill it: `python tests/crash_program.py ARCHIVE LIBRARY`."""

import sys
from dataclasses import dataclass
from pathlib import Path

from colour import ColourEmbedder

from vlrlt.errors import VlrltError
from vlrlt.index.run import build, encode, indexer

CHUNK_S = 2.0


@dataclass
class StillPolicy:
    """Enough of a token policy for still clips to be found; the real one imports torch, which takes seconds."""

    kind: str = "threshold"
    threshold_255: float = 5.76


def crash_embedder() -> ColourEmbedder:
    embedder = ColourEmbedder()
    embedder.policy = StillPolicy()  # type: ignore[assignment]
    return embedder


def index(archive: Path, library_dir: Path) -> None:
    indexer.CHUNK_S = CHUNK_S  # type: ignore[attr-defined]
    encode.Encoder.compare_with_dense = lambda self: None  # type: ignore[method-assign]
    build.index_paths([archive], library_dir=library_dir, embedder=crash_embedder(), max_tokens=16)


if __name__ == "__main__":
    try:
        index(Path(sys.argv[1]), Path(sys.argv[2]))
    except VlrltError as error:
        raise SystemExit(f"vlrlt: {error}") from None
