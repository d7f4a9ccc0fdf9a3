"""The sharpness that an optimizer meets: with its L2 penalty, and in units of what it divides gradients by."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from stride.lr.sharpness import Eigenvalue, Loss, largest_eigenvalue
from stride.lr.stability import is_decoupled


def sharpness(
    loss: Loss, optimizer: Optimizer, *, iterations: int = 100, tolerance: float = 1e-4, seed: int = 0
) -> Eigenvalue:
    """What `stability.limit_of(optimizer, value)` is the limit for; the numbers are those of `largest_eigenvalue`.

    Raises ValueError as `largest_eigenvalue` and `preconditioner` do.
    """
    return largest_eigenvalue(
        with_l2(loss, optimizer),
        [parameter for parameter, _ in trained(optimizer)],
        preconditioner=preconditioner(optimizer),
        iterations=iterations,
        tolerance=tolerance,
        seed=seed,
    )


def preconditioner(optimizer: Optimizer) -> list[Tensor]:
    """The diagonal of P: without momentum the optimizer would move each weight by LR x gradient / P.

    1 for SGD, sqrt(v) + eps for RMSprop and Adam, divided by the group's `lr_scale`. Adam's v is the one with its bias
    taken out; the factor 1 - beta1^t of its mean is left out: it is gone after some 1 / (1 - beta1) steps. Infinite
    for a parameter that never had a gradient.

    Returns a tensor for each parameter that requires gradients, in the optimizer's order. Raises ValueError for other
    optimizers, and for RMSprop and Adam before their first step (one with LR 0 is enough, and moves nothing).
    """
    name = type(optimizer).__name__
    if name not in _DIVISORS:
        raise ValueError(f"what a gradient is divided by is known for {', '.join(_DIVISORS)}, and not for {name}")
    if name != "SGD" and not optimizer.state:
        raise ValueError(f"{name} has made no step, so what it divides a gradient by is not known yet")
    return [
        _DIVISORS[name](parameter, optimizer.state.get(parameter, {}), group) / group.get("lr_scale", 1.0)
        for parameter, group in trained(optimizer)
    ]


def with_l2(loss: Loss, optimizer: Optimizer) -> Loss:
    """What the optimizer descends: `loss` and, where decay is in the gradient, decay / 2 x the squared weights."""
    name = type(optimizer).__name__
    decays = [(p, group["weight_decay"]) for p, group in trained(optimizer) if not is_decoupled(name, group)]
    return lambda: loss() + sum(decay / 2 * parameter.square().sum() for parameter, decay in decays if decay)


def trained(optimizer: Optimizer) -> list[tuple[Tensor, Mapping[str, Any]]]:
    """Each parameter that requires gradients, and its group."""
    return [(p, group) for group in optimizer.param_groups for p in group["params"] if p.requires_grad]


def _nothing(parameter: Tensor, state: Mapping[str, Any], group: Mapping[str, Any]) -> Tensor:
    return torch.ones_like(parameter)


def _adam(parameter: Tensor, state: Mapping[str, Any], group: Mapping[str, Any]) -> Tensor:
    if not state:
        return torch.full_like(parameter, torch.inf)
    squares = state["max_exp_avg_sq" if group["amsgrad"] else "exp_avg_sq"]
    return (squares / (1 - group["betas"][1] ** float(state["step"]))).sqrt() + group["eps"]


def _rmsprop(parameter: Tensor, state: Mapping[str, Any], group: Mapping[str, Any]) -> Tensor:
    if not state:
        return torch.full_like(parameter, torch.inf)
    squares = state["square_avg"]
    if group["centered"]:
        squares = squares - state["grad_avg"].square()
    return squares.sqrt() + group["eps"]


_DIVISORS: dict[str, Callable[[Tensor, Mapping[str, Any], Mapping[str, Any]], Tensor]] = {
    "SGD": _nothing,
    "Adam": _adam,
    "AdamW": _adam,
    "RMSprop": _rmsprop,
}
