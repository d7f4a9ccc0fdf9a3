"""Axes: where a number stands between two ends, on a linear or a log scale, and the ticks that one reads it by."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

LOG_FROM = 20.0  # times the lowest of some numbers above 0: from there on a log scale shows more of them
MOST_TICKS = 6  # of a linear axis


@dataclass(frozen=True)
class Axis:
    """From `low` to `high`, `low < high`; both above 0 where `log`."""

    low: float
    high: float
    log: bool = False

    @classmethod
    def around(cls, values: Iterable[float], *, log: bool | None = None, margin: float = 0.0) -> "Axis":
        """The axis that holds the values, and a `margin` in parts of its length at both ends.

        `log` says whether it is a log axis; None lets the values decide. Raises ValueError if there are none.
        """
        values = list(values)
        low, high = min(values), max(values)
        log = low > 0 and high >= LOG_FROM * low if log is None else log
        if low == high:
            low, high = (low / 2, high * 2) if log else (low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2)
        exact = cls(low, high, log)
        return cls(exact.at(-margin), exact.at(1 + margin), log) if margin else exact

    def place(self, value: float) -> float:
        """0 at `low` to 1 at `high`, and beyond."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def at(self, place: float) -> float:
        """The value at a place."""
        if self.log:
            return self.low * (self.high / self.low) ** place
        return self.low + place * (self.high - self.low)

    def ticks(self) -> list[float]:
        """Round numbers on the axis, evenly spread: 1, 2, 5 or whole decades, as finely as leaves few of them."""
        return _log_ticks(self.low, self.high) if self.log else _linear_ticks(self.low, self.high)


def rate(value: float) -> str:
    """A learning rate as one types it: 1e-4, 3.2e-3, 0.05, 10."""
    if value and not 0.01 <= abs(value) < 10_000:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    return f"{value:.2g}" if abs(value) < 100 else f"{value:.4g}"


def _log_ticks(low: float, high: float) -> list[float]:
    decades = math.log10(high / low)
    steps: Sequence[int] = (1, 2, 5) if decades < 1.5 else (1, 3) if decades < 3.5 else (1,)
    every = max(1, math.ceil(decades / 8))
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    # float("3e-4") is the nearest number to it, 3 * 10**-4 is not.
    found = [float(f"{step}e{exponent}") for exponent in exponents if exponent % every == 0 for step in steps]
    inside = [tick for tick in found if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
    return inside if len(inside) > 1 else _linear_ticks(low, high)


def _linear_ticks(low: float, high: float) -> list[float]:
    rough = (high - low) / MOST_TICKS
    unit = 10 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{count * step:.12g}") for count in range(first, last + 1)]
