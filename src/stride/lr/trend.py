"""The trend of a curve against log LR, and how far it can be believed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from stride.lr.curve import Curve, noise

HALF_WIDTH = 0.5  # of the smoother, in decades of LR,
LARGEST_SHARE = 1 / 8  # and in parts of the sweep, of which it is to leave something
FEWEST_NEIGHBOURS = 2.5  # and in points
BEGINNING = 0.2  # the part of the sweep whose mean the loss is said to fall from
LAGS = 3  # points over which noise may hang together
# Of a weighted sum of losses that is believed, in its standard deviations. 3 is not enough: of pure noise, the
# lowest of a dozen places that know nothing of one another lies near 2 by itself, often enough beyond 3.
DEVIATIONS = 3.5

Weights = Mapping[int, float]  # of losses, by their index


@dataclass(frozen=True)
class Trend:
    """A line through each point's neighbours: its level and its slope there, as weighted sums of the losses.

    Args:
        losses: those of the curve, none above the highest in its first fifth: how far a loss ran away says nothing
            about where it was lowest.
        level_weights, slope_weights: by point. The slope is per point.
        beginning: the weights of the mean over the first fifth.
        lowest: the point at which the trend is lowest, after the first fifth.
        inner: the points that have all of their neighbours on both sides.
        sigma: the standard deviation that independent losses would have, were their sums to scatter as these do.
    """

    losses: tuple[float, ...]
    level_weights: tuple[Weights, ...]
    slope_weights: tuple[Weights, ...]
    beginning: Weights
    lowest: int
    inner: range
    sigma: float

    @classmethod
    def of(cls, curve: Curve) -> "Trend":
        """A local linear regression with tricube weights (Cleveland 1979), half a decade to each side for the levels.

        The curve's losses must be finite, its LRs grow by one ratio, and there must be a dozen or more.
        """
        points = len(curve.losses)
        first = math.ceil(BEGINNING * points)
        highest = max(curve.losses[:first])
        losses = tuple(min(loss, highest) for loss in curve.losses)
        half_width = min(HALF_WIDTH / math.log10(curve.ratio), LARGEST_SHARE * points)
        half_width = max(half_width, FEWEST_NEIGHBOURS)
        levels, _ = _lines(points, half_width)
        # The variance of a level falls with the width, that of a slope with its cube: a slope needs the wider line.
        _, slopes = _lines(points, 2 * half_width)
        lowest = min(range(first, points), key=lambda point: _sum(levels[point], losses))
        # Wider than the trend: a trend follows noise that hangs together, and leaves too little of it.
        wide, _ = _lines(points, 3 * half_width)
        sigma = max(noise(curve.losses), _scatter(losses, wide, until=max(lowest + 1, 2 * first)))
        beginning = dict.fromkeys(range(first), 1 / first)
        inner = range(math.ceil(half_width), points - math.ceil(half_width))
        return cls(losses, levels, slopes, beginning, lowest, inner, sigma)

    @property
    def levels(self) -> list[float]:
        """The loss of the trend at each point."""
        return [self.sum(weights) for weights in self.level_weights]

    @property
    def slopes(self) -> list[float]:
        """What the trend rises by from point to point."""
        return [self.sum(weights) for weights in self.slope_weights]

    def sum(self, weights: Weights) -> float:
        """The losses' weighted sum."""
        return _sum(weights, self.losses)

    def above(self, one: Weights, other: Weights) -> tuple[float, float]:
        """How far one weighted sum is above another, and the standard deviation of that."""
        weights = {point: one.get(point, 0.0) - other.get(point, 0.0) for point in {*one, *other}}
        return self.sum(weights), self.sigma * math.sqrt(sum(weight**2 for weight in weights.values()))

    def surely_above(self, one: Weights, other: Weights) -> bool:
        """Whether one weighted sum is above another by more than the noise explains."""
        difference, deviation = self.above(one, other)
        return difference > DEVIATIONS * deviation


def _sum(weights: Weights, losses: Sequence[float]) -> float:
    return sum(weight * losses[point] for point, weight in weights.items())


@lru_cache(maxsize=64)
def _lines(points: int, half_width: float) -> tuple[tuple[Weights, ...], tuple[Weights, ...]]:
    """For each point the weights of the level, and of the slope, of the line through its neighbours."""
    levels, slopes = [], []
    reach = math.ceil(half_width)
    for point in range(points):
        steps = range(max(-reach, -point), min(reach, points - 1 - point) + 1)
        kernel = {step: max(0.0, 1 - abs(step / half_width) ** 3) ** 3 for step in steps}
        zeroth, first, second = (sum(k * step**power for step, k in kernel.items()) for power in range(3))
        determinant = zeroth * second - first**2
        levels.append({point + step: k * (second - first * step) / determinant for step, k in kernel.items()})
        slopes.append({point + step: k * (zeroth * step - first) / determinant for step, k in kernel.items()})
    return tuple(levels), tuple(slopes)


def _scatter(losses: Sequence[float], lines: Sequence[Weights], until: int) -> float:
    """The standard deviation around the lines of the first losses, as a mean over many of them would scatter.

    That is the larger of sqrt(c0) and sqrt(c0 + 2 sum (1 - k / (LAGS + 1)) c_k), with c_k the covariance of losses
    that are k points apart (Newey and West 1987), each for as many losses as the lines leave free.
    """
    errors = [losses[point] - _sum(lines[point], losses) for point in range(until)]
    free = 1 - sum(lines[point][point] for point in range(until)) / until
    apart = [sum(a * b for a, b in zip(errors, errors[lag:], strict=False)) for lag in range(LAGS + 1)]
    together = 2 * sum((1 - lag / (LAGS + 1)) * apart[lag] for lag in range(1, LAGS + 1))
    return math.sqrt(max(apart[0], (apart[0] + together) / free) / (until * free))
