"""Metrics equal worked-by-hand numbers and a deliberately plain loop over the definitions, whatever the chunking.

The random floor is proved equal to the mean over every possible ranking, not to a simulation.
"""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlrlt import metrics
from vlrlt.errors import ConfigError
from vlrlt.metrics import (
    RetrievalScores,
    first_relevant_ranks,
    mean_average_precision,
    median_rank,
    multi_instance_retrieval,
    ndcg,
    random_multi_instance_retrieval,
    recall_at_k,
)
from vlrlt.types import Float64Array

LEVELS = (0.0, 0.25, 1 / 3, 0.5, 0.75, 1.0)


def plain_order(similarities: Float64Array) -> list[int]:
    return sorted(range(len(similarities)), key=lambda item: (-similarities[item], item))


def plain_map(similarity: Float64Array, relevancy: Float64Array) -> float:
    precisions: list[float] = []
    for similarities, relevancies in zip(similarity, relevancy, strict=True):
        cumulative, total, found = 0.0, 0.0, 0
        for rank, item in enumerate(plain_order(similarities), start=1):
            cumulative += relevancies[item]
            if relevancies[item] == 1:
                total += cumulative / rank
                found += 1
        if found:
            precisions.append(total / found)
    return sum(precisions) / len(precisions)


def plain_dcg(relevancies_in_order: list[float], num_ranks: int) -> float:
    return sum(rel / math.log2(rank + 1) for rank, rel in enumerate(relevancies_in_order, 1) if rank <= num_ranks)


def plain_ndcg(similarity: Float64Array, relevancy: Float64Array) -> float:
    scores: list[float] = []
    for similarities, relevancies in zip(similarity, relevancy, strict=True):
        num_ranks = sum(rel > 0 for rel in relevancies)
        if num_ranks:
            dcg = plain_dcg([relevancies[item] for item in plain_order(similarities)], num_ranks)
            scores.append(dcg / plain_dcg(sorted(relevancies, reverse=True), num_ranks))
    return sum(scores) / len(scores)


@st.composite
def matrices(draw: st.DrawFn) -> tuple[Float64Array, Float64Array]:
    """Similarity of few distinct values (many ties) and relevancy of levels that occur, a 1 at least."""
    num_rows, num_columns = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    size = num_rows * num_columns
    similarity = draw(st.lists(st.sampled_from([-1.0, -0.5, -0.0, 0.0, 0.1, 0.9]), min_size=size, max_size=size))
    relevancy = draw(st.lists(st.sampled_from(LEVELS), min_size=size, max_size=size))
    relevancy_VT = np.array(relevancy).reshape(num_rows, num_columns)
    relevancy_VT[draw(st.integers(0, num_rows - 1)), draw(st.integers(0, num_columns - 1))] = 1.0
    return np.array(similarity).reshape(num_rows, num_columns), relevancy_VT


@settings(max_examples=200, deadline=None)
@given(matrices())
def test_equals_the_plain_loop_with_ties_and_hopeless_queries(pair: tuple[Float64Array, Float64Array]) -> None:
    similarity_VT, relevancy_VT = pair
    scores = multi_instance_retrieval(similarity_VT, relevancy_VT)
    assert scores.mAP.v2t == pytest.approx(plain_map(similarity_VT, relevancy_VT), abs=1e-12)
    assert scores.mAP.t2v == pytest.approx(plain_map(similarity_VT.T, relevancy_VT.T), abs=1e-12)
    assert scores.nDCG.v2t == pytest.approx(plain_ndcg(similarity_VT, relevancy_VT), abs=1e-12)
    assert scores.nDCG.t2v == pytest.approx(plain_ndcg(similarity_VT.T, relevancy_VT.T), abs=1e-12)
    right_VT = (relevancy_VT == 1).astype(np.float64)
    assert scores.mAP_plain.v2t == pytest.approx(plain_map(similarity_VT, right_VT), abs=1e-12)
    assert scores.mAP_plain.t2v == pytest.approx(plain_map(similarity_VT.T, right_VT.T), abs=1e-12)


