"""The scale of a swept key: where each of its values stands, and which of them are put together."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from stride.report.axis import Axis, rate

FEW = 8  # numbers that each get a place of their own; more are put into as many bins


@dataclass(frozen=True)
class Scale:
    """Either an `axis`, for many numbers, or `choices`, one after another; `order` finds a text's choice."""

    key: str
    axis: Axis | None
    choices: tuple[str, ...] = ()
    order: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, key: str, texts: Sequence[str]) -> "Scale":
        """The scale of the values that a key had: rates, and numbers that span a lot, stand on a log axis."""
        numbers = {text: _number(text) for text in texts}
        known = [number for number in numbers.values() if number is not None]
        if len(known) == len(numbers) and len(set(known)) > FEW:
            return cls(key, Axis.around(known, log=True if min(known) > 0 and key.endswith("lr") else None))
        # 1e-2 and 0.01 are one choice. Numbers come in their order, before words.
        firsts: dict[object, str] = {}
        for text, number in numbers.items():
            firsts.setdefault(text if number is None else number, text)
        rank = {text: (numbers[text] is None, numbers[text] or 0.0, text) for text in firsts.values()}
        choices = sorted(firsts.values(), key=rank.__getitem__)
        order = {text: choices.index(firsts[text if number is None else number]) for text, number in numbers.items()}
        return cls(key, None, tuple(choices), order)

    def place(self, text: str) -> float | None:
        """0 to 1; None for a value that the scale was not made of."""
        if self.axis is not None:
            number = _number(text)
            return None if number is None else self.axis.place(number)
        if text not in self.order:
            return None
        return self.order[text] / (len(self.choices) - 1) if len(self.choices) > 1 else 0.5

    def ticks(self) -> list[tuple[str, float]]:
        """Label and place of what to write beside the scale."""
        if self.axis is not None:
            return [(_label(value, self.axis), self.axis.place(value)) for value in self.axis.ticks()]
        return [(text, self.place(text) or 0.0) for text in self.choices]

    def bins(self) -> list[str]:
        """The labels of the cells that values are put into, by `bin`."""
        if self.axis is None:
            return list(self.choices)
        ends = [_label(self.axis.at(count / FEW), self.axis) for count in range(FEW + 1)]
        return [f"{low} to {high}" for low, high in pairwise(ends)]

    def bin(self, text: str) -> int | None:
        """The index of a value's bin."""
        if self.axis is None:
            return self.order.get(text)
        place = self.place(text)
        return None if place is None else min(max(int(place * FEW), 0), FEW - 1)


def _label(value: float, axis: Axis) -> str:
    return rate(value) if axis.log else f"{value:.3g}"


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if abs(number) < float("inf") else None
