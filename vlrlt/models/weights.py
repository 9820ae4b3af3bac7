"""Weights from a safetensors file into a module, strictly: a mismatch names every key. Nothing is unpickled."""

from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from vlrlt.errors import CheckpointError


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file.

    Raises:
        CheckpointError: it is absent or damaged.
    """
    try:
        weights: dict[str, torch.Tensor] = safetensors.torch.load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot read weights: {error}") from error
    return weights


def load_weights(module: nn.Module, weights: dict[str, torch.Tensor], *, source: str) -> None:
    """Copy weights into a module, strictly.

    Raises:
        CheckpointError: names every missing, unexpected and misshapen key.
    """
    check_shapes(module, weights, source=source)
    module.load_state_dict(weights)


def check_shapes(module: nn.Module, weights: dict[str, torch.Tensor], *, source: str) -> None:
    """Compare weights with a module, which may be on the device "meta": then nothing large is allocated.

    Raises:
        CheckpointError: names every missing, unexpected and misshapen key.
    """
    expected = module.state_dict()
    problems = [f"missing {key}" for key in sorted(expected.keys() - weights.keys())]
    problems += [f"unexpected {key}" for key in sorted(weights.keys() - expected.keys())]
    problems += [
        f"{key} has shape {tuple(weights[key].shape)} instead of {tuple(expected[key].shape)}"
        for key in sorted(expected.keys() & weights.keys())
        if weights[key].shape != expected[key].shape
    ]
    if problems:
        raise CheckpointError(f"{source}: weights do not fit the architecture: {'; '.join(problems)}")


def check_finite(module: nn.Module, *, source: str) -> None:
    """Refuse weights that are no numbers: indexing with them would end well and find nothing.

    Raises:
        CheckpointError: names the tensors.
    """
    broken = [
        key
        for key, tensor in module.state_dict().items()
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all())
    ]
    if broken:
        more = f" and {len(broken) - 3} more" if len(broken) > 3 else ""
        raise CheckpointError(
            f"{source}: weights that are not finite numbers in {', '.join(broken[:3])}{more}; the file is damaged, or "
            "its training diverged"
        )
