"""Keep masks, run lengths and packing equal plain loops over the definition in `vlrlt.tokens.run_length`.

The loops below read pixels straight from the clip, one patch column at a time, so that they share nothing with the
vectorised code: not the patch layout, not the order, not the way the carried reference is updated.
"""

import re

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from vlrlt.errors import ConfigError
from vlrlt.tokens.packing import pack
from vlrlt.tokens.patches import patchify
from vlrlt.tokens.run_length import DENSE, PAPER_THRESHOLD_255, Reference, TokenPolicy, keep_mask, run_lengths

RELAXED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no failure
REFERENCES: tuple[Reference, ...] = ("previous", "carried")
PIXELS = (0, 1, 2, 5, 6, 11, 40, 255)
THRESHOLDS_255 = (0.0, 1.0, 2.5, 5.0, PAPER_THRESHOLD_255, 40.0, 255.0)

BoolArray = npt.NDArray[np.bool_]
UInt8Array = npt.NDArray[np.uint8]


def plain_score(
    clip: UInt8Array, step: int, reference: int, row: int, column: int, *, patch: int, tubelet: int
) -> float:
    """Mean |last frame of the step - first frame of the reference| of one patch."""
    area = slice(row * patch, (row + 1) * patch), slice(column * patch, (column + 1) * patch)
    last = clip[step * tubelet + tubelet - 1][area].astype(float)
    return float(abs(last - clip[reference * tubelet][area]).mean())


def plain_keep(clip: UInt8Array, threshold: float, reference: Reference, *, patch: int, tubelet: int) -> BoolArray:
    num_steps, height, width = len(clip) // tubelet, clip.shape[1] // patch, clip.shape[2] // patch
    keep = np.zeros((num_steps, height, width), bool)
    for row in range(height):
        for column in range(width):
            survivor = 0
            for step in range(num_steps):
                compared = survivor if reference == "carried" else step - 1
                if step == 0 or (
                    plain_score(clip, step, compared, row, column, patch=patch, tubelet=tubelet) > threshold
                ):
                    keep[step, row, column] = True
                    survivor = step
    return keep


def plain_run_length(keep: BoolArray, step: int, row: int, column: int) -> int:
    length = 1
    while step + length < len(keep) and not keep[step + length, row, column]:
        length += 1
    return length


def to_patches(clips: UInt8Array, *, patch: int, tubelet: int) -> torch.Tensor:
    return patchify(torch.from_numpy(clips), patch_size_px=patch, tubelet_size=tubelet)


def kept(clips: UInt8Array, policy: TokenPolicy, *, patch: int = 1, tubelet: int = 1) -> BoolArray:
    mask: BoolArray = keep_mask(
        to_patches(clips, patch=patch, tubelet=tubelet), tubelet_size=tubelet, policy=policy
    ).numpy()
    return mask


@st.composite
def clips_and_sizes(draw: st.DrawFn) -> tuple[UInt8Array, int, int]:
    """Small clips whose grids are mostly not square, with the patch and tubelet size."""
    num_clips, num_steps = draw(st.integers(1, 2)), draw(st.integers(1, 4))
    height, width = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    patch, tubelet = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    shape = (num_clips, num_steps * tubelet, height * patch, width * patch, 3)
    clips = draw(npst.arrays(np.uint8, shape, elements=st.sampled_from(PIXELS), fill=st.sampled_from(PIXELS)))
    return clips, patch, tubelet


keep_masks = npst.arrays(np.bool_, npst.array_shapes(min_dims=4, max_dims=4, max_side=4)).map(
    lambda keep: np.concatenate([np.ones_like(keep[:, :1]), keep[:, 1:]], axis=1)
)


@RELAXED
@given(clips_and_sizes())
def test_patches_hold_the_pixels_of_their_tubelet_in_frame_row_column_channel_order(
    drawn: tuple[UInt8Array, int, int],
) -> None:
    clips, p, u = drawn
    patches = to_patches(clips, patch=p, tubelet=u).numpy()
    assert patches.dtype == np.uint8
    for clip, step, row, column in np.ndindex(patches.shape[:-1]):
        pixels = clips[clip, step * u : (step + 1) * u, row * p : (row + 1) * p, column * p : (column + 1) * p]
        assert patches[clip, step, row, column].tolist() == pixels.ravel().tolist()


