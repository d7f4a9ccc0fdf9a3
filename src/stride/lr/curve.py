"""The curve of a range test: loss against LR."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

LIGHTNING_SMOOTHING = 0.98


@dataclass(frozen=True)
class Curve:
    """Raw losses at exponentially growing LRs. Points after the first that is not finite are left out."""

    lrs: tuple[float, ...]
    losses: tuple[float, ...]

    @classmethod
    def of(cls, lrs: Sequence[float], losses: Sequence[float]) -> "Curve":
        """Raises ValueError if the two are not equally long."""
        pairs = list(zip(lrs, losses, strict=True))
        good = next((index for index, (_, loss) in enumerate(pairs) if not math.isfinite(loss)), len(pairs))
        return cls(tuple(lr for lr, _ in pairs[:good]), tuple(loss for _, loss in pairs[:good]))

    @property
    def ratio(self) -> float:
        """The factor between two neighbouring LRs."""
        return (self.lrs[-1] / self.lrs[0]) ** (1 / (len(self.lrs) - 1)) if len(self.lrs) > 1 else 1.0


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
