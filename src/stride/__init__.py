"""Stride: a training template that gets the learning rate right.

import stride
outcome = stride.run(["optimizer=adam", "scheduler=cosine"])
module = stride.load(outcome.folder)
stride.sweep(["optimizer.lr=1e-3,1e-2"]).report.best_line
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytorch_lightning import LightningModule

    from stride.pipeline import Outcome
    from stride.sweep.driver import SweepOutcome


def run(words: Sequence[str] = ()) -> "Outcome":
    """What `python train.py WORDS` does, from Python. Raises stride.errors.ConfigError for a line with faults."""
    from stride import pipeline

    return pipeline.run(pipeline.checked(words))


def sweep(words: Sequence[str]) -> "SweepOutcome":
    """What `python train.py -m WORDS` does, from Python: a folder, a report, an exit code.

    Raises stride.errors.ConfigError for a line that cannot be swept.
    """
    from stride.cli import sweep_line
    from stride.sweep import driver

    line = sweep_line(list(words))
    return driver.run(line.overrides, line.cfg)


def load(run: str | Path) -> "LightningModule":
    """The trained module of a run folder, with its best weights, in evaluation mode."""
    from stride.rebuild import load

    return load(run)
