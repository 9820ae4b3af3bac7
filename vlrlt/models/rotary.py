"""Axial rotary positions of patches: the attention of a query to a key depends on the distance of their positions.

Shape legend: M packed tokens, N patch tokens among them, P places of the patch grid, H heads, E channels of a head,
F = E / 2 rotated pairs of channels, 2 = cosine, sine.
"""

import torch
from torch import Tensor

_TEMPERATURE = 10_000.0


def rotary_table(grid_size: int, head_width: int) -> Tensor:
    """Cosines and sines (P, 2, F) of all places: half of the pairs turn with the column, half with the row.

    Places count from 1, as in Perception Encoder (arXiv 2504.13181); RoFormer, arXiv 2104.09864, equation 34.
    """
    frequency = _TEMPERATURE ** -(torch.arange(head_width // 4) / (head_width // 4))
    angle = torch.arange(1, grid_size + 1)[:, None] * frequency
    columns_PF, rows_PF = angle.repeat(grid_size, 1), angle.repeat_interleave(grid_size, 0)
    angle_PF = torch.cat([columns_PF, rows_PF], 1)
    return torch.stack([angle_PF.cos(), angle_PF.sin()], 1)


def rotation_of(table_P2F: Tensor, patch_N: Tensor, *, num_cls: int) -> Tensor:
    """Cosines and sines (M, 2, F) of num_cls CLS tokens, which have no place and do not turn, then of patch tokens."""
    still_2F = torch.zeros_like(table_P2F[0])
    still_2F[0] = 1
    return torch.cat([still_2F.expand(num_cls, -1, -1), table_P2F[patch_N]])


def rotate(x_MHE: Tensor, rotation_M2F: Tensor) -> Tensor:
    """Turn each pair of neighbouring channels by the angle of its token."""
    cos_M1F, sin_M1F = rotation_M2F.unsqueeze(2).unbind(1)
    even_MHF, odd_MHF = x_MHE[..., ::2], x_MHE[..., 1::2]
    turned = (even_MHF * cos_M1F - odd_MHF * sin_M1F, odd_MHF * cos_M1F + even_MHF * sin_M1F)
    return torch.stack(turned, -1).flatten(-2).to(x_MHE.dtype)
