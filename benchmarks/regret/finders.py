"""What Stride's own finder says of a cell: the tune stage itself, as a run calls it."""

import warnings
from dataclasses import asdict
from typing import Any

from regret.cells import config
from stride import build
from stride.logs import log_file


def found(words: tuple[str, ...], *, seed: int) -> dict[str, Any]:
    """The finding for a line that has `lr_finder=...` in it; its curve and its trial are kept with it."""
    cfg = config(words).copy()
    cfg.seed = seed
    with log_file(None), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        finding = build.search(cfg)
    told, trial = finding.suggestion, finding.trial
    (curve,) = finding.curves
    return {
        "lr": told.lr,
        "interval": [told.low, told.high],
        "outcome": told.outcome.name.lower(),
        "why": told.why,
        "gradient_steps": finding.steps,
        "asked": cfg.optimizer.lr,
        "curve": {"lrs": _short(curve.lrs), "losses": _short(curve.losses), "diverged": curve.diverged},
        "momentum": curve.momentum,
        "rehearsed": finding.rehearsed and asdict(finding.rehearsed),
        "trial": trial and {"lr": trial.lr, "losses": _short(trial.losses), "held_out": trial.held_out},
    }


def _short(values: Any) -> list[float]:
    return [float(f"{value:.5g}") for value in values]
