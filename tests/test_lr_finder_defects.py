"""Twelve defects of Lightning 2.6's LR finder: each is shown in it, and shown not to be in ours."""

import csv
import functools
import itertools
import logging
import pickle
import random
import tempfile

import pytest
import torch
from pytorch_lightning import LightningDataModule, LightningModule, Trainer
from pytorch_lightning.callbacks import Callback, LearningRateFinder
from pytorch_lightning.tuner import Tuner
from torch import nn

import stride
from stride.callbacks.history import History
from stride.module import LitModule
from stride.tune import RangeTest

ENGINES = ["lightning", "ramp"]
LOW, HIGH, STEPS = 1e-6, 10.0, 100
WINE = ["datamodule=wine", "model=mlp", "callbacks.progress=null", "logger=none"]


class Pairs(LightningDataModule):
    """64 samples of y = x1 + x2 + x3, in 8 batches."""

    batch_size = 8

    def train_dataloader(self):
        x = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
        return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, x.sum(1, keepdim=True)), batch_size=8)


class Line(LightningModule):
    """A line through them; a module that has nothing to do with ours. `inside` are the LRs that its steps used."""

    def __init__(self, lr=1e-3):
        super().__init__()
        self.lr, self.layer, self.inside = lr, nn.Linear(3, 1), []

    def training_step(self, batch, batch_idx):
        x, y = batch
        return nn.functional.mse_loss(self.layer(x), y)

    def watched(self, optimizer):
        optimizer.register_step_post_hook(lambda *_: self.inside.append([g["lr"] for g in optimizer.param_groups]))
        return optimizer

    def configure_optimizers(self):
        return self.watched(torch.optim.SGD(self.parameters(), lr=self.lr))


class Told(LitModule):
    """One of ours whose losses are told, one a step: so it is known what there is to see in them."""

    def __init__(self, losses, lr=1e-3):
        super().__init__(
            network=nn.Linear(1, 1),
            objective=None,
            optimizer=torch.optim.SGD,
            schedule=None,
            param_groups=lambda module: [{"params": list(module.parameters())}],
            lr=lr,
        )
        self.losses = losses

    def training_step(self, batch, batch_idx):
        step = self.trainer.global_step
        return self.losses[min(step, len(self.losses) - 1)] + 0 * self.network.weight.sum()


def trainer(folder, **options):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}
    endless = {"max_epochs": -1, "max_steps": STEPS, "limit_val_batches": 0, "enable_checkpointing": False}
    return Trainer(**{**quiet, **endless, "default_root_dir": folder, **options})


def lightnings(module, folder, *, steps=STEPS, **options):
    """Lightning's own search, as it comes; `options` are its Trainer's."""
    return Tuner(trainer(folder, **options)).lr_find(
        module, datamodule=Pairs(), min_lr=LOW, max_lr=HIGH, num_training=steps, update_attr=False
    )


def ours(make_module, engine=None, *, steps=STEPS):
    """Our finding over one data order, without a trial, the modules made with an LR of 1e-3."""
    test = RangeTest(min_lr=LOW, max_lr=HIGH, steps=steps, orders=1, engine=engine)

    def make(order, folder):
        return trainer(folder, max_steps=steps), make_module(), Pairs()

    return test(make, make, 1e-3)


def ladder(steps=STEPS):
    return [LOW * (HIGH / LOW) ** (k / (steps - 1)) for k in range(steps)]


def valley(lr):
    """Flat at 2, falls to 1.1 at a rate of 0.1, then runs away."""
    return 2 - 1 / (1 + 1e-2 / lr) + lr**2


def applied(folder):
    with (folder / "lr_trace.csv").open(newline="") as file:
        return [float(row["all"]) for row in csv.DictReader(file)]


@pytest.fixture(autouse=True)
def fixed_seed():
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def found_run(tmp_path_factory):
    """A run of ours with a finder, an optimizer that Hydra makes of a partial, and a schedule with a warm-up."""
    folder = tmp_path_factory.mktemp("found")
    words = [*WINE, "optimizer=sgd", "scheduler=one_cycle", "lr_finder=on", "lr_finder.orders=1", "test=false"]
    return stride.run([*words, "trainer.max_epochs=3", f"output_root={folder}", "name=found"])


def test_d1_the_suggestion_is_near_the_lowest_loss_and_not_decades_below(tmp_path):
    """It takes the slope against the LR and not its logarithm: so a fall, or noise, counts more the lower the LR."""
    suggested, found = [], []
    for seed in range(3):
        noise = random.Random(seed)
        losses = [valley(lr) + noise.gauss(0, 0.02) for lr in ladder()]
        suggested.append(lightnings(Told(losses), tmp_path).suggestion())
        found += [ours(lambda told=losses: Told(told), engine).suggestion.lr for engine in ENGINES]
    best = min(ladder(), key=valley)
    assert max(suggested) < best / 50
    assert all(best / 4 < lr < 2 * best for lr in found)


