"""Contrastive training of the run-length video encoder with a SentencePiece text tower.

Shape legend: B clips, E embedding.
"""

import math
from pathlib import Path

import lightning as L  # noqa: N812 - the name its own documentation uses
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor

from vlrlt.epic import relevancy
from vlrlt.losses import info_nce
from vlrlt.metrics import multi_instance_retrieval
from vlrlt.models.checkpoint import load_checkpoint, load_weights, save_checkpoint
from vlrlt.models.config import SentencePieceTextConfig, VideoEncoderConfig
from vlrlt.models.dual_encoder import DualEncoder, InferenceConfig
from vlrlt.models.text import SentencePieceText, fit_vocabulary
from vlrlt.models.video_encoder import VideoEncoder
from vlrlt.tokens.run_length import TokenPolicy
from vlrlt.train.data import Batch, EpicDataModule
from vlrlt.video.sampling import ClipSampling
from vlrlt.video.transforms import Preprocess

MAX_LOGIT_SCALE = 100.0


class ContrastiveModule(L.LightningModule):
    """Trains a DualEncoder and writes it as a checkpoint folder when training ends.

    Args:
        video: architecture of the video encoder.
        text: architecture of the text tower; vocab_size is the most pieces that the vocabulary may have.
        preprocess: how frames reach the encoder.
        sampling: how the finished model cuts videos into clips.
        policy: which tokens are dropped, in training and afterwards.
        export_dir: folder of the finished checkpoint.
        learning_rate: peak, after the warm-up.
        weight_decay: on matrices only.
        warmup_share: part of all steps in which the learning rate rises; then it falls as a cosine.
        relevancy_power: clips and captions attract each other by relevancy ** relevancy_power. None: only those of the
            same action do, which ranks them first; a power of about 4 also orders the rest by what they share.
        init_from: checkpoint folder to start from; None: from nothing.
    """

    def __init__(  # noqa: PLR0913 - the recipe, one value a line in the YAML
        self,
        video: VideoEncoderConfig,
        text: SentencePieceTextConfig,
        preprocess: Preprocess,
        sampling: ClipSampling,
        policy: TokenPolicy,
        export_dir: Path,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.05,
        warmup_share: float = 0.05,
        relevancy_power: float | None = None,
        init_from: Path | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self._video_config = video
        self._text_config = text
        self._inference = InferenceConfig(preprocess=preprocess, sampling=sampling, policy=policy)
        self._export_dir = export_dir
        self._learning_rate = learning_rate
        self._weight_decay = weight_decay
        self._warmup_share = warmup_share
        self._relevancy_power = relevancy_power
        self._init_from = init_from
        self._embedded: list[tuple[Tensor, Tensor, Batch]] = []

    def configure_model(self) -> None:
        """Fit the vocabulary on the training captions and build both towers; runs once, also when resuming."""
        if hasattr(self, "model"):
            return
        data = self._data()
        vocabulary = fit_vocabulary(data.captions, vocab_size=self._text_config.vocab_size)
        text = SentencePieceText.with_vocabulary(self._text_config, vocabulary)
        preprocess = self._inference.preprocess
        video = VideoEncoder(self._video_config, mean=preprocess.mean, std=preprocess.std)
        self.model = DualEncoder(video=video, text=text, inference=self._inference)
        if self._init_from is not None:
            source = load_checkpoint(self._init_from)
            load_weights(self.model, source.state_dict(), source=str(self._init_from))

    def training_step(self, batch: Batch, _batch_index: int) -> Tensor:
        """Contrastive loss of a batch of distinct actions."""
        video_BE, text_BE, kept = self._embed(batch)
        scale = self.model.logit_scale.exp().clamp(max=MAX_LOGIT_SCALE)
        loss = info_nce(video_BE, text_BE, logit_scale=scale, weight_BB=self._weights(batch.relevancy_BB))
        correct_B = (video_BE @ text_BE.T).argmax(1) == torch.arange(len(video_BE), device=loss.device)
        values = {"loss": loss, "accuracy": correct_B.float().mean(), "kept": kept, "logit_scale": scale}
        self.log_dict(
            {f"train/{name}": value for name, value in values.items()}, prog_bar=True, batch_size=len(video_BE)
        )
        return loss

    def validation_step(self, batch: Batch, _batch_index: int) -> None:
        """Collect embeddings; scored when the epoch ends."""
        video_BE, text_BE, _ = self._embed(batch)
        self._embedded.append((video_BE, text_BE, batch))

    def on_validation_epoch_end(self) -> None:
        """MAP and nDCG over all held-out clips and their distinct sentences."""
        narrations = [narration for *_, batch in self._embedded for narration in batch.narrations]
        video_NE = torch.cat([video_BE for video_BE, _, _ in self._embedded])
        text_NE = torch.cat([text_BE for _, text_BE, _ in self._embedded])
        self._embedded.clear()
        sentences = {narration.narration: index for index, narration in enumerate(narrations)}
        columns = list(sentences.values())
        similarity = (video_NE @ text_NE[columns].T).cpu().double().numpy()
        relevant = relevancy(narrations, [narrations[column] for column in columns])
        scores = multi_instance_retrieval(similarity, relevant)
        self.log_dict({"val/mAP": scores.mAP.avg, "val/nDCG": scores.nDCG.avg}, prog_bar=True)

    def on_fit_end(self) -> None:
        """Write the finished model as a checkpoint folder; float16 halves it and changes no ranking that matters."""
        if self.trainer.is_global_zero:
            save_checkpoint(self.model, self._export_dir, dtype=torch.float16)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW with a linear warm-up and a cosine decay, stepped every batch."""
        matrices = [p for name, p in self.named_parameters() if p.ndim >= 2 and "embedding" not in name]
        chosen = set(map(id, matrices))
        others = [p for p in self.parameters() if id(p) not in chosen]
        optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": self._weight_decay}, {"params": others, "weight_decay": 0.0}],
            lr=self._learning_rate,
            betas=(0.9, 0.98),
        )
        num_steps = int(self.trainer.estimated_stepping_batches)
        num_warmup = max(1, round(self._warmup_share * num_steps))
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: _warmup_cosine(step, num_warmup=num_warmup, num_steps=num_steps)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _embed(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Unit vectors of both sides and the share of tokens that were kept."""
        features = self.model.video(batch.rgb_BTHWC, self._inference.policy)
        video_BE = torch.nn.functional.normalize(features.clip_BE, dim=-1)
        ids_BL = self.model.text.tokenize(batch.captions).to(video_BE.device)
        kept = features.num_tokens_B.float().mean() / self._video_config.num_dense_tokens
        return video_BE, self.model.encode_text(ids_BL), kept

    def _weights(self, relevancy_BB: Tensor) -> Tensor:
        if self._relevancy_power is None:
            return relevancy_BB == 1
        return relevancy_BB**self._relevancy_power

    def _data(self) -> EpicDataModule:
        data: EpicDataModule = self.trainer.datamodule  # type: ignore[attr-defined]
        return data


def _warmup_cosine(step: int, *, num_warmup: int, num_steps: int) -> float:
    """Factor of the peak learning rate: rises linearly to 1, falls to 0 as a cosine."""
    if step < num_warmup:
        return (step + 1) / num_warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - num_warmup) / max(1, num_steps - num_warmup))))
