"""A small convolutional network for small images."""

from collections.abc import Sequence

from torch import Tensor, nn

from .head import outputs


class CNN(nn.Module):
    """Pairs of 3x3 convolutions, the image halved between pairs, then averaged over its positions.

    Input `(batch, channels, height, width)` of any size from 2 ** (len(widths) - 1) pixels a side; output
    `(batch, classes)` or `(batch, targets)`. The pairs are those of Simonyan and Zisserman (2014,
    arXiv:1409.1556), with batch norm (Ioffe and Szegedy, 2015, arXiv:1502.03167) after each convolution and
    the average over positions of Lin, Chen and Yan (2013, arXiv:1312.4400) before the last layer.

    Raises ValueError unless exactly one of `classes` and `targets` is given.
    """

    def __init__(
        self,
        *,
        channels: int,
        classes: int | None = None,
        targets: int | None = None,
        widths: Sequence[int] = (32, 64),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = channels
        for stage, width in enumerate(widths):
            halve = [nn.MaxPool2d(2)] if stage else []
            layers += [*halve, *_convolution(before, width), *_convolution(width, width)]
            before = width
        self.layers = nn.Sequential(*layers)
        # Dropout only after the last batch norm: before one, it shifts the variance that evaluation
        # meets (Li et al., 2018, arXiv:1801.05134).
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(before, outputs(classes=classes, targets=targets))

    def forward(self, images: Tensor) -> Tensor:
        # Not nn.AdaptiveAvgPool2d: torch has no deterministic gradient for it on a GPU.
        return self.head(self.dropout(self.layers(images).mean(dim=(2, 3))))


def _convolution(before: int, after: int) -> list[nn.Module]:
    # Batch norm subtracts the mean, so a bias before it would do nothing.
    return [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
