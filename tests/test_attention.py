"""Every form of attention against a plain double loop over tokens, with gradients, in float64."""

import math
from typing import Literal, get_args

import pytest
import torch
from torch import Tensor

from vlrlt.models.attention import (
    FrameAttention,
    RowAttention,
    Sequences,
    flex_frame_attention,
    frame_attention,
    joint_attention,
    overlap_rows,
    run_overlap_attention,
)
from vlrlt.tokens.packing import Packing, pack

H, E = 2, 8
Form = Literal["frames", "rows", "flex"]
FORMS = pytest.mark.parametrize("form", get_args(Form))


def ragged_keep(*shares: float, num_steps: int = 5, side: int = 3) -> Tensor:
    """A keep mask in which clip b keeps about shares[b] of what follows its first step."""
    torch.manual_seed(1)
    keep_BShw = torch.rand(len(shares), num_steps, side, side) < torch.tensor(shares)[:, None, None, None]
    keep_BShw[:, 0] = True
    return keep_BShw


def random_tokens(num_tokens: int) -> list[Tensor]:
    torch.manual_seed(2)
    return [torch.randn(num_tokens, H, E, dtype=torch.float64, requires_grad=True) for _ in range(3)]


def plain_attend(tokens: list[Tensor], weight_MM: Tensor) -> Tensor:
    """Token by token, head by head; weight 0: the two do not meet."""
    q_MHE, k_MHE, v_MHE = tokens
    rows = []
    for query in range(len(q_MHE)):
        for head in range(H):
            logits_M = k_MHE[:, head] @ q_MHE[query, head] / math.sqrt(E)
            share_M = weight_MM[query] * logits_M.exp()
            rows.append((share_M / share_M.sum()) @ v_MHE[:, head])
    return torch.stack(rows).view(q_MHE.shape)


def runs_of(packing: Packing, *, has_cls: bool) -> list[tuple[int, set[int]]]:
    """Clip and steps of every packed token, written out."""
    runs = []
    if has_cls:
        for clip, keep_Shw in enumerate(packing.keep_BShw):
            pictures: list[set[int]] = []
            for step in range(packing.num_steps):
                if keep_Shw[step].any():
                    pictures.append(set())
                pictures[-1].add(step)
            runs += [(clip, picture) for picture in pictures]
    for clip, step, length in zip(
        packing.clip_N.tolist(), packing.step_N.tolist(), packing.run_length_N.tolist(), strict=True
    ):
        runs.append((clip, set(range(step, step + length))))
    return runs


def overlap_weights(packing: Packing, *, has_cls: bool) -> Tensor:
    runs = runs_of(packing, has_cls=has_cls)
    weights = [[len(run & other) if clip == other_clip else 0 for other_clip, other in runs] for clip, run in runs]
    return torch.tensor(weights, dtype=torch.float64)


def attend(form: Form, packing: Packing, tokens: list[Tensor], *, has_cls: bool) -> Tensor:
    if form == "rows":
        return overlap_rows(packing, has_cls=has_cls, dtype=torch.float64).attend(*tokens)
    frames = frame_attention(packing, has_cls=has_cls)
    if form == "frames":
        return frames.attend(*tokens)
    q_MHE, k_MHE, v_MHE = tokens
    return flex_frame_attention(q_MHE, k_MHE, v_MHE, frames, compiled=False)


@FORMS
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("has_cls", [True, False], ids=["cls", "no-cls"])
def test_run_overlap_equals_a_double_loop(form: Form, has_cls: bool) -> None:
    packing = pack(ragged_keep(0.0, 0.2, 0.6, 1.0))
    weight_MM = overlap_weights(packing, has_cls=has_cls)
    tokens = [tokens.requires_grad_(form != "flex") for tokens in random_tokens(len(weight_MM))]
    expected = plain_attend(tokens, weight_MM)
    actual = attend(form, packing, tokens, has_cls=has_cls)
    torch.testing.assert_close(actual, expected)
    if form == "flex":
        return  # torch has no backward of FlexAttention on a CPU
    probe = torch.randn_like(expected)
    expected_grads = torch.autograd.grad(expected, tokens, probe)
    actual_grads = torch.autograd.grad(actual, tokens, probe)
    for actual_grad, expected_grad in zip(actual_grads, expected_grads, strict=True):
        torch.testing.assert_close(actual_grad, expected_grad)


