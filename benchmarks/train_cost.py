"""What run lengths save in training: the same small model on the toy kitchen, dense and with dropped tokens.

    python benchmarks/train_cost.py [--data build/toy] [--cache build/toy-cache] [--seeds 3] [--ablate] --out DIR

--data is made when it is not there: 320 videos, 12 minutes on 2 cores. Then about an hour of one thread for each seed,
which draws its own initial weights and batches; a seed whose result is in --out is not run again.
Arms of a seed, all from the same initial weights and, step for step, on the same batches:

    dense             every token, all steps
    run lengths       threshold 10, carried reference, all steps: equal steps
    dense, equal time every token, with as many steps (and a learning-rate schedule) as fit the time of run lengths
    fewer frames      every token of so few frames that they are as many tokens as run lengths keep
    random drop       as many tokens as run lengths keep, at random places, drawn anew for every clip of every step
    no embedding      run lengths that the model is not told by its embedding (with --ablate)
    no log length     run lengths that attention does not weigh keys by (with --ablate)

They take turns step by step, and a step costs the CPU seconds of one thread, so other work on the machine does not
matter. Quality is EPIC-KITCHENS-100 multi-instance retrieval on the toy test split: kitchens never seen in training.

Rows, the means over the seeds: arm, steps, kept, step_s, train_s, time_vs_dense, mAP, nDCG, encode_s_per_video_minute,
curve (train_s, mAP), mAP_of_seeds, mAP_gain (over run lengths) and its 95 % interval: seeds are drawn with replacement,
and in each of them the queries. --out gets them as train_cost.json, and the curves as train_cost.png.

Shape legend: B clips, T frames, E embedding.
"""

import argparse
import copy
import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from train_rows import Queries, draw, mean_rows, read_queries

from vlrlt.datasets.epic import EpicData
from vlrlt.datasets.relevancy import ActionTable, relevancy
from vlrlt.losses import InfoNCE, Temperature
from vlrlt.metrics import mean_scores, score_queries
from vlrlt.models.config import SentencePieceTextConfig, VideoEncoderConfig
from vlrlt.models.dual_encoder import DualEncoder, InferenceConfig
from vlrlt.models.text import SentencePieceText
from vlrlt.models.video_encoder import VideoEncoder
from vlrlt.models.vocabulary import fit_vocabulary
from vlrlt.progress import count_progress
from vlrlt.tokens.run_length import DENSE, TokenPolicy
from vlrlt.toy.make import make_toy_kitchen
from vlrlt.train.augment import Augmentation
from vlrlt.train.clips import Batch, SpanClips, collate
from vlrlt.train.datamodule import ClipDataModule
from vlrlt.train.frames import CachedFrames
from vlrlt.train.sampler import Draw
from vlrlt.video.sampling import ClipSampling
from vlrlt.video.transforms import Preprocess

NUM_FRAMES, TUBELET_SIZE, SIZE_PX = 16, 2, 96
RUN_LENGTHS = TokenPolicy(threshold_255=10.0)
BATCH_SIZE = 48
PEAK_LEARNING_RATE = 1.5e-3
WARMUP_SHARE = 0.05
_NUM_VIDEOS = 320
_CALIBRATION_STEPS = 8
_NUM_POINTS = 5
"""Of a curve."""


