"""Does a run that must diverge end as diverged, with nothing but numbers on the disk?"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stride.doctor.quadratic.loss import quadratic
from stride.doctor.quadratic.trained import train
from stride.doctor.row import Row, judged
from stride.errors import Exit
from stride.pipeline import Outcome

BEYOND = 100  # times the limit
EPOCHS = 40


def rows(root: Path) -> Iterator[Row]:
    """A run far beyond the limit."""
    rate = BEYOND * quadratic().limit(0.0)
    yield ended(train(root, "guard", [f"optimizer.lr={rate!r}", f"trainer.max_epochs={EPOCHS}"]))


def ended(run: Outcome) -> Row:
    """How it ended, and what its checkpoints hold."""
    kept = sorted((run.folder / "checkpoints").glob("*.ckpt"))
    spoilt = [path.name for path in kept if not _is_finite(path)]
    held = f"not finite: {', '.join(spoilt)}" if spoilt else f"{len(kept)} checkpoints, all finite"
    return judged(
        "guard",
        f"{BEYOND} x the limit: {run.status} (exit {run.exit_code}); {held}",
        holds=run.status == "diverged" and run.exit_code == Exit.DIVERGED and len(kept) > 1 and not spoilt,
        law="it must end as diverged, with exit 4, and leave none but finite checkpoints",
        attempt="pytest tests/callbacks/test_guard.py",
    )


def _is_finite(path: Path) -> bool:
    """Whether weights and optimizer of a checkpoint hold numbers only."""
    import torch

    def numbers(value: Any) -> Iterator[torch.Tensor]:
        if isinstance(value, torch.Tensor):
            yield value
        for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            yield from numbers(part)

    saved = torch.load(path, weights_only=True)
    found = [*numbers(saved["state_dict"]), *numbers(saved["optimizer_states"])]
    return bool(found) and all(torch.isfinite(tensor).all() for tensor in found)
