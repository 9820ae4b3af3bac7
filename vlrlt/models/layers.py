"""Transformer blocks over a packed batch: linear layers see only real tokens, attention sees one clip at a time.

Shape legend: M packed tokens of all clips together, B clips, D width, H heads, E = D / H.
"""

from typing import Any

import torch
from torch import Tensor, nn

from vlrlt.models.attention import Sequences
from vlrlt.models.config import Activation
from vlrlt.models.rotary import rotate

_ONEDNN: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
_ONEDNN_ROWS = 256
"""It compiles and keeps half a megabyte of code for every number of rows that it is given: so it gets one number."""


class Linear(nn.Linear):
    """nn.Linear, by oneDNN in float32 inference on a CPU: the operator that torch.compile puts in its place.

    PyTorch itself takes MKL, which is half as fast on AMD's processors (docs/experiments/onednn.md).
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  torch's name
        """As nn.Linear."""
        is_plain = input.dtype == self.weight.dtype == torch.float32 and input.device.type == "cpu" and input.ndim == 2
        if _ONEDNN is None or not is_plain or torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"):
            return super().forward(input)
        pieces = input.split(_ONEDNN_ROWS)  # type: ignore[no-untyped-call]
        return torch.cat([self._few_rows(rows) for rows in pieces])

    def _few_rows(self, rows: Tensor) -> Tensor:
        if len(rows) < _ONEDNN_ROWS:
            return super().forward(rows)
        output: Tensor = _ONEDNN(rows, self.weight, self.bias, "none", [], "")
        return output


class QuickGELU(nn.Module):
    """x * sigmoid(1.702 x), the activation of OpenAI's CLIP weights."""

    def forward(self, x: Tensor) -> Tensor:
        """Elementwise."""
        return x * torch.sigmoid(1.702 * x)


def mlp(*, width: int, hidden_width: int, activation: Activation) -> nn.Sequential:
    """Two linear layers and an activation between them."""
    activations: dict[Activation, nn.Module] = {
        "gelu": nn.GELU(),
        "gelu_tanh": nn.GELU(approximate="tanh"),
        "quick_gelu": QuickGELU(),
    }
    return nn.Sequential(Linear(width, hidden_width), activations[activation], Linear(hidden_width, width))


class Attention(nn.Module):
    """Multi-head self-attention inside each clip."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = Linear(width, 3 * width)
        self.out = Linear(width, width)

    def forward(self, x_MD: Tensor, sequences: Sequences, rotation_M2F: Tensor | None = None) -> Tensor:
        """Packed tokens in, packed tokens out; a rotation tells queries and keys their places."""
        q_MHE, k_MHE, v_MHE = self.qkv(x_MD).unflatten(1, (3, self.num_heads, -1)).unbind(1)
        if rotation_M2F is not None:
            q_MHE, k_MHE = rotate(q_MHE, rotation_M2F), rotate(k_MHE, rotation_M2F)
        out_MD: Tensor = self.out(sequences.attend(q_MHE, k_MHE, v_MHE).flatten(1))
        return out_MD


class Block(nn.Module):
    """Pre-norm transformer block: attention, then an MLP, both residual."""

    def __init__(
        self,
        *,
        width: int,
        num_heads: int,
        mlp_width: int,
        activation: Activation,
        norm_epsilon: float,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.drop_path = drop_path
        self.norm_attention = nn.LayerNorm(width, eps=norm_epsilon)
        self.attention = Attention(width, num_heads)
        self.norm_mlp = nn.LayerNorm(width, eps=norm_epsilon)
        self.mlp = mlp(width=width, hidden_width=mlp_width, activation=activation)

    def forward(self, x_MD: Tensor, sequences: Sequences, rotation_M2F: Tensor | None = None) -> Tensor:
        """Packed tokens in, packed tokens out; see `vlrlt.models.rotary` for the rotation."""
        attended_MD = self.attention(self.norm_attention(x_MD), sequences, rotation_M2F)
        x_MD = x_MD + self._drop_path(attended_MD, sequences)
        return x_MD + self._drop_path(self.mlp(self.norm_mlp(x_MD)), sequences)

    def _drop_path(self, branch_MD: Tensor, sequences: Sequences) -> Tensor:
        """Stochastic depth per clip: one draw for the packed batch would drop all clips together."""
        if not self.training or self.drop_path == 0:
            return branch_MD
        keep_B = torch.rand(sequences.num_clips, device=branch_MD.device) >= self.drop_path
        scale_B = keep_B.to(branch_MD.dtype) / (1 - self.drop_path)
        return branch_MD * scale_B[sequences.clip_M, None]
