"""Choosing a few moments that differ from many that are alike: farthest first. Legend: N moments, D embedding.

Source: T. Gonzalez, Clustering to minimize the maximum intercluster distance, 1985.
"""

import numpy as np

from vlrlt.errors import ConfigError
from vlrlt.types import Float32Array


def farthest_first(vectors_ND: Float32Array, n: int, *, threshold: float) -> tuple[int, ...]:
    """Positions of the n vectors that differ most, ascending: the first one, then always the farthest from all chosen.

    Args:
        vectors_ND: unit vectors, the best first.
        n: how many, >= 1; fewer come if all others are near-duplicates of chosen ones.
        threshold: cosine from which two vectors are near-duplicates.

    Raises:
        ConfigError: n is not positive.
    """
    if n < 1:
        raise ConfigError(f"a choice has 1 moment or more, got {n}")
    if not len(vectors_ND):
        return ()
    chosen = [0]
    nearest_N = vectors_ND @ vectors_ND[0]
    while len(chosen) < min(n, len(vectors_ND)):
        farthest = int(nearest_N.argmin())
        if nearest_N[farthest] >= threshold:
            break
        chosen.append(farthest)
        nearest_N = np.maximum(nearest_N, vectors_ND @ vectors_ND[farthest])
    return tuple(sorted(chosen))
