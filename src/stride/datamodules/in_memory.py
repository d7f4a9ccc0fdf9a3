"""A LightningDataModule for data that fits in memory: whole batches, and exact resume."""

from functools import partial
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from stride.datamodules.batches import Batch, EvalBatches, TrainBatches, Transform
from stride.datamodules.fold import Fold


class InMemory(pl.LightningDataModule):
    """Train, validation and test as tuples of tensors of equal length; a subclass has only to `load` them.

    `batch_size` and `eval_batch_size` are samples a device, `seed` orders the training samples;
    `TrainBatches` and `EvalBatches` say how they are shared out. The place in the running epoch goes into the
    checkpoint, and Lightning loads it before it asks for a loader: a resumed epoch serves just the batches
    that were left.

    In a cross-validation (`fold`) the training and validation samples that `load` returns are split anew. What
    depends on which samples train (a mean, a vocabulary) therefore belongs into `preprocess`, which comes after.

    Raises ValueError if a size is below 1 or the seed below 0, and in `setup` where drop_last would leave no batch.
    """

    transform: Transform | None = None  # of training inputs, where a subclass has one
    fold: Fold | None = None  # set from outside, before `setup`
    groups: np.ndarray | None = None  # `load` may set it: what each sample of train, then of val, belongs to
    in_order = False  # whether samples are a sequence (a text, a time series): folds are then contiguous blocks
    split_seed = 0  # of the shuffle before folds are cut

    def __init__(self, *, batch_size: int, seed: int, eval_batch_size: int = 1024, drop_last: bool = False) -> None:
        _at_least(1, "batch_size", batch_size)
        _at_least(1, "eval_batch_size", eval_batch_size)
        _at_least(0, "seed", seed)
        super().__init__()
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.seed, self.drop_last = seed, drop_last
        self.train: Batch = ()
        self.val: Batch = ()
        self.test: Batch = ()
        self._start_over()

    def load(self) -> tuple[Batch, Batch, Batch]:
        """Train, validation and test, each a tuple of tensors such as (x, y). Every rank calls it once."""
        raise NotImplementedError(f"{type(self).__name__} must define load()")

    def preprocess(self, train: Batch, val: Batch, test: Batch) -> tuple[Batch, Batch, Batch]:
        """The parts as they are served, with what was learned from `train` alone; as they are, unless overridden."""
        return train, val, test

    def setup(self, stage: str | None = None) -> None:
        if not self.train:
            train, val, test = self.load()
            if self.fold is not None:
                train, val = self._folded(self.fold, train, val)
            self.train, self.val, self.test = self.preprocess(train, val, test)
        if stage == "fit":  # comes before a checkpoint's state is loaded
            self._start_over()
            if self.drop_last and self.batch_size > len(self.train[0]):
                raise ValueError(
                    f"`batch_size <= {len(self.train[0])}`, all training samples, must hold with drop_last, "
                    f"but got batch_size={self.batch_size}"
                )

    def train_dataloader(self) -> TrainBatches | EvalBatches:
        if getattr(self.trainer, "overfit_batches", 0) > 0:  # the same batches in every epoch
            return self._in_order(self.train, self.batch_size)
        rank, world = self._place()
        self.batches = TrainBatches(
            self.train,
            batch_size=self.batch_size,
            seed=self.seed,
            rank=rank,
            world=world,
            drop_last=self.drop_last,
            transform=self.transform,
            position=self.position,
            current_epoch=partial(getattr, self.trainer, "current_epoch", 0) if self.trainer else None,
        )
        return self.batches

    def val_dataloader(self) -> EvalBatches:
        return self._in_order(self.val, self.eval_batch_size)

    def test_dataloader(self) -> EvalBatches:
        return self._in_order(self.test, self.eval_batch_size)

    def predict_dataloader(self) -> EvalBatches:
        return self.test_dataloader()

    def state_dict(self) -> dict[str, int]:
        """The first batch that is not yet trained on: {"epoch": e, "batch": b}."""
        if self.trainer is None or self.batches is None or self.batches.epoch is None:
            return self.position  # no epoch has begun
        progress = self.trainer.fit_loop.epoch_loop.batch_progress
        done: Any = progress.current  # typed by a parent that lacks `processed`
        if progress.is_last_batch and done.processed == done.ready:  # else it is the last, but in flight
            return {"epoch": self.batches.epoch + 1, "batch": 0}
        return {"epoch": self.batches.epoch, "batch": done.processed}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self.position = state_dict

    def _folded(self, fold: Fold, train: Batch, val: Batch) -> tuple[Batch, Batch]:
        pool = tuple(torch.cat(pair) for pair in zip(train, val, strict=True))
        *inputs, target = pool
        classes = bool(inputs) and target.ndim == 1 and not target.is_floating_point()
        labels = target.numpy() if classes and not self.in_order else None
        settings = {"groups": self.groups, "in_order": self.in_order, "seed": self.split_seed}
        parts = [torch.from_numpy(part) for part in fold(len(target), labels=labels, **settings)]
        first, second = (tuple(tensor[part] for tensor in pool) for part in parts)
        return first, second

    def _start_over(self) -> None:
        self.position = {"epoch": 0, "batch": 0}
        self.batches: TrainBatches | None = None

    def _in_order(self, part: Batch, batch_size: int) -> EvalBatches:
        rank, world = self._place()
        return EvalBatches(part, batch_size=batch_size, rank=rank, world=world)

    def _place(self) -> tuple[int, int]:
        """Rank and number of ranks; alone until a trainer is attached."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)


def _at_least(least: int, name: str, value: int) -> None:
    if value < least:
        raise ValueError(f"`{name} >= {least}` must hold, but got {name}={value}")
