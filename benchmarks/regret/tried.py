"""What searches by whole runs try on the cells: the jobs whose results are the lines of results/lr_regret/tried.

A draw is a cell and a seed of the finder. A run needs no training, as in search.py: it ends where the grid's runs of
one seed do, a seed for each of the finder's. Stride's own searches go through its
study; the wide range is the grid's.

A key holds the settings of a search and what the finder found, but not the search's code: who changes that removes
its file.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any

from regret import found, grid, search, study
from regret.cells import FINDER_SEEDS, SEEDS, Cell, cells, rate
from regret.jobs import Job
from regret.landscape import Landscape
from regret.store import Store
from stride.sweep.plan import Plan

RUNS = 20  # what sweep=bayes has by itself
RUN_SEEDS = dict(zip(FINDER_SEEDS, SEEDS, strict=True))


@dataclass(frozen=True)
class Draw:
    """A cell where the finder has found an LR with this seed, in so many gradient steps."""

    cell: Cell
    seed: int
    lr: float
    steps: int

    @property
    def sampler_seed(self) -> int:
        """The same for every search: two that begin with random runs begin with the same ones."""
        return search.drawn({"cell": str(self.cell), "seed": self.seed})


@dataclass(frozen=True)
class Search:
    """One way to search a cell.

    Args:
        finds: begin with the finder, and search around its LR; else the grid's range.
        sampler: Optuna's, with `settings`; None: Stride's own study, as conf/ has it.
    """

    name: str
    file: str
    finds: bool = False
    sampler: str | None = None
    settings: Mapping[str, int] = field(default_factory=dict)

    def job(self, draw: Draw, seen: Landscape) -> Job:
        """Its runs, where they end as in `seen`."""
        asked = {"words": draw.cell.words, "seed": draw.seed, "runs": RUNS, **self._asked(draw, seen)}
        label = {"cell": str(draw.cell), "seed": draw.seed}
        return Job(asked, self.file, label, _tried, (self, draw, seen))

    def _asked(self, draw: Draw, seen: Landscape) -> dict[str, Any]:
        if self.sampler is None:
            return {**self.plan(draw, seen).settings(), "found": draw.lr if self.finds else None}
        return {"optuna": version("optuna"), "sampler": self.sampler, **self.settings}

    def plan(self, draw: Draw, seen: Landscape) -> Plan:
        """Stride's."""
        ends = rate(seen.ks[0]), rate(seen.ks[-1])
        searched = study.around_found(draw.lr) if self.finds else study.between(*ends)
        return replace(searched, trials=RUNS, seed=draw.sampler_seed)


FOUND = Search("Stride, around what is found", "our-found", finds=True)
SEARCHES = (
    FOUND,
    Search("Stride, wide range", "our-wide"),
    Search("Optuna TPE", "optuna-tpe", sampler="TPESampler"),
    Search("Optuna TPE, 5 random first", "optuna-tpe-5", sampler="TPESampler", settings={"n_startup_trials": 5}),
    Search("random search", "random", sampler="RandomSampler"),
)


def draws(answers: Store, cell: Cell) -> Iterator[Draw]:
    """One for each seed with which `lr_finder=on` gave an LR."""
    for seed in FINDER_SEEDS:
        told = answers.get(found.DEFAULT.job(cell, seed).asked)
        if told is not None and told["lr"] is not None:
            yield Draw(cell, seed, told["lr"], told["gradient_steps"])


def seen(runs: Store, draw: Draw) -> Landscape | None:
    """What a search of this draw gets to see: the grid's runs of one seed; None where these are lacking."""
    return grid.landscape(runs, draw.cell, (RUN_SEEDS[draw.seed],))


def jobs(runs: Store, answers: Store, horizons: Sequence[int]) -> Iterator[Job]:
    """All of them, Stride's first."""
    for each in SEARCHES:
        for cell in cells(tuple(horizons)):
            for draw in draws(answers, cell):
                if (of_one_seed := seen(runs, draw)) is not None:
                    yield each.job(draw, of_one_seed)


def _tried(each: Search, draw: Draw, of_one_seed: Landscape) -> dict[str, Any]:
    if each.sampler is None:
        lrs = study.tried(each.plan(draw, of_one_seed), of_one_seed.regret)
    else:
        import optuna

        sampler = getattr(optuna.samplers, each.sampler)(seed=draw.sampler_seed, **each.settings)
        lrs = search.tried(sampler, of_one_seed, RUNS)
    return {"lrs": [float(f"{lr:.4g}") for lr in lrs]}
