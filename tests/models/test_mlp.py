import pytest
import torch

from stride.models.mlp import MLP


def parameters(network: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


@pytest.mark.parametrize(
    "options, expected",
    [
        ({"hidden": [], "norm": "none"}, 64 * 10 + 10),
        ({"hidden": [5, 7], "norm": "none"}, (64 * 5 + 5) + (5 * 7 + 7) + (7 * 10 + 10)),
        ({"hidden": [5, 7], "norm": "batch"}, (64 * 5 + 2 * 5) + (5 * 7 + 2 * 7) + (7 * 10 + 10)),
    ],
)
def test_the_parameters_are_those_of_the_formula(options: dict, expected: int) -> None:
    assert parameters(MLP(features=64, classes=10, **options)) == expected


def test_without_hidden_layers_it_is_a_linear_model() -> None:
    network = MLP(features=4, targets=2, hidden=[])
    x, y = torch.rand(2, 3, 4)
    zero = network(torch.zeros(3, 4))
    torch.testing.assert_close(network(x + y) + zero, network(x) + network(y))


def test_an_image_counts_as_its_pixels() -> None:
    network = MLP(features=3 * 4 * 5, classes=2)
    images = torch.rand(6, 3, 4, 5)
    torch.testing.assert_close(network(images), network(images.reshape(6, 60)))


def test_the_image_s_pixels_must_be_as_many_as_features() -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        MLP(features=60, classes=2)(torch.rand(6, 3, 4, 4))


def test_an_unknown_norm_is_refused() -> None:
    with pytest.raises(ValueError, match="`norm` must be none or batch, but got norm=layer"):
        MLP(features=4, classes=2, norm="layer")


def test_batch_norm_gives_the_next_layer_mean_zero_and_variance_one() -> None:
    network = MLP(features=4, classes=2, hidden=[16], norm="batch")
    hidden = network.layers[:3](5 + 3 * torch.randn(500, 4))
    torch.testing.assert_close(hidden.mean(0), torch.zeros(16), atol=1e-5, rtol=0)
    torch.testing.assert_close(hidden.var(0), torch.ones(16), atol=0.01, rtol=0)
