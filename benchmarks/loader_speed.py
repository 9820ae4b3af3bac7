"""How fast training clips come: clips per second and core, and what share of a training step waits for them.

    python benchmarks/loader_speed.py --data DIR [--videos DIR] [--backend decord] [--step-ms 200] [--json]

DIR is in the EPIC-KITCHENS-100 layout. Three ways: decoding a clip when it is wanted (files or folders of chunks), the
same from a cache of decoded videos, and cutting on the device. Times are CPU seconds of one thread, without workers.
The share of waiting is for the given time of a training step, batch size and number of workers, if decoding scales with
the workers: a run logs the real one as train/wait_share.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from vlrlt.datasets.epic import EpicData
from vlrlt.datasets.relevancy import ActionTable
from vlrlt.train.augment import Augmentation, cut_clips
from vlrlt.train.clips import Sample, SpanClips
from vlrlt.train.frames import CachedFrames, DecodedFrames, FrameSource
from vlrlt.train.sampler import Draw


def main() -> None:
    """Load, cut, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--videos", type=Path, metavar="DIR", help="if they are elsewhere")
    parser.add_argument("--backend", choices=("decord", "pyav"), default="decord")
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--num-frames", type=int, default=16)
    parser.add_argument("--image-size-px", type=int, default=96)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--step-ms", type=float, default=200.0, help="of a training step without waiting")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = EpicData(arguments.data, arguments.videos)
    chosen = np.random.default_rng(0).permutation(len(data.spans("train")))[: arguments.clips]
    spans = [data.spans("train")[index] for index in chosen]
    paths = {span.video_id: data.video_path(span.video_id) for span in spans}
    table = ActionTable(span.action for span in spans)

    def load(source: FrameSource) -> tuple[list[Sample], float]:
        clips = SpanClips(
            spans, paths=paths, table=table, source=source, num_frames=arguments.num_frames, augmentation=Augmentation()
        )
        started_s = time.process_time()
        samples = [clips[Draw(index, index)] for index in range(len(spans))]
        return samples, len(spans) / (time.process_time() - started_s)

    size_px = arguments.image_size_px
    samples, decoded_per_s = load(DecodedFrames(short_side_px=size_px, backend=arguments.backend))
    with tempfile.TemporaryDirectory() as folder:
        cache = CachedFrames(Path(folder), short_side_px=size_px, backend=arguments.backend)
        for path in paths.values():
            cache.video(path)
        cached_per_s = load(cache)[1]
    started_s = time.process_time()
    cut_clips([sample.rgb_THWC for sample in samples], [sample.augment_params for sample in samples], size_px=size_px)
    cut_per_s = len(samples) / (time.process_time() - started_s)
    load_ms = 1000 * arguments.batch_size / (decoded_per_s * arguments.workers)
    report = {
        "decoded_clips_per_s_and_core": round(decoded_per_s, 1),
        "cached_clips_per_s_and_core": round(cached_per_s, 1),
        "cut_clips_per_s_and_core": round(cut_per_s, 1),
        "wait_share": round(max(0.0, 1 - arguments.step_ms / max(load_ms, arguments.step_ms)), 3),
    }
    print(json.dumps(report) if arguments.json else "\n".join(f"{name:30} {value}" for name, value in report.items()))


if __name__ == "__main__":
    main()
