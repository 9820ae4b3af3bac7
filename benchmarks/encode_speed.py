"""What dropped tokens save: encode time against the dense model, and where it goes.

    python benchmarks/encode_speed.py [--videos DIR] [--tower ViT-B/16] [--training] [--device cuda] [--json]

Dense is what each regime replaces: for run_overlap an image tower that encodes every frame by itself, for joint the
same encoder with every token. Clips are 16 frames at 8 a second, of real videos with --videos, else made of patches
that change at random. For each kept fraction the threshold is set so that the clips keep that share of their tokens.
All ways take turns, `--repeats` times, and the fastest counts: CPU seconds of one thread, wall seconds on a GPU.

Rows: tower, regime, device, mode (inference or training), kept, time_vs_dense, limit (the rule: 1.15 x kept + 0.05, and
1.05 where nothing is dropped), and seconds of the batch: encode_s, attention_s (without its linear layers), linear_s,
mask_s. The mask is also compared with the float32 formulation of the paper (normalise, difference, average pool,
compare), and on a GPU the dense model with the matrix products that the device can do.

Shape legend: B clips, T frames, H = W image size, C = 3, h x w patch grid, K pixels of a patch.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from vlrlt.errors import DecodeError
from vlrlt.models.config import Regime, VideoEncoderConfig
from vlrlt.models.layers import Attention
from vlrlt.models.video_encoder import VideoEncoder
from vlrlt.tokens.packing import pack
from vlrlt.tokens.patches import patchify
from vlrlt.tokens.run_length import DENSE, TokenPolicy, keep_mask
from vlrlt.video.sampling import ClipSampling
from vlrlt.video.transforms import Preprocess
from vlrlt.video.worker import DecodeProcess

TOWERS = {
    "ViT-Ti/16": (16, 192, 12, 3),
    "ViT-B/32": (32, 768, 12, 12),
    "ViT-B/16": (16, 768, 12, 12),
    "ViT-L/14": (14, 1024, 24, 16),
}
"""Patch size in px, width, depth, heads."""

KEPT = (0.15, 0.3, 0.5, 0.75, 1.0)
NUM_FRAMES = 16
SIZE_PX = 224
SAMPLING = ClipSampling(clip_s=2.0, stride_s=2.0, num_frames=NUM_FRAMES)
PREPROCESS = Preprocess(image_size_px=SIZE_PX, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
_MATMUL_SIZE = 8192


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measured way."""

    tower: str
    regime: Regime
    device: str
    mode: str
    kept: float
    time_vs_dense: float
    limit: float
    encode_s: float
    attention_s: float
    linear_s: float
    mask_s: float


# clips


def real_clips(videos_dir: Path, num_clips: int, generator: np.random.Generator) -> Tensor:
    """(B, T, H, W, C): the first clip of as many videos as are needed, in random order."""
    paths = [path for path in sorted(videos_dir.rglob("*")) if path.suffix.lower() in (".mp4", ".mkv", ".mov", ".webm")]
    generator.shuffle(paths)
    clips: list[Tensor] = []
    with DecodeProcess() as decoder:
        for path in paths:
            try:
                decoded = decoder.clips(path, sampling=SAMPLING, preprocess=PREPROCESS)
                clips += [torch.from_numpy(clip.rgb_THWC) for clip in islice(decoded, 1) if clip.span.duration_s > 1]
            except DecodeError:
                continue
            if len(clips) == num_clips:
                return torch.stack(clips)
    raise SystemExit(f"{videos_dir} holds {len(clips)} readable videos, {num_clips} are needed; give --clips")


