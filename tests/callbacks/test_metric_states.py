"""What a module gathers over an epoch is the same where the epoch was interrupted; bare Lightning starts it anew."""

import pytest
import pytorch_lightning as pl
import torch
from torchmetrics import MaxMetric
from torchmetrics.classification import BinaryAccuracy

from stride.callbacks.checkpoint import LastCheckpoint
from stride.callbacks.metric_states import MetricStates
from stride.datamodules.in_memory import InMemory

BATCHES, EPOCHS = 6, 2


class Data(InMemory):
    def load(self):
        x = torch.randn(96, 4, generator=torch.Generator().manual_seed(0))
        pair = (x, (x.sum(1) > 0).long())
        return pair, pair, pair


class Module(pl.LightningModule):
    """As people write it: a loss and a metric over each epoch, and the best so far."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(4, 1)
        self.accuracy, self.best = BinaryAccuracy(), MaxMetric()
        self.seen = []

    def training_step(self, batch, _):
        x, y = batch
        outputs = self.layer(x).squeeze(1)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(outputs, y.float())
        self.accuracy(outputs, y)
        self.best(loss)
        self.log("loss", loss, on_epoch=True)
        self.log("most", loss, on_step=False, on_epoch=True, reduce_fx="max")
        self.log("accuracy", self.accuracy, on_step=False, on_epoch=True)
        return loss

    def on_train_epoch_end(self):
        self.seen.append({"best": float(self.best.compute())})

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Seen(pl.Callback):
    """The values of an epoch, once Lightning has them."""

    def __init__(self):
        self.values = []

    def on_train_epoch_start(self, trainer, module):
        self.on_train_end(trainer, module)

    def on_train_end(self, trainer, module):
        told = {name: float(value) for name, value in trainer.callback_metrics.items() if "step" not in name}
        if told:
            self.values.append(told | module.seen[-1])


def fit(folder, *callbacks, resume=None):
    seen = Seen()
    options = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(max_epochs=EPOCHS, default_root_dir=folder, callbacks=[seen, *callbacks], **options)
    trainer.fit(Module(), datamodule=Data(batch_size=16, seed=0), ckpt_path=resume, weights_only=True)
    return seen.values


@pytest.mark.parametrize("step", [1, 4, BATCHES + 2])
@pytest.mark.parametrize("kept", [True, False], ids=["with MetricStates", "without it"])
def test_an_epoch_that_was_interrupted_has_the_metrics_of_one_that_was_not(tmp_path, step, kept):
    class Keep(LastCheckpoint):
        def save(self, trainer):
            super().save(trainer)
            if trainer.global_step == step:
                self._last.rename(tmp_path / "kept.ckpt")

    states = [MetricStates] if kept else []
    whole = fit(tmp_path, *(each() for each in states), Keep(dirpath=tmp_path, every="1 step"))
    rest = fit(tmp_path, *(each() for each in states), resume=tmp_path / "kept.ckpt")
    assert len(whole) == EPOCHS
    assert (rest == whole[step // BATCHES :]) == kept
