"""One driver's part in a study: it starts trials, listens to them, and records how they end."""

import shutil
import signal
import time
from collections.abc import Sequence
from multiprocessing import connection
from pathlib import Path

from rich.console import Console

from stride.report.sweep import write
from stride.run_folder import in_use
from stride.stop import SIGNALS
from stride.sweep import trials
from stride.sweep.devices import Share
from stride.sweep.live import Live
from stride.sweep.plan import Plan
from stride.sweep.ranking import Ranking
from stride.sweep.study import Study, Told
from stride.sweep.trial_process import LAST_WORDS
from stride.sweep.trials import Processes, Result, Trial

ATTEMPTS = 3  # starts of a trial that is killed by something else than its sweep
LOOK = 1.0  # seconds between two looks at what other drivers have left
PAUSE = 5.0  # seconds at least between two reports; the page asks for a new one every ten
TICK = 0.25  # seconds between two pictures of the live table


class Work:
    """Runs trials of `study` until the last has ended, too many have failed, or a signal came.

    Args:
        processes: what starts a trial.
        share: what each trial may use.
        signals: those that ask this process to stop, as they come.
    """

    def __init__(
        self, plan: Plan, study: Study, processes: Processes, share: Share, console: Console, signals: Sequence[int]
    ) -> None:
        self.plan, self.study, self.processes, self.share = plan, study, processes, share
        self.console, self.signals = console, signals
        self.ranking = Ranking(plan, study)
        self.running: dict[int, Trial] = {}
        self.in_use: set[int] = set()  # trials whose folder another process wrote into when they were last looked at
        self.written, self.writing = -60.0, 0.0

    def set_plan(self, plan: Plan) -> None:
        """Go on by a plan whose ranges have become known."""
        self.plan = self.study.plan = self.ranking.plan = plan

    def is_done(self) -> bool:
        """Whether every trial of the sweep has ended, whoever ran it."""
        return sum(trial.result is not None for trial in self.study.told()) >= self.plan.trials

    def failures(self) -> int:
        return sum(trial.result is not None and trial.result.failed for trial in self.study.told())

    def too_many_failed(self) -> bool:
        return self.plan.max_failures is not None and self.failures() > self.plan.max_failures

    def run(self) -> None:
        """Work; no trial of this driver is left running."""
        live = Live(self.console, self.plan)
        try:
            with live:
                self._loop(live)
        finally:
            how = self.signals[0] if self.signals[:1] and self.signals[0] in SIGNALS else signal.SIGTERM
            trials.stop(list(self.running.values()), how, self.signals)
            for trial in self.running.values():
                trial.close()
                self.study.release(trial.number)

    def _loop(self, live: Live) -> None:
        beat = look = 0.0
        while not self.signals:
            now = time.monotonic()
            if now >= beat:
                self.study.beat()
                self._let_go_of_what_was_taken()
                self.in_use.clear()
                beat = now + self.plan.lease / 5
            if now >= look and len(self.running) < self.plan.jobs:
                if not self._start_more():
                    look = now + LOOK
                    if not self.running and (self.is_done() or self.too_many_failed()):
                        return
                self._write()
            self._wait()
            if self._listen() | self._end():
                look = 0.0
                self._write()
            live.show(self.ranking.ended, self.running)

    def _start_more(self) -> bool:
        """Fill the free places. False: there is nothing to start now."""
        self.processes.wait_until_warm()
        while len(self.running) < self.plan.jobs and not self.signals:
            told = None if self.too_many_failed() else self.study.take(but=self.in_use)
            if told is None:
                return False
            self._begin(told)
        return True

    def _begin(self, told: Told) -> None:
        """Start a trial, or record what its last process had come to when it, or its driver, was killed.

        One whose last process still lives, on a machine that was not heard of, is left for later.
        """
        if not self._is_free(self.plan.folder / str(told.number)):
            self.study.release(told.number)
            self.in_use.add(told.number)
            return
        before = self._prepare(told)
        if before is None:
            self._start(told)
        else:
            self._tell(told.number, before)

    def _is_free(self, folder: Path) -> bool:
        """Whether nobody writes into a trial's folder; the process of a killed driver has time for its last words."""
        until = time.monotonic() + 2 * LAST_WORDS
        while in_use(folder):
            if time.monotonic() > until or self.signals:
                return False
            time.sleep(trials.POLL)
        return True

    def _prepare(self, told: Told) -> Result | None:
        """Make a trial's folder fit for a start; the result, if its last process had come to one.

        A run that has a checkpoint goes on there; what has not come so far, or is no training, starts over.
        """
        folder = self.plan.folder / str(told.number)
        if not folder.exists():
            return None
        before = trials.recorded(folder)
        if before is None and next(folder.rglob("checkpoints"), None) is None:
            shutil.rmtree(folder)
        return before

    def _start(self, told: Told) -> None:
        slot = next(at for at in range(self.plan.jobs) if all(trial.slot != at for trial in self.running.values()))
        self.running[told.number] = self.processes.start(
            self.plan.words(told.values),
            told,
            self.plan.folder,
            slot=slot,
            threads=self.share.threads,
            gpus=self.share.gpus(slot),
            answers=self.plan.pruner != "none",
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
            heard = self._hear(trial) or heard
        return heard

    def _hear(self, trial: Trial) -> bool:
        heard = False
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
        ended = [trial for trial in self.running.values() if trial.process.exitcode is not None]
        for trial in ended:
            self._hear(trial)
            result = trial.result()
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
        self.ranking.drop_checkpoints()

    def _let_go_of_what_was_taken(self) -> None:
        """Stop the trials that another driver has taken, because this one had not been heard of for a lease."""
        lost = [trial for trial in self.running.values() if not self.study.is_mine(trial.number)]
        trials.stop(lost, trials.KILL)
        for trial in lost:
            del self.running[trial.number]
            trial.close()

    def _write(self) -> None:
        """Write the report, but not so often that it costs more than a twentieth of the time."""
        now = time.monotonic()
        if now - self.written < max(PAUSE, 20 * self.writing):
            return
        write(self.plan.folder, self.ranking.report("running"))
        self.written, self.writing = time.monotonic(), time.monotonic() - now


def _line(number: int, result: Result, plan: Plan) -> str:
    reached = f"{plan.score} {result.score:.4g}" if result.score is not None else result.reason
    return f"{plan.kind} {number}: {result.status}{f', {reached}' if reached else ''}"
