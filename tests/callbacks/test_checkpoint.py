"""last.ckpt is a second name of best.ckpt where both would hold the same, and a file of its own everywhere else."""

import os
import time
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from bare_lightning import trainer
from torch.utils.data import DataLoader

from stride import checkpoint_file
from stride.callbacks.checkpoint import Checkpoint, LastCheckpoint
from stride.checkpoint_io import SealedIO

STEPS = 4  # an epoch


class Module(pl.LightningModule):
    """Its score is the best so far after each validation but the fourth, the seventh, ..."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.validations = 0

    def training_step(self, batch, _):
        return self.layer(batch).square().mean()

    def validation_step(self, batch, _):
        self.log("score", -1.0 * self.validations if self.validations % 3 else 1.0)

    def on_validation_epoch_end(self):
        self.validations += not self.trainer.sanity_checking

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters())


class Beside(pl.callbacks.Checkpoint):
    """After each newest checkpoint: is it the best, too; and the same once more, in a file of its own."""

    def __init__(self, folder):
        self.folder, self.are_one, self.saved = Path(folder), [], -1

    def look(self, trainer, *_):
        best, last = (self.folder / name for name in ("best.ckpt", "last.ckpt"))
        if last.is_file() and checkpoint_file.verify(last) == trainer.global_step != self.saved:
            self.saved = trainer.global_step
            self.are_one.append(best.is_file() and best.samefile(last))
            trainer.save_checkpoint(self.folder / "again.ckpt")
            assert last.read_bytes() == (self.folder / "again.ckpt").read_bytes()

    on_train_batch_end = on_validation_end = on_train_epoch_end = look


def fit(folder, every="1 epoch", weights_only=False, **options):
    """Returns what Beside saw, and the LastCheckpoint."""
    best = Checkpoint(
        folder, "best", monitor="score", mode="min", save_weights_only=weights_only, enable_version_counter=False
    )
    last, beside = LastCheckpoint(dirpath=str(folder), every=every), Beside(folder)
    run = trainer(folder, [best, last, beside], **{"max_epochs": 6, **options})
    run.strategy.checkpoint_io = SealedIO()
    data = torch.ones(STEPS, 1)
    run.fit(Module(), DataLoader(data), DataLoader(data))
    return beside.are_one, last


@pytest.mark.parametrize(
    "words, are_one",
    [
        ({}, [True, True, True, False, True, True]),
        ({"every": "2 epochs"}, [True, False, True]),
        # The best is written at a validation: the newest is, too, in the middle of an epoch, and later at its end.
        ({"every": "2 steps", "val_check_interval": 0.5}, [True, False] * 3 + [False, False] + [True, False] * 2),
        ({"every": "1 steps", "val_check_interval": 0.5, "max_epochs": 1}, [False, True, False, False]),
        ({"weights_only": True}, [False] * 6),
    ],
    ids=str,
)
def test_a_checkpoint_that_would_be_the_same_is_the_same_file(tmp_path, words, are_one):
    assert fit(tmp_path, **words)[0] == are_one


def test_where_there_are_no_links_each_is_a_file(tmp_path, monkeypatch):
    def refused(*_):
        raise OSError

    monkeypatch.setattr(os, "link", refused)
    assert fit(tmp_path)[0] == [False] * 6
    steps = {path.name: checkpoint_file.verify(path) for path in tmp_path.glob("*.ckpt")}
    assert (steps["last.ckpt"], steps["last-2.ckpt"]) == (6 * STEPS, 5 * STEPS)


def test_what_the_best_took_is_what_the_newest_would_take(tmp_path, monkeypatch):
    save = SealedIO.save_checkpoint

    def slow(self, checkpoint, path, storage_options=None):
        time.sleep(0.3 if Path(path).name == "best.ckpt" else 0)
        save(self, checkpoint, path, storage_options)

    monkeypatch.setattr(SealedIO, "save_checkpoint", slow)
    assert fit(tmp_path)[1].seconds >= 0.3
