"""Steps at rates that are given, and what each made of the loss: the engine of our own range test, and of its trial."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ConstantLR

from stride.around_step import Group, around
from stride.callbacks.lean import Lean
from stride.callbacks.steps import just_stepped
from stride.errors import ConfigError, Fault
from stride.lr.curve import Runaway


def exponential(min_lr: float, max_lr: float, steps: int) -> list[float]:
    """The ladder of a range test (Smith 2017, arXiv 1506.01186): one factor from rate to rate; at least 2 steps."""
    return [min_lr * (max_lr / min_lr) ** (step / (steps - 1)) for step in range(steps)]


class AtRates(Lean):
    """Takes each step at the next of `rates`, and notes LR and loss of each.

    The LR is multiplied inside `optimizer.step`, so all groups of all optimizers keep their ratios, and noted there,
    as the optimizer used it; no warm-up and no schedule acts. A point is a batch in which an optimizer stepped: its
    loss is the mean over the batches since the last point and over all ranks. The fit ends with the last rate, or on
    all ranks together where the loss runs away; that point is kept.

    Args:
        rates: base LRs, above 0.
        base: the base LR that the module was made with. A group's own rate over it is the group's scale.
        ends: told each loss in turn, says whether it has run away; None is `Runaway`.

    `lrs` are the base LRs (the applied ones, less the group's scale), `losses` may end with one that is not finite.
    Raises ConfigError where training_step gives no loss, or never steps an optimizer.
    """

    def __init__(self, rates: Sequence[float], *, base: float, ends: Callable[[float], bool] | None = None) -> None:
        self._rates, self._base = rates, base
        self._ends = ends or Runaway().update
        self._since: list[Tensor] = []  # losses since the last point
        self._applied: float | None = None  # None: no optimizer has stepped since
        self.ran_away = False
        self.lrs: list[float] = []
        self.losses: list[float] = []

    @property
    def _lr(self) -> float:
        return self._rates[len(self.lrs)]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Lightning counts the steps of every optimizer, and those that mixed precision skips.
        trainer.fit_loop.epoch_loop.max_steps = -1
        _leave_no_schedule(trainer, manual=not pl_module.automatic_optimization)
        for optimizer in trainer.optimizers:
            read = max(range(len(optimizer.param_groups)), key=lambda n: _rate(optimizer.param_groups[n]))
            scale = _rate(optimizer.param_groups[read]) / self._base
            around(optimizer).factors[:] = [lambda: self._lr / self._base]
            around(optimizer).watchers.append(partial(self._note, group=read, scale=scale))

    def _note(self, optimizer: Optimizer, group: int, scale: float) -> None:
        self._applied = float(optimizer.param_groups[group]["lr"]) / scale

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._since.append(_loss(outputs))
        automatic = pl_module.automatic_optimization
        # A step that was due is a point, also if mixed precision has skipped it: its loss may be no number.
        if self._applied is not None or (automatic and just_stepped(trainer) is not None):
            self._add_point(trainer)
        elif not automatic and len(self._since) >= len(self._rates):
            what = f"training_step has stepped no optimizer in {len(self._since)} batches"
            raise ConfigError(Fault("lr_finder", what, "a range test reads steps", "lr_finder=none"))

    def _add_point(self, trainer: Trainer) -> None:
        loss = self._mean(trainer)
        if self._applied is None and math.isfinite(loss):
            return  # the step was skipped: this LR is still to be tried
        self.lrs.append(self._lr if self._applied is None else self._applied)
        self.losses.append(loss)
        self._since, self._applied = [], None
        self.ran_away = self._ends(loss)
        if self.ran_away or len(self.lrs) == len(self._rates):
            trainer.should_stop = True

    def _mean(self, trainer: Trainer) -> float:
        # Lightning hands on each loss divided by the batches that a whole step accumulates.
        mean = torch.stack(self._since).mean() * trainer.accumulate_grad_batches
        return float(trainer.strategy.reduce(mean, reduce_op="mean"))


def _leave_no_schedule(trainer: Trainer, manual: bool) -> None:
    """Put each group at the rate that its schedule starts from or rises to, and let no scheduler act on it."""
    for optimizer in trainer.optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group.get("max_lr", group.get("initial_lr", group["lr"]))
    if manual:  # training_step asks for them, to step them
        for config in trainer.lr_scheduler_configs:
            config.scheduler = ConstantLR(config.scheduler.optimizer, factor=1.0)
    else:
        trainer.strategy.lr_scheduler_configs = []


def _rate(group: Group) -> float:
    """What the optimizer would use of this group where nothing else has a say."""
    return float(group["lr"] * group.get("lr_scale", 1.0))


def _loss(outputs: Any) -> Tensor:
    loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
    if not isinstance(loss, Tensor):
        what = "training_step returned no loss"
        raise ConfigError(Fault("lr_finder", what, "a range test reads the loss of every batch", "lr_finder=none"))
    return loss.detach().float().mean()
