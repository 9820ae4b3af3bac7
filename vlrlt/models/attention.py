"""Which tokens attend to each other in a packed batch, and the fastest way found to compute it.

Every linear layer sees one packed batch of real tokens. Attention is the one place where tokens meet, and only those of
one clip do. Two forms compute it; they agree to rounding, and tests hold them to a plain double loop.

RowAttention    A clip is a row. Rows of similar length are padded together and attend with one additive bias.
PackedAttention joint on CUDA in half precision: clips lie one after the other, without padding and without a bias. The
                log of a run length is one more number of a key, which every query multiplies by one.
FrameAttention  run_overlap only. In every frame exactly one token stands at each place of the patch grid, its own or
                one that is still alive; with the frame's CLS that is A tokens, for every frame of every clip: a batch
                without padding. A token of a run of r frames takes part in r of these small attentions, and its outputs
                are merged with the weights exp(logsumexp), as flash attention merges blocks of keys. A key that two
                runs share for m frames is met m times, which is the bias log m of run_overlap without any bias. It
                never costs more than encoding frame by frame.

In run_overlap, steps in which nothing changes show the same tokens as the distinct step before them, so they share its
CLS: a run too, exactly. A distinct step is computed once and counts for as many steps as it lasts.

RowAttention compares each pair of a clip's tokens once, FrameAttention each pair of alive tokens of each frame, so the
number of pairs decides (measured in benchmarks/encode_speed.py).

Shape legend: M packed tokens (all CLS first, then N kept tokens in (clip, t, h, w) order), B clips, S steps,
F distinct steps, P = h * w places, A = CLS + P tokens alive in one, R rows padded together, L tokens of the longest of
them, H heads, E width of a head.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from vlrlt.models.kernels import FrameKernel, VarlenAttention, frame_kernel, varlen_attention
from vlrlt.tokens.packing import Packing

_MAX_PADDING = 1.1
"""Rows are padded together when the longest is at most this many times the shortest."""
_MORE_WIDTH = 8
"""By which keys grow for the log of their run length: fused kernels want a multiple of it."""


class Sequences(Protocol):
    """The clips of a packed batch."""

    @property
    def clip_M(self) -> Tensor:
        """Clip of each packed token."""
        ...

    @property
    def num_clips(self) -> int:
        """B."""
        ...

    def attend(self, q_MHE: Tensor, k_MHE: Tensor, v_MHE: Tensor) -> Tensor:
        """Attention inside each clip, packed tokens in, packed tokens out."""
        ...


@dataclass(frozen=True)
class _Rows:
    """Clips of similar length, padded to the longest."""

    index_RL: Tensor
    """Packed token of each slot; padding repeats a token of the row."""
    valid_N: Tensor
    """Slots that are no padding, as positions in R * L."""
    bias: Tensor | None
    """Added to the logits: (R, 1, 1, L) or (R, 1, L, L), minus infinity on padding; None: nothing to add."""


@dataclass(frozen=True)
class RowAttention:
    """Each clip as one row; made by `joint_attention` and `run_overlap_attention`."""

    clip_M: Tensor
    num_clips: int
    rows: tuple[_Rows, ...]

    def attend(self, q_MHE: Tensor, k_MHE: Tensor, v_MHE: Tensor) -> Tensor:
        """See `Sequences.attend`."""
        attended, tokens = [], []
        for rows in self.rows:
            q_RHLE, k_RHLE, v_RHLE = (_gather(x_MHE, rows.index_RL) for x_MHE in (q_MHE, k_MHE, v_MHE))
            bias = None if rows.bias is None else rows.bias.to(q_RHLE.dtype)
            out_RHLE = functional.scaled_dot_product_attention(q_RHLE, k_RHLE, v_RHLE, attn_mask=bias)
            attended.append(out_RHLE.transpose(1, 2).flatten(0, 1).index_select(0, rows.valid_N))
            tokens.append(rows.index_RL.flatten()[rows.valid_N])
        token_M = torch.cat(tokens)
        place_M = torch.empty_like(token_M).scatter_(0, token_M, torch.arange(len(token_M), device=token_M.device))
        return torch.cat(attended).index_select(0, place_M)


@dataclass(frozen=True)
class FrameAttention:
    """Each frame as one row of the tokens that are alive in it; made by `run_overlap_attention`."""

    clip_M: Tensor
    num_clips: int
    alive_FA: Tensor
    """See `alive_tokens`."""
    length_F: Tensor
    """Steps that show each distinct step."""

    def attend(self, q_MHE: Tensor, k_MHE: Tensor, v_MHE: Tensor) -> Tensor:
        """See `Sequences.attend`."""
        return self.attend_by(frame_kernel(q_MHE.device, q_MHE.dtype, q_MHE.shape[-1]), q_MHE, k_MHE, v_MHE)

    def attend_by(self, kernel: FrameKernel, q_MHE: Tensor, k_MHE: Tensor, v_MHE: Tensor) -> Tensor:
        """The same by a kernel of one's own choice."""
        attended: Tensor = _FrameAttention.apply(q_MHE, k_MHE, v_MHE, self.alive_FA, self.length_F, kernel)
        return attended


