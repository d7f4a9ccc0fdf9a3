"""What a curve says about the learning rate: pickers, `Curve -> Suggestion`."""

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass

from stride.lr.curve import Curve, lag, smooth

FEWEST_POINTS = 20
SMOOTHING = 0.9


class Outcome(enum.Enum):
    """How a search ended; the value is what a person is told, and what to do next."""

    FOUND = "found"
    NEVER_DIVERGED = "the loss still falls at the largest LR; raise lr_finder.max_lr"
    TOO_NOISY = "the loss falls by less than its noise; raise datamodule.batch_size or lr_finder.steps"
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


def minimum(curve: Curve) -> Suggestion:
    """The LR at the smoothed curve's minimum, with the sweep's own lag taken off."""
    if len(curve.lrs) < FEWEST_POINTS:
        return Suggestion(None, Outcome.TOO_SHORT, f"{len(curve.lrs)} points, {FEWEST_POINTS} are needed")
    losses = smooth(curve.losses, SMOOTHING)
    lowest = min(range(len(losses)), key=losses.__getitem__)
    if lowest == len(losses) - 1:
        return Suggestion(None, Outcome.NEVER_DIVERGED, f"lowest at the last point, lr {curve.lrs[-1]:.2g}")
    start = losses[: FEWEST_POINTS // 2]
    noise = max(start) - min(start)
    if losses[0] - losses[lowest] <= noise:
        return Suggestion(None, Outcome.FLAT, f"it falls by {losses[0] - losses[lowest]:.2g}, its noise is {noise:.2g}")
    late = lag(SMOOTHING, curve.momentum)
    lr = curve.lrs[lowest] / curve.ratio**late
    why = f"lowest loss at {curve.lrs[lowest]:.2g}, less the sweep's lag of {late:.0f} steps"
    return Suggestion(lr, Outcome.FOUND, why)


def together(suggestions: Sequence[Suggestion]) -> Suggestion:
    """One suggestion from several data orders: the geometric mean of those that found something."""
    found = [suggestion for suggestion in suggestions if suggestion.lr]
    if len(found) * 2 < len(suggestions) or not found:
        return next(suggestion for suggestion in suggestions if not suggestion.lr)
    lr = math.exp(sum(math.log(suggestion.lr or 1.0) for suggestion in found) / len(found))
    return Suggestion(lr, Outcome.FOUND, "; ".join(dict.fromkeys(suggestion.why for suggestion in found)))
