"""The ramp under Lightning's Trainer: what the optimizers use, what is noted of it, and where it ends."""

import math

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.plugins import MixedPrecision
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR

from stride.callbacks.range_test import AtRates, exponential
from stride.errors import ConfigError

BASE = 0.01
FALLING = [5 - k / 100 for k in range(20)]


class Told(LightningModule):
    """Its loss is what the batch says; its weight follows the LR, and tells of it."""

    def __init__(self, *, rates=(BASE,), scales=(1.0,)):
        super().__init__()
        self.weights = nn.ParameterList(nn.Parameter(torch.zeros(1)) for _ in rates)
        self.rates, self.scales = rates, scales

    def training_step(self, batch, batch_idx):
        return batch.mean() + 0 * sum(self.weights)

    def configure_optimizers(self):
        told = zip(self.weights, self.rates, self.scales, strict=True)
        return torch.optim.SGD([{"params": [w], "lr": lr, "lr_scale": scale} for w, lr, scale in told])


class Adversaries(Told):
    """Two optimizers, each with a rate of its own, stepped by hand: the second one three times a batch."""

    def __init__(self):
        super().__init__(rates=(BASE, 10 * BASE), scales=(1.0, 1.0))
        self.automatic_optimization = False

    def configure_optimizers(self):
        return [torch.optim.SGD([w], lr=lr) for w, lr in zip(self.weights, self.rates, strict=True)]

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        first, second = self.optimizers()
        for optimizer in (first, second, second, second):
            optimizer.zero_grad()
            self.manual_backward(loss, retain_graph=True)
            optimizer.step()
        return {"loss": loss}


def swept(module, losses=FALLING, *, steps=11, min_lr=1e-4, max_lr=1.0, tmp_path=None, **trainer):
    """The ramp after a sweep over batches that say their losses, and the LRs of each group in each step."""
    ramp = AtRates(exponential(min_lr, max_lr, steps), base=BASE)
    inside = []
    made = module.configure_optimizers

    def configure_optimizers():
        found = made()
        optimizers = found[0] if isinstance(found, tuple) else found if isinstance(found, list) else [found]

        def look(optimizer, *_):  # the last of the hooks before the step
            inside.append([float(group["lr"]) for group in optimizer.param_groups])

        module.watch = lambda: [optimizer.register_step_pre_hook(look) for optimizer in optimizers]
        return found

    module.configure_optimizers = configure_optimizers
    module.on_train_start = lambda: module.watch()  # after the ramp's own
    options = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False, "accelerator": "cpu"}
    options |= {"enable_progress_bar": False, "max_epochs": -1, "max_steps": steps, "limit_val_batches": 0}
    fit = Trainer(**options, default_root_dir=tmp_path, callbacks=[ramp], **trainer)
    fit.fit(module, torch.utils.data.DataLoader(torch.tensor(losses), batch_size=None))
    return ramp, inside


def ladder(steps=11, low=1e-4, high=1.0):
    return [low * (high / low) ** (k / (steps - 1)) for k in range(steps)]


def test_the_lr_grows_by_one_factor_from_the_first_rate_to_the_last_and_groups_keep_their_ratios(tmp_path):
    module = Told(rates=(BASE, BASE, 0.1 * BASE), scales=(1.0, 0.25, 1.0))
    ramp, inside = swept(module, tmp_path=tmp_path)
    assert ramp.lrs == pytest.approx(ladder(), rel=1e-12)
    assert [lrs[0] for lrs in inside] == pytest.approx(ladder(), rel=1e-12)
    assert [lr / lrs[0] for lrs in inside for lr in lrs] == pytest.approx([1, 0.25, 0.1] * 11, rel=1e-12)
    assert list(tmp_path.iterdir()) == []


def test_a_point_is_the_mean_of_its_micro_batches_also_of_an_epochs_short_last_group():
    ramp, inside = swept(Told(), [5.0, 4.9, 4.8, 4.7, 4.6], accumulate_grad_batches=2, steps=6)
    assert ramp.losses == pytest.approx([4.95, 4.75, 4.6] * 2)
    assert [lr for (lr,) in inside] == pytest.approx(ladder(6), rel=1e-12)


def test_several_optimizers_keep_their_ratios_and_a_batch_is_one_point():
    ramp, inside = swept(Adversaries())
    assert ramp.lrs == pytest.approx(ladder(), rel=1e-12)
    expected = [lr * ratio for lr in ladder() for ratio in (1, 10, 10, 10)]
    assert [lr for (lr,) in inside] == pytest.approx(expected, rel=1e-12)


