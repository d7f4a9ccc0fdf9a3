"""A network that waits in a chosen forward pass, so that something can happen to its process meanwhile.

From its environment:
    PAUSE: `step 5` or `eval 2`, the pass in training or not, counted from 1 over all stages of a run.
    MEET: a folder, where `0.there` (by the rank) with the process number is written then, and `go` is waited for.
    RANKS: those that wait, all if nothing is said. HOW: `native`, in C.
    LAG: seconds that each pass in training takes.
    GROUP: the process leads a group of its own.
    WATCHED: Lightning looks every hundredth of a second, not every five, whether a process it has launched has left.
"""

import os
import time
from pathlib import Path

import torch
from lightning_fabric.strategies.launchers.subprocess_script import _ChildProcessObserver

from stride.models.mlp import MLP

PASSES = {"step": 0, "eval": 0}

if "GROUP" in os.environ:
    os.setpgid(0, 0)
if "WATCHED" in os.environ:
    _ChildProcessObserver.__init__.__defaults__ = (0.01,)


class Net(MLP):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kind = "step" if self.training else "eval"
        PASSES[kind] += 1
        if f"{kind} {PASSES[kind]}" == os.environ.get("PAUSE"):
            _wait()
        if self.training:
            time.sleep(float(os.environ.get("LAG", 0)))
        return super().forward(x)


def _wait() -> None:
    rank = os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))
    if rank not in os.environ.get("RANKS", "01"):
        return
    there = Path(os.environ["MEET"], f"{rank}.there")
    there.with_suffix(".part").write_text(str(os.getpid()))
    there.with_suffix(".part").rename(there)
    if os.environ.get("HOW") == "native":
        torch.linalg.svd(torch.randn(6000, 6000))  # a minute
    while not there.with_name("go").exists():
        time.sleep(0.01)
