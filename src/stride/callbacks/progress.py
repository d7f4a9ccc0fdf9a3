"""The progress bar."""

from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import RichProgressBar


class Progress(RichProgressBar):
    """Lightning's rich progress bar with the loss, the LR in use and the validation scores.

    Any callback with a dict `shown` (name -> text) adds to it.

    Args:
        refresh_rate: batches between two redraws.
    """

    def __init__(self, refresh_rate: int = 10) -> None:
        super().__init__(refresh_rate=refresh_rate)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        shown: dict[str, Any] = {}
        for callback in trainer.callbacks:  # pyrefly: ignore[missing-attribute]
            shown |= getattr(callback, "shown", {})
        scores = super().get_metrics(trainer, pl_module)
        return shown | {name: value for name, value in scores.items() if name != "v_num"}
