"""What was logged is on the disk no later than the checkpoint that comes after it."""

from typing import Any

from pytorch_lightning import LightningModule, Trainer

from stride.callbacks.lean import Lean


class SavedLogs(Lean):
    """Has the loggers write what they hold before each checkpoint: a run that goes on from it adds only the rest."""

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        for logger in trainer.loggers:
            logger.save()
