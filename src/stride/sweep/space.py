"""What a sweep goes through: the words after -m as fixed words and, for each swept key, values or an interval."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stride.errors import Fault

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from optuna.distributions import BaseDistribution

EDGE = 0.05  # of a range, measured as the range is sampled: nearer to its end than this is at its edge


@dataclass(frozen=True)
class Choice:
    """Some values, each as the text that one types."""

    values: tuple[str, ...]

    def distribution(self) -> "BaseDistribution":
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.values)

    def edge(self, text: str) -> str | None:
        """`lower` or `upper` where `text` is the least or the largest of several numbers."""
        numbers = [found for value in self.values if (found := number(value)) is not None]
        if len(numbers) < len(self.values) or min(numbers) == max(numbers):
            return None
        return {min(numbers): "lower", max(numbers): "upper"}.get(float(text))

    def __str__(self) -> str:
        return ",".join(self.values)


@dataclass(frozen=True)
class Interval:
    """Every number from `low` to `high`, sampled on a log scale or a linear one."""

    low: float
    high: float
    log: bool = False
    integer: bool = False

    def distribution(self) -> "BaseDistribution":
        from optuna.distributions import FloatDistribution, IntDistribution

        if self.integer:
            return IntDistribution(int(self.low), int(self.high), log=self.log)
        return FloatDistribution(self.low, self.high, log=self.log)

    def edge(self, text: str) -> str | None:
        """`lower` or `upper` where `text` lies within EDGE of that end."""
        scale: Callable[[float], float] = math.log if self.log else float
        low, high = scale(self.low), scale(self.high)
        place = (scale(float(text)) - low) / (high - low)
        return "lower" if place < EDGE else "upper" if place > 1 - EDGE else None

    def __str__(self) -> str:
        inner = f"interval({self.low:.12g},{self.high:.12g})"
        return f"tag(log,{inner})" if self.log else inner


Space = dict[str, Choice | Interval]


def read(words: Sequence[str], default: Callable[[str], Any]) -> tuple[dict[str, str], Space, list[Fault]]:
    """The fixed words by key, the search space, and what is wrong with it.

    Args:
        words: overrides as typed after -m; `+` and `++` are dropped, `hydra.` words left out.
        default: a key's value in the config; an interval of a key that holds an integer gives integers.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    fixed: dict[str, str] = {}
    space: Space = {}
    faults: list[Fault] = []
    for word in words:
        override = OverridesParser.create().parse_override(word)
        key = override.key_or_group
        if key.startswith(("hydra.", "hydra/")) or key == "hydra":
            continue
        if override.is_sweep_override():
            faults += _read_swept(key, override, default(key), space)
        else:
            fixed[key] = word.partition("=")[2]
    return fixed, space, faults


def _read_swept(key: str, override: "Override", default: Any, space: Space) -> list[Fault]:
    from hydra.core.override_parser.types import Glob, IntervalSweep

    sweep = override.value()
    if isinstance(sweep, IntervalSweep):
        assert sweep.start is not None and sweep.end is not None
        whole = isinstance(sweep.start, int) and isinstance(sweep.end, int)
        whole = whole or (isinstance(default, int) and not isinstance(default, bool))
        interval = Interval(float(sweep.start), float(sweep.end), "log" in sweep.tags, whole)
        space[key] = interval
        return _interval_faults(key, interval)
    if isinstance(sweep, Glob):
        return [Fault(key, "cannot be swept with glob", "name the values", f"{key}=a,b")]
    space[key] = Choice(tuple(override.sweep_string_iterator()))
    return []


def _interval_faults(key: str, interval: Interval) -> list[Fault]:
    low, high = interval.low, interval.high
    got = f"got interval({low:g},{high:g})"
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        return [Fault(key, "`low < high`, both finite, must hold for an interval", got)]
    if key.endswith("lr") and not interval.log:
        law = "a learning rate is sampled on a log scale"
        return [Fault(key, f"an interval without log, {got}", law, f"'{key}=tag(log,interval({low:g},{high:g}))'")]
    if interval.log and low <= 0:
        return [Fault(key, "`low > 0` must hold on a log scale", got)]
    return []


def number(text: str) -> float | None:
    """`text` as a number, None if it is none."""
    try:
        return float(text)
    except ValueError:
        return None
