"""Contrastive training of the run-length video encoder and a text tower.

Shape legend: B clips of this process, G of all processes together, T frames, S outputs of a clip: its steps, or one for
all of it; E embedding.
"""

from functools import partial
from pathlib import Path
from typing import Any

import lightning as L  # noqa: N812 - the name its own documentation uses
import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.nn import functional

from vlrlt.errors import ConfigError
from vlrlt.losses import PairLoss, SigLIP, Temperature
from vlrlt.metrics import multi_instance_retrieval
from vlrlt.models.checkpoint import save_checkpoint
from vlrlt.models.config import SentencePieceTextConfig, VideoEncoderConfig
from vlrlt.models.dual_encoder import InferenceConfig
from vlrlt.models.video_encoder import mean_of_steps
from vlrlt.tokens.run_length import TokenPolicy
from vlrlt.train.clips import NO_ACTION, Batch
from vlrlt.train.datamodule import ClipDataModule
from vlrlt.train.gradcache import chunks_by_tokens, encode_in_chunks
from vlrlt.train.mixing import PolicyMix
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
        policy_mix: every batch is encoded with another policy, so that the model is good at any; None: with `policy`.
        step_weight: weight of the loss of single steps beside that of clips, for a video encoder with step_outputs.
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
        policy_mix: PolicyMix | None = None,
        step_weight: float = 0.0,
        monitor: str = "val/mAP",
    ) -> None:
        super().__init__()
        if step_weight and not (video.step_outputs and loss.has_many_positives):
            raise ConfigError(
                f"step_weight = {step_weight} needs step_outputs: true and a loss that lets several steps fit one "
                f"caption, got step_outputs: {str(video.step_outputs).lower()} and {type(loss).__name__}; try InfoNCE"
            )
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
        self._policy_mix = policy_mix
        self._step_weight = step_weight
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

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Loss of the batches of all processes together.

        Raises:
            UnreadableClipsError: too many clips cannot be read.
        """
        num_unreadable = self._count_unreadable(batch)
        outputs_BSE, text_BE, kept = self._embed(batch, self._draw_policy(batch_index))
        outputs_GSE, text_GE = self._gather(outputs_BSE), self._gather(text_BE)
        clip_action_G, text_action_G = self._gather(batch.clip_action_B), self._gather(batch.text_action_B)
        shown_GS = self._gather(batch.shown_BT)[:, self._frame_of_output]
        is_own_GS = _is_own(shown_GS, clip_action_G)
        video_GE = functional.normalize((outputs_GSE * is_own_GS[:, :, None]).sum(1), dim=-1)
        scale = self.model.logit_scale.exp().clamp(max=MAX_LOGIT_SCALE)
        temperature = Temperature(scale, self.logit_bias)
        with torch.autocast(video_GE.device.type, enabled=False):  # similarities differ in the third digit
            loss = self._loss(
                video_GE,
                text_GE,
                relevancy_BB=self._relevancy(clip_action_G, text_action_G),
                temperature=temperature,
                chunk_rows=self._loss_chunk_rows,
            )
            if self._step_weight:
                loss = loss + self._step_weight * self._loss.of_steps(
                    outputs_GSE,
                    text_GE,
                    is_own_BS=is_own_GS,
                    relevancy_BSB=self._relevancy(shown_GS.flatten(), text_action_G).view(*shown_GS.shape, -1),
                    temperature=temperature,
                )
        nearest_G = (video_GE.detach() @ text_GE.detach().T).argmax(1)
        correct_G = nearest_G == torch.arange(len(nearest_G), device=nearest_G.device)
        values: dict[str, Tensor | float] = {"loss": loss, "accuracy": correct_G.float().mean()}
        values |= {"kept": kept, "logit_scale": scale, "unreadable_clips": num_unreadable}
        self.log_dict(
            {f"train/{name}": value for name, value in values.items()}, prog_bar=True, batch_size=len(text_BE)
        )
        return loss

    def validation_step(self, batch: Batch, _batch_index: int) -> None:
        """Collect embeddings, actions and captions; scored when the epoch ends."""
        outputs_BSE, text_BE, _ = self._embed(batch, self._inference.policy)
        self._embedded.append((mean_of_steps(outputs_BSE), text_BE, batch.clip_action_B, batch.captions))

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

    @property
    def _frame_of_output(self) -> list[int]:
        """The frame that tells what an output shows: the middle one of its step, or of the clip."""
        length = self._video_config.tubelet_size if self._video_config.step_outputs else self._video_config.num_frames
        return list(range(length // 2, self._video_config.num_frames, length))

    def _relevancy(self, shown_R: Tensor, text_action_G: Tensor) -> Tensor:
        """(R, G): how well captions fit what is shown, an action or NO_ACTION, by the rule of the loss."""
        table = self._data.table
        fits = table.relevancy if self._loss.fits == "relevancy" else table.share_verb_and_noun
        relevancy_RG = fits(shown_R.clamp(min=0).cpu().numpy(), text_action_G.cpu().numpy())
        return torch.from_numpy(relevancy_RG).to(shown_R.device, torch.float32) * (shown_R != NO_ACTION)[:, None]

    def _draw_policy(self, batch_index: int) -> TokenPolicy:
        """Of a batch; the same in every process, and in a resumed run."""
        if self._policy_mix is None:
            return self._inference.policy
        random = np.random.default_rng((self._data.seed, self.current_epoch, batch_index))
        return self._policy_mix.draw(self._inference.policy, random)

    def _embed(self, batch: Batch, policy: TokenPolicy) -> tuple[Tensor, Tensor, float]:
        """Unit vectors (B, S, E) of clips, (B, E) of captions, and the share of tokens that were kept."""
        rgb_BTHWC = batch.squares_BTHWC
        num_tokens_B = self.model.video.keep_mask(rgb_BTHWC, policy).flatten(1).sum(1)
        if self._chunk_tokens is None or not self.training:
            outputs_BSE = self._encode(rgb_BTHWC, policy)
        else:
            chunks = chunks_by_tokens(num_tokens_B.tolist(), self._chunk_tokens)
            outputs_BSE = encode_in_chunks(partial(self._encode, policy=policy), rgb_BTHWC, chunks)
        ids_BL = self.model.text.tokenize(batch.captions).to(rgb_BTHWC.device)
        kept = float(num_tokens_B.float().mean()) / self._video_config.num_dense_tokens
        return outputs_BSE, self.model.encode_text(ids_BL).float(), kept

    def _encode(self, rgb_BTHWC: Tensor, policy: TokenPolicy) -> Tensor:
        features = self.model.video(rgb_BTHWC, policy)
        outputs_BSE = features.steps_BSE if self._video_config.step_outputs else features.clip_BE[:, None]
        return functional.normalize(outputs_BSE.float(), dim=-1)

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


def _is_own(shown_BS: Tensor, clip_action_B: Tensor) -> Tensor:
    """(B, S): outputs that show what their clip is about; where none does, the middle one is taken for it."""
    is_own_BS = shown_BS == clip_action_B[:, None]
    middle_S = torch.arange(shown_BS.shape[1], device=shown_BS.device) == shown_BS.shape[1] // 2
    return is_own_BS | (~is_own_BS.any(1, keepdim=True) & middle_S)
