"""Schedule-free optimizers: the average is what is validated, saved and tested, and a resume goes on to the bit."""

import functools
from pathlib import Path

import pytest
import torch
from pytorch_lightning import Callback

import stride
from stride import build
from stride.callbacks import running_statistics
from stride.callbacks.schedule_free import RUNNING, ScheduleFree
from stride.pipeline import checked

pytest.importorskip("schedulefree", reason="extra: uv run --extra lr-free pytest")

SMALL = ["datamodule=wine", "model=mlp", "model.hidden=[8]", "callbacks.progress=null", "logger=none"]
SMALL += ["callbacks.early_stopping=null"]
EPOCH = 8  # optimizer steps of one
BOTH = pytest.mark.parametrize("name", ["schedule_free_adamw", "schedule_free_sgd"])


def fit(folder, *words, epochs=4, callbacks=(), ckpt=None):
    cfg = checked([*SMALL, f"trainer.max_epochs={epochs}", *words]).cfg
    folder.mkdir(exist_ok=True)
    parts = build.run(cfg, folder, cfg.optimizer.lr)
    parts.trainer.callbacks += callbacks
    parts.trainer.fit(parts.module, datamodule=parts.datamodule, ckpt_path=ckpt, weights_only=True)
    return parts


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """`whole(*words)` is a run that nothing interrupts."""
    return functools.cache(lambda *words: fit(tmp_path_factory.mktemp("whole"), *words))


def read(path):
    return torch.load(path, weights_only=True)


def assert_equal(one, other):
    assert one.keys() == other.keys()
    assert not [name for name in one if not torch.equal(one[name], other[name])]


def assert_mean(weights, iterates):
    for index, each in enumerate(weights):
        mean = torch.stack([iterate[index] for iterate in iterates]).mean(0)
        torch.testing.assert_close(each, mean, rtol=1e-4, atol=1e-6)


class Iterates(Callback):
    """Keeps z, where the optimizer's own steps lead, after every step."""

    def __init__(self):
        self.kept = []

    def on_train_batch_end(self, trainer, *_):
        (optimizer,) = trainer.optimizers
        parameters = optimizer.param_groups[0]["params"]
        self.kept.append([optimizer.state[p]["z"].clone() for p in parameters])


class SavesInTraining(Callback):
    def __init__(self, path, step):
        self.path, self.step = path, step

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


@BOTH
def test_a_checkpoint_holds_the_mean_of_the_iterates_wherever_it_is_written(tmp_path, name):
    """With a constant LR the average x is the plain mean of z (arXiv 2405.15682, eq. 5)."""
    iterates, middle = Iterates(), tmp_path / "middle.ckpt"
    words = [f"optimizer={name}", "optimizer.lr=0.01", "warmup=none"]
    parts = fit(tmp_path, *words, callbacks=[iterates, SavesInTraining(middle, 12)])
    names = [name for name, _ in parts.module.named_parameters()]
    for path, steps in ((middle, 12), (tmp_path / "checkpoints" / "last.ckpt", 4 * EPOCH)):
        saved = read(path)["state_dict"]
        assert_mean([saved[name] for name in names], iterates.kept[:steps])
    assert RUNNING in read(middle)
    assert RUNNING not in read(tmp_path / "checkpoints" / "last.ckpt")  # at the end of an epoch nothing is running


