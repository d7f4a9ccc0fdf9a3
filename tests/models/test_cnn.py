import pytest
import torch

from stride.models.cnn import CNN


def pair(before: int, after: int) -> int:
    """Parameters of two 3x3 convolutions without bias, each with a batch norm's scale and shift."""
    return 9 * before * after + 2 * after + 9 * after * after + 2 * after


@pytest.mark.parametrize(
    "channels, widths, expected",
    [
        (1, [32, 64], pair(1, 32) + pair(32, 64) + 64 * 10 + 10),
        (3, [8], pair(3, 8) + 8 * 10 + 10),
        (3, [4, 6, 8], pair(3, 4) + pair(4, 6) + pair(6, 8) + 8 * 10 + 10),
    ],
)
def test_the_parameters_are_those_of_the_formula(channels: int, widths: list[int], expected: int) -> None:
    network = CNN(channels=channels, classes=10, widths=widths)
    assert sum(weight.numel() for weight in network.parameters()) == expected


@pytest.mark.parametrize("widths, side", [([4], 8), ([4, 6], 4), ([4, 6, 8], 2)])
def test_the_image_is_halved_between_pairs(widths: list[int], side: int) -> None:
    network = CNN(channels=1, classes=10, widths=widths)
    assert network.layers(torch.rand(1, 1, 8, 8)).shape == (1, widths[-1], side, side)


def test_a_digit_moved_inside_a_wide_margin_looks_the_same() -> None:
    network = CNN(channels=1, classes=10).eval()
    image = torch.zeros(1, 1, 40, 40)
    image[..., 16:24, 16:24] = torch.rand(8, 8)
    torch.testing.assert_close(network(image), network(image.roll((2, -4), dims=(2, 3))))
    assert not torch.allclose(network(image), network(torch.zeros_like(image)), atol=1e-4)


def test_the_smallest_image_is_one_that_can_be_halved_between_all_pairs() -> None:
    network = CNN(channels=1, classes=10, widths=[4, 6, 8])
    assert network(torch.rand(2, 1, 4, 4)).shape == (2, 10)
    with pytest.raises(RuntimeError, match="too small"):
        network(torch.rand(2, 1, 3, 3))
