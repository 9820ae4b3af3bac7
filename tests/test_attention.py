"""Every form of attention against a plain double loop over tokens, with gradients, in float64."""

import math
from dataclasses import replace
from typing import Any, Literal, get_args

import pytest
import torch
from torch import Tensor

from vlrlt.models.attention import (
    FrameAttention,
    RowAttention,
    Sequences,
    frame_attention,
    joint_attention,
    joint_packed,
    joint_rows,
    overlap_rows,
    run_overlap_attention,
)
from vlrlt.models.kernels import (
    CPU,
    EFFICIENT,
    FLASH,
    PLAIN,
    FrameKernel,
    first_right,
    frame_kernel,
    plain_varlen,
    varlen_attention,
)
from vlrlt.tokens.packing import Packing, pack

H, E = 2, 8
Form = Literal["frames", "rows", "plain"]
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
    return frames.attend_by(PLAIN, q_MHE, k_MHE, v_MHE)


@FORMS
@pytest.mark.parametrize("has_cls", [True, False], ids=["cls", "no-cls"])
def test_run_overlap_equals_a_double_loop(form: Form, has_cls: bool) -> None:
    packing = pack(ragged_keep(0.0, 0.2, 0.6, 1.0))
    weight_MM = overlap_weights(packing, has_cls=has_cls)
    tokens = random_tokens(len(weight_MM))
    expected = plain_attend(tokens, weight_MM)
    actual = attend(form, packing, tokens, has_cls=has_cls)
    torch.testing.assert_close(actual, expected)
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
    assert isinstance(sequences, RowAttention)
    assert torch.equal(sequences.clip_M, clip_M)
    assert len(sequences.rows) > 1, "clips of other lengths must not be padded to the longest"
    torch.testing.assert_close(sequences.attend(*tokens), plain_attend(tokens, weight_MM))


@pytest.mark.parametrize("num_cls", [0, 1, 3])
@pytest.mark.parametrize("log_run_length", [True, False])
def test_packed_joint_equals_padded_joint(num_cls: int, log_run_length: bool) -> None:
    """The form of CUDA, by a kernel of the CPU: order, ends and the log of run lengths as one more number of a key."""
    packing = pack(ragged_keep(0.0, 0.3, 0.35, 1.0))
    options: dict[str, Any] = {"num_cls": num_cls, "dtype": torch.float64, "log_run_length": log_run_length}
    rows, packed = joint_rows(packing, **options), joint_packed(packing, **options)
    assert torch.equal(packed.clip_M, rows.clip_M)
    tokens = random_tokens(len(rows.clip_M))
    expected, actual = rows.attend(*tokens), packed.attend_by(plain_varlen, *tokens)
    torch.testing.assert_close(actual, expected)
    probe = torch.randn_like(expected)
    expected_grads, actual_grads = (torch.autograd.grad(out, tokens, probe) for out in (expected, actual))
    torch.testing.assert_close(actual_grads, expected_grads)
    assert packed.longest == int(rows.clip_M.bincount().max())
    if log_run_length:  # without it the keys would weigh the same
        assert not torch.allclose(replace(packed, log_length_M=None).attend_by(plain_varlen, *tokens), expected)


def test_run_lengths_are_exact_in_bfloat16() -> None:
    """One bfloat16 number would weigh a run of 15 with an error of 4 %."""
    packing = pack(ragged_keep(0.05, num_steps=16))
    assert packing.run_length_N.max() >= 15
    packed = joint_packed(packing, num_cls=0, dtype=torch.float32)
    num_tokens = len(packed.clip_M)
    zeros = torch.zeros(num_tokens, 1, 64, dtype=torch.bfloat16)  # logits are run lengths alone
    seen: list[Tensor] = []

    def kernel(q_MHE: Tensor, k_MHE: Tensor, v_MHE: Tensor, ends: Tensor, longest: int, scale: float) -> Tensor:
        logits_MM = (q_MHE.float() @ k_MHE.float().permute(1, 2, 0))[:, 0] * scale
        seen.append(logits_MM.exp()[0])
        return plain_varlen(q_MHE, k_MHE, v_MHE, ends, longest, scale)

    packed.attend_by(kernel, zeros, zeros, zeros)
    torch.testing.assert_close(seen[0], packing.run_length_N.float(), rtol=1e-4, atol=0)


def test_without_a_kernel_packed_is_padded() -> None:
    packing = pack(ragged_keep(0.3, 0.5))
    packed = joint_packed(packing, num_cls=1, dtype=torch.float64)
    tokens = random_tokens(len(packed.clip_M))
    assert varlen_attention(torch.device("cpu"), torch.bfloat16, 64) is None
    torch.testing.assert_close(packed.attend(*tokens), packed.rows.attend(*tokens))


# Which kernel is taken


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_kernel_that_is_wrong_or_fails_is_passed_over(dtype: torch.dtype) -> None:
    def fail(*_: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError("no such operator for this device")

    def wrong_out(*inputs: Tensor) -> tuple[Tensor, Tensor]:
        out, lse = CPU.forward(*inputs)
        return 1.3 * out, lse

    def wrong_lse(*inputs: Tensor) -> tuple[Tensor, Tensor]:
        out, lse = CPU.forward(*inputs)
        return out, lse / math.log(2)  # as a kernel that counts in powers of two

    def wrong_backward(*inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        grad_q, grad_k, grad_v = CPU.backward(*inputs)
        return grad_k, grad_q, grad_v

    wrong = (
        FrameKernel("fails", fail, CPU.backward),
        FrameKernel("wrong output", wrong_out, CPU.backward),
        FrameKernel("wrong logsumexp", wrong_lse, CPU.backward),
        FrameKernel("wrong gradient", CPU.forward, wrong_backward),
    )
    where: dict[str, Any] = {"device": torch.device("cpu"), "dtype": dtype, "head_width": 64}
    assert first_right(wrong, **where) is PLAIN
    for kernel in wrong:
        assert first_right((kernel, CPU), **where) is CPU, kernel.name


def test_kernels_of_a_gpu_are_passed_over_without_one() -> None:
    where: dict[str, Any] = {"device": torch.device("cpu"), "dtype": torch.float32, "head_width": 64}
    assert first_right((FLASH, EFFICIENT), **where) is PLAIN
    assert frame_kernel(torch.device("cpu"), torch.float32, 64) is CPU


@pytest.mark.parametrize("kernel", [FLASH, EFFICIENT], ids=lambda kernel: kernel.name)
def test_operators_of_a_gpu_take_what_they_are_given(kernel: FrameKernel) -> None:
    """Their signatures and shapes, by tensors without contents: no GPU is needed, and no number is checked."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        q, k, v, grad = (torch.empty(3, 2, 197, 64, dtype=torch.bfloat16, device="cuda") for _ in range(4))
        out, lse = kernel.forward(q, k, v)
        assert (out.shape, lse.shape) == (q.shape, q.shape[:3])
        assert all(one.shape == q.shape for one in kernel.backward(grad, q, k, v, out, lse))


def test_rows_are_padded_by_at_most_a_tenth() -> None:
    lengths = (0.02 * share for share in range(51))
    packing = pack(ragged_keep(*lengths, num_steps=8, side=8))
    for rows in joint_rows(packing, num_cls=1, dtype=torch.float64).rows:
        assert rows.index_RL.numel() <= 1.1 * len(rows.valid_N) + 1


def test_nothing_dropped_needs_no_bias() -> None:
    sequences = joint_rows(pack(torch.ones(3, 4, 2, 2, dtype=torch.bool)), num_cls=1, dtype=torch.float64)
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
