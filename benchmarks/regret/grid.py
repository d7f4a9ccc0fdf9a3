"""The grid: a run at every rate of every cell, over several seeds."""

from collections.abc import Iterator, Sequence
from typing import Any

from regret.cells import MORE_SEEDS, NEAR, OPTIMIZERS, SEEDS, Cell, cells, rate
from regret.jobs import Job
from regret.landscape import Landscape
from regret.store import Store


def asked(cell: Cell, k: int, seed: int) -> dict[str, Any]:
    """All that decides a run of the grid."""
    return {"words": cell.words, "steps": cell.steps, "quarter_decade": k, "seed": seed}


def jobs(store: Store, horizons: Sequence[int]) -> Iterator[Job]:
    """One seed after the other, so that a part of it says something of every cell; then more seeds."""
    for seed in SEEDS:
        for cell in cells(tuple(horizons)):
            for k in _ks(cell):
                yield _job(cell, k, seed)
    for seed in MORE_SEEDS:
        for cell in cells(tuple(horizons)):
            found = landscape(store, cell, SEEDS)
            for k in found.near(NEAR) if found else ():
                yield _job(cell, k, seed)


def landscape(store: Store, cell: Cell, seeds: Sequence[int] = (*SEEDS, *MORE_SEEDS)) -> Landscape | None:
    """What the grid says of a cell; None where a rate has not been run at all."""
    found: dict[int, dict[int, Any]] = {}
    for k in _ks(cell):
        told = {seed: store.get(asked(cell, k, seed)) for seed in seeds}
        found[k] = {seed: run for seed, run in told.items() if run is not None}
        if not found[k]:
            return None
    return Landscape(found)


def _ks(cell: Cell) -> range:
    first, last = OPTIMIZERS[cell.optimizer]
    return range(first, last + 1)


def _job(cell: Cell, k: int, seed: int) -> Job:
    label = {"optimizer": cell.optimizer, "quarter_decade": k, "seed": seed}
    return Job(asked(cell, k, seed), f"{cell.task}-{cell.steps}", label, _train, (cell, k, seed))


def _train(cell: Cell, k: int, seed: int) -> dict[str, Any]:
    from regret import training

    return training.run(tuple(cell.words), steps=cell.steps, lr=rate(k), seed=seed)
