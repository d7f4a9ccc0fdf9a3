"""What runs in the process of a trial: `train.py` with the trial's words, as if they had been typed."""

import contextlib
import multiprocessing
import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path

from stride import trial_link
from stride.errors import Exit

LAST_WORDS = 5.0  # seconds that a trial has to write down that it was stopped, once its sweep is gone


def run(
    script: Path,
    words: Sequence[str],
    logs: tuple[Path, Path],
    environment: Mapping[str, str],
    threads: int | None,
    pipe: Connection,
    answers: bool,
) -> None:
    """Run `script words` in this process, which ends with its exit code.

    Args:
        logs: the files that standard output and standard error are appended to.
        environment: all of it.
        threads: for torch; None: as many as it likes.
        pipe, answers: the way to the sweep, see `trial_link`.
    """
    if hasattr(os, "setsid"):
        os.setsid()  # Ctrl-C reaches a trial once, from the driver, and so do the processes that it starts
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for target, path in zip((1, 2), logs, strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), target)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.clear()
    os.environ.update(environment)
    trial_link.attach(pipe, answers=answers)
    threading.Thread(target=_end_with_the_driver, daemon=True).start()
    multiprocessing.set_start_method(None, force=True)  # loader workers start as they do in a run by itself
    if threads is not None and "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
    sys.argv = [str(script), *words]
    runpy.run_path(str(script), run_name="__main__")


def _end_with_the_driver() -> None:
    """A trial whose driver was killed stops: whoever goes on with the sweep starts it again, in the same folder."""
    driver = multiprocessing.parent_process()
    assert driver is not None
    wait([driver.sentinel])
    if not hasattr(os, "killpg"):
        os._exit(Exit.TERMINATED)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(0, signal.SIGTERM)
        time.sleep(LAST_WORDS)
        os.killpg(0, signal.SIGKILL)
