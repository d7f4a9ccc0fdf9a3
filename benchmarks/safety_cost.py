"""What it costs that a run can be resumed to the bit and that its steps and checkpoints are watched.

    python benchmarks/safety_cost.py             nine pairs of the default run, with and without it, one after the other
    python benchmarks/safety_cost.py --pairs 15 --write

Without: no guard, no seed for each step, no metric states, nobody who looks for a request to stop, and checkpoints
written by Lightning, without a digest and without waiting for the disk. With: the default. Compared are the seconds
of the fit, pair by pair; the order within a pair changes from one to the next.
"""

import argparse
import contextlib
import io
import os
import platform
import tempfile
from collections.abc import Iterator
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import median
from unittest.mock import patch

os.environ.setdefault("OMP_NUM_THREADS", "1")

from lightning_fabric.plugins import TorchCheckpointIO

import stride
from stride import checkpoint_io
from stride.callbacks import metric_states, step_seed, stop
from stride.callbacks.lean import Lean

RESULT = Path(__file__).parent / "results" / "safety_cost.txt"


class Nothing(Lean):
    def __init__(self, *_: object) -> None:
        pass


def seconds(folder: str, words: list[str]) -> float:
    with contextlib.redirect_stdout(io.StringIO()):
        quiet = ["callbacks.progress=null", "test=false", f"output_root={folder}"]
        return stride.run([*words, *quiet]).record["seconds"]["fit"]


@contextlib.contextmanager
def without() -> Iterator[list[str]]:
    with (
        patch.object(step_seed, "StepSeed", Nothing),
        patch.object(metric_states, "MetricStates", Nothing),
        patch.object(stop, "Stop", Nothing),
        patch.object(checkpoint_io, "SealedIO", TorchCheckpointIO),
    ):
        yield ["callbacks.guard=null", "callbacks.checkpoint_last.keep=1"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--write", action="store_true", help=f"also into {RESULT.name}")
    given = parser.parse_args()
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        seconds(folder, [])  # the first run of a process is slower
        for number in range(given.pairs):
            timed = {}
            for safe in (number % 2 == 0, number % 2 == 1):
                with contextlib.nullcontext([]) if safe else without() as words:
                    timed[safe] = seconds(folder, words)
            ratios.append(timed[True] / timed[False])
            print(f"pair {number + 1}: {timed[True]:.2f} s with, {timed[False]:.2f} s without", flush=True)
    ratios.sort()
    machine = f"{os.cpu_count()} shared CPU cores, {platform.machine()}, Python {platform.python_version()}"
    spread = f"median {median(ratios):.3f}, from {ratios[0]:.3f} to {ratios[-1]:.3f}"
    lines = [
        f"# python benchmarks/safety_cost.py --pairs {given.pairs}   ({machine}, {date.today()})",
        ", ".join(f"{name} {version(name)}" for name in ("torch", "pytorch-lightning")),
        f"fit of the default run, with / without: {spread}",
    ]
    print("\n".join(lines))
    if given.write:
        RESULT.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
