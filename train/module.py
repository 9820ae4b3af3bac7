"""Contrastive training of the run-length video encoder and a text tower.

Shape legend: B clips of this process, G of all processes together, E embedding.
"""

from pathlib import Path
from typing import Any

import lightning as L  # noqa: N812 - the name its own documentation uses
import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.nn import functional

from vlrlt.losses import PairLoss, SigLIP, Temperature
from vlrlt.metrics import multi_instance_retrieval
from vlrlt.models.checkpoint import save_checkpoint
from vlrlt.models.config import SentencePieceTextConfig, VideoEncoderConfig
from vlrlt.models.dual_encoder import InferenceConfig
from vlrlt.tokens.run_length import TokenPolicy
from vlrlt.train.clips import Batch
from vlrlt.train.datamodule import ClipDataModule
from vlrlt.train.gradcache import chunks_by_tokens, encode_in_chunks
from vlrlt.train.optim import Optimization, build_optimizer, parameter_groups
from vlrlt.train.towers import HuggingFaceStart, Lock, build_model, lock_towers
from vlrlt.video.sampling import ClipSampling
from vlrlt.video.transforms import Preprocess

MAX_LOGIT_SCALE = 100.0
SIGLIP_LOGIT_SCALE, SIGLIP_LOGIT_BIAS = 10.0, -10.0
"""Where SigLIP starts (arXiv 2303.15343)."""


