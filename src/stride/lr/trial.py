"""A short run at one LR beside losses on samples that it does not train on: when does it begin to overfit?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from stride.lr.flow_time import Course, flow_time
from stride.lr.suggest import Suggestion

# Chosen on the cells of benchmarks/lr_regret.py, which they divide with room to spare: in those that overfit the two
# losses end 0.08 to 0.30 of the fall apart, and fell together for 5 to 43 of 80 steps; in the others -0.17 to 0.04.
NEAR = 0.03  # of the fall: that near to the lowest loss is as low
NEAR_ZERO = 0.2  # of the lowest loss, where that is less: of a loss that falls by 99 % the last 3 % are most of it
GAP = 0.05  # of the fall: held-out losses above the training's by so much are overfitting
RISE = 5  # steps
LEAP = 10.0  # falls of the sweep: what is healthy reached 4 of them, the leap of a net that was lost 100
HELD_OUT_LEAP = 0.2  # the same of the held-out loss, a mean over many samples: 0.03 of what is healthy, 0.4 and 0.7
BEGINNING = 12  # steps, in which no sample was seen often
EARLY = 0.6  # of the trial: a loss that is lowest later may still be falling


@dataclass(frozen=True)
class Trial:
    """Training at one LR from the start.

    Args:
        lr: the base LR; the first steps rise to it (`rising`).
        losses: training loss of each step, before it.
        held_out: (steps done, loss on held-out samples), from 0 steps on, measured as the training loss is; empty
            without such samples.
        ran_away: whether the last step left the numbers, or leapt far above the first (`Leap`).
    """

    lr: float
    losses: tuple[float, ...]
    held_out: tuple[tuple[int, float], ...]
    ran_away: bool

    def overfits_after(self) -> int | None:
        """The number of steps after which the held-out loss fell no more while the training loss went below it.

        None where it fell until late, the two stayed together, or it ran away: then nothing says that training should
        be shorter.
        """
        if self.ran_away or not self.held_out or not all(math.isfinite(loss) for _, loss in self.held_out):
            return None
        first = self.held_out[0][1]
        lowest = min(loss for _, loss in self.held_out)
        fall, late = first - lowest, len(self.losses) * 2 // 3
        if fall <= 0:
            return None
        near = min(NEAR * fall, NEAR_ZERO * lowest) if lowest > 0 else NEAR * fall
        steps = next(steps for steps, loss in self.held_out if loss <= lowest + near)
        apart = self._end - fmean(self.losses[late:]) - self._harder()
        return steps if apart >= GAP * fall and steps <= EARLY * len(self.losses) else None

    def is_lost(self) -> bool:
        """Whether it ran away, or ended above where it began: it may rise by less than a `Leap`, and stay there."""
        return self.ran_away or (bool(self.held_out) and not self._end <= self.held_out[0][1])

    @property
    def _end(self) -> float:
        return fmean(loss for _, loss in self.held_out[-2:])

    def _harder(self) -> float:
        """How far each held-out loss of the first steps is above the training loss of the same weights, at least."""
        early = [(steps, loss) for steps, loss in self.held_out if 0 < steps < min(BEGINNING, len(self.losses))]
        return max(0.0, min((loss - self.losses[steps] for steps, loss in early), default=0.0))


class Leap:
    """Says, loss by loss, when a trial is over: a loss is not finite, or one has leapt far above the first of its kind.

    A net may come back from such a leap, and learn; but it is another net then, and what it does no longer says
    anything of the one that was to be trained. Steps below the limit never raise a loss by more than noise.

    Args:
        fall: how far the loss fell in the sweep, which is what a leap is compared with.
        held_out: (steps done, held-out loss), as they come; the latest one is looked at.
    """

    def __init__(self, fall: float, held_out: Sequence[tuple[int, float]] = ()) -> None:
        self._fall, self._first, self._held_out = fall, math.nan, held_out

    def update(self, loss: float) -> bool:
        """Take the next loss in. True where the trial is to stop."""
        if math.isnan(self._first):
            self._first = loss
        up = self._held_out[-1][1] - self._held_out[0][1] if self._held_out else 0.0
        return not math.isfinite(loss) or loss - self._first > LEAP * self._fall or up > HELD_OUT_LEAP * self._fall


def rising(step: int) -> float:
    """The multiplier of a trial's LR: Adam's first steps are as long as its LR whatever the gradient is worth."""
    return min(1.0, (step + 1) / RISE)


def capped(suggestion: Suggestion, trial: Trial, run: Course | None) -> Suggestion:
    """The suggestion, or a lower one where the trial of it shows that a run at it would diverge or overfit.

    A run that overfits is to come as far by its end as the trial had come when its held-out loss stopped falling: so
    the longer it is, the lower its LR (`flow_time`).

    Args:
        run: the course of the whole run; None where its length is not known.
    """
    if suggestion.lr is None:
        return suggestion
    steps = trial.overfits_after()
    if steps is None and trial.is_lost():
        why = f"a run at {trial.lr:.2g} ran away after {len(trial.losses)} steps, so a third of it"
        return _lowered(suggestion, trial.lr / 3, why)
    if steps is None or run is None:
        return suggestion
    far = trial.lr * flow_time(rising, steps, run.optimizer, run.options)
    lr = far / run.flow_time
    if lr >= suggestion.lr:
        return suggestion
    why = f"at {trial.lr:.2g} it overfits from step {steps} on; {run.steps} steps come as far at {lr:.2g}"
    return _lowered(suggestion, lr, why)


def _lowered(suggestion: Suggestion, lr: float, why: str) -> Suggestion:
    """With its interval, which stays as wide."""
    assert suggestion.lr is not None
    low, high = (end and end * lr / suggestion.lr for end in (suggestion.low, suggestion.high))
    return replace(suggestion, lr=lr, why=why, low=low, high=high)