def test_frame_gradients_pass_gradcheck() -> None:
    packing = pack(ragged_keep(0.3, 0.0, num_steps=3, side=2))
    frames = frame_attention(packing, has_cls=True)
    tokens = random_tokens(len(frames.clip_M))
    assert torch.autograd.gradcheck(frames.attend, tuple(tokens))


def test_frames_agree_with_rows_over_a_wide_range_of_logits() -> None:
    """Merging must not overflow where one frame's logits are far above another's."""
    packing = pack(ragged_keep(0.3, 0.5))
    frames = frame_attention(packing, has_cls=True)
    q_MHE, k_MHE, v_MHE = (tokens.detach() for tokens in random_tokens(len(frames.clip_M)))
    q_MHE = 3000 * q_MHE
    rows = overlap_rows(packing, has_cls=True, dtype=torch.float64)
    torch.testing.assert_close(frames.attend(q_MHE, k_MHE, v_MHE), rows.attend(q_MHE, k_MHE, v_MHE))


@pytest.mark.parametrize("num_cls", [0, 1])
def test_joint_equals_a_double_loop(num_cls: int) -> None:
    packing = pack(ragged_keep(0.0, 0.3, 0.35, 1.0))
    clip_M = torch.cat([torch.arange(packing.num_clips).repeat_interleave(num_cls), packing.clip_N])
    length_M = torch.cat([torch.ones(num_cls * packing.num_clips), packing.run_length_N]).double()
    weight_MM = (clip_M[:, None] == clip_M) * length_M
    tokens = random_tokens(len(clip_M))
    sequences = joint_attention(packing, num_cls=num_cls, dtype=torch.float64)
    assert torch.equal(sequences.clip_M, clip_M)
    assert len(sequences.rows) > 1, "clips of other lengths must not be padded to the longest"
    torch.testing.assert_close(sequences.attend(*tokens), plain_attend(tokens, weight_MM))


def test_rows_are_padded_by_at_most_a_tenth() -> None:
    lengths = (0.02 * share for share in range(51))
    packing = pack(ragged_keep(*lengths, num_steps=8, side=8))
    for rows in joint_attention(packing, num_cls=1, dtype=torch.float64).rows:
        assert rows.index_RL.numel() <= 1.1 * len(rows.valid_N) + 1


def test_nothing_dropped_needs_no_bias() -> None:
    sequences = joint_attention(pack(torch.ones(3, 4, 2, 2, dtype=torch.bool)), num_cls=1, dtype=torch.float64)
    assert [rows.bias for rows in sequences.rows] == [None]


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, FrameAttention), (0.02, RowAttention), (0.5, FrameAttention), (1.0, FrameAttention)]
)
def test_the_form_with_fewer_pairs_is_chosen(share: float, expected: type[Sequences]) -> None:
    packing = pack(ragged_keep(share, share, num_steps=16, side=4))
    assert type(run_overlap_attention(packing, has_cls=True, dtype=torch.float32)) is expected


def test_every_place_of_every_frame_is_covered_once() -> None:
    keep_BShw = ragged_keep(0.2, 0.7)
    keep_BShw[:, :, 0, 0] = True
    keep_BShw[0, 2:4] = False
    packing = pack(keep_BShw)
    alive_BSP = frame_attention(packing, has_cls=False).alive_FA[packing.distinct_BS]
    assert packing.distinct_BS.tolist() == [[0, 1, 1, 1, 2], [3, 4, 5, 6, 7]]
    for clip in range(2):
        for step in range(5):
            for place in range(9):
                token = alive_BSP[clip, step, place]
                assert packing.clip_N[token] == clip
                assert packing.patch_N[token] == place
                assert packing.step_N[token] <= step < packing.step_N[token] + packing.run_length_N[token]
