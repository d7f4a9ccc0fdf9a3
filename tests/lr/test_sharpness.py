"""stride.lr.sharpness: the largest eigenvalue against closed forms, dense Hessians and another library."""

import copy

import pytest
import scipy.sparse.linalg
import torch
import torch.nn.functional as F

from stride.lr.fixed_loss import fixed_loss
from stride.lr.sharpness import largest_eigenvalue
from stride.models.cnn import CNN
from stride.models.mlp import MLP
from stride.models.transformer import Transformer

SPECTRA = {
    "any": [0.3, 1.0, 2.5, 7.0],
    "evenly spaced": torch.linspace(0.01, 1, 100).tolist(),
    "over eight decades": torch.logspace(-8, 0, 50).tolist(),
    "two close ends": [1.0, 1.0001, *([0.1] * 40)],
    "a larger negative end": [-50.0, -3.0, 0.5, 2.0],
    "all negative": [-4.0, -2.0, -0.5],
    "degenerate": [3.0, 3.0, 3.0, 1.0, 1.0],
    "a multiple of one": [5.0] * 30,
    "one bends": [7.0, *([0.0] * 60)],
    "one bends downwards": [-7.0, *([0.0] * 60)],
    "one weight": [0.25],
    "one weight that bends downwards": [-0.25],
    "two weights": [1.0, 4.0],
    "tiny": [1e-12, 3e-12, 2e-12],
    "huge": [1e12, 3e12, 2e12],
    "nothing bends": [0.0] * 20,
}


