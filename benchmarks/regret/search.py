"""Search by whole runs, at the cost of lr_finder=thorough: what Optuna's samplers find in so many steps.

A trial needs no training: its loss is read from the grid, from the runs of one seed, between two rates of the grid by
interpolation in log-log. The range searched is the cell's own grid, which is a kindness: it has the best LR inside it.

Optuna's TPE begins with ten random trials, and the cost of lr_finder=thorough pays for four at most: so far it is a
random search, with other random numbers.
"""

from collections.abc import Callable
from typing import Any

from regret import grid
from regret.cells import Cell, rate
from regret.store import Store, key

COST = 1000  # gradient steps, or one whole run where that is longer
SAMPLERS = {"Optuna TPE": "TPESampler", "random search": "RandomSampler"}


def trials(cell: Cell) -> int:
    """How many whole runs the cost pays for."""
    return max(COST, cell.steps) // cell.steps


def best(store: Store, cell: Cell, seed: int, sampler: str) -> float | None:
    """The LR of the best trial, where each has the loss of the grid's runs of `seed`; None where these are lacking."""
    import optuna

    seen = grid.landscape(store, cell, (seed,))
    if seen is None:
        return None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    drawn = int(key({"cell": str(cell), "seed": seed, "sampler": sampler})[:8], 16)
    study = optuna.create_study(sampler=getattr(optuna.samplers, sampler)(seed=drawn))
    study.optimize(_objective(seen.regret, rate(seen.ks[0]), rate(seen.ks[-1])), n_trials=trials(cell))
    return study.best_params["lr"]


def _objective(regret: Callable[[float], float], low: float, high: float) -> Callable[[Any], float]:
    return lambda trial: regret(trial.suggest_float("lr", low, high, log=True))
