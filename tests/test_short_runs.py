"""Rehearsals with real trainers: they are the run in little, and cost what they may."""

import csv
import json

import pytest

import stride
from stride import build, short_runs
from stride.callbacks.range_test import AtRates
from stride.pipeline import checked

SMALL = ["datamodule=wine", "model=mlp", "model.hidden=[8]", "callbacks.progress=null"]


@pytest.fixture
def taken(monkeypatch):
    """The LRs that each short run's steps used, as `optimizer.step` saw them, in order."""
    runs = []

    class Watched(AtRates):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            runs.append(self.lrs)

    monkeypatch.setattr(short_runs, "AtRates", Watched)
    return runs


def finding(*words, of=SMALL):
    return build.search(checked([*of, "lr_finder=thorough", *words]).cfg)


@pytest.mark.parametrize("words", [["scheduler=cosine"], ["scheduler=one_cycle", "warmup=none", "model.norm=none"]])
def test_a_rehearsal_as_long_as_the_run_is_the_run(taken, words, tmp_path):
    """The same weights to begin with, batches and LRs: so the loss at the end is that of a run at this LR."""
    words = [*words, "trainer.max_epochs=12"]
    rehearsed = finding(*words).rehearsed
    assert (rehearsed.extent.steps, rehearsed.extent.orders, rehearsed.times) == (96, 1, 1.0)
    one = rehearsed.rehearsals[1]
    line = [*SMALL, *words, f"optimizer.lr={one.lr!r}", "name=whole", f"output_root={tmp_path}", "logger=csv"]
    outcome = stride.run([*line, "callbacks.early_stopping=null", "test=false"])
    with (outcome.folder / "lr_trace.csv").open(newline="") as file:
        trace = [float(row["all"]) for row in csv.DictReader(file)]
    assert max(trace) == pytest.approx(one.lr, rel=0.01)
    assert any(lrs == pytest.approx(trace, rel=1e-6) for lrs in taken[1:])
    if "scheduler=cosine" in words:  # one-cycle moves momentum too, which a rehearsal leaves alone
        assert one.score == pytest.approx(outcome.record["last"]["val/loss"], rel=1e-4)


def test_a_shorter_one_has_the_same_law_and_warm_up_in_fewer_steps(taken):
    words = ["trainer.max_epochs=200", "scheduler=cosine", "warmup=linear", "warmup.length=10%"]
    found = finding(*words)
    steps = found.rehearsed.extent.steps
    assert (found.horizon, steps) == (1600, (1600 - 100 - len(found.trial.losses)) // 3)
    for lrs in taken[1:]:
        assert len(lrs) == steps
        lr = min((each.lr for each in found.rehearsed.rehearsals), key=lambda lr: abs(lr - max(lrs)))
        assert lrs.index(max(lrs)) == pytest.approx(0.1 * steps, abs=3)
        assert lrs[steps // 20] == pytest.approx(lr / 2, rel=0.05)
        assert lrs[steps // 2] == pytest.approx(lr / 2, rel=0.02)
        assert lrs[-1] < 1e-4 * lr


def test_all_of_it_costs_what_the_budget_says(taken):
    one = finding("trainer.max_epochs=20")
    first = len(taken)
    two = finding("trainer.max_epochs=20", "lr_finder.budget=2")
    for found, runs, budget in ((one, taken[:first], 1000), (two, taken[first:], 2000)):
        assert found.steps == 100 + sum(map(len, runs))
        assert 0.7 * budget < found.steps <= budget
    assert (one.rehearsed.extent.orders, two.rehearsed.extent.orders) == (1, 2)


def test_where_a_run_overfits_the_best_rehearsal_is_brought_to_its_length():
    of = ["datamodule=diabetes", "model=mlp", "model.norm=none", "model.hidden=[64,64]", "callbacks.progress=null"]
    found = finding("trainer.max_epochs=100", of=of)
    size = found.rehearsed.extent.steps
    assert found.horizon == 1000
    assert found.rehearsed.times == pytest.approx(size / 1000, rel=0.02)  # Adam's flow time goes by the steps
    best = min(found.rehearsed.rehearsals, key=lambda each: each.score)
    assert found.suggestion.lr == pytest.approx(best.lr * found.rehearsed.times, rel=0.6)
    assert "they overfit, and 1000 steps come as far at" in found.suggestion.why


def test_a_run_whose_length_is_not_known_is_not_rehearsed():
    words = ["trainer.max_epochs=-1", "+trainer.max_time=00:00:10:00", "scheduler=constant", "warmup=none"]
    found = finding(*words, "callbacks=checkpoint_best", of=SMALL[:-1])
    assert found.rehearsed is None
    assert found.suggestion.why.endswith("; not rehearsed, as the run's steps are not known")


def test_a_run_that_goes_on_keeps_what_was_found_and_searches_no_more(tmp_path):
    line = [*SMALL, "lr_finder=on", "name=mine", f"output_root={tmp_path}", "resume.lr=keep"]
    first = stride.run([*line, "trainer.max_epochs=2"])
    curve = (first.folder / "lr_finder" / "curve.json").read_bytes()
    second = stride.run([*line, "trainer.max_epochs=4"])
    assert second.record["steps"] == 2 * first.record["steps"]
    kept = ("found", "used", "why")
    assert [second.record["lr"][key] for key in kept] == [first.record["lr"][key] for key in kept]
    assert (first.folder / "lr_finder" / "curve.json").read_bytes() == curve
    assert json.loads(curve)["suggestion"]["lr"] == second.record["lr"]["used"]
