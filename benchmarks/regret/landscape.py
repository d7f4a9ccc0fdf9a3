"""What the grid says of a cell: the loss at every rate, and the regret of one."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

import numpy as np

from regret.cells import NEAR, SPACING, rate

OFFSET = 0.01  # of the loss at the start: added to both losses of a regret, so that 0.002 is not twice 0.001

Results = Mapping[int, Mapping[int, Mapping[str, float | None]]]  # k -> seed -> a run's `start` and `end`


class Landscape:
    """The geometric mean over seeds of the validation loss, at each rate of a cell's grid.

    A run that left the numbers, or ended above its start, counts as its start. Beyond the grid's ends the loss is that
    of the end.
    """

    def __init__(self, results: Results) -> None:
        self.results = results
        self.ks = sorted(results)
        self.start = fmean(run["start"] or 0.0 for runs in results.values() for run in runs.values())
        self.offset = OFFSET * self.start
        self.heights = np.array([self.height(k, tuple(results[k])) for k in self.ks])
        self.best = self.ks[int(self.heights.argmin())]

    def height(self, k: int, seeds: Sequence[int]) -> float:
        """ln of the mean loss of these seeds, the offset included."""
        ends = [_end(self.results[k][seed]) for seed in seeds]
        return math.log(math.exp(fmean(map(math.log, ends))) + self.offset)

    def regret(self, lr: float) -> float:
        """(loss at `lr` + 1 % of the start) / (lowest loss + 1 % of the start), interpolated in log-log."""
        at = np.interp(math.log(lr), [math.log(rate(k)) for k in self.ks], self.heights)
        return math.exp(float(at) - float(self.heights.min()))

    def near(self, regret: float) -> list[int]:
        """The rates that are at most so much worse than the best, and those within half a decade of it."""
        lowest = float(self.heights.min())
        good = [math.exp(float(height) - lowest) <= regret for height in self.heights]
        return [k for k, is_good in zip(self.ks, good, strict=True) if is_good or abs(k - self.best) <= SPACING // 2]

    def noise_floor(self) -> float | None:
        """The regret of the best rate of all seeds but one, run with that one; the geometric mean over seeds.

        Of the rates that are near the best by the seeds of the whole grid: these have been given more. None where
        they do not share two seeds.
        """
        of_all = self._shared(self.ks)
        near = Landscape({k: {seed: self.results[k][seed] for seed in of_all} for k in self.ks}).near(NEAR)
        seeds = self._shared(near)
        if len(seeds) < 2:
            return None
        rises = []
        for seed in seeds:
            others = [other for other in seeds if other != seed]
            low, best = min((self.height(k, others), k) for k in near)
            rises.append(self.height(best, [seed]) - low)
        return math.exp(fmean(rises))

    def _shared(self, ks: Sequence[int]) -> list[int]:
        return sorted(set.intersection(*(set(self.results[k]) for k in ks)))


def _end(run: Mapping[str, float | None]) -> float:
    start, end = run["start"], run["end"]
    assert start is not None
    return start if end is None else min(start, end)
