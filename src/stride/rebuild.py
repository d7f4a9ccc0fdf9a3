"""A run folder becomes a module again."""

from pathlib import Path
from typing import TYPE_CHECKING

from stride import build
from stride.errors import ConfigError, Fault
from stride.line import find_run, load_config

if TYPE_CHECKING:
    from pytorch_lightning import LightningModule


def load(run: str | Path) -> "LightningModule":
    """The trained LightningModule of a run folder, with its best weights, in evaluation mode.

    Needs neither the run's data nor conf/. Raises ConfigError if `run` is no run folder or has no weights.
    """
    import torch

    folder = find_run(str(run))
    cfg = load_config(folder)
    module = build.module(cfg, {}, cfg.optimizer.lr)
    module.load_state_dict(torch.load(checkpoint_of(folder), map_location="cpu", weights_only=True)["state_dict"])
    return module.eval()


def checkpoint_of(run: Path) -> Path:
    """The best weights of a run, else its last. Raises ConfigError if it has none."""
    from stride.report.record import read as read_record

    named = read_record(run)["best_checkpoint"]
    for path in (run / (named or "checkpoints/best.ckpt"), run / "checkpoints" / "last.ckpt"):
        if path.is_file():
            return path
    raise ConfigError(
        Fault(
            "run",
            f"{run} has no checkpoint",
            "it was trained without checkpoint callbacks, or did not get that far",
        )
    )
