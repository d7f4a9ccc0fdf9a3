import pytest
import torch

from stride.models.resnet import Block, ResNet


def convolution(before: int, after: int, size: int = 3) -> int:
    """Parameters of a convolution without bias and of the scale and shift of its batch norm."""
    return size * size * before * after + 2 * after


def block(before: int, after: int) -> int:
    shortcut = 0 if before == after else convolution(before, after, 1)
    return convolution(before, after) + convolution(after, after) + shortcut


@pytest.mark.parametrize("blocks", [1, 3])
def test_the_parameters_are_those_of_the_formula(blocks: int) -> None:
    stages = [(16, 16), (16, 32), (32, 64)]
    expected = convolution(3, 16) + sum(block(a, b) + (blocks - 1) * block(b, b) for a, b in stages) + 64 * 10 + 10
    network = ResNet(channels=3, classes=10, widths=[16, 32, 64], blocks=blocks)
    assert sum(weight.numel() for weight in network.parameters()) == expected


@pytest.mark.parametrize("blocks, layers", [(1, 8), (3, 20), (9, 56)])
def test_its_depth_is_the_paper_s_6n_plus_2(blocks: int, layers: int) -> None:
    network = ResNet(channels=3, classes=10, blocks=blocks)
    weights = [weight for name, weight in network.named_parameters() if weight.ndim > 1 and "shortcut" not in name]
    assert len(weights) == layers


def test_every_stage_but_the_first_halves_the_image() -> None:
    network = ResNet(channels=1, classes=10, widths=[4, 6, 8], blocks=2)
    sides = []
    images = network.stem(torch.rand(2, 1, 32, 32))
    for part in network.blocks:
        images = part(images)
        sides.append(images.shape[-1])
    assert sides == [32, 32, 16, 16, 8, 8]


def test_a_block_whose_residual_is_zero_hands_a_positive_image_on() -> None:
    part = Block(4, 4, stride=1)
    torch.nn.init.zeros_(part.residual[-1].weight)
    images = torch.rand(2, 4, 5, 5)
    torch.testing.assert_close(part(images), images)
