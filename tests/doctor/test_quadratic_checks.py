"""Each numeric check finds nothing where nothing is wrong, and the defect that it is there for."""

import csv
import functools
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from stride import tune
from stride.callbacks.guard import Guard
from stride.callbacks.step_seed import StepSeed
from stride.callbacks.stop import Stop
from stride.callbacks.warmup import Warmup
from stride.datamodules.in_memory import InMemory
from stride.doctor.quadratic import accelerator, applied, finder, guard, limit, resumed
from stride.doctor.quadratic.loss import quadratic
from stride.doctor.row import Mark
from stride.lr import bounds, schedule
from stride.module import LitModule


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    """Runs without a defect: the one of warm-up, schedule and trace, and the one of the guard."""
    with pytest.MonkeyPatch.context() as patch:
        runs = []
        patch.setattr(applied, "compared", lambda folder: runs.append(folder) or ())
        patch.setattr(guard, "ended", runs.append)
        list(applied.rows(tmp_path_factory.mktemp("runs")))
        list(guard.rows(tmp_path_factory.mktemp("runs")))
    return runs


def test_nothing_is_wrong_where_nothing_is(tmp_path, healthy):
    folder, diverged = healthy
    rows = [*limit.rows(tmp_path), *finder.rows(tmp_path), *resumed.rows(tmp_path)]
    rows += [*applied.compared(folder), guard.ended(diverged)]
    assert [row for row in rows if row.mark is not Mark.OK] == []
    names = ["limit", "stability", "finder", "resume", "warm-up", "schedule", "trace", "guard"]
    assert [row.name for row in rows] == names


def wrong(rows):
    """The names of the rows that are wrong, each with its cause and a command."""
    found = [row for row in rows if row.mark is Mark.WRONG]
    assert all(row.cause and row.attempt for row in found)
    return [row.name for row in found]


def test_a_sharpness_that_is_measured_wrong_by_a_thousandth_is_found(tmp_path, monkeypatch):
    plain = bounds.sharpness

    def off(loss, optimizer, **options):
        found = plain(loss, optimizer, **options)
        return replace(found, value=found.value * 1.001)

    monkeypatch.setattr(bounds, "sharpness", off)
    assert wrong([limit._measured(tmp_path, quadratic())]) == ["limit"]


def test_steps_that_are_a_thousandth_too_short_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr(limit, "MOMENTA", (0.9,))
    plain = LitModule.configure_optimizers

    def shorter(self):
        self.lr *= 0.999
        return plain(self)

    monkeypatch.setattr(LitModule, "configure_optimizers", shorter)
    assert wrong([limit._descended(tmp_path, quadratic())]) == ["stability"]


def test_weights_that_are_no_numbers_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr(limit, "train", lambda *_: SimpleNamespace(folder=tmp_path))
    monkeypatch.setattr(limit, "weights", lambda _: np.full((limit.STEPS + 1, 8), np.nan))
    assert wrong([limit._descended(tmp_path, quadratic())]) == ["stability"]


@pytest.mark.parametrize("times", [3.0, pytest.param(0.1, marks=pytest.mark.slow)])
def test_a_finder_that_is_off_is_found(tmp_path, monkeypatch, times):
    plain = tune.RangeTest.__call__

    def off(self, *args, **options):
        finding = plain(self, *args, **options)
        return replace(finding, suggestion=replace(finding.suggestion, lr=times * finding.suggestion.lr))

    monkeypatch.setattr(tune.RangeTest, "__call__", off)
    assert wrong(finder.rows(tmp_path)) == ["finder"]


def test_a_schedule_that_is_a_thousandth_too_high_is_found(tmp_path, monkeypatch):
    @functools.wraps(plain := schedule.cosine)
    def higher(**arguments):
        law = plain(**arguments)
        return lambda step: 1.001 * law(step) if step >= applied.RISES else law(step)

    monkeypatch.setattr(schedule, "cosine", higher)
    assert wrong(applied.rows(tmp_path)) == ["schedule"]


