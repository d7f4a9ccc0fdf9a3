"""The witness: the LR that the optimizer used, read inside `optimizer.step`, against the one that was planned."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from torch.optim import Optimizer

from stride.around_step import around, group_names, momentum_of
from stride.callbacks.lean import Lean
from stride.callbacks.steps import is_due, just_stepped
from stride.errors import PlanBroken
from stride.horizon import horizon
from stride.lr.plan import MOST_ROWS, TOLERANCE, Plan
from stride.rate_inside import rate_inside
from stride.whole_file import replaced, rows_of

ROWS_HELD = 1_000
ADVICE = (
    ": something other than the schedule set it. A callback or hook that means to should say so "
    "(pl_module.plan.intervene); callbacks.lr_trace.compare=false only records"
)


class LRTrace(Lean):
    """Writes lr_trace.csv and logs `lr/<group>`, `momentum/<group>`, `rate/<group>`; stops a run that leaves its plan.

    The file has the column `step`, one for each parameter group (its LR), `momentum/<group>` for those that have
    momentum or beta1, and `rate/<group>` where the optimizer steps at a rate of its own (`rate_inside`). A row stands
    for one optimizer step; past 100,000 steps every n-th is kept. Empty cells are a step that mixed precision skipped.
    The LR is read twice: before the step, after every other hook that is
    registered by then, and at its end, before anything is put back. Both must be what the module's `plan` and its
    recorded interventions say, else the state is saved to checkpoints/mismatch.ckpt and PlanBroken is raised.

    Args:
        run_dir: where lr_trace.csv goes; None: only the loggers are told.
        compare: whether the LR is compared with the plan. A module without a `plan` is only recorded.
    """

    def __init__(self, run_dir: str | None = None, compare: bool = True) -> None:
        self._path = Path(run_dir, "lr_trace.csv") if run_dir else None
        self._compare = compare
        self._plan: Plan | None = None
        self._rows: list[list[float | str]] = []
        self._columns: list[str] = []
        self._tags: list[str] = []
        self._every = 1
        self._read_at = -1
        self._found: list[float] = []
        self._mismatch = ""
        self.applied: list[float] = []
        self.momenta: list[float] = []
        self.rates: list[float] = []
        self._readers: list[Callable[[], float]] = []
        self.peak = 0.0

    @property
    def shown(self) -> dict[str, str]:
        """For the progress bar."""
        return {"lr": f"{self.applied[0]:.2e}"} if self.applied else {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._every = 1 + (horizon(trainer).steps or 0) // MOST_ROWS
        self._plan = getattr(pl_module, "plan", None) if self._compare else None
        names = group_names(trainer.optimizers)
        groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
        with_momentum = [f"momentum/{name}" for name, group in zip(names, groups, strict=True) if momentum_of(group)]
        owners = [optimizer for optimizer in trainer.optimizers for _ in optimizer.param_groups]
        readers = [*map(rate_inside, owners, groups)]
        with_rate = [f"rate/{name}" for name, reader in zip(names, readers, strict=True) if reader]
        self._readers = [reader for reader in readers if reader]
        self._columns = [*names, *with_momentum, *with_rate]
        self._tags = [*(f"lr/{name}" for name in names), *with_momentum, *with_rate]
        for optimizer in trainer.optimizers[:1]:
            optimizer.register_step_pre_hook(lambda *_: self._look(trainer))
            around(optimizer).watchers.append(lambda _: self._read(trainer))
        if self._path and trainer.is_global_zero:
            self._open(trainer.global_step)

    def _look(self, trainer: Trainer) -> None:
        self._found = _lrs(trainer.optimizers)

    def _read(self, trainer: Trainer) -> None:
        step = self._read_at = trainer.global_step
        self.applied = _lrs(trainer.optimizers)
        groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
        self.momenta = [momentum for group in groups if (momentum := momentum_of(group)) is not None]
        self.rates = [read() for read in self._readers]
        self.peak = max(self.peak, *self.applied)
        if step % self._every == 0:
            self._rows.append([step, *self.applied, *self.momenta, *self.rates])
        if self._plan is not None and not self._mismatch:
            self._mismatch = self._difference(step, self._plan)

    def _difference(self, step: int, plan: Plan) -> str:
        """What to tell of a step that did not go by the plan; empty if it did, but for rounding."""
        planned = plan.at(step)
        if self.applied != planned or self._found != planned:
            for name, lr, *used in zip(self._columns, planned, self._found, self.applied, strict=False):
                for each in used:
                    if not abs(each - lr) <= TOLERANCE * plan.peak:
                        return f"step {step} used LR {each:.6g} in group {name!r} where {lr:.6g} was planned{ADVICE}"
        momentum = plan.momentum(step)
        if momentum is not None and any(abs(each - momentum) > TOLERANCE for each in self.momenta):
            return f"step {step} used momentum {self.momenta} where {momentum:.6g} was planned{ADVICE}"
        return ""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._mismatch:
            self._stop(trainer)
        if len(self._rows) >= ROWS_HELD:
            self._write(trainer)
        step = just_stepped(trainer)
        if step is None or not self.applied:
            return
        if step != self._read_at and step % self._every == 0 and pl_module.automatic_optimization:
            self._rows.append([step, *("" for _ in self._columns)])
            self._read_at = step
        if is_due(trainer, step):
            values = dict(zip(self._tags, [*self.applied, *self.momenta, *self.rates], strict=True))
            for logger in trainer.loggers:
                logger.log_metrics(values, step=step)

    def _stop(self, trainer: Trainer) -> None:
        saved = ""
        if self._path:
            path = self._path.parent / "checkpoints" / "mismatch.ckpt"
            trainer.save_checkpoint(path)
            saved = f". The state after it: {path.relative_to(self._path.parent)}"
        raise PlanBroken(self._mismatch + saved)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._write(trainer)  # what comes after a resume from it joins on without a gap

    def state_dict(self) -> dict[str, Any]:
        return {"peak": self.peak}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.peak = max(self.peak, state_dict["peak"])  # this is also loaded before a test of the best weights

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._write(trainer)

    def _open(self, step: int) -> None:
        """Begin the file, or cut it back to the steps before the one that a resumed run goes on with."""
        assert self._path
        kept = [row for row in rows_of(self._path)[1:] if int(row[0]) < step]
        with replaced(self._path) as file:
            csv.writer(file).writerows([["step", *self._columns], *kept])

    def _write(self, trainer: Trainer) -> None:
        if self._path and self._columns and trainer.is_global_zero:
            with self._path.open("a", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows(self._rows)
        self._rows = []


def _lrs(optimizers: list[Optimizer]) -> list[float]:
    return [float(group["lr"]) for optimizer in optimizers for group in optimizer.param_groups]
