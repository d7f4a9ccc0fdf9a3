"""Stride: a training template that gets the learning rate right.

import stride
outcome = stride.run(["optimizer=adam", "scheduler=cosine"])
module = stride.load(outcome.folder)
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytorch_lightning import LightningModule

    from stride.pipeline import Outcome


def run(words: Sequence[str] = ()) -> "Outcome":
    """What `python train.py WORDS` does, from Python. Raises stride.errors.ConfigError for a line with faults."""
    from stride import pipeline

    return pipeline.run(pipeline.checked(words))


def load(run: str | Path) -> "LightningModule":
    """The trained module of a run folder, with its best weights, in evaluation mode."""
    from stride.rebuild import load

    return load(run)
