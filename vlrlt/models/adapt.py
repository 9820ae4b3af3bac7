"""Weights of one video encoder in the shape of another.

Shape legend: S steps, D width.
"""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from vlrlt.models.video_encoder import VideoEncoder
from vlrlt.models.weights import load_weights


def adapt_video_weights(source: VideoEncoder, target: VideoEncoder) -> dict[str, Tensor]:
    """Weights of one encoder in the shape of another, so that training changes as little as possible at once.

    - A longer temporal embedding is interpolated, a shorter one takes the first steps (as AVION); where the source has
      none it starts at zero: every frame is then seen as an image.
    - A run-length embedding that the source does not have starts at zero; a longer one repeats its last entry.
    - A wider tubelet shares the patch weights over its frames.
    - Another pooling leaves the CLS token out, or starts one at zero.

    Everything else must fit; `load_weights` names what does not.
    """
    weights = {name: tensor.clone() for name, tensor in source.state_dict().items()}
    wanted = target.state_dict()
    steps = target.config.num_steps
    if "temporal_embedding" in wanted:
        weights["temporal_embedding"] = _resize_time(weights.get("temporal_embedding"), steps, target.config.width)
    if "run_length_embedding" in wanted:
        weights["run_length_embedding"] = _extend(weights.get("run_length_embedding"), steps, target.config.width)
    ratio, rest = divmod(target.config.tubelet_size, source.config.tubelet_size)
    if ratio > 1 and not rest:
        weights["patch_embedding.weight"] = weights["patch_embedding.weight"].repeat(1, ratio) / ratio
    for name in ("cls_embedding", "cls_position"):
        if name in wanted and name not in weights:
            weights[name] = torch.zeros_like(wanted[name])
    optional = ("cls_embedding", "cls_position", "temporal_embedding", "run_length_embedding")
    return {name: tensor for name, tensor in weights.items() if name in wanted or name not in optional}


def with_num_frames(video: VideoEncoder, num_frames: int) -> VideoEncoder:
    """The same encoder for longer clips: the temporal embedding is interpolated, as AVION does from 4 to 16 frames.

    Raises:
        ConfigError: num_frames is no multiple of the tubelet.
    """
    mean, std = (tuple(values_3.tolist()) for values_3 in (video.mean_3, video.std_3))
    longer = VideoEncoder(replace(video.config, num_frames=num_frames), mean=mean, std=std)
    load_weights(longer, adapt_video_weights(video, longer), source=f"{num_frames} frames")
    return longer.eval()


def _resize_time(table_SD: Tensor | None, num_steps: int, width: int) -> Tensor:
    if table_SD is None:
        return torch.zeros(num_steps, width)
    if len(table_SD) >= num_steps:
        return table_SD[:num_steps]
    return functional.interpolate(table_SD.T[None], size=num_steps, mode="linear")[0].T.contiguous()


def _extend(table_SD: Tensor | None, num_steps: int, width: int) -> Tensor:
    if table_SD is None:
        return torch.zeros(num_steps, width)
    missing = max(0, num_steps - len(table_SD))
    return torch.cat([table_SD[:num_steps], table_SD[-1:].expand(missing, -1)])
