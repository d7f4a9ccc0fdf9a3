"""A study that several drivers share: exact numbers, trials that were left are taken once, and by their own values."""

import math
import threading
import time
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest
from omegaconf import OmegaConf

from stride.errors import ConfigError
from stride.sweep import study, worker
from stride.sweep.plan import read
from stride.sweep.study import Study
from stride.sweep.trials import Result

GRID = Path(__file__).resolve().parents[2] / "conf" / "sweep" / "grid.yaml"
LR = "optimizer.lr=tag(log,interval(1e-5,1e-1))"


@pytest.fixture
def plan(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "SETTLED", 0.1)

    def make(*words, mode="min", **sweep):
        cfg = {
            "name": "mine",
            "output_root": str(tmp_path),
            "seed": 42,
            "optimizer": {"lr": 0.001},
            "objective": {"score": {"name": "val/loss", "mode": mode}},
            "sweep": {**OmegaConf.load(GRID), **sweep},
        }
        return read(words, OmegaConf.create(cfg))

    return make


@pytest.fixture
def as_driver(monkeypatch):
    """`as_driver(name, plan)` is the study as the driver of that name sees it; a name with `dead` in it is gone."""
    here = "here"
    monkeypatch.setattr(worker, "is_gone", lambda name: None if name.startswith("far") else "dead" in name)

    def join(name, plan):
        monkeypatch.setattr(worker, "me", lambda: name or here)
        return Study(plan)

    return join


def finish(study, told):
    study.tell(told.number, Result("finished", float(told.values["optimizer.lr"])))


def test_drivers_at_once_take_each_number_once_and_no_more_than_were_asked_for(plan, as_driver):
    line = plan(LR, sampler="random", trials=20)
    taken, drivers = [], [as_driver(f"driver {index}", line) for index in range(4)]

    def work(driver):
        while (told := driver.take()) is not None:
            taken.append(told.number)
            finish(driver, told)

    threads = [threading.Thread(target=work, args=(driver,)) for driver in drivers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(20))
    assert [trial.result.status for trial in drivers[0].told()] == ["finished"] * 20


@pytest.mark.parametrize("sampler", ["grid", "random", "quasi", "tpe", "cmaes"])
def test_a_trial_whose_driver_died_is_taken_with_the_same_number_and_values(plan, as_driver, sampler):
    words = ["optimizer.lr=1e-4,1e-3,1e-2,1e-1"] if sampler == "grid" else [LR, "model.dropout=interval(0,0.5)"]
    line = plan(*words, sampler=sampler, trials=None if sampler == "grid" else 8, startup=2)
    first = as_driver("dead driver", line)
    for _ in range(3):
        finish(first, first.take())
    left = first.take()
    second = as_driver("living driver", line)
    again = second.take()
    assert (again.number, again.values) == (left.number, left.values)
    assert (left.attempt, again.attempt, again.worker) == (1, 2, "living driver")
    assert not first.is_mine(left.number)
    assert second.is_mine(left.number)
    assert len({tuple(trial.values.items()) for trial in second.told()}) == 4


def test_a_trial_that_its_driver_had_no_time_to_give_values_gets_those_of_its_number(plan, as_driver, monkeypatch):
    monkeypatch.setattr(study, "BORN", 0.2)
    line = plan(LR, sampler="random", trials=1)
    expected = as_driver("one", replace(line, name="other")).take().values
    as_driver("two", line).study.ask()
    third = as_driver("three", line)
    assert third.take() is None  # the second may be about to write its name
    time.sleep(0.3)
    told = third.take()
    assert (told.number, told.values, told.attempt) == (0, expected, 1)


def test_of_drivers_that_take_a_left_trial_at_once_one_has_it(plan, as_driver):
    line = plan(LR, sampler="random", trials=1)
    as_driver("dead driver", line).take()
    drivers, took = [as_driver(f"driver {index}", line) for index in range(4)], []
    threads = [threading.Thread(target=lambda one=one: took.append(one.take())) for one in drivers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [told.number for told in took if told is not None] == [0]
    assert sum(one.is_mine(0) for one in drivers) == 1


def test_a_driver_of_another_machine_is_given_up_after_a_lease_without_a_beat(plan, as_driver):
    line = plan(LR, sampler="random", trials=1, lease=1)
    far = as_driver("far away", line)
    far.take()
    near = as_driver("near", line)
    until = time.monotonic() + 1.5
    while time.monotonic() < until:  # longer than a lease, with beats
        far.beat()
        assert near.take() is None
        time.sleep(0.1)
    began = time.monotonic()
    while near.take() is None:
        time.sleep(0.05)
    assert 0.9 < time.monotonic() - began < 3
    assert not far.is_mine(0)


def test_the_stages_of_two_sweeps_are_studies_of_their_own_in_one_database(plan, as_driver, tmp_path):
    url = f"sqlite:///{tmp_path}/studies.db"
    one, two = (replace(plan(LR, sampler="random", trials=4, storage=url, confirm=2), name=name) for name in ("a", "b"))
    stages = [one, two, *(line.to_confirm([{"optimizer.lr": rate}]) for line, rate in ((one, "0.1"), (two, "0.2")))]
    taken = [as_driver("driver", line).take().values["optimizer.lr"] for line in stages]
    assert taken[2:] == ["0.1", "0.2"]
    assert [line.study for line in stages] == ["a", "b", "a/confirm", "b/confirm"]


def test_a_released_trial_is_taken_at_once(plan, as_driver):
    line = plan(LR, sampler="random", trials=1)
    first = as_driver("one", line)
    first.take()
    second = as_driver("two", line)
    assert second.take() is None
    first.release(0)
    assert second.take().number == 0


def test_a_name_with_another_space_is_refused_with_the_difference_and_more_trials_are_welcome(plan, as_driver):
    as_driver("one", plan(LR, sampler="random", trials=4))
    with pytest.raises(ConfigError) as refused:
        as_driver("one", plan("optimizer.lr=tag(log,interval(1e-5,1))", "seed=7", sampler="random", trials=4))
    assert "fixed.seed None -> 7" in str(refused.value)
    assert "space.optimizer.lr tag(log,interval(1e-05,0.1)) -> tag(log,interval(1e-05,1))" in str(refused.value)
    assert str(refused.value).endswith("try: name=mine-2")
    assert as_driver("one", plan(LR, sampler="random", trials=8)).take().number == 0


@pytest.mark.parametrize("sampler", ["tpe", "cmaes", pytest.param("gp", marks=pytest.mark.slow)])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_choosing_sampler_comes_closer_to_the_best_than_chance(plan, as_driver, sampler, mode):
    """On (log10 lr + 2.7)^2 + (dropout - 0.2)^2, resumed by another driver before every trial."""
    line = plan(LR, "model.dropout=interval(0,1)", sampler=sampler, trials=30, startup=6, mode=mode)
    scores = []
    for number in range(30):
        driver = as_driver(f"driver {number}", line)
        told = driver.take()
        lr, dropout = float(told.values["optimizer.lr"]), float(told.values["model.dropout"])
        scores.append((math.log10(lr) + 2.7) ** 2 + 4 * (dropout - 0.2) ** 2)
        driver.tell(told.number, Result("finished", scores[-1] if mode == "min" else -scores[-1]))
    by_chance = (4**2 / 12 + 0.3**2) + 4 * (1 / 12 + 0.3**2)  # the mean of independent points
    assert fmean(scores[15:]) < 0.8 * by_chance
    assert min(scores[6:]) < min(scores[:6])
