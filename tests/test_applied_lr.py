"""The figure of the house: the LR inside `optimizer.step` is the planned one, in every combination."""

import itertools

import pytest
import torch
from omegaconf import OmegaConf
from torch.optim.lr_scheduler import ReduceLROnPlateau

from stride import build
from stride.lr import ramp, schedule
from stride.lr.duration import Horizon, bind
from stride.names import groups
from stride.pipeline import checked

SCALES = {"a": 1.0, "b": 0.1, "c": 3.0}
STEPS = 12
SCHEDULERS, WARMUPS = groups()["scheduler"], groups()["warmup"]
COMBINATIONS = [
    (scheduler, warmup)
    for scheduler, warmup in itertools.product(SCHEDULERS, WARMUPS)
    if scheduler not in schedule.OWN_WARMUP or warmup == "none"
]
BETA2 = 0.6  # so that an untuned warm-up, 2 / (1 - beta2), is 5 of the 12 steps


def three_groups(module):
    parameters = list(module.parameters())
    return [
        {"params": parameters[place::3], "name": name, "lr_scale": scale}
        for place, (name, scale) in enumerate(SCALES.items())
    ]


def planned(cfg):
    """The product of the design, from the laws alone: `step -> LR of each group`."""
    run = Horizon(steps=STEPS, epoch_steps=cfg.epoch_steps)

    def told(room, node):
        name = node._target_.rpartition(".")[2]
        arguments = OmegaConf.to_container(node, resolve=True)
        return bind(getattr(room, name), {k: v for k, v in arguments.items() if k[0] != "_"}, run)

    rise = told(ramp, cfg.warmup) if cfg.warmup else lambda step: 1.0
    if cfg.scheduler._target_.startswith("torch."):
        law = TORCH[cfg.scheduler._target_.rpartition(".")[2]](cfg.epoch_steps)
    else:
        law = told(schedule, cfg.scheduler)
    return lambda step: [cfg.optimizer.lr * rise(step) * law(step) * scale for scale in cfg.scales]


TORCH = {
    # Nothing counts as better: the first validation is the best, the LR halves at each one after it.
    "ReduceLROnPlateau": lambda epoch: lambda step: 0.5 ** max(0, step // epoch - 1),
    "CosineAnnealingLR": lambda epoch: schedule.cosine(total=STEPS),
}


def applied(words, several, monkeypatch):
    """What Adam's own `step` finds in its groups, hooks done, and the config and plan that it ran under."""
    cfg = checked(["datamodule=wine", "model=mlp", "model.hidden=[8]", "callbacks=none", "logger=none", *words]).cfg
    if cfg.scheduler._target_.endswith(ReduceLROnPlateau.__name__):
        cfg.scheduler.update(patience=0, threshold=1000, threshold_mode="abs")
    if several:
        cfg.param_groups = OmegaConf.create({"_target_": f"{__name__}.three_groups", "_partial_": True})
    seen = []
    # torch wraps `step` with its hooks at the first construction and marks it; the spy goes inside of them.
    step = torch.optim.Adam.step
    original = step.__wrapped__ if getattr(step, "hooked", False) else step

    def spy(self, closure=None):
        loss = original(self, closure)
        seen.append([group["lr"] for group in self.param_groups])  # after the closure, which could have changed it
        return loss

    monkeypatch.setattr(torch.optim.Adam, "step", spy)
    parts = build.run(cfg, None, cfg.optimizer.lr)
    parts.trainer.fit(parts.module, datamodule=parts.datamodule)
    assert parts.trainer.global_step == len(seen) == STEPS
    cfg.epoch_steps = parts.module.plan.horizon.epoch_steps
    cfg.scales = list(SCALES.values()) if several else [1.0]
    return seen, cfg, parts.module.plan


def compare(scheduler, warmup, several, accumulate, precision, monkeypatch):
    words = [f"scheduler={scheduler}", f"trainer.max_steps={STEPS}", f"trainer.precision={precision}"]
    words += [f"trainer.accumulate_grad_batches={accumulate}", f"optimizer.betas=[0.9,{BETA2}]"]
    if scheduler not in schedule.OWN_WARMUP:
        words += [f"warmup={warmup}"]
        words += ["warmup.length='5 steps'"] if warmup in ("linear", "exponential", "cosine") else []
    seen, cfg, plan = applied(words, several, monkeypatch)
    expected = planned(cfg)
    peak = cfg.optimizer.lr * max(cfg.scales)
    for step, lrs in enumerate(seen):
        assert lrs == pytest.approx(expected(step), rel=0, abs=1e-6 * peak), step
        assert plan.at(step) == pytest.approx(lrs, rel=0, abs=1e-6 * peak), step
    assert all(lr > 0 for lr in seen[0])


@pytest.mark.parametrize(("scheduler", "warmup"), COMBINATIONS)
def test_the_applied_lr_is_the_planned_one(scheduler, warmup, monkeypatch):
    compare(scheduler, warmup, True, 3, "32-true", monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("several", "accumulate", "precision"), list(itertools.product((False, True), (1, 3), ("32-true", "bf16-mixed")))
)
@pytest.mark.parametrize(("scheduler", "warmup"), COMBINATIONS)
def test_the_applied_lr_is_the_planned_one_everywhere(scheduler, warmup, several, accumulate, precision, monkeypatch):
    compare(scheduler, warmup, several, accumulate, precision, monkeypatch)
