"""Threads that multiply matrices."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def leave_cores_to_decoders() -> Iterator[None]:
    """Let PyTorch compute on half of the cores at most, since processes that decode videos have the others.

    Threads that wait for each other burn the time of those processes. On two cores with ViT-Ti/16, two threads took
    12.2 CPU seconds and 8.2 s of wall time where one took 8.6 and 6.8 (docs/experiments/looks.md).
    """
    torch = sys.modules.get("torch")  # who computes with it has imported it
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(min(before, max(1, (os.cpu_count() or 1) // 2)))
    try:
        yield
    finally:
        torch.set_num_threads(before)
