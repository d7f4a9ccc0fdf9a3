"""What the callbacks see and do in a real run of Lightning's Trainer."""

import csv
from statistics import fmean

import pytest
import torch
from pytorch_lightning import Callback

from stride import build
from stride.callbacks.history import History, Point
from stride.callbacks.lean import PER_STEP, Lean
from stride.pipeline import checked

SMALL = ["datamodule=wine", "model=mlp", "model.hidden=[8]", "callbacks.progress=null"]

RAMPS = ("linear", "exponential", "cosine")


def fit(tmp_path, *words, callbacks=(), lr=None):
    tmp_path.mkdir(exist_ok=True)
    cfg = checked([*SMALL, *words]).cfg
    parts = build.run(cfg, tmp_path, lr or cfg.optimizer.lr)
    parts.trainer.callbacks += callbacks
    parts.trainer.fit(parts.module, datamodule=parts.datamodule)
    return parts


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


class InsideStep(Callback):
    """Reads the LR last of all pre-hooks."""

    def on_train_start(self, trainer, pl_module):
        self.lrs = []
        trainer.optimizers[0].register_step_pre_hook(lambda o, *_: self.lrs.append(o.param_groups[0]["lr"]))


@pytest.mark.parametrize("accumulate", [1, 3])
def test_the_trace_has_one_row_a_step_and_tells_the_lr_inside_it(tmp_path, accumulate):
    inside = InsideStep()
    words = ["trainer.max_epochs=3", f"trainer.accumulate_grad_batches={accumulate}", "logger=csv"]
    parts = fit(tmp_path, *words, "trainer.log_every_n_steps=2", callbacks=[inside])
    traced = rows(tmp_path / "lr_trace.csv")
    assert [int(row["step"]) for row in traced] == list(range(parts.trainer.global_step))
    assert [float(row["all"]) for row in traced] == inside.lrs
    logged = {int(row["step"]): float(row["lr/all"]) for row in rows(tmp_path / "metrics.csv") if row["lr/all"]}
    last = parts.trainer.global_step - 1
    assert sorted(logged) == [0, *range(1, last + 1, 2)]
    assert all(lr == inside.lrs[step] for step, lr in logged.items())


@pytest.mark.parametrize("accumulate", [1, 2])
def test_train_loss_is_the_mean_of_all_batches_since_the_last_point(tmp_path, accumulate):
    class Losses(Callback):
        seen = ()

        def on_train_start(self, trainer, pl_module):
            pl_module.objective.register_forward_hook(self.note)

        def note(self, objective, inputs, loss):
            if objective.training:
                self.seen = (*self.seen, loss.item())

    losses = Losses()
    words = ["logger=csv", "trainer.log_every_n_steps=4", f"trainer.accumulate_grad_batches={accumulate}"]
    parts = fit(tmp_path, "trainer.max_epochs=2", *words, callbacks=[losses])
    told = {int(row["step"]): float(row["train/loss"]) for row in rows(tmp_path / "metrics.csv") if row["train/loss"]}
    for step, since, until in ((0, 0, 1), (3, 1, 4), (7, 4, 8)):
        expected = fmean(losses.seen[since * accumulate : until * accumulate])
        assert told[step] == pytest.approx(expected, rel=1e-6)
    of_epochs = [fmean(losses.seen[:8]), fmean(losses.seen[8:])]
    assert [point.train_loss for point in parts.history.points] == pytest.approx(of_epochs, rel=1e-6)


def test_grad_norm_is_that_of_the_gradients_before_clipping(tmp_path):
    class Norms(Callback):
        seen = ()

        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            grads = [p.grad.flatten() for p in pl_module.parameters()]
            self.seen = (*self.seen, float(torch.cat(grads).norm()))

    norms = Norms()
    words = ["trainer.max_steps=6", "trainer.log_every_n_steps=2", "trainer.gradient_clip_val=0.01", "logger=csv"]
    fit(tmp_path, *words, callbacks=[norms])
    told = {int(row["step"]): float(row["grad/norm"]) for row in rows(tmp_path / "metrics.csv") if row["grad/norm"]}
    assert told == pytest.approx({step: norms.seen[step] for step in (0, 1, 3, 5)}, rel=1e-5)
    assert min(norms.seen) > 0.01


