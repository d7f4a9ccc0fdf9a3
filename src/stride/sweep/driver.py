"""The driver of a sweep: starts trials, waits, tells the study, keeps the report; never imports torch.

Several drivers of one line, on one machine or many, share its study: each starts what the others have not.
"""

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing import connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from stride.errors import ConfigError, Exit, Fault
from stride.report.sweep import SweepReport, print_report, write
from stride.report.table import Row, best, ranked, read_row
from stride.run_folder import in_use
from stride.sweep import devices, trials
from stride.sweep import plan as plans
from stride.sweep.live import Live
from stride.sweep.plan import Plan
from stride.sweep.space import number
from stride.sweep.study import Study, Told
from stride.sweep.trials import Processes, Result, Trial

if TYPE_CHECKING:
    from omegaconf import DictConfig

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ATTEMPTS = 3  # starts of a trial that is killed by something else than its sweep
LOOK = 1.0  # seconds between two looks at what other drivers have left
TICK = 0.25  # seconds between two pictures of the live table
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
    plan = plans.read(words, cfg)
    console = Console()
    new = _is_new(plan)
    fresh = plan.start == "fresh" or (plan.start == "auto" and _needs_fresh(cfg))
    processes = Processes(script, fresh=fresh, warm=_warm(cfg) if warm is None else warm)
    if new:
        processes.warm_up()  # imports, while this process imports Optuna
    try:
        with _caught() as signals:
            sweep = Sweep(plan, Study(plan), processes, console, cfg, signals)
            if sweep.is_done():
                return _again(sweep)
            processes.warm_up()
            return sweep.run()
    finally:
        processes.close()


def _is_new(plan: Plan) -> bool:
    """Whether the sweep's folder is still to be made. Raises ConfigError if it holds something else than a sweep."""
    folder = plan.folder
    try:
        there = {path.name for path in folder.iterdir()}
    except FileNotFoundError:
        return True
    except OSError as error:
        raise ConfigError(Fault("output_root", f"{folder}: {error.strerror}")) from error
    ours = there & {"study.journal", "sweep.json", "logs"}
    if there and not ours:
        raise ConfigError(Fault("name", f"{folder} is there already", "it holds no sweep", plan.another_name))
    return not there


def _needs_fresh(cfg: "DictConfig") -> bool:
    """Whether a fork from a warm process cannot be had, or would not do."""
    from multiprocessing import get_all_start_methods

    no_fork = "forkserver" not in get_all_start_methods() or os.uname().sysname == "Darwin"
    return no_fork or devices.several(cfg.trainer.devices, cfg.trainer.num_nodes)


