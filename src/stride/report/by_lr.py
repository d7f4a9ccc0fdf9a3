"""The table that one draws by hand: learning rate, convergence speed, stability, final score."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import median
from typing import Any

from stride.report.axis import rate
from stride.report.response import Response, Tried
from stride.report.table import Row

MOST_LINES = 12  # LRs with a line each; of more, two lines a decade are made


@dataclass(frozen=True)
class Line:
    """What the runs `names` at LRs from `low` to `high` came to.

    `converged` is the median of their steps to 90 % of the drop, over those that learned and ran to their end;
    `score` is the median over those that did not diverge, None where all did; `stability` is in words.
    """

    low: float
    high: float
    converged: float | None
    stability: str
    score: float | None
    names: tuple[str, ...]

    @property
    def lr(self) -> str:
        return rate(self.low) if self.low == self.high else f"{rate(self.low)} to {rate(self.high)}"

    def cells(self) -> dict[str, Any]:
        """Title -> value."""
        return {
            "LR": self.lr,
            "steps to 90 %": self.converged,
            "stability": self.stability,
            "score": self.score,
        }


def lines(response: Response, rows: Mapping[str, Row]) -> Iterator[Line]:
    """A line for each LR of a response, ascending; for each half decade where those are too many.

    `rows` are the runs by name.
    """
    few = len(response.tried) <= MOST_LINES
    for _, together in groupby(response.tried, lambda one: one.lr if few else math.floor(2 * math.log10(one.lr))):
        tried = list(together)
        names = tuple(name for one in tried for name in one.names)
        yield _line(tried, names, [rows[name] for name in names])


def _line(tried: Sequence[Tried], names: tuple[str, ...], rows: Sequence[Row]) -> Line:
    lost = {name for one in tried if one.lost for name in one.names}
    scores = [row.score for row in rows if row.score is not None and row.status != "diverged"]
    speeds = [row.converged for row in rows if row.converged is not None and row.name not in lost]
    return Line(
        low=tried[0].lr,
        high=tried[-1].lr,
        converged=median(speeds) if speeds else None,
        stability=_stability(rows, len(lost)),
        score=median(scores) if scores else None,
        names=names,
    )


def _stability(rows: Sequence[Row], lost: int) -> str:
    """`diverged`, `learned nothing`, `steady`, `2 spikes`; of several runs, how many of them."""
    count = len(rows)
    diverged = sum(row.status == "diverged" for row in rows)
    if diverged or lost:
        number, what = (diverged, "diverged") if diverged else (lost, "learned nothing")
        return what if count == 1 else f"{number} of {count} {what}"
    spikes = [row.spikes for row in rows if row.spikes is not None]
    if not spikes:
        return "not known"
    most = max(spikes)
    words = f"{most} spike{'s' * (most > 1)}" if most else "steady"
    return words if count == 1 or not most else f"up to {words}"
