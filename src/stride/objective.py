"""What a network is trained for, apart from the network: the loss, the metrics, the one score, its predictions."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torchmetrics import Metric


class Objective(nn.Module):
    """A loss, the metrics beside it, and the score that a run is judged by.

    Args:
        loss: `loss(output, target)` is a scalar.
        metrics: by name; each takes `update(output, target)`, in validation and test. Their states move with the
            module and never enter a checkpoint.
        score: `name` of the logged value that picks the best checkpoint (`val/loss`), and `mode`, min or max.

    Raises ValueError for a score without a name or with another mode, and for a metric called `loss`.
    """

    def __init__(
        self, *, loss: nn.Module, metrics: Mapping[str, Metric] | None = None, score: Mapping[str, str]
    ) -> None:
        super().__init__()
        if set(score) != {"name", "mode"} or not score["name"] or score["mode"] not in ("min", "max"):
            raise ValueError(
                f"`score` must hold a name (as val/loss) and a mode (min or max), but got score={dict(score)}"
            )
        if "loss" in (metrics or {}):
            raise ValueError("a metric may not be called `loss`: that name is the loss's own")
        self.loss = loss
        self.metrics = nn.ModuleDict(metrics or {})
        self.score = dict(score)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return self.loss(output, target)

    def decode(self, output: Tensor) -> dict[str, Tensor]:
        """Columns of a predictions file: each `(batch,)`, a row a sample."""
        raise NotImplementedError(f"{type(self).__name__} has no decode(output), which predictions need")


class Classification(Objective):
    """One class for each sample: output (logits) `(batch, classes)`, target int64 `(batch,)`.

    Decodes to `class`, the likeliest, and its `probability`. Raises ValueError for other shapes.
    """

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        # Cross entropy takes a float target (batch, classes) for probabilities; with one class it is always 0.
        _check_shapes(output, target, of_output="batch classes", of_target="batch")
        return self.loss(output, target)

    def decode(self, output: Tensor) -> dict[str, Tensor]:
        probability, index = _likeliest(output)
        return {"class": index, "probability": probability}


class Regression(Objective):
    """One or more values for each sample: output and target `(batch, targets)`, floats.

    Decodes to `value`, or to `value_0`, `value_1`, ... of several targets. Raises ValueError for other shapes.
    """

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        # (batch, 1) against (batch,) would be broadcast to all pairs, with no more than a warning.
        _check_shapes(output, target, of_output="batch targets", of_target="batch targets")
        return self.loss(output, target)

    def decode(self, output: Tensor) -> dict[str, Tensor]:
        columns = output.float().unbind(dim=1)
        if len(columns) == 1:
            return {"value": columns[0]}
        return {f"value_{index}": column for index, column in enumerate(columns)}


class LanguageModel(Objective):
    """The next token at every position: output (logits) `(batch, time, vocabulary)`, target int64 `(batch, time)`.

    Decodes to `token`, the likeliest to follow the whole sequence, and its `probability`: at the positions
    before the last, the next token is known. Raises ValueError for other shapes.
    """

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        _check_shapes(output, target, of_output="batch time vocabulary", of_target="batch time")
        # Flat rather than (batch, vocabulary, time): that form has no deterministic kernel on a GPU.
        return self.loss(output.flatten(0, 1), target.flatten())

    def decode(self, output: Tensor) -> dict[str, Tensor]:
        probability, token = _likeliest(output[:, -1])
        return {"token": token, "probability": probability}


def _check_shapes(output: Tensor, target: Tensor, *, of_output: str, of_target: str) -> None:
    """Raise ValueError unless both have the named dimensions; the target's are the output's first ones."""
    wanted, wanted_target = of_output.split(), of_target.split()
    if output.ndim != len(wanted) or target.shape != output.shape[: len(wanted_target)]:
        raise ValueError(
            f"output ({', '.join(wanted)}) and target ({', '.join(wanted_target)}) must agree, "
            f"but got output {tuple(output.shape)} and target {tuple(target.shape)}"
        )


def _likeliest(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Probability and index of the likeliest class: `(batch, classes)` to two of `(batch,)`."""
    # In float32: half precision keeps three digits, and numpy has no bfloat16.
    return torch.softmax(logits.float(), dim=-1).max(dim=-1)