def test_plateau_halves_the_lr_at_the_validation_that_its_patience_says(tmp_path):
    # Nothing counts as better, so the first validation is the best, and every second one after it halves the LR.
    words = ["scheduler=plateau", "scheduler.patience=1", "scheduler.factor=0.5", "warmup.length='8 steps'"]
    words += ["scheduler.threshold=1000", "scheduler.threshold_mode=abs", "trainer.max_epochs=6"]
    words += ["callbacks.early_stopping=null"]
    parts = fit(tmp_path, *words)
    steps = parts.trainer.num_training_batches
    lrs = [float(row["all"]) for row in rows(tmp_path / "lr_trace.csv")]
    factor = [1, 1, 1, 0.5, 0.5, 0.25]  # of each epoch: bad validations are those after epochs 1, 2, 3, 4
    ramp = [min(1, (step + 1) / 8) for step in range(len(lrs))]
    assert lrs == pytest.approx([1e-3 * factor[step // steps] * ramp[step] for step in range(len(lrs))])


def test_plateau_cuts_at_the_same_validations_with_every_warm_up_and_says_so(tmp_path):
    words = ["scheduler=plateau", "scheduler.patience=1", "scheduler.threshold=1000", "scheduler.threshold_mode=abs"]
    words += ["trainer.max_epochs=8", "callbacks.early_stopping=null", "optimizer.betas=[0.9,0.9]"]
    warmups = [["warmup=none"], ["warmup=untuned"], *([f"warmup={name}", "warmup.length=50%"] for name in RAMPS)]
    cuts = {}
    for n, warmup in enumerate(warmups):
        parts = fit(tmp_path / str(n), *words, *warmup)
        cuts[warmup[0]] = [(change.step, change.factor) for change in parts.module.plan.interventions]
        assert all("val/loss" in change.why for change in parts.module.plan.interventions)
    steps = parts.trainer.num_training_batches
    assert all(cut == [(steps * epoch, 0.5) for epoch in (3, 5, 7)] for cut in cuts.values()), cuts


def test_patience_is_a_part_of_the_run_whatever_a_validation_is(tmp_path):
    cases = {
        ("trainer.max_epochs=20",): 6,
        ("trainer.max_epochs=20", "trainer.check_val_every_n_epoch=2"): 3,
        ("trainer.max_epochs=20", "trainer.val_check_interval=0.5"): 12,
        ("trainer.max_epochs=20", "callbacks.early_stopping.patience='5 epochs'"): 5,
        ("trainer.max_epochs=20", "trainer.accumulate_grad_batches=2"): 6,
    }
    for n, (words, validations) in enumerate(cases.items()):
        found = []

        class Look(Callback):
            def on_train_batch_start(self, trainer, *_, found=found):
                found.append(trainer.early_stopping_callback.patience)
                trainer.should_stop = True

        fit(tmp_path / str(n), *words, callbacks=[Look()])
        assert found[0] == validations, words


def test_lightning_passes_over_hooks_that_a_lean_callback_does_not_have(tmp_path):
    class OnlyEnd(Lean):
        count = 0

        def on_train_batch_end(self, *_):
            self.count += 1

    watcher = OnlyEnd()
    assert [name for name in PER_STEP if getattr(watcher, name)] == ["on_train_batch_end"]
    parts = fit(tmp_path, "trainer.max_steps=3", callbacks=[watcher])
    assert watcher.count == parts.trainer.global_step == 3


@pytest.mark.parametrize(("mode", "step"), [("min", 20), ("max", 10)])
def test_the_best_of_the_history_follows_the_scores_mode(mode, step):
    history = History("val/x", mode)
    history.points = [Point(n, 0, None, {"val/x": x}) for n, x in ((10, 3.0), (20, 1.0), (30, 2.0))]
    history.points.append(Point(40, 0, None, {}))  # a validation that did not log it
    assert history.best.step == step
