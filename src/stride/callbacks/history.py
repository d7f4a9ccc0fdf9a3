"""What each validation saw: the raw material of the record and the card."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from stride.callbacks.lean import Lean
from stride.callbacks.steps import batch_loss


@dataclass(frozen=True)
class Point:
    """One validation: after `step` optimizer steps, with the mean training loss since the one before."""

    step: int
    epoch: int
    train_loss: float | None
    scores: dict[str, float]


class History(Lean):
    """Keeps a Point for every validation, and picks the best by the score.

    Args:
        score: name of the metric that decides.
        mode: `min` or `max`.
        watch: told the number of each validation, from 1, and its score, by the first process; the run stops where
            it says True.
    """

    def __init__(self, score: str, mode: str, watch: Callable[[int, float], bool] | None = None) -> None:
        self.score, self.mode, self.watch = score, mode, watch
        self.pruned = False
        self.points: list[Point] = []
        self._sum: Tensor | float = 0.0
        self._count = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._sum = self._sum + batch_loss(trainer, outputs)
        self._count += 1

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        total = torch.as_tensor([float(self._sum), float(self._count)], device=pl_module.device)
        total = trainer.strategy.reduce(total, reduce_op="sum")
        assert isinstance(total, Tensor)
        train_loss = float(total[0] / total[1]) if total[1] else None
        scores = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.points.append(Point(trainer.global_step, trainer.current_epoch, train_loss, scores))
        self._sum, self._count = 0.0, 0
        if self.watch is not None and self.score in scores:
            enough = trainer.is_global_zero and self.watch(len(self.points), scores[self.score])
            self.pruned = bool(trainer.strategy.broadcast(enough))
            trainer.should_stop = trainer.should_stop or self.pruned

    def state_dict(self) -> dict[str, Any]:
        return {"points": [asdict(point) for point in self.points], "sum": float(self._sum), "count": self._count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self.points:
            return  # Lightning loads this before a test of the best weights too: the run has its own history then
        self.points = [Point(**point) for point in state_dict["points"]]
        self._sum, self._count = state_dict["sum"], state_dict["count"]

    @property
    def best(self) -> Point | None:
        """The point with the best score, or None before the first."""
        scored = [point for point in self.points if self.score in point.scores]
        if not scored:
            return None
        pick = min if self.mode == "min" else max
        return pick(scored, key=lambda point: point.scores[self.score])
