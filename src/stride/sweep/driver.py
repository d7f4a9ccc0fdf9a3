"""The driver of a sweep: starts trials, waits, tells the study, keeps the report; never imports torch."""

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from stride.errors import ConfigError, Exit, Fault
from stride.report.sweep import SweepReport, print_report, write
from stride.report.table import Row, best, read_row
from stride.sweep import plan as plans
from stride.sweep import trials
from stride.sweep.plan import Plan
from stride.sweep.space import number
from stride.sweep.study import JOURNAL, Study, Told
from stride.sweep.trials import Result, Trial

if TYPE_CHECKING:
    from omegaconf import DictConfig

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class SweepOutcome:
    """What a sweep came to: its folder, its report, and the process's exit code."""

    folder: Path
    report: SweepReport
    exit_code: int = Exit.DONE


def run(words: Sequence[str], cfg: "DictConfig", *, command: Sequence[str] = trials.TRAIN) -> SweepOutcome:
    """Run the sweep that `words` (overrides, several values or intervals among them) and their config ask for.

    A sweep that is finished already only prints its report. `command` is what runs a trial: its words, a name and
    an output_root are added. Raises ConfigError, before anything runs, for what cannot be swept and for a folder
    that cannot be used.
    """
    plan = plans.read(words, cfg)
    console = Console()
    if plan.folder.exists():
        return _again(plan, console)
    try:
        plan.folder.mkdir(parents=True)
    except OSError as error:
        raise ConfigError(Fault("output_root", f"{plan.folder}: {error.strerror}")) from error
    with _caught() as signals:
        study = Study(plan, plan.folder)
        _run_trials(plan, study, command, console, signals)
        told = study.told()
        report = _report(plan, told, "interrupted" if _cut_short(plan, told) else "finished")
        write(plan.folder, report)
    print_report(console, plan.folder, report)
    if signals:
        code = Exit.INTERRUPTED if signals[0] == signal.SIGINT else Exit.TERMINATED
    else:
        code = Exit.CRASH if any(trial.result is None or trial.result.failed for trial in told) else Exit.DONE
    return SweepOutcome(plan.folder, report, code)


def _again(plan: Plan, console: Console) -> SweepOutcome:
    """The report of a sweep that is finished. Raises ConfigError if the folder holds anything else."""
    folder = plan.folder
    another = f"name={folder.name}-2"
    if not (folder / JOURNAL).is_file():
        raise ConfigError(Fault("name", f"{folder} is there already", "two runs never share a folder", another))
    study = Study(plan, folder)
    if study.settings != plan.settings():
        raise ConfigError(Fault("name", f"{folder} holds a sweep of another line", "", another))
    told = study.told()
    if _cut_short(plan, told):
        ended = f"{sum(trial.result is not None for trial in told)} of {plan.trials} trials"
        law = "it is still running, or was cut short"
        raise ConfigError(Fault("name", f"{folder} holds this sweep with {ended}", law, another))
    report = _report(plan, told, "finished")
    print_report(console, folder, report)
    console.print(f"finished before; to run it anew: {another}", markup=False, highlight=False)
    return SweepOutcome(folder, report)


def _cut_short(plan: Plan, told: Sequence[Told]) -> bool:
    return sum(trial.result is not None for trial in told) < plan.trials


def _run_trials(plan: Plan, study: Study, command: Sequence[str], console: Console, signals: Sequence[int]) -> None:
    """Run every trial, `jobs` at once, until the last has ended or a signal came; none is left behind."""
    threads = max(1, (os.cpu_count() or 1) // plan.jobs) if plan.jobs > 1 else None
    running: dict[int, Trial] = {}
    begun = 0
    try:
        with console.status("") as live:
            while not signals and (running or begun < plan.trials):
                changed = False
                while begun < plan.trials and len(running) < plan.jobs:
                    number, values = study.ask()
                    running[number] = trials.start(command, plan.words(values), number, plan.folder, threads)
                    begun, changed = begun + 1, True
                for number, trial in list(running.items()):
                    result = trial.result()
                    if result is not None:
                        del running[number]
                        study.tell(number, result)
                        console.print(_line(number, result, plan), markup=False, highlight=False, soft_wrap=True)
                        changed = True
                if changed:
                    report = _report(plan, study.told(), "running")
                    write(plan.folder, report)
                    live.update(_progress(report))
                else:
                    time.sleep(trials.POLL)
    finally:
        trials.stop(list(running.values()), signals[0] if signals else signal.SIGTERM, signals)


def _line(number: int, result: Result, plan: Plan) -> str:
    reached = f"{plan.score} {result.score:.4g}" if result.score is not None else result.reason
    return f"trial {number}: {result.status}{f', {reached}' if reached else ''}"


def _progress(report: SweepReport) -> str:
    running = sum(row.status == "running" for row in report.rows)
    leader = report.best
    found = f"best {report.score} {leader.score:.4g} (trial {leader.name})" if leader else "no score yet"
    return escape(f"{len(report.rows) - running} of {report.trials} done, {running} running; {found}")


def _report(plan: Plan, told: Sequence[Told], status: str) -> SweepReport:
    rows = [_row(plan, trial, "running" if status == "running" else "interrupted") for trial in told]
    leader = best(rows)
    return SweepReport(
        name=plan.folder.name,
        status=status,
        command=plan.command,
        trials=plan.trials,
        score=plan.score,
        mode=plan.mode,
        keys=list(plan.space),
        rows=rows,
        best_line=plan.line(leader.words) if leader else None,
        notes=list(_edges(plan, leader.words)) if leader else [],
    )


def _row(plan: Plan, trial: Told, open_status: str) -> Row:
    """What the run folder of a trial says, and what only its parent process knows: that it failed, and why."""
    folder = plan.folder / str(trial.number)
    known = (folder / "run.json").is_file()
    row = read_row(folder, folder.name) if known else Row(folder.name, open_status)
    row = replace(
        row,
        words=trial.values,
        score_name=row.score_name or plan.score,
        mode=plan.mode,
        asked=row.asked or number(trial.values.get("optimizer.lr", "")),
    )
    return replace(row, status=trial.result.status, reason=trial.result.reason) if trial.result else row


def _edges(plan: Plan, values: dict[str, str]) -> Iterator[str]:
    """A sentence for each learning rate that is best at an end of what was tried."""
    for key, text in values.items():
        side = plan.space[key].edge(text) if key.endswith("lr") else None
        if side:
            where = "below" if side == "lower" else "above"
            yield f"the best {key}={text} lies at the {side} edge of {plan.space[key]}; a better one may lie {where}"


@contextmanager
def _caught() -> Iterator[list[int]]:
    """The signals that ask this process to stop, as they come, so that none ends it in the middle of a write.

    Those that are ignored (nohup) stay so. Only the main thread may do this; elsewhere the list stays empty.
    """
    signals: list[int] = []
    main = threading.current_thread() is threading.main_thread()
    asked = [one for one in STOPPING if main and signal.getsignal(one) is not signal.SIG_IGN]
    before = {one: signal.signal(one, lambda number, _: signals.append(number)) for one in asked}
    try:
        yield signals
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