@dataclass(frozen=True)
class PackedAttention:
    """All clips in one sequence of tokens; made by `joint_attention` on CUDA."""

    clip_M: Tensor
    num_clips: int
    rows: RowAttention
    """What is done where there is no kernel for packed sequences."""
    order_M: Tensor
    """Packed tokens clip by clip."""
    ends: Tensor
    """(B + 1,) int32: in that order, where each clip begins and the last one ends."""
    longest: int
    """Tokens of the longest clip."""
    log_length_M: Tensor | None
    """Logs of run lengths, float32, in that order; None: all are 1."""

    def attend(self, q_MHE: Tensor, k_MHE: Tensor, v_MHE: Tensor) -> Tensor:
        """See `Sequences.attend`."""
        more_width = 0 if self.log_length_M is None else _MORE_WIDTH
        kernel = varlen_attention(q_MHE.device, q_MHE.dtype, q_MHE.shape[-1] + more_width)
        return self.rows.attend(q_MHE, k_MHE, v_MHE) if kernel is None else self.attend_by(kernel, q_MHE, k_MHE, v_MHE)

    def attend_by(self, kernel: VarlenAttention, q_MHE: Tensor, k_MHE: Tensor, v_MHE: Tensor) -> Tensor:
        """The same by a kernel of one's own choice."""
        width, scale = q_MHE.shape[-1], q_MHE.shape[-1] ** -0.5
        q_MHE, k_MHE, v_MHE = (x_MHE.index_select(0, self.order_M) for x_MHE in (q_MHE, k_MHE, v_MHE))
        if self.log_length_M is not None:
            q_MHE, k_MHE, v_MHE = (functional.pad(x_MHE, (0, _MORE_WIDTH)) for x_MHE in (q_MHE, k_MHE, v_MHE))
            logit_M1 = self.log_length_M[:, None] / scale
            high_M1 = logit_M1.to(k_MHE.dtype)  # two numbers hold it as exactly as float32 does
            q_MHE[..., width : width + 2] = 1
            k_MHE[..., width], k_MHE[..., width + 1] = high_M1, (logit_M1 - high_M1).to(k_MHE.dtype)
        out_MHE = kernel(q_MHE, k_MHE, v_MHE, self.ends, self.longest, scale)[..., :width]
        place_M = torch.empty_like(self.order_M).scatter_(
            0, self.order_M, torch.arange(len(self.order_M), device=self.order_M.device)
        )
        return out_MHE.index_select(0, place_M)


def joint_attention(
    packing: Packing, *, num_cls: int, dtype: torch.dtype, log_run_length: bool = True
) -> RowAttention | PackedAttention:
    """All tokens of a clip and its num_cls CLS meet; a key weighs as much as the run it stands for, or all the same."""
    if packing.clip_N.device.type == "cuda":
        return joint_packed(packing, num_cls=num_cls, dtype=dtype, log_run_length=log_run_length)
    return joint_rows(packing, num_cls=num_cls, dtype=dtype, log_run_length=log_run_length)


