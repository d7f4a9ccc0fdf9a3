"""The driver of a sweep: its stages, its folder, its end; never imports torch.

Several drivers of one line, on one machine or many, share its study: each starts what the others have not.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from stride.build import targets
from stride.errors import ConfigError, Exit, Fault
from stride.lr.duration import Duration
from stride.report.cross_validation import mean, standard_error
from stride.report.sweep import Confirmed, SweepReport, print_report, write
from stride.stop import SIGNALS
from stride.sweep import devices, trials
from stride.sweep import plan as plans
from stride.sweep.plan import Plan
from stride.sweep.space import AroundFound
from stride.sweep.storage import JOURNAL
from stride.sweep.study import Study
from stride.sweep.trials import Processes
from stride.sweep.work import Work

if TYPE_CHECKING:
    from omegaconf import DictConfig

STOPPING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)]
CONFIRMED = 3  # configurations that sweep.confirm runs again
WARM = "stride.warm"


@dataclass(frozen=True)
class SweepOutcome:
    """What a sweep came to: its folder, its report, and the process's exit code."""

    folder: Path
    report: SweepReport
    exit_code: int = Exit.DONE


def run(
    words: Sequence[str], cfg: "DictConfig", *, script: Path = trials.TRAIN, warm: Sequence[str] | None = None
) -> SweepOutcome:
    """Run the sweep that `words` (overrides, several values or intervals among them) and their config ask for.

    A sweep that is unfinished goes on; one that is finished only prints its report. `script` is what runs a trial:
    it is given the trial's words, a name and an output_root. `warm` are the modules imported once for all trials.

    Raises ConfigError, before anything runs, for what cannot be swept and for a folder that cannot be used.
    """
    words = [word for word in words if word.lstrip("+").partition("=")[0] != "time_limit"]  # the sweep's, no trial's
    plan = plans.read(words, cfg)
    console = Console()
    new = _is_new(plan)
    fresh = plan.start == "fresh" or (plan.start == "auto" and _needs_fresh(cfg, plan))
    processes = Processes(script, fresh=fresh, warm=_warm(cfg) if warm is None else warm)
    share = devices.share(plan.jobs, cfg.trainer.accelerator, cfg.trainer.devices)
    if new:
        processes.warm_up()  # imports, while this process imports Optuna
    try:
        with _caught(cfg.get("time_limit")) as signals:

            def at_work(plan: Plan) -> Work:
                return Work(plan, Study(plan), processes, share, console, signals)

            sweep = at_work(plan)
            if plan.lr_range:
                sweep.set_plan(_find_rates(sweep, at_work, cfg.optimizer.lr))
            if not sweep.is_done():
                sweep.run()
            confirmed = _confirm(sweep, at_work)
            outcome = _finish(sweep, confirmed)
    finally:
        processes.close()
    if not processes.started and not signals and sweep.is_done():
        told = f"finished before; to run it anew: {plan.another_name}"
        console.print(told, markup=False, highlight=False)
        return replace(outcome, exit_code=Exit.DONE)
    return outcome


def _is_new(plan: Plan) -> bool:
    """Whether the sweep's folder is still to be made. Raises ConfigError if it holds something else than a sweep."""
    folder = plan.folder
    try:
        there = {path.name for path in folder.iterdir()}
    except FileNotFoundError:
        return True
    except OSError as error:
        raise ConfigError(Fault("output_root", f"{folder}: {error.strerror}")) from error
    ours = there & {JOURNAL, "sweep.json", "logs"}
    if there and not ours:
        raise ConfigError(Fault("name", f"{folder} is there already", "it holds no sweep", plan.another_name))
    return not there


def _needs_fresh(cfg: "DictConfig", plan: Plan) -> bool:
    """Whether a fork from a warm process cannot be had, or would not do."""
    from multiprocessing import get_all_start_methods

    no_fork = "forkserver" not in get_all_start_methods() or sys.platform == "darwin"
    swept = any(key.partition(".")[0] == "trainer" for key in plan.space)
    return no_fork or swept or devices.several(cfg.trainer.devices, cfg.trainer.num_nodes)


