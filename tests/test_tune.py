"""The tune stage: it finds, it tells, and nothing of it is left in the run but one number."""

import csv
import json
import math
import tempfile

import pytest
import torch
from omegaconf import OmegaConf

import stride
from stride import build, check, pipeline
from stride.errors import ConfigError
from stride.lr.duration import Horizon
from stride.lr.flow_time import flow_time
from stride.lr.suggest import PICKERS, Outcome, Suggestion, bottom
from stride.models.mlp import MLP
from stride.module import LitModule
from stride.pipeline import checked
from stride.tune import RangeTest

ENGINES = ["lightning", "ramp"]
HORIZON = Horizon(steps=1000, epoch_steps=10)
SMALL = ["datamodule=wine", "model=mlp", "callbacks.progress=null", "trainer.max_epochs=3"]


def finding(*words, of=SMALL):
    """What the finder of a line finds, without a run around it."""
    return build.search(checked([*of, "lr_finder=on", *words]).cfg)


def test_a_found_lr_is_the_lr_that_trains_and_is_told(tmp_path):
    outcome = stride.run([*SMALL, "lr_finder=on", "name=found", f"output_root={tmp_path}"])
    lr = outcome.record["lr"]
    assert lr["asked"] == 0.001
    assert lr["used"] == lr["found"] > 0.001
    assert lr["peak"] == pytest.approx(lr["found"], rel=0.02)
    assert "less the 6 steps that momentum looks back" in lr["why"]
    told = json.loads((outcome.folder / "lr_finder" / "curve.json").read_text())
    assert told["suggestion"]["lr"] == lr["found"]
    assert len(told["curves"]) == 1
    assert told["trial"]["lr"] == pytest.approx(lr["found"])
    assert (outcome.folder / "lr_finder" / "curve.png").stat().st_size > 10_000
    assert not list(outcome.folder.rglob(".lr_find*"))


def left_by(outcome):
    """The trace, the names of all files but the finding's, and the last checkpoint."""
    files = {path.relative_to(outcome.folder) for path in outcome.folder.rglob("*") if path.is_file()}
    state = torch.load(outcome.folder / "checkpoints" / "last.ckpt", weights_only=True)
    return (outcome.folder / "lr_trace.csv").read_text(), {f for f in files if f.parts[0] != "lr_finder"}, state


@pytest.mark.parametrize("engine", ENGINES)
def test_nothing_but_the_number_comes_out_of_the_tune_stage(tmp_path, engine):
    words = [*SMALL, "model.dropout=0.3", "logger=csv", f"output_root={tmp_path}"]  # dropout: random numbers in a step
    found = stride.run([*words, "lr_finder=on", f"lr_finder.engine={engine}", "name=with"])
    typed = stride.run([*words, f"optimizer.lr={found.record['lr']['found']!r}", "name=without"])
    (trace, files, state), (other_trace, other_files, other_state) = left_by(found), left_by(typed)
    assert len(trace.splitlines()) > 20
    assert trace == other_trace
    assert files == other_files
    weights, other_weights = state["state_dict"], other_state["state_dict"]
    assert all(torch.equal(weights[name], other_weights[name]) for name in weights)
    assert state["callbacks"].keys() == other_state["callbacks"].keys()
    assert state["loops"] == other_state["loops"]
    told = json.loads((found.folder / "lr_finder" / "curve.json").read_text())
    assert told["engine"] == engine
    assert len(told["trial"]["losses"]) == 24  # it ends where the run would


@pytest.mark.parametrize("engine", ENGINES)
def test_the_sweep_keeps_the_ratios_of_the_groups(engine, monkeypatch):
    inside = []
    step = torch.optim.Adam.step
    original = step.__wrapped__ if getattr(step, "hooked", False) else step

    def spy(self, closure=None):
        inside.append([group["lr"] for group in self.param_groups])
        return original(self, closure)

    monkeypatch.setattr(torch.optim.Adam, "step", spy)
    words = ["param_groups=layer_decay", "param_groups.decay=0.5", "param_groups.no_decay=false"]
    finding(*words, "lr_finder.steps=20", "lr_finder.orders=1", f"lr_finder.engine={engine}")
    assert len(inside) > 15
    top = [lrs[-1] for lrs in inside]
    assert top[-1] / top[0] > 1e4
    for lrs in inside:
        scales = [lr / lrs[-1] for lr in lrs]
        assert scales == pytest.approx([0.5**depth for depth in reversed(range(len(lrs)))], rel=1e-12)


