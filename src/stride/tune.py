"""The tune stage: a range test before the run, on objects of its own that are thrown away.

Nothing can leak into the run, because nothing is restored: the sweep has its own module, data and Trainer, and
the number that comes out is the only thing that goes on.
"""

import io
import math
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stderr
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningDataModule, LightningModule, Trainer
from pytorch_lightning.tuner import Tuner
from pytorch_lightning.utilities import CombinedLoader
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch.utils import _pytree as pytree

from stride.around_step import momentum_of
from stride.callbacks.finder_bar import FinderBar
from stride.callbacks.range_test import AtRates, exponential
from stride.engine import ENGINES, LIGHTNING, engine_of
from stride.errors import ConfigError, Fault, one_line
from stride.lr.confidence import OF_THE_REHEARSED, scatter, with_interval
from stride.lr.curve import Curve, unbias
from stride.lr.finding import Finding
from stride.lr.rehearsal import Rehearsed
from stride.lr.suggest import FEWEST_POINTS, PICKERS, SMALL, Outcome, Suggestion, in_late_steps, together
from stride.lr.trial import Trial
from stride.module import LitModule
from stride.short_runs import Make, ShortRuns

LEAST_BUDGET = 1000  # steps that are worth one budget, however short the run
OF_THE_OPTIMIZER = ("configure_optimizers", "optimizer_step", "lr_scheduler_step")


