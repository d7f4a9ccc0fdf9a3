"""Is a run that was stopped and gone on with the one that was not, to the bit?"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stride.doctor.quadratic.loss import SAMPLES, quadratic
from stride.doctor.quadratic.trained import train
from stride.doctor.row import Row, judged
from stride.errors import Exit
from stride.pipeline import Outcome

EPOCHS, BATCHES = 8, 4
STOP_AT = 13  # in the middle of an epoch
MOMENTUM, DROPOUT = 0.9, 0.3


def rows(root: Path) -> Iterator[Row]:
    """A whole run, and one that SIGTERM stops in the middle; shuffled, with dropout and momentum."""
    whole = _run(root, "whole")
    stopped = _run(root, "stopped", stop_at=STOP_AT)
    gone_on = _run(root, "stopped", stop_at=STOP_AT) if stopped.exit_code == Exit.TERMINATED else stopped
    states = [_state(run) for run in (whole, gone_on)]
    differ = [name for name in states[0] if not _same(states[0][name], states[1][name])]
    found = f"stopped at step {stopped.record['steps']} of {EPOCHS * BATCHES}, gone on: "
    yield judged(
        "resume",
        found + (f"other {', '.join(differ)}" if differ else "equal to the bit"),
        holds=stopped.status == "interrupted" and gone_on.status == "finished" and not differ,
        law="a run must stop when it is told to, and end, once gone on with, as one that was not stopped",
        attempt="pytest tests/test_exact_resume.py",
    )


def _run(root: Path, name: str, stop_at: int | None = None) -> Outcome:
    words = [
        *(f"optimizer.lr={quadratic().limit(0.0) / 10!r}", f"optimizer.momentum={MOMENTUM}", "warmup=linear"),
        *("warmup.length=20%", "scheduler=cosine", f"trainer.max_epochs={EPOCHS}"),
    ]
    return train(root, name, words, batch_size=SAMPLES // BATCHES, dropout=DROPOUT, stop_at=stop_at)


def _state(run: Outcome) -> dict[str, Any]:
    """All that must be equal, by what it is called."""
    import torch

    saved = torch.load(run.folder / "checkpoints" / "last.ckpt", weights_only=True)
    return {
        "weights": saved["state_dict"],
        "optimizer state": saved["optimizer_states"],
        "LRs": (run.folder / "lr_trace.csv").read_text(encoding="utf-8"),
        "steps": saved["global_step"],
    }


def _same(one: Any, other: Any) -> bool:
    import torch

    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return one == other
