"""Why a run ended, and what its curves say about that, in one sentence."""

from collections.abc import Sequence

STILL_FALLING = 0.05  # of the whole fall, gained in the last fifth of the run
OVERFITTED = 0.10  # of the whole fall, lost again between the best and the end


def verdict(status: str, reason: str, train: Sequence[float], val: Sequence[float]) -> str:
    """Plan done or stopped, and: still falling, overfitting, unstable; and what to try, unless the reason says it.

    Args:
        status: the run's status as in run.json; `reason` is what the run itself said when it stopped.
        train, val: training and validation loss, one value for each validation, in the order they were made.
    """
    if status == "diverged":
        return f"unstable: {reason}"
    if status in ("interrupted", "failed"):
        return f"{status} {reason}"
    if status == "pruned":
        return f"pruned: {reason}"
    ended = f"stopped early: {reason}" if status == "stopped_early" else "plan done"
    shape = _shape(train, val) if len(val) >= 3 and len(train) == len(val) else None
    return f"{ended}; {shape}" if shape else ended


def _shape(train: Sequence[float], val: Sequence[float]) -> str | None:
    best = min(range(len(val)), key=val.__getitem__)
    fall = max(val) - val[best]
    if max(val[len(val) // 4 :]) > max(val[0], train[0]):
        return "unstable: val/loss rose above its start; try a lower optimizer.lr or a longer warmup.length"
    lost = val[-1] - val[best]
    if lost > OVERFITTED * fall and train[-1] < train[best]:
        return f"overfitting: val/loss rose by {lost:.3g} while train/loss fell; try model.dropout or weight decay"
    gained = val[-1 - max(1, len(val) // 5)] - val[-1]
    if best == len(val) - 1 and gained > STILL_FALLING * fall:
        return f"still falling: val/loss by {gained:.3g} in the last fifth; try a higher trainer.max_epochs"
    return None
