"""The study of a sweep: which trials there are, who runs them, and how each ended; shared by all its drivers.

Trials are numbered by the storage, one number for each call of every driver, so those below the number asked for
are run exactly once between them. A driver writes its name into a trial that it runs; the last name written counts,
and it is asked for again before anything is recorded.
"""

import math
import time
import warnings
from collections.abc import Collection
from contextlib import suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from stride.errors import ConfigError, Fault
from stride.keys import differences
from stride.sweep import points, worker
from stride.sweep.plan import CHOOSING, Plan
from stride.sweep.storage import open_storage
from stride.sweep.trials import Result, Told

if TYPE_CHECKING:
    from optuna import Study as OptunaStudy
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

BORN = 10.0  # seconds: what a driver needs at most to write its name into a trial that it has begun
MOST_CHANGES = 4  # told of a sweep that is another one
SETTLED = 1.0  # seconds: of several drivers that take the same trial at once, the last to write its name has it


class Study:
    """One study of the storage that `plan` names. Raises ConfigError where that holds another sweep of this name."""

    def __init__(self, plan: Plan) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        self.plan, self.me = plan, worker.me()
        self.beats = 0
        self.seen: dict[str, tuple[Any, float]] = {}
        self.ended: dict[int, Told] = {}
        self.storage = open_storage(plan.storage, plan.folder)
        self.study = self._join()
        asked, before = plan.settings(), self.study.user_attrs["settings"]
        if before != asked:
            changed = [f"{key} {old} -> {new}" for key, (old, new) in differences(before, asked).items()]
            more = f" and {len(changed) - MOST_CHANGES} more" if len(changed) > MOST_CHANGES else ""
            law = f"it differs in {', '.join(changed[:MOST_CHANGES])}{more}"
            raise ConfigError(Fault("name", f"{plan.folder} holds another sweep", law, plan.another_name))
        self.listed: Any = self.study.user_attrs["listed"]  # in the order of the driver that began it

    def _join(self) -> "OptunaStudy":
        """The study of that name; one driver makes it and says what it is, the others wait for that."""
        import optuna

        common: dict[str, Any] = {"study_name": self.plan.study, "storage": self.storage, "pruner": _pruner(self.plan)}
        sampler, until = optuna.samplers.RandomSampler(), time.monotonic() + 10 * SETTLED
        direction = "minimize" if self.plan.mode == "min" else "maximize"
        try:
            study = optuna.create_study(direction=direction, sampler=sampler, **common)
        except optuna.exceptions.DuplicatedStudyError:
            study = optuna.load_study(sampler=sampler, **common)
            while "settings" not in study.user_attrs and time.monotonic() < until:
                time.sleep(0.1)
            if "settings" in study.user_attrs:
                return study
        study.set_user_attr("listed", self.plan.listed)
        study.set_user_attr("settings", self.plan.settings())
        return study

    def take(self, *, but: Collection[int] = ()) -> Told | None:
        """A trial for this driver to run: one that its driver has left, else a new one; None if there is none now.

        Those numbers that are in `but` it does not take.
        """
        for trial in self._trials():
            left = trial.state.name == "RUNNING" and trial.number not in but and self._is_left(trial)
            if left and self._claim(trial):
                attempt = trial.user_attrs.get("attempt", 0) + 1
                self._set(trial, attempt=attempt)
                return replace(self._begun(trial), worker=self.me, attempt=attempt)
        if len(self._trials()) >= self.plan.trials:
            return None
        number = self.study.ask().number
        trial = self._trial(number)
        if number >= self.plan.trials:  # other drivers were faster
            self.study.tell(number, state=_state("FAIL"))
            return None
        self._set(trial, worker=self.me, attempt=1)
        return replace(self._begun(trial), worker=self.me)

    def again(self, number: int, attempt: int) -> Told:
        """A trial of this driver, to be started once more after its start number `attempt`."""
        self._set(self._trial(number), attempt=attempt + 1)
        return self._read(self._trial(number))

    def is_mine(self, number: int) -> bool:
        """Whether a trial that this driver runs has not been given to another, which took it for dead."""
        trial = self._trial(number)
        return trial.state.name == "RUNNING" and trial.user_attrs.get("worker") == self.me

    def beat(self) -> None:
        """Say to drivers on other machines that this one lives; due several times in a lease."""
        self.beats += 1
        self.study.set_user_attr(f"worker {self.me}", self.beats)

    def report(self, number: int, step: int, score: float) -> bool:
        """Record a score on the way. True: the pruner would end the trial here."""
        trial = self._trial(number)
        if step not in trial.intermediate_values:
            self.storage.set_trial_intermediate_value(trial._trial_id, step, score)
        return step > self.plan.grace and bool(self.study.pruner.prune(self.study, self._trial(number)))

    def tell(self, number: int, result: Result) -> None:
        """Record how a trial ended.

        One that diverged is worth what its untrained network scores, else worse than every finite score: told as a
        failure it would teach the sampler nothing, and TPE would go on asking where training diverges.
        """
        self._set(self._trial(number), result=asdict(result))
        value, state = None, None
        if result.status == "diverged":
            worst = math.inf if self.plan.mode == "min" else -math.inf
            value = worst if result.untrained is None else result.untrained
        elif result.status == "pruned":
            state = _state("PRUNED")
        elif result.failed or result.score is None:
            state = _state("FAIL")
        else:
            value = result.score
        self.study.tell(number, value, state, skip_if_finished=True)

    def release(self, number: int) -> None:
        """Leave a trial that was interrupted to whoever goes on with this sweep."""
        if self.is_mine(number):
            self._set(self._trial(number), worker="")

    @property
    def rates(self) -> dict[str, float] | None:
        """What was found for each combination of models and optimizers, where sweep.lr_range asks for it."""
        return self.study.user_attrs.get("rates")

    @rates.setter
    def rates(self, rates: dict[str, float]) -> None:
        self.study.set_user_attr("rates", rates)

    def told(self) -> list[Told]:
        """Every trial that was ever begun, in order."""
        return [self.ended.get(trial.number) or self._read(trial) for trial in self._trials()]

    # --- one trial -------------------------------------------------------------------------------------------------

    def _trials(self) -> list["FrozenTrial"]:
        """Those of the sweep; what several drivers asked for beyond its end is none."""
        return self.study.get_trials(deepcopy=False)[: self.plan.trials]

    def _trial(self, number: int) -> "FrozenTrial":
        return self.study.get_trials(deepcopy=False)[number]

    def _set(self, trial: "FrozenTrial", **attributes: Any) -> None:
        """Write attributes of a trial; nothing of one that another driver has ended meanwhile."""
        from optuna.exceptions import UpdateFinishedTrialError

        with suppress(UpdateFinishedTrialError):
            for key, value in attributes.items():
                self.storage.set_trial_user_attr(trial._trial_id, key, value)

    def _read(self, trial: "FrozenTrial") -> Told:
        told, result = trial.user_attrs, None
        if trial.state.is_finished():
            result = Result(**told["result"]) if "result" in told else Result("failed", reason="its end was not told")
        read = Told(trial.number, told.get("values", {}), result, told.get("worker", ""), told.get("attempt", 1))
        if result is not None:
            self.ended[trial.number] = read
        return read

    def _begun(self, trial: "FrozenTrial") -> Told:
        """The trial with values: its own if it has them, else those of its number or of the sampler."""
        from optuna.samplers import PartialFixedSampler, RandomSampler
        from optuna.trial import Trial

        if "values" not in trial.user_attrs:
            point = self._point(trial.number)
            if point is None:
                self.study.sampler = _sampler(self.plan, trial.number)
            else:
                self.study.sampler = PartialFixedSampler(point, RandomSampler())
            sampled = Trial(self.study, trial._trial_id)
            for key, values in self.plan.space.items():
                values.suggest(sampled, key)
            typed = {key: values.typed(sampled.params[key], sampled.params) for key, values in self.plan.space.items()}
            self._set(trial, values=typed)
        return self._read(self._trial(trial.number))

    def _point(self, number: int) -> points.Point | None:
        """What follows from the number alone; None where the sampler is to learn from the other trials."""
        plan = self.plan
        if self.listed is not None:
            return dict(self.listed[number])
        if plan.sampler == "random":
            return points.independent(plan.space, plan.seed, number)
        alone = plan.lr_range is not None and list(plan.space) == ["optimizer.lr"] and plan.sampler in CHOOSING
        if alone and number < len(points.NEAR_FOUND):
            return {"optimizer.lr": points.NEAR_FOUND[number]}
        startup = 0 if alone else plan.startup
        ended = sum(trial.state.name in ("COMPLETE", "PRUNED") for trial in self._trials())
        if plan.sampler == "quasi" or number < startup or ended < 2:
            return points.evenly_spread(plan.space, plan.seed, number)
        return None

    # --- other drivers ---------------------------------------------------------------------------------------------

    def _is_left(self, trial: "FrozenTrial") -> bool:
        """Whether nobody runs it: released, or its driver has died here, or elsewhere has not beaten for a lease."""
        owner = trial.user_attrs.get("worker")
        if owner is None:  # just begun, or its driver died before it had written its name
            return self._is_still(f"trial {trial.number}", None, BORN)
        if owner == self.me:
            return False
        gone = worker.is_gone(owner) if owner else True
        if gone is not None:
            return gone
        return self._is_still(owner, self.study.user_attrs.get(f"worker {owner}"), self.plan.lease)

    def _is_still(self, name: str, beat: Any, seconds: float) -> bool:
        """Whether `beat` has been the same for so long, by the clock of this machine: no two clocks have to agree."""
        now = time.monotonic()
        before, since = self.seen.setdefault(name, (beat, now))
        if beat != before:
            self.seen[name] = beat, now
        return beat == before and now - since > seconds

    def _claim(self, trial: "FrozenTrial") -> bool:
        """Write this driver's name into a trial that was left; False if another did so at the same time.

        Fischer's mutual exclusion (Lamport 1987): write, wait longer than a write takes, and see whose name stands.
        """
        self._set(trial, worker=self.me)
        time.sleep(SETTLED)
        return self.is_mine(trial.number)


