"""Sweeps of a cell as others make them: Lightning's by its own Tuner, fastai's LRs by our ramp."""

import io
import math
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

from pytorch_lightning.tuner import Tuner

from regret.cells import config
from stride import build
from stride.callbacks.range_test import AtRates
from stride.logs import log_file

LARGEST = 1e39  # instead of an infinite loss, for which JSON has no word; beyond what 32 bits hold


def lightning(words: tuple[str, ...], *, seed: int) -> dict[str, Any]:
    """What `Tuner.lr_find` suggests with its own defaults, on a plain Trainer; None where it gives nothing."""
    cfg = config(words).copy()
    cfg.seed = seed
    with tempfile.TemporaryDirectory() as folder, log_file(None), redirect_stderr(io.StringIO()):
        trainer, module, data = build.range_test(cfg, Path(folder), 0, steps=100)
        finder = Tuner(trainer).lr_find(module, datamodule=data, update_attr=False)
        assert finder is not None
        return {"lr": finder.suggestion(), "gradient_steps": len(finder.results["lr"])}


def at(lrs: Sequence[float], words: tuple[str, ...], *, seed: int) -> list[float]:
    """The raw loss of a step at each of these LRs, whatever it comes to."""
    cfg = config(words).copy()
    cfg.seed = seed
    with tempfile.TemporaryDirectory() as folder, log_file(None):
        trainer, module, data = build.range_test(cfg, Path(folder), 0, steps=len(lrs))
        ramp = AtRates(lrs, base=cfg.optimizer.lr, ends=lambda loss: False)
        trainer.callbacks.append(ramp)
        trainer.fit(module, datamodule=data)
    return [loss if math.isnan(loss) else min(loss, LARGEST) for loss in ramp.losses]
