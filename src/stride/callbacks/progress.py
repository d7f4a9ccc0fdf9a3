"""The progress bar."""

import time
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import RichProgressBar

from stride.callbacks.lean import Lean


class Progress(Lean, RichProgressBar):
    """Lightning's rich progress bar with the loss, the LR in use and the validation scores.

    Any callback with a dict `shown` (name -> text) adds to it. Between two redraws nothing is computed:
    Lightning's own bar reads every metric off the device after every batch.

    Args:
        refresh_rate: redraws a second.
    """

    def __init__(self, refresh_rate: int = 10) -> None:
        super().__init__(refresh_rate=refresh_rate)
        self._next_redraw = 0.0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.monotonic()
        if now >= self._next_redraw or batch_idx + 1 == trainer.num_training_batches:
            self._next_redraw = now + 1 / self.refresh_rate
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        shown: dict[str, Any] = {}
        for callback in trainer.callbacks:  # pyrefly: ignore[missing-attribute]
            shown |= getattr(callback, "shown", {})
        scores = super().get_metrics(trainer, pl_module)
        return shown | {name: value for name, value in scores.items() if name != "v_num"}
