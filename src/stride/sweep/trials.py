"""A trial: one single run in a process of its own, so that whatever happens there costs this trial only."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from stride.errors import Exit
from stride.report import record
from stride.sweep.plan import ROOT

TRAIN = (sys.executable, str(ROOT / "train.py"))
PATIENCE = 20.0  # seconds between asking a trial to stop and killing it; it writes a last checkpoint meanwhile
POLL = 0.05  # seconds


@dataclass(frozen=True)
class Result:
    """How a trial ended: its status as in run.json, its score where it has one, and in one line why it failed."""

    status: str
    score: float | None = None
    reason: str = ""

    @property
    def failed(self) -> bool:
        """Whether it is no result. A run that diverged is one."""
        return self.status in ("failed", "interrupted")


@dataclass(frozen=True)
class Trial:
    """A trial that was started; its run folder is `folder`, what it prints goes to logs/ beside that."""

    process: subprocess.Popen
    folder: Path
    stderr: Path

    def result(self) -> Result | None:
        """How it ended, or None while it runs."""
        code = self.process.poll()
        return None if code is None else _result(code, self.folder, self.stderr)


def start(command: Sequence[str], words: Sequence[str], number: int, sweep: Path, threads: int | None) -> Trial:
    """Start `command words` as run NUMBER of the folder `sweep`, with that many `threads` (None: as it likes)."""
    logs = sweep / "logs"
    logs.mkdir(exist_ok=True)
    stderr = logs / f"{number}-stderr.log"
    environment = dict(os.environ) if threads is None else {"OMP_NUM_THREADS": str(threads), **os.environ}
    environment.pop("STRIDE_RUN_DIR", None)
    with (logs / f"{number}-stdout.log").open("wb") as out, stderr.open("wb") as err:
        process = subprocess.Popen(
            [*command, *words, f"name={number}", f"output_root={_quoted(sweep)}"],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=environment,
            start_new_session=True,  # Ctrl-C reaches the trial once, from `stop`, and so do the processes it starts
        )
    return Trial(process, sweep / str(number), stderr)


def stop(trials: Collection[Trial], how: int, hurry: Sequence[int] = ()) -> None:
    """Send the signal `how` to the trials, wait for them, and kill what is left after PATIENCE seconds.

    `hurry` are the signals that this process has got; a second one ends the patience.
    """
    _send(trials, how)
    until = time.monotonic() + PATIENCE
    while any(trial.process.poll() is None for trial in trials) and time.monotonic() < until and len(hurry) < 2:
        time.sleep(POLL)
    _send(trials, signal.SIGKILL)
    for trial in trials:
        trial.process.wait()
        _close_record(trial.folder, "interrupted")


def _quoted(path: Path) -> str:
    """`path` as a value on the line; one with a space, a comma or a bracket needs quotes of its own there."""
    text = str(path)
    if re.fullmatch(r"[A-Za-z0-9_./-]+", text):
        return text
    return "'" + text.replace("'", "\\'") + "'"


def _send(trials: Collection[Trial], how: int) -> None:
    for trial in trials:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(trial.process.pid, how)  # also what the trial has started


def _result(code: int, folder: Path, stderr: Path) -> Result:
    try:
        data = record.read(folder)
    except (OSError, ValueError):
        data = None
    if code == Exit.DONE and data is not None:
        return Result(data["status"], data["score"]["value"])
    if code == Exit.DIVERGED and data is not None:
        return Result("diverged", data["score"]["value"])
    stopped = code in (Exit.INTERRUPTED, Exit.TERMINATED, -signal.SIGINT, -signal.SIGTERM)
    status = "interrupted" if stopped else "failed"
    _close_record(folder, status)
    return Result(status, None, _reason(code, stderr))


def _reason(code: int, stderr: Path) -> str:
    """The last `error:` line of a trial that failed, else the last line that it wrote to stderr."""
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    if code in (Exit.DONE, Exit.DIVERGED):
        return f"exit code {code}, but no run.json"
    written = stderr.read_text(encoding="utf-8", errors="replace")
    lines = [line.strip() for line in written.splitlines() if line.strip()]
    told = next((line for line in reversed(lines) if line.startswith("error:")), None)
    return told or (lines[-1] if lines else f"exit code {code}, and nothing on stderr")


def _close_record(folder: Path, status: str) -> None:
    """Give the run.json of a process that died while `running` the status that it could not write itself."""
    try:
        data = record.read(folder)
    except (OSError, ValueError):
        return
    if data["status"] == "running":
        record.Record(folder, data).update(status=status)
