"""What a run really did, by nothing but its weights and gradients; and a signal in the middle of it."""

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning import Callback, LightningModule, Trainer
from torch.optim import Optimizer

FILE = "witness.json"


class Witness(Callback):
    """Writes what a run did to a file of its folder, for `rates` and `weights`.

    A rate is what a step of SGD without momentum must have multiplied the gradient by, to move the weights as it did:
    no optimizer, schedule or plan is asked.

    Args:
        run_dir: the run's folder.
        stop_at: before this step the process sends itself SIGTERM, in a run that has not begun with it.
    """

    def __init__(self, run_dir: str, stop_at: int | None = None) -> None:
        self._file, self._stop_at = Path(run_dir, FILE), stop_at
        self._gradient = np.zeros(0)
        self._rates: list[float] = []
        self._weights: list[list[float]] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self._stop_at:
            signal.raise_signal(signal.SIGTERM)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        (weight,) = pl_module.parameters()
        if weight.grad is None:  # the guard leaves this step out
            return
        self._weights.append(_numbers(weight).tolist())
        self._gradient = _numbers(weight.grad)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        (weight,) = pl_module.parameters()
        moved = _numbers(weight) - np.array(self._weights[-1])
        self._rates.append(float(-moved @ self._gradient / (self._gradient @ self._gradient)))

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.on_train_end(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        (weight,) = pl_module.parameters()
        told = {"rates": self._rates, "weights": [*self._weights, _numbers(weight).tolist()]}
        self._file.write_text(json.dumps(told), encoding="utf-8")


def rates(folder: Path) -> np.ndarray:
    """By which each step of the run in `folder` moved its weights `(steps,)`."""
    return np.array(json.loads((folder / FILE).read_text(encoding="utf-8"))["rates"])


def weights(folder: Path) -> np.ndarray:
    """Of the run in `folder`, before each step and after the last `(steps + 1, number of weights)`."""
    return np.array(json.loads((folder / FILE).read_text(encoding="utf-8"))["weights"])


def _numbers(tensor: Any) -> np.ndarray:
    """A tensor as float64 `(numbers,)`."""
    return tensor.detach().double().cpu().numpy().reshape(-1).copy()
