"""Warm-up: the ramp that multiplies the LR around `optimizer.step`, whatever made that LR."""

from collections.abc import Callable

from pytorch_lightning import LightningModule, Trainer
from torch.optim import Optimizer

from stride.callbacks.lean import Lean
from stride.horizon import horizon
from stride.lr.duration import Horizon
from stride.lr.schedule import Schedule


class Warmup(Lean):
    """Multiplies each group's LR by `ramp(step)` just before the step and puts it back just after.

    So the ramp composes with every scheduler, and no scheduler can undo it. There is no counter here: the step
    is `trainer.global_step`, which a resumed run restores.

    Args:
        ramp: `ramp(horizon)` is the function `step -> factor`.
    """

    def __init__(self, ramp: Callable[[Horizon], Schedule]) -> None:
        self._ramp = ramp

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        ramp = self._ramp(horizon(trainer))
        for optimizer in trainer.optimizers:
            ramped = _RampedStep(trainer, ramp)
            optimizer.register_step_pre_hook(ramped.begin)
            optimizer.register_step_post_hook(ramped.end)
            # An exception inside the closure skips the post-hook; a checkpoint must not keep the ramped LR.
            optimizer.register_state_dict_pre_hook(ramped.end)


class _RampedStep:
    def __init__(self, trainer: Trainer, ramp: Schedule) -> None:
        self.trainer, self.ramp = trainer, ramp
        self.planned: list[float] = []

    def begin(self, optimizer: Optimizer, *_: object) -> None:
        self.end(optimizer)
        factor = self.ramp(self.trainer.global_step)
        self.planned = [group["lr"] for group in optimizer.param_groups]
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] * factor  # a new object: safe where lr is a tensor

    def end(self, optimizer: Optimizer, *_: object) -> None:
        if self.planned:
            for group, lr in zip(optimizer.param_groups, self.planned, strict=True):
                group["lr"] = lr
            self.planned = []