def joint_packed(packing: Packing, *, num_cls: int, dtype: torch.dtype, log_run_length: bool = True) -> PackedAttention:
    """Joint without padding."""
    rows = joint_rows(packing, num_cls=num_cls, dtype=dtype, log_run_length=log_run_length)
    order_M = rows.clip_M.argsort(stable=True)
    length_B = packing.num_tokens_B + num_cls
    weight_M = torch.cat([torch.ones_like(rows.clip_M[: len(rows.clip_M) - len(packing.clip_N)]), packing.run_length_N])
    log_length_M = weight_M[order_M].to(torch.promote_types(dtype, torch.float32)).log()
    is_weighted = log_run_length and bool((weight_M > 1).any())
    return PackedAttention(
        clip_M=rows.clip_M,
        num_clips=rows.num_clips,
        rows=rows,
        order_M=order_M,
        ends=functional.pad(length_B.cumsum(0), (1, 0)).to(torch.int32),
        longest=int(length_B.max()) if len(length_B) else 0,
        log_length_M=log_length_M if is_weighted else None,
    )


def joint_rows(packing: Packing, *, num_cls: int, dtype: torch.dtype, log_run_length: bool = True) -> RowAttention:
    """Joint clip by clip, with the bias log(run length); also the reference form for tests."""
    cls_clip = torch.arange(packing.num_clips, device=packing.clip_N.device).repeat_interleave(num_cls)
    num_cls_B = torch.full_like(packing.num_tokens_B, num_cls)
    weight_N = packing.run_length_N if log_run_length else torch.ones_like(packing.run_length_N)
    log_length_M = torch.cat([torch.ones_like(cls_clip), weight_N]).to(dtype).log()
    is_weighted = len(log_length_M) > 0 and bool(log_length_M.max() > 0)

    def rows(clips: list[int]) -> _Rows:
        index_RL, is_valid_RL = _row_index(packing, clips, num_cls_B)
        bias = None
        if is_weighted or not bool(is_valid_RL.all()):
            bias = log_length_M[index_RL].masked_fill(~is_valid_RL, -torch.inf)[:, None, None]
        return _Rows(index_RL, is_valid_RL.flatten().nonzero()[:, 0], bias)

    lengths = (packing.num_tokens_B + num_cls_B).tolist()
    clip_M = torch.cat([cls_clip, packing.clip_N])
    return RowAttention(clip_M, packing.num_clips, tuple(map(rows, _similar(lengths))))


def run_overlap_attention(packing: Packing, *, has_cls: bool, dtype: torch.dtype) -> RowAttention | FrameAttention:
    """Tokens meet in proportion to the frames in which both are alive; the form with fewer pairs to compare."""
    if packing.clip_N.device.type not in ("cpu", "cuda"):  # nothing else has a kernel that tells the logsumexp
        return overlap_rows(packing, has_cls=has_cls, dtype=dtype)
    frames = frame_attention(packing, has_cls=has_cls)
    lengths = (packing.num_tokens_B + _num_cls_B(packing, has_cls=has_cls)).tolist()
    num_row_pairs = sum(len(clips) * lengths[clips[0]] ** 2 for clips in _similar(lengths))
    num_frame_pairs = frames.alive_FA.shape[0] * frames.alive_FA.shape[1] ** 2
    return frames if num_frame_pairs <= num_row_pairs else overlap_rows(packing, has_cls=has_cls, dtype=dtype)


def frame_attention(packing: Packing, *, has_cls: bool) -> FrameAttention:
    """run_overlap frame by frame."""
    clip_M = torch.cat([packing.distinct_clip_F, packing.clip_N]) if has_cls else packing.clip_N
    alive_FA = alive_tokens(packing, has_cls=has_cls)
    return FrameAttention(clip_M, packing.num_clips, alive_FA, packing.distinct_length_F)


