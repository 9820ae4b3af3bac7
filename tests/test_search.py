"""Clips merge into moments as documented, percentiles and medians are those of all clips, clip queries parse.

grow_moments is compared with a slow version that grows intervals over sets, on random libraries.
"""

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
from vlrlt.index.search.moments import CORE_HEIGHT, Found, Scores, grow_moments
from vlrlt.index.search.query_vectors import mean_direction
from vlrlt.index.vectors.protocol import Hits, Mask, PositionArray, StoreInfo, best
from vlrlt.types import ClipSpan, Float32Array
from vlrlt.video.sampling import ClipSampling, clip_spans


def table(*durations_s: float, clip_s: float = 1.0, stride_s: float = 1.0) -> FrameRunTable:
    """The clips of videos of these lengths, named a, b, c..."""
    sampling = ClipSampling(clip_s=clip_s, stride_s=stride_s, num_frames=1)
    spans = [(video, span) for video, length_s in enumerate(durations_s) for span in clip_spans(length_s, sampling)]
    return FrameRunTable(
        ids_N=np.arange(len(spans)),
        video_N=np.array([video for video, _ in spans], np.int64),
        start_s_N=np.array([span.start_s for _, span in spans]),
        end_s_N=np.array([span.end_s for _, span in spans]),
        kept_share_N=np.zeros(len(spans)),
        videos=tuple("abcdefgh"[: len(durations_s)]),
        video_ids=tuple("ABCDEFGH"[: len(durations_s)]),
    )


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


def find_moments(values: Float32Array, clips: FrameRunTable, *, k: int) -> tuple[Found, ...]:
    return tuple(islice(grow_moments(Scores(Numbers(values), ONE), clips), k))


def spans_of(moments: tuple[Found, ...], clips: FrameRunTable) -> list[tuple[str, float, float]]:
    return [(clips.videos[clips.video_N[moment.seed]], moment.start_s, moment.end_s) for moment in moments]


def test_the_docstrings_example() -> None:
    clips = table(10)
    moments = find_moments(scores(0.1, 0.6, 0.9, 0.8, 0.1, 0.1, 0.6, 0.1, 0.1, 0.1), clips, k=2)
    assert spans_of(moments, clips) == [("a", 2, 4), ("a", 6, 7)]
    assert [moment.score for moment in moments] == pytest.approx([0.9, 0.6])
    assert [moment.percentile for moment in moments] == pytest.approx([90, 60])


def test_a_moment_does_not_leave_its_video() -> None:
    clips = table(3, 3)
    moments = find_moments(scores(0, 0, 0.9, 0.9, 0, 0), clips, k=2)
    assert spans_of(moments, clips) == [("a", 2, 3), ("b", 0, 1)]


def test_overlapping_neighbours_are_swallowed_even_if_they_score_low() -> None:
    # clips [0,2) [1,3) [2,4) [3,5) [4,6); the best is [2,4)
    clips = table(6, clip_s=2, stride_s=1)
    moments = find_moments(scores(0.2, 0.1, 0.9, 0.1, 0.3), clips, k=9)
    assert spans_of(moments, clips) == [("a", 2, 4), ("a", 4, 6), ("a", 0, 2)]


def test_overlapping_neighbours_move_the_ends() -> None:
    """The median is .1, half way .5: .4 and .2 above it, 1 s apart; the clip at .1 has no say."""
    clips = table(6, clip_s=2, stride_s=1)
    ((_, start_s, end_s),) = spans_of(find_moments(scores(0, 0, 0.9, 0.7, 0.1), clips, k=1), clips)
    assert (start_s, end_s) == pytest.approx((2 + 1 / 3, 4 + 1 / 3), abs=1e-3)


def test_a_moment_does_not_grow_into_a_better_one() -> None:
    # half way between the median .4 and .9 is .65, so .6 stays outside and becomes a moment of its own
    clips = table(5)
    moments = find_moments(scores(0.4, 0.6, 0.9, 0.4, 0.3), clips, k=2)
    assert spans_of(moments, clips) == [("a", 2, 3), ("a", 1, 2)]


def test_touching_survives_float_arithmetic() -> None:
    clips = table(1.0, clip_s=0.1, stride_s=0.1)
    assert (clips.start_s_N[1:] != clips.end_s_N[:-1]).any(), "the example must have rounding in it"
    values = np.zeros(10, np.float32)
    values[2:8] = 0.5
    ((_, start_s, end_s),) = spans_of(find_moments(values, clips, k=1), clips)
    assert (start_s, end_s) == pytest.approx((0.2, 0.8))


def test_one_clip() -> None:
    clips = table(0.4)
    assert spans_of(find_moments(scores(0.3), clips, k=5), clips) == [("a", 0, 0.4)]


