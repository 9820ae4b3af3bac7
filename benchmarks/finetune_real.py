"""Fine-tuning on real captioned videos, as far as 118 of them go: the bridge (see bridge.py), trained in folds.

    python benchmarks/finetune_real.py --videos DIR --weights DIR --out DIR [--ways frozen,lit-video] [--json]

Five folds by scene: files that show the same are never divided. Every caption is asked of the model that has not seen
its scene, among all 118 videos; the video side is the first 8 seconds at 1 frame a second, dense. So the numbers stand
beside the untrained bridge's, which is "untrained" here. Ways:

    frozen      both towers locked; the words' meanings, and a linear map from the ViT's own features to them, learn
    lit-video   the ViT is locked, MiniLM learns (LiT, arXiv 2111.07991)
    lit-text    MiniLM is locked, the ViT learns, and the same maps
    full        everything learns

Afterwards every weight is averaged with where it started (WiSE-FT, arXiv 2109.01903, with its default of one half): 94
pairs cannot replace ImageNet. Everything is deterministic. The ViT's outputs are kept in --out where it is locked; the
ways that train it see every second frame in training and take a quarter of an hour a division on one CPU thread.

Shape legend: N videos or captions, B of a batch, T frames, K = 1000 classes, W = 192 width of the ViT, D = 384.
"""

import argparse
import copy
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from bridge import IMAGE_WEIGHTS, LABELS, PREPROCESS, TEMPERATURE, MiniLM, load_image_tower, load_image_weights
from real_videos import FLOOR_TIMES_S, Source, read_manifest, same_scene
from torch import Tensor, nn
from torch.nn import functional

from vlrlt.losses import InfoNCE, Temperature
from vlrlt.metrics import first_relevant_ranks, median_rank, recall_at_k
from vlrlt.models.video_encoder import VideoEncoder
from vlrlt.progress import count_progress
from vlrlt.tokens.run_length import DENSE
from vlrlt.train.optim import warmup_cosine
from vlrlt.video.decode import open_decoder

Way = Literal["frozen", "lit-video", "lit-text", "full"]
NUM_FOLDS = 5
BATCH_SIZE = 32
LOGIT_SCALE = 20.0
EPOCHS: dict[Way, int] = {"frozen": 60, "lit-video": 6, "lit-text": 4, "full": 4}
LEARNING_RATE: dict[Way, float] = {"frozen": 3e-4, "lit-video": 2e-5, "lit-text": 2e-5, "full": 2e-5}
LEARNED_SHARE = 0.5
"""Of the trained weights in the average with those at the start."""


