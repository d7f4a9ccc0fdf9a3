"""Ends a run that was asked to stop, with a checkpoint from which it goes on as if it had not been."""

import time
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning import callbacks as lightning

from stride.callbacks.checkpoint import LastCheckpoint
from stride.callbacks.lean import Lean
from stride.callbacks.steps import ends_epoch, just_stepped, validation_follows
from stride.stop import Stopped, StopRequest

TOGETHER = 2.0  # seconds between two agreements of processes that train together


class Stop(Lean, lightning.Checkpoint):
    """Looks after each optimizer step, and in validations, whether the run was asked to stop.

    Where a validation is due with the step, or under way, the checkpoint says so, and the run that goes on begins with
    it, from its first batch; nobody has to wait for it to end. Processes that train together agree on it at the ends of
    epochs, and within them every `trainer.log_every_n_steps` steps, or sooner where these take long; all of them end
    then, whichever was asked. They wait for a validation to end.

    To Lightning it is a checkpoint callback, for it calls these after all others: they have seen the step by then.
    """

    def __init__(self, request: StopRequest) -> None:
        self._request = request
        self._savers: list[LastCheckpoint] = []
        self._stopping: Stopped | None = None
        self._before_validation = False
        self._repeats = False
        self._agreed, self._next = (0.0, 0), 0  # when, and at which step; the step to do so again

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._request.is_watched = True
        self._savers = [each for each in trainer.checkpoint_callbacks if isinstance(each, LastCheckpoint)]
        self._agreed = time.monotonic(), trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if just_stepped(trainer) is not None:
            self._look(trainer, together=trainer.global_step >= self._next or ends_epoch(trainer))
            if self._stopping and not ends_epoch(trainer) and not validation_follows(trainer):
                self._leave(trainer, self._stopping)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._repeats:  # Lightning counts the batch at which it was left, which is served again
            trainer.fit_loop.epoch_loop.val_loop.batch_progress.total.reset()
            self._repeats = False

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if trainer.state.fn != "fit" or trainer.sanity_checking or just_stepped(trainer) is None:
            return
        self._look(trainer, together=False)
        if self._stopping:
            self._before_validation = True
            self._leave(trainer, self._stopping)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._stopping:
            self._leave(trainer, self._stopping)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._request.is_watched = False
        self._look(trainer, together=True)
        if self._stopping:
            raise self._stopping

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._request.is_watched = False

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if self._before_validation:
            # What Lightning takes for a validation that was interrupted in its first batch: it begins anew.
            progress = checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]
            progress["current"] = dict.fromkeys(progress["current"], 0)
            progress["total"] = {key: int(key in ("ready", "started")) for key in progress["total"]}

    def state_dict(self) -> dict[str, Any]:
        return {"before_validation": self._before_validation}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._repeats = state_dict["before_validation"]

    def _look(self, trainer: Trainer, *, together: bool) -> None:
        """Whether to stop, and why; several processes find out `together`, or not now."""
        self._request.look_at_the_clock(max((saver.seconds for saver in self._savers), default=0.0))
        asked = self._request.asked
        if trainer.world_size == 1:
            code = asked.code if asked else 0
        elif together:
            code = self._agree(trainer, asked.code if asked else 0)
        else:
            return
        if code:
            self._stopping = Stopped(asked.why if asked else "another process", code, saved=True)

    def _agree(self, trainer: Trainer, code: int) -> int:
        """The largest exit code that any of the processes was asked for; all are given it."""
        (then, before), now, step = self._agreed, time.monotonic(), trainer.global_step
        told = torch.tensor([code, (now - then) / max(1, step - before)], device=trainer.strategy.root_device)
        code, a_step = trainer.strategy.reduce(told, reduce_op="max").tolist()
        most = max(1, trainer.log_every_n_steps)  # pyrefly: ignore[missing-attribute]  set by a connector
        self._agreed, self._next = (now, step), step + max(1, min(most, int(TOGETHER / a_step)))
        return int(code)

    def _leave(self, trainer: Trainer, stopping: Stopped) -> None:
        for saver in self._savers:
            saver.save(trainer)
        raise stopping
