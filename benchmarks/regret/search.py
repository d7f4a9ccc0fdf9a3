"""Search by whole runs, at the cost of lr_finder=thorough: what Optuna's samplers find in so many steps.

A trial needs no training: its loss is read from the grid, from the runs of one seed, between two rates of the grid by
interpolation in log-log. The range searched is the cell's own grid, which is a kindness: it has the best LR inside it.

Optuna's TPE begins with ten random trials, and the cost of lr_finder=thorough pays for four at most: so far it is a
random search, with other random numbers.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from regret import grid
from regret.cells import Cell, rate
from regret.landscape import Landscape
from regret.store import Store, key

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

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
    made = getattr(optuna.samplers, sampler)(seed=drawn({"cell": str(cell), "seed": seed, "sampler": sampler}))
    return min(tried(made, seen, trials(cell)), key=seen.regret)


def drawn(decided_by: Mapping[str, Any]) -> int:
    """A sampler's seed that is like no other's."""
    return int(key(decided_by)[:8], 16)


def tried(sampler: "BaseSampler", seen: Landscape, runs: int) -> list[float]:
    """The LRs of so many trials over the whole grid, in turn, where each has the loss of `seen`."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study, lrs = optuna.create_study(sampler=sampler), []
    for _ in range(runs):
        trial = study.ask()
        lrs.append(trial.suggest_float("lr", rate(seen.ks[0]), rate(seen.ks[-1]), log=True))
        study.tell(trial, seen.regret(lrs[-1]))
    return lrs
