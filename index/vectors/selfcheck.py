"""The recall of an approximate index, measured on the library's own vectors.

Text queries lie far from every clip (the modality gap: cosines of 0.3 where clips have 0.8 among themselves), so that
their best clips are spread over more lists; an index tuned on clip queries alone loses them.
Shape legend: Q queries, S sampled clips, D embedding, K hits.
"""

from collections.abc import Callable

import numpy as np

from vlrlt.index.vectors.protocol import Hits, PositionArray
from vlrlt.index.vectors.stored import StoredVectors
from vlrlt.types import Float32Array

QUERIES = 100
DEPTH = 10
"""recall@10"""
_TEXT_COSINE = 0.3
_CHUNK_ROWS = 50_000

Search = Callable[[Float32Array], Hits]


def clip_like(sample_SD: Float32Array, *, seed: int = 0) -> Float32Array:
    """Queries near a stored clip, as another cut of the same scene would be: cosine about 0.9."""
    return _mix(sample_SD, cosine=0.9, seed=seed)


def text_like(sample_SD: Float32Array, *, seed: int = 0) -> Float32Array:
    """Queries that point at a stored clip with a cosine of about 0.3, and else anywhere the library's clips vary."""
    return _mix(sample_SD, cosine=_TEXT_COSINE, seed=seed)


def _mix(sample_SD: Float32Array, *, cosine: float, seed: int) -> Float32Array:
    """Unit vectors: one clip, and noise with the covariance of the sample. (QUERIES, D)."""
    rng = np.random.default_rng(seed)
    centred_SD = sample_SD - sample_SD.mean(axis=0)
    noise_QD = _unit(rng.standard_normal((QUERIES, len(sample_SD))) @ centred_SD)
    targets_QD = sample_SD[rng.integers(len(sample_SD), size=QUERIES)]
    return _unit(cosine * targets_QD + np.sqrt(1 - cosine**2) * noise_QD)


def true_hits(stored: StoredVectors, queries_QD: Float32Array) -> PositionArray:
    """Positions of the DEPTH best clips of every query, (Q, K), by comparing with all of them.

    Raises:
        LibraryError: a segment is missing or damaged.
    """
    best_scores_QK = np.full((len(queries_QD), 0), -np.inf, np.float32)
    best_QK = np.zeros((len(queries_QD), 0), np.int64)
    for first, vectors_ND in stored.chunks(_CHUNK_ROWS):
        scores_QN = np.concatenate([best_scores_QK, queries_QD @ vectors_ND.T], axis=1)
        places = np.broadcast_to(first + np.arange(len(vectors_ND)), (len(queries_QD), len(vectors_ND)))
        all_QN = np.concatenate([best_QK, places], axis=1)
        top_QK = np.argpartition(-scores_QN, min(DEPTH, scores_QN.shape[1]) - 1, axis=1)[:, :DEPTH]
        best_scores_QK = np.take_along_axis(scores_QN, top_QK, axis=1)
        best_QK = np.take_along_axis(all_QN, top_QK, axis=1)
    return best_QK


def recall(search: Search, queries_QD: Float32Array, truth_QK: PositionArray) -> float:
    """Share of the true hits that a search finds, in [0, 1]."""
    found = [
        np.isin(truth_K, search(query_D).positions_K).mean()
        for query_D, truth_K in zip(queries_QD, truth_QK, strict=True)
    ]
    return float(np.mean(found))


def _unit(vectors_QD: np.ndarray) -> Float32Array:
    return np.asarray(vectors_QD / np.linalg.norm(vectors_QD, axis=1, keepdims=True), np.float32)
