"""stride.lr.bounds: what bounds the LR, against the closed forms of a linear regression."""

import pytest
import torch
import torch.nn.functional as F

from stride.lr.bounds import bounds_of
from stride.lr.fixed_loss import fixed_loss
from stride.models.mlp import MLP


def regression(*, batches):
    """A linear network without bias, batches of 20 samples, and the Hessian of each batch's mean squared error."""
    generator = torch.Generator().manual_seed(0)
    network = torch.nn.Linear(6, 1, bias=False).double()
    network.weight.data = torch.randn(1, 6, generator=generator, dtype=torch.float64)
    made, hessians = [], []
    for _ in range(batches):
        inputs = torch.randn(20, 6, generator=generator, dtype=torch.float64) * torch.arange(1, 7)
        made.append((inputs, torch.randn(20, 1, generator=generator, dtype=torch.float64)))
        hessians.append(2 * inputs.T @ inputs / 20)
    return network, made, torch.stack(hessians)


def largest(hessian):
    return torch.linalg.eigvalsh(hessian)[-1].item()


@pytest.mark.parametrize("batches", [1, 3, 4, 5, 9])
def test_the_ceiling_is_that_of_all_batches_and_the_safe_lr_that_of_single_ones(batches):
    network, made, hessians = regression(batches=batches)
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0, momentum=0.9)
    with fixed_loss(network, F.mse_loss, made) as loss:
        found = bounds_of(loss, optimizer)
    assert found.sharpness.value == pytest.approx(largest(hessians.mean(0)), rel=1e-6)
    each = [largest(hessian) for hessian in hessians]
    assert 1 <= len(found.alone) <= 4
    assert all(min(abs(one - other) for other in each) < 0.01 * one for one in found.alone)
    assert found.limit.ceiling == pytest.approx(3.8 / found.sharpness.value)
    assert found.limit.safe == pytest.approx(0.2 / (sum(found.alone) / len(found.alone)))


def test_the_critical_lr_is_along_what_the_optimizer_steps_along():
    network, made, hessians = regression(batches=4)
    hessian = hessians.mean(0)
    for options in ({}, {"weight_decay": 100.0}):
        optimizer = torch.optim.RMSprop([{"params": network.weight, "lr_scale": 0.2}], lr=1.0, **options)
        with fixed_loss(network, F.mse_loss, made) as loss:
            found = bounds_of(loss, optimizer)
            (slope,) = torch.autograd.grad(loss(), [network.weight])
        bends = hessian + options.get("weight_decay", 0.0) * torch.eye(6)
        slope = (slope + options.get("weight_decay", 0.0) * network.weight).detach().flatten()
        along = 0.2 * slope / (optimizer.state[network.weight]["square_avg"].sqrt().flatten() + 1e-8)
        closed = 2 * slope.dot(along) / along.dot(bends.double() @ along)
        assert found.critical.lr == pytest.approx(closed.item(), rel=1 / 16)


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_its_cost_is_that_of_what_was_asked_of_the_network(name):
    """Each pass forward that is not the critical LR's, and each product with the Hessian, leads to a pass backward."""
    network, made, _ = regression(batches=5)
    optimizer = getattr(torch.optim, name)(network.parameters(), lr=1.0)
    passes, products = [], []
    network.register_forward_hook(lambda *_: passes.append(None))
    with fixed_loss(network, F.mse_loss, made) as loss:
        found = bounds_of(loss, optimizer)
    critical = 5 * found.critical.forwards
    products = found.gradients - critical / 3 - (len(passes) - critical)
    assert products % 2 == pytest.approx(0, abs=1e-9)
    assert products / 2 >= 5 * found.sharpness.products + len(found.alone)


def test_an_optimizer_without_a_limit_is_refused_before_anything_is_asked():
    network, made, _ = regression(batches=1)
    upwards = torch.optim.SGD(network.parameters(), lr=1.0, maximize=True)
    with fixed_loss(network, lambda *_: pytest.fail("asked"), made) as loss:
        for optimizer, why in ((torch.optim.NAdam(network.parameters()), "none for NAdam"), (upwards, "maximized")):
            with pytest.raises(ValueError, match=why):
                bounds_of(loss, optimizer)


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, inputs):
        ctx.save_for_backward(inputs)
        return inputs.sin()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, slope):
        return slope * ctx.saved_tensors[0].cos()


def test_what_can_be_differentiated_only_once_is_refused():
    """torch itself takes such a derivative for a constant, and would leave its part of the curvature out."""

    class Net(torch.nn.Linear):
        def forward(self, inputs):
            return Once.apply(super().forward(inputs))

    network = Net(6, 1).double()
    _, made, _ = regression(batches=2)
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    with (
        fixed_loss(network, F.mse_loss, made) as loss,
        pytest.raises(ValueError, match="can be differentiated only once"),
    ):
        bounds_of(loss, optimizer)


@pytest.mark.parametrize("name", ["SGD", "AdamW", "RMSprop"])
def test_nothing_has_moved_and_it_is_plain_data(name):
    torch.manual_seed(0)
    network = MLP(features=6, classes=3, hidden=(8,))
    made = [(torch.randn(16, 6), torch.randint(0, 3, (16,))) for _ in range(4)]
    optimizer = getattr(torch.optim, name)(network.parameters(), lr=0.5)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with fixed_loss(network, F.cross_entropy, made) as loss:
        found = bounds_of(loss, optimizer)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert optimizer.param_groups[0]["lr"] == 0.5
    assert all(parameter.grad is None for parameter in network.parameters())
    told = found.as_dict()
    assert told["sharpness"]["value"] == found.sharpness.value
    assert told["limit"]["ceiling"] == found.limit.ceiling
    assert told["critical"]["forwards"] == found.critical.forwards
