"""What a search for the LR came to."""

from dataclasses import asdict, dataclass
from typing import Any

from stride.lr.curve import Curve
from stride.lr.rehearsal import Rehearsed
from stride.lr.stability import Limit
from stride.lr.suggest import Suggestion
from stride.lr.trial import Trial


@dataclass(frozen=True)
class Finding:
    """What the tune stage found: one curve for each data order, a trial, rehearsals, one suggestion, and what it cost.

    `horizon` is how many steps the run has, where the trial told. `steps` are those of the sweeps, the trial and the
    rehearsals, runaway ones included, each at least one optimizer step. `limit` is what bounds the LR at the first
    weights, where that was measured too.
    """

    curves: list[Curve]
    trial: Trial | None
    rehearsed: Rehearsed | None
    suggestion: Suggestion
    seconds: float
    steps: int
    engine: str
    horizon: int | None
    limit: Limit | None = None

    def as_data(self) -> dict[str, Any]:
        """What curve.json says."""
        told = {
            "lr": self.suggestion.lr,
            "interval": [self.suggestion.low, self.suggestion.high],
            "outcome": self.suggestion.outcome.name.lower(),
            "why": self.suggestion.why,
        }
        return {
            "suggestion": told,
            "horizon": self.horizon,
            "limit": self.limit and asdict(self.limit),
            "engine": self.engine,
            "steps": self.steps,
            "seconds": self.seconds,
            "curves": [asdict(curve) for curve in self.curves],
            "trial": self.trial and asdict(self.trial),
            "rehearsed": self.rehearsed and asdict(self.rehearsed),
        }