def made_clips(num_clips: int, generator: np.random.Generator) -> Tensor:
    """(B, T, H, W, C): every place changes at a rate and to a degree of its own, so that any share can be kept."""
    side = 4 * 7  # changes as large as the patches of any tower, or smaller
    rate = generator.random((num_clips, 1, side, side, 1))
    change = generator.integers(-120, 120, (num_clips, NUM_FRAMES, side, side, 3)) * generator.random(rate.shape)
    steps = np.where(generator.random((num_clips, NUM_FRAMES, side, side, 1)) < rate, change, 0).cumsum(1)
    picture = 128 + 100 * np.sin(steps / 60)
    return torch.from_numpy(picture.astype(np.uint8).repeat(SIZE_PX // side, 2).repeat(SIZE_PX // side, 3))


def keep_share(clips: Tensor, *, patch_size_px: int, policy: TokenPolicy) -> float:
    """Share of the tokens that a policy keeps."""
    patches = patchify(clips, patch_size_px=patch_size_px, tubelet_size=1)
    return float(keep_mask(patches, tubelet_size=1, policy=policy).float().mean())


def policy_keeping(share: float, clips: Tensor, *, patch_size_px: int) -> TokenPolicy:
    """The threshold that keeps a share of the tokens of all clips together."""
    if share == 1:
        return DENSE
    low, high = 0.0, 255.0
    for _ in range(16):
        middle = (low + high) / 2
        kept = keep_share(clips, patch_size_px=patch_size_px, policy=TokenPolicy(threshold_255=middle))
        low, high = (middle, high) if kept > share else (low, middle)
    return TokenPolicy(threshold_255=high)


# time


def seconds(device: torch.device, work: Callable[[], object]) -> float:
    """CPU seconds, or wall seconds until a GPU is done."""
    if device.type == "cpu":
        started_s = time.process_time()
        work()
        return time.process_time() - started_s
    torch.cuda.synchronize(device)
    started_s = time.perf_counter()
    work()
    torch.cuda.synchronize(device)
    return time.perf_counter() - started_s


def fastest(device: torch.device, ways: dict[str, Callable[[], object]], *, repeats: int) -> dict[str, float]:
    """The best of some rounds in which all ways take turns, after one round to warm up."""
    rounds = [{name: seconds(device, work) for name, work in ways.items()} for _ in range(repeats + 1)][1:]
    return {name: min(times[name] for times in rounds) for name in ways}


@contextmanager
def stopwatch(modules: Iterable[nn.Module], device: torch.device) -> Iterator[list[float]]:
    """Seconds of every call of some modules while the block runs."""
    spent: list[float] = []
    started: list[float] = []

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.process_time() if device.type == "cpu" else time.perf_counter()

    def start(*_: object) -> None:
        started.append(now())

    def stop(*_: object) -> None:
        spent.append(now() - started.pop())

    modules = list(modules)
    handles = [module.register_forward_pre_hook(start) for module in modules]
    handles += [module.register_forward_hook(stop) for module in modules]
    yield spent
    for handle in handles:
        handle.remove()


def where_time_goes(
    encoder: VideoEncoder, clips: Tensor, policy: TokenPolicy, device: torch.device
) -> tuple[float, float]:
    """Seconds of attention without its linear layers, and of all linear layers."""
    attentions = [module for module in encoder.modules() if isinstance(module, Attention)]
    inside = {layer for attention in attentions for layer in attention.modules() if isinstance(layer, nn.Linear)}
    outside = {layer for layer in encoder.modules() if isinstance(layer, nn.Linear)} - inside
    with (
        stopwatch(attentions, device) as attention_s,
        stopwatch(inside, device) as inside_s,
        stopwatch(outside, device) as outside_s,
    ):
        encoder(clips, policy)
    return sum(attention_s) - sum(inside_s), sum(inside_s) + sum(outside_s)


# measurements


def measure(
    tower: str, regime: Regime, clips: Tensor, *, training: bool, repeats: int, dtype: torch.dtype
) -> list[Row]:
    """One row for each kept fraction."""
    device = clips.device
    patch_size_px, width, depth, num_heads = TOWERS[tower]
    config = VideoEncoderConfig(
        regime=regime,
        image_size_px=SIZE_PX,
        patch_size_px=patch_size_px,
        num_frames=NUM_FRAMES,
        width=width,
        depth=depth,
        num_heads=num_heads,
        embed_dim=512,
    )
    torch.manual_seed(0)
    encoder = VideoEncoder(config, mean=PREPROCESS.mean, std=PREPROCESS.std).to(device).train(training)
    policies = {share: policy_keeping(share, clips, patch_size_px=config.patch_size_px) for share in KEPT}

    def run(clips: Tensor, policy: TokenPolicy) -> None:
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32), torch.set_grad_enabled(training):
            encoded = encoder(clips, policy).clip_BE
        if training:
            encoded.square().sum().backward()
            encoder.zero_grad()

    frames = clips.flatten(0, 1)[:, None]
    ways: dict[str, Callable[[], object]] = {
        "dense": lambda: run(frames if regime == "run_overlap" else clips, DENSE),
        **{str(share): lambda policy=policy: run(clips, policy) for share, policy in policies.items()},  # type: ignore[misc]
        **{
            f"mask {share}": lambda policy=policy: pack(  # type: ignore[misc]
                keep_mask(
                    patchify(clips, patch_size_px=config.patch_size_px, tubelet_size=1), tubelet_size=1, policy=policy
                )
            )
            for share, policy in policies.items()
        },
    }
    times = fastest(device, ways, repeats=repeats)
    rows = []
    for share, policy in policies.items():
        with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            attention_s, linear_s = where_time_goes(encoder, clips, policy, device)
        kept = keep_share(clips, patch_size_px=config.patch_size_px, policy=policy)
        rows.append(
            Row(
                tower=tower,
                regime=regime,
                device=device_name(device),
                mode="training" if training else "inference",
                kept=round(kept, 4),
                time_vs_dense=round(times[str(share)] / times["dense"], 4),
                limit=round(1.15 * kept + 0.05 if kept < 1 else 1.05, 4),
                encode_s=round(times[str(share)], 4),
                attention_s=round(attention_s, 4),
                linear_s=round(linear_s, 4),
                mask_s=round(times[f"mask {share}"], 4),
            )
        )
    return rows


def measure_mask(clips: Tensor, *, repeats: int) -> dict[str, float]:
    """Our mask, from uint8, against the formulation of the paper from the same uint8 and from ready float32."""
    mean, std = torch.tensor(PREPROCESS.mean, device=clips.device), torch.tensor(PREPROCESS.std, device=clips.device)

    def normalised() -> Tensor:
        return ((clips.float() / 255 - mean) / std).permute(0, 1, 4, 2, 3)

    def plain(rgb_BTCHW: Tensor) -> Tensor:
        difference = (rgb_BTCHW[:, 1:] - rgb_BTCHW[:, :-1]).abs()
        return functional.avg_pool2d(difference.flatten(0, 1), 16).mean(1) > 0.1

    def ours(policy: TokenPolicy) -> Tensor:
        return keep_mask(patchify(clips, patch_size_px=16, tubelet_size=1), tubelet_size=1, policy=policy)

    ready = normalised().contiguous()
    return fastest(
        clips.device,
        {
            "uint8_carried_s": lambda: ours(TokenPolicy()),
            "uint8_previous_s": lambda: ours(TokenPolicy(reference="previous")),
            "float32_s": lambda: plain(normalised()),
            "float32_already_normalised_s": lambda: plain(ready),
        },
        repeats=max(5, repeats),
    )


def measure_ceiling(device: torch.device, rows: list[Row], num_clips: int) -> dict[str, float]:
    """TFLOP/s of a large matrix product, and the share of it that each dense inference reaches."""
    a, b = (torch.randn(_MATMUL_SIZE, _MATMUL_SIZE, dtype=torch.bfloat16, device=device) for _ in range(2))
    ceiling = 2 * _MATMUL_SIZE**3 / fastest(device, {"matmul": lambda: a @ b}, repeats=10)["matmul"] / 1e12
    shares = {"matmul_tflop_per_s": ceiling}
    for row in rows:
        if row.kept == 1 and row.mode == "inference":
            flop = num_clips * dense_flop(TOWERS[row.tower], row.regime)
            shares[f"{row.tower} {row.regime} dense"] = flop / row.encode_s / 1e12 / ceiling
    return shares


def dense_flop(tower: tuple[int, int, int, int], regime: Regime) -> float:
    """Multiplications and additions of one dense clip."""
    patch_size_px, width, depth, _ = tower
    places = (SIZE_PX // patch_size_px) ** 2
    row = places + 1 if regime == "run_overlap" else NUM_FRAMES * places + 1
    tokens = row * NUM_FRAMES if regime == "run_overlap" else row
    return 2 * tokens * depth * (12 * width**2 + 2 * row * width)


def device_name(device: torch.device) -> str:
    """For people."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type}"


def as_text(rows: list[Row]) -> str:
    """A table, with a mark where the rule is missed."""
    lines = [f"{'tower':10} {'regime':12} {'mode':10} {'kept':>6} {'time':>6} {'limit':>6}  attention  linear    mask"]
    lines += [
        f"{row.tower:10} {row.regime:12} {row.mode:10} {row.kept:6.3f} {row.time_vs_dense:6.3f} {row.limit:6.3f}"
        f"{'  ' if row.time_vs_dense <= row.limit else ' !'}"
        f"{row.attention_s:8.3f} s {row.linear_s:7.3f} s {row.mask_s:7.4f} s"
        for row in rows
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, metavar="DIR", help="real videos; without it clips are made")
    parser.add_argument("--tower", choices=TOWERS, action="append", help="default: ViT-B/16; can be given again")
    parser.add_argument("--regime", choices=("run_overlap", "joint"), action="append", help="default: both")
    parser.add_argument("--training", action="store_true", help="a training step instead of inference")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clips", type=int, default=2, help="clips of a batch")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one JSON object: rows, mask, ceiling")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    torch.set_num_threads(1)
    generator = np.random.default_rng(arguments.seed)
    clips = (
        real_clips(arguments.videos, arguments.clips, generator)
        if arguments.videos
        else made_clips(arguments.clips, generator)
    ).to(device)
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    rows: list[Row] = []
    for tower in arguments.tower or ["ViT-B/16"]:
        for regime in arguments.regime or ["run_overlap", "joint"]:
            rows += measure(tower, regime, clips, training=arguments.training, repeats=arguments.repeats, dtype=dtype)
    mask = measure_mask(clips, repeats=arguments.repeats)
    report: dict[str, Any] = {"rows": [asdict(row) for row in rows], "mask": mask}
    if device.type == "cuda":
        report["ceiling"] = measure_ceiling(device, rows, arguments.clips)
    if arguments.json:
        print(json.dumps(report))
        return
    print(as_text(rows))
    print("\nmask of ViT-B/16 for the batch:")
    for name, spent_s in mask.items():
        print(f"    {name:30} {1000 * spent_s:8.2f} ms, {spent_s / mask['uint8_carried_s']:5.1f} x the default")
    for name, value in report.get("ceiling", {}).items():
        print(f"    {name:40} {value:.3f}")


if __name__ == "__main__":
    main()
