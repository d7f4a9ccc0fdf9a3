"""Held-out losses under Lightning's Trainer: what they are, and that training goes on as if nobody had asked."""

import math

import pytest
import torch
from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from stride.callbacks.held_out import HeldOut

ROWS = 40
X = torch.randn(ROWS, 3, generator=torch.Generator().manual_seed(0))
PAIRS = TensorDataset(X, X.sum(1, keepdim=True))
HELD = TensorDataset(X[:17] + 1, X[:17].sum(1, keepdim=True))
SILENT = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False, "accelerator": "cpu"}
SILENT |= {"enable_progress_bar": False, "limit_val_batches": 0}


class Net(LightningModule):
    """A line with batch norm and a buffer that each step replaces by another tensor."""

    def __init__(self, *, dropout=0.0, held=HELD, batch_size=8):
        super().__init__()
        self.network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(dropout), nn.Linear(4, 1))
        self.register_buffer("asked", torch.zeros(()))
        self.register_buffer("empty", None)
        self.held, self.batch_size = held, batch_size
        self.given = []

    def training_step(self, batch, batch_idx):
        x, y = batch
        self.given.append((batch_idx, len(x)))
        self.asked = self.asked + 1
        loss = nn.functional.mse_loss(self.network(x), y)
        self.log("loss", loss, on_step=True)
        self.log_dict({"more": loss}, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        raise AssertionError("training_step is what is asked")

    def train_dataloader(self):
        return DataLoader(PAIRS, batch_size=8, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.held, batch_size=self.batch_size)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Without(Net):
    val_dataloader = LightningModule.val_dataloader


class Watch(Callback):
    """The training's losses, and all of its state after each step."""

    def __init__(self):
        self.losses, self.states = [], []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.losses.append(float(outputs["loss"]))
        self.states.append({name: value.clone() for name, value in module.state_dict().items()})


def fitted(module, held_out=None, *, data=None, steps=12, **options):
    """The held-out losses and what the training did, from a fixed seed."""
    torch.manual_seed(1)
    for layer in module.modules():
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    watch = Watch()
    found = HeldOut((3, 5, 12, 100), 1000) if held_out is None else held_out
    callbacks = [watch] if held_out is False else [found, watch]
    trainer = Trainer(**{**SILENT, "max_steps": steps, "max_epochs": -1, **options}, callbacks=callbacks)
    trainer.fit(module, datamodule=data)
    return found, watch, trainer


def test_it_is_the_loss_of_all_samples_before_training_and_after_the_steps_that_were_named():
    found, watch, _ = fitted(Net(held=TensorDataset(*HELD[:16])))
    assert [steps for steps, _ in found.losses] == [0, 3, 5, 12]
    module = Net()
    for steps, loss in found.losses[1:]:
        module.load_state_dict(watch.states[steps - 1])
        module.train().requires_grad_(False)
        batches = [HELD[:8], HELD[8:16]]
        halves = [nn.functional.mse_loss(module.network(x), y) for x, y in batches]
        assert loss == pytest.approx(float(sum(halves)) / 2, rel=1e-5)


def test_in_evaluation_mode_it_is_the_loss_of_the_network_as_it_is_judged():
    module = Net(dropout=0.5)
    module.network[0].eval()  # as a frozen part would be
    found, watch, _ = fitted(module, HeldOut((12,), 1000, training=False))
    assert [part.training for part in module.network] == [False, True, True, True]
    module.load_state_dict(watch.states[11])
    module.eval()
    with torch.no_grad():
        loss = nn.functional.mse_loss(module.network(HELD[:16][0]), HELD[:16][1])
    assert found.losses[-1] == (12, pytest.approx(float(loss), rel=1e-5))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_training_is_the_same_to_the_bit_as_if_nobody_had_asked(dropout, training):
    """Weights, running statistics, num_batches_tracked, the order of the samples and the masks of dropout."""
    _, asked, _ = fitted(Net(dropout=dropout), HeldOut((3, 5, 12, 100), 1000, training=training))
    _, alone, _ = fitted(Net(dropout=dropout), False)
    assert asked.losses == alone.losses
    assert len(asked.states) == 12
    for one, other in zip(asked.states, alone.states, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert int(asked.states[-1]["network.1.num_batches_tracked"]) == int(asked.states[-1]["asked"]) == 12


def test_what_the_step_logs_of_held_out_samples_is_dropped_and_its_own_log_is_back():
    module = Net()
    _, _, trainer = fitted(module)
    _, _, alone = fitted(Net(), False)
    assert trainer.callback_metrics == alone.callback_metrics
    assert {"loss", "more_step"} <= trainer.callback_metrics.keys()
    assert not {"log", "log_dict"} & module.__dict__.keys()


@pytest.mark.parametrize(
    "cls", [Without, lambda: Net(held=TensorDataset(X[:0])), lambda: Net(held=TensorDataset(X[:1]))]
)
def test_without_validation_data_or_with_less_than_batch_norm_can_take_it_stays_empty(cls):
    found, watch, _ = fitted(cls())
    assert found.losses == []
    assert len(watch.losses) == 12


@pytest.mark.parametrize(
    ("samples", "batch_size", "rows"),
    [(1000, 8, [8, 8]), (1000, 7, [7, 7, 3]), (12, 8, [8, 4]), (9, 8, [8]), (8, 8, [8]), (5, 17, [5])],
    ids=["a rest of one is left out", "all", "a batch is cut", "not to one", "no more", "the first one is cut"],
)
def test_at_most_so_many_samples_are_taken(samples, batch_size, rows):
    module = Net(batch_size=batch_size)
    fitted(module, HeldOut((), samples), steps=1)
    assert module.given[:-1] == list(enumerate(rows))


def test_one_sample_a_batch_is_no_fault_where_there_is_no_batch_norm():
    module = Net(batch_size=1)
    module.network = nn.Linear(3, 1)
    found, _, _ = fitted(module, HeldOut((1,), 5), steps=1)
    assert len(found.losses) == 2
    assert [rows for _, rows in module.given] == [1] * 5 + [8] + [1] * 5


def test_steps_are_the_optimizers_and_not_batches():
    module = Net()
    found, watch, _ = fitted(module, HeldOut((1, 2, 3), 8), accumulate_grad_batches=2, steps=3)
    assert [steps for steps, _ in found.losses] == [0, 1, 2, 3]
    assert len(watch.losses) == 5  # of an epoch's 5 batches the last is a step by itself
    assert len(module.given) == 5 + 4  # a look; two batches, a look; two batches, a look; one, a look
    assert [index for index, _ in module.given] == [0, 0, 1, 0, 2, 3, 0, 4, 0]


class Data(LightningDataModule):
    """Serves the same batches for training and for validation."""

    def __init__(self, batches):
        super().__init__()
        self.batches = batches

    def train_dataloader(self):
        return DataLoader(self.batches, batch_size=None)

    def val_dataloader(self):
        return DataLoader(self.batches, batch_size=None)


def pair(rows):
    return X[:rows], X[:rows].sum(1, keepdim=True)


class OfDicts(Net):
    """Takes out of the batch what it has used, and doubles it in place."""

    def training_step(self, batch, batch_idx):
        return nn.functional.mse_loss(self.network(batch.pop("x").mul_(2)), batch.pop("y"))


def test_a_batch_may_be_a_dict_and_a_step_may_change_it():
    def batches():
        return [{"x": X[:8].clone(), "y": X[:8].sum(1, keepdim=True)} for _ in range(4)]

    class Fresh(Data):
        def train_dataloader(self):
            return DataLoader(batches(), batch_size=None)

    module = OfDicts()
    module.configure_optimizers = lambda: torch.optim.SGD(module.parameters(), lr=0.0)
    found, _, _ = fitted(module, HeldOut((1, 2), 8), data=Fresh(batches()), steps=2)
    losses = [loss for _, loss in found.losses]
    assert len(losses) == 3
    assert losses == [losses[0]] * 3


@pytest.mark.parametrize("names", [[f"sample {n}" for n in range(16)], torch.zeros(3)], ids=["names", "another length"])
def test_a_batch_is_cut_only_where_it_is_plain_what_belongs_to_a_sample(names):
    class Named(Net):
        def training_step(self, batch, batch_idx):
            return super().training_step((batch["x"], batch["y"]), batch_idx)

    x, y = pair(16)
    data = Data([{"x": x, "y": y, "more": names}])
    whole, cut = (fitted(Named(), HeldOut((), samples), data=data, steps=1)[0].losses for samples in (16, 15))
    assert (len(whole), len(cut)) == (1, 0)


@pytest.mark.parametrize(("precision", "other"), [("bf16-mixed", True), ("bf16-true", True), ("64-true", False)])
def test_in_another_precision_the_held_out_loss_is_the_trainings(precision, other):
    """Of one and the same batch, before anything has moved."""
    (found, watch, _), (full, _, _) = (
        fitted(Net(), data=Data([pair(8)] * 4), steps=1, precision=kind) for kind in (precision, "32-true")
    )
    assert found.losses[0][1] == pytest.approx(watch.losses[0], rel=1e-6)
    assert (abs(found.losses[0][1] / full.losses[0][1] - 1) > 1e-5) == other


def test_a_batch_comes_to_the_step_as_the_trainings_batches_do():
    class Hooked(Net):
        def on_before_batch_transfer(self, batch, dataloader_idx):
            return [10 * part for part in batch]

        def on_after_batch_transfer(self, batch, dataloader_idx):
            return [part + 1 for part in batch]

    found, watch, _ = fitted(Hooked(), data=Data([pair(8)] * 4), steps=1)
    assert found.losses[0][1] == watch.losses[0]


def test_the_first_of_several_validation_sets_is_the_one():
    class Two(Net):
        def val_dataloader(self):
            return [DataLoader(HELD, batch_size=16), DataLoader(PAIRS, batch_size=16)]

    module = Two()
    fitted(module, HeldOut((), 1000), steps=1)
    assert [rows for _, rows in module.given] == [16, 8]


def test_a_stream_without_a_length_is_taken_as_far_as_it_is_asked():
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter([PAIRS[n] for n in range(ROWS)])

    module = Net()
    module.val_dataloader = lambda: DataLoader(Stream(), batch_size=8)
    fitted(module, HeldOut((), 20), steps=1)
    assert [rows for _, rows in module.given] == [8, 8, 4, 8]


class Unnumbered(Net):
    def training_step(self, batch):
        return {"loss": super().training_step(batch, 0).reshape(1)}


def test_a_step_may_take_no_index_and_give_a_dict():
    found, watch, _ = fitted(Unnumbered(batch_size=4), data=Data([pair(8)] * 4), steps=1)
    assert found.losses[0][1] == watch.losses[0]


class Derives(Net):
    """Its loss is of the derivative to the inputs, as a gradient penalty or a differential equation's is."""

    def training_step(self, batch, batch_idx):
        x = batch[0].clone().requires_grad_()
        (slope,) = torch.autograd.grad(self.network(x).sum(), x, create_graph=True)
        return (slope - 1).square().mean()


class Draws(Net):
    def training_step(self, dataloader_iter):
        batch, *_ = next(dataloader_iter)
        return nn.functional.mse_loss(self.network(batch[0]), batch[1])


@pytest.mark.parametrize("cls", [Derives, Draws])
def test_a_loss_that_cannot_be_asked_for_ends_nothing(cls):
    found, watch, _ = fitted(cls())
    assert found.losses == []
    assert len(watch.losses) == 12


def test_a_fault_of_the_step_is_told_and_leaves_the_buffers_as_they_were():
    class Breaks(Net):
        def training_step(self, batch, batch_idx):
            super().training_step(batch, batch_idx)
            raise RuntimeError("in the step")

    module = Breaks()
    buffer = module.network[1].running_mean
    with pytest.raises(RuntimeError, match="in the step"):
        fitted(module)
    assert module.network[1].running_mean is buffer
    assert float(buffer.abs().sum()) == float(module.asked) == 0
    assert module.empty is None
    assert not {"log", "log_dict"} & module.__dict__.keys()


def test_a_loss_that_is_no_number_is_one():
    class Runs(Net):
        def training_step(self, batch, batch_idx):
            return super().training_step(batch, batch_idx) * math.inf

    found, _, _ = fitted(Runs(), HeldOut((1,), 8), steps=1)
    assert [loss for _, loss in found.losses] == [math.inf, pytest.approx(math.nan, nan_ok=True)]
