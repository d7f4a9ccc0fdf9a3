"""task=plan: the LR of a run at every step, with no step taken."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stride import build
from stride.errors import ConfigError, Fault
from stride.logs import log_file
from stride.lr.duration import Horizon
from stride.lr.plan import Plan

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from pytorch_lightning import Trainer


@dataclass(frozen=True)
class Preview:
    """A plan, and what the run's data was loaded for (empty if it was not)."""

    plan: Plan
    loaded: str = ""


def preview(cfg: "DictConfig") -> Preview:
    """The plan of the run that `cfg` describes; nothing is written, and no GPU is used.

    Where the length is typed in steps and all parameters are in one group, the config alone says it. Else data and
    model are set up, by the very `fit` that a run begins with, and left before its first step.

    Raises ConfigError for what a run would refuse, and where the model configures its optimizers by itself.
    """
    run = _typed_horizon(cfg)
    if run is not None and build.is_one_group(cfg):
        try:
            return Preview(build.plan(cfg, run))
        except ConfigError:
            pass  # it may ask for epochs, which only the data knows; what else is wrong is said below
    return Preview(_set_up(cfg), "the length of an epoch" if run is None else "the model and its parameter groups")


def _typed_horizon(cfg: "DictConfig") -> Horizon | None:
    """The run's length where no data is needed to know it."""
    steps, epochs = cfg.trainer.get("max_steps"), cfg.trainer.get("max_epochs")
    return Horizon(steps=steps, epoch_steps=None) if steps not in (None, -1) and epochs in (None, -1) else None


def _set_up(cfg: "DictConfig") -> Plan:
    cfg = cfg.copy()
    processes, (lr, _) = build.processes(cfg), build.scaled_lr(cfg)
    cfg.trainer.update(accelerator="cpu", devices=1, num_nodes=1, strategy="auto", precision="32-true")
    cfg.trainer.update(enable_progress_bar=False, num_sanity_val_steps=0, limit_val_batches=0)
    trainer = _ready(cfg, processes, lr)
    loader: Any = trainer.train_dataloader
    samples = getattr(getattr(loader, "dataset", None), "__len__", None)
    if processes > 1 and samples is not None:
        # Lightning shards torch's loaders only where it has started the processes.
        share, size, limit = math.ceil(samples() / processes), loader.batch_size, cfg.trainer.limit_train_batches
        batches = share // size if loader.drop_last else math.ceil(share / size)
        cfg.trainer.limit_train_batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
        trainer = _ready(cfg, processes, lr)
    plan = getattr(trainer.lightning_module, "plan", None)
    if plan is None:
        law = "its LR cannot be planned without a run"
        raise ConfigError(Fault("model", f"{cfg.model._target_} configures its optimizers by itself", law))
    return plan


def _ready(cfg: "DictConfig", processes: int, lr: float) -> "Trainer":
    """A trainer that stands before its first step."""
    from stride.callbacks.before_first_step import fit_until_first_step

    with log_file(None):
        parts = build.run(cfg, None, lr)
        strategy: Any = parts.trainer.strategy
        strategy.world_size = processes  # our loaders share the samples out by it
        fit_until_first_step(parts.trainer, parts.module, parts.datamodule)
    return parts.trainer
