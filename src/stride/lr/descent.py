"""What a few steps at one learning rate do to a loss."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

BEYOND = 1e4  # times the first loss: Adam comes back from thousands of times


@dataclass(frozen=True)
class Descent:
    """The losses before the first step and after each, at one LR: `times` that of a limit."""

    times: float
    lr: float
    losses: Sequence[float]

    @property
    def diverged(self) -> bool:
        """Whether the last loss is not finite, or far beyond the first."""
        return has_diverged(self.losses)

    @property
    def verdict(self) -> str:
        """In words: falls, rises, or diverges, and at which step."""
        start, end, steps = self.losses[0], self.losses[-1], len(self.losses) - 1
        if self.diverged:
            return f"diverges at step {steps}"
        if end > start:
            return f"rises from step {self.losses.index(min(self.losses))} on, to {end:.3g} at step {steps}"
        top = max(self.losses)
        if top > start:
            return f"rises to {top:.3g} at step {self.losses.index(top)}, then falls to {end:.3g}"
        return f"falls to {end:.3g}"

    def as_dict(self) -> dict[str, Any]:
        return {"times": self.times, "lr": self.lr, "verdict": self.verdict, "losses": list(self.losses)}


def has_diverged(losses: Sequence[float]) -> bool:
    """Whether the last of them is not finite, or 10,000 times the first above it."""
    return not losses[-1] - losses[0] <= BEYOND * (abs(losses[0]) or 1.0)
