"""Frame runs merge into moments as documented, percentiles and medians are those of all clips, clip queries parse.

grow_moments is compared with a slow version that works over sets, on random libraries.
"""

from collections.abc import Sequence
from itertools import combinations, islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlrlt.errors import ConfigError
from vlrlt.formats import format_time, parse_time
from vlrlt.index.library.catalog import FrameRunTable
from vlrlt.index.search.language import ClipQuery, parse_clip
from vlrlt.index.search.moments import (
    CORE_HEIGHT,
    SURROUNDINGS_S,
    Found,
    Scores,
    grow_moments,
    surrounded_scores,
)
from vlrlt.index.search.query_vectors import mean_direction
from vlrlt.index.vectors.protocol import Hits, Mask, PositionArray, StoreInfo, best
from vlrlt.types import ClipSpan, Float32Array


def table(*videos_s: Sequence[float]) -> FrameRunTable:
    """Videos a, b, c... of runs of these lengths, end to end."""
    edges_s = [np.concatenate([[0.0], np.cumsum(lengths_s)]) for lengths_s in videos_s]
    num_runs = [len(lengths_s) for lengths_s in videos_s]
    return FrameRunTable(
        ids_N=np.arange(sum(num_runs)),
        video_N=np.repeat(np.arange(len(videos_s)), num_runs),
        start_s_N=np.concatenate([edges[:-1] for edges in edges_s]),
        end_s_N=np.concatenate([edges[1:] for edges in edges_s]),
        kept_share_N=np.zeros(sum(num_runs)),
        videos=tuple("abcdefgh"[: len(videos_s)]),
        video_ids=tuple("ABCDEFGH"[: len(videos_s)]),
    )


def seconds(num: int) -> list[float]:
    return [1.0] * num


def scores(*values: float) -> Float32Array:
    return np.array(values, np.float32)


class Numbers:
    """A VectorStore of one-dimensional vectors, that never looks deeper than it is asked to."""

    info = StoreInfo(kind="numbers", reason="of a test", recall_at_10={})

    def __init__(self, values: Float32Array) -> None:
        self.sample_SD = values[:, None]
        self.deepest = 0

    def __len__(self) -> int:
        return len(self.sample_SD)

    def search(self, query_D: Float32Array, *, k: int, within_N: Mask | None = None) -> Hits:
        positions_K = np.arange(len(self)) if within_N is None else np.flatnonzero(within_N)
        self.deepest = k
        return best(positions_K, self.sample_SD[positions_K] @ query_D, k)

    def vectors(self, positions_K: PositionArray) -> Float32Array:
        return self.sample_SD[positions_K]

    def close(self) -> None: ...


ONE = np.ones(1, np.float32)


def find_moments(values: Float32Array, runs: FrameRunTable, *, k: int) -> tuple[Found, ...]:
    return tuple(islice(grow_moments(Scores(Numbers(values), ONE), runs, surrounded=False), k))


def spans_of(moments: tuple[Found, ...], runs: FrameRunTable) -> list[tuple[str, float, float]]:
    return [(runs.videos[runs.video_N[moment.seed]], moment.start_s, moment.end_s) for moment in moments]


def test_the_docstrings_example() -> None:
    runs = table(seconds(10))
    moments = find_moments(scores(0.1, 0.6, 0.9, 0.8, 0.1, 0.1, 0.6, 0.1, 0.1, 0.1), runs, k=2)
    assert spans_of(moments, runs) == [("a", 2, 4), ("a", 6, 7)]
    assert [moment.score for moment in moments] == pytest.approx([0.9, 0.6])
    assert [moment.percentile for moment in moments] == pytest.approx([90, 60])


def test_a_moment_does_not_leave_its_video() -> None:
    runs = table(seconds(3), seconds(3))
    moments = find_moments(scores(0, 0, 0.9, 0.9, 0, 0), runs, k=2)
    assert spans_of(moments, runs) == [("a", 2, 3), ("b", 0, 1)]


def test_a_moment_does_not_grow_into_a_better_one() -> None:
    # half way between the median .4 and .9 is .65, so .6 stays outside and becomes a moment of its own
    runs = table(seconds(5))
    moments = find_moments(scores(0.4, 0.6, 0.9, 0.4, 0.3), runs, k=2)
    assert spans_of(moments, runs) == [("a", 2, 3), ("a", 1, 2)]