@dataclass
class Arm:
    """One model in training."""

    name: str
    model: DualEncoder
    policy: TokenPolicy
    num_frames: int
    num_steps: int
    table: ActionTable
    train_s: float = 0.0
    steps: int = 0
    kept: list[float] = field(default_factory=list)
    curve: list[tuple[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=PEAK_LEARNING_RATE, betas=(0.9, 0.98))

    def step(self, batch: Batch) -> None:
        """One update; its CPU seconds are added up."""
        started_s = time.process_time()
        for group in self.optimizer.param_groups:
            group["lr"] = PEAK_LEARNING_RATE * schedule(self.steps, self.num_steps)
        video_BE, kept = self.embed(batch.squares_BTHWC)
        text_BE = self.model.encode_text(self.model.text.tokenize(batch.captions))
        scale = self.model.logit_scale.exp().clamp(max=100.0)
        relevancy_BB = self.table.relevancy(batch.clip_action_B.numpy(), batch.text_action_B.numpy())
        loss = InfoNCE()(
            video_BE,
            text_BE,
            relevancy_BB=torch.from_numpy(relevancy_BB).float(),
            temperature=Temperature(scale, torch.zeros(())),
        )
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.train_s += time.process_time() - started_s
        self.steps += 1
        self.kept.append(kept)

    def embed(self, rgb_BTHWC: Tensor) -> tuple[Tensor, float]:
        """Unit vectors and the share of the 16-frame dense tokens that were encoded."""
        if self.num_frames < NUM_FRAMES:
            rgb_BTHWC = rgb_BTHWC[:, fewer_frames(self.num_frames)]
        features = self.model.video(rgb_BTHWC, self.policy)
        kept = float(features.num_tokens_B.float().mean()) / video_config(NUM_FRAMES).num_dense_tokens
        return functional.normalize(features.clip_BE, dim=-1), kept


def fewer_frames(num_frames: int) -> list[int]:
    """Frames of whole tubelets, spread over the clip."""
    num_tubelets, chosen = NUM_FRAMES // TUBELET_SIZE, num_frames // TUBELET_SIZE
    firsts = [int((index + 0.5) * num_tubelets / chosen) * TUBELET_SIZE for index in range(chosen)]
    return [first + offset for first in firsts for offset in range(TUBELET_SIZE)]


def schedule(step: int, num_steps: int) -> float:
    """Linear warm-up, then a cosine to zero."""
    warmup = max(1, round(WARMUP_SHARE * num_steps))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, num_steps - warmup))))


def untold(model: DualEncoder, *, embedding: bool = True, log_length: bool = True) -> DualEncoder:
    """A copy that starts with the same weights and does not know run lengths in one of the two ways."""
    config = replace(model.video.config, run_length_embedding=embedding, log_run_length=log_length)
    video = VideoEncoder(config, mean=model.inference.preprocess.mean, std=model.inference.preprocess.std)
    weights = model.video.state_dict()
    video.load_state_dict({name: weights[name] for name in video.state_dict()})
    copied = copy.deepcopy(model)
    copied.video = video
    return copied


def video_config(num_frames: int) -> VideoEncoderConfig:
    """A joint encoder small enough for a CPU."""
    return VideoEncoderConfig(
        regime="joint",
        image_size_px=SIZE_PX,
        patch_size_px=12,
        num_frames=num_frames,
        tubelet_size=TUBELET_SIZE,
        width=96,
        depth=4,
        num_heads=3,
        embed_dim=96,
        temporal_embedding=True,
        run_length_embedding=True,
    )


def make_model(captions: list[str], *, seed: int) -> DualEncoder:
    """Both towers with their initial weights."""
    torch.manual_seed(seed)
    text_config = SentencePieceTextConfig(vocab_size=400, width=96, num_heads=3, embed_dim=96)
    vocabulary = fit_vocabulary(captions, vocab_size=text_config.vocab_size)
    preprocess = Preprocess(image_size_px=SIZE_PX, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    return DualEncoder(
        video=VideoEncoder(video_config(NUM_FRAMES), mean=preprocess.mean, std=preprocess.std),
        text=SentencePieceText.with_vocabulary(text_config, vocabulary),
        inference=InferenceConfig(
            preprocess=preprocess, sampling=ClipSampling(clip_s=2.0, stride_s=1.0, num_frames=NUM_FRAMES), policy=DENSE
        ),
    )


def endless(module: ClipDataModule) -> Iterator[Batch]:
    """Training batches, epoch after epoch."""
    loader = module.train_dataloader()
    epoch = 0
    while True:
        loader.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]  # it is a DistinctActions
        for batch in loader:
            yield module.on_after_batch_transfer(batch, 0)
        epoch += 1


