"""The run's length is what a run takes, or it is refused: asked of real Trainers, before their first step."""

import warnings

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import GradientAccumulationScheduler
from torch.utils.data import DataLoader, IterableDataset

from stride.callbacks.early_stopping import EarlyStopping
from stride.errors import ConfigError
from stride.horizon import horizon
from stride.lr.duration import Horizon
from stride.pipeline import checked, run


class Stream(IterableDataset):
    """30 batches of 10, and no length."""

    def __iter__(self):
        return iter(torch.ones(300, 1))


class Batches:
    """A plain iterable with a length."""

    def __len__(self):
        return 9

    def __iter__(self):
        return iter(torch.ones(9, 10, 1))


def sized(batches, size=10, last=10):
    return DataLoader(torch.ones((batches - 1) * size + last, 1), batch_size=size)


STREAM = DataLoader(Stream(), batch_size=10)


class Counts(LightningModule):
    """Asks for the horizon where the schedule does, and counts the optimizer steps of the first epoch."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.first_epoch = None

    def configure_optimizers(self):
        self.before = horizon(self.trainer)
        return torch.optim.SGD(self.parameters(), lr=0.01)

    def on_train_start(self):
        self.at_start = horizon(self.trainer)

    def training_step(self, batch, batch_idx):
        assert self.trainer.global_step < 10_000, "a run without an end"
        return self.layer(batch).mean()

    def on_train_epoch_end(self):
        self.first_epoch = self.first_epoch or self.trainer.global_step


def trained(data, **arguments):
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = Trainer(accelerator="cpu", enable_model_summary=False, **quiet, **arguments)
        module = Counts()
        trainer.fit(module, data)
    return module, trainer.global_step


@pytest.mark.parametrize(
    ("data", "arguments", "steps"),
    [
        (sized(4, last=3), {"max_epochs": 3}, 12),
        (sized(15), {"max_epochs": 2, "accumulate_grad_batches": 3}, 10),
        (sized(17), {"max_epochs": 2, "accumulate_grad_batches": 3}, 12),
        (sized(20), {"max_epochs": 2, "limit_train_batches": 0.5}, 20),
        (sized(20), {"max_epochs": 2, "limit_train_batches": 7}, 14),
        (sized(20), {"max_epochs": 2, "limit_train_batches": 100}, 40),
        (sized(20), {"max_epochs": -1, "max_steps": 50}, 50),
        (sized(20), {"max_epochs": 2, "max_steps": 25}, 25),
        (sized(20), {"max_epochs": 2, "max_steps": 50}, 40),
        (sized(17), {"max_epochs": -1, "max_steps": 14, "accumulate_grad_batches": 3}, 14),
        (sized(20), {"max_epochs": 2, "overfit_batches": 3}, 6),
        (sized(20), {"max_epochs": 2, "min_steps": 30}, 40),
        (sized(20), {"max_epochs": 2, "max_time": "00:01:00:00"}, 40),
        (sized(20), {"fast_dev_run": True}, 1),
        (Batches(), {"max_epochs": 3}, 27),
        (STREAM, {"max_epochs": -1, "max_steps": 50}, 50),
        (STREAM, {"max_epochs": -1, "max_steps": 50, "limit_train_batches": 100}, 50),
    ],
)
def test_the_horizon_is_what_the_run_takes(data, arguments, steps):
    module, taken = trained(data, **arguments)
    assert module.before.steps == taken == steps
    assert module.before == module.at_start
    epoch_steps = module.before.epoch_steps
    assert epoch_steps is None if data is STREAM else epoch_steps == module.first_epoch


@pytest.mark.parametrize(
    ("data", "arguments", "refusal"),
    [
        (
            STREAM,
            {"max_epochs": 2},
            "the training data has no length; .*; try: trainer.max_epochs=-1 trainer.max_steps=1000",
        ),
        # 60 steps said, 34 done: the data may end before the limit is reached.
        (STREAM, {"max_epochs": 2, "limit_train_batches": 50}, "the training data has no length"),
        # Either of the two may come first.
        (STREAM, {"max_epochs": 2, "max_steps": 50}, "the training data has no length"),
        ({"a": sized(9), "b": STREAM}, {"max_epochs": 2, "limit_train_batches": 50}, "the training data has no length"),
        (sized(9), {"max_epochs": -1}, "trainer.max_steps: the run has no length"),
        (
            sized(9),
            {"max_epochs": 2, "limit_train_batches": 0},
            "trainer.limit_train_batches: leaves nothing to train on",
        ),
        (
            sized(9),
            {"max_epochs": 2, "callbacks": [GradientAccumulationScheduler({0: 3, 1: 1})]},
            "a schedule cannot be planned over accumulation that changes; try: trainer.accumulate_grad_batches=4",
        ),
    ],
)
def test_a_guess_is_refused_before_the_first_step(data, arguments, refusal):
    with pytest.raises(ConfigError, match=refusal):
        trained(data, **arguments)


def test_the_clock_gives_a_run_no_number_of_steps():
    for data, epoch_steps in ((sized(17), 6), (STREAM, None)):
        module, taken = trained(data, max_epochs=-1, max_time={"seconds": 0.2}, accumulate_grad_batches=3)
        assert taken > 0
        assert module.before == module.at_start == Horizon(steps=None, epoch_steps=epoch_steps)


def patient(patience, **arguments):
    """The patience in validations that a duration comes to, of a callback in a run of its own."""
    stopping = EarlyStopping(monitor="val/loss", mode="min", patience=patience)
    trained(callbacks=[stopping], **arguments)
    return stopping.patience


def test_patience_is_counted_in_validations_where_these_are_known_to_come():
    by_the_clock = {"max_epochs": -1, "max_time": {"seconds": 0.1}}
    assert patient("60 steps", data=sized(20), **by_the_clock) == 3
    assert patient("50 steps", data=STREAM, max_epochs=-1, max_steps=5, val_check_interval=25) == 2
    with pytest.raises(ConfigError, match=r"epochs of unknown length; try: trainer\.val_check_interval=500"):
        patient("50 steps", data=STREAM, max_epochs=-1, max_steps=5)
    with pytest.raises(ConfigError, match="patience: a run that only the clock ends has no shares; write `500 steps`"):
        patient("30%", data=sized(20), **by_the_clock)


def test_a_run_that_only_the_clock_ends_trains_at_a_constant_lr_and_is_tested(tmp_path):
    words = ["trainer.max_epochs=-1", "trainer.max_time='00:00:00:01'", "scheduler=constant", "warmup.length='9 steps'"]
    words += ["callbacks.early_stopping.patience='9000 steps'", "callbacks.progress=null", "logger=csv"]
    outcome = run(checked([*words, "datamodule=wine", "model=mlp", f"output_root={tmp_path}", "name=clock"]))
    assert (outcome.status, outcome.exit_code) == ("finished", 0)
    assert outcome.record["scores"]["test/acc"] > 0.5
    rows = (tmp_path / "clock" / "lr_trace.csv").read_text().splitlines()[1:]
    lrs = [float(row.split(",")[1]) for row in rows]
    assert len(lrs) == outcome.record["steps"] > 20
    assert lrs == pytest.approx([0.001 * min(1, (t + 1) / 9) for t in range(len(lrs))])
