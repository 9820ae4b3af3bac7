"""The CPU half of benchmarks/gpu.py: what runs there must run here first."""

import argparse
from pathlib import Path

import gpu
import torch


def test_parts_run_on_a_cpu(tmp_path: Path) -> None:
    cpu = torch.device("cpu")
    assert gpu.kernels(cpu) == {"float32": "fused on the CPU", "bfloat16": "fused on the CPU", "joint": "padded"}
    found = gpu.faiss(3000)
    assert found["vectors"] == 3000
    assert found["cpu_ms"] > 0
    seconds = gpu.shapes(cpu, "ViT-B-32", repeats=2)
    assert min(seconds.values()) > 0


def test_what_there_is_no_time_for_is_said(tmp_path: Path) -> None:
    args = argparse.Namespace(device="cpu", tower="ViT-B/32", videos=None, minutes=-1)
    report = gpu.measure(args, tmp_path)
    assert report["device"] == "cpu"
    assert all(report[part] == "no time was left" for part in ("kernels", "encoder", "shapes", "archive", "faiss"))


def test_nothing_asks_for_a_compiler() -> None:
    """deploy/Dockerfile has none: Triton and torch.compile would fail in it."""
    root = Path(__file__).parent.parent
    for folder in ("vlrlt", "index", "train"):
        for path in (root / folder).rglob("*.py"):
            code = path.read_text(encoding="utf-8")
            assert "torch.compile(" not in code, path
            assert "flex_attention" not in code, path