@torch.inference_mode()
def evaluate(arm: Arm, clips: SpanClips, module: ClipDataModule) -> tuple[float, float, float, Queries]:
    """MAP, nDCG, CPU seconds of encoding per minute of video, and the average precision of every query."""
    arm.model.eval()
    vectors, encode_s = [], 0.0
    for first in range(0, len(clips), BATCH_SIZE):
        draws = [Draw(index, None) for index in range(first, min(first + BATCH_SIZE, len(clips)))]
        batch = module.on_after_batch_transfer(collate([clips[draw] for draw in draws]), 0)
        started_s = time.process_time()
        vectors.append(arm.embed(batch.squares_BTHWC)[0])
        encode_s += time.process_time() - started_s
    columns = list({span.caption: index for index, span in enumerate(clips.spans)}.values())
    text = arm.model.encode_text(arm.model.text.tokenize([clips.spans[column].caption for column in columns]))
    similarity = (torch.cat(vectors) @ text.T).double().numpy()
    actions = [span.action for span in clips.spans]
    fits = relevancy(actions, [actions[column] for column in columns])
    v2t, t2v = score_queries(similarity, fits), score_queries(similarity.T, fits.T)
    scores = mean_scores(v2t, t2v)
    video_s = sum((span.stop_s or 0.0) - span.start_s for span in clips.spans)
    arm.model.train()
    return scores.mAP.avg, scores.nDCG.avg, 60 * encode_s / video_s, (v2t.ap_Q, t2v.ap_Q)


def train(arms: list[Arm], batches: Iterator[Batch], test: SpanClips, module: ClipDataModule) -> None:
    """All arms to their last step, taking turns."""
    while any(arm.steps < arm.num_steps for arm in arms):
        batch = next(batches)
        for arm in arms:
            if arm.steps == arm.num_steps:
                continue
            arm.step(batch)
            if arm.steps % math.ceil(arm.num_steps / _NUM_POINTS) == 0 and arm.steps < arm.num_steps:
                arm.curve.append((round(arm.train_s, 1), round(evaluate(arm, test, module)[0], 4)))
                print(f"{arm.name:18} step {arm.steps:4} {arm.train_s:7.0f} s  mAP {arm.curve[-1][1]:.3f}", flush=True)


def calibrate(arms: list[Arm], batches: Iterator[Batch]) -> tuple[float, float]:
    """Time of a run-length step against a dense one, and the share of tokens it keeps, on throw-away copies."""
    trials = [Arm(arm.name, copy.deepcopy(arm.model), arm.policy, arm.num_frames, 1000, arm.table) for arm in arms]
    for _ in range(_CALIBRATION_STEPS):
        batch = next(batches)
        for trial in trials:
            trial.step(batch)
    dense, run_lengths = trials
    return run_lengths.train_s / dense.train_s, sum(run_lengths.kept) / len(run_lengths.kept)


def as_row(arm: Arm, dense: Arm, test: SpanClips, module: ClipDataModule) -> tuple[dict[str, Any], Queries]:
    """Final scores of an arm."""
    mean_ap, ndcg, encode_s, queries = evaluate(arm, test, module)
    row = {
        "arm": arm.name,
        "steps": arm.steps,
        "kept": sum(arm.kept) / len(arm.kept),
        "step_s": arm.train_s / arm.steps,
        "train_s": arm.train_s,
        "time_vs_dense": arm.train_s / dense.train_s,
        "mAP": mean_ap,
        "nDCG": ndcg,
        "encode_s_per_video_minute": encode_s,
        "curve": [*arm.curve, (arm.train_s, mean_ap)],
    }
    return row, queries


