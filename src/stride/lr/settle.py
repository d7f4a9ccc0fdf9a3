"""An optimizer as it would be late in a run, at weights that have not moved yet."""

from collections.abc import Sequence
from typing import Any

from torch.optim import Optimizer

from stride.lr.sharpness import Loss

LONG = 1e30  # steps, after which no bias is left, whatever the memory


def settle(optimizer: Optimizer, losses: Sequence[Loss]) -> int:
    """Give RMSprop or Adam the mean squares of the losses' gradients, by a step of LR 0 on each; no weight moves.

    What such a mean lacks because it began at 0 is taken out of it: Adam's mean square would else follow a hundred
    steps wholly, and RMSprop's be too small by 1 - alpha^steps. RMSprop's momentum, which the small mean square has
    blown up, becomes 0. SGD, which has no mean square, stays as it is.

    Returns how many gradients were taken; none is left behind.
    """
    if type(optimizer).__name__ == "SGD":
        return 0
    lrs = [group["lr"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    for loss in losses:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    optimizer.zero_grad()
    for group, lr in zip(optimizer.param_groups, lrs, strict=True):
        group["lr"] = lr
        for parameter in group["params"]:
            if parameter in optimizer.state:
                _take_bias_out(optimizer.state[parameter], group)
    return len(losses)


def _take_bias_out(state: dict[str, Any], group: dict[str, Any]) -> None:
    mean, square = group["betas"] if "betas" in group else (group["alpha"], group["alpha"])
    memories = {"exp_avg": mean, "exp_avg_sq": square, "max_exp_avg_sq": square, "square_avg": square, "grad_avg": mean}
    steps = float(state["step"])
    for name in memories.keys() & state.keys():
        state[name] /= 1 - memories[name] ** steps
    if "momentum_buffer" in state:
        state["momentum_buffer"].zero_()
    state["step"].fill_(LONG)
