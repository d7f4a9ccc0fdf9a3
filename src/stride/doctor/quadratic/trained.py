"""Runs of the quadratic, by the same way as any line: read, composed, checked, run; its own model and data put in."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stride import pipeline
from stride.doctor import signals
from stride.doctor.quadratic.loss import SAMPLES, Linear, Samples
from stride.doctor.quadratic.witness import Witness
from stride.errors import Exit

# What every run is told; what a check is about comes after it.
ALL = (
    *("objective=regression", "optimizer=sgd", "optimizer.momentum=0", "optimizer.weight_decay=0"),
    *("scheduler=constant", "warmup=none", "param_groups=none", "lr_scaling=none", "lr_finder=none"),
    *("trainer=cpu", "logger=none", "test=false", "callbacks.progress=null", "callbacks.early_stopping=null"),
)


def train(
    root: Path,
    name: str,
    words: Sequence[str],
    *,
    batch_size: int = SAMPLES,
    dropout: float = 0.0,
    stop_at: int | None = None,
) -> pipeline.Outcome:
    """Run `python train.py WORDS` on the quadratic, in `root / name`; on all samples at once, unless told otherwise.

    Raises ConfigError for a line that is refused, RuntimeError where the LR left its plan, SystemExit where a signal
    came from outside.
    """
    signals.look()
    folder = str(root).replace("'", r"\'")
    line = pipeline.checked([*_without(ALL, words), *words, f"output_root='{folder}'", f"name={name}"])
    line.cfg.model = _node(Linear, dropout=dropout)
    line.cfg.datamodule = _node(Samples, batch_size=batch_size, seed=line.cfg.seed)
    line.cfg.callbacks.witness = _node(Witness, run_dir=None, stop_at=stop_at)
    outcome = pipeline.run(line)
    if outcome.status == "interrupted" and (stop_at is None or outcome.exit_code != Exit.TERMINATED):
        raise SystemExit(outcome.exit_code)
    if outcome.status == "failed":
        raise RuntimeError(f"the run {name!r} has left its plan of the LR")
    return outcome


def _without(usual: Sequence[str], words: Sequence[str]) -> list[str]:
    """The usual words but those whose key is among `words`."""
    keys = {word.partition("=")[0] for word in words}
    return [word for word in usual if word.partition("=")[0] not in keys]


def _node(made: type, **arguments: Any) -> dict[str, Any]:
    return {"_target_": f"{made.__module__}.{made.__qualname__}", **arguments}
