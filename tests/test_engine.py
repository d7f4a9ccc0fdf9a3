"""Who sweeps a range test, and which lines are refused before there is any torch."""

import pytest

from stride.engine import engine_of
from stride.errors import ConfigError
from stride.pipeline import checked

LIGHTNING_CANNOT = [
    ({"accumulated": 4}, "a run that accumulates 4 batches to a step; of each step it reads the last batch alone"),
    ({"processes": 2}, "a run of 2 processes; it reads the loss of the first alone"),
    ({"manual": True}, "a module of manual optimization; it would leave the LR as it is"),
    ({"hooks": ["optimizer_step"]}, "a module with its own optimizer_step; it does not see what that does to the LR"),
]


@pytest.mark.parametrize(("run", "why"), LIGHTNING_CANNOT)
def test_what_lightning_cannot_sweep_the_ramp_does_unless_lightning_was_typed(run, why):
    run = {"accumulated": 1, "processes": 1, **run}
    assert engine_of(None, **run) == engine_of("ramp", **run) == "ramp"
    with pytest.raises(ConfigError) as refused:
        engine_of("lightning", **run)
    told = f"error: lr_finder.engine: lightning cannot sweep {why}; try: lr_finder.engine=ramp"
    assert str(refused.value) == told


def test_lightning_sweeps_what_it_can_unless_the_ramp_was_typed():
    assert engine_of(None, accumulated=1, processes=1) == "lightning"
    assert engine_of("ramp", accumulated=1, processes=1) == "ramp"


LIGHTNING = ["lr_finder.engine=lightning"]
CPUS = ["trainer=ddp", "trainer.accelerator=cpu"]
REFUSED = [
    ([*LIGHTNING, "trainer.accumulate_grad_batches=4"], "lr_finder.engine", "accumulates 4 batches to a step"),
    ([*LIGHTNING, *CPUS, "trainer.devices=2"], "lr_finder.engine", "a run of 2 processes"),
    ([*LIGHTNING, *CPUS, "trainer.devices=[0,1]", "trainer.num_nodes=2"], "lr_finder.engine", "a run of 4 processes"),
    (
        ["lr_finder.engine=rmap"],
        "lr_finder.engine",
        "no engine 'rmap'; null, lightning or ramp; try: lr_finder.engine=ramp",
    ),
    (["lr_finder.steps=0"], "lr_finder.steps", "must be an integer >= 1; got 0"),
    (["lr_finder.steps=19"], "lr_finder.steps", "a curve of fewer than 20 points is not read; got 19"),
    (
        ["lr_finder.min_lr=0.1", "lr_finder.max_lr=0.1"],
        "lr_finder.max_lr",
        "`min_lr < max_lr` must hold; got 0.1 and 0.1",
    ),
    (["lr_finder.required=maybe"], "lr_finder.required", "maybe"),
]


@pytest.mark.parametrize(
    ("words", "key", "why"), REFUSED, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_a_finder_that_cannot_work_is_refused_in_one_line(refusal, words, key, why):
    assert why in refusal(["lr_finder=on", *words], key)


@pytest.mark.parametrize(
    "words",
    [
        [*LIGHTNING, *CPUS, "trainer.devices=1"],
        ["lr_finder.engine=ramp", *CPUS, "trainer.devices=2", "trainer.accumulate_grad_batches=4"],
        ["trainer.accumulate_grad_batches=4"],
        ["lr_finder.steps=20"],
    ],
    ids=" ".join,
)
def test_a_finder_that_can_work_is_not(words):
    assert checked(["lr_finder=on", *words]).cfg.lr_finder
