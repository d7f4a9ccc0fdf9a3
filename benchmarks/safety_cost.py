"""What it costs that a run can be resumed to the bit and that its steps and checkpoints are watched.

    python benchmarks/safety_cost.py             200 pairs of epochs of the default run, with and without it
    python benchmarks/safety_cost.py --pairs 600 --write

Without: no guard, no seed for each step, no metric states, nobody who looks for a request to stop, and checkpoints
written by Lightning, without a digest, without waiting for the disk, and no second newest. With: the default.

One run changes from one to the other after each epoch, its validation and checkpoints included, and the order within a
pair changes from one to the next: what a shared machine does to whole runs, some ten percent, falls on both. What an
epoch costs more, for each epoch of the default run, is then set against the time of `python train.py`.
"""

import argparse
import math
import os
import platform
import tempfile
import time
from datetime import date
from functools import partial
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from statistics import median

os.environ.setdefault("OMP_NUM_THREADS", "1")

from lightning_fabric.plugins import TorchCheckpointIO
from startup import seconds

from stride import build
from stride.callbacks.checkpoint import LastCheckpoint
from stride.callbacks.guard import Guard
from stride.callbacks.lean import Lean
from stride.callbacks.metric_states import MetricStates
from stride.callbacks.step_seed import StepSeed
from stride.callbacks.stop import Stop
from stride.checkpoint_io import SealedIO
from stride.logs import log_file
from stride.pipeline import checked
from stride.stop import StopRequest

RESULT = Path(__file__).parent / "results" / "safety_cost.txt"
SAFETY = (Guard, StepSeed, Stop)
HOOKS = ("on_train", "on_validation", "on_before", "on_after")  # that Lightning passes over where they are None


def is_safe(epoch: int) -> bool:
    """In pairs: without and with, with and without, ..."""
    return epoch % 4 in (1, 2)


class Alternate(Lean):
    """Switches safety on and off, and takes the seconds from the start of each epoch to that of the next."""

    def __init__(self) -> None:
        self.starts: list[float] = []
        self._hooks: list[tuple[Lean, str]] = []
        self._states: list[MetricStates] = []

    def on_train_epoch_start(self, trainer, pl_module):
        safe = is_safe(trainer.current_epoch)
        if not self.starts:
            self._find(trainer.callbacks)
        for callback, hook in self._hooks:
            if safe:
                vars(callback).pop(hook, None)
            else:
                callback.rest(hook)
        for callback in self._states:
            callback.state_dict = partial(MetricStates.state_dict, callback) if safe else dict
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, LastCheckpoint):
                callback._keep = 2 if safe else 1
        trainer.strategy.checkpoint_io = SealedIO() if safe else TorchCheckpointIO()
        self.starts.append(time.perf_counter())

    def _find(self, callbacks) -> None:
        self._states = [each for each in callbacks if isinstance(each, MetricStates)]
        watching = [each for each in callbacks if isinstance(each, SAFETY)]
        hooks = [(each, name) for each in watching for name in vars(type(each)) if name.startswith(HOOKS)]
        self._hooks = [(each, name) for each, name in hooks if getattr(each, name)]  # those that are not at rest


def seconds_of_epochs(count: int) -> list[float]:
    words = [f"trainer.max_epochs={count + 1}", "callbacks.early_stopping=null", "callbacks.progress=null"]
    cfg = checked(words).cfg
    clock = Alternate()
    with tempfile.TemporaryDirectory() as folder, log_file(None):
        parts = build.run(cfg, Path(folder), cfg.optimizer.lr, asked=StopRequest())
        parts.trainer.callbacks.insert(0, clock)
        parts.trainer.fit(parts.module, datamodule=parts.datamodule)
    return [end - start for start, end in pairwise(clock.starts)]


def seconds_of_the_default_run() -> float:
    """Of the whole command, in the median of three."""
    with tempfile.TemporaryDirectory() as folder:
        return median(seconds(["train.py", f"output_root={folder}"], {}, 0) for _ in range(3))


def interval(values: list[float]) -> tuple[float, float]:
    """The values, of sorted ones, between which the true median lies in 95 of 100 cases (normal sign test)."""
    half, count = 0.98 * math.sqrt(len(values)), len(values)
    return values[max(0, math.floor(count / 2 - half) - 1)], values[min(count - 1, math.ceil(count / 2 + half))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--write", action="store_true", help=f"also into {RESULT.name}")
    given = parser.parse_args()
    warm_up = 4  # the first epochs of a process are slower
    epochs = seconds_of_epochs(warm_up + 2 * given.pairs)
    ratios, more = [], []
    for first in range(warm_up, len(epochs), 2):
        timed = {is_safe(epoch): epochs[epoch] for epoch in (first, first + 1)}
        ratios.append(timed[True] / timed[False])
        more.append(timed[True] - timed[False])
    share = median(more) * checked([]).cfg.trainer.max_epochs / seconds_of_the_default_run()
    ratios.sort()
    low, high = interval(ratios)
    machine = f"{os.cpu_count()} shared CPU cores, {platform.machine()}, Python {platform.python_version()}"
    lines = [
        f"# python benchmarks/safety_cost.py --pairs {given.pairs}   ({machine}, {date.today()})",
        ", ".join(f"{name} {version(name)}" for name in ("torch", "pytorch-lightning")),
        f"an epoch of the default run, with / without: {median(ratios):.3f}, 95 % interval {low:.3f} to {high:.3f}",
        f"of the time of the whole default run: {share:.1%}",
    ]
    print("\n".join(lines))
    if given.write:
        RESULT.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
