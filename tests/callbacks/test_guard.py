"""A step that is not finite changes nothing; a rescue goes back to healthy weights, with a lower LR that stays so."""

import json
import math
import re

import pytest
import torch
from pytorch_lightning import Callback

import stride
from stride.callbacks import guard
from stride.callbacks.guard import Guard
from stride.callbacks.history import History
from stride.errors import Diverged
from stride.lr.spike import LossWatch

SMALL = ["datamodule=wine", "model=mlp", "model.hidden=[8]", "callbacks.progress=null", "logger=none"]
SMALL += ["trainer.max_epochs=20", "callbacks.early_stopping=null"]
EPOCH = 8


class Fault(Callback):
    """Does harm to some steps, and keeps what the network and the optimizer were before and after the first."""

    def __init__(self, steps, harm):
        self.steps, self.harm, self.states = steps, harm, []

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if trainer.global_step in self.steps:
            if not self.states:
                self.states.append(state_of(trainer, module))
            if self.harm == "batch":
                batch[0][3:5] = math.nan
            elif self.harm == "loss":
                batch[0].fill_(1e30)

    def on_after_backward(self, trainer, module):
        if trainer.global_step in self.steps and self.harm in ("inf gradient", "large gradient"):
            for parameter in module.parameters():
                parameter.grad *= math.inf if self.harm == "inf gradient" else 100

    def on_exception(self, trainer, module, exception):
        self.states.append(state_of(trainer, module))


def state_of(trainer, module):
    """A copy of the weights and buffers, and of the optimizer's state."""
    optimizer = [value for state in trainer.optimizers[0].state.values() for value in state.values()]
    return [torch.as_tensor(value).clone() for value in (*module.state_dict().values(), *optimizer)]


@pytest.fixture
def harmed(tmp_path, monkeypatch):
    """`harmed(steps, harm, *words)` is the outcome of a run with a Fault, and the fault."""

    def run(steps, harm, *words):
        fault = Fault(steps, harm)
        for hook in ("on_train_batch_start", "on_after_backward", "on_exception"):
            monkeypatch.setattr(History, hook, lambda _, *args, hook=hook: getattr(fault, hook)(*args), raising=False)
        return stride.run([*SMALL, *words, f"output_root={tmp_path}", f"name={harm.replace(' ', '-')}"]), fault

    return run


OPTIMIZERS = [
    ["optimizer=adamw", "optimizer.weight_decay=0.1"],
    ["optimizer=sgd", "optimizer.weight_decay=0.1"],
    ["optimizer=muon"],
]


@pytest.mark.parametrize("words", [*OPTIMIZERS, ["trainer.accumulate_grad_batches=2"]], ids=lambda words: words[0])
@pytest.mark.parametrize("harm", ["batch", "inf gradient"])
def test_a_step_that_is_not_finite_changes_nothing_and_ends_the_run(harmed, harm, words, capsys):
    outcome, fault = harmed([21], harm, *words)
    assert (outcome.status, outcome.exit_code, outcome.record["steps"]) == ("diverged", 4, 22)
    before, after = fault.states
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    for path in (outcome.folder / "checkpoints").glob("*.ckpt"):
        weights = torch.load(path, weights_only=True)["state_dict"].values()
        assert all(bool(torch.isfinite(weight).all()) for weight in weights)
    told = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "at step 21 (lr " in told
    assert "of epoch " in told


