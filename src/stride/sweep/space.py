"""What a sweep goes through: the words after -m as fixed words and, for each swept key, values or an interval."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stride.errors import Fault

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from optuna.trial import Trial

EDGE = 0.05  # of a range, measured as the range is sampled: nearer to its end than this is at its edge
AROUND = 8.0  # the finder's worst miss on the cells of benchmarks/lr_regret.py is a factor of 7


@dataclass(frozen=True)
class Choice:
    """Some values, each as the text that one types."""

    values: tuple[str, ...]

    def suggest(self, trial: "Trial", key: str) -> None:
        """Have Optuna's trial take a value."""
        trial.suggest_categorical(key, self.ordered)

    @property
    def ordered(self) -> tuple[str, ...]:
        """The values in an order of their own, whatever they were typed in."""
        return tuple(sorted(self.values, key=lambda text: (number(text) is None, number(text) or 0.0, text)))

    def at(self, u: float) -> str:
        """The value at `u` in [0, 1) of the way through them."""
        return self.ordered[int(u * len(self.values))]

    def typed(self, value: Any, _: Mapping[str, Any]) -> str:
        """A value of Optuna's as one types it, among those of the other keys."""
        return str(value)

    def edge(self, text: str, _: Mapping[str, str]) -> str | None:
        """`lower` or `upper` where `text` is the least or the largest of several numbers."""
        numbers = [found for value in self.values if (found := number(value)) is not None]
        if len(numbers) < len(self.values) or min(numbers) == max(numbers):
            return None
        return {min(numbers): "lower", max(numbers): "upper"}.get(float(text))

    def beyond(self, side: str) -> str | None:
        """The values and two more at that side, as far apart as the last two there; None for what is no number."""
        numbers = sorted(found for value in self.values if (found := number(value)) is not None)
        if len(numbers) < max(2, len(self.values)) or numbers[0] <= 0:
            return None
        end, inner = (numbers[0], numbers[1]) if side == "lower" else (numbers[-1], numbers[-2])
        more = [f"{end * (end / inner) ** far:.3g}" for far in (1, 2)]
        return ",".join([*reversed(more), *self.values] if side == "lower" else [*self.values, *more])

    def __str__(self) -> str:
        return ",".join(self.values)


@dataclass(frozen=True)
class Interval:
    """Every number from `low` to `high`, sampled on a log scale or a linear one."""

    low: float
    high: float
    log: bool = False
    integer: bool = False

    def suggest(self, trial: "Trial", key: str) -> None:
        """Have Optuna's trial take a number."""
        if self.integer:
            trial.suggest_int(key, int(self.low), int(self.high), log=self.log)
        else:
            trial.suggest_float(key, self.low, self.high, log=self.log)

    def at(self, u: float) -> int | float:
        """The number at `u` in [0, 1) of the way from low to high, on the interval's own scale."""
        low, high = self.low, self.high
        if self.integer:  # each with its own stretch, the last as wide as the others
            low, high = low - 0.5 * self.log, high + (0.5 if self.log else 1)
        place = low * (high / low) ** u if self.log else low + (high - low) * u
        if self.integer:
            return min(max(round(place) if self.log else math.floor(place), int(self.low)), int(self.high))
        return min(max(place, self.low), self.high)

    def typed(self, value: Any, _: Mapping[str, Any]) -> str:
        """A value of Optuna's as one types it, among those of the other keys."""
        return str(value)

    def edge(self, text: str, _: Mapping[str, str]) -> str | None:
        """`lower` or `upper` where `text` lies within EDGE of that end."""
        scale: Callable[[float], float] = math.log if self.log else float
        low, high = scale(self.low), scale(self.high)
        place = (scale(float(text)) - low) / (high - low)
        return "lower" if place < EDGE else "upper" if place > 1 - EDGE else None

    def beyond(self, side: str) -> str:
        """The interval, two decades longer at that side, or as long again where it is linear."""
        low, high = self.low, self.high
        if side == "lower":
            low = low / 100 if self.log else low - (high - low)
        else:
            high = high * 100 if self.log else high + (high - low)
        return str(Interval(low, high, self.log, self.integer))

    def __str__(self) -> str:
        inner = f"interval({self.low:.12g},{self.high:.12g})"
        return f"tag(log,{inner})" if self.log else inner


@dataclass(frozen=True)
class AroundFound:
    """A learning rate from AROUND times below to AROUND times above what the finder found for the other keys.

    What is searched is the place in that range, which means the same for every model and optimizer. `keys` are the
    swept ones that a finding depends on, `rates` the findings by those keys' values; None: they are still to be made.
    """

    keys: tuple[str, ...] = ()
    rates: Mapping[str, float] | None = None

    def suggest(self, trial: "Trial", key: str) -> None:
        """Have Optuna's trial take a place."""
        trial.suggest_float(key, 0.0, 1.0)

    def at(self, u: float) -> float:
        return u

    def typed(self, value: Any, values: Mapping[str, Any]) -> str:
        """The learning rate at a place, for the values of the other keys."""
        return f"{self._rate(values) * AROUND ** (2 * value - 1):.6g}"

    def edge(self, text: str, values: Mapping[str, str]) -> str | None:
        """`lower` or `upper` where the learning rate `text` lies within EDGE of that end."""
        place = (math.log(float(text) / self._rate(values), AROUND) + 1) / 2
        return "lower" if place < EDGE else "upper" if place > 1 - EDGE else None

    def beyond(self, side: str) -> None:
        """Nothing lies beyond: the range follows from the finder."""

    def combination(self, values: Mapping[str, Any]) -> str:
        """What one finding is for."""
        return " ".join(str(values[key]) for key in self.keys)

    def _rate(self, values: Mapping[str, Any]) -> float:
        assert self.rates is not None
        return self.rates[self.combination(values)]

    def __str__(self) -> str:
        return f"{AROUND:g} times around what the finder found"


Space = dict[str, Choice | Interval | AroundFound]


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
    values = tuple(override.sweep_string_iterator())
    space[key] = Choice(tuple(dict.fromkeys(values)))
    twice = next((value for value in values if values.count(value) > 1), None)
    return [] if twice is None else [Fault(key, f"{twice} is given twice", "once is enough", f"{key}={space[key]}")]


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
