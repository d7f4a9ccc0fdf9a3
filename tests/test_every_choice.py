"""Every file in conf/ composes, and every optimizer takes every schedule; a new file is tested the minute it exists."""

import itertools
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from stride import build
from stride.lr.duration import Horizon, bind
from stride.names import groups
from stride.pipeline import checked

CONF = Path(__file__).resolve().parents[1] / "conf"
CHOICES = [(group, name) for group, names in groups(CONF).items() for name in names if group != "hydra"]
# Every optimizer takes each third schedule, and every schedule each third optimizer; all the others are for CI.
PAIRS = [
    pytest.param(optimizer, scheduler, marks=pytest.mark.slow if (row + column) % 3 and not is_free else ())
    for row, optimizer in enumerate(groups(CONF)["optimizer"])
    for column, scheduler in enumerate(groups(CONF)["scheduler"])
    if not (is_free := optimizer.startswith("schedule_free")) or scheduler in ("none", "constant")  # others are refused
]
NEEDS_A_GPU = {("trainer", "gpu"), ("trainer", "fsdp")}
NEEDS_AN_EXTRA = {
    ("logger", "wandb"): "wandb",
    ("logger", "mlflow"): "mlflow",
    ("optimizer", "schedule_free_adamw"): "schedulefree",
    ("optimizer", "schedule_free_sgd"): "schedulefree",
    ("optimizer", "prodigy"): "prodigyopt",
}


def skip_without_extra(group, name):
    if (group, name) in NEEDS_AN_EXTRA:
        pytest.importorskip(NEEDS_AN_EXTRA[group, name], reason="an extra")


@pytest.mark.parametrize(("group", "name"), CHOICES)
def test_every_choice_composes_and_passes_its_own_checks(group, name, monkeypatch):
    skip_without_extra(group, name)
    if (group, name) in NEEDS_A_GPU:
        monkeypatch.setattr("stride.check.gpus", lambda: 1)
    line = checked([f"{group}={name}"])
    assert not OmegaConf.missing_keys(line.cfg)


@pytest.mark.parametrize(
    ("datamodule", "model"), [*itertools.product(groups(CONF)["datamodule"], groups(CONF)["model"])]
)
def test_the_main_line_composes_with_every_model_and_datamodule(datamodule, model):
    line = checked(["optimizer=adam", "scheduler=cosine", f"datamodule={datamodule}", f"model={model}"])
    assert line.cfg.optimizer._target_ == "torch.optim.Adam"
    assert line.cfg.scheduler._target_ == "stride.lr.schedule.cosine"


@pytest.fixture
def lrs_inside_step(monkeypatch):
    """Watch an optimizer class: the LRs in its groups when its own `step` runs, hooks done."""

    def watch(cls):
        seen = []
        # torch wraps `step` with its hooks at the first construction and marks it; the spy goes inside of them.
        original = cls.step.__wrapped__ if getattr(cls.step, "hooked", False) else cls.step

        def step(self, *args, **kwargs):
            seen.append([float(group["lr"]) for group in self.param_groups])
            return original(self, *args, **kwargs)

        monkeypatch.setattr(cls, "step", step)
        return seen

    return watch


def optimizer_class(line):
    import importlib

    module, _, name = line.cfg.optimizer._target_.rpartition(".")
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize(("optimizer", "scheduler"), PAIRS)
def test_every_optimizer_takes_three_steps_of_every_schedule_at_the_planned_lr(optimizer, scheduler, lrs_inside_step):
    skip_without_extra("optimizer", optimizer)
    words = [
        "model=mlp",
        "model.hidden=[8]",
        "datamodule=wine",
        "callbacks=none",
        "logger=none",
        "param_groups=no_decay",
    ]
    words += [f"optimizer={optimizer}", f"scheduler={scheduler}", "trainer.max_steps=3", "trainer.limit_val_batches=0"]
    words += ["optimizer.safeguard_warmup=true"] if optimizer == "prodigy" else []
    line = checked(words)
    seen = lrs_inside_step(optimizer_class(line))
    cfg, lr = line.cfg, line.cfg.optimizer.lr
    parts = build.run(cfg, None, lr)
    parts.trainer.fit(parts.module, datamodule=parts.datamodule)
    run = Horizon(steps=3, epoch_steps=None)
    schedule = build._schedule(cfg)
    law = schedule(run, lr) if schedule else (lambda step: 1.0)
    ramp = bind(build._instantiate(cfg.warmup, ""), {}, run) if cfg.warmup else (lambda step: 1.0)
    planned = [lr * ramp(step) * law(step) for step in range(3)]
    for group in range(len(seen[0])):
        assert [lrs[group] for lrs in seen] == pytest.approx(planned, rel=1e-12, abs=1e-15)
    assert all(bool(torch.isfinite(parameter).all()) for parameter in parts.module.parameters())
