"""One run of a cell in a bare loop: what `python train.py` computes, without what it shows and writes.

The same module, data, order, warm-up and schedule as a run's; tests/benchmarks/test_lr_regret.py holds both against
each other. A loop of our own because the grid is thousands of runs.
"""

import math
from typing import Any

import torch
from pytorch_lightning import LightningDataModule, LightningModule, seed_everything

from regret.cells import config
from stride import build
from stride.lr.ramp import linear
from stride.lr.schedule import cosine

WARMUP = 0.05


def parts(words: tuple[str, ...], seed: int) -> tuple[LightningModule, LightningDataModule]:
    """A fresh module and its data, set up."""
    cfg = config(words).copy()
    cfg.seed = seed
    seed_everything(seed, workers=True, verbose=False)
    data, spec = build.datamodule(cfg)
    module = build.module(cfg, spec, cfg.optimizer.lr)
    return module, data


def run(words: tuple[str, ...], *, steps: int, lr: float, seed: int) -> dict[str, float | None]:
    """Train, and return the validation loss at the start and at the end; None where the loss left the numbers."""
    module, data = parts(words, seed)
    law, ramp = cosine(total=steps), linear(length=max(1, round(WARMUP * steps)))
    start = validation_loss(module, data)
    module.train()
    optimizer = module._make_optimizer(list(module._param_groups(module)), lr=lr)
    for step, batch in enumerate(batches(data, steps)):
        for group in optimizer.param_groups:
            group["lr"] = lr * law(step) * ramp(step)
        optimizer.zero_grad()
        loss = module.training_step(batch, 0)
        if step % 10 == 0 and not torch.isfinite(loss):
            return {"start": start, "end": None}
        loss.backward()
        optimizer.step()
    end = validation_loss(module, data)
    return {"start": start, "end": end if math.isfinite(end) else None}


def batches(data: LightningDataModule, steps: int) -> Any:
    """So many training batches, epoch after epoch."""
    loader, epoch, served = data.train_dataloader(), 0, 0
    while served < steps:
        loader.set_epoch(epoch)
        for batch in loader:
            if served == steps:
                return
            yield batch
            served += 1
        epoch += 1


@torch.no_grad()
def validation_loss(module: LightningModule, data: LightningDataModule) -> float:
    """Mean loss over the whole validation part."""
    module.eval()
    total = count = 0.0
    for inputs, targets in data.val_dataloader():
        total += float(module.objective(module(inputs), targets)) * len(inputs)
        count += len(inputs)
    module.train()
    return total / count
