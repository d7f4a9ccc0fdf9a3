"""Short runs before the run, on objects that are thrown away: a trial of a suggestion, and rehearsals around it."""

import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean

from pytorch_lightning import LightningDataModule, LightningModule, Trainer

from stride.callbacks.finder_bar import FinderBar
from stride.callbacks.held_out import HeldOut
from stride.callbacks.range_test import AtRates
from stride.lr.flow_time import Course
from stride.lr.rehearsal import Rehearsal, Rehearsed, extent, rises_again, search, verdict
from stride.lr.suggest import Suggestion
from stride.lr.trial import Leap, Trial, capped, rising

LOOKS = (3, 5, 8, 12, 16, 20, 25, 30, 36, 43, 51, 60, 70, 80, 100, 125, 160, 200)  # steps done: finer where it falls
LEAST_TRIAL = 20  # steps; fewer say little
SAMPLES = 256  # of the validation data, a look: as dear as some three steps of 32
MOST_SAMPLES = 8192  # of the validation data, at the end of a rehearsal
PARTS = 12  # of a rehearsal, after each of which it is looked at
LATE = 0.1  # of a rehearsal, whose training losses stand for held-out ones where there are none

Make = Callable[[int, Path], tuple[Trainer, LightningModule, LightningDataModule]]


class ShortRuns:
    """Trains at given rates, from new weights each time, and counts the steps.

    Args:
        make: `make(order, folder)` gives a fresh trainer, module and datamodule of the run's own length, law and
            warm-up, for one data order.
        base: the LR that the module is made with.
        fall: how far the loss fell in the sweep, which a leap is compared with.
        bar: show how far it is.

    `spent` are the steps so far; `course` is that of the whole run, once a run has told, None where it cannot.
    """

    def __init__(self, make: Make, *, base: float, fall: float, bar: bool) -> None:
        self._make, self._base, self._fall, self._bar = make, base, fall, bar
        self.spent = 0
        self.course: Course | None = None

    def try_out(self, suggestion: Suggestion, steps: int, order: int) -> tuple[Trial | None, Suggestion]:
        """A run at the suggestion, and what it leaves of it; None for a module that steps by itself.

        Where the loss leaps, a third of the LR is tried with the steps that are left.
        """
        while True:
            assert suggestion.lr is not None
            left = steps - self.spent
            held_out = HeldOut(LOOKS, SAMPLES)
            rates = [suggestion.lr * rising(step) for step in range(left)]
            leap = Leap(self._fall, held_out.losses)
            taken = self._run(rates, order, f"a trial at {suggestion.lr:.2g}", [held_out], leap)
            if taken is None:
                return None, suggestion
            trial = Trial(suggestion.lr, tuple(taken.losses), tuple(held_out.losses), taken.ran_away)
            suggestion = capped(suggestion, trial, self.course)
            if not trial.ran_away or steps - self.spent < LEAST_TRIAL:
                return trial, suggestion

    def rehearse(self, suggestion: Suggestion, trial: Trial, steps: int) -> tuple[Suggestion, Rehearsed]:
        """The best LR for the whole run, by rehearsals of at most `steps` steps in all.

        Args:
            suggestion: for the whole run, which they begin with.
            trial: which it comes from.
        """
        assert self.course is not None
        assert suggestion.lr is not None
        size = extent(self.course.steps, steps)
        course = self.course.shortened(size.steps)
        as_far = course.flow_time / self.course.flow_time  # the LR of the run over that of a rehearsal
        overfits = trial.overfits_after() is not None
        start = min(trial.lr, suggestion.lr / as_far) if overfits else suggestion.lr
        rehearsals = search(lambda lr: self._rehearse(lr, course, size.orders), start, size.rates)
        overfits = overfits or any(rehearsal.overfits for rehearsal in rehearsals)
        rehearsed = Rehearsed(size, rehearsals, as_far if overfits else 1.0)
        return verdict(rehearsed, self.course.steps), rehearsed

    def _rehearse(self, lr: float, course: Course, orders: int) -> Rehearsal:
        steps = course.steps
        looks = sorted({max(1, steps * part // PARTS) for part in range(1, PARTS + 1)})
        scores, overfits = [], False
        for order in range(orders):
            path, end = HeldOut(looks, SAMPLES), HeldOut([steps], MOST_SAMPLES, training=False)
            rates = [lr * course.multiplier(step) for step in range(steps)]
            taken = self._run(rates, order, f"a rehearsal at {lr:.2g}", [path, end], Leap(self._fall))
            assert taken is not None
            if taken.ran_away or len(taken.losses) < steps:
                return Rehearsal(lr, math.inf, overfits)
            late = taken.losses[-max(1, round(LATE * steps)) :]
            score = end.losses[-1][1] if end.losses else fmean(late)
            scores.append(score if math.isfinite(score) else math.inf)
            overfits = overfits or rises_again(path.losses)
        return Rehearsal(lr, fmean(scores), overfits)

    def _run(
        self, rates: Sequence[float], order: int, doing: str, watchers: Sequence[HeldOut], leap: Leap
    ) -> AtRates | None:
        with tempfile.TemporaryDirectory() as folder:
            trainer, module, data = self._make(order, Path(folder))
            if not module.automatic_optimization:  # its training_step would step where a loss is asked for
                return None
            taken = AtRates(rates, base=self._base, ends=leap.update)
            shown = [FinderBar(doing, len(rates))] if self._bar else []
            trainer.callbacks += [taken, *watchers, *shown]  # pyrefly: ignore[missing-attribute]  set by a connector
            trainer.fit(module, datamodule=data)
        self.spent += len(taken.losses)
        plan, optimizer = getattr(module, "plan", None), trainer.optimizers[0]
        if plan is not None and plan.horizon.steps is not None:
            law, ramp = plan.law, plan.ramp
            told = (type(optimizer).__name__, optimizer.param_groups[0])
            self.course = Course(lambda step: law(step) * ramp(step), plan.horizon.steps, *told)
        return taken
