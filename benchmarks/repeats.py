"""What it costs to find repeated scenes: `python benchmarks/repeats.py --clips 100000 --dim 512`.

Videos of 100 random clips each; of every tenth, 20 clips are copied, changed as far as the threshold allows, into the
next. Prints the CPU seconds and how many of the copies were found as one stretch each.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from vlrlt.index.library.catalog import FrameRunTable
from vlrlt.index.search.repeats import find_repetitions
from vlrlt.types import Float32Array

CLIPS_PER_VIDEO, COPIED = 100, 20
NOISE = 0.19
"""Of a unit vector; the copies' cosines are 0.982, the threshold is 0.98."""


def make(num_clips: int, dim: int, *, seed: int = 0) -> tuple[FrameRunTable, Float32Array]:
    """A clip table and its vectors."""
    random = np.random.default_rng(seed)
    vectors_ND = random.standard_normal((num_clips, dim), np.float32)
    num_videos = num_clips // CLIPS_PER_VIDEO
    for video in range(0, num_videos - 1, 10):
        source, target = video * CLIPS_PER_VIDEO + 30, (video + 1) * CLIPS_PER_VIDEO + 60
        original_SD = vectors_ND[source : source + COPIED]
        noise_SD = random.standard_normal((COPIED, dim), np.float32)
        noise_SD *= (
            NOISE * np.linalg.norm(original_SD, axis=1, keepdims=True) / np.linalg.norm(noise_SD, axis=1, keepdims=True)
        )
        vectors_ND[target : target + COPIED] = original_SD + noise_SD
    vectors_ND /= np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    starts_s_N = 2.0 * np.arange(num_clips).astype(np.float64) % (2 * CLIPS_PER_VIDEO)
    names = tuple(str(Path("archive") / f"{video:06d}.mp4") for video in range(num_videos))
    clips = FrameRunTable(
        ids_N=np.arange(num_clips),
        video_N=np.arange(num_clips) // CLIPS_PER_VIDEO,
        start_s_N=starts_s_N,
        end_s_N=np.asarray(starts_s_N + 2, np.float64),
        kept_share_N=np.ones(num_clips),
        videos=names,
        video_ids=names,
    )
    return clips, vectors_ND


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=512)
    options = parser.parse_args()
    clips, vectors_ND = make(options.clips // CLIPS_PER_VIDEO * CLIPS_PER_VIDEO, options.dim)
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    found = find_repetitions(clips, lambda positions: vectors_ND[positions])
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    planted = len(range(0, len(clips.videos) - 1, 10))
    right = sum(repetition.num_clips == COPIED and repetition.first.start_s == 60 for repetition in found)
    print(f"{len(clips.ids_N)} clips of {options.dim} numbers: {cpu_s:.1f} CPU s, {wall_s:.1f} s")
    print(f"{right} of {planted} copied scenes found from end to end, {len(found) - right} other repetitions")


if __name__ == "__main__":
    main()