def alive_tokens(packing: Packing, *, has_cls: bool) -> Tensor:
    """(F, A): the packed tokens that stand for each distinct step: its CLS, if any, then one a place, row by row."""
    token_BShw = (packing.keep_BShw.flatten().cumsum(0) - 1).view(packing.keep_BShw.shape)
    alive_BSP = torch.where(packing.keep_BShw, token_BShw, -1).cummax(1).values.flatten(2)
    alive_FP = alive_BSP[packing.distinct_clip_F, packing.distinct_step_F]
    if not has_cls:
        return alive_FP
    return torch.cat([torch.arange(len(alive_FP), device=alive_FP.device)[:, None], alive_FP + len(alive_FP)], 1)


def overlap_rows(packing: Packing, *, has_cls: bool, dtype: torch.dtype) -> RowAttention:
    """run_overlap clip by clip, with the bias log |run_i & run_j|; also the reference form for tests."""
    num_cls_B = _num_cls_B(packing, has_cls=has_cls)
    clip_M, start_M, length_M = packing.clip_N, packing.step_N, packing.run_length_N
    if has_cls:
        clip_M = torch.cat([packing.distinct_clip_F, clip_M])
        start_M = torch.cat([packing.distinct_step_F, start_M])
        length_M = torch.cat([packing.distinct_length_F, length_M])
    end_M = start_M + length_M

    def rows(clips: list[int]) -> _Rows:
        index_RL, is_valid_RL = _row_index(packing, clips, num_cls_B)
        start_RL, end_RL = start_M[index_RL], end_M[index_RL].masked_fill(~is_valid_RL, 0)  # padding is never alive
        met_RLL = torch.minimum(end_RL[:, :, None], end_RL[:, None]) - torch.maximum(
            start_RL[:, :, None], start_RL[:, None]
        )
        bias_RLL = met_RLL.clamp(min=0).to(dtype).log()
        # A padding query meets nobody; a row of minus infinities would be NaN, so it may look at the first slot.
        bias_RLL[..., 0].masked_fill_(~is_valid_RL, 0.0)
        return _Rows(index_RL, is_valid_RL.flatten().nonzero()[:, 0], bias_RLL[:, None])

    lengths = (packing.num_tokens_B + num_cls_B).tolist()
    return RowAttention(clip_M, packing.num_clips, tuple(map(rows, _similar(lengths))))


