"""A sweep that cannot be run is refused whole; the same sweep has the same folder, however it was typed."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from stride.errors import ConfigError
from stride.sweep.plan import read

GRID = Path(__file__).resolve().parents[2] / "conf" / "sweep" / "grid.yaml"
LR = "optimizer.lr=tag(log,interval(1e-5,1e-1))"


def config(**sweep):
    return OmegaConf.create(
        {
            "name": None,
            "output_root": "runs",
            "seed": 42,
            "optimizer": {"lr": 0.001},
            "lr_finder": {},
            "objective": {"score": {"name": "val/loss", "mode": "min"}},
            "sweep": {**OmegaConf.load(GRID), **sweep},
        }
    )


RANDOM = {"sampler": "random", "trials": 8}
TPE = {"sampler": "tpe", "trials": 8, "startup": 5}


@pytest.mark.parametrize(
    ("words", "sweep", "key", "said"),
    [
        ([], {}, "-m", "nothing to sweep"),
        (["optimizer=adam"], RANDOM, "-m", "nothing to sweep"),
        ([LR], {}, "optimizer.lr", "try: sweep=random or optimizer.lr=1e-05,0.1"),
        (["seed=1,2"], {"trials": 3}, "sweep.trials", "try: sweep=random sweep.trials=3"),
        ([LR], {"sampler": "rondom", "trials": 8}, "sweep.sampler", "try: sweep.sampler=random"),
        ([LR], RANDOM | {"trials": 0}, "sweep.trials", "an integer >= 1; got 0"),
        ([LR], RANDOM | {"trials": None}, "sweep.trials", "an integer >= 1; got None"),
        ([LR], RANDOM | {"trials": 2.5}, "sweep.trials", "an integer >= 1; got 2.5"),
        ([LR], RANDOM | {"jobs": True}, "sweep.jobs", "an integer >= 1; got True"),
        ([LR], TPE | {"startup": 0}, "sweep.startup", "an integer >= 1; got 0"),
        (["name=a,b"], {}, "name", "one for the whole sweep"),
        (["output_root=a,b"], {}, "output_root", "one for the whole sweep"),
        (["sweep.jobs=1,2"], {}, "sweep.jobs", "one for the whole sweep"),
        (["task=train,tune"], {}, "task", "one for the whole sweep"),
        (["seed=1,2", "task=test"], {}, "task", "a sweep trains new ones"),
    ],
)
def test_a_sweep_that_cannot_run_is_refused_by_name(words, sweep, key, said):
    with pytest.raises(ConfigError) as refused:
        read(words, config(**sweep))
    assert [fault.where for fault in refused.value.faults] == [key]
    assert said in str(refused.value)


def test_all_that_is_wrong_is_told_at_once():
    with pytest.raises(ConfigError) as refused:
        read(["optimizer.lr=interval(0.1,0.2)", "name=a,b"], config(sampler="no", trials=0, jobs=0))
    told = [fault.where for fault in refused.value.faults]
    assert told == ["optimizer.lr", "name", "sweep.sampler", "sweep.trials", "sweep.jobs"]


@pytest.mark.parametrize(
    ("words", "sweep", "same"),
    [
        (["optimizer=adam,sgd", "optimizer.lr=1e-3,1e-2", "seed=1"], {}, True),
        (["seed=1", "optimizer.lr=0.01,0.001", "optimizer=sgd,adam"], {}, True),
        (["seed=1", "++optimizer.lr=1e-3,1e-2", "optimizer=adam,sgd", "sweep.jobs=2"], {"jobs": 2}, True),
        (["seed=2", "optimizer.lr=1e-3,1e-2", "optimizer=adam,sgd"], {}, False),
        (["seed=1", "optimizer.lr=1e-3,1e-1", "optimizer=adam,sgd"], {}, False),
        (["seed=1", "optimizer.lr=1e-3,1e-2", "optimizer=adam,sgd"], {"sampler": "random", "trials": 4}, False),
    ],
)
def test_the_folder_follows_from_what_is_run(words, sweep, same):
    first = read(["optimizer=adam,sgd", "optimizer.lr=1e-3,1e-2", "seed=1"], config())
    folder = read(words, config(**sweep)).folder
    assert (folder == first.folder) == same
    assert folder.parent.name == "runs"
    assert len(folder.name) == len("sweep-") + 8


def test_a_swept_rate_and_one_that_is_found_exclude_each_other():
    cfg = config()
    with pytest.raises(ConfigError, match=r"error: lr_finder: on, while optimizer.lr is swept.*; try: lr_finder=none"):
        read(["lr_finder=none,on", "optimizer.lr=1e-3,1e-2"], cfg)
    cfg.lr_finder = {"steps": 100}
    with pytest.raises(ConfigError, match="lr_finder=none"):
        read(["lr_finder=on", "optimizer.lr=1e-3,1e-2"], cfg)
    assert read(["lr_finder=on", "optimizer=adam,sgd"], cfg).trials == 2


def test_no_secret_of_the_line_is_written_down_and_the_trials_get_it_all_the_same():
    words = ["seed=1,2", "logger.wandb.api_key=canary", "sweep.storage=postgresql://me:canary@host/db"]
    plan = read(words, config(storage="postgresql://me:canary@host/db"))
    assert "canary" not in plan.command + plan.line({"seed": "1"}) + str(plan.settings())
    assert "sweep.storage=postgresql://me:***@host/db" in plan.command
    assert plan.words({"seed": "1"}) == ["logger.wandb.api_key=canary", "seed=1"]


def test_a_trial_is_a_line_of_its_own_without_the_words_for_the_sweep():
    words = ["model=mlp", "sweep=grid", "sweep.jobs=2", "name=a", "output_root=x", "warmup.length='5%','20 steps'"]
    plan = read(words, config(jobs=2))
    values = {"warmup.length": "'20 steps'"}
    assert plan.words(values) == ["model=mlp", "warmup.length='20 steps'"]
    assert plan.line(values) == """python train.py model=mlp 'warmup.length='"'"'20 steps'"'"''"""
    assert plan.trials == 2