def test_a_schedule_that_is_longer_than_the_sweep_is_no_fault(tmp_path):
    words = ["lr_finder=on", "lr_finder.steps=20", "scheduler=wsd", "scheduler.decay='24 steps'"]
    words += ["trainer.max_steps=24", f"output_root={tmp_path}", "lr_finder.orders=1"]
    assert stride.run([*SMALL, *words]).status == "finished"


def test_task_tune_stops_after_the_finding_and_prints_the_line_to_train_with(tmp_path, capsys):
    outcome = stride.run([*SMALL, "task=tune", "name=tune", f"output_root={tmp_path}"])
    assert not (outcome.folder / "checkpoints").exists()
    assert outcome.record["steps"] is None
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("to train:"))
    assert "python train.py datamodule=wine model=mlp" in line
    assert f"optimizer.lr={outcome.record['lr']['found']:.3g}" in line
    words = line.removeprefix("to train:").split()[2:]
    assert checked(words).cfg.optimizer.lr == pytest.approx(outcome.record["lr"]["found"], rel=1e-2)


def test_the_random_state_is_as_it_was():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    assert finding("lr_finder.steps=25").trial is not None
    assert torch.equal(torch.rand(3), expected)


def test_the_same_line_finds_the_same_lr_and_each_order_sees_other_batches():
    torch.manual_seed(1)
    first = finding("lr_finder.steps=25", "lr_finder.orders=2")
    torch.manual_seed(2)
    second = finding("lr_finder.steps=25", "lr_finder.orders=2")
    assert (first.curves, first.trial, first.suggestion) == (second.curves, second.trial, second.suggestion)
    assert first.curves[0].losses[0] != first.curves[1].losses[0]


@pytest.mark.parametrize(
    "wrong", [{"min_lr": 1.0, "max_lr": 0.1}, {"min_lr": 0.0}, {"steps": 0}, {"orders": 0}, {"trial": -1}]
)
def test_a_range_that_is_none_is_refused(wrong):
    with pytest.raises(ValueError, match="must hold, but got"):
        RangeTest(**{"min_lr": 1e-6, "max_lr": 10.0, "steps": 100, "orders": 2, **wrong})


def test_an_engine_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="`engine` must be one of lightning, ramp or None, but got engine='both'"):
        RangeTest(min_lr=1e-6, max_lr=10.0, steps=100, orders=2, engine="both")


def test_a_picker_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match=r"`picker` must be one of bottom, steepest, .*, but got picker='deepest'"):
        RangeTest(min_lr=1e-6, max_lr=10.0, steps=100, orders=1, picker="deepest")


def test_the_picker_that_was_typed_reads_the_curve():
    found = {name: finding(f"lr_finder.picker={name}", "lr_finder.trial=0") for name in ("bottom", "divergence")}
    assert found["bottom"].curves == found["divergence"].curves
    (curve,) = found["divergence"].curves
    assert found["divergence"].suggestion.lr == pytest.approx(curve.diverged / 10)
    assert found["bottom"].suggestion.lr != found["divergence"].suggestion.lr


def test_the_engines_measure_the_same_curve():
    words = ["lr_finder.steps=40", "lr_finder.max_lr=0.1", "lr_finder.orders=1"]
    found = {engine: finding(*words, f"lr_finder.engine={engine}") for engine in ENGINES}
    assert [(name, each.engine, each.steps) for name, each in found.items()] == [(e, e, 40) for e in ENGINES]
    lightning, ramp = (found[engine].curves[0] for engine in ENGINES)
    assert lightning.losses[0] == pytest.approx(ramp.losses[0], rel=1e-6)
    # Lightning leaves out the second rung (D9): its losses are those of slightly larger rates.
    assert list(lightning.losses) == pytest.approx(list(ramp.losses), abs=0.05)
    assert lightning.momentum == ramp.momentum == 0.9
    assert (ramp.lrs[0], ramp.lrs[-1]) == pytest.approx((1e-6, 0.1), rel=1e-12)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_sweep_is_of_the_runs_own_steps(tmp_path, precision):
    """Batches, clipping, precision: at one and the same LR both have the same losses."""
    words = [f"trainer.precision={precision}", "trainer.gradient_clip_val=0.01"]
    words += ["optimizer=sgd", "optimizer.lr=0.1"]  # clipped: else the losses would fall much faster
    flat = ["lr_finder.min_lr=0.1", "lr_finder.max_lr=0.1000001", "lr_finder.orders=1", "lr_finder.steps=20"]
    (curve,) = finding(*words, *flat).curves
    run = ["scheduler=none", "warmup=none", "trainer.log_every_n_steps=1", "logger=csv", f"output_root={tmp_path}"]
    outcome = stride.run([*SMALL, *words, *run])
    with (outcome.folder / "metrics.csv").open(newline="") as file:
        losses = [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]
    assert len(losses) == 3 * 8
    assert list(curve.losses) == pytest.approx(losses[:20], rel=1e-5)


