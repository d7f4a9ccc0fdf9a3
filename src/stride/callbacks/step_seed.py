"""Randomness that needs no saving: that of a training step follows from its place in the run."""

import random
import struct
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.utilities.model_helpers import is_overridden

from stride.callbacks.lean import Lean
from stride.callbacks.steps import validation_follows

STEP, BETWEEN = 5, 6  # first in a key
ON_THE_WAY = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")


class StepSeed(Lean):
    """Seeds torch (the CPU and the run's device), numpy and random from (seed, rank, batch) around each step.

    So dropout and whatever else a step draws are the same in a run that was interrupted and in one that was not, and
    no checkpoint has to hold the state of a generator. Between two steps they are seeded again, wherever a run can go
    on and something may be drawn before the next: by a validation, or by a hook of the module or of its data that has
    the next batch on its way to the device.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._generators: list[Any] = []
        self._rank, self._is_hooked = 0, False
        self._batches: Any = None  # Lightning's count of those that were served, in training

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        device = trainer.strategy.root_device
        # torch.manual_seed does the same for every device there is, at a hundred times the cost.
        self._generators = [torch.default_generator]
        if device.type == "cuda":
            self._generators.append(torch.cuda.default_generators[device.index or 0])
        elif device.type == "mps":
            self._generators.append(torch.mps._get_default_mps_generator())
        self._rank, self._batches = trainer.global_rank, trainer.fit_loop.epoch_loop.batch_progress.total
        data = trainer.datamodule  # pyrefly: ignore[missing-attribute]  set by a connector
        self._is_hooked = any(is_overridden(hook, each) for each in (pl_module, data) for hook in ON_THE_WAY)
        self._reseed(BETWEEN)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._reseed(STEP)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._is_hooked or validation_follows(trainer):
            self._reseed(BETWEEN)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._reseed(BETWEEN)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._batches is not None:  # this is training, and no validation by itself
            self._reseed(BETWEEN)

    def _reseed(self, what: int) -> None:
        key = struct.pack("<4Q", what, self._seed, self._rank, self._batches.ready)
        # numpy's SeedSequence keeps neighbouring keys apart as well, at a hundred times the cost.
        first, second = struct.unpack("<2Q", blake2b(key, digest_size=16).digest())
        for generator in self._generators:
            generator.manual_seed(first)
        np.random.seed(second % 2**32)
        random.seed(second)
