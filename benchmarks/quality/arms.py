"""The ways of encoding that are compared, and what each makes of a video.

An image tower's outputs belong to single frames, so one pass frame by frame over the grid holds every slower sampling
too: "fewer frames" are subsets of its outputs, at their share of its time. All other arms run by themselves. CPU
seconds are of one thread, with all arms taking turns on each video, and include the keep mask.

Shape legend: B windows, T frames of the grid, F frames of an arm, D embedding.
"""

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xxhash
from bridge import SAMPLING, BridgeEmbedder

from quality.archive import GRID_FPS, Footage, grid_times
from vlrlt.tokens.run_length import DENSE, TokenPolicy
from vlrlt.types import Float32Array, Float64Array, UInt8Array

PATCHES_PER_FRAME = 196
SLOWEST_FPS = 0.25
FEWER, KEYS, RANDOM = "fewer frames", "key frames", "random drop"
_BATCH_FRAMES = 64


@dataclass(frozen=True, kw_only=True)
class Arm:
    """Run-length tokens of one kind at one sampling."""

    family: str
    """Arms that differ only in how often they look."""
    fps: float
    policy: TokenPolicy
    window_s: float = SAMPLING.clip_s
    """Seconds in one sequence: runs end with it."""
    variant: str = ""
    """Where a family has more to vary."""
    random_control: bool = False
    """Also drop as many tokens at random."""

    @property
    def window_frames(self) -> int:
        """Frames in one sequence."""
        return max(1, round(self.window_s * self.fps))

    @property
    def name(self) -> str:
        """Unique among the arms."""
        return arm_name(self.family, self.fps) + self.variant


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """What one arm made of one video."""

    vectors_FD: Float32Array
    """Of each frame, not normalised: their mean is what the bridge calls a clip's vector."""
    times_F: Float64Array
    num_tokens: int
    cpu_s: float


def arm_name(family: str, fps: float) -> str:
    """For people and for files."""
    return f"{family} @ {fps:g} fps"