def test_two_accumulated_batches_are_one_of_twice_the_size():
    words = ["model.norm=none", "lr_finder.engine=ramp", "lr_finder.steps=30", "lr_finder.max_lr=0.1"]
    words += ["lr_finder.trial=0"]
    counts = "datamodule.batch_size={} trainer.accumulate_grad_batches={} trainer.limit_train_batches={}"
    small = finding(*words, *counts.format(8, 2, 14).split()).curves[0]
    large = finding(*words, *counts.format(16, 1, 7).split()).curves[0]
    assert small.lrs == large.lrs
    assert list(small.losses) == pytest.approx(list(large.losses), rel=1e-4)


class Own(LitModule):
    """A module as a user would write it, without settings of its own."""

    def __init__(self, *, features, classes, objective, optimizer, schedule, param_groups, lr):
        network = MLP(features=features, classes=classes, hidden=[16], norm="none")
        parts = {"optimizer": optimizer, "schedule": schedule, "param_groups": param_groups, "lr": lr}
        super().__init__(network=network, objective=objective, **parts)
        self.told()

    def told(self):
        pass


class Constant(Own):
    def training_step(self, batch, batch_idx):
        return 2 + 0 * super().training_step(batch, batch_idx)


class Negative(Own):
    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) - 10


class NotANumber(Own):
    def training_step(self, batch, batch_idx):
        return math.nan * super().training_step(batch, batch_idx)


class Silent(Own):
    def training_step(self, batch, batch_idx):
        super().training_step(batch, batch_idx)


class Frozen(Own):
    def told(self):
        self.network.requires_grad_(False)


class Manual(Own):
    """Two optimizers, one for each half of the network, stepped by hand."""

    def told(self):
        self.automatic_optimization = False

    def configure_optimizers(self):
        parameters = list(self.network.parameters())
        return [torch.optim.SGD(half, lr=lr) for half, lr in ((parameters[:2], self.lr), (parameters[2:], 2 * self.lr))]

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        for optimizer in self.optimizers():
            optimizer.zero_grad()
        self.manual_backward(loss)
        for optimizer in self.optimizers():
            optimizer.step()
        return loss


class Groups(Own):
    def configure_optimizers(self):
        first, *rest = self.network.parameters()
        return torch.optim.SGD([{"params": [first], "lr": 0.1 * self.lr}, {"params": rest, "lr": self.lr}])


class Deaf(Own):
    """Takes no LR."""

    def __init__(self, *, features, classes, objective, optimizer, schedule, param_groups):
        super().__init__(
            features=features, classes=classes, objective=objective, optimizer=optimizer, schedule=schedule,
            param_groups=param_groups, lr=0.1,
        )  # fmt: skip


def tuned(cls, tmp_path, *words):
    """task=tune of a module of the user's own."""
    given = [*SMALL, "task=tune", "lr_finder.steps=60", "lr_finder.orders=1", f"output_root={tmp_path}"]
    line = checked([*given, *words])
    arguments = {"features": None, "classes": None}
    line.cfg.model = OmegaConf.create({"_target_": f"{cls.__module__}.{cls.__name__}", **arguments})
    return pipeline.run(line)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_constant_loss_finds_nothing_and_keeps_the_asked_lr(tmp_path, engine):
    outcome = tuned(Constant, tmp_path, f"lr_finder.engine={engine}")
    assert outcome.exit_code == 0
    assert outcome.record["lr"]["found"] is None
    assert "the loss never falls" in outcome.record["lr"]["why"]
    assert outcome.record["lr"]["why"].endswith("kept the asked LR")


@pytest.mark.parametrize("engine", ENGINES)
def test_negative_losses_find_what_positive_ones_find(tmp_path, engine):
    words = [f"lr_finder.engine={engine}"]
    negative, positive = (tuned(cls, tmp_path, *words) for cls in (Negative, Own))
    found = positive.record["lr"]["found"]
    assert found > 0.001
    assert negative.record["lr"]["found"] == pytest.approx(found, rel=0.3)  # the averages round otherwise