class ContrastiveModule(L.LightningModule):
    """Trains a DualEncoder; writes EXPORT_DIR/best whenever validation improves, EXPORT_DIR/last when training ends.

    Args:
        video: architecture of the video encoder.
        text: architecture of the text tower (vocab_size: the most pieces that the vocabulary may have), or a
            Hugging Face encoder; None: the text tower of init_from.
        preprocess: how frames reach the encoder.
        sampling: how the finished model cuts videos into clips.
        policy: which tokens are dropped, in training and afterwards.
        loss: of `vlrlt.losses`.
        export_dir: gets the model folders.
        optimization: optimizer and schedule.
        init_from: checkpoint folder or open_clip name to start from; None: from nothing.
        lock: tower that does not learn (LiT).
        learn_temperature: whether logit_scale is trained; margin losses have none.
        loss_chunk_rows: rows of the similarity matrix that exist at one time; None: all.
        chunk_tokens: GradCache: clips are encoded side by side up to this many tokens; None: all at once.
        checkpoint_blocks: compute the activations of each block again in the backward pass.
        monitor: validation metric, val/mAP or val/nDCG, whose best model is kept.
    """

    def __init__(  # noqa: PLR0913 - the recipe, one value a line in the YAML
        self,
        video: VideoEncoderConfig,
        preprocess: Preprocess,
        sampling: ClipSampling,
        policy: TokenPolicy,
        loss: PairLoss,
        export_dir: Path,
        text: SentencePieceTextConfig | HuggingFaceStart | None = None,
        optimization: Optimization = Optimization(),  # noqa: B008 - frozen
        init_from: str | None = None,
        lock: Lock = "none",
        learn_temperature: bool = True,
        loss_chunk_rows: int | None = None,
        chunk_tokens: int | None = None,
        checkpoint_blocks: bool = False,
        monitor: str = "val/mAP",
    ) -> None:
        super().__init__()
        self._video_config = video
        self._text = text
        self._inference = InferenceConfig(preprocess=preprocess, sampling=sampling, policy=policy)
        self._loss = loss
        self._export_dir = export_dir
        self._optimization = optimization
        self._init_from = init_from
        self._lock: Lock = lock
        self._learn_temperature = learn_temperature
        self._loss_chunk_rows = loss_chunk_rows
        self._chunk_tokens = chunk_tokens
        self._checkpoint_blocks = checkpoint_blocks
        self._monitor = monitor
        self._best = -1.0
        self._embedded: list[tuple[Tensor, Tensor, Tensor, list[str]]] = []

    def configure_model(self) -> None:
        """Build both towers; runs once, also when resuming."""
        if hasattr(self, "model"):
            return
        self.model = build_model(
            video=self._video_config,
            text=self._text,
            inference=self._inference,
            captions=lambda: self._data.captions,
            init_from=self._init_from,
        )
        self.model.video.checkpoint_blocks = self._checkpoint_blocks
        self.model.logit_scale.requires_grad_(self._learn_temperature and self._loss.has_temperature)
        siglip = isinstance(self._loss, SigLIP)
        self.logit_bias = nn.Parameter(torch.tensor(SIGLIP_LOGIT_BIAS if siglip else 0.0), requires_grad=siglip)
        if siglip and self._init_from is None:
            self.model.logit_scale.data.fill_(np.log(SIGLIP_LOGIT_SCALE))
        self.model.train()  # loaded models are in evaluation mode, and Lightning leaves every module as it is
        lock_towers(self.model, self._lock)

    def train(self, mode: bool = True) -> "ContrastiveModule":
        """Training mode, but not for a locked tower."""
        super().train(mode)
        if hasattr(self, "model"):
            lock_towers(self.model, self._lock)
        return self

    def training_step(self, batch: Batch, _batch_index: int) -> Tensor:
        """Loss of the batches of all processes together.

        Raises:
            UnreadableClipsError: too many clips cannot be read.
        """
        num_unreadable = self._count_unreadable(batch)
        video_BE, text_BE, kept = self._embed(batch)
        video_GE, text_GE = self._gather(video_BE), self._gather(text_BE)
        clip_action_G, text_action_G = self._gather(batch.clip_action_B), self._gather(batch.text_action_B)
        table = self._data.table
        fits = table.relevancy if self._loss.fits == "relevancy" else table.share_verb_and_noun
        relevancy = fits(clip_action_G.cpu().numpy(), text_action_G.cpu().numpy())
        scale = self.model.logit_scale.exp().clamp(max=MAX_LOGIT_SCALE)
        with torch.autocast(video_GE.device.type, enabled=False):  # similarities differ in the third digit
            loss = self._loss(
                video_GE,
                text_GE,
                relevancy_BB=torch.from_numpy(relevancy).to(video_GE),
                temperature=Temperature(scale, self.logit_bias),
                chunk_rows=self._loss_chunk_rows,
            )
        nearest_G = (video_GE.detach() @ text_GE.detach().T).argmax(1)
        correct_G = nearest_G == torch.arange(len(nearest_G), device=nearest_G.device)
        values: dict[str, Tensor | float] = {"loss": loss, "accuracy": correct_G.float().mean()}
        values |= {"kept": kept, "logit_scale": scale, "unreadable_clips": num_unreadable}
        self.log_dict(
            {f"train/{name}": value for name, value in values.items()}, prog_bar=True, batch_size=len(video_BE)
        )
        return loss

    def validation_step(self, batch: Batch, _batch_index: int) -> None:
        """Collect embeddings, actions and captions; scored when the epoch ends."""
        video_BE, text_BE, _ = self._embed(batch)
        self._embedded.append((video_BE, text_BE, batch.clip_action_B, batch.captions))

    def on_validation_epoch_end(self) -> None:
        """MAP and nDCG over all held-out clips and their distinct captions; the best model so far is exported."""
        videos, texts, actions, captions_of = zip(*self._embedded, strict=True)
        self._embedded.clear()
        video_NE, text_NE, action_N = torch.cat(videos), torch.cat(texts), torch.cat(actions).cpu().numpy()
        captions = [caption for captions in captions_of for caption in captions]
        columns = list({caption: index for index, caption in enumerate(captions)}.values())
        similarity = (video_NE @ text_NE[columns].T).cpu().double().numpy()
        scores = multi_instance_retrieval(similarity, self._data.table.relevancy(action_N, action_N[columns]))
        values = {"val/mAP": scores.mAP.avg, "val/nDCG": scores.nDCG.avg}
        self.log_dict(values, prog_bar=True, batch_size=1)  # by every process: each has scored all clips
        if self.trainer.is_global_zero and not self.trainer.sanity_checking and values[self._monitor] > self._best:
            self._best = values[self._monitor]
            self._export("best")

    def on_fit_end(self) -> None:
        """Write the finished model; float16 halves it and changes no ranking that matters."""
        if self.trainer.is_global_zero:
            self._export("last")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """What a resumed run needs beside weights and optimizer: random numbers (drop path), the best score so far."""
        checkpoint["vlrlt"] = {"best": self._best, "torch_rng": torch.get_rng_state()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The inverse; the random numbers continue when the first batch comes."""
        self._best = checkpoint["vlrlt"]["best"]
        self._rng_state = checkpoint["vlrlt"]["torch_rng"]

    def on_train_start(self) -> None:
        """Everything that drew random numbers to set up is done."""
        if hasattr(self, "_rng_state"):
            torch.set_rng_state(self._rng_state.cpu())

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW with layer-wise learning rates, a linear warm-up and a cosine decay, stepped every optimizer step."""
        towers = (self.model.video, self.model.text)
        groups = parameter_groups(towers, (self.model.logit_scale, self.logit_bias), self._optimization)
        num_steps = int(self.trainer.estimated_stepping_batches)
        optimizer, scheduler = build_optimizer(groups, self._optimization, num_steps=num_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _embed(self, batch: Batch) -> tuple[Tensor, Tensor, float]:
        """Unit vectors of both sides and the share of tokens that were kept."""
        rgb_BTHWC = batch.squares_BTHWC
        if self._chunk_tokens is None or not self.training:
            features = self.model.video(rgb_BTHWC, self._inference.policy)
            video_BE, num_tokens_B = functional.normalize(features.clip_BE.float(), dim=-1), features.num_tokens_B
        else:
            num_tokens_B = self._count_tokens(rgb_BTHWC)
            chunks = chunks_by_tokens(num_tokens_B.tolist(), self._chunk_tokens)
            video_BE = encode_in_chunks(self._encode, rgb_BTHWC, chunks)
        ids_BL = self.model.text.tokenize(batch.captions).to(video_BE.device)
        kept = float(num_tokens_B.float().mean()) / self._video_config.num_dense_tokens
        return video_BE, self.model.encode_text(ids_BL).float(), kept

    def _encode(self, rgb_BTHWC: Tensor) -> Tensor:
        return functional.normalize(self.model.video(rgb_BTHWC, self._inference.policy).clip_BE.float(), dim=-1)

    def _count_tokens(self, rgb_BTHWC: Tensor) -> Tensor:
        return self.model.video.keep_mask(rgb_BTHWC, self._inference.policy).flatten(1).sum(1)

    def _count_unreadable(self, batch: Batch) -> float:
        """Of all processes so far: all of them stop at the same step if there are too many."""
        self._data.unreadable.add(batch.unreadable)
        num_all = int(self._gather(torch.tensor([len(self._data.unreadable)], device=self.device)).sum())
        self._data.unreadable.check(num_all)
        return float(num_all)

    def _gather(self, local: Tensor) -> Tensor:
        """The rows of all processes; their gradient comes back to each."""
        if self.trainer.world_size == 1:
            return local
        gathered = self.all_gather(local, sync_grads=local.is_floating_point())
        assert isinstance(gathered, Tensor)  # noqa: S101 - a tensor in, a tensor out
        return gathered.flatten(0, 1)

    def _export(self, name: str) -> None:
        save_checkpoint(self.model, self._export_dir / name, dtype=torch.float16, captions=self._data.captions)

    @property
    def _data(self) -> ClipDataModule:
        data: ClipDataModule = self.trainer.datamodule  # type: ignore[attr-defined]
        return data
