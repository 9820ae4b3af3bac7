"""Batches larger than memory: clips are encoded in chunks whose activations are computed again in the backward pass.

The loss sees the embeddings of the whole batch, so its gradients are exactly those of one large batch (GradCache,
arXiv 2101.06983). Written with torch's checkpointing, optimisation stays automatic: accumulation, clipping, mixed
precision and DDP need to know nothing of it.

Shape legend: B clips, T frames, S outputs of a clip, E embedding.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

Encode = Callable[[Tensor], Tensor]
"""rgb_BTHWC -> embeddings (B, S, E); everything else about a clip is lost."""


def encode_in_chunks(encode: Encode, rgb_BTHWC: Tensor, chunks: list[list[int]]) -> Tensor:
    """Embeddings (B, S, E) in the clips' own order, with the activations of one chunk in memory at a time.

    Args:
        encode: must treat clips independently.
        rgb_BTHWC: the batch.
        chunks: indices of the clips of each chunk; every clip once.
    """
    order = [index for chunk in chunks for index in chunk]
    parts = [checkpoint(encode, rgb_BTHWC[chunk], use_reentrant=False) for chunk in chunks]
    place_B = torch.empty(len(order), dtype=torch.int64)
    place_B[order] = torch.arange(len(order))
    embeddings_BSE: Tensor = torch.cat(parts)[place_B.to(rgb_BTHWC.device)]
    return embeddings_BSE


def chunks_by_tokens(num_tokens_B: list[int], budget_tokens: int) -> list[list[int]]:
    """Clips side by side until the next would exceed a budget of tokens; a clip that exceeds it alone stands alone.

    Still clips share a chunk with many others, restless ones with few: memory is bounded by tokens, whatever moves.
    The longest come first, so that attention pads little.
    """
    chunks: list[list[int]] = []
    room = 0
    for index in sorted(range(len(num_tokens_B)), key=lambda index: (-num_tokens_B[index], index)):
        if not chunks or num_tokens_B[index] > room:
            chunks.append([])
            room = budget_tokens
        chunks[-1].append(index)
        room -= num_tokens_B[index]
    return chunks