@pytest.mark.parametrize(
    ("shape", "sizes"), [((3, 4, 4), (2, 2)), ((2, 5, 4), (2, 1)), ((2, 4, 5), (2, 1)), ((0, 4, 4), (2, 1))]
)
def test_sizes_that_do_not_divide_are_refused(shape: tuple[int, int, int], sizes: tuple[int, int]) -> None:
    T, H, W = shape
    p, u = sizes
    message = f"clips of {T} frames of {H}x{W} px do not divide into tubelets of {u} frames of {p}x{p} px; give frames"
    with pytest.raises(ConfigError, match=message):
        patchify(torch.zeros((1, T, H, W, 3), dtype=torch.uint8), patch_size_px=p, tubelet_size=u)


@settings(RELAXED, max_examples=200)
@given(clips_and_sizes(), st.sampled_from(THRESHOLDS_255), st.sampled_from(REFERENCES))
def test_threshold_mask_equals_the_loop(
    drawn: tuple[UInt8Array, int, int], threshold: float, reference: Reference
) -> None:
    clips, patch, tubelet = drawn
    policy = TokenPolicy(reference=reference, threshold_255=threshold)
    mask = kept(clips, policy, patch=patch, tubelet=tubelet)
    expected = [plain_keep(clip, threshold, reference, patch=patch, tubelet=tubelet) for clip in clips]
    assert mask.tolist() == np.stack(expected).tolist()
    assert mask[:, 0].all()


@RELAXED
@given(keep_masks)
def test_run_lengths_equal_the_loop_and_sum_to_the_steps(keep: BoolArray) -> None:
    lengths = run_lengths(torch.from_numpy(keep)).numpy()
    for clip, step, row, column in np.ndindex(keep.shape):
        expected = plain_run_length(keep[clip], step, row, column) if keep[clip, step, row, column] else 0
        assert lengths[clip, step, row, column] == expected
    assert (lengths.sum(1) == keep.shape[1]).all()


@RELAXED
@given(keep_masks)
def test_packing_equals_the_loop_in_time_row_column_order(keep: BoolArray) -> None:
    clips, steps, patches, lengths, ends = [], [], [], [], [0]
    num_clips, num_steps, height, width = keep.shape
    for clip in range(num_clips):
        for step in range(num_steps):
            for row in range(height):
                for column in range(width):
                    if keep[clip, step, row, column]:
                        clips.append(clip)
                        steps.append(step)
                        patches.append(row * width + column)
                        lengths.append(plain_run_length(keep[clip], step, row, column))
        ends.append(len(clips))

    packing = pack(torch.from_numpy(keep))

    assert packing.clip_N.tolist() == clips
    assert packing.step_N.tolist() == steps
    assert packing.patch_N.tolist() == patches
    assert packing.run_length_N.tolist() == lengths
    assert packing.cu_seqlens.tolist() == ends
    assert packing.num_tokens_B.tolist() == keep.sum((1, 2, 3)).tolist()
    assert (packing.num_clips, packing.num_steps) == (num_clips, num_steps)
    assert all(tensor.dtype == torch.int64 for tensor in (packing.clip_N, packing.run_length_N, packing.cu_seqlens))


def test_asymmetric_mask_that_the_official_code_gets_wrong() -> None:
    """Kept (t0, w0), (t0, w1), (t1, w0): lengths in (h, w, t) order would be 1, 2, 3."""
    keep = torch.tensor([[1, 1], [1, 0], [0, 0]], dtype=torch.bool)[None, :, None, :]
    packing = pack(keep)
    assert packing.run_length_N.tolist() == [1, 3, 2]
    assert packing.step_N.tolist() == [0, 0, 1]
    assert packing.patch_N.tolist() == [0, 1, 0]


def test_patch_positions_count_rows_of_the_grid_width() -> None:
    packing = pack(torch.ones(1, 1, 2, 3, dtype=torch.bool))
    assert packing.patch_N.tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("reference", REFERENCES)
