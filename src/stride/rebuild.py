"""A run folder becomes a module again."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stride import build, checkpoint_file
from stride.errors import ConfigError, Fault
from stride.line import ROOT, find_run, load_config

if TYPE_CHECKING:
    from pytorch_lightning import LightningModule


def load(run: str | Path) -> "LightningModule":
    """The trained LightningModule of a run folder, with its best weights, in evaluation mode.

    Needs neither the run's data nor conf/. Raises ConfigError if `run` is no run folder or has no weights, and for a
    config that names what may not be called.
    """
    import torch

    folder = find_run(str(run))
    cfg, weights = load_config(folder), checkpoint_of(folder)
    if faults := build.refused_targets(cfg, ROOT / "src", os.environ.get("STRIDE_ALLOW_TARGETS", "")):
        raise ConfigError(*faults)
    checkpoint_file.refuse_damaged(weights, "run")
    module = build.module(cfg, {}, cfg.optimizer.lr)
    module.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True)["state_dict"])
    return module.eval()


def checkpoint_of(run: Path) -> Path:
    """The best weights of a run, else its last. Raises ConfigError if it has none.

    A cross-validation has none of its own: its score is that of a config, and each fold's weights lack samples.
    """
    from stride.report.record import read as read_record

    record = read_record(run)
    if "folds" in record:
        raise ConfigError(_of_folds(run, record))
    named = record["best_checkpoint"]
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


def _of_folds(run: Path, record: dict[str, Any]) -> Fault:
    scored = [fold for fold in record["folds"]["each"] if fold["score"] is not None]
    pick = min if record["score"]["mode"] == "min" else max
    best = pick(scored, key=lambda fold: fold["score"])["name"] if scored else "fold-0"
    return Fault(
        "run", f"{run} is a cross-validation: each fold has weights of its own", f"{best} is the best", f"{run}/{best}"
    )
