"""Transformer blocks over a packed batch: linear layers see only real tokens, attention sees one clip at a time.

Shape legend: M packed tokens of all clips together, B clips, D width, H heads, E = D / H.
"""

import torch
from torch import Tensor, nn

from vlrlt.models.attention import Sequences
from vlrlt.models.config import Activation


class QuickGELU(nn.Module):
    """x * sigmoid(1.702 x), the activation of OpenAI's CLIP weights."""

    def forward(self, x: Tensor) -> Tensor:
        """Elementwise."""
        return x * torch.sigmoid(1.702 * x)


class Attention(nn.Module):
    """Multi-head self-attention inside each clip."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x_MD: Tensor, sequences: Sequences) -> Tensor:
        """Packed tokens in, packed tokens out."""
        q_MHE, k_MHE, v_MHE = self.qkv(x_MD).unflatten(1, (3, self.num_heads, -1)).unbind(1)
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
        self.mlp = nn.Sequential(
            nn.Linear(width, mlp_width),
            QuickGELU() if activation == "quick_gelu" else nn.GELU(),
            nn.Linear(mlp_width, width),
        )

    def forward(self, x_MD: Tensor, sequences: Sequences) -> Tensor:
        """Packed tokens in, packed tokens out."""
        x_MD = x_MD + self._drop_path(self.attention(self.norm_attention(x_MD), sequences), sequences)
        return x_MD + self._drop_path(self.mlp(self.norm_mlp(x_MD)), sequences)

    def _drop_path(self, branch_MD: Tensor, sequences: Sequences) -> Tensor:
        """Stochastic depth per clip: one draw for the packed batch would drop all clips together."""
        if not self.training or self.drop_path == 0:
            return branch_MD
        keep_B = torch.rand(sequences.num_clips, device=branch_MD.device) >= self.drop_path
        scale_B = keep_B.to(branch_MD.dtype) / (1 - self.drop_path)
        return branch_MD * scale_B[sequences.clip_M, None]
