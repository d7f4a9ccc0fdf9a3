"""A multi-layer perceptron, for tables and for images taken as plain numbers."""

from collections.abc import Sequence

from torch import Tensor, nn

from .head import outputs


class MLP(nn.Module):
    """Linear layers with ReLU between them (Rumelhart, Hinton and Williams, 1986).

    Input `(batch, ...)` whose dimensions after the first multiply to `features`; output `(batch, classes)` or
    `(batch, targets)`. Each of the `hidden` layers is linear, batch norm unless `norm` is none (Ioffe and
    Szegedy, 2015, arXiv:1502.03167), ReLU, dropout (Srivastava et al., 2014). Batch norm needs at least two
    samples in every training batch. With `hidden` empty it is a linear model.

    Raises ValueError unless exactly one of `classes` and `targets` is given, and for an unknown `norm`.
    """

    def __init__(
        self,
        *,
        features: int,
        classes: int | None = None,
        targets: int | None = None,
        hidden: Sequence[int] = (128, 128),
        norm: str = "batch",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if norm not in ("none", "batch"):
            raise ValueError(f"`norm` must be none or batch, but got norm={norm}")
        layers: list[nn.Module] = [nn.Flatten()]
        width = features
        for after in hidden:
            layers += _hidden_layer(width, after, batch_norm=norm == "batch", dropout=dropout)
            width = after
        self.layers = nn.Sequential(*layers, nn.Linear(width, outputs(classes=classes, targets=targets)))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layers(inputs)


def _hidden_layer(before: int, after: int, *, batch_norm: bool, dropout: float) -> list[nn.Module]:
    # Batch norm subtracts the mean, so a bias before it would do nothing.
    linear = nn.Linear(before, after, bias=not batch_norm)
    norm = [nn.BatchNorm1d(after)] if batch_norm else []
    return [linear, *norm, nn.ReLU(), nn.Dropout(dropout)]
