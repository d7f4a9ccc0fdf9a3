"""Of 100 faults a rescue mends at least 95, at the cost of few steps; in 100,000 healthy steps it sees none.

pytest -n 0 -s -m slow tests/callbacks/test_rescue.py      prints what the README says
"""

import math
import random
from collections import Counter
from statistics import fmean, stdev

import pytest
import torch

import stride
from stride.around_step import around
from stride.callbacks.guard import Guard
from stride.callbacks.history import History
from stride.lr.spike import LossWatch

RECIPES = {
    "adam": ["datamodule=digits", "model=mlp", "model.hidden=[32]", "optimizer=adam"],
    "sgd": ["datamodule=digits", "model=mlp", "model.hidden=[32]", "optimizer=sgd", "optimizer.lr=0.1"],
}
RUN = ["trainer.max_epochs=12", "callbacks.progress=null", "callbacks.early_stopping=null", "logger=none", "test=false"]
RUN += ["callbacks.guard.mode=rescue", "callbacks.lr_trace.compare=false", "callbacks.checkpoint_best=null"]
STEPS = 240
FAULTS = ("NaN batch", "gradient x 100", "LR x 30")


def run(folder, name, words, seed, patch, fault="", at=-1):
    """(start, end) of the validation loss, and the steps that a rescue took back."""

    def on_train_start(self, trainer, module):
        if fault == "LR x 30":
            for optimizer in trainer.optimizers:
                around(optimizer).factors.append(lambda: 30.0 if trainer.global_step == at else 1.0)

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if fault == "NaN batch" and trainer.global_step == at:
            batch[0].fill_(float("nan"))

    def on_after_backward(self, trainer, module):
        if fault == "gradient x 100" and trainer.global_step == at:
            for parameter in module.parameters():
                parameter.grad *= 100

    for hook in (on_train_start, on_train_batch_start, on_after_backward):
        patch.setattr(History, hook.__name__, hook, raising=False)
    lost, plain = [], Guard._go_back

    def go_back(self, trainer, module, why, batch):
        plain(self, trainer, module, why, batch)
        lost.append(trainer.global_step - self._snapshots[-1].step - 1)

    patch.setattr(Guard, "_go_back", go_back)
    outcome = stride.run([*RUN, *words, f"seed={seed}", f"output_root={folder}", f"name={name}"])
    return outcome.record["last"]["val/loss"], sum(lost), outcome


@pytest.mark.slow
def test_100_faults(tmp_path, monkeypatch):
    mended, told, draw = 0, Counter(), random.Random(0)
    most_lost = 0
    for name, words in RECIPES.items():
        with monkeypatch.context() as patch:
            clean = [run(tmp_path, f"{name}-clean-{seed}", words, seed, patch)[0] for seed in range(10)]
        start, spread = math.log(10), stdev(clean)  # of ten classes, untrained
        for number in range(50):
            fault, seed, at = FAULTS[number % 3], number % 10, draw.randrange(60, STEPS - 30)
            with monkeypatch.context() as patch:
                end, lost, outcome = run(tmp_path, f"{name}-{number}", words, seed, patch, fault, at)
            away = abs(end - clean[seed])
            fine = away <= max(0.02 * (start - clean[seed]), 2 * spread) and lost <= 0.1 * STEPS
            mended += fine
            told[name, fault, bool(outcome.record["lr"]["interventions"]), fine] += 1
            most_lost = max(most_lost, lost)
        print(f"{name}: clean {fmean(clean):.4f}, spread {spread:.4f}")
    print(f"mended {mended} of 100, at most {most_lost} of {STEPS} steps lost", dict(told))
    assert mended >= 95


@pytest.mark.slow
def test_100_000_healthy_steps(monkeypatch):
    """Real losses and gradients of bare loops: other data, networks, optimizers and rates than above, too."""
    from stride import build
    from stride.pipeline import checked

    torch.set_num_threads(1)
    alarms, outliers, steps = [], 0, 0
    lines = [
        ["datamodule=digits", "model=mlp", "model.hidden=[32]", "optimizer=sgd", "optimizer.lr=0.1"],
        ["datamodule=digits", "model=mlp", "model.hidden=[32]", "optimizer=adam", "optimizer.lr=1e-3"],
        ["datamodule=wine", "model=mlp", "model.norm=none", "optimizer=sgd", "optimizer.lr=0.03"],
        ["datamodule=breast_cancer", "model=mlp", "model.hidden=[32]", "optimizer=adam", "optimizer.lr=3e-3"],
        ["datamodule=diabetes", "model=mlp", "model.hidden=[32]", "optimizer=adamw", "optimizer.lr=3e-3"],
    ]
    for number in range(10):
        cfg = checked([*lines[number % len(lines)], f"seed={number}", "callbacks.guard.mode=rescue"]).cfg
        torch.manual_seed(number)
        data, spec = build.datamodule(cfg)
        module = build.module(cfg, spec, cfg.optimizer.lr)
        optimizer = module._make_optimizer(list(module._param_groups(module)), lr=cfg.optimizer.lr)
        watch, guard, batches = LossWatch(), Guard(mode="rescue"), data.train_dataloader()
        total, step = 10_000, 0
        while step < total:
            batches.set_epoch(step // len(batches))
            for inputs, targets in batches:
                for group in optimizer.param_groups:
                    group["lr"] = cfg.optimizer.lr * (1 - step / total)
                loss = module.objective(module(inputs), targets)
                optimizer.zero_grad()
                loss.backward()
                norm = torch.nn.utils.get_total_norm([parameter.grad for parameter in module.parameters()])
                outliers += bool(guard._norms.times(float(norm)))
                if why := watch.add(float(loss.detach())):
                    alarms.append((number, step, why))
                before = [parameter.detach().clone() for parameter in module.parameters()]
                optimizer.step()
                moved = [now.detach() - then for now, then in zip(module.parameters(), before, strict=True)]
                outliers += bool(guard._moves.times(float(torch.nn.utils.get_total_norm(moved)) / (1 - step / total)))
                step += 1
                if step == total:
                    break
        steps += step
    print(f"{len(alarms)} alarms, {outliers} gradients left out in {steps} healthy steps", alarms[:5])
    assert (len(alarms), outliers) == (0, 0)
