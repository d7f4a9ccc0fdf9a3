"""A residual network for small images."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from .head import outputs


class ResNet(nn.Module):
    """The residual network for small images of He et al. (2015, arXiv:1512.03385, section 4.2).

    Input `(batch, channels, height, width)`; output `(batch, classes)` or `(batch, targets)`. A 3x3
    convolution, then `blocks` basic blocks for each of `widths`; every stage but the first halves the image.
    The mean over positions goes through dropout to the last layer. With `blocks` = n and three widths this is
    their network of 6n + 2 layers. Where a shape changes, the shortcut is a 1x1 convolution (their option B).

    Raises ValueError unless exactly one of `classes` and `targets` is given.
    """

    def __init__(
        self,
        *,
        channels: int,
        classes: int | None = None,
        targets: int | None = None,
        widths: Sequence[int] = (16, 32, 64),
        blocks: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        before = widths[0]
        self.stem = nn.Sequential(*_convolution(channels, before, 3), nn.ReLU())
        stack: list[nn.Module] = []
        for stage, width in enumerate(widths):
            for block in range(blocks):
                stack.append(Block(before, width, stride=2 if stage and not block else 1))
                before = width
        self.blocks = nn.Sequential(*stack)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(before, outputs(classes=classes, targets=targets))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.dropout(self.blocks(self.stem(images)).mean(dim=(2, 3))))


class Block(nn.Module):
    """The basic block: relu(x + f(x)), f being two 3x3 convolutions with batch norm.

    `(batch, before, height, width)` to `(batch, after, height / stride, width / stride)`, rounded up.
    """

    def __init__(self, before: int, after: int, *, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            *_convolution(before, after, 3, stride=stride), nn.ReLU(), *_convolution(after, after, 3)
        )
        same = stride == 1 and before == after
        self.shortcut = nn.Identity() if same else nn.Sequential(*_convolution(before, after, 1, stride=stride))

    def forward(self, images: Tensor) -> Tensor:
        return F.relu(self.shortcut(images) + self.residual(images))


def _convolution(before: int, after: int, size: int, *, stride: int = 1) -> list[nn.Module]:
    # Batch norm subtracts the mean, so a bias before it would do nothing.
    convolution = nn.Conv2d(before, after, size, stride, padding=size // 2, bias=False)
    return [convolution, nn.BatchNorm2d(after)]
