"""A tiny real embedder and videos that it understands: clips and words meet in a space of eight colours.

Also a program, `python tests/colour.py PATH... LIBRARY`: it indexes with that embedder, for tests that kill it.
"""

import hashlib
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np

from vlrlt.types import ClipEmbeddings, Float32Array, Precision, UInt8Array
from vlrlt.video.sampling import ClipSampling
from vlrlt.video.transforms import Preprocess

if TYPE_CHECKING:
    from vlrlt.tokens.run_length import TokenPolicy  # brings torch, which children of crash tests do without

COLOURS = {
    "black": (0, 0, 0),
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "yellow": (255, 255, 0),
    "cyan": (0, 255, 255),
    "magenta": (255, 0, 255),
    "white": (255, 255, 255),
}
PALETTE_83 = np.array(list(COLOURS.values()), np.float32)


class ColourEmbedder:
    """Counts how many pixels are nearest to each colour; a text counts the names of the colours in it."""

    policy: "TokenPolicy | None" = None
    captions: tuple[str, ...] = ()
    precision: Precision = "float32"

    def __init__(self, *, sampling: ClipSampling | None = None) -> None:
        self.name = "colours"
        self.sampling = sampling or ClipSampling(clip_s=1.0, stride_s=1.0, num_frames=2)
        self.preprocess = Preprocess(image_size_px=16, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
        self.embed_dim = len(COLOURS)
        self.fingerprint = hashlib.sha256(repr((self.sampling, self.preprocess)).encode()).hexdigest()[:32]

    def embed_clips(self, rgb_BTHWC: UInt8Array) -> ClipEmbeddings:
        rgb_BTN3 = rgb_BTHWC.reshape(*rgb_BTHWC.shape[:2], -1, 1, 3).astype(np.float32)
        nearest_BTN = np.abs(rgb_BTN3 - PALETTE_83).sum(-1).argmin(-1)
        counts_BTD = (nearest_BTN[..., None] == np.arange(self.embed_dim)).sum(2)
        num_tokens = rgb_BTHWC.shape[1] * 4
        return ClipEmbeddings(
            vectors_BD=_normalise(counts_BTD.sum(1)),
            outputs_BSD=_normalise(counts_BTD),
            num_tokens_B=np.full(len(rgb_BTHWC), num_tokens // 2, np.int64),
            num_dense_tokens=num_tokens,
        )

    def embed_texts(self, texts: Sequence[str]) -> Float32Array:
        counts_BD = [[text.split().count(name) for name in COLOURS] for text in texts]
        return _normalise(np.array(counts_BD).reshape(len(texts), self.embed_dim))


def _normalise(counts_BD: np.ndarray) -> Float32Array:
    vectors_BD = counts_BD + 1e-3
    return np.asarray(vectors_BD / np.linalg.norm(vectors_BD, axis=-1, keepdims=True), np.float32)


def write_colours(path: Path, scenes: Sequence[tuple[str, float]], *, fps: int | Fraction = 8) -> Path:
    """An H.264 video that shows each colour for so many seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast", "g": "8"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for name, seconds in scenes:
            rgb_HWC = np.full((48, 64, 3), COLOURS[name], np.uint8)
            for _ in range(round(seconds * fps)):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb_HWC)))
        container.mux(stream.encode(None))
    return path


if __name__ == "__main__":
    from vlrlt.index.run.build import index_paths

    *paths, library = map(Path, sys.argv[1:])
    index_paths(paths, library_dir=library, embedder=ColourEmbedder())
