"""The curve of a range test: loss against LR, and where it ran away."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

LIGHTNING_SMOOTHING = 0.98
STOP_SMOOTHING = 0.9  # of the average that a runaway is seen in
NOISES = 3.0  # the least rise that counts, in standard deviations of a loss,
LEAST_RISE = 0.01  # and in parts of the first average: losses without noise have their rounding
FEWEST = 10  # losses before the first judgement: of fewer, noise alone is now and then taken for a runaway


@dataclass(frozen=True)
class Curve:
    """The raw loss at each of exponentially growing LRs.

    Args:
        lrs: base LRs, as the optimizer used them.
        losses: raw and finite, one for each LR.
        diverged: the LR at which the loss ran away or left the numbers; None where it did neither.
        momentum: how much of the last step the next one keeps: SGD's momentum, Adam's beta1, else 0.
    """

    lrs: tuple[float, ...]
    losses: tuple[float, ...]
    diverged: float | None = None
    momentum: float = 0.0

    @classmethod
    def of(cls, lrs: Sequence[float], losses: Sequence[float], momentum: float = 0.0) -> "Curve":
        """The part of a sweep up to where it ran away, that point's LR kept as `diverged`.

        A loss that is not finite is left out; one that ran away is the last of the curve. Raises ValueError if the
        two are not equally long.
        """
        runaway = Runaway()
        for count, (lr, loss) in enumerate(zip(lrs, losses, strict=True)):
            if runaway.update(loss):
                end = count + math.isfinite(loss)
                return cls(tuple(lrs[:end]), tuple(losses[:end]), lr, momentum)
        return cls(tuple(lrs), tuple(losses), None, momentum)

    @property
    def ratio(self) -> float:
        """The factor between two neighbouring LRs."""
        return (self.lrs[-1] / self.lrs[0]) ** (1 / (len(self.lrs) - 1)) if len(self.lrs) > 1 else 1.0


class Runaway:
    """Says, loss by loss, when a sweep is over: the loss is not finite, or its average has risen by all it fell.

    The rise is measured from the lowest average, and against max(fall from the first average, 3 sigma, 1 % of the
    first average), sigma being the noise of a loss: so it is the same rule for losses below 0, or far above it, where
    a multiple of the lowest loss (Lightning stops at 4, fastai too) means nothing.
    """

    def __init__(self) -> None:
        self._losses: list[float] = []
        self._average = 0.0
        self._first = self._lowest = math.nan

    def update(self, loss: float) -> bool:
        """Take the next loss in. True where the sweep is to stop."""
        if not math.isfinite(loss):
            return True
        self._losses.append(loss)
        self._average = STOP_SMOOTHING * self._average + (1 - STOP_SMOOTHING) * loss
        average = self._average / (1 - STOP_SMOOTHING ** len(self._losses))
        if len(self._losses) < FEWEST:
            return False
        if math.isnan(self._first):
            self._first = self._lowest = average
        self._lowest = min(self._lowest, average)
        least = max(NOISES * noise(self._losses), LEAST_RISE * abs(self._first))
        return average - self._lowest > max(self._first - self._lowest, least)


def noise(losses: Sequence[float]) -> float:
    """The standard deviation of a loss around its trend, from second differences, which a slope leaves no mark on.

    The median of them, so that a few jumps do not count: sigma = 1.4826 median |l[i-1] - 2 l[i] + l[i+1]| / sqrt(6).
    0 where there are fewer than three.
    """
    bends = [abs(a - 2 * b + c) for a, b, c in zip(losses, losses[1:], losses[2:], strict=False)]
    return 1.4826 * median(bends) / math.sqrt(6) if bends else 0.0


def unbias(smoothed: Sequence[float], beta: float = LIGHTNING_SMOOTHING) -> list[float]:
    """The raw losses behind the running average that Lightning's finder reports."""
    # Lightning divides by 1 - beta**(k + 2) at the k-th loss (k from 0), one power too many, which halves the
    # first loss; its own averages let us undo that exactly.
    averages = [value * (1 - beta ** (index + 2)) for index, value in enumerate(smoothed)]
    return [(now - beta * before) / (1 - beta) for before, now in zip([0.0, *averages], averages, strict=False)]


def smooth(losses: Sequence[float], beta: float = 0.9) -> list[float]:
    """Exponential moving average divided by 1 - beta**n, so that it does not start near zero."""
    average, smoothed = 0.0, []
    for count, loss in enumerate(losses, start=1):
        average = beta * average + (1 - beta) * loss
        smoothed.append(average / (1 - beta**count))
    return smoothed


def lag(beta: float, momentum: float) -> float:
    """Steps by which a sweep reports too late: half of what the average and the momentum look back together.

    An average with `beta` looks back beta / (1 - beta) steps, momentum likewise; meanwhile the LR grows by the
    sweep's ratio at each step, so the LR that a feature is seen at is ratio**lag times the one that caused it.
    """
    return (beta / (1 - beta) + momentum / (1 - momentum)) / 2