def test_touching_survives_float_arithmetic() -> None:
    runs = table([0.1] * 10)
    runs.end_s_N[:] -= 1e-9
    assert (runs.start_s_N[1:] != runs.end_s_N[:-1]).any(), "the example must have rounding in it"
    values = np.zeros(10, np.float32)
    values[2:8] = 0.5
    ((_, start_s, end_s),) = spans_of(find_moments(values, runs, k=1), runs)
    assert (start_s, end_s) == pytest.approx((0.2, 0.8))


def test_one_clip() -> None:
    runs = table([0.4])
    assert spans_of(find_moments(scores(0.3), runs, k=5), runs) == [("a", 0, 0.4)]


def test_a_search_goes_deeper_where_all_hits_are_one_moment() -> None:
    runs = table(seconds(1000), seconds(3))
    store = Numbers(np.r_[np.full(1000, 0.9), np.full(3, 0.5)].astype(np.float32))
    found = tuple(islice(grow_moments(Scores(store, ONE), runs, surrounded=False), 2))
    assert spans_of(found, runs) == [("a", 0, 1000), ("b", 0, 1)]  # half way to the median is .7
    assert store.deepest > 1000


def test_a_search_looks_no_deeper_than_it_must() -> None:
    store = Numbers(np.random.default_rng(0).random(5000).astype(np.float32))
    scores = Scores(store, ONE)
    best_moment = next(grow_moments(scores, table(seconds(5000)), surrounded=False))
    assert store.deepest < 1000
    assert best_moment.percentile == pytest.approx(100 * 4999 / 5000)


def test_what_does_not_take_part_is_neither_found_nor_grown_into() -> None:
    runs = table(seconds(5))
    within_N = np.array([True, True, False, True, True])
    scores = Scores(Numbers(np.array([0.75, 0.8, 0.9, 0.1, 0.1], np.float32)), ONE, within_N)
    assert spans_of(tuple(islice(grow_moments(scores, runs, surrounded=False), 1)), runs) == [("a", 0, 2)]
    assert scores.num_searched == 4


def slow_around(seed: int, free: set[int], values: Float32Array, runs: FrameRunTable, least: float) -> set[int]:
    """The free runs around a seed, none of which scores less."""
    joined: set[int] = {seed}
    while True:
        neighbours = {run for run in free - joined if {run - 1, run + 1} & joined and float(values[run]) >= least}
        more = {run for run in neighbours if runs.video_N[run] == runs.video_N[seed]}
        if not more:
            return joined
        joined |= more


def slow_moments(values: Float32Array, runs: FrameRunTable, k: int) -> list[tuple[str, float, float]]:
    """The rule again, over sets of runs."""
    free, median = set(range(len(values))), float(np.median(values))
    found: list[tuple[str, float, float]] = []
    while free and len(found) < k:
        seed = min(free, key=lambda run: (-values[run], run))

        core = slow_around(seed, free, values, runs, median + CORE_HEIGHT * (float(values[seed]) - median))
        free -= slow_around(seed, free, values, runs, (median + float(values[seed])) / 2)
        found.append(
            (
                runs.videos[runs.video_N[seed]],
                min(float(runs.start_s_N[run]) for run in core),
                max(float(runs.end_s_N[run]) for run in core),
            )
        )
    return found


def slow_surrounded(values: Float32Array, runs: FrameRunTable, run: int, takes_part: Mask) -> float:
    """What a run is ranked by for words: the mean over ten thousand instants of its window that lie in the video."""
    middle_s = (runs.start_s_N[run] + runs.end_s_N[run]) / 2
    sums = []
    for instant_s in middle_s + SURROUNDINGS_S * ((np.arange(10_000) + 0.5) / 10_000 - 0.5):
        shown = (runs.video_N == runs.video_N[run]) & (runs.start_s_N <= instant_s) & (instant_s < runs.end_s_N)
        sums += values[shown & takes_part].tolist()
    return 0.5 * float(values[run]) + 0.5 * float(np.mean(sums))


def lengths(seed: int, videos: int) -> list[list[float]]:
    random = np.random.default_rng(seed)
    return [random.choice([0.5, 1.0, 7.25, 40.0], random.integers(1, 9)).tolist() for _ in range(videos)]