def test_d2_the_average_is_unbiased_from_the_first_loss_on(tmp_path):
    """It divides by 1 - beta**(n + 1) where n losses have gone in: a constant seems to double."""
    reported = lightnings(Told([3.0]), tmp_path).results["loss"]
    assert reported[0] == pytest.approx(3 * (1 - 0.98) / (1 - 0.98**2))
    assert reported[-1] / reported[0] > 1.7
    for engine in ENGINES:
        (curve,) = ours(lambda: Told([3.0]), engine).curves
        assert list(curve.losses) == pytest.approx([3.0] * STEPS, rel=1e-5)


def test_d3_no_scheduler_forgets_the_lr_that_was_found(tmp_path, found_run):
    class Scheduled(Line):
        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
            return [optimizer], [{"scheduler": scheduler, "interval": "step"}]

    module = Scheduled()
    search = LearningRateFinder(num_training_steps=40)
    trainer(tmp_path, max_steps=3, callbacks=[search]).fit(module, datamodule=Pairs())
    asked, found = 1e-3, search.optimal_lr.suggestion()
    assert module.lr == found != asked
    assert module.inside[-2:] == [[asked], [asked]]

    lr = found_run.record["lr"]
    assert lr["found"] == lr["used"] != lr["asked"]
    assert max(applied(found_run.folder)) == pytest.approx(lr["found"], rel=1e-2)


def test_d4_groups_keep_the_ratio_of_their_rates(tmp_path):
    class Groups(Line):
        def configure_optimizers(self):
            groups = [{"params": [self.layer.weight], "lr": self.lr}, {"params": [self.layer.bias], "lr": 10 * self.lr}]
            return self.watched(torch.optim.SGD(groups))

    module = Groups()
    lightnings(module, tmp_path, steps=20)
    assert all(first == second for first, second in module.inside)

    modules = []
    finding = ours(lambda: modules.append(Groups()) or modules[-1], steps=20)
    assert len(modules[0].inside) == finding.steps > 15
    assert all(second / first == pytest.approx(10, rel=1e-12) for first, second in modules[0].inside)
    assert [first for first, _ in modules[0].inside] == pytest.approx(finding.curves[0].lrs, rel=1e-12)


def test_d5_an_optimizer_with_a_rate_of_its_own_gets_the_one_that_was_found(tmp_path, found_run):
    class Partial(Line):
        def __init__(self, optimizer):
            super().__init__()
            self.optimizer = optimizer

        def configure_optimizers(self):
            return self.watched(self.optimizer(self.parameters()))

    module = Partial(functools.partial(torch.optim.SGD, lr=0.1))
    search = Tuner(trainer(tmp_path)).lr_find(module, datamodule=Pairs(), num_training=40)
    trainer(tmp_path, max_steps=2).fit(module, datamodule=Pairs())
    assert module.lr == search.suggestion() != 0.1
    assert module.inside[-1] == [0.1]

    assert max(applied(found_run.folder)) == pytest.approx(found_run.record["lr"]["found"], rel=1e-2)


def test_d6_hyperparameters_that_do_not_unpickle_do_not_end_the_search(tmp_path):
    class Saves(Line):
        def __init__(self, optimizer):
            super().__init__()
            self.save_hyperparameters()

        def configure_optimizers(self):
            return self.hparams.optimizer(self.parameters(), lr=self.lr)

    sgd = functools.partial(torch.optim.SGD, momentum=0.5)
    with pytest.raises(pickle.UnpicklingError):
        lightnings(Saves(sgd), tmp_path, steps=20)
    assert ours(lambda: Saves(sgd), steps=20).steps == 20


def test_d7_negative_losses_are_swept_to_the_end(tmp_path):
    losses = [valley(lr) - 10 for lr in ladder()]
    finder = lightnings(Told(losses), tmp_path)
    assert (len(finder.results["loss"]), finder.suggestion()) == (2, None)
    above = ours(lambda: Told([loss + 10 for loss in losses]), "ramp")
    for engine in ENGINES:
        finding = ours(lambda: Told(losses), engine)
        assert len(finding.curves[0].losses) == len(above.curves[0].losses) > 80
        assert finding.suggestion.lr == pytest.approx(above.suggestion.lr, rel=0.2)