class _FrameAttention(torch.autograd.Function):
    """FrameAttention by a kernel that tells the logsumexp, which merging needs.

    The backward kernel turns logits into probabilities with the logsumexp it is given. Given the merged one, and the
    merged output, its gradients are those of the merged attention, frame by frame; tokens then sum theirs (the same
    step as in ring attention, arXiv 2310.01889).
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        q_MHE: Tensor,
        k_MHE: Tensor,
        v_MHE: Tensor,
        alive_FA: Tensor,
        length_F: Tensor,
        kernel: FrameKernel,
    ) -> Tensor:
        q_FHAE, k_FHAE, v_FHAE = (_gather(x_MHE, alive_FA) for x_MHE in (q_MHE, k_MHE, v_MHE))
        out_FHAE, lse_FHA = kernel.forward(q_FHAE, k_FHAE, v_FHAE)
        ctx.kernel = kernel
        out_MHE, lse_MH = _merge(out_FHAE, lse_FHA, alive_FA, length_F, num_tokens=len(q_MHE))
        ctx.save_for_backward(q_MHE, k_MHE, v_MHE, alive_FA, length_F, out_MHE, lse_MH)
        return out_MHE

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_MHE: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        q_MHE, k_MHE, v_MHE, alive_FA, length_F, out_MHE, lse_MH = ctx.saved_tensors
        grad_FHAE, q_FHAE, k_FHAE, v_FHAE, out_FHAE = (
            _gather(x_MHE, alive_FA) for x_MHE in (grad_MHE, q_MHE, k_MHE, v_MHE, out_MHE)
        )
        lse_FHA = lse_MH.index_select(0, alive_FA.flatten()).view(*alive_FA.shape, -1).transpose(1, 2)
        grads_FHAE = ctx.kernel.backward(grad_FHAE, q_FHAE, k_FHAE, v_FHAE, out_FHAE, lse_FHA)
        token_O = alive_FA.flatten()
        grads_MHE = (
            torch.zeros_like(q_MHE, memory_format=torch.contiguous_format).index_add_(
                0, token_O, (grad_FHAE * length_F[:, None, None, None]).transpose(1, 2).flatten(0, 1)
            )
            for grad_FHAE in grads_FHAE
        )
        return (*grads_MHE, None, None, None)


def _merge(
    out_FHAE: Tensor, lse_FHA: Tensor, alive_FA: Tensor, length_F: Tensor, *, num_tokens: int
) -> tuple[Tensor, Tensor]:
    """Outputs (M, H, E) and logsumexps (M, H) of tokens over all frames in which they are alive."""
    token_O = alive_FA.flatten()
    lse_FHA = lse_FHA + length_F.to(lse_FHA.dtype).log()[:, None, None]
    out_OHE, lse_OH = out_FHAE.transpose(1, 2).flatten(0, 1), lse_FHA.transpose(1, 2).flatten(0, 1)
    with torch.no_grad():  # a shift for numerical range only
        shift_MH = lse_OH.new_full((num_tokens, lse_OH.shape[1]), -torch.inf)
        shift_MH.scatter_reduce_(0, token_O[:, None].expand_as(lse_OH), lse_OH, "amax")
    weight_OH = (lse_OH - shift_MH[token_O]).exp()
    total_MH = torch.zeros_like(shift_MH).index_add(0, token_O, weight_OH)
    share_OH1 = (weight_OH / total_MH[token_O])[..., None]
    out_MHE = share_OH1.new_zeros(num_tokens, *out_OHE.shape[1:]).index_add(0, token_O, out_OHE * share_OH1)
    return out_MHE.to(out_FHAE.dtype), shift_MH + total_MH.log()


def _gather(x_MHE: Tensor, index: Tensor) -> Tensor:
    """Packed tokens to (rows, heads, slots, E)."""
    return x_MHE.index_select(0, index.flatten()).view(*index.shape, *x_MHE.shape[1:]).transpose(1, 2)


def _num_cls_B(packing: Packing, *, has_cls: bool) -> Tensor:
    """CLS of each clip in run_overlap: one for each distinct step."""
    return torch.bincount(packing.distinct_clip_F, minlength=packing.num_clips) * int(has_cls)


def _row_index(packing: Packing, clips: list[int], num_cls_B: Tensor) -> tuple[Tensor, Tensor]:
    """Packed token of each slot of some clips (CLS first), and which slots are no padding."""
    device = packing.clip_N.device
    clip_R1 = torch.tensor(clips, device=device)[:, None]
    num_cls_R1 = num_cls_B[clip_R1]
    length_R1 = packing.num_tokens_B[clip_R1] + num_cls_R1
    slot_L = torch.arange(int(length_R1.max()), device=device)
    cls_RL = (num_cls_B.cumsum(0) - num_cls_B)[clip_R1] + slot_L
    token_RL = num_cls_B.sum() + packing.cu_seqlens[clip_R1] + slot_L - num_cls_R1
    index_RL = torch.where(slot_L < num_cls_R1, cls_RL, token_RL)
    is_valid_RL = slot_L < length_R1
    return torch.where(is_valid_RL, index_RL, index_RL[:, :1]), is_valid_RL


def _similar(lengths: Sequence[int]) -> list[list[int]]:
    """Positions of lengths, in groups whose longest (first) is at most _MAX_PADDING times the shortest."""
    groups: list[list[int]] = []
    for position in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        if groups and lengths[groups[-1][0]] <= _MAX_PADDING * lengths[position]:
            groups[-1].append(position)
        else:
            groups.append([position])
    return groups
