"""The encoding speed of a model on this machine. It does not depend on the weights, so none are downloaded.

Shape legend: B clips, T frames, H = W image size, C = 3.
"""

import time

import numpy as np

from vlrlt.embed import DualEncoderEmbedder, find_device, find_precision
from vlrlt.models.open_clip import untrained_open_clip
from vlrlt.video.sampling import query_sampling


def measure_realtime(architecture: str, *, device: str = "auto", num_runs: int = 3) -> float:
    """Seconds of video that are encoded in one second, with half of the tokens kept; decoding is not counted.

    Args:
        architecture: of open_clip, for example "ViT-B-16".
        device: as for load_embedder.
        num_runs: the fastest counts, after one that warms up.

    Raises:
        CheckpointError: no such architecture, or its image tower is not supported.
    """
    dual = untrained_open_clip(architecture)
    place = find_device(device)
    precision = find_precision("auto", place)
    embedder = DualEncoderEmbedder(dual, name=architecture, device=place, precision=precision)
    size_px, num_frames = embedder.preprocess.image_size_px, embedder.sampling.num_frames
    rgb_BTHWC = np.random.default_rng(0).integers(0, 256, (1, num_frames, size_px, size_px, 3), np.uint8)
    rgb_BTHWC[:, :, size_px // 2 :] = rgb_BTHWC[:, :1, size_px // 2 :]  # the lower half stands still
    seconds = []
    for _ in range(1 + num_runs):
        started_s = time.perf_counter()
        embedder.embed_clips(rgb_BTHWC)
        seconds.append(time.perf_counter() - started_s)
    return query_sampling(embedder.sampling).clip_s / min(seconds[1:])
