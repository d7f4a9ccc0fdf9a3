"""Between which learning rates a run becomes unstable, measured at the weights that a network has now."""

from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import Any

import torch
from torch.optim import Optimizer

from stride.lr.critical import CriticalLR, critical_lr
from stride.lr.fixed_loss import FixedLoss
from stride.lr.preconditioner import preconditioner, sharpness, trained, with_l2
from stride.lr.settle import settle
from stride.lr.sharpness import Eigenvalue, Loss
from stride.lr.stability import Limit, limit_of

ALONE = 4  # batches whose own sharpness is taken


@dataclass(frozen=True)
class Bounds:
    """What bounds the LR of an optimizer on a loss, and what it cost to know.

    Args:
        sharpness: of the mean loss over all batches.
        alone: the sharpness of some batches, each by itself: their mean is above that of the mean loss.
        limit: its ceiling is that of `sharpness`, its safe LR that of the mean of `alone`.
        critical: the LR from which on one step along gradient / P raises the mean loss.
        gradients: the cost, in gradients of one batch, a product with the Hessian counted as two and a forward pass
            as a third.
    """

    sharpness: Eigenvalue
    alone: list[float]
    limit: Limit
    critical: CriticalLR
    gradients: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def bounds_of(loss: FixedLoss, optimizer: Optimizer) -> Bounds:
    """Measure them where the parameters are now, for an optimizer that has made no step; it is left settled there.

    All in units of the LR: `preconditioner` divides by the groups' `lr_scale`, and `with_l2` adds a penalty that the
    gradient has. RMSprop and Adam divide by what they would late in a run that does not move (`settle`).

    Raises ValueError for an optimizer without a known limit and where a derivative of the loss cannot be differentiated
    again, and as `preconditioner.sharpness` does.
    """
    known = limit_of(optimizer, 1.0)
    if known.ceiling is None:
        raise ValueError(f"there is no limit to measure: {known.why}")
    batches = len(loss.alone)
    settling = settle(optimizer, loss.alone)
    whole = sharpness(loss, optimizer)
    _require_second_derivatives(loss.alone[0], optimizer)
    # At this tolerance they are off by a part of what they differ by.
    alone = [sharpness(one, optimizer, tolerance=0.01) for one in loss.alone[:: -(-batches // ALONE)]]
    safe = limit_of(optimizer, fmean(one.value for one in alone)).safe
    critical = _critical(loss, optimizer, start=2 / abs(whole.value) if whole.value else 1.0)
    products = batches * (1 + 2 * whole.products) + sum(1 + 2 * one.products for one in alone)
    return Bounds(
        sharpness=whole,
        alone=[one.value for one in alone],
        limit=replace(limit_of(optimizer, whole.value), safe=safe),
        critical=critical,
        gradients=settling + products + 1 + batches * (1 + critical.forwards / 3),
    )


def _require_second_derivatives(loss: Loss, optimizer: Optimizer) -> None:
    """Refuse what torch would not: to it the derivative of an operation that is `once_differentiable` is a constant."""
    parameters = [parameter for parameter, _ in trained(optimizer)]
    with torch.enable_grad():
        slopes = torch.autograd.grad(loss(), parameters, create_graph=True, materialize_grads=True)
    waiting, seen = [slope.grad_fn for slope in slopes], set()
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [before for before, _ in node.next_functions]
    if any(node.name() == "torch::autograd::Error" for node in seen):
        raise ValueError("an operation in the model can be differentiated only once")


def _critical(loss: FixedLoss, optimizer: Optimizer, *, start: float) -> CriticalLR:
    """Along what the optimizer, without momentum, multiplies its LR with."""
    descended = with_l2(loss, optimizer)
    parameters = [parameter for parameter, _ in trained(optimizer)]
    with torch.enable_grad():
        slopes = torch.autograd.grad(descended(), parameters, materialize_grads=True)
    direction = [slope / divisor for slope, divisor in zip(slopes, preconditioner(optimizer), strict=True)]
    return critical_lr(descended, parameters, direction, start=start)
