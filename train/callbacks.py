"""Callbacks: the average of the weights, which is validated and exported, and the speed of training."""

import time

import lightning as L  # noqa: N812 - the name its own documentation uses
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.utilities.types import STEP_OUTPUT

from vlrlt.train.clips import Batch


class Ema(EMAWeightAveraging):
    """Exponential moving average of the weights, by Lightning.

    Lightning puts the training weights back before the module scores its validation epoch; here the average stays until
    that is done, because the module exports what it scores.

    Args:
        decay: share of the old average in the new one, each step.
    """

    def __init__(self, decay: float = 0.999) -> None:
        super().__init__(decay=decay, use_buffers=False)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Not yet."""

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put the training weights back."""
        super().on_validation_epoch_end(trainer, pl_module)


class Throughput(L.Callback):
    """Logs train/clips_per_s and train/wait_share, the part of the time that the model waits for clips."""

    def __init__(self) -> None:
        self._ended_s: float | None = None
        self._began_s = 0.0

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """An epoch's first batch is not waited for: validation lies before it."""
        self._ended_s = None

    def on_train_batch_start(self, *_step: object) -> None:
        """The batch is there."""
        self._began_s = time.perf_counter()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, _outputs: STEP_OUTPUT, batch: Batch, _batch_idx: int
    ) -> None:
        """Everything between the ends of two steps is one step's time."""
        now_s = time.perf_counter()
        if self._ended_s is not None:
            step_s = now_s - self._ended_s
            pl_module.log("train/clips_per_s", len(batch.captions) * trainer.world_size / step_s)
            pl_module.log("train/wait_share", (self._began_s - self._ended_s) / step_s)
        self._ended_s = now_s
