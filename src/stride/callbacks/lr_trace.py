"""The witness: the LR that the optimizer used, read inside `optimizer.step`."""

import csv
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from torch.optim import Optimizer

from stride.callbacks.lean import Lean
from stride.callbacks.steps import is_due, just_stepped
from stride.horizon import horizon

MOST_ROWS = 100_000
ROWS_HELD = 1_000


class LRTrace(Lean):
    """Writes lr_trace.csv (`step` and one column for each parameter group) and logs `lr/<group>`.

    The value is read in the last of the step's pre-hooks, after every scheduler and the warm-up have had their
    say. A row stands for one optimizer step; past 100,000 steps every n-th is kept.

    Args:
        run_dir: where lr_trace.csv goes; None: only the loggers are told.
    """

    def __init__(self, run_dir: str | None = None) -> None:
        self._path = Path(run_dir, "lr_trace.csv") if run_dir else None
        self._rows: list[tuple[int, list[float]]] = []
        self._names: list[str] = []
        self._every = 1
        self.applied: list[float] = []
        self.peak = 0.0

    @property
    def shown(self) -> dict[str, str]:
        """For the progress bar."""
        return {"lr": f"{self.applied[0]:.2e}"} if self.applied else {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._every = 1 + horizon(trainer).steps // MOST_ROWS
        self._names = group_names(trainer.optimizers)
        for optimizer in trainer.optimizers[:1]:
            optimizer.register_step_pre_hook(lambda *_: self._read(trainer))
        if self._path and trainer.is_global_zero:
            with self._path.open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerow(["step", *self._names])

    def _read(self, trainer: Trainer) -> None:
        step = trainer.global_step
        self.applied = [float(group["lr"]) for optimizer in trainer.optimizers for group in optimizer.param_groups]
        self.peak = max(self.peak, *self.applied)
        if step % self._every == 0:
            self._rows.append((step, self.applied))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if len(self._rows) >= ROWS_HELD:
            self._write(trainer)
        step = just_stepped(trainer)
        if step is not None and is_due(trainer, step) and self.applied:
            tags = {f"lr/{name}": lr for name, lr in zip(self._names, self.applied, strict=True)}
            for logger in trainer.loggers:
                logger.log_metrics(tags, step=step)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._write(trainer)

    def _write(self, trainer: Trainer) -> None:
        if self._path and self._names and trainer.is_global_zero:
            with self._path.open("a", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([step, *(repr(lr) for lr in lrs)] for step, lrs in self._rows)
        self._rows = []


def group_names(optimizers: list[Optimizer]) -> list[str]:
    """A name for each parameter group of all optimizers: its own, else its number."""
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    return [str(group.get("name", index)) for index, group in enumerate(groups)]
