"""The tune stage: a range test before the run, on objects of its own that are thrown away.

Nothing can leak into the run, because nothing is restored: the sweep has its own module, data and Trainer, and
the number that comes out is the only thing that goes on.
"""

import io
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningDataModule, LightningModule, Trainer
from pytorch_lightning.tuner import Tuner
from torch.optim import Optimizer

from stride.lr.curve import Curve, unbias
from stride.lr.suggest import Suggestion, minimum, together


@dataclass(frozen=True)
class Finding:
    """What the tune stage found: one curve for each data order, one suggestion, what it cost."""

    curves: list[Curve]
    suggestion: Suggestion
    seconds: float

    def save(self, folder: Path) -> None:
        """Write curve.json."""
        folder.mkdir(parents=True, exist_ok=True)
        told = {
            "lr": self.suggestion.lr,
            "outcome": self.suggestion.outcome.name.lower(),
            "why": self.suggestion.why,
        }
        data = {
            "suggestion": told,
            "curves": [asdict(curve) for curve in self.curves],
            "seconds": self.seconds,
        }
        (folder / "curve.json").write_text(json.dumps(data, indent=1), encoding="utf-8")


class RangeTest:
    """Lightning's own LR sweep (`Tuner.lr_find`) over several data orders, read by our own picker.

    Args:
        min_lr, max_lr: first and last LR of the sweep; `0 < min_lr < max_lr` must hold.
        steps: optimizer steps of one sweep.
        orders: how many sweeps, each over the samples in another order.

    Raises ValueError where these do not hold.
    """

    def __init__(self, *, min_lr: float, max_lr: float, steps: int, orders: int) -> None:
        if not 0 < min_lr < max_lr:
            raise ValueError(f"`0 < min_lr < max_lr` must hold, but got {min_lr=}, {max_lr=}")
        if steps < 1 or orders < 1:
            raise ValueError(f"`steps >= 1` and `orders >= 1` must hold, but got {steps=}, {orders=}")
        self.min_lr, self.max_lr, self.steps, self.orders = min_lr, max_lr, steps, orders

    def __call__(self, make: Callable[[int, Path], "tuple[Trainer, LightningModule, LightningDataModule]"]) -> Finding:
        """Sweep. `make(order, folder)` gives a fresh trainer, module and datamodule for one data order."""
        started = time.perf_counter()
        state = random.getstate(), np.random.get_state(), torch.get_rng_state()
        try:
            swept = [self._sweep(make, order) for order in range(self.orders)]
        finally:
            random.setstate(state[0])
            np.random.set_state(state[1])
            torch.set_rng_state(state[2])
        suggestion = together([minimum(curve) for curve in swept])
        return Finding(swept, suggestion, time.perf_counter() - started)

    def _sweep(self, make: Callable[..., Any], order: int) -> Curve:
        # Lightning writes a checkpoint for its own use and may leave it behind: in a folder that goes.
        with tempfile.TemporaryDirectory() as folder:
            trainer, module, data = make(order, Path(folder))
            sweep = {"min_lr": self.min_lr, "max_lr": self.max_lr, "num_training": self.steps}
            with _bar_for_terminals_only():
                finder = Tuner(trainer).lr_find(module, datamodule=data, update_attr=False, **sweep, early_stop_threshold=None)
            assert finder is not None
            results = finder.results
            return Curve.of(results["lr"], unbias(results["loss"]), _momentum(trainer.optimizers[0]))


@contextmanager
def _bar_for_terminals_only() -> Iterator[None]:
    # Lightning's finder draws its bar on stderr whatever the Trainer was told; in a file it is noise.
    with nullcontext() if sys.stderr.isatty() else redirect_stderr(io.StringIO()):
        yield


def _momentum(optimizer: Optimizer) -> float:
    """How much of the last update the next one keeps: SGD's momentum, Adam's beta1, else 0."""
    group = optimizer.param_groups[0]
    return float(group.get("momentum", (group.get("betas") or [0.0])[0]) or 0.0)
