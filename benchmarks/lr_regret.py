"""How much worse does a run end at a finder's LR than at the best LR of a grid?

    python benchmarks/lr_regret.py                    prints what the committed results say of each cell and finder
    python benchmarks/lr_regret.py --write            the same into results/lr_regret.txt, and draws lr_regret.png
    python benchmarks/lr_regret.py --minutes 60       first makes what is still lacking, and stops in time
    python benchmarks/lr_regret.py --search           the same three of searches by whole runs: what sweep=bayes costs
                                                      around the finder's LR, beside Optuna (results/lr_search.txt)

A cell is a task, an optimizer and a number of steps, with warm-up 5 % and cosine (regret/cells.py). Its grid has four
rates a decade and three seeds, and five more seeds near the best. Each run is a line of results/lr_regret/grid, and
what a finder says of a cell is a line of results/lr_regret/found, under a key made of all that decides it: what is
there is never made again. All of it is some five hours of one core. What a search tries is a line of
results/lr_regret/tried: its runs end as those of the grid, so all of it is a minute.
"""

import argparse
import datetime
import math
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from regret import cost, found, grid, table, tried
from regret.cells import HORIZONS, Cell, cells, rate
from regret.jobs import fill
from regret.landscape import Landscape
from regret.rows import rows
from regret.store import Store

RESULTS = Path(__file__).parent / "results"


def of_cells(landscapes: Mapping[Cell, Landscape | None]) -> list[str]:
    """What the grid says of each cell, its head first."""
    widths = {"steps": 6, "seeds": 6, "best LR": 10, "loss": 8, "start": 7, "noise": 7, "0.001": 7}
    head = f"{'task':<18}{'optimizer':<10}" + "".join(f"{title:>{width}}" for title, width in widths.items())
    return [head, *(_of_cell(cell, landscape) for cell, landscape in landscapes.items())]


def _of_cell(cell: Cell, landscape: Landscape | None) -> str:
    name = f"{cell.task:<18}{cell.optimizer:<10}{cell.steps:>6}"
    if landscape is None:
        return f"{name}  the grid is not complete"
    seeds = min(len(each) for each in landscape.results.values())
    lowest = math.exp(float(landscape.heights.min())) - landscape.offset
    floor = landscape.noise_floor()
    noise = "-" if floor is None else f"{floor:.2f}"
    at_end = "" if landscape.ks[0] < landscape.best < landscape.ks[-1] else "  at the grid's end"
    told = f"{seeds:>6}{rate(landscape.best):>10.1e}{lowest:>8.3f}{landscape.start:>7.2f}"
    return f"{name}{told}{noise:>7}{landscape.regret(1e-3):>7.2f}{at_end}"


def of_machine(flags: str) -> list[str]:
    """The command, and where, with what and when it printed."""
    machine = f"{os.cpu_count()} CPU cores, {platform.machine()}, Python {platform.python_version()}"
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "pytorch-lightning", "optuna"))
    return [f"# python benchmarks/lr_regret.py {flags}   ({machine}, {datetime.date.today()})", versions]


def of_finders(told: Sequence[table.Spread], horizons: Sequence[int]) -> list[str]:
    """The table of all cells, and of each horizon alone."""
    return _of_each(horizons, lambda alone: table.lines([spread.of(alone) for spread in told]))


def of_searches(told: Sequence[cost.Searched], horizons: Sequence[int]) -> list[str]:
    """The same of searches by whole runs."""
    return _of_each(horizons, lambda alone: cost.lines([each.of(alone) for each in told]))


def _of_each(horizons: Sequence[int], lines: Callable[[Sequence[Cell]], list[str]]) -> list[str]:
    told_lines = ["", "all cells", *lines(list(cells(tuple(horizons))))]
    for steps in horizons if len(horizons) > 1 else ():
        told_lines += ["", f"{steps} steps", *lines(list(cells((steps,))))]
    return told_lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--horizons", type=int, nargs="+", default=list(HORIZONS))
    parser.add_argument("--finders-only", action="store_true", help="leave the grid as it is")
    parser.add_argument("--search", action="store_true", help="searches by whole runs instead of finders")
    parser.add_argument("--write", action="store_true", help="lr_regret.txt and lr_regret.png, or lr_search.txt")
    given = parser.parse_args()
    runs, answers = Store(RESULTS / "lr_regret" / "grid"), Store(RESULTS / "lr_regret" / "found")
    until = time.monotonic() + 60 * given.minutes
    if given.search:
        _search(given, runs, answers, until)
        return
    if given.minutes and not given.finders_only:
        fill(runs, grid.jobs(runs, given.horizons), until=until, processes=given.jobs)
    if given.minutes:
        fill(answers, found.jobs(given.horizons), until=until, processes=given.jobs)

    landscapes = {cell: grid.landscape(runs, cell) for cell in cells(tuple(given.horizons))}
    told = table.spreads(rows(runs, answers), landscapes)
    text = "\n".join([*of_cells(landscapes), "", table.LEGEND, *of_finders(told, given.horizons)])
    print(text)
    if given.write:
        from regret.picture import draw

        _write("lr_regret.txt", "--write", text)
        draw(told, RESULTS / "lr_regret.png")


def _search(given: argparse.Namespace, runs: Store, answers: Store, until: float) -> None:
    kept = Store(RESULTS / "lr_regret" / "tried")
    if given.minutes:
        fill(kept, tried.jobs(runs, answers, given.horizons), until=until, processes=given.jobs)
    landscapes = {cell: grid.landscape(runs, cell) for cell in cells(tuple(given.horizons))}
    draws = list(cost.judged(runs, answers, landscapes))
    told = [cost.LEGEND, *of_searches(cost.searched(draws, kept), given.horizons)]
    text = "\n".join([*told, "", cost.ceiling(draws)] if draws else told)
    print(text)
    if given.write:
        _write("lr_search.txt", "--search --write", text)


def _write(name: str, flags: str, text: str) -> None:
    """A file of results, the command and the machine above it."""
    (RESULTS / name).write_text("\n".join([*of_machine(flags), "", text, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