@pytest.mark.parametrize("chunk_values", [1, 40, 97, 10_000])
def test_chunked_equals_the_plain_loop_in_both_precisions(monkeypatch: pytest.MonkeyPatch, chunk_values: int) -> None:
    monkeypatch.setattr(metrics, "_CHUNK_VALUES", chunk_values)
    rng = np.random.default_rng(3)
    similarity_VT = rng.standard_normal((53, 31)).astype(np.float32)
    relevancy_VT = rng.choice(LEVELS, size=(53, 31))
    scores = multi_instance_retrieval(similarity_VT, relevancy_VT)
    assert scores == multi_instance_retrieval(similarity_VT.astype(np.float64), relevancy_VT)
    plain_VT = similarity_VT.astype(np.float64)
    assert scores.mAP.v2t == pytest.approx(plain_map(plain_VT, relevancy_VT), abs=1e-12)
    assert scores.nDCG.t2v == pytest.approx(plain_ndcg(plain_VT.T, relevancy_VT.T), abs=1e-12)


def test_average_precision_by_hand() -> None:
    # Ranked relevancies 0.5, 1, 0, 1: (0.5 + 1) / 2 at rank 2 and (0.5 + 1 + 0 + 1) / 4 at rank 4, over two items.
    similarity = np.array([[0.1, 0.9, 0.4, 0.6]])
    relevancy = np.array([[1.0, 0.5, 0.0, 1.0]])
    assert mean_average_precision(similarity, relevancy) == pytest.approx((0.75 + 0.625) / 2)


def test_ndcg_by_hand_counts_only_as_many_ranks_as_there_are_relevant_items() -> None:
    # Three items are relevant, so rank 4 does not count. Ranked: 0, 0.5, 1 | 0.25; ideal: 1, 0.5, 0.25.
    similarity = np.array([[0.9, 0.8, 0.7, 0.6]])
    relevancy = np.array([[0.0, 0.5, 1.0, 0.25]])
    dcg = 0.5 / math.log2(3) + 1 / 2
    ideal = 1 + 0.5 / math.log2(3) + 0.25 / 2
    assert ndcg(similarity, relevancy) == pytest.approx(dcg / ideal)


def test_a_perfect_ranking_scores_one_and_the_worst_does_not() -> None:
    relevancy = np.array([[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 1.0]])
    assert multi_instance_retrieval(relevancy, relevancy).mAP == RetrievalScores(1.0, 1.0)
    assert multi_instance_retrieval(relevancy, relevancy).nDCG == RetrievalScores(1.0, 1.0)
    assert mean_average_precision(-relevancy, relevancy) < 0.6
    assert ndcg(-relevancy, relevancy) < 0.3


def test_ties_keep_the_order_of_the_items() -> None:
    relevancy = np.array([[0.0, 1.0, 0.0]])
    assert mean_average_precision(np.zeros((1, 3)), relevancy) == 0.5
    assert mean_average_precision(np.zeros((1, 3)), relevancy[:, ::-1]) == 0.5
    assert mean_average_precision(np.zeros((1, 3)), np.array([[1.0, 0.0, 0.0]])) == 1.0


def test_queries_with_nothing_to_find_are_left_out() -> None:
    similarity = np.array([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1]])
    relevancy = np.array([[0.0, 1.0], [0.5, 0.0], [0.0, 0.0]])
    assert mean_average_precision(similarity, relevancy) == 0.5
    assert ndcg(similarity, relevancy) == pytest.approx((0.0 + 1.0) / 2)


def test_avg_is_the_mean_of_both_directions() -> None:
    assert RetrievalScores(0.2, 0.6).as_json() == {"v2t": 0.2, "t2v": 0.6, "avg": pytest.approx(0.4)}


