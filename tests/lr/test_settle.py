"""stride.lr.settle: the optimizer is as late in a run that has not moved."""

import math

import pytest
import torch

from stride.lr.preconditioner import preconditioner
from stride.lr.settle import settle

SLOPES = [torch.tensor([2.0, -1.0]), torch.tensor([4.0, 0.5]), torch.tensor([-1.0, 3.0])]


def made(name, **options):
    """A weight, an optimizer of it, and three losses with the SLOPES as gradients, whatever the weight."""
    weight = torch.nn.Parameter(torch.tensor([3.0, -5.0], dtype=torch.float64))
    optimizer = getattr(torch.optim, name)([weight], lr=0.7, **options)
    return weight, optimizer, [lambda slope=slope: (slope * weight).sum() for slope in SLOPES]


def mean(values, memory):
    """Their running mean, without bias: what is m steps back weighs memory^m."""
    shares = [memory**back for back in reversed(range(len(values)))]
    return sum(share * value for share, value in zip(shares, values, strict=True)) / sum(shares)


SQUARES = [slope.double().square() for slope in SLOPES]
CASES = {
    "adam": ("Adam", {"betas": (0.9, 0.8), "eps": 0.25}, mean(SQUARES, 0.8)),
    "adam whose mean square is still": ("Adam", {"betas": (0.0, 1 - 1e-9), "eps": 0.25}, mean(SQUARES, 1.0)),
    "adamw": ("AdamW", {"betas": (0.9, 0.999), "eps": 0.25, "weight_decay": 0.4}, mean(SQUARES, 0.999)),
    "rmsprop": ("RMSprop", {"alpha": 0.9, "eps": 0.25, "momentum": 0.9}, mean(SQUARES, 0.9)),
    "centered": (
        "RMSprop",
        {"alpha": 0.9, "eps": 0.25, "centered": True},
        mean(SQUARES, 0.9) - mean([slope.double() for slope in SLOPES], 0.9).square(),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_it_divides_by_the_root_of_the_mean_square_and_has_not_moved(case):
    name, options, squares = CASES[case]
    weight, optimizer, losses = made(name, **options)
    assert settle(optimizer, losses) == 3
    (divisor,) = preconditioner(optimizer)
    assert divisor.tolist() == pytest.approx((squares.sqrt() + 0.25).tolist(), rel=1e-6)
    assert weight.tolist() == [3.0, -5.0]
    assert (weight.grad, optimizer.param_groups[0]["lr"]) == (None, 0.7)


@pytest.mark.parametrize("name", ["Adam", "RMSprop"])
def test_its_next_step_changes_the_mean_square_as_little_as_a_late_one(name):
    memory = {"betas": (0.9, 0.99)} if name == "Adam" else {"alpha": 0.99}
    weight, optimizer, losses = made(name, **memory)
    settle(optimizer, losses)
    (before,) = preconditioner(optimizer)
    weight.grad = torch.full_like(weight, 100.0)
    optimizer.step()
    (after,) = preconditioner(optimizer)
    assert after.tolist() == pytest.approx((0.99 * before.square() + 0.01 * 100.0**2).sqrt().tolist(), rel=1e-6)


def test_amsgrads_largest_mean_square_has_no_bias_either():
    _, optimizer, losses = made("Adam", amsgrad=True, betas=(0.9, 0.999))
    settle(optimizer, [losses[1]] * 5)
    assert preconditioner(optimizer)[0].tolist() == pytest.approx([4.0, 0.5])


def test_the_momentum_of_a_mean_square_that_was_too_small_is_gone():
    weight, optimizer, losses = made("RMSprop", momentum=0.9, alpha=0.99)
    settle(optimizer, losses)
    weight.grad = torch.zeros_like(weight)
    optimizer.step()
    assert weight.tolist() == [3.0, -5.0]


def test_a_weight_without_a_gradient_is_left_out():
    _, optimizer, losses = made("Adam")
    optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))]})
    settle(optimizer, losses)
    assert preconditioner(optimizer)[1].item() == math.inf


def test_sgd_has_nothing_to_settle():
    _, optimizer, losses = made("SGD", momentum=0.9)
    assert settle(optimizer, losses) == 0
    assert not optimizer.state
