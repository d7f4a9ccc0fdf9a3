"""How far a run moves: the sum of its LRs, in units of what the optimizer makes of one.

Where the LR is below what makes a step unstable, steps follow the gradient's flow: the weights that they reach depend
on the sum of the LRs and hardly on how many steps it was made of (the flow time of gradient flow; Smith et al. 2021,
arXiv 2101.12176). So what one rate reaches in few steps tells what a lower rate reaches in many.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Course:
    """How a run's LR goes, in units of its base LR, under an optimizer (as `flow_time` takes it): all its steps."""

    multiplier: Callable[[int], float]
    steps: int
    optimizer: str
    options: Mapping[str, Any]

    def shortened(self, steps: int) -> "Course":
        """The same course in so many steps: law and warm-up keep their shares of it."""
        return replace(
            self, multiplier=lambda step: self.multiplier(int((step + 0.5) * self.steps / steps)), steps=steps
        )

    @property
    def flow_time(self) -> float:
        return flow_time(self.multiplier, self.steps, self.optimizer, self.options)


def flow_time(multiplier: Callable[[int], float], steps: int, optimizer: str, options: Mapping[str, Any]) -> float:
    """sum over t < steps of multiplier(t) x weight(t): what a base LR is to be multiplied with for its flow time.

    The weight is how far an LR of 1 moves, compared with a late step: 1, but for two optimizers (by the name of their
    class in torch). Adagrad divides by the root of all squared gradients so far, 1 / sqrt(t + 1) if they are alike.
    RMSprop's running mean starts at 0 and nothing makes up for it: 1 / sqrt(1 - alpha^(t + 1)), 10 in its first step.
    Of more than 100,000 steps, so many stand for those around them.

    Args:
        multiplier: of the base LR in step t, from 0.
        options: of a parameter group of the optimizer; RMSprop's `alpha` is read.
    """
    weight = _WEIGHTS.get(optimizer, lambda step, options: 1.0)
    read = min(steps, MOST)
    middles = (int((part + 0.5) * steps / read) for part in range(read))
    return steps / read * math.fsum(multiplier(step) * weight(step + 1, options) for step in middles)


MOST = 100_000
_WEIGHTS: dict[str, Callable[[int, Mapping[str, Any]], float]] = {
    "Adagrad": lambda steps, options: 1 / math.sqrt(steps),
    "RMSprop": lambda steps, options: 1 / math.sqrt(1 - options["alpha"] ** steps),
}


def late(lr: float, step: int, optimizer: str, options: Mapping[str, Any]) -> float:
    """The LR that moves as far in a late step as `lr` did in this one, counted from 1: more of it for RMSprop only.

    What a range test shows at an LR is what its step does, and it has few steps: after 50 of them an uncorrected
    running mean of alpha 0.99 is 0.4 of what it will be, and a step 1.6 times as long.
    """
    return lr * _WEIGHTS[optimizer](step, options) if optimizer == "RMSprop" else lr
