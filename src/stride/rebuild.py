"""A run folder becomes a module again."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stride import build, check, checkpoint_file, resume
from stride.errors import ConfigError, Fault
from stride.kept_config import find_run, load_config
from stride.names import ROOT

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from pytorch_lightning import LightningModule

MODULE = ("model", "objective", "optimizer", "scheduler", "param_groups")  # what a module is made of


def load(run: str | Path) -> "LightningModule":
    """The trained LightningModule of a run folder, with its best weights, in evaluation mode.

    Needs neither the run's data nor conf/. Raises ConfigError if `run` is no run folder or has no weights, for a config
    that names what may not be called or lacks a secret, and for weights that hold code.
    """
    folder = find_run(str(run))
    cfg, weights = _config_of(folder), checkpoint_of(folder)
    checkpoint_file.refuse_damaged(weights, "run")
    state = weights_of(weights)
    module = build.module(cfg, {}, cfg.optimizer.lr)
    module.load_state_dict(state)
    return module.eval()


def _config_of(folder: Path) -> "DictConfig":
    """What of a run's config its module is made of, resolved, after all of it was looked at."""
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    cfg = load_config(folder)
    written = {part: OmegaConf.to_container(cfg[part], resolve=False) for part in MODULE}
    try:
        plain = {part: OmegaConf.to_container(cfg[part], resolve=True) for part in MODULE}
    except OmegaConfBaseException as error:
        raise ConfigError(check.unresolved(error, cfg)) from error
    resolved = DictConfig(plain)
    faults = build.refused_targets(resolved, ROOT / "src", os.environ.get("STRIDE_ALLOW_TARGETS", ""))
    if faults := faults or [*check.calls(plain, written), *check.blanks(plain)]:
        raise ConfigError(*faults)
    return resolved


def weights_of(path: Path, *, trusted: bool = False, attempt: str = "") -> dict[str, Any]:
    """The tensors of a run's checkpoint by name; one that is `trusted` may hold code, which is run.

    Raises ConfigError where it holds any, with `attempt` as what to type for that, and where it cannot be read.
    """
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=not trusted, mmap=True)["state_dict"]
    except Exception as error:
        raise ConfigError(resume.unreadable(path, error, "run", attempt)) from error


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
