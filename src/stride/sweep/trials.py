"""Trials: each a single run in a process of its own, so that whatever happens there costs this trial only.

They are forked from a server that has imported torch and Lightning once, which takes milliseconds; or started
fresh, where a fork cannot be had or would not do.
"""

import contextlib
import json
import multiprocessing
import os
import re
import signal
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from stride.errors import Exit
from stride.report import record
from stride.run_folder import HANDED_DOWN
from stride.secret import shown
from stride.sweep import trial_process
from stride.sweep.plan import ROOT

TRAIN = ROOT / "train.py"
PATIENCE = 20.0  # seconds between asking a trial to stop and killing it; it writes down where it was meanwhile
POLL = 0.05  # seconds
ENDED = ("finished", "stopped_early", "pruned", "diverged")
LOST = 255  # the exit code of a trial whose server was killed, and with it what it would have told
KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # Windows has one way
STOPPED = (Exit.INTERRUPTED, Exit.TERMINATED, Exit.REQUEUE, -signal.SIGINT, -signal.SIGTERM, -KILL, LOST)


@dataclass(frozen=True)
class Result:
    """How a trial ended: its status as in run.json, its score where it has one, and in one line why it failed.

    `untrained` is the score of its initial weights, known of one that diverged.
    """

    status: str
    score: float | None = None
    reason: str = ""
    untrained: float | None = None

    @property
    def failed(self) -> bool:
        """Whether it is no result. A run that diverged is one."""
        return self.status in ("failed", "interrupted")


@dataclass(frozen=True)
class Told:
    """A trial as the study has it: its values by key; `result` is None until it has ended.

    `worker` is the driver that runs it, empty if it was interrupted and waits for one; `attempt` counts its starts.
    """

    number: int
    values: dict[str, str]
    result: Result | None
    worker: str = ""
    attempt: int = 1


@dataclass
class Trial:
    """A trial that was started; its run folder is `folder`, what it prints goes to logs/ beside that.

    `step` and `score` are those of its last validation (or fold), `untrained` as in Result.
    """

    number: int
    values: dict[str, str]
    attempt: int
    slot: int
    process: BaseProcess
    pipe: Connection
    folder: Path
    stderr: Path
    began: float = field(default_factory=time.monotonic)
    step: int = 0
    score: float | None = None
    untrained: float | None = None

    def messages(self) -> Iterator[dict[str, Any]]:
        """What it has said since it was last asked."""
        with contextlib.suppress(OSError, EOFError):
            while self.pipe.poll():
                yield json.loads(self.pipe.recv_bytes())

    def answer(self, prune: bool) -> None:
        with contextlib.suppress(OSError):
            self.pipe.send_bytes(json.dumps({"prune": prune}).encode())

    def result(self) -> Result:
        """How it ended."""
        assert self.process.exitcode is not None
        return _result(self.process.exitcode, self)

    def close(self) -> None:
        """Let go of what the process has left; it has ended."""
        _signal([self], KILL)  # what it had started
        self.process.join()
        self.pipe.close()
        self.process.close()


class Processes:
    """Starts the trials of one driver.

    Args:
        script: what a trial runs: train.py.
        fresh: start each in a new process rather than from a warm one.
        warm: the modules that the warm one imports; what cannot be imported is left out, and told by the trials.
    """

    def __init__(self, script: Path, *, fresh: bool, warm: Sequence[str]) -> None:
        self.script, self.warm = script, list(warm)
        self.context: Any = multiprocessing.get_context("spawn" if fresh else "forkserver")
        self.fresh, self.is_warm = fresh, False
        self.started = 0

    def warm_up(self) -> None:
        """Have the server import; returns at once."""
        if not self.fresh:
            with _without_main():
                self.context.set_forkserver_preload(["stride.sweep.own_group", *self.warm])
                forkserver.ensure_running()

    def wait_until_warm(self) -> None:
        """Return once a trial that is asked for starts at once: who waits with one in hand keeps it from others."""
        if not self.fresh and not self.is_warm:
            with _without_main():
                first = self.context.Process(target=int)
                first.start()
                first.join()
            self.is_warm = True

    def start(
        self,
        words: Sequence[str],
        told: Told,
        sweep: Path,
        *,
        slot: int,
        threads: int | None,
        gpus: str | None,
        answers: bool,
    ) -> Trial:
        """Start `words` as a run of the folder `sweep`, in place `slot` of those that run at once."""
        number = told.number
        logs = sweep / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        out, err = logs / f"{number}-stdout.log", logs / f"{number}-stderr.log"
        err.unlink(missing_ok=True)  # the reason of a failure is that of the last start
        environment = {key: value for key, value in os.environ.items() if not OF_THE_DRIVER.fullmatch(key)}
        if threads is not None:
            environment["OMP_NUM_THREADS"] = str(threads)
        if gpus is not None:
            environment["CUDA_VISIBLE_DEVICES"] = gpus
        line = [*words, f"name={number}", f"output_root={_quoted(sweep)}"]
        here, there = multiprocessing.Pipe()
        process = self.context.Process(
            target=trial_process.run, args=(self.script, line, (out, err), environment, threads, there, answers)
        )
        with _without_main():
            process.start()
        self.started += 1
        there.close()
        return Trial(number, told.values, told.attempt, slot, process, here, sweep / str(number), err)

    def close(self) -> None:
        """End the server, which has no trials left: a later sweep of this process is to see the sources of then."""
        server: Any = forkserver._forkserver  # pyrefly: ignore[missing-attribute]
        if not self.fresh and server._forkserver_pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(server._forkserver_pid, KILL)  # it may be busy importing
            server._stop()