@BOTH
@pytest.mark.parametrize(
    "words",
    [[], ["trainer.val_check_interval=3"], ["trainer.check_val_every_n_epoch=2", "trainer.accumulate_grad_batches=3"]],
    ids=["", "validated within an epoch", "accumulated"],
)
def test_after_an_interruption_a_run_comes_to_the_same_weights_to_the_bit(tmp_path, whole, name, words):
    class Stop(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if trainer.current_epoch == 2 and batch_idx == 5:
                raise KeyboardInterrupt

    last = "checkpoints/last.ckpt"
    expected = whole(f"optimizer={name}", *words)
    with pytest.raises(SystemExit):
        fit(tmp_path, f"optimizer={name}", *words, callbacks=[Stop()])
    cut = fit(tmp_path, f"optimizer={name}", *words, ckpt=tmp_path / last)
    assert_equal(cut.module.state_dict(), expected.module.state_dict())
    assert cut.history.points == expected.history.points
    saved = Path(expected.trainer.default_root_dir) / last
    assert_equal(read(tmp_path / last)["state_dict"], read(saved)["state_dict"])


@BOTH
def test_a_run_goes_on_from_the_midst_of_training_to_the_same_weights_to_the_bit(tmp_path, whole, name):
    """Writing such checkpoints must not have moved the run that wrote them either."""
    expected = whole(f"optimizer={name}").module.state_dict()
    middles = {step: tmp_path / f"{step}.ckpt" for step in (12, 2 * EPOCH)}
    savers = [SavesInTraining(path, step) for step, path in middles.items()]
    writer = fit(tmp_path / "writer", f"optimizer={name}", callbacks=savers)
    assert_equal(writer.module.state_dict(), expected)
    for step, path in middles.items():
        resumed = fit(tmp_path / str(step), f"optimizer={name}", ckpt=path)
        assert_equal(resumed.module.state_dict(), expected)


@BOTH
def test_a_checkpoint_from_the_midst_of_training_is_validated_as_the_average(tmp_path, name):
    middle = tmp_path / "middle.ckpt"
    parts = fit(tmp_path, f"optimizer={name}", epochs=2, callbacks=[SavesInTraining(middle, 12)])
    parts.trainer.validate(parts.module, parts.datamodule, ckpt_path=middle, verbose=False, weights_only=True)
    assert_equal(parts.module.state_dict(), read(middle)["state_dict"])


@BOTH
def test_the_warm_up_around_the_step_weighs_the_average_as_the_optimizers_own_does(tmp_path, name):
    ours = fit(tmp_path, f"optimizer={name}", "warmup.length=10 steps")
    theirs = fit(tmp_path, f"optimizer={name}", "warmup=none", "+optimizer.warmup_steps=10")
    assert_equal(ours.module.state_dict(), theirs.module.state_dict())


@BOTH
def test_a_loaded_checkpoint_has_the_validation_loss_that_memory_had(tmp_path, name):
    words = [*SMALL, f"optimizer={name}", "callbacks.checkpoint_best=null", "trainer.max_epochs=4"]
    trained = stride.run([*words, f"output_root={tmp_path}"])
    again = stride.run(["task=validate", f"run={trained.folder}", f"output_root={tmp_path}"])
    assert again.record["scores"]["val/loss"] == pytest.approx(trained.record["last"]["val/loss"], abs=1e-6)


def test_a_run_that_ends_within_an_epoch_leaves_the_average_in_memory_too(tmp_path):
    iterates = Iterates()
    words = ["optimizer=schedule_free_sgd", "optimizer.lr=0.01", "warmup=none", "trainer.max_steps=13"]
    parts = fit(tmp_path, *words, "trainer.limit_val_batches=0", epochs=-1, callbacks=[iterates])
    assert_mean([parameter.detach() for parameter in parts.module.parameters()], iterates.kept)


@pytest.mark.parametrize("frozen", [False, True])
def test_batch_norms_are_validated_with_statistics_of_the_averaged_weights(tmp_path, monkeypatch, frozen):
    monkeypatch.setattr(running_statistics, "BATCHES", 3)

    class Watch(Callback):
        def setup(self, trainer, pl_module, stage):
            self.linear, self.norm, *_ = (m for m in pl_module.network.modules() if list(m.parameters(recurse=False)))
            if frozen:
                self.norm.eval()
            self.inputs = []

        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            self.inputs.append(batch[0])

        def on_validation_end(self, trainer, pl_module):
            before = [self.linear(each) for each in self.inputs[-3:]]
            self.mean = torch.stack([each.mean(0) for each in before]).mean(0)
            self.var = torch.stack([each.var(0) for each in before]).mean(0)

    watch = Watch()
    fit(tmp_path, "optimizer=schedule_free_sgd", epochs=1, callbacks=[watch])
    if frozen:  # whoever has switched a batch norm to evaluation wants its statistics as they are
        assert torch.equal(watch.norm.running_mean, torch.zeros(8))
        assert not watch.norm.training
    else:
        torch.testing.assert_close(watch.norm.running_mean, watch.mean)
        torch.testing.assert_close(watch.norm.running_var, watch.var)
        assert watch.norm.momentum == 0.1
        assert watch.norm.training


def test_a_range_test_finds_an_lr_for_a_schedule_free_optimizer(tmp_path):
    words = [*SMALL, "optimizer=schedule_free_adamw", "lr_finder=on", "lr_finder.orders=1", "trainer.max_epochs=1"]
    lr = stride.run([*words, f"output_root={tmp_path}"]).record["lr"]
    assert lr["used"] == lr["found"] > 1e-4


def test_other_optimizers_pay_nothing_in_a_step(tmp_path):
    trainer = fit(tmp_path, epochs=1).trainer
    (callback,) = (each for each in trainer.callbacks if isinstance(each, ScheduleFree))
    assert callback.on_train_batch_start is None