def test_a_module_that_accumulates_by_hand_gives_a_point_a_step():
    class EveryOther(Told):
        automatic_optimization = False

        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            self.manual_backward(loss)
            if batch_idx % 2:
                self.optimizers().step()
            return loss

    ramp, inside = swept(EveryOther(), [5.0, 4.9, 4.8, 4.7], steps=6)
    assert ramp.losses == pytest.approx([4.95, 4.75] * 3)
    assert ramp.lrs == pytest.approx(ladder(6), rel=1e-12)
    assert len(inside) == 6


def test_negative_losses_are_losses():
    ramp, _ = swept(Told(), [loss - 10 for loss in FALLING])
    assert ramp.losses == pytest.approx([loss - 10 for loss in FALLING[:11]])


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_the_sweep_ends_with_the_first_loss_that_is_no_number(broken):
    ramp, _ = swept(Told(), [5.0, 4.9, broken, 4.7])
    assert ramp.lrs == pytest.approx(ladder()[:3], rel=1e-12)
    assert ramp.losses[:2] == pytest.approx([5.0, 4.9])
    assert not math.isfinite(ramp.losses[2])


def test_the_sweep_ends_where_the_loss_has_run_away():
    losses = [*FALLING[:15], 100.0, 200.0, 300.0, 400.0]
    ramp, _ = swept(Told(), losses, steps=19)
    assert ramp.losses == pytest.approx(losses[:16])


def test_a_rate_that_something_else_bends_is_noted_as_it_was_used():
    class WarmsUp(Told):
        def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure=None):
            for group in optimizer.param_groups:
                group["lr"] = BASE * min(1, (self.trainer.global_step + 1) / 5)
            super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)

    ramp, inside = swept(WarmsUp())
    assert ramp.lrs == pytest.approx([lr for (lr,) in inside], rel=1e-12)
    assert ramp.lrs == pytest.approx([lr * min(1, (k + 1) / 5) for k, lr in enumerate(ladder())], rel=1e-12)


SCHEDULES = {
    "a warm-up from nothing": lambda optimizer: LambdaLR(optimizer, lambda step: min(1, step / 1000)),
    "one cycle": lambda optimizer: OneCycleLR(optimizer, max_lr=BASE, total_steps=1000),
}


@pytest.mark.parametrize("manual", [False, True], ids=["automatic", "manual"])
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_a_schedule_of_the_modules_own_does_not_act_on_the_sweep(schedule, manual):
    class Scheduled(Told):
        automatic_optimization = not manual

        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            return [optimizer], [{"scheduler": schedule(optimizer), "interval": "step"}]

        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            if manual:
                self.manual_backward(loss)
                self.optimizers().step()
                self.lr_schedulers().step()
            return loss

    ramp, inside = swept(Scheduled())
    assert [lr for (lr,) in inside] == pytest.approx(ladder(), rel=1e-12)
    assert ramp.lrs == pytest.approx(ladder(), rel=1e-12)


class Steep(Told):
    """Its loss is what the batch says; the gradient of it is 1.6 times that."""

    def training_step(self, batch, batch_idx):
        return batch.mean() * (1 + 1.6 * (self.weights[0] - self.weights[0].detach()).sum())


def mixed(scale):
    scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    return MixedPrecision(precision="16-mixed", device="cpu", scaler=scaler)


def test_an_lr_whose_step_mixed_precision_skips_is_tried_again():
    # 8 * 2**127 and 8 * 2**126 are too large for 32 bits; the scaler halves its scale and goes on.
    ramp, inside = swept(Steep(), plugins=[mixed(2.0**127)])
    assert [lr for (lr,) in inside] == pytest.approx(ladder(), rel=1e-12)
    assert ramp.lrs == pytest.approx(ladder(), rel=1e-12)
    assert ramp.losses[:3] == pytest.approx([4.99, 4.97, 4.96])  # the first is the mean of three batches


def test_a_loss_that_is_no_number_ends_the_sweep_also_where_mixed_precision_skips_its_step():
    ramp, inside = swept(Steep(), [5.0, 4.9, math.nan], plugins=[mixed(2.0)])
    assert ramp.lrs == pytest.approx(ladder()[:3], rel=1e-12)
    assert len(inside) == 2


class Silent(Told):
    def training_step(self, batch, batch_idx):
        if not self.automatic_optimization:
            self.optimizers().step()


class Idle(Told):
    automatic_optimization = False


@pytest.mark.parametrize(
    ("cls", "manual", "told"),
    [
        (Silent, False, "training_step returned no loss; a range test reads the loss of every batch"),
        (Silent, True, "training_step returned no loss"),
        (Idle, True, "training_step has stepped no optimizer in 11 batches"),
    ],
)
def test_a_module_that_gives_nothing_to_read_is_told_so_in_a_line(cls, manual, told):
    module = cls()
    module.automatic_optimization = not manual
    with pytest.raises(ConfigError, match=f"error: lr_finder: {told}.*; try: lr_finder=none"):
        swept(module)