def _warm(cfg: "DictConfig") -> list[str]:
    """What every trial would import: torch and Lightning, and the modules of what the config names."""
    from omegaconf import OmegaConf

    def targets(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            if isinstance(node.get("_target_"), str):
                yield node["_target_"]
            node = list(node.values())
        if isinstance(node, list):
            for item in node:
                yield from targets(item)

    named = (target.rpartition(".")[0] for target in targets(OmegaConf.to_container(cfg)))
    return list(dict.fromkeys([WARM, *named]))


def _again(sweep: "Sweep") -> SweepOutcome:
    """The report of a sweep that is finished."""
    report = sweep.report("finished")
    print_report(sweep.console, sweep.plan.folder, report)
    another = f"finished before; to run it anew: {sweep.plan.another_name}"
    sweep.console.print(another, markup=False, highlight=False)
    return SweepOutcome(sweep.plan.folder, report)


@dataclass
class Sweep:
    """One driver's part in a sweep, from the first trial that it starts to the report."""

    plan: Plan
    study: Study
    processes: Processes
    console: Console
    cfg: "DictConfig"
    signals: Sequence[int]
    running: dict[int, Trial] = field(default_factory=dict)
    rows: dict[int, Row] = field(default_factory=dict)
    written: float = -60.0
    writing: float = 0.0

    def is_done(self) -> bool:
        return sum(trial.result is not None for trial in self.study.told()) >= self.plan.trials

    def run(self) -> SweepOutcome:
        """Run trials until the last has ended, too many have failed, or a signal came; none is left behind."""
        live = Live(self.console, self.plan)
        try:
            with live:
                self._work(live)
        finally:
            how = self.signals[0] if self.signals else signal.SIGTERM
            trials.stop(list(self.running.values()), how, self.signals)
            for trial in self.running.values():
                trial.close()
                self.study.release(trial.number)
        done = self.is_done()
        report = self.report("finished" if done else "interrupted")
        write(self.plan.folder, report)
        print_report(self.console, self.plan.folder, report)
        return SweepOutcome(self.plan.folder, report, self._exit_code(done))

    def _exit_code(self, done: bool) -> int:
        if self.signals:
            return Exit.INTERRUPTED if self.signals[0] == signal.SIGINT else Exit.TERMINATED
        return Exit.CRASH if self._failures() or not done else Exit.DONE

    def _failures(self) -> int:
        return sum(trial.result is not None and trial.result.failed for trial in self.study.told())

    def _too_many_failed(self) -> bool:
        most = self.plan.max_failures
        return most is not None and self._failures() > most

    def _work(self, live: Live) -> None:
        beat = look = 0.0
        while not self.signals:
            now = time.monotonic()
            if now >= beat:
                self.study.beat()
                self._let_go_of_what_was_taken()
                beat = now + self.plan.lease / 5
            if now >= look and len(self.running) < self.plan.jobs:
                if not self._start_more():
                    look = now + LOOK
                    if not self.running and (self.is_done() or self._too_many_failed()):
                        return
                self._write(live)
            self._wait()
            if self._listen() | self._end():
                look = 0.0
                self._write(live)
            live.show(self.rows, self.running)

    def _start_more(self) -> bool:
        """Fill the free places. False: there is nothing to start now."""
        while len(self.running) < self.plan.jobs and not self.signals:
            told = None if self._too_many_failed() else self.study.take()
            if told is None:
                return False
            self._begin(told)
        return True

    def _begin(self, told: Told) -> None:
        """Start a trial, or record what its last process had come to when it, or its driver, was killed."""
        before = self._prepare(told)
        if before is None:
            self._start(told)
        else:
            self._tell(told.number, before)

    def _prepare(self, told: Told) -> Result | None:
        """Make a trial's folder fit for a start; the result, if its last process had come to one.

        A run that has a checkpoint goes on there; what has not come so far, or is no training, starts over.
        """
        folder = self.plan.folder / str(told.number)
        while in_use(folder) and not self.signals:
            time.sleep(trials.POLL)  # the process of a driver that was killed is about to end
        if not folder.exists():
            return None
        before = trials.ended_before(folder)
        if before is None and not (folder / "checkpoints").is_dir():
            shutil.rmtree(folder)
        return before

    def _start(self, told: Told) -> None:
        plan = self.plan
        slots = devices.gpu_slots(self.cfg.trainer.accelerator, self.cfg.trainer.devices)
        slot = next(at for at in range(plan.jobs) if all(trial.slot != at for trial in self.running.values()))
        self.running[told.number] = self.processes.start(
            plan.words(told.values),
            told.number,
            told.values,
            told.attempt,
            plan.folder,
            slot=slot,
            threads=devices.threads(plan.jobs),
            gpus=slots[slot % len(slots)] if slots else None,
            answers=plan.pruner != "none",
        )

    def _wait(self) -> None:
        """Until a trial has something to say, or has ended, or it is time for the next picture."""
        if self.running:
            ends = [end for trial in self.running.values() for end in (trial.process.sentinel, trial.pipe)]
            connection.wait(ends, timeout=TICK)
        else:
            time.sleep(TICK)

    def _listen(self) -> bool:
        """Hear what the trials say, and answer."""
        heard = False
        for trial in self.running.values():
            for message in trial.messages():
                heard = True
                if "untrained" in message:
                    trial.untrained = message["untrained"]
                    continue
                trial.step, trial.score = message["step"], message["score"]
                if self.plan.pruner != "none":
                    trial.answer(self.study.report(trial.number, trial.step, trial.score))
        return heard

    def _end(self) -> bool:
        """Record the trials that have ended; one that something else has killed starts again."""
        ended = [(trial, result) for trial in self.running.values() if (result := trial.result()) is not None]
        for trial, result in ended:
            del self.running[trial.number]
            trial.close()
            if not self.study.is_mine(trial.number):
                continue
            if result.status != "interrupted":
                self._tell(trial.number, result)
            elif self.signals:
                self.study.release(trial.number)
            elif trial.attempt < ATTEMPTS:
                self._begin(self.study.again(trial.number, trial.attempt))
            else:
                trials.close_record(trial.folder, "failed")
                self._tell(trial.number, Result("failed", reason=f"{result.reason} {ATTEMPTS} times"))
        return bool(ended)

    def _tell(self, number: int, result: Result) -> None:
        self.study.tell(number, result)
        if not self.console.is_terminal:
            self.console.print(_line(number, result, self.plan), markup=False, highlight=False, soft_wrap=True)
        self._drop_checkpoints()

    def _let_go_of_what_was_taken(self) -> None:
        """Stop the trials that another driver has taken, because this one had not been heard of for a lease."""
        lost = [trial for trial in self.running.values() if not self.study.is_mine(trial.number)]
        trials.stop(lost, signal.SIGKILL)
        for trial in lost:
            del self.running[trial.number]
            trial.close()

    def _drop_checkpoints(self) -> None:
        """Remove those of all trials that have ended, but for the best few."""
        from stride.report import record

        if self.plan.keep_checkpoints is None:
            return
        ended = [row for told, row in self._rows("running") if told.result is not None]
        for row in ranked(ended)[self.plan.keep_checkpoints :]:
            checkpoints = self.plan.folder / row.name / "checkpoints"
            if checkpoints.is_dir():
                folder = checkpoints.parent
                record.Record(folder, record.read(folder)).update(best_checkpoint=None)
                shutil.rmtree(checkpoints, ignore_errors=True)

    def _write(self, live: Live) -> None:
        """Write the report, but not so often that it costs more than a twentieth of the time."""
        now = time.monotonic()
        if now - self.written < max(1.0, 20 * self.writing):
            return
        write(self.plan.folder, self.report("running"))
        self.written, self.writing = time.monotonic(), time.monotonic() - now

    def report(self, status: str) -> SweepReport:
        rows = [row for _, row in self._rows(status)]
        leader, plan = best(rows), self.plan
        notes = [*_edges(plan, leader.words)] if leader else []
        if status != "finished" and self._too_many_failed():
            law = f"more than sweep.max_failures={plan.max_failures}"
            notes.append(f"stopped: {self._failures()} trials failed, {law}; the same line with more of them goes on")
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
            notes=notes,
        )

    def _rows(self, status: str) -> list[tuple[Told, Row]]:
        """What each trial's run folder says, and what only the study knows: that it failed, and why."""
        rows = []
        for told in self.study.told():
            row = self.rows.get(told.number)
            if row is None:
                row = _row(self.plan, told)
                if told.result is not None:
                    self.rows[told.number] = row
            rows.append((told, row))
        return rows


