"""The first ten minutes on an NVIDIA GPU, in one report; without one, what a CPU can do of it.

    python benchmarks/gpu.py [--device cuda|cpu] [--tower ViT-B/16] [--videos DIR] [--minutes 10] [--json]

1. Kernels: which ones passed their comparison with the plain formula.
2. Encoder: dense and at several kept shares, both regimes, beside the largest matrix product (encode_speed.py).
3. Shapes: whether batches of other lengths cost more than those of one length. Nothing is compiled, so they must not.
4. Archive: `vlrlt.index` with an untrained tower on real videos (--videos) or the toy kitchen, seconds a second.
5. FAISS: the same search on the GPU and on the CPU.

Each part is begun only while less than `--minutes` have passed, and a part that fails is a line of the report.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import encode_speed
import numpy as np
import torch

from vlrlt.embed import DualEncoderEmbedder, find_device, find_precision
from vlrlt.index.run.build import index_paths
from vlrlt.index.vectors.faiss_base import load_faiss
from vlrlt.index.vectors.gpu import gpu_copy
from vlrlt.index.vectors.plan import plan_index
from vlrlt.models.kernels import frame_kernel, varlen_attention
from vlrlt.models.open_clip import untrained_open_clip
from vlrlt.toy.make import make_toy_kitchen

HEAD_WIDTH = 64


def kernels(device: torch.device) -> dict[str, str]:
    """Name of the kernel for each type."""
    names = {
        str(dtype).removeprefix("torch."): frame_kernel(device, dtype, HEAD_WIDTH).name
        for dtype in (torch.float32, torch.bfloat16)
    }
    packed = varlen_attention(device, torch.bfloat16, HEAD_WIDTH) is not None
    return names | {"joint": "packed" if packed else "padded"}


def encoder(device: torch.device, tower: str, *, num_clips: int, repeats: int) -> dict[str, Any]:
    """Rows of encode_speed.py, and on a GPU the share of its largest matrix product."""
    clips = encode_speed.made_clips(num_clips, np.random.default_rng(0)).to(device)
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    rows = [
        row
        for regime in ("run_overlap", "joint")
        for row in encode_speed.measure(tower, regime, clips, training=False, repeats=repeats, dtype=dtype)
    ]
    ceiling = encode_speed.measure_ceiling(device, rows, num_clips) if device.type == "cuda" else {}
    return {"rows": [asdict(row) for row in rows], "ceiling": ceiling}


def shapes(device: torch.device, architecture: str, *, repeats: int) -> dict[str, float]:
    """Seconds of a clip when all are alike, and when each keeps another number of tokens; after one of each."""
    embedder = untrained(device, architecture)
    size_px = embedder.preprocess.image_size_px
    noise_THWC = np.random.default_rng(0).integers(0, 256, (8, size_px, size_px, 3), np.uint8)

    def clip(share: float) -> Any:  # noqa: ANN401
        rgb_THWC = noise_THWC.copy()
        rgb_THWC[1:, : int(size_px * share)] = rgb_THWC[0, : int(size_px * share)]
        return rgb_THWC[None]

    def seconds(shares: list[float]) -> float:
        embedder.embed_clips(clip(shares[0]))
        started_s = time.perf_counter()
        for share in shares:
            embedder.embed_clips(clip(share))
        return (time.perf_counter() - started_s) / len(shares)

    middle = 0.5
    return {
        "alike_s": seconds([middle] * repeats),
        "all_different_s": seconds([middle + 0.4 * (step / repeats - 0.5) for step in range(repeats)]),
    }


def archive(device: torch.device, architecture: str, videos: Path | None, folder: Path) -> dict[str, Any]:
    """Index an archive as it comes."""
    if videos is None:
        make_toy_kitchen(folder / "toy", num_videos=4 if device.type == "cpu" else 32, seed=1)
        videos = folder / "toy" / "videos"
    report = index_paths([videos], library_dir=folder / "library", embedder=untrained(device, architecture))
    facts = report.as_json()
    wanted = ("video_s", "wall_s", "encode_s", "decode_s", "dense_encode_s", "tokens", "dense_tokens")
    return {name: facts[name] for name in wanted if name in facts} | {"realtime": facts["video_s"] / facts["wall_s"]}


def faiss(num_vectors: int) -> dict[str, float]:
    """Milliseconds of a query of 32 texts, and the share of equal hits."""
    library = load_faiss()
    plan = plan_index(num_vectors)
    vectors_ND = np.random.default_rng(0).standard_normal((num_vectors, 512), np.float32)
    vectors_ND /= np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    index = library.index_factory(512, plan.factory, library.METRIC_INNER_PRODUCT)
    index.train(vectors_ND[:100_000])
    index.add(vectors_ND)
    there = gpu_copy(index, plan)
    times: dict[str, float] = {"vectors": num_vectors}
    hits = {}
    for name, searched in (("cpu", index), ("gpu", there)):
        if searched is not None:
            searched.search(vectors_ND[:32], 10)
            started_s = time.perf_counter()
            hits[name] = searched.search(vectors_ND[:32], 10)[1]
            times[f"{name}_ms"] = 1000 * (time.perf_counter() - started_s)
    if "gpu" in hits:
        times["equal_hits"] = float(np.mean(hits["cpu"] == hits["gpu"]))
    return times


def untrained(device: torch.device, architecture: str) -> DualEncoderEmbedder:
    """A tower of open_clip with random weights: as fast as the trained one."""
    return DualEncoderEmbedder(
        untrained_open_clip(architecture),
        name=f"untrained {architecture}",
        device=device,
        precision=find_precision("auto", device),
    )


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All parts, as far as the time goes."""
    device = find_device(args.device)
    is_gpu = device.type == "cuda"
    architecture = args.tower.replace("/", "-")
    parts: dict[str, Callable[[], Any]] = {
        "kernels": lambda: kernels(device),
        "encoder": lambda: encoder(device, args.tower, num_clips=32 if is_gpu else 1, repeats=5 if is_gpu else 1),
        "shapes": lambda: shapes(device, architecture, repeats=20 if is_gpu else 2),
        "archive": lambda: archive(device, architecture, args.videos, folder),
        "faiss": lambda: faiss(200_000 if is_gpu else 20_000),
    }
    name = encode_speed.device_name(device)
    report: dict[str, Any] = {"device": name, "torch": torch.__version__, "tower": args.tower}
    started_s = time.perf_counter()
    for part, work in parts.items():
        if time.perf_counter() - started_s > 60 * args.minutes:
            report[part] = "no time was left"
            continue
        begun_s = time.perf_counter()
        try:
            report[part] = work()
        except Exception as error:  # the other parts still tell something
            report[part] = f"failed: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
        report[f"{part}_took_s"] = round(time.perf_counter() - begun_s, 1)
    return report


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--tower", choices=encode_speed.TOWERS, default="ViT-B/16")
    parser.add_argument("--videos", type=Path, metavar="DIR")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with TemporaryDirectory() as folder:
        report = measure(args, Path(folder))
    print(json.dumps(report) if args.json else json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
