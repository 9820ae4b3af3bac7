"""Outputs that agree become one vector, whatever borders lie between them; drift is bounded."""

from collections.abc import Sequence

import numpy as np
import pytest
from colour import ColourEmbedder
from hypothesis import given
from hypothesis import strategies as st

from vlrlt.index.library.frame_runs import FrameRun
from vlrlt.index.run.agreement import SHARE_APART, made_pictures, measure_agreement
from vlrlt.index.run.frame_runs import FrameRunJoiner
from vlrlt.types import Float32Array

AGREEMENT = 0.9


def direction(angle_deg: float) -> Float32Array:
    return np.array([np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))], np.float32)


def joined(angles_deg: Sequence[float], *, break_at: int | None = None) -> list[FrameRun]:
    """One output a second; a killed index run goes on at break_at from what the ledger kept."""
    joiner = FrameRunJoiner(agreement=AGREEMENT)
    runs = []
    for second, angle_deg in enumerate(angles_deg):
        if second == break_at:
            joiner = FrameRunJoiner(agreement=AGREEMENT, open_run=joiner.open_run)
        ended = joiner.add(float(second), direction(angle_deg), num_looks=1, changes=0.5)
        runs += [ended] if ended else []
    last = joiner.finish(float(len(angles_deg)))
    return runs + ([last] if last else [])


def plainly_joined(angles_deg: Sequence[float]) -> list[list[int]]:
    """The definition, as slow as it gets: seconds of each run."""
    runs: list[list[int]] = []
    for second, angle_deg in enumerate(angles_deg):
        if runs and direction(angles_deg[runs[-1][0]]) @ direction(angle_deg) >= AGREEMENT:
            runs[-1].append(second)
        else:
            runs.append([second])
    return runs


def test_a_drawn_example() -> None:
    runs = joined([0, 2, 5, 80, 82, 170])
    assert [(run.span.start_s, run.span.end_s, run.num_looks) for run in runs] == [(0, 3, 3), (3, 5, 2), (5, 6, 1)]
    np.testing.assert_allclose(runs[1].vector_D, direction(81), atol=1e-6)
    assert [run.kept_share for run in runs] == [0.5] * 3


def test_slow_drift_ends_a_run() -> None:
    runs = joined(list(range(0, 180, 2)))
    reach_deg = float(np.degrees(np.arccos(AGREEMENT)))
    assert all(2 * (run.num_looks - 1) <= reach_deg for run in runs)
    assert len(runs) == len(range(0, 180, 2)) // (int(reach_deg) // 2 + 1) + 1


@given(st.lists(st.floats(0, 360), min_size=1, max_size=30), st.integers(0, 29))
def test_runs_are_those_of_the_definition_also_across_a_kill(angles_deg: list[float], break_at: int) -> None:
    runs = joined(angles_deg)
    expected = plainly_joined(angles_deg)
    assert [(run.span.start_s, run.span.end_s) for run in runs] == [(one[0], one[-1] + 1) for one in expected]
    for run, seconds in zip(runs, expected, strict=True):
        sum_D = np.sum([direction(angles_deg[second]) for second in seconds], axis=0)
        np.testing.assert_allclose(run.vector_D, sum_D / np.linalg.norm(sum_D), atol=1e-5)
    for run, again in zip(runs, joined(angles_deg, break_at=break_at), strict=True):
        assert (run.span, run.num_looks) == (again.span, again.num_looks)
        np.testing.assert_array_equal(run.vector_D, again.vector_D)


def test_looks_in_which_nothing_changes_count_but_do_not_turn_the_vector() -> None:
    joiner = FrameRunJoiner(agreement=AGREEMENT)
    joiner.extend(5)  # nothing was ever seen
    joiner.add(0.0, direction(0), num_looks=1, changes=1.0)
    joiner.add(1.0, direction(10), num_looks=1, changes=0.0)
    joiner.extend(8)
    run = joiner.finish(10.0)
    assert run is not None
    assert run.num_looks == 10
    assert run.kept_share == pytest.approx(0.1)
    np.testing.assert_allclose(run.vector_D, direction(5), atol=1e-6)
    assert joiner.finish(10.0) is None


def test_the_scale_is_how_far_apart_the_model_holds_unlike_pictures() -> None:
    pictures, again = made_pictures(), made_pictures()
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)
    assert all(np.array_equal(one, other) for one, other in zip(pictures, again, strict=True))
    embedder = ColourEmbedder()
    vectors_ND = np.concatenate(
        [embedder.embed_clips(embedder.preprocess(one)[None, None]).vectors_BD for one in pictures]
    )
    cosines = [float(a @ b) for place, a in enumerate(vectors_ND) for b in vectors_ND[:place]]
    assert measure_agreement(embedder) == pytest.approx(1 - SHARE_APART * (1 - np.mean(cosines)), abs=1e-5)
    assert 0.7 < measure_agreement(embedder) < 0.95
