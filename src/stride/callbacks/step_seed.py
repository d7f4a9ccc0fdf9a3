"""Randomness that needs no saving: that of a training step follows from its place in the run."""

import random
import struct
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningModule, Trainer

from stride.callbacks.lean import Lean

STEP, BETWEEN = 5, 6  # first in a key


class StepSeed(Lean):
    """Seeds torch (the CPU and the run's device), numpy and random from (seed, rank, batch) around each step.

    So dropout and whatever else a step draws are the same in a run that was interrupted and in one that was not, and
    no checkpoint has to hold the state of a generator. Between two steps they are seeded again, wherever a run can go
    on, for what the next batch draws on its way to the device.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._generators: list[Any] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        device = trainer.strategy.root_device
        # torch.manual_seed does the same for every device there is, at a hundred times the cost.
        self._generators = [torch.default_generator]
        if device.type == "cuda":
            self._generators.append(torch.cuda.default_generators[device.index or 0])
        elif device.type == "mps":
            self._generators.append(torch.mps._get_default_mps_generator())
        self._reseed(trainer, BETWEEN)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._reseed(trainer, STEP)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._reseed(trainer, BETWEEN)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._reseed(trainer, BETWEEN)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._reseed(trainer, BETWEEN)

    def _reseed(self, trainer: Trainer, what: int) -> None:
        served = trainer.fit_loop.epoch_loop.batch_progress.total.ready
        key = struct.pack("<4Q", what, self._seed, trainer.global_rank, served)
        # numpy's SeedSequence keeps neighbouring keys apart as well, at a hundred times the cost.
        first, second = struct.unpack("<2Q", blake2b(key, digest_size=16).digest())
        for generator in self._generators:
            generator.manual_seed(first)
        np.random.seed(second % 2**32)
        random.seed(second)