def encode_video(footage: Footage, arms: Sequence[Arm], embedder: BridgeEmbedder) -> dict[str, Encoded]:
    """One video in every way; frame by frame at the finest rate of the arms and at every slower one."""
    times_T = grid_times(len(footage.rgb_THWC))
    dense_T = sampled(len(times_T), finest_fps(arms))
    dense = _encode_frames(footage.rgb_THWC[dense_T], times_T[dense_T], embedder)
    encoded = {}
    for fps in fewer_fps(arms):
        kept_F = np.searchsorted(dense_T, sampled(len(times_T), fps))
        encoded[arm_name(FEWER, fps)] = Encoded(
            vectors_FD=dense.vectors_FD[kept_F],
            times_F=dense.times_F[kept_F],
            num_tokens=len(kept_F) * PATCHES_PER_FRAME,
            cpu_s=dense.cpu_s * len(kept_F) / len(dense_T),
        )
    encoded[KEYS] = _encode_frames(footage.keys_KHWC, footage.key_times_K, embedder)
    for arm in arms:
        runs = encoded[arm.name] = _encode_runs(footage, arm.policy, arm, embedder)
        if arm.random_control:
            num_windows = -(-len(runs.times_F) // arm.window_frames)
            budget_tokens = max(PATCHES_PER_FRAME, round(runs.num_tokens / num_windows))
            policy = TokenPolicy(kind="random", budget_tokens=budget_tokens)
            encoded[arm_name(RANDOM, arm.fps)] = _encode_runs(footage, policy, arm, embedder)
    return encoded


def finest_fps(arms: Sequence[Arm]) -> float:
    """The rate at which the dense pass looks."""
    return max(arm.fps for arm in arms)


def fewer_fps(arms: Sequence[Arm]) -> list[float]:
    """Rates of the control "fewer frames", from dense at the finest rate down to one frame for a clip."""
    rates = [finest_fps(arms)]
    while rates[-1] > SLOWEST_FPS:
        rates.append(rates[-1] / 2)
    return rates


def sampled(num_frames: int, fps: float) -> npt.NDArray[np.int64]:
    """(F,) indices of the frames of the grid at GRID_FPS / 2**n frames a second, each among those of twice the rate.

    Of two frames the later stays, then the earlier, and so on: what is left lies near the middle of its period.
    """
    kept_F = np.arange(num_frames)
    later = True
    for _ in range(round(math.log2(GRID_FPS / fps))):
        kept_F = kept_F[1 if later and len(kept_F) > 1 else 0 :: 2]
        later = not later
    return kept_F


def _encode_frames(rgb_FHWC: UInt8Array, times_F: Float64Array, embedder: BridgeEmbedder) -> Encoded:
    """Frame by frame, as an image tower works."""
    started_s = time.process_time()
    parts = [
        embedder.embed_frames(rgb_FHWC[start : start + _BATCH_FRAMES, None], DENSE)[0][:, 0]
        for start in range(0, len(rgb_FHWC), _BATCH_FRAMES)
    ]
    return Encoded(
        vectors_FD=np.concatenate(parts),
        times_F=times_F,
        num_tokens=len(rgb_FHWC) * PATCHES_PER_FRAME,
        cpu_s=time.process_time() - started_s,
    )


def _encode_runs(footage: Footage, policy: TokenPolicy, arm: Arm, embedder: BridgeEmbedder) -> Encoded:
    """Window after window, those of one length in batches."""
    kept_F = sampled(len(footage.rgb_THWC), arm.fps)
    rgb_FHWC = footage.rgb_THWC[kept_F]
    started_s = time.process_time()
    vectors_FD = np.empty((len(kept_F), embedder.embed_dim), np.float32)
    num_tokens = 0
    for start, end, num_frames in _batches(len(kept_F), arm.window_frames):
        rgb_BWHWC = rgb_FHWC[start:end].reshape(-1, num_frames, *rgb_FHWC.shape[1:])
        vectors_BWD, num_tokens_B = embedder.embed_frames(rgb_BWHWC, policy)
        vectors_FD[start:end] = vectors_BWD.reshape(end - start, -1)
        num_tokens += int(num_tokens_B.sum())
    return Encoded(
        vectors_FD=vectors_FD,
        times_F=grid_times(len(footage.rgb_THWC))[kept_F],
        num_tokens=num_tokens,
        cpu_s=time.process_time() - started_s,
    )


def _batches(num_frames: int, window_frames: int) -> Iterator[tuple[int, int, int]]:
    """Where a batch of windows starts and ends, and the frames of a window; the last window may be shorter."""
    whole = num_frames - num_frames % window_frames
    step = max(1, _BATCH_FRAMES // window_frames) * window_frames
    for start in range(0, whole, step):
        yield start, min(start + step, whole), window_frames
    if whole < num_frames:
        yield whole, num_frames, num_frames - whole


def encode_all(
    archive: Iterable[Footage], arms: Sequence[Arm], embedder: BridgeEmbedder, folder: Path
) -> Iterator[tuple[Footage, dict[str, Encoded]]]:
    """Every video's outputs, from the folder where an earlier run with the same frames and arms left them."""
    folder.mkdir(parents=True, exist_ok=True)
    for footage in archive:
        digest = xxhash.xxh3_64(repr(arms).encode() + embedder.fingerprint.encode())
        digest.update(footage.rgb_THWC.tobytes())
        kept = folder / f"{footage.name}-{digest.hexdigest()}.npz"
        if not kept.exists():
            partial = kept.with_suffix(".tmp.npz")
            encoded = encode_video(footage, arms, embedder)
            fields = {f"{name}/{key}": value for name, one in encoded.items() for key, value in vars(one).items()}
            np.savez(partial, allow_pickle=False, **fields)
            partial.rename(kept)
        yield footage, _read_encoded(kept)


def _read_encoded(path: Path) -> dict[str, Encoded]:
    with np.load(path) as arrays:
        names = dict.fromkeys(key.rpartition("/")[0] for key in arrays)
        return {
            name: Encoded(
                vectors_FD=arrays[f"{name}/vectors_FD"],
                times_F=arrays[f"{name}/times_F"],
                num_tokens=int(arrays[f"{name}/num_tokens"]),
                cpu_s=float(arrays[f"{name}/cpu_s"]),
            )
            for name in names
        }
