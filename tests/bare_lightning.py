"""Lightning by itself, for tests of what it serves: little runs on the CPU, and checkpoints at moments of theirs."""

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint

EVERY_BATCH = {"every_n_train_steps": 1}
AFTER_VALIDATION = {"monitor": "val/loss"}
AFTER_EPOCH = {"save_on_train_epoch_end": True}


def trainer(folder, callbacks=(), **options):
    return pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=list(callbacks),
        **{"max_epochs": 3, **options},
    )


def saved(folder, **when):
    return ModelCheckpoint(folder, filename="{step}", auto_insert_metric_name=False, save_top_k=-1, **when)


class OneWeight(pl.LightningModule):
    """The least that learns."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def training_step(self, batch, index):
        return (self.weight - 1) ** 2

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Fails(pl.Callback):
    """Raises in one hook at one step."""

    def __init__(self, hook, step):
        self.step = step
        setattr(self, hook, self.fail)

    def fail(self, trainer, *_):
        if trainer.global_step == self.step:
            raise RuntimeError("on purpose")


class SaveAtStart(pl.Callback):
    """Saves before the first step."""

    def __init__(self, path):
        self.path = path

    def on_train_start(self, trainer, module):
        trainer.save_checkpoint(self.path)
