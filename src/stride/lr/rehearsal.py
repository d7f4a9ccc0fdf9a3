"""Rehearsals: runs that are shorter than the run, under its whole law and warm-up, at a few rates around a suggestion.

Short runs prefer rates that are too high for a long one where it is the number of steps that makes it overfit; where
it is not, the best rate hardly moves with their number (benchmarks/lr_regret.py, 250 and 1500 steps). So what is best
in a rehearsal is brought to the run's length by its flow time if, and only if, a rehearsal overfits.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from stride.lr.suggest import Outcome, Suggestion

SPACING = 10**0.45  # from rate to rate; a plateau: between 0.4 and 0.5 decades all cells end alike
FEWEST = 3  # rates, or nothing is bracketed
ENOUGH = 5  # rates: the next rehearsals go to other data orders instead
MOST_ORDERS = 4
RISEN = 0.05  # of its fall: a held-out loss that ends so much above its lowest has risen


@dataclass(frozen=True)
class Rehearsal:
    """What a rate came to: the held-out loss at the end, over data orders; infinite where a run of it was lost.

    `overfits`: whether the held-out loss of a run rose again.
    """

    lr: float
    score: float
    overfits: bool


@dataclass(frozen=True)
class Extent:
    """How long a rehearsal is, in steps, at how many rates at most, and over how many data orders."""

    steps: int
    rates: int
    orders: int


@dataclass(frozen=True)
class Rehearsed:
    """All rehearsals, by LR, and what to multiply their best LR with, as the run is longer and they overfit."""

    extent: Extent
    rehearsals: list[Rehearsal]
    times: float


def extent(run: int, steps: int) -> Extent:
    """What `steps` steps are best spent on before a run of `run` steps: as long as it, or a third of all there is.

    At least `FEWEST` steps are needed.
    """
    length = min(run, steps // FEWEST)
    count = steps // length
    orders = min(MOST_ORDERS, max(1, count // ENOUGH))
    return Extent(length, min(ENOUGH, count // orders), orders)


def search(rehearse: Callable[[float], Rehearsal], start: float, most: int) -> list[Rehearsal]:
    """Rehearsals at most `most` rates: `start`, a lower one, on to where the best has both neighbours, then closer.

    The lower one first: of two rates that are nearly as good it is the one that does no harm to a longer run.
    """
    tried: dict[float, Rehearsal] = {}
    place: float | None = 0.0
    while place is not None and len(tried) < most:
        tried[place] = rehearse(start * SPACING**place)
        place = _next({place: rehearsal.score for place, rehearsal in tried.items()})
    return sorted(tried.values(), key=lambda rehearsal: rehearsal.lr)


def _next(scores: dict[float, float]) -> float | None:
    best = min(scores, key=scores.__getitem__)
    if not math.isfinite(scores[best]):
        return min(scores) - 1
    for place in (best - 1, best + 1):
        if place not in scores:
            return place
    near, far = sorted((best - 0.5, best + 0.5), key=lambda half: scores[best + 2 * (half - best)])
    return next((half for half in (near, far) if half not in scores), None)


def verdict(rehearsed: Rehearsed, run: int) -> Suggestion:
    """The LR for a run of `run` steps."""
    rehearsals, steps = rehearsed.rehearsals, rehearsed.extent.steps
    best = best_lr(rehearsals)
    if best is None:
        lowest = min(rehearsal.lr for rehearsal in rehearsals)
        why = f"runs of {steps} steps were lost at all of {len(rehearsals)} rates, down to {lowest:.2g}"
        return Suggestion(lowest / SPACING, Outcome.FOUND, why)
    lr = best * rehearsed.times
    why = f"of runs of {steps} steps at {len(rehearsals)} rates, the held-out loss is lowest at {best:.2g}"
    if rehearsed.times != 1:
        why += f"; they overfit, and {run} steps come as far at {lr:.2g}"
    return Suggestion(lr, Outcome.FOUND, why)


def best_lr(rehearsals: Sequence[Rehearsal]) -> float | None:
    """The LR of the lowest score, as a parabola through it and its neighbours has it. None where all were lost.

    The parabola is one of the score against log LR, through the three nearest rates. It may move the LR by as much as
    to the next rate, and not beyond what was rehearsed.
    """
    kept = sorted((each for each in rehearsals if math.isfinite(each.score)), key=lambda each: each.lr)
    if not kept:
        return None
    best = min(range(len(kept)), key=lambda k: kept[k].score)
    if len(kept) < FEWEST:
        return kept[best].lr
    middle = min(max(best, 1), len(kept) - 2)
    left, center, right = kept[middle - 1 : middle + 2]
    below, above = math.log(left.lr / center.lr), math.log(right.lr / center.lr)
    down, up = left.score - center.score, right.score - center.score
    bend = above * down - below * up
    if bend <= 0:
        return kept[best].lr
    lowest = (above**2 * down - below**2 * up) / (2 * bend)
    return center.lr * math.exp(min(max(lowest, below), above))


def rises_again(held_out: Sequence[tuple[int, float]]) -> bool:
    """Whether losses on held-out samples, by steps done, end above their lowest by more than noise."""
    if len(held_out) < FEWEST or not all(math.isfinite(loss) for _, loss in held_out):
        return False
    first, lowest = held_out[0][1], min(loss for _, loss in held_out)
    return fmean(loss for _, loss in held_out[-2:]) - lowest > RISEN * (first - lowest)
