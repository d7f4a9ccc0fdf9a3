"""Checkpoints: the best by the score, and the newest to go on from."""

import math
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning import callbacks as lightning

from stride.callbacks.lean import Lean
from stride.callbacks.steps import ends_epoch, is_due, just_stepped, validation_follows
from stride.errors import ConfigError, Fault
from stride.horizon import horizon
from stride.lr.duration import Duration
from stride.whole_file import linked


@dataclass(frozen=True)
class _Written:
    """The newest file to go on from, how far the loops were, and what it took."""

    path: Path
    loops: dict[str, Any]
    seconds: float


class Checkpoint(Lean, lightning.ModelCheckpoint):
    """Lightning's ModelCheckpoint; see there for the arguments. Its folder may have been moved since it was saved."""

    written: _Written | None = None

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        began = time.monotonic()
        super()._save_checkpoint(trainer, filepath)
        if not self.save_weights_only:
            self.written = _Written(Path(filepath), trainer.fit_loop.state_dict(), time.monotonic() - began)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        before, now = str(state_dict["dirpath"]), str(self.dirpath)

        def moved(path: str) -> str:
            return now + path.removeprefix(before) if path.startswith(before) else path

        names = ("dirpath", "best_model_path", "last_model_path", "kth_best_model_path")
        kept = {moved(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict(
            {**state_dict, **{name: moved(state_dict[name]) for name in names}, "best_k_models": kept}
        )


class LastCheckpoint(Lean, lightning.Checkpoint):
    """Writes what a run goes on from: last.ckpt, and the ones before it as last-2.ckpt, last-3.ckpt, ...

    It is written at the end of a step, and where a validation is due with that step, after the validation: else a
    resumed run would never see it. The last step of a run is always written. Where the best has just been written, it
    is a second name of the same file.

    Args:
        every: how often, at least: `1 epoch`, `10%`, `500 steps`, `5 minutes`.
        keep: how many of the newest are kept, against a damaged one.
        dirpath: their folder.

    Raises ValueError for an `every` that is no duration above 0 and a `keep` below 1.
    """

    monitor = None

    def __init__(self, *, dirpath: str, every: str = "1 epoch", keep: int = 2) -> None:
        self._every = Duration.parse(every)
        if self._every.amount == 0:
            raise ValueError(f"`every > 0` must hold, but got every={every}")
        if keep < 1:
            raise ValueError(f"`keep >= 1` must hold, but got keep={keep}")
        self._keep, self._last = keep, Path(dirpath, "last.ckpt")
        self._end: int | None = None
        self._steps: int | None = None  # between two, where it is steps that are counted
        self._due = False
        self._saved = -1
        self._saved_at = 0.0
        self.seconds = 0.0  # that the slowest one has taken

    @property
    def best_model_path(self) -> str:
        """For those who ask any checkpoint callback for weights to test."""
        return str(self._last) if self._last.is_file() else ""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        run = horizon(trainer)
        self._end, self._saved_at = run.steps, time.monotonic()
        if not self._goes_by_clock and not self._in_whole_epochs:
            try:
                self._steps = self._every.steps(run)
            except ValueError as error:
                raise ConfigError(Fault("callbacks.checkpoint_last.every", str(error))) from error

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if just_stepped(trainer) is None:
            return
        self._due = self._due or self._is_due(trainer)
        if self._due and not ends_epoch(trainer) and not validation_follows(trainer):
            self.save(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit" or just_stepped(trainer) is None:
            return
        if (self._due or self._is_due(trainer)) and not ends_epoch(trainer):
            self.save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._due or (ends_epoch(trainer) and self._is_due(trainer)):
            self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Write one now, unless this step's is there."""
        self._due = False
        if trainer.fast_dev_run or trainer.global_step == self._saved:  # pyrefly: ignore[missing-attribute]
            return
        began = time.monotonic()
        if trainer.is_global_zero:
            self._keep_the_one_before()
        if not trainer.strategy.broadcast(trainer.is_global_zero and self._is_another(trainer)):
            trainer.save_checkpoint(self._last)
        self._saved, self._saved_at = trainer.global_step, time.monotonic()
        self.seconds = max(self.seconds, self._saved_at - began)

    @property
    def _goes_by_clock(self) -> bool:
        return self._every.unit in ("seconds", "minutes", "hours")

    @property
    def _in_whole_epochs(self) -> bool:
        return self._every.unit == "epochs" and self._every.amount.is_integer()

    def _is_due(self, trainer: Trainer) -> bool:
        if trainer.global_step == self._end or trainer.should_stop:
            return True
        if self._steps is not None:
            return trainer.global_step % self._steps == 0
        if self._in_whole_epochs:
            return ends_epoch(trainer) and math.fmod(trainer.current_epoch + 1, self._every.amount) == 0
        late = time.monotonic() - self._saved_at >= self._every.seconds()
        if trainer.world_size == 1:
            return late
        return is_due(trainer, trainer.global_step - 1) and bool(trainer.strategy.broadcast(late))

    def _is_another(self, trainer: Trainer) -> bool:
        """Whether the checkpoint callback before this one has just written the same: this is its second name then."""
        before = trainer.checkpoint_callbacks[trainer.checkpoint_callbacks.index(self) - 1]
        written = before.written if isinstance(before, Checkpoint) else None
        if written is None or not written.path.is_file() or written.loops != trainer.fit_loop.state_dict():
            return False
        self.seconds = max(self.seconds, written.seconds)
        return linked(self._last, written.path)

    def _keep_the_one_before(self) -> None:
        """Give last.ckpt a second name; it keeps the first until the new one takes it."""
        older = [self._last.with_name(f"last-{number}.ckpt") for number in range(2, self._keep + 1)]
        for one, next_older in reversed(list(pairwise(older))):
            if one.is_file():
                one.replace(next_older)
        if older and self._last.is_file() and not linked(older[0], self._last):
            self._last.replace(older[0])