@given(videos=st.integers(1, 4), k=st.integers(1, 6), seed=st.integers(0, 2**32 - 1))
def test_equals_the_slow_version(videos: int, k: int, seed: int) -> None:
    runs = table(*lengths(seed, videos))
    values = np.random.default_rng(seed).integers(0, 8, len(runs.ids_N)).astype(np.float32) / np.float32(8)
    moments = find_moments(values, runs, k=k)
    assert spans_of(moments, runs) == slow_moments(values, runs, k)
    for moment in moments:
        assert moment.percentile == pytest.approx(100 * np.mean(values < moment.score))
    for first, second in combinations(spans_of(moments, runs), 2):
        assert first[0] != second[0] or first[2] <= second[1] or second[2] <= first[1]


@pytest.mark.parametrize("seed", range(4))
def test_words_rank_a_run_with_its_surroundings(seed: int) -> None:
    runs, random = table(*lengths(seed, 3)), np.random.default_rng(seed)
    values = random.random(len(runs.ids_N)).astype(np.float32)
    within_N = random.random(len(values)) < 0.8
    within_N[0] = True
    scores = Scores(Numbers(values), ONE, within_N)
    positions_K = np.flatnonzero(within_N)
    expected_K = [slow_surrounded(values, runs, int(run), within_N) for run in positions_K]
    assert surrounded_scores(scores, runs, positions_K) == pytest.approx(expected_K, abs=1e-3)
    moments = tuple(grow_moments(scores, runs, surrounded=True))
    assert moments[0].score == pytest.approx(max(expected_K), abs=1e-3)
    assert [moment.score for moment in moments] == sorted((moment.score for moment in moments), reverse=True)
    assert moments[0].percentile == scores.percentile(scores.of(moments[0].seed)), "a percentile is of the own score"


def test_what_is_shown_for_long_beats_a_glimpse_of_the_same_for_words_only() -> None:
    runs = table([10, 1, 10], [10, 1, 10])
    values = scores(0.3, 0.8, 0.3, 0.7, 0.78, 0.7)
    for surrounded, best_run in ((True, 4), (False, 1)):
        moment = next(grow_moments(Scores(Numbers(values), ONE), runs, surrounded=surrounded))
        assert moment.seed == best_run


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("v.mp4", ClipQuery(Path("v.mp4"))),
        ("v.mp4@3-4.5", ClipQuery(Path("v.mp4"), ClipSpan(3, 4.5))),
        ("/a b/v.mp4@01:02.5-70", ClipQuery(Path("/a b/v.mp4"), ClipSpan(62.5, 70))),
        ("v.mp4@0:01:00-1:00:01", ClipQuery(Path("v.mp4"), ClipSpan(60, 3601))),
        ("me@home.mp4", ClipQuery(Path("me@home.mp4"))),
        ("me@home.mp4@1-2", ClipQuery(Path("me@home.mp4"), ClipSpan(1, 2))),
    ],
)
def test_clip_queries_parse(text: str, expected: ClipQuery) -> None:
    assert parse_clip(text) == expected


def test_times_that_are_none_may_be_a_file_name(tmp_path: Path) -> None:
    odd = tmp_path / "v.mp4@1-2-3"
    with pytest.raises(ConfigError, match="FILE@START-END"):
        parse_clip(str(odd))
    odd.touch()
    assert parse_clip(str(odd)) == ClipQuery(odd)


@pytest.mark.parametrize("text", ["v.mp4@4-4", "v.mp4@5-4"])
def test_an_empty_clip_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="ends after it begins"):
        parse_clip(text)


@pytest.mark.parametrize(
    ("seconds", "decimals", "text"),
    [(0, 0, "00:00"), (75.4, 0, "01:15"), (59.96, 1, "01:00.0"), (3675.25, 1, "1:01:15.2"), (7, 1, "00:07.0")],
)
def test_times_are_written_as_they_are_read(seconds: float, decimals: int, text: str) -> None:
    assert format_time(seconds, decimals=decimals) == text
    assert parse_time(text) == pytest.approx(seconds, abs=0.51 / 10**decimals)


def test_clip_queries_print_as_they_are_typed() -> None:
    assert [str(parse_clip(text)) for text in ("v.mp4", "v.mp4@1:00-62.5")] == ["v.mp4", "v.mp4@60-62.5"]


def test_mean_direction_is_a_unit_vector() -> None:
    assert mean_direction(np.array([[1, 0], [0, 1]], np.float32)) == pytest.approx([2**-0.5, 2**-0.5])