@pytest.mark.parametrize(
    ("engine", "more"), [("null", []), ("ramp", ["lr_finder.budget=1"])], ids=["on", "with a budget"]
)
def test_several_optimizers_stepped_by_hand_are_swept_by_the_ramp(tmp_path, engine, more):
    outcome = tuned(Manual, tmp_path, f"lr_finder.engine={engine}", *more)
    not_rehearsed = outcome.record["lr"]["why"].endswith("; not rehearsed, as the module steps its optimizers itself")
    assert not_rehearsed == bool(more)
    told = json.loads((outcome.folder / "lr_finder" / "curve.json").read_text())
    assert outcome.record["lr"]["found"] > 0.001
    assert told["engine"] == "ramp"
    assert told["trial"] is None  # to ask its step for a loss would be to step
    assert told["steps"] == len(told["curves"][0]["lrs"]) > 20


MLP_OF = ["model=mlp", "model.norm=none", "callbacks.progress=null"]
OVERFITS = [*MLP_OF, "datamodule=diabetes", "model.hidden=[64,64]", "optimizer=rmsprop"]
DOES_NOT = [*MLP_OF, "datamodule=digits", "model.hidden=[32]"]
LENGTHS = (20, 200)


def moved(plan_of, lr):
    """How far a run of RMSprop moves at that LR: its law and warm-up as task=plan would show them."""
    plan = build.plan(checked([*OVERFITS, *plan_of]).cfg, HORIZON)
    return lr * flow_time(lambda step: plan.law(step) * plan.ramp(step), HORIZON.steps, "RMSprop", {"alpha": 0.99})


def test_a_run_that_overfits_gets_an_lr_that_falls_as_it_gets_longer():
    short, long = (finding(f"trainer.max_epochs={epochs}", of=OVERFITS) for epochs in LENGTHS)
    curve, read = short.curves[0], bottom(short.curves[0]).lr
    step = sum(lr <= read for lr in curve.lrs)
    swept = read / math.sqrt(1 - 0.99**step)  # RMSprop's later steps are shorter than the sweep's
    assert 1.2 * read < swept == pytest.approx(short.trial.lr, rel=0.02)  # a step more or less, by rounding
    assert short.trial == long.trial
    assert len(short.trial.losses) == 80
    assert short.steps == 100 + 80
    assert swept / 1.2 > short.suggestion.lr > 4 * long.suggestion.lr
    assert "2000 steps come as far at" in long.suggestion.why


def test_a_run_that_does_not_overfit_keeps_what_the_sweep_said_whatever_its_length():
    short, long = (finding(f"trainer.max_epochs={epochs}", of=DOES_NOT) for epochs in LENGTHS)
    assert short.trial == long.trial
    assert len(short.trial.held_out) > 10
    assert short.suggestion == long.suggestion
    assert short.suggestion.lr == pytest.approx(bottom(short.curves[0]).lr)


def test_the_runs_own_law_and_warm_up_say_how_far_it_comes():
    plans = [
        ["scheduler=none", "warmup=none"],
        ["scheduler=cosine", "warmup=linear", "warmup.length=50%"],
        ["scheduler=one_cycle"],
    ]
    lrs = [finding("trainer.max_epochs=100", *words, of=OVERFITS).suggestion.lr for words in plans]
    far = [moved(words, lr) for words, lr in zip(plans, lrs, strict=True)]
    assert far == pytest.approx([far[0]] * 3, rel=1e-6)
    assert lrs[1] > 1.5 * lrs[0]


def test_the_trial_is_of_the_runs_own_accumulated_steps():
    words = ["lr_finder.engine=ramp", "trainer.max_epochs=20"]
    one = finding(*words, "datamodule.batch_size=32", "trainer.limit_train_batches=9", of=OVERFITS)
    words += ["trainer.accumulate_grad_batches=2", "trainer.limit_train_batches=18"]
    two = finding(*words, "datamodule.batch_size=16", of=OVERFITS)
    assert list(two.trial.losses) == pytest.approx(list(one.trial.losses), rel=1e-3)
    assert [steps for steps, _ in two.trial.held_out] == [steps for steps, _ in one.trial.held_out]
    assert two.suggestion.lr == pytest.approx(one.suggestion.lr, rel=1e-3)


@pytest.mark.parametrize("data", ["diabetes", "digits"])
def test_where_the_loss_leaps_a_third_is_tried_with_the_steps_that_are_left(monkeypatch, data):
    monkeypatch.setitem(PICKERS, "bottom", lambda curve: Suggestion(100.0, Outcome.FOUND, "far too much"))
    found = finding("optimizer=sgd", "model.hidden=[32]", f"datamodule={data}", of=MLP_OF)
    thirds = round(math.log(100 / found.trial.lr, 3))
    assert found.trial.lr == pytest.approx(100 / 3**thirds)
    assert thirds >= 3
    assert not found.trial.ran_away
    assert found.suggestion.lr < 2
    assert len(found.trial.losses) < 80
    assert found.steps == 180


