"""What a trial says to the sweep that started it, and hears back; a run by itself is alone, and says nothing.

Each message is JSON over a pipe: `{"step": 3, "score": 0.5}` after the third validation, or the third fold, and
`{"untrained": 2.3}`, the score of the initial weights, after a divergence. Where the sweep has a pruner it answers a
score with `{"prune": true}` or false, and the trial waits for that.
"""

import contextlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

# The other processes of a trial on several devices have no pipe, but must take part in what the first one hears.
IN_A_TRIAL = "STRIDE_IN_A_TRIAL"


@dataclass
class _Sweep:
    pipe: "Connection"
    answers: bool


_sweep: _Sweep | None = None


def attach(pipe: "Connection", *, answers: bool) -> None:
    """Have this process speak to a sweep through `pipe`, which `answers` each score or does not."""
    global _sweep
    _sweep = _Sweep(pipe, answers)
    os.environ[IN_A_TRIAL] = "1"


def attached() -> bool:
    """Whether this process belongs to a trial of a sweep."""
    return IN_A_TRIAL in os.environ


def report(step: int, score: float) -> bool:
    """Tell the sweep the score after validation (or fold) number `step`, counted from 1.

    True: it wants this trial to end, because others are better.
    """
    if _sweep is None or not _say({"step": step, "score": score}) or not _sweep.answers:
        return False
    try:
        return bool(json.loads(_sweep.pipe.recv_bytes())["prune"])
    except (OSError, EOFError):  # the sweep is gone; whoever goes on with it finds this trial as it is then
        return False


def untrained(score: float) -> None:
    """Tell the sweep what the initial weights score: what a diverged trial is worth."""
    _say({"untrained": score})


def _say(message: dict[str, int | float]) -> bool:
    if _sweep is None:
        return False
    with contextlib.suppress(OSError):
        _sweep.pipe.send_bytes(json.dumps(message).encode())
        return True
    return False
