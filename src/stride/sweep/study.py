"""The study of a sweep: asks Optuna which point comes next, tells it what was reached, keeps both in a journal file.

The journal is the sweep's memory: which trials there were, at which values, and how each of them ended.
"""

import itertools
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stride.sweep.plan import Plan
from stride.sweep.space import Choice
from stride.sweep.trials import Result

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial, Trial

JOURNAL = "study.journal"


@dataclass(frozen=True)
class Told:
    """A trial as the journal has it: its values by key, and how it ended; None while it runs or if it was cut short."""

    number: int
    values: dict[str, str]
    result: Result | None


class Study:
    """Ask and tell over the journal in `folder`; a folder without one gets one, with every point of a grid in it."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        new = not (folder / JOURNAL).exists()
        self.plan = plan
        self.asked: dict[int, Trial] = {}
        self.study = optuna.create_study(
            study_name="sweep",
            storage=JournalStorage(JournalFileBackend(str(folder / JOURNAL))),
            sampler=_sampler(plan),
            direction="minimize" if plan.mode == "min" else "maximize",
            load_if_exists=True,
        )
        if new:
            self.study.set_user_attr("settings", plan.settings())
            for point in _points(plan) if plan.sampler == "grid" else ():
                self.study.enqueue_trial(point)

    @property
    def settings(self) -> object:
        """The settings of the plan that this journal was begun with."""
        return self.study.user_attrs.get("settings")

    def ask(self) -> tuple[int, dict[str, str]]:
        """The number of the next trial and the values to run it at."""
        trial = self.study.ask({key: values.distribution() for key, values in self.plan.space.items()})
        self.asked[trial.number] = trial
        return trial.number, self._texts(trial)

    def tell(self, number: int, result: Result) -> None:
        """Record how a trial ended.

        A diverged trial is told as worse than every finite score. As a failure it would teach the sampler nothing,
        and TPE would go on asking where training diverges.
        """
        from optuna.trial import TrialState

        trial = self.asked.pop(number)
        trial.set_user_attr("result", asdict(result))
        if result.status == "diverged":
            self.study.tell(trial, math.inf if self.plan.mode == "min" else -math.inf)
        elif result.failed or result.score is None:
            self.study.tell(trial, state=TrialState.FAIL)
        else:
            self.study.tell(trial, result.score)

    def told(self) -> list[Told]:
        """Every trial that was ever begun, in order."""
        trials = [trial for trial in self.study.get_trials(deepcopy=False) if trial.state.name != "WAITING"]
        results = [trial.user_attrs.get("result") for trial in trials]
        return [
            Told(trial.number, self._texts(trial), Result(**result) if result else None)
            for trial, result in zip(trials, results, strict=True)
        ]

    def _texts(self, trial: "Trial | FrozenTrial") -> dict[str, str]:
        return {key: str(trial.params[key]) for key in self.plan.space}


def _points(plan: Plan) -> list[dict[str, str]]:
    """Every combination of a grid; the key typed last changes fastest."""
    values = [choice.values for choice in plan.space.values() if isinstance(choice, Choice)]
    return [dict(zip(plan.space, point, strict=True)) for point in itertools.product(*values)]


def _sampler(plan: Plan) -> "BaseSampler":
    from optuna.samplers import RandomSampler, TPESampler

    if plan.sampler != "tpe":
        return RandomSampler(seed=plan.seed)  # of a grid, every point stands in the journal: nothing is drawn
    optunas_own = 10
    return TPESampler(seed=plan.seed, n_startup_trials=optunas_own if plan.startup is None else plan.startup)