@pytest.mark.parametrize(
    ("change", "threshold", "is_kept"),
    [(6, PAPER_THRESHOLD_255, True), (5, PAPER_THRESHOLD_255, False), (6, 6.0, False), (6, 5.99, True), (1, 0.0, True)],
)
def test_threshold_is_in_grey_levels_and_strict(
    reference: Reference, change: int, threshold: float, is_kept: bool
) -> None:
    for sign in (1, -1):
        clip = np.full((1, 2, 16, 16, 3), 100, np.uint8)
        clip[:, 1] += np.uint8(sign * change % 256)
        mask = kept(clip, TokenPolicy(reference=reference, threshold_255=threshold), patch=16)
        assert mask[0, :, 0, 0].tolist() == [True, is_kept]


def test_score_is_the_mean_over_pixels_and_channels() -> None:
    """One channel of one pixel out of 12 values changes by 120: the mean is 10."""
    clip = np.zeros((1, 2, 2, 2, 3), np.uint8)
    clip[0, 1, 1, 0, 2] = 120
    assert kept(clip, TokenPolicy(threshold_255=9.99), patch=2)[0, 1, 0, 0]
    assert not kept(clip, TokenPolicy(threshold_255=10.0), patch=2)[0, 1, 0, 0]


def test_black_to_white_is_the_largest_change() -> None:
    clip = np.zeros((1, 2, 32, 32, 3), np.uint8)
    clip[:, 1] = 255
    assert kept(clip, TokenPolicy(threshold_255=254.9), patch=32)[0, 1, 0, 0]
    assert not kept(clip, TokenPolicy(threshold_255=255.0), patch=32)[0, 1, 0, 0]


def test_slow_drift_is_dropped_against_the_previous_step_and_bounded_against_the_survivor() -> None:
    clip = np.zeros((1, 32, 1, 1, 3), np.uint8) + np.arange(0, 96, 3, dtype=np.uint8)[None, :, None, None, None]
    assert kept(clip, TokenPolicy(reference="previous"))[0, :, 0, 0].sum() == 1
    assert np.flatnonzero(kept(clip, TokenPolicy(reference="carried"))[0, :, 0, 0]).tolist() == list(range(0, 32, 2))


@RELAXED
@given(clips_and_sizes(), st.sampled_from(THRESHOLDS_255))
def test_no_step_differs_from_its_survivor_by_more_than_the_threshold(
    drawn: tuple[UInt8Array, int, int], threshold: float
) -> None:
    clips, patch, tubelet = drawn
    mask = kept(clips, TokenPolicy(reference="carried", threshold_255=threshold), patch=patch, tubelet=tubelet)
    for clip, step, row, column in np.argwhere(~mask):
        survivor = int(np.flatnonzero(mask[clip, :step, row, column])[-1])
        assert plain_score(clips[clip], step, survivor, row, column, patch=patch, tubelet=tubelet) <= threshold


def test_tubelets_compare_their_last_frame_with_the_first_of_the_reference() -> None:
    """The inner frames of two tubelets are never compared (the paper): a flash of one of them goes unseen."""
    frames = np.array([10, 90, 200, 10, 200, 90], np.uint8)
    clip = np.zeros((1, 6, 1, 1, 3), np.uint8) + frames[None, :, None, None, None]
    assert kept(clip, TokenPolicy(reference="carried"), tubelet=2)[0, :, 0, 0].tolist() == [True, False, True]
    assert kept(clip, TokenPolicy(reference="previous"), tubelet=2)[0, :, 0, 0].tolist() == [True, False, True]


def test_dense_policy_keeps_everything() -> None:
    assert kept(np.zeros((2, 3, 2, 4, 3), np.uint8), DENSE).all()