def test_d8_a_model_that_is_trained_already_is_swept_like_a_new_one(tmp_path):
    """Its average and its stop go by the trainer's step, not the search's: so the docs' own example stops at once."""

    class Later(LearningRateFinder):
        def on_fit_start(self, *_):
            pass

        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 1:
                self.lr_find(trainer, pl_module)

    search = Later(num_training_steps=40)
    trainer(tmp_path, max_epochs=3, max_steps=-1, callbacks=[search]).fit(Line(0.1), datamodule=Pairs())
    assert len(search.optimal_lr.results["loss"]) == 1

    module = Line(0.05)
    trainer(tmp_path, max_epochs=1, max_steps=-1).fit(module, datamodule=Pairs())
    trained = module.layer.state_dict()
    x, y = next(iter(Pairs().train_dataloader()))

    def goes_on():
        module = Line()
        module.layer.load_state_dict(trained)
        return module

    finding = ours(goes_on)
    own = nn.functional.mse_loss(goes_on().layer(x), y).item()
    assert finding.curves[0].losses[0] == pytest.approx(own, rel=1e-5)
    assert len(finding.curves[0].losses) > 60


def test_d9_every_step_grows_the_lr_by_the_same_factor(tmp_path):
    lightning = lightnings(Told([3.0]), tmp_path).results["lr"]
    first, second, *_ = (after / before for before, after in itertools.pairwise(lightning))
    assert first == pytest.approx(second**2)
    (curve,) = ours(lambda: Told([3.0]), "ramp").curves
    factors = [after / before for before, after in itertools.pairwise(curve.lrs)]
    assert factors == pytest.approx([(HIGH / LOW) ** (1 / (STEPS - 1))] * (STEPS - 1), rel=1e-12)
    assert (curve.lrs[0], curve.lrs[-1]) == pytest.approx((LOW, HIGH), rel=1e-12)


def test_d10_a_run_of_few_epochs_does_not_end_the_sweep(tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="pytorch_lightning"):
        finder = lightnings(Told([3.0]), tmp_path, steps=50, max_epochs=1, max_steps=-1)
    assert len(finder.results["lr"]) == 8
    assert "stopped early after 8 steps due to diverging loss" in caplog.text
    caplog.clear()
    for engine in ENGINES:
        words = ["task=tune", "trainer.max_epochs=1", "lr_finder.steps=20", "lr_finder.max_lr=1e-4"]
        words += ["lr_finder.orders=1", f"lr_finder.engine={engine}", f"output_root={tmp_path}", f"name={engine}"]
        outcome = stride.run([*WINE, *words])
        assert '"steps": 20' in (outcome.folder / "lr_finder" / "curve.json").read_text()
        assert "diverging" not in (outcome.folder / "train.log").read_text()


def test_d11_an_exception_in_the_search_leaves_nothing_behind(tmp_path, monkeypatch):
    class Breaks(Line):
        def training_step(self, batch, batch_idx):
            if self.trainer.global_step == 5:
                raise RuntimeError("in the fifth step")
            return super().training_step(batch, batch_idx)

    kept = Callback()
    broken = trainer(tmp_path, max_steps=500, callbacks=[kept])
    state = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="in the fifth step"):
        Tuner(broken).lr_find(Breaks(), datamodule=Pairs(), num_training=40)
    assert kept not in broken.callbacks
    assert broken.max_steps == 40

    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    torch.set_rng_state(state)
    before = ours(Line)
    with pytest.raises(RuntimeError, match="in the fifth step"):
        ours(Breaks)
    assert list(scratch.iterdir()) == []
    assert torch.equal(torch.get_rng_state(), state)
    assert ours(Line).curves == before.curves


def test_d12_a_run_that_goes_on_keeps_its_place_and_the_lr_that_was_found(tmp_path):
    """It searches again, and puts its own checkpoint in the place of the one that the run goes on from."""
    begun = trainer(tmp_path, max_steps=3)
    begun.fit(Line(), datamodule=Pairs())
    begun.save_checkpoint(tmp_path / "begun.ckpt")
    module, search = Line(), LearningRateFinder(num_training_steps=40)
    goes_on = trainer(tmp_path, max_steps=6, callbacks=[search])
    goes_on.fit(module, datamodule=Pairs(), ckpt_path=tmp_path / "begun.ckpt", weights_only=True)
    assert len(module.inside) - len(search.optimal_lr.results["lr"]) == 6  # of which 3 were done

    def stop(self, trainer, *_):
        if trainer.global_step == 12:
            raise KeyboardInterrupt

    words = [*WINE, "lr_finder=on", "lr_finder.orders=1", "test=false", "scheduler=none", "warmup=none"]
    words += ["trainer.max_epochs=3", "callbacks.early_stopping=null", f"output_root={tmp_path}", "name=mine"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(History, "on_train_batch_end", stop)
        begun = stride.run(words)
    curve = (begun.folder / "lr_finder" / "curve.json").read_text()
    outcome = stride.run(words)
    assert (begun.status, outcome.status) == ("interrupted", "finished")
    assert applied(outcome.folder) == [begun.record["lr"]["found"]] * 24
    assert outcome.record["lr"]["found"] == begun.record["lr"]["found"] != 1e-3
    assert (begun.folder / "lr_finder" / "curve.json").read_text() == curve