def quadratic(spectrum, *, dtype=torch.float64):
    """1/2 w^T H w for an H of this spectrum in a random basis, its Hessian, and its weights in two tensors."""
    size = len(spectrum)
    generator = torch.Generator().manual_seed(1)
    basis = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64)).Q
    hessian = (basis * torch.tensor(spectrum, dtype=torch.float64)) @ basis.T
    values = torch.randn(size, generator=generator, dtype=torch.float64).to(dtype)
    weights = [torch.nn.Parameter(part) for part in (values[: size // 2], values[size // 2 :].reshape(1, -1))]

    def loss():
        flat = torch.cat([weight.reshape(-1) for weight in weights])
        return flat @ hessian.to(dtype) @ flat / 2

    return loss, weights, hessian


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("spectrum", SPECTRA.values(), ids=SPECTRA)
def test_the_sharpness_of_a_quadratic_is_its_largest_eigenvalue(spectrum, seed):
    loss, weights, _ = quadratic(spectrum)
    found = largest_eigenvalue(loss, weights, tolerance=1e-7, seed=seed)
    scale = max(abs(value) for value in spectrum)
    assert found.value == pytest.approx(max(spectrum), rel=1e-6, abs=1e-6 * scale)
    assert found.value <= max(spectrum) + 1e-12 * scale
    assert found.products <= len(spectrum)


def test_an_eigenvalue_lies_within_the_residual_of_each_estimate():
    spectrum = torch.linspace(-1, 1, 80).tolist()
    loss, weights, _ = quadratic(spectrum)
    for iterations in (1, 2, 5, 10, 20, 40):
        found = largest_eigenvalue(loss, weights, iterations=iterations, tolerance=0)
        assert found.products == iterations
        assert min(abs(found.value - value) for value in spectrum) <= found.residual + 1e-12


# Ends that are found first; without re-orthogonalisation they are found over and over.
FAR_BELOW = [-100.0 * k for k in range(1, 9)] + torch.linspace(0, 1, 60).tolist()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("dtype", "tolerance", "error", "most"), [(torch.float64, 1e-7, 1e-10, 55), (torch.float32, 1e-4, 2e-5, 40)]
)
def test_no_product_is_spent_on_what_has_been_found(dtype, tolerance, error, most, seed):
    loss, weights, _ = quadratic(FAR_BELOW, dtype=dtype)
    found = largest_eigenvalue(loss, weights, tolerance=tolerance, seed=seed)
    assert found.value == pytest.approx(1, rel=error)
    assert found.products <= most


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    "name", ["degenerate", "a multiple of one", "one bends", "one bends downwards", "nothing bends"]
)
def test_it_ends_when_there_is_nothing_left_to_find(name, dtype):
    loss, weights, _ = quadratic(SPECTRA[name], dtype=dtype)
    found = largest_eigenvalue(loss, weights, tolerance=0)
    assert found.products <= len(set(SPECTRA[name])) + 1
    assert found.value == pytest.approx(max(SPECTRA[name]), abs=2e-5)


def test_it_stops_at_the_tolerance_asked_for():
    loss, weights, _ = quadratic(torch.linspace(-1, 1, 300).tolist())
    found = [largest_eigenvalue(loss, weights, tolerance=tolerance) for tolerance in (0.1, 0.01, 0.001)]
    for tolerance, one in zip((0.1, 0.01, 0.001), found, strict=True):
        assert 0 < one.residual <= tolerance * one.value
    assert found[0].products < found[1].products < found[2].products < 100


@pytest.mark.parametrize("seed", range(3))
def test_the_preconditioned_sharpness_is_that_of_the_scaled_hessian(seed):
    loss, weights, hessian = quadratic(torch.linspace(-3, 2, 60).tolist())
    divisors = [torch.rand_like(weight) * 10 + 0.1 for weight in weights]
    shrink = torch.cat([one.reshape(-1) for one in divisors]).rsqrt()
    expected = torch.linalg.eigvalsh(shrink[:, None] * hessian * shrink)[-1].item()
    found = largest_eigenvalue(loss, weights, preconditioner=divisors, seed=seed)
    assert found.value == pytest.approx(expected, rel=1e-6)


def test_an_infinite_preconditioner_holds_weights_still():
    loss, weights, hessian = quadratic([1.0, 2.0, 3.0, 10.0])
    held = [torch.ones_like(weights[0]), torch.full_like(weights[1], torch.inf)]
    expected = torch.linalg.eigvalsh(hessian[:2, :2])[-1].item()
    assert largest_eigenvalue(loss, weights, preconditioner=held).value == pytest.approx(expected, rel=1e-6)


def nets():
    """(name, network, one batch) of 300 to 1,700 weights, in float64, at random weights."""
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(64, 20, generator=generator, dtype=torch.float64)
    images = torch.randn(16, 1, 8, 8, generator=generator, dtype=torch.float64)
    classes = torch.randint(0, 5, (64,), generator=generator)
    tokens = torch.randint(0, 11, (16, 9), generator=generator)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield "mlp", MLP(features=20, classes=5, hidden=(24, 24), norm="none").double(), (table, classes)
        yield "mlp with batch norm", MLP(features=20, classes=5, hidden=(24, 24)).double(), (table, classes)
        yield "cnn", CNN(channels=1, classes=5, widths=(4, 4)).double(), (images, classes[:16])
        transformer = Transformer(vocabulary=11, context=8, d_model=8, depth=1, heads=2).double()
        yield "transformer", transformer, (tokens[:, :-1], tokens[:, 1:])


def objective(output, target):
    return F.cross_entropy(output.flatten(0, -2), target.flatten())


def dense_hessian(loss, parameters):
    """Column by column."""
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        slopes = torch.autograd.grad(loss(), parameters, create_graph=True)
    flat = torch.cat([slope.reshape(-1) for slope in slopes])
    rows = torch.autograd.grad(flat, parameters, torch.eye(len(flat), dtype=flat.dtype), is_grads_batched=True)
    return torch.cat([row.reshape(len(flat), -1) for row in rows], dim=1)


@pytest.fixture(scope="module", params=list(nets()), ids=lambda net: net[0])
def net(request):
    """A network, its batch, the eigenvalues of its loss's Hessian, and the eigenvector of the largest."""
    _, network, batch = request.param
    with fixed_loss(network, objective, [batch]) as loss:
        hessian = dense_hessian(loss, list(network.parameters()))
    assert torch.allclose(hessian, hessian.T, atol=1e-10)
    values, vectors = torch.linalg.eigh(hessian)
    return network, batch, values, vectors[:, -1]


@pytest.mark.parametrize("seed", range(10))
def test_the_sharpness_of_a_network_is_that_of_its_dense_hessian(net, seed):
    network, batch, spectrum, _ = net
    with fixed_loss(network, objective, [batch]) as loss:
        found = largest_eigenvalue(loss, list(network.parameters()), seed=seed)
    assert found.value == pytest.approx(spectrum[-1].item(), rel=1e-5)
    assert found.products <= 40


def test_in_float32_it_is_as_good(net):
    network, batch, spectrum, _ = net
    single = copy.deepcopy(network).float()
    batch = tuple(part.float() if part.is_floating_point() else part for part in batch)
    with fixed_loss(single, objective, [batch]) as loss:
        found = largest_eigenvalue(loss, list(single.parameters()))
    assert found.value == pytest.approx(spectrum[-1].item(), rel=1e-3)
    assert found.products <= 40


def test_the_sharpness_is_how_fast_the_gradient_changes_at_most(net):
    """Finite differences, which no gradient of a gradient enters, along the Hessian's eigenvector."""
    network, batch, spectrum, vector = net
    parameters = list(network.parameters())
    origin = torch.nn.utils.parameters_to_vector(parameters).detach()

    def slope(loss, step):
        torch.nn.utils.vector_to_parameters(origin + step * vector, parameters)
        return torch.cat([part.reshape(-1) for part in torch.autograd.grad(loss(), parameters)])

    with fixed_loss(network, objective, [batch]) as loss:
        change = (slope(loss, 1e-6) - slope(loss, -1e-6)) / 2e-6
    torch.nn.utils.vector_to_parameters(origin, parameters)
    assert torch.allclose(change, spectrum[-1] * vector, atol=1e-7 * spectrum[-1].item())


def without_norms(network):
    """A copy with nothing in place of its norms, through which that library's products are wrong (torch 2.15)."""
    network = copy.deepcopy(network)
    for part in list(network.modules()):
        for name, child in part.named_children():
            if isinstance(child, torch.nn.LayerNorm | torch.nn.modules.batchnorm._BatchNorm):
                setattr(part, name, torch.nn.Identity())
    return network


def test_the_sharpness_of_several_batches_is_that_of_another_library(net):
    curvlinops = pytest.importorskip("curvlinops", reason="uv run --with curvlinops-for-pytorch pytest")
    network, (inputs, targets), *_ = net
    network, third = without_norms(network), len(inputs) // 3
    batches = [(inputs[:third], targets[:third]), (inputs[third:], targets[third:])]
    with fixed_loss(network, objective, batches) as loss:
        ours = largest_eigenvalue(loss, list(network.parameters()), tolerance=1e-8)
    flat = torch.nn.Sequential(network, torch.nn.Flatten(0, -2))
    flat_batches = [(inputs, targets.flatten()) for inputs, targets in batches]
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        hessian = curvlinops.HessianLinearOperator(
            flat, torch.nn.CrossEntropyLoss(), list(flat.parameters()), flat_batches
        )
        theirs = scipy.sparse.linalg.eigsh(hessian.to_scipy(), k=1, which="LA", return_eigenvectors=False)
    assert ours.value == pytest.approx(theirs[0], rel=1e-9)


def test_attention_is_differentiated_twice_where_its_kernel_cannot_be():
    query = torch.randn(1, 1, 4, 8, requires_grad=True)
    found = largest_eigenvalue(lambda: F.scaled_dot_product_attention(query, query, query).square().sum(), [query])
    assert found.value > 0


def test_it_draws_none_of_the_programs_random_numbers():
    before = torch.get_rng_state()
    loss, weights, _ = quadratic([1.0, 2.0, 3.0])
    largest_eigenvalue(loss, weights)
    assert torch.equal(torch.get_rng_state(), before)


def test_it_leaves_gradients_and_weights_alone_and_works_where_gradients_are_off():
    loss, weights, _ = quadratic([1.0, 2.0, 3.0])
    before = [weight.clone() for weight in weights]
    with torch.no_grad():
        assert largest_eigenvalue(loss, weights).value == pytest.approx(3)
    assert all(weight.grad is None for weight in weights)
    assert all(torch.equal(weight, kept) for weight, kept in zip(weights, before, strict=True))


def test_weights_that_the_loss_is_straight_in_or_does_not_know_do_not_bend_it():
    weights = [torch.nn.Parameter(torch.ones(2, dtype=torch.float64)) for _ in range(3)]
    found = largest_eigenvalue(lambda: weights[0].square().sum() + weights[1].sum(), weights)
    assert found.value == pytest.approx(2)
    assert largest_eigenvalue(lambda: weights[1].sum(), weights[1:2]).value == 0


def test_what_has_no_curvature_is_refused():
    weight = torch.nn.Parameter(torch.ones(3))
    frozen = torch.ones(3)
    for loss, weights, told in [
        (lambda: frozen.sum(), [frozen], "is the model frozen?"),
        (lambda: weight.sum(), [], "is the model frozen?"),
        (lambda: frozen.sum(), [weight], "the loss does not depend on the parameters"),
        (lambda: (weight.square() * torch.nan).sum(), [weight], "not finite at these parameters"),
    ]:
        with pytest.raises(ValueError, match=told):
            largest_eigenvalue(loss, weights)


@pytest.mark.parametrize(
    ("option", "law"), [({"iterations": 0}, "iterations >= 1"), ({"tolerance": 1.0}, "tolerance < 1")]
)
def test_numbers_out_of_range_are_refused(option, law):
    loss, weights, _ = quadratic([1.0])
    with pytest.raises(ValueError, match=law):
        largest_eigenvalue(loss, weights, **option)