def run_seed(arguments: argparse.Namespace, data: EpicData, seed: int) -> None:
    """Train and evaluate all arms of a seed; what is in --out already is left alone."""
    file: Path = arguments.out / f"seed-{seed}.json"
    if file.exists():
        return
    module = ClipDataModule(
        data,
        cache_dir=arguments.cache,
        batches="distinct_actions",
        batch_size=BATCH_SIZE,
        num_workers=0,
        seed=seed,
        augmentation=Augmentation(crop_area=(0.64, 1.0), crop_ratio=(1.0, 1.0), max_brightness=0.15),
    )
    module.setup("fit")
    spans = data.spans("test")
    test = SpanClips(
        spans,
        paths={span.video_id: data.video_path(span.video_id) for span in spans},
        table=ActionTable(span.action for span in spans),
        source=CachedFrames(arguments.cache, short_side_px=SIZE_PX, backend=module.backend),
        num_frames=NUM_FRAMES,
        augmentation=Augmentation(),
    )
    arms = make_arms(arguments, module, seed=seed)
    train(arms, endless(module), test, module)
    found = [as_row(each, arms[0], test, module) for each in arms]
    arrays = {f"clip_{place}": queries[0] for place, (_, queries) in enumerate(found)}
    arrays |= {f"sentence_{place}": queries[1] for place, (_, queries) in enumerate(found)}
    np.savez(arguments.out / f"seed-{seed}.npz", **arrays)  # type: ignore[arg-type]
    file.write_text(json.dumps([row for row, _ in found]), encoding="utf-8")


def make_arms(arguments: argparse.Namespace, module: ClipDataModule, *, seed: int) -> list[Arm]:
    """All arms with the same initial weights; what run lengths keep and save is measured first."""
    model = make_model(module.captions, seed=seed)

    def arm(
        name: str,
        policy: TokenPolicy,
        *,
        of: DualEncoder = model,
        num_frames: int = NUM_FRAMES,
        steps: int = arguments.steps,
    ) -> Arm:
        return Arm(name, copy.deepcopy(of), policy, num_frames, steps, module.table)

    dense, run_lengths = arm("dense", DENSE), arm("run lengths", RUN_LENGTHS)
    time_ratio, kept = calibrate([dense, run_lengths], endless(module))
    print(
        f"seed {seed}: run lengths keep {kept:.3f} of the tokens; a step takes {time_ratio:.3f} of a dense one",
        flush=True,
    )
    budget_tokens = round(kept * video_config(NUM_FRAMES).num_dense_tokens)
    arms = [
        dense,
        run_lengths,
        arm("dense, equal time", DENSE, steps=round(time_ratio * arguments.steps)),
        arm("fewer frames", DENSE, num_frames=TUBELET_SIZE * max(1, round(kept * NUM_FRAMES / TUBELET_SIZE))),
        arm("random drop", TokenPolicy(kind="random", budget_tokens=budget_tokens, seed=seed)),
    ]
    if arguments.ablate:
        arms.append(arm("no embedding", RUN_LENGTHS, of=untold(model, embedding=False)))
        arms.append(arm("no log length", RUN_LENGTHS, of=untold(model, log_length=False)))
    return arms


def main() -> None:
    """Train, evaluate, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("build/toy"), metavar="DIR", help="default: build/toy")
    parser.add_argument("--cache", type=Path, default=Path("build/toy-cache"), metavar="DIR", help="decoded frames")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=1, help="runs of every arm")
    parser.add_argument("--ablate", action="store_true", help="two more arms: run lengths that the model is not told")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="gets the JSON and a picture of the curves"
    )
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    if not arguments.data.exists():
        with count_progress("videos rendered") as show:
            make_toy_kitchen(arguments.data, num_videos=_NUM_VIDEOS, seed=1, progress=show)
    for seed in range(arguments.seeds):
        run_seed(arguments, EpicData(arguments.data), seed)
    seeds = range(arguments.seeds)
    found = [json.loads((arguments.out / f"seed-{seed}.json").read_text(encoding="utf-8")) for seed in seeds]
    rows = mean_rows(found, [read_queries(arguments.out / f"seed-{seed}.npz") for seed in seeds])
    report = {"seeds": arguments.seeds, "video": asdict(video_config(NUM_FRAMES)), "rows": rows}
    (arguments.out / "train_cost.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    draw(rows, arguments.out / "train_cost.png")
    if arguments.json:
        print(json.dumps(report))
        return
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items() if name != "curve"))


if __name__ == "__main__":
    main()
