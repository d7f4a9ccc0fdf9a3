"""What training looks like from step to step: train/loss, grad/norm, epoch."""

from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from stride.callbacks.lean import Lean
from stride.callbacks.steps import batch_loss, is_due, just_stepped


class TrainLog(Lean):
    """Logs the mean training loss since the last point, the gradient's L2 norm before clipping, and the epoch.

    It adds up on the device and asks for a number only when a point is due: `self.log` in every step costs
    more than a small model's whole step.
    """

    def __init__(self) -> None:
        self._sum: Tensor | float = 0.0
        self._count = 0
        self._norm: Tensor | None = None
        self.shown: dict[str, str] = {}

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        if is_due(trainer, trainer.global_step):
            grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
            self._norm = torch.nn.utils.get_total_norm(grads)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._sum = self._sum + batch_loss(trainer, outputs)
        self._count += 1
        step = just_stepped(trainer)
        if step is None or not is_due(trainer, step):
            return
        loss = float(self._sum) / self._count
        self.shown = {"loss": f"{loss:.3f}"}
        metrics = {"epoch": float(trainer.current_epoch), "train/loss": loss}
        if self._norm is not None:
            metrics["grad/norm"] = float(self._norm)
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=step)
        self._sum, self._count, self._norm = 0.0, 0, None

    def state_dict(self) -> dict[str, Any]:
        return {"sum": float(self._sum), "count": self._count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._sum, self._count = state_dict["sum"], state_dict["count"]
