"""Ragged clips as one packed batch.

A distinct step is a step in which something is kept. The steps after it in which nothing is kept show the same tokens.

Shape legend: B clips, S steps, h x w patch grid, N kept tokens of all clips together in (clip, t, h, w) order,
F distinct steps of all clips together in (clip, step) order.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from vlrlt.tokens.run_length import run_lengths


@dataclass(frozen=True, kw_only=True)
class Packing:
    """Where each kept token comes from; made by `pack`, all of it from one gather of the keep mask."""

    keep_BShw: Tensor
    clip_N: Tensor
    """Index of the token's clip, int64, ascending."""
    step_N: Tensor
    """First step of the token's run."""
    patch_N: Tensor
    """Row-major position in the patch grid, row * w + column."""
    run_length_N: Tensor
    """Steps that the token stands for, >= 1."""
    cu_seqlens: Tensor
    """(B + 1,) int64: tokens of clip b are [cu_seqlens[b], cu_seqlens[b + 1])."""

    distinct_BS: Tensor
    """Index of the distinct step that each step shows, int64."""
    distinct_clip_F: Tensor
    """Clip of each distinct step."""
    distinct_step_F: Tensor
    """The distinct step's own number."""
    distinct_length_F: Tensor
    """Steps that show the same tokens, >= 1."""

    @property
    def num_clips(self) -> int:
        """B."""
        return self.keep_BShw.shape[0]

    @property
    def num_steps(self) -> int:
        """S."""
        return self.keep_BShw.shape[1]

    @property
    def middle_step_N(self) -> Tensor:
        """Step in the middle of each token's run; the earlier of two."""
        return self.step_N + (self.run_length_N - 1) // 2

    @property
    def num_tokens_BS(self) -> Tensor:
        """Kept tokens of each step."""
        return self.keep_BShw.flatten(2).sum(2)

    @property
    def num_tokens_B(self) -> Tensor:
        """Kept tokens of each clip."""
        return self.cu_seqlens.diff()


def pack(keep_BShw: Tensor) -> Packing:
    """Lay out the kept tokens of a batch, clip after clip, each in (t, h, w) order."""
    clip_N, step_N, row_N, column_N = keep_BShw.nonzero(as_tuple=True)
    num_tokens_B = keep_BShw.flatten(1).sum(1)
    cu_seqlens = torch.zeros(len(keep_BShw) + 1, dtype=torch.int64, device=keep_BShw.device)
    cu_seqlens[1:] = num_tokens_B.cumsum(0)
    is_new_BS11 = keep_BShw.flatten(2).any(2)[..., None, None]
    distinct_clip_F, distinct_step_F, _, _ = is_new_BS11.nonzero(as_tuple=True)
    return Packing(
        keep_BShw=keep_BShw,
        clip_N=clip_N,
        step_N=step_N,
        patch_N=row_N * keep_BShw.shape[-1] + column_N,
        run_length_N=run_lengths(keep_BShw)[keep_BShw],
        cu_seqlens=cu_seqlens,
        distinct_BS=is_new_BS11.flatten().cumsum(0).view(keep_BShw.shape[:2]) - 1,
        distinct_clip_F=distinct_clip_F,
        distinct_step_F=distinct_step_F,
        distinct_length_F=run_lengths(is_new_BS11)[is_new_BS11],
    )