def _warm(cfg: "DictConfig") -> list[str]:
    """What every trial would import: torch and Lightning, and the modules of what the config names."""
    named = (target.rpartition(".")[0] for _, target in targets(cfg))
    return list(dict.fromkeys([WARM, *named]))


def _find_rates(sweep: Work, at_work: Callable[[Plan], Work], asked: float) -> Plan:
    """The plan with the range of the learning rate around what the finder found, once for each combination.

    What was found stands in the study, so that all drivers search the same range. Where the finder could not tell,
    or failed, the range lies around the `asked` rate.
    """
    plan = sweep.plan
    around = plan.space["optimizer.lr"]
    assert isinstance(around, AroundFound)
    rates = sweep.study.rates
    if rates is None:
        finding = at_work(plan.to_find())
        finding.run()
        if not finding.is_done():
            return plan  # a signal came
        rows = finding.ranking.rows()
        rates = {around.combination(row.words): row.found or row.asked or asked for row in rows}
        sweep.study.rates = rates
    return replace(plan, space=plan.space | {"optimizer.lr": replace(around, rates=rates)})


def _confirm(sweep: Work, at_work: Callable[[Plan], Work]) -> list[Confirmed]:
    """The best configurations on fresh seeds, the best mean first; empty where that was not asked for, or cut short."""
    plan = sweep.plan
    leaders = sweep.ranking.best(CONFIRMED) if plan.confirm and sweep.is_done() else []
    if not leaders or sweep.signals:
        return []
    again = at_work(plan.to_confirm([row.words for row in leaders]))
    if not again.is_done():
        again.run()
    if not again.is_done():
        return []
    rows = again.ranking.rows()
    confirmed = []
    for leader in leaders:
        words = {key: text for key, text in leader.words.items() if key != "seed"}
        scores = [row.score for row in rows if {key: row.words[key] for key in words} == words]
        confirmed.append(Confirmed(leader.name, leader.words, scores, mean(scores), standard_error(scores)))
    sign = 1 if plan.mode == "min" else -1
    return sorted(confirmed, key=lambda one: (one.mean is None, sign * (one.mean or 0.0)))


def _finish(sweep: Work, confirmed: Sequence[Confirmed]) -> SweepOutcome:
    """The report of what this sweep has come to, and the exit code that says it."""
    plan, signals, done, failures = sweep.plan, sweep.signals, sweep.is_done(), sweep.failures()
    notes = []
    if not done and sweep.too_many_failed():
        law = f"more than sweep.max_failures={plan.max_failures}"
        notes.append(f"stopped: {failures} trials failed, {law}; the same line with more of them goes on")
    status = "finished" if done and not signals else "interrupted"
    report = sweep.ranking.report(status, notes=notes, confirmed=confirmed)
    write(plan.folder, report)
    print_report(sweep.console, plan.folder, report)
    code = Exit.CRASH if failures or not done else Exit.DONE
    if signals:
        code = SIGNALS.get(signal.Signals(signals[0]), Exit.TERMINATED)
    return SweepOutcome(plan.folder, report, code)


@contextmanager
def _caught(limit: str | None) -> Iterator[list[int]]:
    """The signals that ask this process to stop, as they come, so that none ends it in the middle of a write.

    Those that are ignored (nohup) stay so. Only the main thread may do this; elsewhere the list stays empty. Before
    `limit`, the wall-clock time that the sweep may take, is over, it sends itself the one that asks to be requeued.
    """
    signals: list[int] = []
    main = threading.current_thread() is threading.main_thread()
    asked = [one for one in STOPPING if main and signal.getsignal(one) is not signal.SIG_IGN]
    before = {one: signal.signal(one, lambda number, _: signals.append(number)) for one in asked}
    clock = None
    if limit and signal.SIGUSR1 in before:
        seconds = Duration.parse(limit).seconds()
        clock = threading.Timer(max(seconds / 2, seconds - trials.PATIENCE), os.kill, (os.getpid(), signal.SIGUSR1))
        clock.daemon = True
        clock.start()
    try:
        yield signals
    finally:
        if clock:
            clock.cancel()
        for one, handler in before.items():
            signal.signal(one, handler)