def test_without_the_guard_one_such_batch_is_the_end_of_all_weights(harmed):
    """Else the tests above would see nothing."""
    outcome, _ = harmed([21], "batch", "callbacks.guard=null")
    last = torch.load(outcome.folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert not all(bool(torch.isfinite(weight).all()) for weight in last.values())


@pytest.mark.parametrize(
    ("steps", "harm", "words", "advice"),
    [
        ([21], "batch", [], r"samples \[\d+, \d+\] of it hold values that are not finite\); .* The data is at fault"),
        ([2], "inf gradient", ["warmup=none"], "It came at once: warmup=linear warmup.length=10%"),
        ([60], "inf gradient", [], "Try a lower LR: optimizer.lr=0.0003, or lr_finder=on"),
    ],
    ids=["data", "warm-up", "rate"],
)
def test_what_it_says_fits_what_happened(harmed, capsys, steps, harm, words, advice):
    harmed(steps, harm, *words)
    told = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert re.search(advice, told), told


def test_the_samples_that_it_names_are_those_of_the_training_data(harmed, capsys, monkeypatch):
    seen = []
    monkeypatch.setattr(guard, "_culprits", lambda trainer, batch, index: seen.append((trainer, batch, index)) or [])
    harmed([21], "batch")
    (trainer, batch, index) = seen[0]
    named = trainer.datamodule.batches.samples(trainer.current_epoch, index)
    assert torch.equal(trainer.datamodule.train[1][named], batch[1])


def test_a_fused_optimizer_leaves_the_step_out_on_its_device(harmed, monkeypatch):
    """On a GPU nobody waits for a number; what the kernel does with the flag is the same on the CPU."""
    monkeypatch.setattr(guard, "READ_AT_ONCE", ())
    outcome, fault = harmed(
        [21], "inf gradient", "optimizer=adamw", "optimizer.fused=true", "trainer.log_every_n_steps=4"
    )
    assert (outcome.status, outcome.record["steps"]) == ("diverged", 24)
    last = torch.load(outcome.folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert all(bool(torch.isfinite(weight).all()) for weight in last.values())
    assert all(bool(torch.isfinite(value.float()).all()) for value in fault.states[1])


def test_a_rescue_goes_back_cuts_the_rate_inside_the_step_and_is_told(harmed):
    words = ["optimizer=sgd", "optimizer.lr=0.05", "callbacks.guard.mode=rescue", "callbacks.guard.rewarm='4 steps'"]
    plain, _ = harmed([], "loss", *words)
    outcome, _ = harmed([100, 101, 102], "batch", *words)
    assert (outcome.status, outcome.exit_code) == ("finished", 0)
    acts = outcome.record["lr"]["interventions"]
    assert [act["step"] for act in acts] == [100, 101, 102, 103]
    assert [act["factor"] for act in acts] == [1.0, 1.0, 1.0, 0.5]
    assert "3 steps in a row were left out" in acts[-1]["why"]
    assert "back to step 90, LR x 0.5" in acts[-1]["why"]
    applied, planned = (
        [float(row.split(",")[1]) for row in (each.folder / "lr_trace.csv").read_text().splitlines()[1:]]
        for each in (outcome, plain)
    )
    ramp = [1.0] * 103 + [0.125, 0.25, 0.375] + [0.5] * 54
    assert applied == pytest.approx([lr * factor for lr, factor in zip(planned, ramp, strict=True)], rel=1e-6)


def test_after_a_resume_the_cut_still_holds(harmed, tmp_path, monkeypatch):
    words = ["callbacks.guard.mode=rescue", "optimizer=sgd", "optimizer.lr=0.05"]
    whole, _ = harmed([60, 61, 62], "batch", *words, "callbacks.checkpoint_last.every='1 step'")
    trace = (whole.folder / "lr_trace.csv").read_text()
    record = json.loads((whole.folder / "run.json").read_text())
    (whole.folder / "run.json").write_text(json.dumps({**record, "status": "interrupted"}))
    (whole.folder / "checkpoints" / "last.ckpt").unlink()  # the one of the step before
    again, _ = harmed([], "batch", *words, "callbacks.checkpoint_last.every='1 step'")
    assert again.status == "finished"
    assert (again.folder / "lr_trace.csv").read_text() == trace
    assert again.record["lr"]["interventions"] == record["lr"]["interventions"]


def test_too_many_rescues_end_the_run(harmed):
    steps = [step for begin in (40, 60, 80) for step in range(begin, begin + 3)]
    outcome, _ = harmed(steps, "batch", "callbacks.guard.mode=rescue", "callbacks.guard.most=2")
    assert (outcome.status, outcome.exit_code) == ("diverged", 4)


@pytest.mark.parametrize(
    ("losses", "alarms"),
    [
        ([1 / (1 + step) for step in range(300)], 0),
        ([-step / 100 for step in range(300)], 0),  # a loss below zero
        ([1.0] * 300, 0),
        ([*(2 - 1.9 * step / 200 for step in range(200)), *[4.0] * 3], 1),
        ([*(-2 - step / 100 for step in range(200)), *[-1.0] * 3], 1),
        ([*(2 - 1.9 * step / 200 for step in range(200)), *(0.1 * 1.1**step for step in range(40))], 1),
        ([*(2 - 1.9 * step / 200 for step in range(200)), 4.0, *[0.1] * 50], 0),  # one odd batch
    ],
)
def test_a_loss_that_runs_away_is_seen_whatever_its_sign(losses, alarms):
    watch = LossWatch()
    draw = torch.Generator().manual_seed(0)
    noise = (0.01 * torch.randn(len(losses), generator=draw)).tolist()
    told = [watch.add(loss + extra) for loss, extra in zip(losses, noise, strict=True)]
    assert any(told) == bool(alarms)
    if alarms:
        assert next(step for step, why in enumerate(told) if why) >= 200


def test_a_validation_loss_that_is_no_number_ends_the_run(monkeypatch):
    class Trainer:
        callback_metrics = {"val/loss": torch.tensor(math.nan)}  # noqa: RUF012
        sanity_checking, global_step, optimizers = False, 7, ()

    with pytest.raises(Diverged, match="val/loss is nan at step 7"):
        Guard().on_validation_end(Trainer(), None)


@pytest.mark.parametrize(("lr", "said"), [("1e9", True), ("1e-3", False)])
def test_a_run_that_only_got_worse_says_so_though_all_is_finite(tmp_path, capsys, lr, said):
    words = ["optimizer=sgd", f"optimizer.lr={lr}", "trainer.max_epochs=2", "callbacks.progress=null", "logger=none"]
    outcome = stride.run([*words, f"output_root={tmp_path}"])
    assert outcome.record["status"] == "finished"
    told = re.findall(
        r"note: val/loss was never below .*; before the first step the loss was 2\.\d+\. Try a lower LR: .*",
        capsys.readouterr().out,
    )
    assert len(told) == said