def _state(name: str) -> Any:
    from optuna.trial import TrialState

    return TrialState[name]


def _sampler(plan: Plan, number: int) -> "BaseSampler":
    """The sampler for one trial, with a seed of that trial's own: a resumed sweep repeats no draw.

    The points before the first that it chooses are `startup` evenly spread ones.
    """
    from optuna import samplers

    seed = (plan.seed * 1_000_003 + number) % 2**32
    if plan.sampler == "gp":  # the one sampler that imports torch into the driver
        return samplers.GPSampler(seed=seed, n_startup_trials=1)
    if plan.sampler == "cmaes":
        return samplers.CmaEsSampler(seed=seed, n_startup_trials=1, warn_independent_sampling=False)
    return samplers.TPESampler(seed=seed, n_startup_trials=1)


def _pruner(plan: Plan) -> "BasePruner":
    """What ends trials early. Steps are validations (or folds), counted from 1; `grace` of them are never pruned."""
    from optuna import pruners

    least = max(1, plan.grace)
    median = pruners.MedianPruner(n_startup_trials=plan.startup, n_warmup_steps=plan.grace)
    made: dict[str, Any] = {
        "none": pruners.NopPruner,
        "median": lambda: median,
        "halving": lambda: pruners.SuccessiveHalvingPruner(min_resource=least, reduction_factor=3),
        "hyperband": lambda: pruners.HyperbandPruner(min_resource=least, reduction_factor=3),
        "patient": lambda: pruners.PatientPruner(median, patience=plan.patience),
    }
    return made[plan.pruner]()