@settings(RELAXED, max_examples=200)
@given(clips_and_sizes(), st.integers(0, 40), st.sampled_from(REFERENCES))
def test_budget_keeps_exactly_the_number_asked_for_or_all(
    drawn: tuple[UInt8Array, int, int], num_extra: int, reference: Reference
) -> None:
    clips, patch, tubelet = drawn
    num_step_tokens = (clips.shape[2] // patch) * (clips.shape[3] // patch)
    budget = num_step_tokens + num_extra
    policy = TokenPolicy(kind="budget", budget_tokens=budget, reference=reference)
    mask = kept(clips, policy, patch=patch, tubelet=tubelet)
    assert mask[:, 0].all()
    assert (mask.sum((1, 2, 3)) == min(budget, mask[0].size)).all()


@RELAXED
@given(clips_and_sizes(), st.integers(0, 12))
def test_budget_keeps_the_highest_scores_against_the_previous_step(
    drawn: tuple[UInt8Array, int, int], num_extra: int
) -> None:
    """Ties go to the earlier position, so a smaller budget keeps a subset of what a larger one keeps."""
    clips, patch, tubelet = drawn
    num_step_tokens = (clips.shape[2] // patch) * (clips.shape[3] // patch)
    policy = TokenPolicy(kind="budget", budget_tokens=num_step_tokens + num_extra, reference="previous")
    mask = kept(clips, policy, patch=patch, tubelet=tubelet)
    for clip, clip_mask in zip(clips, mask, strict=True):
        later = [index for index in np.ndindex(clip_mask.shape) if index[0] > 0]
        scores = {
            (step, row, column): plain_score(clip, step, step - 1, row, column, patch=patch, tubelet=tubelet)
            for step, row, column in later
        }
        best = sorted(later, key=lambda index: (-scores[index], index))[:num_extra]
        assert {index for index in later if clip_mask[index]} == set(best)


@pytest.mark.parametrize(
    ("num_extra", "changed"), [(1, [0]), (2, [0, 2]), (3, [0, 2, 3]), (4, [0, 1, 2, 3]), (5, [0, 1, 2, 3, 4])]
)
@pytest.mark.parametrize("reference", REFERENCES)
def test_budget_fills_up_between_equal_scores_from_the_earliest(
    reference: Reference, num_extra: int, changed: list[int]
) -> None:
    """Changes of 9, 7, 9, 9 and 0 in a row of patches: no threshold keeps one or two of the three equal ones."""
    clip = np.zeros((1, 2, 1, 5, 3), np.uint8)
    clip[0, 1, 0] = np.array([9, 7, 9, 9, 0], np.uint8)[:, None]
    mask = kept(clip, TokenPolicy(kind="budget", budget_tokens=5 + num_extra, reference=reference))
    assert np.flatnonzero(mask[0, 1, 0]).tolist() == changed


@pytest.mark.parametrize("reference", REFERENCES)
def test_budget_finds_the_changes_of_each_clip_by_itself(reference: Reference) -> None:
    """One clip changes a lot, the other hardly: both keep their own three strongest changes."""
    clips = np.full((2, 4, 2, 3, 3), 50, np.uint8)
    for clip, strength in enumerate((200, 3)):
        for step, row, column in ((1, 0, 2), (2, 1, 0), (3, 0, 1)):
            clips[clip, step:, row, column] += np.uint8(strength)
    mask = kept(clips, TokenPolicy(kind="budget", budget_tokens=6 + 3, reference=reference))
    for clip_mask in mask:
        assert np.argwhere(clip_mask[1:]).tolist() == [[0, 0, 2], [1, 1, 0], [2, 0, 1]]


@pytest.mark.parametrize("reference", REFERENCES)
def test_a_threshold_within_a_budget_looks_less_often_where_a_clip_changes_more(reference: Reference) -> None:
    generator = np.random.default_rng(0)
    still = np.zeros((8, 2, 3, 3), np.uint8)
    still[5:, 0, 0] = 255
    restless = generator.integers(0, 256, (8, 2, 3, 3), np.uint8)
    clips = np.stack([still, restless])
    policy = TokenPolicy(threshold_255=0, budget_tokens=4 * 6, reference=reference)
    mask = kept(clips, policy)
    assert (mask[0] == plain_keep(still, 0, reference, patch=1, tubelet=1)).all()
    assert (mask[1, ::2] == plain_keep(restless[::2], 0, reference, patch=1, tubelet=1)).all()
    assert not mask[1, 1::2].any()
    tighter = kept(clips, TokenPolicy(threshold_255=0, budget_tokens=6, reference=reference))
    assert tighter[1, 0].all()
    assert not tighter[:, 1:].any()


def test_carried_budget_sees_drift_that_the_previous_step_hides() -> None:
    """Patch 0 drifts by 4 a step, patch 1 jumps by 10 once: the drift adds up to more than the jump."""
    clip = np.zeros((1, 8, 1, 2, 3), np.uint8)
    clip[0, :, 0, 0] = np.arange(0, 32, 4, dtype=np.uint8)[:, None]
    clip[0, 4:, 0, 1] = 10
    policy = TokenPolicy(kind="budget", budget_tokens=2 + 1, reference="carried")
    assert np.argwhere(kept(clip, policy)[0, 1:]).tolist()[0][2] == 0
    previous = TokenPolicy(kind="budget", budget_tokens=2 + 1, reference="previous")
    assert np.argwhere(kept(clip, previous)[0, 1:]).tolist() == [[3, 0, 1]]


@RELAXED
@given(st.integers(1, 4), st.integers(0, 30), st.integers(0, 2**31))
def test_random_keeps_exactly_the_number_and_treats_a_clip_alike_in_any_batch(
    num_steps: int, num_extra: int, seed: int
) -> None:
    clips = np.random.default_rng(seed).integers(0, 256, (2, num_steps, 2, 3, 3), np.uint8)
    state = torch.get_rng_state()
    policy = TokenPolicy(kind="random", budget_tokens=6 + num_extra, seed=seed)
    mask = kept(clips, policy)
    assert mask[:, 0].all()
    assert mask[0].sum() == min(6 + num_extra, 6 * num_steps)
    assert mask[0].sum() == mask[1].sum()
    assert mask[1].tolist() == kept(clips[1:], policy)[0].tolist() == kept(clips[::-1].copy(), policy)[0].tolist()
    assert torch.equal(state, torch.get_rng_state())


def test_random_draws_anew_for_every_clip() -> None:
    """A mask that all clips have in common is a fixed pattern that a model can learn: no control."""
    clips = np.random.default_rng(0).integers(0, 256, (40, 8, 4, 4, 3), np.uint8)
    mask = kept(clips, TokenPolicy(kind="random", budget_tokens=16 + 56))
    assert len({one.tobytes() for one in mask}) == 40
    assert np.abs(mask[:, 1:].mean(axis=0) - 0.5).max() < 0.35


def test_random_depends_on_the_seed_and_grows_with_the_budget() -> None:
    clips = np.zeros((1, 8, 4, 4, 3), np.uint8)
    masks = [kept(clips, TokenPolicy(kind="random", budget_tokens=48, seed=seed)) for seed in range(3)]
    assert len({mask.tobytes() for mask in masks}) == 3
    more = kept(clips, TokenPolicy(kind="random", budget_tokens=60, seed=0))
    assert (more | masks[0] == more).all()


@pytest.mark.parametrize("kind", ["threshold", "budget", "random"])
def test_a_budget_below_the_first_step_is_refused(kind: str) -> None:
    policy = TokenPolicy(kind=kind, budget_tokens=5)  # type: ignore[arg-type]
    message = "budget_tokens = 5 is less than the 6 tokens of the first step, which are always kept; give at least 6"
    with pytest.raises(ConfigError, match=message):
        kept(np.zeros((1, 2, 2, 3, 3), np.uint8), policy)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold_255": -0.1}, "threshold_255 must be grey levels in [0, 255], got -0.1"),
        ({"threshold_255": 256}, "threshold_255 must be grey levels in [0, 255], got 256"),
        ({"threshold_255": float("nan")}, "threshold_255 must be grey levels in [0, 255], got nan"),
        ({"kind": "budget"}, "policy 'budget' needs budget_tokens >= 1, got None"),
        ({"kind": "random", "budget_tokens": 0}, "policy 'random' needs budget_tokens >= 1, got 0"),
        ({"budget_tokens": 0}, "policy 'threshold' needs budget_tokens >= 1, got 0"),
        ({"kind": "none", "budget_tokens": 9}, "the policy 'none' keeps every token and takes no budget_tokens"),
        ({"kind": "rlt"}, "kind of a token policy must be one of threshold, budget, random, none, got 'rlt'"),
        ({"reference": "first"}, "reference of a token policy must be one of previous, carried, got 'first'"),
    ],
)
def test_policies_that_make_no_sense_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        TokenPolicy(**options)  # type: ignore[arg-type]