def test_so_it_is_where_only_the_held_out_loss_leaps(monkeypatch):
    monkeypatch.setitem(PICKERS, "bottom", lambda curve: Suggestion(0.2, Outcome.FOUND, "a little too much"))
    found = finding("optimizer=adagrad", "model.hidden=[64,64]", "datamodule=breast_cancer", of=MLP_OF)
    assert found.trial.lr == pytest.approx(0.2 / 3)
    assert max(loss for _, loss in found.trial.held_out) < 1.0
    assert found.steps == 180


def test_the_trial_leaves_nothing_behind(scratch):
    assert finding(of=OVERFITS).trial.held_out
    assert list(scratch.iterdir()) == []


REFUSED = [
    (NotANumber, ["lr_finder.engine=lightning"], "error: lr_finder: the loss of the first batch is nan; "),
    (NotANumber, ["lr_finder.engine=ramp"], "error: lr_finder: the loss of the first batch is nan; "),
    (Silent, ["lr_finder.engine=lightning"], "error: lr_finder: the loss of the first batch is nan; training_step has"),
    (Silent, ["lr_finder.engine=ramp"], "error: lr_finder: training_step returned no loss; "),
    (Frozen, [], "error: model: none of its parameters requires a gradient; "),
    (
        Manual,
        ["lr_finder.engine=lightning"],
        "error: lr_finder.engine: lightning cannot sweep a module of manual optimization; "
        "it would leave the LR as it is; try: lr_finder.engine=ramp",
    ),
    (
        Groups,
        ["lr_finder.engine=lightning"],
        "error: lr_finder.engine: lightning cannot sweep a module with its own configure_optimizers; ",
    ),
    (Manual, ["trainer.gradient_clip_val=1"], "error: trainer: Automatic gradient clipping is not supported"),
    (
        Constant,
        ["lr_finder.required=true"],
        "error: lr_finder.required: the loss never falls; look at the data and the model",
    ),
]


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """Where temporary folders go."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.parametrize(("cls", "words", "line"), REFUSED, ids=lambda value: getattr(value, "__name__", ""))
def test_what_cannot_be_swept_is_a_line_and_leaves_nothing(tmp_path, scratch, cls, words, line):
    runs = tmp_path / "runs"
    with pytest.raises(ConfigError) as refused:
        tuned(cls, runs, *words)
    assert str(refused.value).startswith(line)
    assert "\n" not in str(refused.value)
    assert not runs.exists()
    assert list(scratch.iterdir()) == []


def test_a_module_that_takes_no_lr_is_not_tuned():
    cfg = checked([*SMALL, "lr_finder=on"]).cfg
    for cls in (Deaf, Own):
        cfg.model = OmegaConf.create({"_target_": f"{cls.__module__}.{cls.__name__}"})
        told = [str(fault) for fault in check.faults(cfg)]
        law = "nothing would read what is found; try: lr_finder=none"
        assert told == ([f"error: lr_finder: test_tune.Deaf takes no `lr`; {law}"] if cls is Deaf else [])


@pytest.mark.parametrize("engine", ENGINES)
def test_data_that_fills_no_batch_says_so(scratch, engine):
    words = ["lr_finder.steps=20", "lr_finder.orders=1", f"lr_finder.engine={engine}"]
    small = finding(*words, "datamodule.batch_size=125").suggestion
    assert (small.lr, small.outcome) == (None, Outcome.DATA_TOO_SMALL)
    assert small.why == "124 samples, datamodule.batch_size=125"
    assert finding(*words, "datamodule.batch_size=124").suggestion.outcome is not Outcome.DATA_TOO_SMALL
    assert list(scratch.iterdir()) == []


def test_a_sweep_that_finds_nothing_keeps_the_asked_lr_and_says_so(tmp_path):
    words = ["lr_finder=on", "lr_finder.steps=20", "datamodule.batch_size=125", f"output_root={tmp_path}"]
    outcome = stride.run([*SMALL, *words])
    assert outcome.exit_code == 0
    assert outcome.record["lr"]["found"] is None
    assert outcome.record["lr"]["used"] == outcome.record["lr"]["asked"]
    assert "smaller than one batch; lower datamodule.batch_size" in outcome.record["lr"]["why"]