def _row(plan: Plan, told: Told) -> Row:
    folder = plan.folder / str(told.number)
    known = (folder / "run.json").is_file()
    row = read_row(folder, folder.name) if known else Row(folder.name, "waiting")
    row = replace(
        row,
        words=told.values,
        score_name=row.score_name or plan.score,
        mode=plan.mode,
        asked=row.asked or number(told.values.get("optimizer.lr", "")),
    )
    if told.result is None:
        return replace(row, status="running" if told.worker else "interrupted")
    score = told.result.score if row.score is None else row.score  # of another machine: its folder is not here
    return replace(row, status=told.result.status, reason=told.result.reason, score=score)


def _line(number: int, result: Result, plan: Plan) -> str:
    reached = f"{plan.score} {result.score:.4g}" if result.score is not None else result.reason
    return f"trial {number}: {result.status}{f', {reached}' if reached else ''}"


def _edges(plan: Plan, values: dict[str, str]) -> Iterator[str]:
    """A sentence for each learning rate that is best at an end of what was tried, with the wider line to run."""
    for key, text in values.items():
        side = plan.space[key].edge(text) if key.endswith("lr") else None
        if side:
            where, line = "below" if side == "lower" else "above", plan.wider(key, side)
            wider = f", try: {line}" if line else ""
            what = f"the best {key}={text} lies at the {side} edge of {plan.space[key]}"
            yield f"{what}; a better one may lie {where}{wider}"


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
