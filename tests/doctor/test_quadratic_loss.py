"""The regression of known curvature: what is said of it holds."""

import numpy as np
import pytest
import torch

from stride.doctor.quadratic.loss import FLATTEST, SHARPEST, Linear, quadratic, samples


def loss(weights):
    x, y = (torch.from_numpy(each).double() for each in samples())
    return torch.nn.functional.mse_loss(x @ weights[:, None], y)


def test_the_curvatures_are_those_that_were_chosen_and_those_of_torch():
    known = quadratic()
    hessian = torch.autograd.functional.hessian(loss, torch.zeros(8, dtype=torch.float64))
    assert known.curvatures == pytest.approx(torch.linalg.eigvalsh(hessian).numpy(), rel=1e-12)
    assert known.curvatures == pytest.approx(np.geomspace(FLATTEST, SHARPEST, 8), rel=1e-6)
    assert known.limit(0.9) == pytest.approx(3.8 / SHARPEST, rel=1e-6)


def test_the_minimum_and_the_loss_around_it_are_those_of_torch():
    known = quadratic()
    assert known.lowest == pytest.approx(0.25, rel=1e-6)
    assert known.loss(known.minimum) == known.lowest == pytest.approx(float(loss(torch.from_numpy(known.minimum))))
    assert known.loss(np.zeros(8)) == pytest.approx(float(loss(torch.zeros(8, dtype=torch.float64))), rel=1e-12)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_path_is_that_of_torchs_sgd(momentum):
    rates = [0.01 * (1 + step % 3) for step in range(30)]
    weights = torch.zeros(8, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([weights], lr=1.0, momentum=momentum)
    passed = [weights.detach().numpy().copy()]
    for rate in rates:
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        loss(weights).backward()
        optimizer.step()
        passed.append(weights.detach().numpy().copy())
    assert quadratic().path(rates, momentum) == pytest.approx(np.array(passed), abs=1e-12)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_is_stable_just_below_the_limit_and_not_just_above(momentum):
    known = quadratic()
    below, above = (known.path([times * known.limit(momentum)] * 3000, momentum) for times in (0.999, 1.001))
    assert known.loss(below[-1]) < 1.01 * known.lowest
    assert known.loss(above[-1]) > known.loss(above[0])


def test_the_network_starts_at_zero_and_draws_only_what_dropout_asks_for():
    assert Linear().state_dict()["1.weight"].tolist() == [[0.0] * 8]
    assert torch.equal(Linear(dropout=0.0).train()[0](torch.ones(9)), torch.ones(9))
