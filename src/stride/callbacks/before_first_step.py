"""Leaves training when everything is set up and no step is taken."""

from contextlib import suppress

from pytorch_lightning import LightningDataModule, LightningModule, Trainer

from stride.callbacks.lean import Lean


def fit_until_first_step(trainer: Trainer, module: LightningModule, data: LightningDataModule) -> None:
    """Begin a run, by the very `fit` of one, and leave it before its first step, after its callbacks' start."""
    trainer.callbacks.append(_BeforeFirstStep())  # pyrefly: ignore[missing-attribute]  set by a connector
    with suppress(_Ready):
        trainer.fit(module, datamodule=data)


class _Ready(Exception):
    """Training could begin now."""


class _BeforeFirstStep(Lean):
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        raise _Ready
