"""Flow time, held against how far torch's optimizers move a weight."""

import math

import pytest
import torch

from stride.lr.flow_time import flow_time, late
from stride.lr.schedule import constant, cosine

LR = 1e-3
MAKE = {
    "SGD": lambda weights: torch.optim.SGD(weights, lr=LR),
    "Adam": lambda weights: torch.optim.Adam(weights, lr=LR),
    "AdamW": lambda weights: torch.optim.AdamW(weights, lr=LR, weight_decay=0.0),
    "RMSprop": lambda weights: torch.optim.RMSprop(weights, lr=LR),
    "Adagrad": lambda weights: torch.optim.Adagrad(weights, lr=LR),
}


def moved(make, law, steps):
    """How far a weight gets whose gradient is 1 all the time, and the options of its optimizer."""
    weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = make([weight])
    weight.grad = torch.ones_like(weight)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = LR * law(step)
        optimizer.step()
    return -weight.item(), optimizer.param_groups[0]


@pytest.mark.parametrize("steps", [10, 300])
@pytest.mark.parametrize("name", MAKE)
def test_a_constant_gradient_moves_a_weight_by_lr_times_flow_time(name, steps):
    law = cosine(total=steps)
    distance, options = moved(MAKE[name], law, steps)
    assert LR * flow_time(law, steps, name, options) == pytest.approx(distance, rel=0.01)


@pytest.mark.parametrize("name", ["RMSprop", "Adagrad"])
def test_the_first_steps_of_some_are_so_long_that_a_plain_sum_would_be_far_off(name):
    law = cosine(total=300)
    distance, options = moved(MAKE[name], law, 300)
    assert LR * flow_time(law, 300, "SGD", options) != pytest.approx(distance, rel=0.2)


def test_momentum_moves_all_steps_by_one_factor_so_runs_can_be_compared():
    def make(weights):
        return torch.optim.SGD(weights, lr=LR, momentum=0.9)

    factors = []
    for steps in (1000, 3000):
        law = cosine(total=steps)
        distance, options = moved(make, law, steps)
        factors.append(distance / (LR * flow_time(law, steps, "SGD", options)))
    assert factors[1] == pytest.approx(1 / (1 - 0.9), rel=0.01)
    assert factors[0] == pytest.approx(factors[1], rel=0.02)  # of the first 1,000 steps 10 are getting under way


@pytest.mark.parametrize("alpha", [0.9, 0.99, 0.999])
def test_rmsprops_own_alpha_is_read(alpha):
    distance, options = moved(lambda weights: torch.optim.RMSprop(weights, lr=LR, alpha=alpha), constant(total=50), 50)
    assert LR * flow_time(constant(total=50), 50, "RMSprop", options) == pytest.approx(distance, rel=0.01)


WEIGHTS = {"SGD": lambda t: 1.0, "RMSprop": lambda t: 1 / math.sqrt(1 - 0.99**t), "Adagrad": lambda t: 1 / math.sqrt(t)}


@pytest.mark.parametrize(("name", "steps"), [("SGD", 250_001), ("RMSprop", 250_001), ("Adagrad", 1_000_000)])
def test_of_a_long_run_some_steps_stand_for_the_others(name, steps):
    law = cosine(total=steps)
    full = math.fsum(law(step) * WEIGHTS[name](step + 1) for step in range(steps))
    read = []

    def watched(step):
        read.append(step)
        return law(step)

    assert flow_time(watched, steps, name, {"alpha": 0.99}) == pytest.approx(full, rel=1e-3)
    assert len(read) == 100_000
    assert 0 <= read[0] < read[-1] < steps


@pytest.mark.parametrize("name", MAKE)
@pytest.mark.parametrize("step", [1, 10, 60, 400])
def test_only_rmsprops_early_steps_are_longer_than_late_ones_of_the_same_lr(name, step):
    """Held against one step of torch's own; Adagrad's get shorter for good, and have no late one to compare with."""
    before, _ = moved(MAKE[name], constant(total=None), step - 1)
    after, options = moved(MAKE[name], constant(total=None), step)
    lr = late(LR, step, name, options)
    assert lr == pytest.approx(after - before if name == "RMSprop" else LR, rel=1e-4)