class RangeTest:
    """LR sweeps, read by a picker of ours, and a short trial of what they suggest.

    Args:
        min_lr, max_lr: first and last LR of a sweep; `0 < min_lr < max_lr` must hold.
        steps: optimizer steps of one sweep; at least 2.
        orders: how many sweeps, each over the samples in another order; at least 1.
        picker: which reading of a curve, a name in `PICKERS`.
        trial: steps of the trial at the suggested LR, which looks for overfitting; 0 for none.
        budget: what the search may spend in all, in units of max(1000 steps, the run's), on rehearsals around what
            the sweep and the trial suggest, or around the asked LR where a sweep is too noisy to tell
            (`ShortRuns.rehearse`); 0 for none. Needs a trial.
        engine: who sweeps: `lightning` (its `Tuner.lr_find`), `ramp` (ours), or None (see `engine_of`).
        required: whether a finding without an LR is a fault of what was typed.

    Raises ValueError where these do not hold.
    """

    def __init__(
        self,
        *,
        min_lr: float,
        max_lr: float,
        steps: int,
        orders: int,
        picker: str = "bottom",
        trial: int = 0,
        budget: float = 0.0,
        engine: str | None = None,
        required: bool = False,
    ) -> None:
        if not 0 < min_lr < max_lr:
            raise ValueError(f"`0 < min_lr < max_lr` must hold, but got {min_lr=}, {max_lr=}")
        if steps < 2 or orders < 1:
            raise ValueError(f"`steps >= 2` and `orders >= 1` must hold, but got {steps=}, {orders=}")
        if picker not in PICKERS:
            raise ValueError(f"`picker` must be one of {', '.join(PICKERS)}, but got {picker=}")
        if trial < 0:
            raise ValueError(f"`trial >= 0` must hold, but got {trial=}")
        if budget < 0 or (budget and not trial):
            raise ValueError(f"`budget >= 0`, and `trial > 0` with it, must hold, but got {budget=}, {trial=}")
        if engine not in (None, *ENGINES):
            raise ValueError(f"`engine` must be one of {', '.join(ENGINES)} or None, but got {engine=}")
        self.min_lr, self.max_lr, self.steps, self.orders = min_lr, max_lr, steps, orders
        self.picker, self.trial, self.budget = PICKERS[picker], trial, budget
        self.engine, self.required = engine, required

    def __call__(self, make: Make, make_run: Make, base: float, *, bar: bool = False) -> Finding:
        """Sweep, and try. In several processes each calls this, and all find the same.

        Args:
            make: `make(order, folder)` gives a fresh trainer, module and datamodule for one data order.
            make_run: the same for a trainer that would go on to the end of the run, under its law and warm-up.
            base: the LR that the module is made with.
            bar: show how far it is, where someone is looking.

        Raises ConfigError for what cannot be swept, and where an LR is required and none is found.
        """
        started = time.perf_counter()
        with _random_state_kept():
            sweeps = [self._sweep(make, order, base, bar) for order in range(self.orders)]
            swept = sum(sweep.steps for sweep in sweeps)
            suggestion = together([self.picker(sweep.curve) for sweep in sweeps])
            suggestion = in_late_steps(suggestion, sweeps[0].curve, sweeps[0].optimizer, sweeps[0].options)
            suggestion = with_interval(suggestion, [scatter(sweep.curve, self.picker) for sweep in sweeps])
            if sweeps[0].too_small:
                suggestion = Suggestion(None, Outcome.DATA_TOO_SMALL, sweeps[0].too_small)
            runs = trial = rehearsed = None
            # What learns slowly at first hardly falls in a sweep; a rehearsal is longer, and can tell.
            refused = suggestion if self.budget and suggestion.outcome is Outcome.TOO_NOISY else None
            tried = Suggestion(base, Outcome.FOUND, "as asked") if refused else suggestion
            if self.trial and tried.lr is not None:
                runs = ShortRuns(make_run, base=base, fall=max(_fall(sweep.curve) for sweep in sweeps), bar=bar)
                trial, tried = runs.try_out(tried, self.trial, self.orders)
                if self.budget:
                    tried, rehearsed = self._rehearse(runs, trial, tried, swept)
                suggestion = tried if not refused or (rehearsed and _learned(trial, rehearsed)) else refused
        if self.required and suggestion.lr is None:
            what = suggestion.outcome.value
            raise ConfigError(Fault("lr_finder.required", what, suggestion.why, "lr_finder.required=false"))
        return Finding(
            curves=[sweep.curve for sweep in sweeps],
            trial=trial,
            rehearsed=rehearsed,
            suggestion=suggestion,
            seconds=time.perf_counter() - started,
            steps=swept + (runs.spent if runs else 0),
            engine=sweeps[0].engine,
            horizon=runs.course.steps if runs and runs.course else None,
        )

    def _rehearse(
        self, runs: ShortRuns, trial: Trial | None, suggestion: Suggestion, swept: int
    ) -> tuple[Suggestion, Rehearsed | None]:
        """What rehearsals make of the suggestion, with what the sweeps' steps and the trial leave of the budget."""
        left = int(self.budget * max(LEAST_BUDGET, runs.course.steps if runs.course else 0)) - swept - runs.spent
        if trial is None or runs.course is None or left < FEWEST_POINTS:
            unknown = "the run's steps are not known" if runs.course is None else "the budget is spent"
            reason = "the module steps its optimizers itself" if trial is None else unknown
            return replace(suggestion, why=f"{suggestion.why}; not rehearsed, as {reason}"), None
        found, rehearsed = runs.rehearse(suggestion, trial, left)
        return with_interval(found, [0.0], of_the_rule=OF_THE_REHEARSED), rehearsed

    def _sweep(self, make: Make, order: int, base: float, bar: bool) -> "_Sweep":
        # Lightning writes a checkpoint for its own use and may leave it behind: in a folder that goes.
        with tempfile.TemporaryDirectory() as folder:
            trainer, module, data = make(order, Path(folder))
            _refuse_frozen(module)
            engine = self._engine_of(trainer, module)
            try:
                if engine == LIGHTNING:
                    lrs, losses = self._by_lightning(trainer, module, data, bar)
                else:
                    lrs, losses = self._by_ramp(trainer, module, data, base, bar)
            except MisconfigurationException as error:
                raise ConfigError(Fault("trainer", one_line(error))) from error
            if losses and not math.isfinite(losses[0]):
                law = "training_step has to return a number, and no LR has acted on this one yet"
                raise ConfigError(Fault("lr_finder", f"the loss of the first batch is {losses[0]}", law))
            optimizer = trainer.optimizers[0]
            options = optimizer.param_groups[0]
            curve = Curve.of(lrs, losses, momentum_of(options) or 0.0)
            return _Sweep(curve, len(lrs), engine, _too_small(trainer, data), type(optimizer).__name__, options)

    def _engine_of(self, trainer: Trainer, module: LightningModule) -> str:
        return engine_of(
            self.engine,
            accumulated=trainer.accumulate_grad_batches,
            processes=trainer.world_size,
            manual=not module.automatic_optimization,
            hooks=[name for name in OF_THE_OPTIMIZER if getattr(type(module), name) is not getattr(LitModule, name)],
        )

    def _by_lightning(
        self, trainer: Trainer, module: LightningModule, data: LightningDataModule, bar: bool
    ) -> tuple[list[float], list[float]]:
        """LR and loss of each step of Lightning's `Tuner.lr_find`, which goes on where the loss runs away."""
        sweep = {"min_lr": self.min_lr, "max_lr": self.max_lr, "num_training": self.steps}
        with _lightnings_bar(bar):
            finder = Tuner(trainer).lr_find(
                module, datamodule=data, update_attr=False, **sweep, early_stop_threshold=None
            )
        assert finder is not None
        return finder.results["lr"], unbias(finder.results["loss"])

    def _by_ramp(
        self, trainer: Trainer, module: LightningModule, data: LightningDataModule, base: float, bar: bool
    ) -> tuple[list[float], list[float]]:
        """LR and loss of each point of our own ramp, which ends where the loss runs away."""
        ramp = AtRates(exponential(self.min_lr, self.max_lr, self.steps), base=base)
        shown = [FinderBar("a sweep", self.steps)] if bar else []
        trainer.callbacks += [ramp, *shown]  # pyrefly: ignore[missing-attribute]  set by a connector
        trainer.fit(module, datamodule=data)
        return ramp.lrs, ramp.losses


