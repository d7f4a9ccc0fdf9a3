"""What a curve says about the learning rate: pickers, `Curve -> Suggestion`."""

import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from stride.lr.curve import Curve, lag, smooth
from stride.lr.flow_time import late
from stride.lr.trend import DEVIATIONS, Trend, Weights

FEWEST_POINTS = 20
SMOOTHING = 0.9
REACHED = 0.95  # of the whole fall
LOOKED_BACK = 0.7  # of the momentum's mean age
# On targets that are pure noise a network's loss falls too, for good: its first outputs are worth less than none, and
# few samples are learned by heart. That was at most 0.07 of where it began, by 10 standard deviations at most.
SMALL = 0.1  # of where it begins
BEYOND_DOUBT = 12.0  # standard deviations
VISIBLE = 0.05  # of the whole fall: less is not yet a fall
INTERVAL = 1.2  # decades
ROUNDING = 2**-20  # of the largest loss, 8 roundings of a 32-bit float: less is no fall


class Outcome(enum.Enum):
    """How a search ended; the value is what a person is told, and what to do next."""

    FOUND = "found"
    NEVER_DIVERGED = "the loss still falls at the largest LR; raise lr_finder.max_lr"
    TOO_NOISY = "the loss hardly falls, or by less than its noise; try lr_finder=thorough, or raise lr_finder.steps"
    TOO_SHORT = "the sweep has too few points to read; raise lr_finder.steps, or lower lr_finder.min_lr"
    FLAT = "the loss never falls; look at the data and the model, or widen lr_finder.min_lr and lr_finder.max_lr"
    DATA_TOO_SMALL = "the training data is smaller than one batch; lower datamodule.batch_size"


@dataclass(frozen=True)
class Suggestion:
    """A learning rate, or None, and why; with the ends of its 90 % interval where there is one."""

    lr: float | None
    outcome: Outcome
    why: str
    low: float | None = None
    high: float | None = None


def read(curve: Curve, *, turned: bool = True) -> Trend | Suggestion:
    """The trend of a curve that falls, and if `turned` is asked rises again; of any other curve, why it says nothing.

    Every picker begins here, so that all refuse for the same reasons.
    """
    points = len(curve.lrs)
    if points < FEWEST_POINTS:
        return Suggestion(None, Outcome.TOO_SHORT, f"{points} points, {FEWEST_POINTS} are needed")
    trend = Trend.of(curve)
    lowest = trend.level_weights[trend.lowest]
    fall, deviation = trend.above(trend.beginning, lowest)
    if fall <= ROUNDING * max(map(abs, trend.losses)):
        return Suggestion(None, Outcome.FLAT, f"it is nowhere below {trend.sum(trend.beginning):.2g}, where it begins")
    if fall <= DEVIATIONS * deviation:
        why = f"it falls by {fall:.2g}, with a standard deviation of {deviation:.2g}"
        return Suggestion(None, Outcome.TOO_NOISY, why)
    start = abs(trend.sum(trend.beginning))
    if fall < SMALL * start and fall <= BEYOND_DOUBT * deviation:
        why = f"it falls by {fall:.2g} from {start:.2g}, as it does where there is nothing to learn"
        return Suggestion(None, Outcome.TOO_NOISY, why)
    if turned and not has_turned(curve, trend, lowest, trend.level_weights[-1]):
        why = f"at the last LR, {curve.lrs[-1]:.2g}, it is not surely above its lowest"
        return Suggestion(None, Outcome.NEVER_DIVERGED, why)
    return trend


def has_turned(curve: Curve, trend: Trend, lowest: Weights, last: Weights) -> bool:
    """Whether the trend's lowest level, or slope, is surely below the last one. A curve that diverged has turned."""
    return curve.diverged is not None or trend.surely_above(last, lowest)


def steepest(curve: Curve) -> Suggestion:
    """The LR at which the loss falls most for each decade of LR, on its way to the lowest.

    Beyond that losses jump up and down, steeper than they ever fell. The trend needs neighbours on both sides.
    """
    trend = read(curve, turned=False)
    if isinstance(trend, Suggestion):
        return trend
    slopes = trend.slopes
    point = min((point for point in trend.inner if point <= trend.lowest), key=slopes.__getitem__)
    if point == trend.inner[0]:
        return Suggestion(None, Outcome.TOO_SHORT, f"the loss falls most steeply at the first LR, {curve.lrs[0]:.2g}")
    if not has_turned(curve, trend, trend.slope_weights[point], trend.slope_weights[trend.inner[-1]]):
        why = f"at the last LR, {curve.lrs[-1]:.2g}, it may fall as steeply as anywhere"
        return Suggestion(None, Outcome.NEVER_DIVERGED, why)
    return Suggestion(curve.lrs[point], Outcome.FOUND, f"the steepest fall per decade, at {curve.lrs[point]:.2g}")