@pytest.mark.parametrize(
    "relevancies",
    [[1.0, 0.5, 0.0, 0.25, 1.0], [0.0, 1.0, 0.0, 0.0], [0.25, 0.5, 1.0], [1.0, 1.0], [0.0, 1.0, 0.0], [1.0]],
)
def test_the_random_floor_is_the_mean_over_every_ranking(relevancies: list[float]) -> None:
    rankings = np.array(list(itertools.permutations(range(len(relevancies)))), dtype=np.float64)
    repeated = np.tile(relevancies, (len(rankings), 1))
    floor = random_multi_instance_retrieval(np.array([relevancies]))
    assert floor.mAP.v2t == pytest.approx(mean_average_precision(rankings, repeated), abs=1e-12)
    assert floor.nDCG.v2t == pytest.approx(ndcg(rankings, repeated), abs=1e-12)


def test_the_random_floor_goes_both_ways_and_leaves_hopeless_queries_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_CHUNK_VALUES", 4)
    relevancy = np.array([[1.0, 0.5, 0.0], [0.5, 0.0, 0.0], [0.0, 0.0, 0.0], [1.0, 0.25, 0.0]])
    floor = random_multi_instance_retrieval(relevancy)
    floors = [random_multi_instance_retrieval(relevancy[[row]]) for row in (0, 3)]
    assert floor.mAP.v2t == pytest.approx(np.mean([row.mAP.v2t for row in floors]))
    # The second query has something of relevancy > 0, nothing of relevancy 1: one item of 0.5 among three at rank 1.
    assert floor.nDCG.v2t == pytest.approx(np.mean([floors[0].nDCG.v2t, 1 / 3, floors[1].nDCG.v2t]))
    mirrored = random_multi_instance_retrieval(np.ascontiguousarray(relevancy.T))
    assert floor.mAP.t2v == mirrored.mAP.v2t
    assert floor.nDCG.t2v == mirrored.nDCG.v2t


@pytest.mark.parametrize("chunk_values", [1, 1000])
def test_ranks_recall_and_median_by_hand(monkeypatch: pytest.MonkeyPatch, chunk_values: int) -> None:
    monkeypatch.setattr(metrics, "_CHUNK_VALUES", chunk_values)
    similarity = np.array([[0.9, 0.8, 0.1], [0.9, 0.8, 0.1], [0.5, 0.5, 0.5], [0.1, 0.2, 0.3]])
    relevant = np.array([[1, 0, 1], [0, 0, 1], [0, 1, 1], [0, 0, 1]], dtype=bool)
    ranks = first_relevant_ranks(similarity, relevant)
    assert ranks.tolist() == [1, 3, 2, 1]
    assert recall_at_k(ranks, k=1) == 0.5
    assert recall_at_k(ranks, k=2) == 0.75
    assert recall_at_k(ranks, k=3) == 1.0
    assert median_rank(ranks) == 1.5


def test_bad_matrices_are_refused_with_what_was_got() -> None:
    ones = np.ones((2, 3))
    with pytest.raises(ConfigError, match=r"one shape.*\(2, 3\) and \(3, 2\)"):
        ndcg(ones, ones.T)
    with pytest.raises(ConfigError, match="not empty"):
        ndcg(np.ones((0, 3)), np.ones((0, 3)))
    with pytest.raises(ConfigError, match="not finite"):
        mean_average_precision(np.full((2, 3), np.nan), ones)
    with pytest.raises(ConfigError, match=r"\[0, 1\], got \[0.0, 2.0\]"):
        ndcg(np.ones((1, 2)), np.array([[0.0, 2.0]]))
    with pytest.raises(ConfigError, match="none of the 2 queries has a relevant item"):
        mean_average_precision(ones, ones / 2)
    with pytest.raises(ConfigError, match="1 queries have no relevant item, the first is row 1"):
        first_relevant_ranks(np.ones((2, 2)), np.array([[True, True], [False, False]]))
