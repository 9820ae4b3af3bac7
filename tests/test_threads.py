"""While a library is indexed PyTorch leaves cores to the processes that decode, and gets them back."""

import os
from pathlib import Path

import pytest
import torch
from colour import ColourEmbedder, write_colours

from vlrlt.index.run.build import index_paths
from vlrlt.types import ClipEmbeddings, UInt8Array


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (8, 3)])
def test_half_of_the_cores_multiply(cores: int, threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never more threads than there were: three here."""
    seen = []

    class Embedder(ColourEmbedder):
        def embed_clips(self, rgb_BTHWC: UInt8Array) -> ClipEmbeddings:
            seen.append(torch.get_num_threads())
            return super().embed_clips(rgb_BTHWC)

    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        video = write_colours(tmp_path / "a.mp4", [("red", 1)])
        index_paths([video], library_dir=tmp_path / "library", embedder=Embedder())
        assert set(seen) == {threads}
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
