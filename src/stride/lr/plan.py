"""The plan of a run's learning rate: what every group is to use at every step, and what has changed it since."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from stride.lr.duration import Horizon
from stride.lr.schedule import Schedule, constant, join

TOLERANCE = 1e-6  # of the peak; rounding is far below it, and nobody would change an LR by less
MOST_ROWS = 100_000  # of a table with a row a step; of a longer run every n-th is kept


@dataclass(frozen=True)
class Intervention:
    """From optimizer step `step` on the LR is `factor` times what it would have been, because of `why`.

    Args:
        rewarm: None where the scheduler's own value was changed. Else the factor acts inside of each step, where no
            scheduler can undo it, and the LR rises to it over so many steps.
    """

    step: int
    factor: float
    why: str
    rewarm: int | None = None

    def inside(self, step: int) -> float:
        """What it multiplies the LR by inside of a step, and only there."""
        if self.rewarm is None or step < self.step:
            return 1.0
        return self.factor * min(1.0, (step - self.step + 1) / max(1, self.rewarm))


@dataclass(frozen=True)
class Span:
    """The part of a run that its law and its warm-up are laid over.

    Args:
        start: their clock is at 0 in this step; what was before is of an older plan.
        held: the horizon that they are made for, where it is not the run's own; after its end the last value holds.
    """

    start: int = 0
    held: Horizon | None = None

    def lay(self, make: Callable[[Horizon], Schedule], run: Horizon) -> Schedule:
        """The law or ramp that `make(horizon)` gives for this part of a run."""
        horizon = self.held or run
        if self.start == 0:
            return make(horizon)
        left = None if horizon.steps is None else horizon.steps - self.start
        return join([constant(total=None), make(replace(horizon, steps=left))], [self.start])


@dataclass
class Plan:
    """applied(t) = lr x law(t) x interventions(t) x ramp(t) x scale(group), for optimizer steps t from 0.

    Args:
        lr: the peak, `optimizer.lr` as it is used.
        law: the schedule's multiplier; `law.momentum(t)`, where it has one, is the momentum in force.
        horizon: how long the run is.
        scales: each group's own factor, by the group's name, in the optimizer's order.
        frozen: the step before which a group is held at 0, for the groups that are.
        ramp: the warm-up's multiplier.
        interventions: what changed the LR while the run went on, oldest first.
    """

    lr: float
    law: Schedule
    horizon: Horizon
    scales: dict[str, float]
    frozen: dict[str, int] = field(default_factory=dict)
    ramp: Schedule = lambda step: 1.0
    interventions: list[Intervention] = field(default_factory=list)

    def intervene(self, step: int, factor: float, why: str, rewarm: int | None = None) -> None:
        """Record a change that holds from `step` on."""
        self.interventions.append(Intervention(step, factor, why, rewarm))

    def between_steps(self, step: int) -> float:
        """What the scheduler leaves in every group before a step: all but what acts inside of the step only."""
        lr = self.lr * self.law(step)
        for change in self.interventions:
            if step >= change.step and change.rewarm is None:
                lr *= change.factor
        return lr

    def at(self, step: int) -> list[float]:
        """The LR of each group inside a step."""
        # Multiplied in the order in which it comes about, so that the rounding is the same.
        lr, ramp = self.between_steps(step), self.ramp(step)
        ramp *= math.prod(change.inside(step) for change in self.interventions)
        return [0.0 if step < self.frozen.get(name, 0) else lr * (ramp * scale) for name, scale in self.scales.items()]

    def momentum(self, step: int) -> float | None:
        """The momentum that the law sets at a step; None where it leaves momentum alone."""
        cycled = getattr(self.law, "momentum", None)
        return cycled(step) if cycled else None

    @property
    def peak(self) -> float:
        """The largest LR that any group can be given: what differences are measured by."""
        return self.lr * max(self.scales.values(), default=1.0)

    def state_dict(self) -> dict[str, Any]:
        """What the config does not say: the interventions, as plain data."""
        return {"interventions": [vars(change) for change in self.interventions]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.interventions = [Intervention(**change) for change in state["interventions"]]