def valley(curve: Curve) -> Suggestion:
    """The middle of the longest fall, in log LR: fastai's rule, of a trend instead of a causal average.

    The fall is the longest falling subsequence, laid down without gaps to the left of its end. What is less than
    a twentieth of the whole fall below the beginning does not count: else a sweep that begins further left, or a
    noisier one, would give a smaller LR.
    """
    trend = read(curve)
    if isinstance(trend, Suggestion):
        return trend
    levels, beginning = trend.levels, trend.sum(trend.beginning)
    visible = beginning - VISIBLE * (beginning - levels[trend.lowest])
    below = [point for point, level in enumerate(levels) if level < visible]
    lengths: dict[int, int] = {}
    for point in below:
        lengths[point] = 1 + max((lengths[k] for k in lengths if levels[k] > levels[point]), default=0)
    end = max(below, key=lengths.__getitem__)
    lr = curve.lrs[end] / curve.ratio ** ((lengths[end] - 1) / 2)
    return Suggestion(lr, Outcome.FOUND, f"the middle of the longest fall, which ends at {curve.lrs[end]:.2g}")


def slide(curve: Curve) -> Suggestion:
    """The left end of an interval of 1.2 decades, slid leftwards until its two ends fall equally steeply.

    fastai's rule, whose interval is 15 of its 12.5 points a decade. There the ends are equal if their slopes differ by
    less than 0.005 a point, whatever the loss is measured in; here, where the difference changes its sign. There the
    right end sets out from the last LR; here from the lowest loss, beyond which losses jump up and down.
    """
    trend = read(curve)
    if isinstance(trend, Suggestion):
        return trend
    slopes, width = trend.slopes, round(INTERVAL / math.log10(curve.ratio))
    for left in range(trend.lowest - width, -1, -1):
        if slopes[left + width] <= slopes[left]:
            lr = curve.lrs[left]
            return Suggestion(lr, Outcome.FOUND, f"the slope is the same at {lr:.2g} and {INTERVAL} decades above")
    why = f"the loss falls most steeply below {curve.lrs[0] * 10**INTERVAL:.2g}, {INTERVAL} decades above the first LR"
    return Suggestion(None, Outcome.TOO_SHORT, why)


def minimum(curve: Curve) -> Suggestion:
    """The LR at the smoothed curve's minimum, with the sweep's own lag taken off."""
    trend = read(curve)
    if isinstance(trend, Suggestion):
        return trend
    losses = smooth(curve.losses, SMOOTHING)
    lowest = min(range(len(trend.beginning), len(losses)), key=losses.__getitem__)
    late = lag(SMOOTHING, curve.momentum)
    lr = curve.lrs[lowest] / curve.ratio**late
    why = f"lowest loss at {curve.lrs[lowest]:.2g}, less the sweep's lag of {late:.0f} steps"
    return Suggestion(lr, Outcome.FOUND, why)


def bottom(curve: Curve) -> Suggestion:
    """The LR at which 95 % of the fall is done, less a part of what the optimizer's momentum looks back.

    The step at a sweep's n-th LR moves by the gradients of the last momentum / (1 - momentum) steps, at lower LRs: so
    what it does to the loss shows up that late, while the LR races on. Both numbers were chosen by
    benchmarks/lr_regret.py, on its cells that do not overfit.
    """
    trend = read(curve)
    if isinstance(trend, Suggestion):
        return trend
    levels, beginning = trend.levels, trend.sum(trend.beginning)
    deep = beginning - REACHED * (beginning - levels[trend.lowest])
    point = trend.lowest
    while levels[point - 1] <= deep:
        point -= 1
    late = LOOKED_BACK * curve.momentum / (1 - curve.momentum)
    lr = curve.lrs[point] / curve.ratio**late
    because = f", less the {late:.0f} steps that momentum looks back" if late else ""
    return Suggestion(lr, Outcome.FOUND, f"the loss comes to its lowest at {curve.lrs[point]:.2g}{because}")


def divergence(curve: Curve) -> Suggestion:
    """A tenth of the LR at which the loss ran away."""
    trend = read(curve, turned=False)
    if isinstance(trend, Suggestion):
        return trend
    if curve.diverged is None:
        return Suggestion(None, Outcome.NEVER_DIVERGED, f"it did not run away up to {curve.lrs[-1]:.2g}")
    return Suggestion(curve.diverged / 10, Outcome.FOUND, f"a tenth of {curve.diverged:.2g}, where the loss ran away")


PICKERS = {picker.__name__: picker for picker in (bottom, steepest, valley, slide, minimum, divergence)}


def together(suggestions: Sequence[Suggestion]) -> Suggestion:
    """One suggestion from several data orders: the geometric mean of those that found something."""
    found = [suggestion for suggestion in suggestions if suggestion.lr]
    if len(found) * 2 < len(suggestions) or not found:
        return next(suggestion for suggestion in suggestions if not suggestion.lr)
    lr = math.exp(sum(math.log(suggestion.lr or 1.0) for suggestion in found) / len(found))
    return Suggestion(lr, Outcome.FOUND, "; ".join(dict.fromkeys(suggestion.why for suggestion in found)))


def in_late_steps(suggestion: Suggestion, curve: Curve, optimizer: str, options: Mapping[str, Any]) -> Suggestion:
    """The suggestion of a sweep's curve as an LR for steps later than the sweep's (`late`)."""
    if suggestion.lr is None:
        return suggestion
    step = sum(lr <= suggestion.lr for lr in curve.lrs)
    lr = late(suggestion.lr, max(1, step), optimizer, options)
    if lr == suggestion.lr:
        return suggestion
    why = f"{suggestion.why}; {lr / suggestion.lr:.2g} times that, as later steps of {optimizer} are shorter"
    return replace(suggestion, lr=lr, why=why)