@dataclass(frozen=True)
class _Sweep:
    """One sweep: its curve, how many points were measured, by whom, and what makes them worthless.

    `optimizer` is the name of the class, `options` are those of its first group.
    """

    curve: Curve
    steps: int
    engine: str
    too_small: str
    optimizer: str
    options: Mapping[str, Any]


def _fall(curve: Curve) -> float:
    """How far the loss fell, and at least as far as it would have to for a curve to be believed."""
    return max(max(curve.losses[:FEWEST_POINTS]) - min(curve.losses), SMALL * abs(curve.losses[0]))


def _learned(trial: Trial | None, rehearsed: Rehearsed) -> bool:
    """Whether a rehearsal got as far below the untrained network's loss as a sweep would have to."""
    assert trial is not None
    start = trial.held_out[0][1] if trial.held_out else trial.losses[0]
    return min(each.score for each in rehearsed.rehearsals) < start - SMALL * abs(start)


@contextmanager
def _random_state_kept() -> Iterator[None]:
    state = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(state[0])
        np.random.set_state(state[1])
        torch.set_rng_state(state[2])


@contextmanager
def _lightnings_bar(wanted: bool) -> Iterator[None]:
    # Lightning's finder draws its bar on stderr whatever the Trainer was told; in a file it is noise.
    with nullcontext() if wanted and sys.stderr.isatty() else redirect_stderr(io.StringIO()):
        yield


def _refuse_frozen(module: LightningModule) -> None:
    parameters = list(module.parameters())  # none before configure_model, in a sharded run
    if parameters and not any(parameter.requires_grad for parameter in parameters):
        law = "the LR of a model that does not learn says nothing"
        raise ConfigError(Fault("model", "none of its parameters requires a gradient", law))


def _too_small(trainer: Trainer, data: LightningDataModule) -> str:
    """What to say of a training set that does not fill one batch; empty where it does."""
    size, loader = getattr(data, "batch_size", None), trainer.train_dataloader
    if size is None or loader is None or trainer.num_training_batches > 1:
        return ""
    batch, *_ = next(iter(CombinedLoader(loader)), (None,))
    tensors = (leaf for leaf in pytree.tree_leaves(batch) if isinstance(leaf, torch.Tensor) and leaf.ndim)
    samples = max(map(len, tensors), default=0)
    return f"{samples} samples, datamodule.batch_size={size}" if samples < size else ""
