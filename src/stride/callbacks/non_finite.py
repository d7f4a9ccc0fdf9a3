"""Stops a run whose loss is no longer a number."""

import math
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from stride.callbacks.lean import Lean
from stride.callbacks.steps import is_due, just_stepped, loss_of
from stride.errors import Diverged


class NonFinite(Lean):
    """Raises Diverged when the training loss, or a logged validation metric that is a loss, is NaN or infinite.

    The losses are added up on the device, where one NaN stays NaN, and the sum is looked at when a point is
    logged and before a checkpoint could be written: one read of the device for many steps.
    """

    def __init__(self) -> None:
        self._sum: Tensor | float = 0.0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._sum = self._sum + loss_of(outputs)
        step = just_stepped(trainer)
        if step is not None and is_due(trainer, step):
            self._look(trainer, "the training loss", self._sum)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            self._look(trainer, "the training loss", self._sum)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for name, value in trainer.callback_metrics.items():
            if name.endswith("loss"):
                self._look(trainer, name, value)

    def _look(self, trainer: Trainer, name: str, value: Tensor | float) -> None:
        number = float(value)
        if not math.isfinite(number):
            lr = float(trainer.optimizers[0].param_groups[0]["lr"]) if trainer.optimizers else math.nan
            raise Diverged(f"{name} is {number} at step {trainer.global_step} (lr {lr:.3g})")
        self._sum = 0.0
