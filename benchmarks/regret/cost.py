"""What a search by whole runs costs until the LR that it would give is good, counted in whole runs."""

import bisect
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import NamedTuple

from regret import tried
from regret.cells import Cell, rate
from regret.landscape import Landscape
from regret.store import Store
from regret.table import GOOD
from regret.tried import RUNS, SEARCHES, Draw, Search

BUDGET = 6  # whole runs


@dataclass(frozen=True)
class Course:
    """A search of one cell: after each of its runs what it has cost, and the regret of the LR that it would give then.

    That LR is the one of its lowest loss so far; a cost is in whole runs, the finder's steps among them.
    """

    cell: Cell
    costs: Sequence[float]
    regrets: Sequence[float]

    @property
    def until_good(self) -> float:
        """The cost when that LR is good for the first time; infinite if it never is."""
        good = (cost for cost, regret in zip(self.costs, self.regrets, strict=True) if regret <= GOOD)
        return next(good, math.inf)

    @property
    def at_budget(self) -> float:
        """The regret of the LR that it gives when the next run would cost more than BUDGET."""
        return self.regrets[bisect.bisect_right(self.costs, BUDGET) - 1]


def course(cell: Cell, lrs: Sequence[float], steps: int, seen: Landscape, whole: Landscape) -> Course:
    """The course of the runs at `lrs` after `steps` gradient steps of the finder.

    The search sees the losses of `seen`; what it gives is judged by `whole`.
    """
    costs = [(steps + runs * cell.steps) / cell.steps for runs in range(1, len(lrs) + 1)]
    given = itertools.accumulate(lrs, lambda best, lr: min(best, lr, key=seen.regret))
    return Course(cell, costs, [whole.regret(lr) for lr in given])


@dataclass(frozen=True)
class Searched:
    """All courses of a search, and the cell of each draw that is still to be made."""

    name: str
    courses: Sequence[Course]
    lacking: Sequence[Cell] = ()

    def of(self, cells: Sequence[Cell]) -> "Searched":
        """What falls to these cells."""
        courses = [course for course in self.courses if course.cell in cells]
        return replace(self, courses=courses, lacking=[cell for cell in self.lacking if cell in cells])

    @property
    def costs(self) -> list[float]:
        return [course.until_good for course in self.courses]

    @property
    def regrets(self) -> list[float]:
        return [course.at_budget for course in self.courses]

    @property
    def worst(self) -> Course:
        """The one that is good last; of several that never are, the one whose LR at the budget is worst."""
        return max(self.courses, key=lambda course: (course.until_good, course.at_budget))


class Judged(NamedTuple):
    """A draw, what a search of it sees, and what its LRs are judged by."""

    draw: Draw
    seen: Landscape
    whole: Landscape


def judged(runs: Store, answers: Store, landscapes: Mapping[Cell, Landscape | None]) -> Iterator[Judged]:
    """All draws whose grid is complete."""
    for cell, whole in landscapes.items():
        for draw in tried.draws(answers, cell):
            seen = tried.seen(runs, draw)
            if whole is not None and seen is not None:
                yield Judged(draw, seen, whole)


def searched(draws: Sequence[Judged], kept: Store) -> list[Searched]:
    """What every search came to; `kept` has the LRs that they tried."""
    return [_searched(search, draws, kept) for search in SEARCHES]


def _searched(search: Search, draws: Sequence[Judged], kept: Store) -> Searched:
    courses, lacking = [], []
    for draw, seen, whole in draws:
        told = kept.get(search.job(draw, seen).asked)
        if told is None:
            lacking.append(draw.cell)
        else:
            courses.append(course(draw.cell, told["lrs"], draw.steps if search.finds else 0, seen, whole))
    return Searched(search.name, courses, lacking)


def ceiling(draws: Sequence[Judged]) -> str:
    """What the whole grid comes to, by the seed that a search sees."""
    share = fmean(whole.regret(rate(seen.best)) <= GOOD for _, seen, whole in draws)
    return f"All {len(draws[0].seen.ks)} rates of the grid, by the runs of one seed: {share:.0%} good."


# The head and the width of each column, and what stands in it.
COLUMNS = (
    ("draws", 6, lambda told: f"{len(told.courses)}"),
    (f"within {BUDGET}", 10, lambda told: f"{fmean(cost <= BUDGET for cost in told.costs):.0%}"),
    ("median", 8, lambda told: _runs(_quantile(told.costs, 0.5))),
    ("p90", 8, lambda told: _runs(_quantile(told.costs, 0.9))),
    ("worst", 8, lambda told: _runs(max(told.costs))),
    ("good", 7, lambda told: f"{fmean(regret <= GOOD for regret in told.regrets):.0%}"),
    ("mean", 7, lambda told: f"{math.exp(fmean(map(math.log, told.regrets))):.3f}"),
    ("p90", 7, lambda told: f"{_quantile(told.regrets, 0.9):.3f}"),
    ("worst", 7, lambda told: f"{max(told.regrets):.2f}"),
)
LEGEND = f"""\
Left: the cost in whole runs, the finder's steps among them, until the LR of the lowest loss so far has a regret of
at most {GOOD}: the share of draws within {BUDGET}, the median, the 90th percentile, the worst. Right: that LR's regret
when {BUDGET} are spent: the share that is good, the geometric mean, the 90th percentile, the worst. A draw is a cell
and a seed of the finder. A search sees the runs of one seed; the seeds together judge it."""


def lines(found: Sequence[Searched]) -> list[str]:
    """The table, its head first."""
    head = f"{'search':<31}" + "".join(f"{title:>{width}}" for title, width, _ in COLUMNS) + "  longest at"
    return [head, *map(_line, found)]


def _line(told: Searched) -> str:
    lacking = f"  ({len(told.lacking)} draws are lacking)" if told.lacking else ""
    if not told.courses:
        return f"{told.name:<31}{lacking}"
    values = "".join(f"{show(told):>{width}}" for _, width, show in COLUMNS)
    return f"{told.name:<31}{values}  {told.worst.cell}{lacking}"


def _quantile(values: Sequence[float], share: float) -> float:
    """The least of the values that so large a share of them does not exceed."""
    return sorted(values)[math.ceil(share * len(values)) - 1]


def _runs(cost: float) -> str:
    return f"> {RUNS}" if math.isinf(cost) else f"{cost:.2f}"
