"""Retrieval metrics in NumPy. Shape legend: Q queries, N items, V video clips, T texts.

A similarity row ranks the items of one query, highest first; ties keep the items' own order (stable sort), so every
number is deterministic. mAP and nDCG follow the official EPIC-KITCHENS-100 multi-instance retrieval code
(github.com/mwray/Joint-Part-of-Speech-Embeddings, src/evaluation), with its two peculiarities: average precision adds
up fractional relevancies, and nDCG looks only at as many ranks as the query has items of relevancy > 0. `mAP_plain`
is the textbook's: relevancy 1 is relevant, everything else is not.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from vlrlt.errors import ConfigError
from vlrlt.types import Float64Array

FloatArray = npt.NDArray[np.float32] | npt.NDArray[np.float64]
_Value = TypeVar("_Value", np.float64, np.bool_)
_CHUNK_VALUES = 2**21
"""Matrix cells handled at once: keeps temporaries near 100 MB whatever the matrix."""


@dataclass(frozen=True)
class RetrievalScores:
    """One metric in both directions, in [0, 1]."""

    v2t: float
    """Clips as queries, texts as items."""
    t2v: float

    @property
    def avg(self) -> float:
        """Mean of both directions."""
        return (self.v2t + self.t2v) / 2

    def as_json(self) -> dict[str, float]:
        """The documented JSON shape."""
        return {"v2t": self.v2t, "t2v": self.t2v, "avg": self.avg}


@dataclass(frozen=True, kw_only=True)
class MirScores:
    """The two metrics of multi-instance retrieval, and mAP without the official peculiarity."""

    mAP: RetrievalScores
    nDCG: RetrievalScores
    mAP_plain: RetrievalScores

    def as_json(self) -> dict[str, dict[str, float]]:
        """The documented JSON shape."""
        return {"mAP": self.mAP.as_json(), "nDCG": self.nDCG.as_json(), "mAP_plain": self.mAP_plain.as_json()}


@dataclass(frozen=True, kw_only=True)
class QueryScores:
    """Every metric of every query; NaN where the query has no item to find."""

    ap_Q: Float64Array
    ndcg_Q: Float64Array
    ap_plain_Q: Float64Array


def mean_average_precision(similarity_QN: FloatArray, relevancy_QN: Float64Array) -> float:
    """Mean over queries of AP = sum over ranks k with rel_k == 1 of (rel_1 + ... + rel_k) / k, over #{rel == 1}.

    The numerator adds fractional relevancies (official), so AP exceeds the plain one where partly relevant items rank
    high. Queries without an item of relevancy 1 are left out of the mean (the official code returns NaN for them; the
    official test set has none).

    Raises:
        ConfigError: shapes differ, similarity is not finite, relevancy not in [0, 1], or no query has such an item.
    """
    return _mean(score_queries(similarity_QN, relevancy_QN).ap_Q)


def ndcg(similarity_QN: FloatArray, relevancy_QN: Float64Array) -> float:
    """Mean over queries of DCG / ideal DCG, DCG = sum over ranks k <= K of rel_k / log2(k + 1), K = #{rel > 0}.

    Queries without any item of relevancy > 0 are left out of the mean (NaN in the official code).

    Raises:
        ConfigError: as `mean_average_precision`, or no query has an item of relevancy > 0.
    """
    return _mean(score_queries(similarity_QN, relevancy_QN).ndcg_Q)


def multi_instance_retrieval(similarity_VT: FloatArray, relevancy_VT: Float64Array) -> MirScores:
    """All metrics in both directions from one matrix, each direction sorted once.

    Raises:
        ConfigError: as `mean_average_precision`.
    """
    return mean_scores(
        score_queries(similarity_VT, relevancy_VT),
        score_queries(similarity_VT.T, relevancy_VT.T),
    )


def random_multi_instance_retrieval(relevancy_VT: Float64Array) -> MirScores:
    """What random similarities score on average: the exact expectation, not a simulation.

    With N items of total relevancy S in random order, a rank k that holds an item of relevancy 1 has an expected
    cumulative relevancy of 1 + (k - 1) (S - 1) / (N - 1), and every rank an expected relevancy of S / N.

    Raises:
        ConfigError: as `mean_average_precision`.
    """
    return mean_scores(_expected_scores(relevancy_VT), _expected_scores(relevancy_VT.T))


def mean_scores(v2t: QueryScores, t2v: QueryScores | MirScores) -> MirScores:
    """The mean over the queries of both directions; t2v may be known already.

    Raises:
        ConfigError: no query of a direction has a relevant item.
    """
    if isinstance(t2v, QueryScores):
        t2v_scores = _mean(t2v.ap_Q), _mean(t2v.ndcg_Q), _mean(t2v.ap_plain_Q)
    else:
        t2v_scores = t2v.mAP.t2v, t2v.nDCG.t2v, t2v.mAP_plain.t2v
    return MirScores(
        mAP=RetrievalScores(_mean(v2t.ap_Q), t2v_scores[0]),
        nDCG=RetrievalScores(_mean(v2t.ndcg_Q), t2v_scores[1]),
        mAP_plain=RetrievalScores(_mean(v2t.ap_plain_Q), t2v_scores[2]),
    )


def average_precisions(similarity_QN: FloatArray, relevant_QN: Float64Array) -> Float64Array:
    """(Q,) textbook average precision of each query, 1.0 being relevant and 0.0 not; NaN where nothing is relevant.

    Raises:
        ConfigError: as `score_queries`.
    """
    return score_queries(similarity_QN, relevant_QN).ap_plain_Q


def random_average_precisions(relevant_QN: Float64Array) -> Float64Array:
    """(Q,) expectation of the same under a uniformly random ranking.

    Raises:
        ConfigError: as `score_queries`.
    """
    return _expected_scores(relevant_QN).ap_plain_Q


def first_relevant_ranks(similarity_QN: FloatArray, relevant_QN: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """(Q,) rank of each query's best ranked relevant item; 1 is best.

    Raises:
        ConfigError: the matrices differ in shape, are not finite, or a query has no relevant item.
    """
    _check(similarity_QN, relevant_QN)
    hopeless = np.flatnonzero(~relevant_QN.any(axis=1))
    if hopeless.size:
        raise ConfigError(
            f"{hopeless.size} queries have no relevant item, the first is row {hopeless[0]}; leave them out"
        )
    ranks_Q = np.empty(len(similarity_QN), dtype=np.int64)
    for rows in _chunks(similarity_QN):
        ranks_Q[rows] = 1 + np.argmax(_ranked(similarity_QN[rows], relevant_QN[rows]), axis=1)
    return ranks_Q


def recall_at_k(ranks_Q: npt.NDArray[np.int64], *, k: int) -> float:
    """Share of queries whose first relevant item is among the k best, in [0, 1]."""
    return float(np.mean(ranks_Q <= k))


def median_rank(ranks_Q: npt.NDArray[np.int64]) -> float:
    """Median rank of the first relevant item; 1 is best."""
    return float(np.median(ranks_Q))


def score_queries(similarity_QN: FloatArray, relevancy_QN: Float64Array) -> QueryScores:
    """The metrics of each query by itself, for breakdowns.

    Raises:
        ConfigError: shapes differ, similarity is not finite, or relevancy not in [0, 1].
    """
    _check(similarity_QN, relevancy_QN)
    ap_Q, ndcg_Q, ap_plain_Q = (np.empty(len(similarity_QN)) for _ in range(3))
    for rows in _chunks(similarity_QN):
        ranked_QN = _ranked(similarity_QN[rows], relevancy_QN[rows])
        ap_Q[rows] = _average_precision(ranked_QN)
        ndcg_Q[rows] = _ratio(_dcg(ranked_QN), _ideal_dcg(ranked_QN))
        ap_plain_Q[rows] = _average_precision((ranked_QN == 1).astype(np.float64))
    return QueryScores(ap_Q=ap_Q, ndcg_Q=ndcg_Q, ap_plain_Q=ap_plain_Q)


def _expected_scores(relevancy_QN: Float64Array) -> QueryScores:
    """The expectation of every score under a uniformly random ranking."""
    _check(relevancy_QN, relevancy_QN)
    num_items = relevancy_QN.shape[1]
    ranks_N = np.arange(1, num_items + 1)
    total_Q = relevancy_QN.sum(axis=1)
    num_right_Q = np.count_nonzero(relevancy_QN == 1, axis=1)
    gain_of_first_N = np.cumsum(1 / np.log2(ranks_N + 1))
    ndcg_Q = np.empty(len(relevancy_QN))
    for rows in _chunks(relevancy_QN):
        num_relevant_Q = np.maximum(np.count_nonzero(relevancy_QN[rows], axis=1), 1)
        expected_Q = total_Q[rows] / num_items * gain_of_first_N[num_relevant_Q - 1]
        ndcg_Q[rows] = _ratio(expected_Q, _ideal_dcg(relevancy_QN[rows]))
    return QueryScores(
        ap_Q=_expected_precision(total_Q, num_right_Q, num_items),
        ndcg_Q=ndcg_Q,
        ap_plain_Q=_expected_precision(num_right_Q.astype(np.float64), num_right_Q, num_items),
    )


def _expected_precision(total_Q: Float64Array, num_right_Q: npt.NDArray[np.int64], num_items: int) -> Float64Array:
    harmonic = float(np.sum(1 / np.arange(1, num_items + 1)))
    precision_Q: Float64Array = (harmonic + (num_items - harmonic) * (total_Q - 1) / max(num_items - 1, 1)) / num_items
    precision_Q[num_right_Q == 0] = np.nan
    return precision_Q


def _average_precision(ranked_QN: Float64Array) -> Float64Array:
    found_QN = ranked_QN == 1
    precision_QN = np.cumsum(ranked_QN, axis=1) / np.arange(1, ranked_QN.shape[1] + 1)
    return _ratio(np.sum(precision_QN, axis=1, where=found_QN), found_QN.sum(axis=1))


def _dcg(ranked_QN: Float64Array) -> Float64Array:
    ranks_N = np.arange(1, ranked_QN.shape[1] + 1)
    counted_QN = ranks_N <= np.count_nonzero(ranked_QN, axis=1)[:, None]
    dcg_Q: Float64Array = np.sum(ranked_QN / np.log2(ranks_N + 1), axis=1, where=counted_QN)
    return dcg_Q


def _ideal_dcg(relevancy_QN: Float64Array) -> Float64Array:
    return _dcg(-np.sort(-relevancy_QN, axis=1))


def _ranked(similarity_QN: FloatArray, relevancy_QN: npt.NDArray[_Value]) -> npt.NDArray[_Value]:
    order_QN = np.argsort(-similarity_QN, axis=1, kind="stable")
    return np.take_along_axis(relevancy_QN, order_QN, axis=1)


def _chunks(matrix_QN: npt.NDArray[Any]) -> Iterator[slice]:
    num_rows, num_items = matrix_QN.shape
    step = max(1, _CHUNK_VALUES // num_items)
    return (slice(start, start + step) for start in range(0, num_rows, step))


def _ratio(numerator_Q: npt.NDArray[Any], denominator_Q: npt.NDArray[Any]) -> Float64Array:
    """NaN where the denominator is 0."""
    ratio_Q = np.full(len(numerator_Q), np.nan)
    np.divide(numerator_Q, denominator_Q, out=ratio_Q, where=denominator_Q > 0)
    return ratio_Q


def _mean(values_Q: Float64Array) -> float:
    if np.isnan(values_Q).all():
        raise ConfigError(
            f"none of the {len(values_Q)} queries has a relevant item; do clips and texts belong together?"
        )
    return float(np.nanmean(values_Q))


def _check(similarity_QN: npt.NDArray[Any], relevancy_QN: npt.NDArray[Any]) -> None:
    if similarity_QN.ndim != 2 or similarity_QN.size == 0 or similarity_QN.shape != relevancy_QN.shape:
        raise ConfigError(
            f"similarity and relevancy must be two matrices of one shape that is not empty, "
            f"got {similarity_QN.shape} and {relevancy_QN.shape}"
        )
    if not np.isfinite(similarity_QN).all():
        raise ConfigError("similarity has values that are not finite; check the embeddings")
    if relevancy_QN.min() < 0 or relevancy_QN.max() > 1:
        raise ConfigError(f"relevancy must be in [0, 1], got [{relevancy_QN.min()}, {relevancy_QN.max()}]")