# What says where the driver itself runs. A trial that saw it would take itself for one process of a larger run:
# Lightning refuses one device in a job of four tasks, and requeues the whole job for one trial.
OF_THE_DRIVER = re.compile(
    rf"{HANDED_DOWN}|SLURM_.*|TORCHELASTIC_.*|(LOCAL_|GROUP_|ROLE_|NODE_)?RANK|(LOCAL_|ROLE_)?WORLD_SIZE|MASTER_(ADDR|PORT)"
)


@contextmanager
def _without_main() -> Iterator[None]:
    """Keep multiprocessing from importing this program's main module in the trials: they run train.py."""
    main = sys.modules["__main__"]
    kept = {name: vars(main).pop(name) for name in ("__file__", "__spec__") if name in vars(main)}
    try:
        vars(main)["__spec__"] = None
        yield
    finally:
        vars(main).update(kept)


def stop(trials: Collection[Trial], how: int, hurry: Sequence[int] = ()) -> None:
    """Send the signal `how` to the trials, wait for them, and kill what is left after PATIENCE seconds.

    `hurry` are the signals that this process has got; a second one ends the patience.
    """
    _signal(trials, how)
    until = time.monotonic() + PATIENCE
    while any(trial.process.exitcode is None for trial in trials) and time.monotonic() < until and len(hurry) < 2:
        time.sleep(POLL)
    _signal(trials, KILL)
    for trial in trials:
        trial.process.join()
        close_record(trial.folder, "interrupted")


def recorded(folder: Path) -> Result | None:
    """The result that a trial's own record tells; None where its run has not ended."""
    with contextlib.suppress(OSError, ValueError, LookupError):
        data = record.read(folder)
        if data["status"] in ENDED:
            return Result(data["status"], data["score"]["value"])
    return None


def _quoted(path: Path) -> str:
    """`path` as a value on the line; one with a space, a comma or a bracket needs quotes of its own there."""
    text = str(path)
    if re.fullmatch(r"[A-Za-z0-9_./-]+", text):
        return text
    return "'" + text.replace("'", "\\'") + "'"


def _signal(trials: Collection[Trial], how: int) -> None:
    """Send `how` to the trials and to what they have started."""
    for trial in trials:
        assert trial.process.pid is not None
        if not hasattr(os, "killpg"):
            trial.process.terminate()
            continue
        try:
            os.killpg(trial.process.pid, how)
        except (ProcessLookupError, PermissionError):  # it has ended, or is too young to have a group
            with contextlib.suppress(ProcessLookupError):
                if trial.process.exitcode is None:
                    os.kill(trial.process.pid, how)


def _result(code: int, trial: Trial) -> Result:
    ended = recorded(trial.folder) if code in (Exit.DONE, Exit.DIVERGED) else None
    if ended is not None:
        return replace(ended, untrained=trial.untrained)
    status = "interrupted" if code in STOPPED else "failed"
    close_record(trial.folder, status)
    return Result(status, None, _reason(code, trial.stderr))


def _reason(code: int, stderr: Path) -> str:
    """The last `error:` line of a trial that failed, else the last line that it wrote to stderr."""
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    if code in (Exit.DONE, Exit.DIVERGED):
        return f"exit code {code}, but no result in run.json"
    written = stderr.read_text(encoding="utf-8", errors="replace") if stderr.is_file() else ""
    lines = [line.strip() for line in written.splitlines() if line.strip()]
    told = next((line for line in reversed(lines) if line.startswith("error:")), None)
    return shown(told or (lines[-1] if lines else f"exit code {code}, and nothing on stderr"))


def close_record(folder: Path, status: str) -> None:
    """Give the run.json of a process that has died the status that it could not write itself."""
    with contextlib.suppress(OSError, ValueError):
        data = record.read(folder)
        if data["status"] not in ENDED:
            record.Record(folder, data).update(status=status)
