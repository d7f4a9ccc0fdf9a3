"""Durations that carry their unit: `5%`, `500 steps`, `2 epochs`, and in wall-clock time `30 seconds`."""

import difflib
import functools
import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

_SECONDS = {"seconds": 1, "minutes": 60, "hours": 3600}
_UNITS = ("%", "steps", "epochs", *_SECONDS)
_WRITE = "write `500 steps`, `2 epochs` or `5%`"
_NUMBER_AND_UNIT = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*(\D*)", re.IGNORECASE)

Built = TypeVar("Built")


@dataclass(frozen=True)
class Horizon:
    """How long a run is, in optimizer steps; `epoch_steps` is None where an epoch's length is not known.

    Raises ValueError for less than one step and for a run without an end.
    """

    steps: int
    epoch_steps: int | None

    def __post_init__(self) -> None:
        for name, count in vars(self).items():
            if count is not None and not 1 <= count < math.inf:
                raise ValueError(f"`1 <= {name} < inf` must hold, but got {name}={count}")


class LongerThanRun(ValueError):
    """A duration that does not fit into the run: which argument, and what was written."""

    def __init__(self, argument: str, written: str, steps: int, horizon: Horizon) -> None:
        super().__init__(f"{argument}={written}: {steps} steps are longer than the run of {horizon.steps}")
        self.argument, self.written = argument, written


@dataclass(frozen=True)
class Duration:
    """An amount and its unit: one of `%` (of the run), steps, epochs, seconds, minutes, hours."""

    amount: float
    unit: str

    @classmethod
    def parse(cls, written: object) -> "Duration":
        """Read what a person wrote, singular or plural, with or without the space.

        Raises ValueError, saying what to write instead, for all else: no unit, an unknown one, less than 0.
        """
        text = str(written).strip()
        found = _NUMBER_AND_UNIT.fullmatch(text)
        if not found:
            raise ValueError(f"`{text}` is not a duration; {_WRITE}")
        number, word = found[1], found[2].lower()
        if not word:
            raise ValueError(f"`{text}` has no unit; {_WRITE}")
        unit = word if word == "%" else word.removesuffix("s") + "s"
        if unit not in _UNITS:
            raise ValueError(f"`{text}` has no known unit ({', '.join(_UNITS)}); try `{number}{_nearest(word)}`")
        amount = float(number)
        if not 0 <= amount < math.inf:
            raise ValueError(f"`0 <= duration < inf` must hold, but got `{text}`")
        if unit == "steps" and not amount.is_integer():
            raise ValueError(f"`{text}` is not a whole number of steps; try `{math.ceil(amount)} steps`")
        return cls(amount, unit)

    def steps(self, horizon: Horizon) -> int:
        """Optimizer steps in a run of this horizon, rounded, and at least 1 unless the duration is 0.

        May be longer than the run: that is for the user of the number to refuse.
        Raises ValueError for wall-clock time, and for epochs where an epoch's length is not known.
        """
        if self.unit in _SECONDS:
            raise ValueError(f"{self.unit} of wall-clock time are not a number of steps; {_WRITE}")
        if self.amount == 0:
            return 0
        if self.unit == "%":
            return max(1, round(self.amount * horizon.steps / 100))
        if self.unit == "steps":
            return int(self.amount)
        if horizon.epoch_steps is None:
            raise ValueError("the steps in an epoch of this data are not known; write `500 steps` or `5%`")
        return max(1, round(self.amount * horizon.epoch_steps))

    def seconds(self) -> float:
        """Wall-clock seconds; raises ValueError where the unit is no time."""
        if self.unit not in _SECONDS:
            raise ValueError(f"{self.unit} are no wall-clock time; write `5 minutes` or `2 hours`")
        return self.amount * _SECONDS[self.unit]


# To a law this is a number of optimizer steps; a config says it as a duration, and `bind` converts it.
Steps = Annotated[int, Duration]


def bind(factory: Callable[..., Built], arguments: Mapping[str, Any], horizon: Horizon) -> Built:
    """What `factory` (a function or a partial of one) builds for a run of this horizon.

    Arguments annotated `Steps` or `list[Steps]` are read as durations, `total` is the run's number of steps,
    and `arguments` go before those that a partial already holds.
    Raises ValueError for a duration that cannot be read or is longer than the run, and for what the factory
    itself refuses.
    """
    held, law = (factory.keywords, factory.func) if isinstance(factory, functools.partial) else ({}, factory)
    given = {**held, **arguments}
    parameters = inspect.signature(law, eval_str=True).parameters
    if "total" in given:
        raise ValueError(f"`total` is the run's own length and cannot be set: total={given['total']}")
    for name, parameter in parameters.items():
        if name in given and parameter.annotation == Steps:
            given[name] = _within_run(name, given[name], horizon)
        elif name in given and parameter.annotation == list[Steps]:
            given[name] = _each_within_run(name, given[name], horizon)
    if "total" in parameters:
        given["total"] = horizon.steps
    return factory(**given)


def _nearest(word: str) -> str:
    names = {"%": "%", "percent": "%"} | {unit: f" {unit}" for unit in _UNITS[1:]}
    short = [name for name in names if name.startswith(word)]
    return names[(short or difflib.get_close_matches(word, names, n=1, cutoff=0))[0]]


def _within_run(name: str, written: object, horizon: Horizon) -> int:
    try:
        steps = Duration.parse(written).steps(horizon)
    except ValueError as error:
        raise ValueError(f"{name}={written}: {error}") from None
    if steps > horizon.steps:
        raise LongerThanRun(name, str(written), steps, horizon)
    return steps


def _each_within_run(name: str, written: object, horizon: Horizon) -> list[int]:
    if isinstance(written, str) or not isinstance(written, Sequence):
        raise ValueError(f"{name}={written}: write a list of durations, such as [50%, 75%]")
    return [_within_run(f"{name}[{place}]", one, horizon) for place, one in enumerate(written)]