class Model(nn.Module):
    """The bridge with weights that can learn."""

    def __init__(self, weights_dir: Path) -> None:
        super().__init__()
        self.tower: VideoEncoder = load_image_tower(weights_dir)
        self.bias_K = load_image_weights(weights_dir)["head.bias"]
        self.text = MiniLM()
        labels = (weights_dir / LABELS).read_text(encoding="utf-8").splitlines()
        labels_KD = self.text([f"a photo of a {label}" for label in labels])
        self.mean_D = labels_KD.mean(0)
        self.meaning_KD = nn.Parameter(labels_KD - self.mean_D)
        self.detail_KD = nn.Parameter(torch.zeros_like(self.meaning_KD))
        """From the logits as they are: what softmax throws away."""

    def logits(self, rgb_BTHWC: Tensor) -> Tensor:
        """(B, T, K)."""
        frames_BTK = self.tower(rgb_BTHWC, DENSE).steps_BSE
        if frames_BTK is None:
            raise SystemExit("the ViT must work frame by frame")
        logits_BTK: Tensor = frames_BTK + self.bias_K
        return logits_BTK

    def video(self, logits_BTK: Tensor) -> Tensor:
        """Unit vectors (B, D)."""
        named_BD = (logits_BTK / TEMPERATURE).softmax(-1).mean(1) @ self.meaning_KD
        seen_BD = functional.normalize(logits_BTK.mean(1), dim=-1) @ self.detail_KD
        return functional.normalize(named_BD + seen_BD, dim=-1)

    def captions(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors (B, D)."""
        vectors_BD: Tensor = self.text(texts)
        return functional.normalize(vectors_BD - self.mean_D, dim=-1)


def decode(sources: Sequence[Source], out: Path) -> Tensor:
    """uint8 (N, T, 224, 224, 3), kept in a file."""
    cached = out / "frames.npy"
    if not cached.exists():
        clips = []
        with count_progress("videos") as show:
            for done, source in enumerate(sources, start=1):
                with open_decoder(source.path) as video:
                    times_s = [time_s for time_s in FLOOR_TIMES_S if time_s < video.info.duration_s]
                    frames = [PREPROCESS(frame.rgb_HWC) for frame in video.frames_at(times_s)]
                clips.append(np.stack([frames[place * len(frames) // 8] for place in range(8)]))
                show(done, len(sources))
        np.save(cached, np.stack(clips))
    return torch.from_numpy(np.load(cached))


def locked_logits(model: Model, rgb_NTHWC: Tensor, out: Path) -> Tensor:
    """(N, T, K) of the ViT as it is, kept in a file."""
    cached = out / "logits.npy"
    if not cached.exists():
        np.save(cached, all_logits(model, rgb_NTHWC).numpy())
    return torch.from_numpy(np.load(cached))


@torch.no_grad()
def all_logits(model: Model, rgb_NTHWC: Tensor) -> Tensor:
    """(N, T, K), four videos at a time."""
    return torch.cat([model.logits(rgb_NTHWC[first : first + 4]) for first in range(0, len(rgb_NTHWC), 4)])


@dataclass(frozen=True)
class Pairs:
    """All videos and their captions."""

    sources: Sequence[Source]
    rgb_NTHWC: Tensor
    logits_NTK: Tensor
    """Of the ViT as it is."""
    text_ND: Tensor
    """Of MiniLM as it is."""

    @property
    def captions(self) -> list[str]:
        """N texts."""
        return [source.caption for source in self.sources]


def folds(sources: Sequence[Source], *, seed: int) -> list[int]:
    """Fold of every source; a scene is never divided."""
    scenes = sorted({source.scene for source in sources})
    order = np.random.default_rng(seed).permutation(len(scenes))
    fold_of = {scenes[scene]: place % NUM_FOLDS for place, scene in enumerate(order)}
    return [fold_of[source.scene] for source in sources]


def learning(model: Model, way: Way) -> list[nn.Parameter]:
    """Make the parameters of a way learn."""
    for tower in (model.tower, model.text):
        tower.requires_grad_(requires_grad=False)
    maps = way != "lit-video"
    model.meaning_KD.requires_grad_(maps)
    model.detail_KD.requires_grad_(maps)
    if way in ("lit-text", "full"):
        model.tower.requires_grad_(requires_grad=True)
    if way in ("lit-video", "full"):
        model.text.requires_grad_(requires_grad=True)
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def train(model: Model, way: Way, pairs: Pairs, *, chosen: list[int], seed: int) -> None:
    """A few epochs over the chosen pairs."""
    parameters = learning(model, way)
    start = [parameter.detach().clone() for parameter in parameters]
    optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE[way], weight_decay=0.0)
    random = np.random.default_rng(seed)
    per_epoch = len(chosen) // BATCH_SIZE * BATCH_SIZE
    order = np.concatenate([random.permutation(chosen)[:per_epoch] for _ in range(EPOCHS[way])])
    batches = order.reshape(-1, BATCH_SIZE).tolist()
    for step, batch in enumerate(batches):
        rate = LEARNING_RATE[way] * warmup_cosine(step, num_warmup=max(1, len(batches) // 10), num_steps=len(batches))
        for group in optimizer.param_groups:
            group["lr"] = rate
        logits = model.logits(pairs.rgb_NTHWC[batch, ::2]) if way in ("lit-text", "full") else pairs.logits_NTK[batch]
        learns_text = way in ("lit-video", "full")
        text = model.captions([pairs.captions[n] for n in batch]) if learns_text else pairs.text_ND[batch]
        shown = [pairs.sources[n] for n in batch]
        same = torch.from_numpy(same_scene(shown, shown)).float()
        temperature = Temperature(torch.tensor(LOGIT_SCALE), torch.zeros(()))
        loss = InfoNCE()(model.video(logits), text, relevancy_BB=same, temperature=temperature)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        for parameter, origin in zip(parameters, start, strict=True):
            parameter.lerp_(origin, 1 - LEARNED_SHARE)


@torch.no_grad()
def similarity(model: Model, way: Way | None, pairs: Pairs) -> Tensor:
    """Captions against videos (N, N)."""
    logits_NTK = all_logits(model, pairs.rgb_NTHWC) if way in ("lit-text", "full") else pairs.logits_NTK
    text_ND = model.captions(pairs.captions) if way in ("lit-video", "full") else pairs.text_ND
    return text_ND @ model.video(logits_NTK).T


def score(similarity_QV: Tensor, sources: Sequence[Source]) -> dict[str, float]:
    """Recall and median rank of the first file of the query's scene."""
    ranks_Q = first_relevant_ranks(similarity_QV.numpy(), same_scene(sources, sources))
    return {f"R@{k}": round(recall_at_k(ranks_Q, k=k), 4) for k in (1, 5, 10)} | {"median_rank": median_rank(ranks_Q)}


def main() -> None:
    """Decode, train every way in every fold, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, required=True, metavar="DIR")
    parser.add_argument("--weights", type=Path, required=True, metavar="DIR", help=f"has {IMAGE_WEIGHTS} and {LABELS}")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="keeps frames and logits")
    parser.add_argument("--ways", default=",".join(get_args(Way)), help="which of them, with commas")
    parser.add_argument("--seeds", type=int, default=3, help="divisions into folds, averaged")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    ways: list[Any] = [way for way in arguments.ways.split(",") if way]
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    sources = [s for s in read_manifest(arguments.videos) if s.caption and s.duration_s > 1]
    start = Model(arguments.weights)
    rgb_NTHWC = decode(sources, arguments.out)
    text_ND = start.captions([source.caption for source in sources]).detach()
    pairs = Pairs(sources, rgb_NTHWC, locked_logits(start, rgb_NTHWC, arguments.out), text_ND)
    rows: list[dict[str, Any]] = [{"way": "untrained", **score(similarity(start, None, pairs), sources)}]
    print(rows[-1], flush=True)
    for way in ways:
        began_s, per_seed = time.process_time(), []
        for seed in range(arguments.seeds):
            fold_N = np.array(folds(sources, seed=seed))
            held_out = torch.zeros(len(sources), len(sources))
            for fold in range(NUM_FOLDS):
                model = copy.deepcopy(start)
                train(model, way, pairs, chosen=np.flatnonzero(fold_N != fold).tolist(), seed=seed)
                rows_of = torch.from_numpy(fold_N == fold)
                held_out[rows_of] = similarity(model, way, pairs)[rows_of]
            per_seed.append(score(held_out, sources))
            print(way, seed, per_seed[-1], flush=True)
        mean = {name: round(float(np.mean([scores[name] for scores in per_seed])), 4) for name in per_seed[0]}
        rows.append({"way": way, **mean, "cpu_s": round(time.process_time() - began_s), "seeds": per_seed})
    report = {"videos": len(sources), "folds": NUM_FOLDS, "rows": rows}
    (arguments.out / "finetune_real.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if arguments.json:
        print(json.dumps(report))


if __name__ == "__main__":
    main()
