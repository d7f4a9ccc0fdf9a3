"""What a step draws, and a hook on the way to it, is the same in a run that was interrupted."""

import random
from functools import partial

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from bare_lightning import EVERY_BATCH, OneWeight, saved, trainer

from stride.callbacks.checkpoint import LastCheckpoint
from stride.callbacks.step_seed import StepSeed
from stride.callbacks.stop import Stop
from stride.datamodules.in_memory import InMemory
from stride.stop import Stopped, StopRequest

BATCHES, STEPS = 5, 15


def draw():
    return [float(torch.rand(())), np.random.rand(), random.random()]


class Module(OneWeight):
    def __init__(self):
        super().__init__()
        self.drawn = []

    def training_step(self, batch, index):
        self.drawn.append((str(batch), draw()))
        return super().training_step(batch, index)


class DrawsInValidation(Module):
    def validation_step(self, batch, _):
        self.drawn.append((self.global_step, draw()))


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


class AskedInValidation(pl.Callback):
    def __init__(self, request, step):
        self.request, self.step = request, step

    def on_validation_start(self, trainer, module):
        if trainer.global_step == self.step:
            self.request.run_out()


def drawn(folder, module, data, callbacks=(), resume=None, **options):
    torch.manual_seed(random.SystemRandom().getrandbits(32))  # no process begins where another one did
    trainer(folder, [StepSeed(7), *callbacks], **options).fit(module, datamodule=data, ckpt_path=resume)
    return module.drawn


@pytest.mark.parametrize("module, data", [(Module, Data), (DrawsItself, Data), (Module, DataDraws)])
def test_a_run_draws_the_same_wherever_it_goes_on(tmp_path, module, data):
    whole = drawn(tmp_path, module(), data(batch_size=1, seed=0), [saved(tmp_path, **EVERY_BATCH)])
    assert len(whole) == STEPS
    assert len({str(step) for _, step in whole}) == STEPS
    for step in (1, BATCHES, BATCHES + 2, STEPS - 1):
        rest = drawn(tmp_path, module(), data(batch_size=1, seed=0), resume=tmp_path / f"{step}.ckpt")
        assert rest == whole[step:]


@pytest.mark.parametrize("step", [3, 6, 15])
def test_a_validation_that_was_asked_to_stop_draws_the_same_when_it_begins_anew(tmp_path, step):
    options = {"val_check_interval": 3, "check_val_every_n_epoch": None, "num_sanity_val_steps": 0}
    data = partial(Data, batch_size=1, eval_batch_size=2, seed=0)
    whole = drawn(tmp_path, DrawsInValidation(), data(), **options)
    request, cut = StopRequest(), DrawsInValidation()
    stops = [LastCheckpoint(dirpath=str(tmp_path), every="100%"), AskedInValidation(request, step), Stop(request)]
    with pytest.raises(Stopped):
        drawn(tmp_path, cut, data(), stops, **options)
    rest = [LastCheckpoint(dirpath=str(tmp_path), every="100%"), Stop(StopRequest())]
    rest = drawn(tmp_path, DrawsInValidation(), data(), rest, tmp_path / "last.ckpt", **options)
    assert cut.drawn + rest == whole
