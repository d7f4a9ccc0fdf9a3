"""The table: how each finder's regret is spread over cells and seeds, and what it costs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median

import numpy as np

from regret.cells import Cell
from regret.landscape import Landscape
from regret.rows import Answer, Row, asked_lr

GOOD = 1.1  # regret
LOOKS = 21  # at an interval, from end to end in equal ratios
NOISE_FLOOR = "noise floor"


@dataclass(frozen=True)
class Draw:
    """One answer of a finder: its regret, what it cost, whether it gave an LR and whether its interval has a good one.

    Without an answer the regret is that of the asked LR.
    """

    cell: Cell
    regret: float
    steps: int = 0
    answered: bool = True
    covers: bool = False


@dataclass(frozen=True)
class Spread:
    """All draws of a finder; each counts once. The cells in `lacking` have not all of theirs yet."""

    name: str
    kind: str
    draws: Sequence[Draw]
    lacking: Sequence[Cell] = ()
    has_interval: bool = False

    def of(self, cells: Sequence[Cell]) -> "Spread":
        """What falls to these cells."""
        draws = [draw for draw in self.draws if draw.cell in cells]
        return replace(self, draws=draws, lacking=[cell for cell in self.lacking if cell in cells])

    @property
    def cells(self) -> int:
        return len({draw.cell for draw in self.draws})

    @property
    def steps(self) -> float:
        """The mean number of gradient steps."""
        return fmean(draw.steps for draw in self.draws)

    @property
    def mean(self) -> float:
        """The geometric mean of the regrets."""
        return math.exp(fmean(map(math.log, self.regrets)))

    @property
    def p90(self) -> float:
        """The 90th percentile of the regrets, interpolated."""
        return float(np.quantile(self.regrets, 0.9))

    @property
    def regrets(self) -> list[float]:
        return [draw.regret for draw in self.draws]

    @property
    def worst(self) -> Draw:
        return max(self.draws, key=lambda draw: draw.regret)


def spreads(rows: Sequence[Row], landscapes: Mapping[Cell, Landscape | None]) -> list[Spread]:
    """Of every finder, and of the noise floor, whose draws are cells."""
    found = []
    for row in rows:
        by_cell = {cell: draws(row, cell, landscape) for cell, landscape in landscapes.items()}
        lacking = [cell for cell, each in by_cell.items() if len(each) < len(row.seeds)]
        drawn = [draw for each in by_cell.values() for draw in each]
        found.append(Spread(row.name, row.kind, drawn, lacking, row.has_interval))
    floors = {cell: landscape and landscape.noise_floor() for cell, landscape in landscapes.items()}
    noise = [Draw(cell, floor) for cell, floor in floors.items() if floor]
    return [*found, Spread(NOISE_FLOOR, "noise", noise, [cell for cell, floor in floors.items() if not floor])]


def draws(row: Row, cell: Cell, landscape: Landscape | None) -> list[Draw]:
    """One for each seed that the finder has answered; none where the grid cannot tell what they are worth."""
    if landscape is None:
        return []
    answers = [row.ask(cell, seed) for seed in row.seeds]
    return [_draw(answer, cell, landscape) for answer in answers if answer]


def _draw(answer: Answer, cell: Cell, landscape: Landscape) -> Draw:
    regret = landscape.regret(asked_lr(cell) if answer.lr is None else answer.lr)
    covers = answer.interval is not None and has_a_good_lr(answer.interval, landscape)
    return Draw(cell, regret, answer.steps, answer.lr is not None, covers)


def has_a_good_lr(interval: tuple[float, float], landscape: Landscape) -> bool:
    return any(landscape.regret(lr) <= GOOD for lr in np.geomspace(*interval, LOOKS).tolist())


# The head and the width of each column, and what stands in it.
COLUMNS = (
    ("cells", 6, lambda told: f"{told.cells}"),
    ("draws", 6, lambda told: f"{len(told.draws)}"),
    ("steps", 6, lambda told: f"{told.steps:.0f}"),
    ("mean", 7, lambda told: f"{told.mean:.3f}"),
    ("median", 7, lambda told: f"{median(told.regrets):.3f}"),
    ("p90", 7, lambda told: f"{told.p90:.3f}"),
    ("none", 6, lambda told: f"{fmean(not draw.answered for draw in told.draws):.0%}"),
    ("good", 6, lambda told: f"{fmean(regret <= GOOD for regret in told.regrets):.0%}"),
    ("interval", 9, lambda told: f"{fmean(draw.covers for draw in told.draws):.0%}" if told.has_interval else "-"),
    ("worst", 7, lambda told: f"{told.worst.regret:.2f}"),
)
LEGEND = f"""\
Regret: (loss at the finder's LR + 1 % of the starting loss) / (the same at the grid's best rate). A draw is a cell
and a seed of the finder; each counts once. steps: gradient steps of the search, a mean. mean: geometric. none: no LR
was given, and the regret is that of the optimizer's default in conf/. good: the regret is at most {GOOD}. interval: the
90 % interval has a good LR in it."""


def lines(found: Sequence[Spread]) -> list[str]:
    """The table, its head first."""
    head = f"{'finder':<31}" + "".join(f"{title:>{width}}" for title, width, _ in COLUMNS) + "  at"
    return [head, *map(_line, found)]


def _line(told: Spread) -> str:
    lacking = f"  ({len(told.lacking)} cells lack draws)" if told.lacking else ""
    if not told.draws:
        return f"{told.name:<31}{lacking}"
    values = "".join(f"{show(told):>{width}}" for _, width, show in COLUMNS)
    return f"{told.name:<31}{values}  {told.worst.cell}{lacking}"
