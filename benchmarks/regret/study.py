"""What `python train.py -m sweep=bayes` tries on a cell: Stride's own study, told what each run would end at."""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

from stride.cli import sweep_line
from stride.sweep import plan
from stride.sweep.plan import Plan
from stride.sweep.space import AroundFound, Interval
from stride.sweep.study import Study
from stride.sweep.trials import Result

LR = "optimizer.lr"


def around_found(lr: float) -> Plan:
    """The plan of `sweep=bayes sweep.lr_range=finder` where the finder has found `lr`."""
    typed = _typed("sweep=bayes", "sweep.lr_range=finder")
    around = typed.space[LR]
    assert isinstance(around, AroundFound)
    return replace(typed, space={LR: replace(around, rates={around.combination({}): lr})})


def between(low: float, high: float) -> Plan:
    """The plan of `sweep=bayes` over the learning rates from `low` to `high`."""
    return replace(_typed("sweep=bayes"), space={LR: Interval(low, high, log=True)})


@cache
def _typed(*words: str) -> Plan:
    line = sweep_line(list(words))
    return plan.read(line.overrides, line.cfg)


def tried(searched: Plan, loss: Callable[[float], float]) -> list[float]:
    """The learning rates of all its trials, in turn, where a run at one ends at its `loss`."""
    lrs = []
    with tempfile.TemporaryDirectory() as folder:
        study = Study(replace(searched, root=Path(folder)))
        while (trial := study.take()) is not None:
            lrs.append(float(trial.values[LR]))
            study.tell(trial.number, Result("finished", loss(lrs[-1])))
    return lrs
