"""Ends a run that was asked to stop, with a checkpoint from which it goes on as if it had not been."""

from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning import callbacks as lightning

from stride.callbacks.checkpoint import LastCheckpoint
from stride.callbacks.lean import Lean
from stride.callbacks.steps import ends_epoch, is_due, just_stepped, validation_follows
from stride.stop import Stopped, StopRequest


class Stop(Lean, lightning.Checkpoint):
    """Looks after each optimizer step, and in validations, whether the run was asked to stop.

    Processes that train together agree on it at steps that are logged, and at the ends of epochs. Where a validation
    is due with the step, or under way, the checkpoint says so, and the run that goes on begins with it, from its first
    batch; nobody has to wait for it to end.

    To Lightning it is a checkpoint callback, for it calls these after all others: they have seen the step by then.
    """

    def __init__(self, request: StopRequest) -> None:
        self._request = request
        self._stopping: Stopped | None = None
        self._before_validation = False
        self._repeats = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._request.listen()  # Lightning has just taken SIGTERM, for what would hang where one process alone gets it
        self._request.is_watched = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = just_stepped(trainer)
        if step is not None:
            self._look(trainer, together=is_due(trainer, step) or ends_epoch(trainer))
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
        self._request.look_at_the_clock(max((saver.seconds for saver in _savers(trainer)), default=0.0))
        if trainer.world_size == 1:
            self._stopping = self._request.asked
        elif together:
            code = torch.tensor(float(self._request.asked.code if self._request.asked else 0))
            code = trainer.strategy.reduce(code.to(trainer.strategy.root_device), reduce_op="max")
            self._stopping = Stopped("another process was", int(code)) if code else None

    def _leave(self, trainer: Trainer, stopped: Stopped) -> None:
        for saver in _savers(trainer):
            saver.save(trainer)
        raise self._request.asked or stopped


def _savers(trainer: Trainer) -> list[LastCheckpoint]:
    return [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, LastCheckpoint)]
