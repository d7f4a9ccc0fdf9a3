"""Is the LR that moves the weights lr x ramp x law, by formulas written here once more; and does the trace say so?"""

import csv
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from stride.doctor.quadratic.trained import train
from stride.doctor.quadratic.witness import rates
from stride.doctor.row import Row, judged

LR, STEPS, RISES = 0.05, 40, 8
EXACT = 1e-9  # of the peak


def rows(root: Path) -> Iterator[Row]:
    """Warm-up, schedule and trace of one run."""
    words = [
        *(f"optimizer.lr={LR}", "warmup=linear", f"warmup.length='{RISES} steps'"),
        *("scheduler=cosine", "scheduler.floor=0", f"trainer.max_epochs={STEPS}"),
        *(f"trainer.check_val_every_n_epoch={STEPS}", "trainer.precision=64-true"),
    ]
    yield from compared(train(root, "applied", words).folder)


def compared(folder: Path) -> Iterator[Row]:
    """The rates that moved the weights of a run against the formulas, and against the trace."""
    applied = rates(folder)
    rising = _worst(applied[:RISES], np.array([planned(step) for step in range(RISES)]))
    falling = _worst(applied[RISES:], np.array([planned(step) for step in range(RISES, STEPS)]))
    yield judged(
        "warm-up",
        f"linear, {RISES} steps; measured by the weights: off by {rising:.0e}",
        holds=rising <= EXACT,
        law=f"each step must be taken at lr (t + 1) / {RISES} x schedule, to {EXACT:g} of the peak",
        attempt="pytest tests/callbacks/test_warmup.py tests/lr/test_ramp.py",
    )
    yield judged(
        "schedule",
        f"cosine, {STEPS} steps; measured by the weights: off by {falling:.0e}",
        holds=falling <= EXACT,
        law=f"each step must be taken at lr (1 + cos(pi t / {STEPS - 1})) / 2, to {EXACT:g} of the peak",
        attempt="pytest tests/test_applied_lr.py tests/lr/test_schedule.py",
    )
    traced = _traced(folder / "lr_trace.csv")
    told = _worst(traced, applied)
    yield judged(
        "trace",
        f"{len(traced)} rows; measured by the weights: off by {told:.0e}",
        holds=told <= EXACT,
        law=f"a row for each of {STEPS} steps must hold the rate that moved the weights, to {EXACT:g} of the peak",
        attempt="pytest tests/callbacks/test_lr_trace.py",
    )


def planned(step: int) -> float:
    """lr x ramp(t) x law(t), in float64."""
    return LR * min(1.0, (step + 1) / RISES) * (1 + math.cos(math.pi * step / (STEPS - 1))) / 2


def _traced(path: Path) -> np.ndarray:
    """The LRs of the rows, which must be of steps 0, 1, 2, ...; empty where they are not."""
    with path.open(newline="", encoding="utf-8") as file:
        (_, *_), *lines = csv.reader(file)
    in_order = all(int(line[0]) == place for place, line in enumerate(lines))
    return np.array([float(line[1]) for line in lines]) if in_order else np.zeros(0)


def _worst(one: np.ndarray, other: np.ndarray) -> float:
    """The largest difference, in parts of the peak; infinite for another number of steps."""
    return float(np.abs(one - other).max() / LR) if one.shape == other.shape else math.inf
