"""Attention pooling: one learned query looks at the tokens of each frame.

Shape legend: M packed tokens, F frames, A tokens alive in a frame, D width, H heads, E = D / H.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from vlrlt.models.config import Activation
from vlrlt.models.layers import Linear, mlp


class AttentionPool(nn.Module):
    """Multi-head attention of a learned query, then a residual MLP (the MAP head of SigLIP, arXiv 2303.15343).

    Args:
        width: of the tokens.
        num_heads: of the attention.
        mlp_width: hidden size of the MLP.
        activation: of the MLP.
        norm_epsilon: of the LayerNorm before the MLP.
    """

    def __init__(
        self, *, width: int, num_heads: int, mlp_width: int, activation: Activation, norm_epsilon: float
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Parameter(torch.empty(width))
        self.kv = Linear(width, 2 * width)
        self.out = Linear(width, width)
        self.norm_mlp = nn.LayerNorm(width, eps=norm_epsilon)
        self.mlp = mlp(width=width, hidden_width=mlp_width, activation=activation)
        nn.init.normal_(self.query, std=0.02)

    def forward(self, x_MD: Tensor, alive_FA: Tensor) -> Tensor:
        """Pool the frames.

        Args:
            x_MD: packed tokens; keys and values are computed once for each, however many frames it is alive in.
            alive_FA: for every frame the packed indices of its tokens.

        Returns:
            (F, D).
        """
        kv_FA2HE = self.kv(x_MD).unflatten(-1, (2, self.num_heads, -1))[alive_FA]
        k_FHAE, v_FHAE = kv_FA2HE.permute(2, 0, 3, 1, 4)
        q_FH1E = self.query.view(self.num_heads, 1, -1).to(k_FHAE.dtype).expand(len(k_FHAE), -1, -1, -1)
        pooled_FHE = functional.scaled_dot_product_attention(q_FH1E, k_FHAE, v_FHAE).squeeze(2)
        x_FD = self.out(pooled_FHE.flatten(1))
        refined_FD: Tensor = x_FD + self.mlp(self.norm_mlp(x_FD))
        return refined_FD