def test_a_warm_up_that_does_nothing_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(Warmup, "on_train_start", lambda *_: None)
    assert wrong(applied.rows(tmp_path)) == ["warm-up"]


def test_a_rate_that_is_changed_behind_the_plan_is_found(tmp_path, monkeypatch):
    plain = torch.optim.SGD.step

    def step(self, closure=None):
        self.param_groups[0]["lr"] *= 1.001
        return plain(self, closure)

    monkeypatch.setattr(torch.optim.SGD, "step", step)
    with pytest.raises(RuntimeError, match="has left its plan"):
        list(applied.rows(tmp_path))


@pytest.mark.parametrize("defect", ["altered", "missing", "of another step"])
def test_a_trace_with_a_wrong_row_is_found(tmp_path, healthy, defect):
    folder = shutil.copytree(healthy[0], tmp_path / "run")
    rows = list(csv.reader((folder / "lr_trace.csv").read_text().splitlines()))
    if defect == "missing":
        del rows[7]
    elif defect == "of another step":
        rows[7][0] = "5"
    else:
        rows[7][1] = repr(float(rows[7][1]) * (1 + 1e-6))
    (folder / "lr_trace.csv").write_text("".join(",".join(row) + "\n" for row in rows))
    assert wrong(applied.compared(folder)) == ["trace"]


def test_a_guard_that_is_switched_off_is_found(tmp_path, monkeypatch):
    for hook in ("on_before_optimizer_step", "on_train_batch_end", "on_validation_end"):
        monkeypatch.setattr(Guard, hook, lambda *_: None)
    assert wrong(guard.rows(tmp_path)) == ["guard"]


def test_a_checkpoint_that_is_not_finite_is_found(tmp_path, healthy):
    run = replace(healthy[1], folder=shutil.copytree(healthy[1].folder, tmp_path / "run"))
    best = run.folder / "checkpoints" / "best.ckpt"
    saved = torch.load(best, weights_only=True)
    saved["state_dict"]["network.1.weight"][0, 3] = float("nan")
    torch.save(saved, best)
    assert wrong([guard.ended(run)]) == ["guard"]


@pytest.mark.parametrize("changed", [{"exit_code": 1}, {"record": {"status": "finished"}}])
def test_another_end_of_a_run_beyond_the_limit_is_found(healthy, changed):
    assert wrong([guard.ended(replace(healthy[1], **changed))]) == ["guard"]


def without_momentum(monkeypatch):
    plain = torch.optim.Optimizer.load_state_dict

    def load(self, state):
        plain(self, state)
        self.state.clear()

    monkeypatch.setattr(torch.optim.Optimizer, "load_state_dict", load)


def without_random_numbers(monkeypatch):
    monkeypatch.setattr(StepSeed, "_reseed", lambda *_: None)


def without_the_place_in_the_epoch(monkeypatch):
    monkeypatch.setattr(InMemory, "load_state_dict", lambda *_: None)


def without_a_stop(monkeypatch):
    monkeypatch.setattr(Stop, "_look", lambda *_, **__: None)


@pytest.mark.parametrize(
    "defect",
    [
        without_momentum,
        without_random_numbers,
        pytest.param(without_the_place_in_the_epoch, marks=pytest.mark.slow),
        pytest.param(without_a_stop, marks=pytest.mark.slow),
    ],
)
def test_a_resume_that_loses_something_is_found(tmp_path, monkeypatch, defect):
    defect(monkeypatch)
    assert wrong(resumed.rows(tmp_path)) == ["resume"]


def test_another_device_is_held_against_the_cpu(tmp_path, monkeypatch):
    assert accelerator.compared(tmp_path / "good", "cpu").mark is Mark.OK
    plain = accelerator.weights
    monkeypatch.setattr(accelerator, "weights", lambda folder: plain(folder) * (1 + 1e-3 * (folder.name == "on-it")))
    assert accelerator.compared(tmp_path / "bad", "cpu").mark is Mark.WRONG