def test_a_search_goes_deeper_where_all_hits_are_one_moment() -> None:
    clips = table(1000, 3)
    store = Numbers(np.r_[np.full(1000, 0.9), np.full(3, 0.5)].astype(np.float32))
    found = tuple(islice(grow_moments(Scores(store, ONE), clips), 2))
    assert spans_of(found, clips) == [("a", 0, 1000), ("b", 0, 1)]  # half way to the median is .7
    assert store.deepest > 1000


def test_a_search_looks_no_deeper_than_it_must() -> None:
    store = Numbers(np.random.default_rng(0).random(5000).astype(np.float32))
    scores = Scores(store, ONE)
    best_moment = next(grow_moments(scores, table(5000)))
    assert store.deepest < 1000
    assert best_moment.percentile == pytest.approx(100 * 4999 / 5000)


def test_what_does_not_take_part_is_neither_found_nor_grown_into() -> None:
    clips = table(5)
    within_N = np.array([True, True, False, True, True])
    scores = Scores(Numbers(np.array([0.75, 0.8, 0.9, 0.1, 0.1], np.float32)), ONE, within_N)
    assert spans_of(tuple(islice(grow_moments(scores, clips), 1)), clips) == [("a", 0, 2)]
    assert scores.num_searched == 4


def slow_core(
    inside: list[int], seed: int, values: Float32Array, spans: list[tuple[int, float, float]], *, median: float
) -> tuple[float, float]:
    """The ends of the core, weighed with the clips of the moment that overlap its first and last clip."""
    peak = float(values[seed])
    low = [clip for clip in inside if clip != seed and float(values[clip]) < median + CORE_HEIGHT * (peak - median)]
    core = [clip for clip in inside if not any(min(clip, seed) <= other <= max(clip, seed) for other in low)]
    ends = []
    for clip, end in ((min(core), 1), (max(core), 2)):
        start_s, end_s = spans[clip][1:]
        near = [
            other
            for other in inside
            if abs(other - clip) <= 1 and spans[other][1] < end_s - 1e-3 and spans[other][2] > start_s + 1e-3
        ]
        weights = [max(float(values[other]) - (peak + median) / 2, 1e-6) for other in near]
        ends.append(sum(w * spans[other][end] for w, other in zip(weights, near, strict=True)) / sum(weights))
    return ends[0], ends[1]


def slow_moments(values: Float32Array, clips: FrameRunTable, k: int) -> list[tuple[str, float, float]]:
    """The rule again, over sets of clips and with no order assumed."""
    spans = list(zip(clips.video_N, clips.start_s_N, clips.end_s_N, strict=True))
    free = set(range(len(values)))
    found: list[tuple[str, float, float]] = []
    while free and len(found) < k:
        seed = min(free, key=lambda clip: (-values[clip], clip))
        half_way = (float(values[seed]) + float(np.median(values))) / 2
        video, start_s, end_s = spans[seed]
        median = float(np.median(values))
        grown = True
        while grown:
            grown = False
            for clip in free:
                other, clip_start_s, clip_end_s = spans[clip]
                touches = other == video and clip_start_s <= end_s + 1e-3 and clip_end_s >= start_s - 1e-3
                extends = clip_start_s < start_s or clip_end_s > end_s
                nearest = not any(
                    spans[between][0] == video
                    and (clip_start_s < spans[between][1] < start_s or end_s < spans[between][2] < clip_end_s)
                    for between in free
                )
                if touches and extends and nearest and np.float32(values[clip]) >= np.float32(half_way):
                    start_s, end_s, grown = min(start_s, clip_start_s), max(end_s, clip_end_s), True
        inside = [
            clip
            for clip in sorted(free, key=lambda clip: spans[clip])
            if spans[clip][0] == video and start_s <= spans[clip][1] and spans[clip][2] <= end_s
        ]
        found.append((clips.videos[video], *slow_core(inside, seed, values, spans, median=median)))
        free -= {
            clip
            for clip in free
            if spans[clip][0] == video and spans[clip][1] < end_s - 1e-3 and spans[clip][2] > start_s + 1e-3
        }
    return found


@given(
    durations_s=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    stride_s=st.sampled_from([1.0, 2.0, 3.0]),
    k=st.integers(1, 6),
    seed=st.integers(0, 2**32 - 1),
)
def test_equals_the_slow_version(durations_s: list[int], stride_s: float, k: int, seed: int) -> None:
    clips = table(*durations_s, clip_s=3.0, stride_s=stride_s)
    values = np.random.default_rng(seed).integers(0, 8, len(clips.ids_N)).astype(np.float32) / np.float32(8)
    moments = find_moments(values, clips, k=k)
    for (video, *ends), (slow_video, *slow_ends) in zip(
        spans_of(moments, clips), slow_moments(values, clips, k), strict=True
    ):
        assert video == slow_video
        assert ends == pytest.approx(slow_ends)
    for moment in moments:
        assert moment.percentile == pytest.approx(100 * np.mean(values < moment.score))
    for first, second in combinations(spans_of(moments, clips), 2):
        assert first[0] != second[0] or first[2] <= second[1] + 1e-9 or second[2] <= first[1] + 1e-9


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
