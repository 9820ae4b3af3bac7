"""Fused attention of PyTorch, and which of it works on this machine. None of it is compiled here.

A kernel is taken after it has given, once in a process, what the plain formula gives: it is called through operators
that PyTorch does not promise to keep, and no GPU was at hand when this was written. What fails is passed over.

Shape legend: F rows, H heads, A tokens of a row, E width of a head, M packed tokens.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_ATEN: Any = torch.ops.aten
_LSE_MULTIPLE = 32
"""The memory-efficient kernel wants logsumexps of a multiple of this many tokens."""
_TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-3, torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""Of the comparison with the plain formula, absolute; values are about 1."""


@dataclass(frozen=True)
class FrameKernel:
    """Attention of rows of one length, which tells the logsumexp of each token's logits."""

    name: str
    forward: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
    """Queries, keys, values (F, H, A, E) to outputs (F, H, A, E) and logsumexps (F, H, A)."""
    backward: Callable[..., tuple[Tensor, Tensor, Tensor]]
    """Gradients of queries, keys and values; of the gradient, q, k, v, the outputs and the logsumexps.

    The last two may be those of a larger attention that the rows are a part of.
    """


def _plain_forward(q_FHAE: Tensor, k_FHAE: Tensor, v_FHAE: Tensor) -> tuple[Tensor, Tensor]:
    logits_FHAA = (q_FHAE @ k_FHAE.mT).to(_wide(q_FHAE.dtype)) * q_FHAE.shape[-1] ** -0.5
    lse_FHA = logits_FHAA.logsumexp(-1)
    return (logits_FHAA - lse_FHA[..., None]).exp().to(q_FHAE.dtype) @ v_FHAE, lse_FHA


