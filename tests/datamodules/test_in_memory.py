import warnings
from types import SimpleNamespace

import pytest
import torch
from bare_lightning import AFTER_EPOCH, AFTER_VALIDATION, EVERY_BATCH, Fails, OneWeight, SaveAtStart, saved, trainer
from pytorch_lightning.callbacks import ModelCheckpoint

from stride.datamodules.in_memory import InMemory

TRAIN, VAL, TEST = torch.arange(61), torch.arange(61, 80), torch.arange(80, 100)
BATCHES = 8  # in an epoch


class Numbers(InMemory):
    def load(self):
        return (TRAIN,), (VAL,), (TEST,)


def numbers(**options):
    return Numbers(**{"batch_size": 8, "seed": 3, "eval_batch_size": 16, **options})


class Recorder(OneWeight):
    """Asks for the number of steps, as a schedule does, and writes down which samples it saw at which step."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def training_step(self, batch, index):
        self.seen.append((self.global_step, self.current_epoch, index, batch[0].tolist()))
        return super().training_step(batch, index)

    def validation_step(self, batch, index):
        self.log("val/loss", self.weight)

    def test_step(self, batch, index):
        pass

    def predict_step(self, batch, index):
        return batch[0]

    def configure_optimizers(self):
        assert self.trainer.estimated_stepping_batches > 0
        return super().configure_optimizers()


def fit(folder, callbacks=(), resume=None, **options):
    module = Recorder()
    trainer(folder, callbacks, **options).fit(module, datamodule=numbers(), ckpt_path=resume)
    return module.seen


@pytest.mark.parametrize(
    "when, step, options",
    [
        (EVERY_BATCH, 1, {}),
        (EVERY_BATCH, 11, {}),
        (EVERY_BATCH, 15, {}),
        (EVERY_BATCH, 16, {}),
        (EVERY_BATCH, 4, {"accumulate_grad_batches": 3}),
        (EVERY_BATCH, 7, {"limit_train_batches": 5}),
        (EVERY_BATCH, 10, {"limit_train_batches": 5}),
        (EVERY_BATCH, 13, {"max_epochs": -1, "max_steps": 20}),
        (AFTER_VALIDATION, 8, {}),
        (AFTER_VALIDATION, 11, {"val_check_interval": 3}),
        (AFTER_VALIDATION, 10, {"limit_train_batches": 5}),
        (AFTER_EPOCH, 16, {}),
        (AFTER_EPOCH, 8, {"accumulate_grad_batches": 2}),
        (AFTER_EPOCH, 8, {"max_epochs": -1, "max_steps": 20}),
        (AFTER_VALIDATION, 8, {"max_epochs": -1, "max_steps": 20}),
    ],
)
def test_a_resumed_run_serves_just_the_batches_that_were_left(tmp_path, when, step, options):
    whole = fit(tmp_path, [saved(tmp_path, **when)], **options)
    rest = fit(tmp_path, resume=tmp_path / f"{step}.ckpt", **options)
    assert rest == whole[-len(rest) :]
    assert rest[0][0] == step


@pytest.mark.parametrize(
    "hook, step",
    [
        ("on_before_optimizer_step", 10),
        ("on_before_optimizer_step", BATCHES - 1),  # the epoch's last batch, in flight
        ("on_train_batch_end", 10),
        ("on_train_batch_end", BATCHES),
        ("on_validation_end", BATCHES),
    ],
)
def test_a_run_that_failed_resumes_at_the_batch_it_had_not_finished(tmp_path, hook, step):
    whole = fit(tmp_path)
    save = ModelCheckpoint(tmp_path, filename="failed", save_top_k=0, save_on_exception=True)
    with pytest.raises(RuntimeError):
        fit(tmp_path, [save, Fails(hook, step)])
    (checkpoint,) = tmp_path.glob("*.ckpt")
    assert fit(tmp_path, resume=checkpoint) == whole[step:]


@pytest.mark.parametrize("when, step", [(EVERY_BATCH, 11), (AFTER_VALIDATION, 8)])
def test_a_run_may_be_saved_again_before_it_goes_on(tmp_path, when, step):
    whole = fit(tmp_path, [saved(tmp_path, **when)])
    again = tmp_path / "again.ckpt"
    fit(tmp_path, [SaveAtStart(again)], resume=tmp_path / f"{step}.ckpt")
    assert fit(tmp_path, resume=again) == whole[step:]


@pytest.mark.parametrize("step, position", [(7, (0, 7)), (8, (1, 0)), (11, (1, 3))])
def test_a_checkpoint_names_the_first_batch_that_is_left(tmp_path, step, position):
    fit(tmp_path, [saved(tmp_path, **EVERY_BATCH)])
    state = torch.load(tmp_path / f"{step}.ckpt", weights_only=True)["Numbers"]
    assert (state["epoch"], state["batch"]) == position


def test_a_resume_in_the_middle_of_an_epoch_brings_no_warning(tmp_path):
    fit(tmp_path, [saved(tmp_path, **EVERY_BATCH)])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(tmp_path, resume=tmp_path / "11.ckpt")
    assert not [str(warning.message) for warning in caught if "resum" in str(warning.message)]


def test_a_fresh_fit_starts_over_after_a_resumed_one(tmp_path):
    whole = fit(tmp_path, [saved(tmp_path, **EVERY_BATCH)])
    data, module = numbers(), Recorder()
    trainer(tmp_path).fit(Recorder(), datamodule=data, ckpt_path=tmp_path / "11.ckpt")
    trainer(tmp_path).fit(module, datamodule=data)
    assert module.seen == whole


def test_a_throw_away_trainer_changes_nothing_for_the_next_run(tmp_path):
    data, module = numbers(), Recorder()
    trainer(tmp_path, max_steps=5, limit_val_batches=0).fit(Recorder(), datamodule=data)
    trainer(tmp_path).fit(module, datamodule=data)
    assert module.seen == fit(tmp_path)


def test_overfitting_sees_the_same_batches_in_every_epoch(tmp_path):
    seen = fit(tmp_path, overfit_batches=2)
    assert [batch for *_, batch in seen] == 3 * [batch for *_, batch in seen[:2]]


def test_each_loader_serves_its_own_part(tmp_path):
    data = numbers()
    data.setup()
    assert sorted(torch.cat([x for (x,) in data.train_dataloader()]).tolist()) == TRAIN.tolist()
    assert torch.cat([x for (x,) in data.val_dataloader()]).equal(VAL)
    assert torch.cat([x for (x,) in data.test_dataloader()]).equal(TEST)
    assert torch.cat(trainer(tmp_path).predict(Recorder(), datamodule=data)).equal(TEST)


def test_rank_and_world_come_from_the_trainer():
    shares = []
    for rank in range(3):
        data = numbers()
        data.setup()
        data.trainer = SimpleNamespace(global_rank=rank, world_size=3)
        shares.append(torch.cat([x for (x,) in data.train_dataloader()]))
        assert len(torch.cat([x for (x,) in data.val_dataloader()])) in (6, 7)
    assert len(set(torch.cat(shares).tolist())) == 60


@pytest.mark.parametrize(
    "options, law",
    [
        ({"batch_size": 0}, "`batch_size >= 1` must hold, but got batch_size=0"),
        ({"eval_batch_size": -1}, "`eval_batch_size >= 1` must hold, but got eval_batch_size=-1"),
        ({"seed": -1}, "`seed >= 0` must hold, but got seed=-1"),
    ],
)
def test_a_size_out_of_range_is_refused_with_the_law(options, law):
    with pytest.raises(ValueError, match=law):
        numbers(**options)
