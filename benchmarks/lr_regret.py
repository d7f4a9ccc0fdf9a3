"""How much worse does a run end at a finder's LR than at the best LR of a grid?

    python benchmarks/lr_regret.py                    prints what the committed results say of each cell
    python benchmarks/lr_regret.py --minutes 60       first trains what the grid still lacks, and stops in time

A cell is a task, an optimizer and a number of steps, with warm-up 5 % and cosine (regret/cells.py). Its grid has four
rates a decade and three seeds. Each run is a line of results/lr_regret/grid, under a key made of all that decides it:
a run which is there is never made again. All of it is some three hours on two cores.
"""

import argparse
import math
import multiprocessing
import os
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

from regret.cells import HORIZONS, MORE_SEEDS, NEAR, OPTIMIZERS, SEEDS, Cell, cells, rate
from regret.landscape import Landscape
from regret.store import Store

RESULTS = Path(__file__).parent / "results" / "lr_regret"

Run = tuple[Cell, int, int]  # cell, k, seed


def asked(cell: Cell, k: int, seed: int) -> dict[str, Any]:
    """All that decides a run of the grid."""
    return {"words": cell.words, "steps": cell.steps, "quarter_decade": k, "seed": seed}


def train(run: Run) -> tuple[Run, dict[str, Any]]:
    """One run of the grid, in a process that does nothing else."""
    import torch
    from regret import training

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    cell, k, seed = run
    return run, training.run(tuple(cell.words), steps=cell.steps, lr=rate(k), seed=seed)


def runs(store: Store, horizons: Sequence[int]) -> Iterator[Run]:
    """The grid, one seed after the other, so that a part of it says something of every cell; then more seeds."""
    for seed in SEEDS:
        for cell in cells(tuple(horizons)):
            first, last = OPTIMIZERS[cell.optimizer]
            for k in range(first, last + 1):
                yield cell, k, seed
    for seed in MORE_SEEDS:
        for cell in cells(tuple(horizons)):
            found = landscape(store, cell, SEEDS)
            for k in found.near(NEAR) if found else ():
                yield cell, k, seed


def fill(store: Store, horizons: Sequence[int], minutes: float, jobs: int) -> None:
    """Train what is lacking until the time is up; what has begun is waited for."""
    until = time.monotonic() + 60 * minutes
    lacking = (run for run in runs(store, horizons) if store.get(asked(*run)) is None)
    waiting: set[Future] = set()
    os.environ["OMP_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        while True:
            while len(waiting) < 2 * jobs and time.monotonic() < until and (run := next(lacking, None)):
                waiting.add(pool.submit(train, run))
            if not waiting:
                return
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                run, told = future.result()
                cell, k, seed = run
                label = {"optimizer": cell.optimizer, "quarter_decade": k, "seed": seed}
                store.put(f"{cell.task}-{cell.steps}", asked(*run), {**label, **told})


def landscape(store: Store, cell: Cell, seeds: Sequence[int] = (*SEEDS, *MORE_SEEDS)) -> Landscape | None:
    """What the grid says of a cell; None where a rate has not been run at all."""
    first, last = OPTIMIZERS[cell.optimizer]
    found: dict[int, dict[int, Any]] = {}
    for k in range(first, last + 1):
        told = {seed: store.get(asked(cell, k, seed)) for seed in seeds}
        found[k] = {seed: run for seed, run in told.items() if run is not None}
        if not found[k]:
            return None
    return Landscape(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--horizons", type=int, nargs="+", default=list(HORIZONS))
    given = parser.parse_args()
    store = Store(RESULTS / "grid")
    if given.minutes:
        fill(store, given.horizons, given.minutes, given.jobs)
    widths = {"steps": 6, "seeds": 6, "best LR": 10, "loss": 8, "start": 7, "noise": 7, "0.001": 7}
    print(f"{'task':<18}{'optimizer':<10}" + "".join(f"{title:>{width}}" for title, width in widths.items()))
    for cell in cells(tuple(given.horizons)):
        found = landscape(store, cell)
        if found is None:
            print(f"{cell.task:<18}{cell.optimizer:<10}{cell.steps:>6}  the grid is not complete")
            continue
        seeds = min(len(each) for each in found.results.values())
        lowest = math.exp(float(found.heights.min())) - found.offset
        noise = f"{found.noise_floor():.2f}" if seeds > 1 else "-"
        at_end = "" if found.ks[0] < found.best < found.ks[-1] else "  at the grid's end"
        print(
            f"{cell.task:<18}{cell.optimizer:<10}{cell.steps:>6}{seeds:>6}{rate(found.best):>10.1e}{lowest:>8.3f}"
            f"{found.start:>7.2f}{noise:>7}{found.regret(1e-3):>7.2f}{at_end}"
        )


if __name__ == "__main__":
    main()
