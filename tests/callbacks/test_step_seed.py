"""What a step draws, and a hook on the way to it, is the same in a run that was interrupted."""

import random

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from bare_lightning import EVERY_BATCH, saved, trainer

from stride.callbacks.step_seed import StepSeed
from stride.datamodules.in_memory import InMemory

BATCHES, STEPS = 5, 15


def draw():
    return [float(torch.rand(())), np.random.rand(), random.random()]


class Module(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.drawn = []

    def training_step(self, batch, _):
        self.drawn.append((str(batch), draw()))
        return (self.weight - 1) ** 2

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class DrawsItself(Module):
    def on_after_batch_transfer(self, batch, _):
        return draw()


class Data(InMemory):
    def load(self):
        pair = torch.zeros(BATCHES, 1), torch.zeros(BATCHES, dtype=torch.long)
        return pair, pair, pair


class DataDraws(Data):
    def on_before_batch_transfer(self, batch, _):
        return *batch, *draw()


def drawn(folder, module, data, callbacks=(), resume=None):
    torch.manual_seed(random.SystemRandom().getrandbits(32))  # no process begins where another one did
    trainer(folder, [StepSeed(7), *callbacks]).fit(module, datamodule=data, ckpt_path=resume)
    return module.drawn


@pytest.mark.parametrize("module, data", [(Module, Data), (DrawsItself, Data), (Module, DataDraws)])
def test_a_run_draws_the_same_wherever_it_goes_on(tmp_path, module, data):
    whole = drawn(tmp_path, module(), data(batch_size=1, seed=0), [saved(tmp_path, **EVERY_BATCH)])
    assert len(whole) == STEPS
    assert len({str(step) for _, step in whole}) == STEPS
    for step in (1, BATCHES, BATCHES + 2, STEPS - 1):
        rest = drawn(tmp_path, module(), data(batch_size=1, seed=0), resume=tmp_path / f"{step}.ckpt")
        assert rest == whole[step:]
