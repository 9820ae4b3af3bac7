"""When two outputs of a model agree: measured once for each model, on pictures made by code.

A cosine means something else for every model: outputs of unlike pictures have 0.2 in one and 0.9 in another. The scale
is therefore how far apart a model holds pictures that have nothing in common (docs/experiments/looks.md).
Legend: N pictures, H = W image size, C = 3, D embedding.
"""

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from vlrlt.types import Float64Array, UInt8Array

if TYPE_CHECKING:
    from vlrlt.embedder import Embedder

SHARE_APART = 0.3
"""Outputs agree that lie no further apart than this share of the mean distance between unlike pictures."""
_NUM_PICTURES = 24
_SIDE_PX = 256
_SEED = 5


def measure_agreement(embedder: "Embedder") -> float:
    """The cosine from which consecutive outputs of a model belong to one frame run."""
    squares = [embedder.preprocess(picture_HWC) for picture_HWC in made_pictures()]
    vectors_ND = np.concatenate([embedder.embed_clips(square_HWC[None, None]).vectors_BD for square_HWC in squares])
    cosines_NN = vectors_ND @ vectors_ND.T
    unlike = float(cosines_NN[np.triu_indices(len(vectors_ND), 1)].mean())
    return 1 - SHARE_APART * (1 - unlike)


def made_pictures() -> list[UInt8Array]:
    """Pictures that have nothing in common: noise, shapes and stripes; the same on every machine."""
    random = np.random.default_rng(_SEED)
    return [(_noise, _shapes, _stripes)[number % 3](random) for number in range(_NUM_PICTURES)]


def _noise(random: np.random.Generator) -> UInt8Array:
    """Coloured noise whose spectrum falls as that of natural pictures."""
    frequency_H = np.fft.fftfreq(_SIDE_PX)
    power_HW = frequency_H[:, None] ** 2 + frequency_H[None] ** 2
    power_HW[0, 0] = 1
    fall_off = random.uniform(0.4, 1.1)
    layers = [np.fft.ifft2(np.fft.fft2(random.normal(size=power_HW.shape)) / power_HW**fall_off).real for _ in range(3)]
    standard_HWC = np.stack([(layer - layer.mean()) / layer.std() for layer in layers], -1)
    mixed_HWC = standard_HWC @ random.uniform(-0.5, 1, (3, 3))
    return _bytes(128 + random.uniform(-50, 50, 3) + 45 * mixed_HWC)


def _shapes(random: np.random.Generator) -> UInt8Array:
    """Rectangles, ellipses and polygons."""
    picture = Image.new("RGB", (_SIDE_PX, _SIDE_PX), _colour(random))
    draw = ImageDraw.Draw(picture)
    for _ in range(random.integers(3, 14)):
        left, top = random.integers(-40, _SIDE_PX, 2).tolist()
        width, height = random.integers(15, 150, 2).tolist()
        corners = [tuple(point) for point in random.integers(-20, _SIDE_PX + 20, (4, 2)).tolist()]
        match random.integers(3):
            case 0:
                draw.rectangle((left, top, left + width, top + height), fill=_colour(random))
            case 1:
                draw.ellipse((left, top, left + width, top + height), fill=_colour(random))
            case _:
                draw.polygon(corners, fill=_colour(random))
    return np.asarray(picture)


def _stripes(random: np.random.Generator) -> UInt8Array:
    """Waves between two colours."""
    row_HW, column_HW = np.mgrid[:_SIDE_PX, :_SIDE_PX] / _SIDE_PX
    angle, waves = random.uniform(0, np.pi), random.uniform(2, 25)
    phase_HW = 2 * np.pi * (waves * (column_HW * np.cos(angle) + row_HW * np.sin(angle)) + random.random())
    share_HW1 = (np.sin(phase_HW)[..., None] + 1) / 2
    return _bytes(share_HW1 * _colour(random) + (1 - share_HW1) * _colour(random))


def _colour(random: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = random.integers(0, 256, 3).tolist()
    return red, green, blue


def _bytes(values_HWC: Float64Array) -> UInt8Array:
    return np.clip(values_HWC, 0, 255).astype(np.uint8)