def _plain_backward(
    grad_FHAE: Tensor, q_FHAE: Tensor, k_FHAE: Tensor, v_FHAE: Tensor, out_FHAE: Tensor, lse_FHA: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    scale = q_FHAE.shape[-1] ** -0.5
    share_FHAA = ((q_FHAE @ k_FHAE.mT).to(lse_FHA.dtype) * scale - lse_FHA[..., None]).exp().to(q_FHAE.dtype)
    mean_FHA1 = (grad_FHAE * out_FHAE).sum(-1, keepdim=True)
    grad_logits_FHAA = share_FHAA * (grad_FHAE @ v_FHAE.mT - mean_FHA1) * scale
    return grad_logits_FHAA @ k_FHAE, grad_logits_FHAA.mT @ q_FHAE, share_FHAA.mT @ grad_FHAE


def _cpu_forward(q_FHAE: Tensor, k_FHAE: Tensor, v_FHAE: Tensor) -> tuple[Tensor, Tensor]:
    out_FHAE, lse_FHA = _ATEN._scaled_dot_product_flash_attention_for_cpu(q_FHAE, k_FHAE, v_FHAE)
    return out_FHAE, lse_FHA


def _cpu_backward(*inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    grads: tuple[Tensor, Tensor, Tensor] = _ATEN._scaled_dot_product_flash_attention_for_cpu_backward(
        *inputs, 0.0, False
    )
    return grads


def _flash_forward(q_FHAE: Tensor, k_FHAE: Tensor, v_FHAE: Tensor) -> tuple[Tensor, Tensor]:
    out_FHAE, lse_FHA, *_ = _ATEN._scaled_dot_product_flash_attention(q_FHAE, k_FHAE, v_FHAE)
    return out_FHAE, lse_FHA


def _efficient_forward(q_FHAE: Tensor, k_FHAE: Tensor, v_FHAE: Tensor) -> tuple[Tensor, Tensor]:
    out_FHAE, lse_FHL, *_ = _ATEN._scaled_dot_product_efficient_attention(q_FHAE, k_FHAE, v_FHAE, None, True)
    return out_FHAE, lse_FHL[..., : q_FHAE.shape[2]]


def _efficient_backward(
    grad_FHAE: Tensor, q_FHAE: Tensor, k_FHAE: Tensor, v_FHAE: Tensor, out_FHAE: Tensor, lse_FHA: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    lse_FHL = functional.pad(lse_FHA, (0, -lse_FHA.shape[2] % _LSE_MULTIPLE), value=torch.inf)
    no_seed = torch.zeros((), dtype=torch.int64, device=q_FHAE.device)  # of dropout
    inputs = (grad_FHAE, q_FHAE, k_FHAE, v_FHAE, None, out_FHAE, lse_FHL.float(), no_seed, no_seed)
    grad_q, grad_k, grad_v, _ = _ATEN._scaled_dot_product_efficient_attention_backward(
        *inputs, 0.0, [True, True, True, False]
    )
    return grad_q, grad_k, grad_v


PLAIN = FrameKernel("plain", _plain_forward, _plain_backward)
"""Any device, any type; slow, and the one that the others must agree with."""
CPU = FrameKernel("fused on the CPU", _cpu_forward, _cpu_backward)
EFFICIENT = FrameKernel("memory-efficient", _efficient_forward, _efficient_backward)
FLASH = FrameKernel("flash", _flash_forward, _efficient_backward)


@cache
def frame_kernel(device: torch.device, dtype: torch.dtype, head_width: int) -> FrameKernel:
    """The fastest kernel that gives the right numbers here."""
    if device.type == "cpu":
        return CPU
    candidates = (FLASH, EFFICIENT) if dtype in (torch.float16, torch.bfloat16) else (EFFICIENT,)
    return first_right(candidates, device=device, dtype=dtype, head_width=head_width)


def first_right(
    candidates: tuple[FrameKernel, ...], *, device: torch.device, dtype: torch.dtype, head_width: int
) -> FrameKernel:
    """The first kernel that agrees with the plain formula, forwards and backwards; else PLAIN."""
    for kernel in candidates:
        if device.type in ("cpu", "cuda") and _agrees(kernel, device=device, dtype=dtype, head_width=head_width):
            return kernel
    return PLAIN


def _agrees(kernel: FrameKernel, *, device: torch.device, dtype: torch.dtype, head_width: int) -> bool:
    try:
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            generator = torch.Generator().manual_seed(0)
            q, k, v, grad = (torch.randn(3, 2, 37, head_width, generator=generator).to(device, dtype) for _ in range(4))
            out, lse = kernel.forward(q, k, v)
            right_out, right_lse = PLAIN.forward(q, k, v)
            merged = (0.5 * right_out, right_lse + 1)  # of a larger attention
            grads = kernel.backward(grad, q, k, v, *merged)
            right_grads = PLAIN.backward(grad, q, k, v, *merged)
    except Exception:  # an operator that is not there, or not for this device; torch has many types
        return False
    pairs = ((out, right_out), (lse, right_lse), *zip(grads, right_grads, strict=True))
    return all(_near(one, right, tolerance=_TOLERANCE[dtype]) for one, right in pairs)


VarlenAttention = Callable[[Tensor, Tensor, Tensor, Tensor, int, float], Tensor]
"""Queries, keys, values (M, H, E) of sequences that lie one after the other, where each begins and the last ends
(int32), tokens of the longest, scale of the logits; to outputs (M, H, E)."""


def _varlen(q_MHE: Tensor, k_MHE: Tensor, v_MHE: Tensor, ends: Tensor, longest: int, scale: float) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    out_MHE: Tensor = varlen_attn(q_MHE, k_MHE, v_MHE, ends, ends, longest, longest, scale=scale)  # type: ignore[assignment]
    return out_MHE


def plain_varlen(q_MHE: Tensor, k_MHE: Tensor, v_MHE: Tensor, ends: Tensor, _longest: int, scale: float) -> Tensor:
    """The same sequence by sequence, on any device."""
    out_MHE = torch.empty_like(q_MHE)
    for start, end in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True):
        q_HLE, k_HLE, v_HLE = (x_MHE[start:end].transpose(0, 1) for x_MHE in (q_MHE, k_MHE, v_MHE))
        out_MHE[start:end] = ((q_HLE @ k_HLE.mT * scale).softmax(-1) @ v_HLE).transpose(0, 1)
    return out_MHE


@cache
def varlen_attention(device: torch.device, dtype: torch.dtype, head_width: int) -> VarlenAttention | None:
    """Attention without padding, if it gives the right numbers here: on CUDA, in float16 and bfloat16."""
    if device.type != "cuda" or dtype not in (torch.float16, torch.bfloat16):
        return None
    try:
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            generator = torch.Generator().manual_seed(0)
            q, k, v = (torch.randn(50, 2, head_width, generator=generator).to(device, dtype) for _ in range(3))
            ends = torch.tensor([0, 1, 14, 50], dtype=torch.int32, device=device)
            arguments = (q, k, v, ends, 36, head_width**-0.5)
            is_right = _near(_varlen(*arguments), plain_varlen(*arguments), tolerance=_TOLERANCE[dtype])
    except Exception:  # as above
        return None
    return _varlen if is_right else None


def _near(one: Tensor, right: Tensor, *, tolerance: float) -> bool:
    return bool(torch.allclose(one.double(), right.double(), rtol=tolerance, atol=tolerance))


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)
