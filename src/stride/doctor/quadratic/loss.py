"""A linear regression whose curvature was chosen, so that its largest stable LR is known beforehand."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import nn

from stride.datamodules.in_memory import Batch, InMemory

SAMPLES, FEATURES = 64, 8
SHARPEST, FLATTEST = 20.0, 0.1  # curvatures


@dataclass(frozen=True)
class Quadratic:
    """What is known of the loss mean((x w - y)^2) over all samples, in float64.

    Args:
        curvatures: eigenvalues of its Hessian 2 x^T x / samples, ascending `(features,)`.
        directions: its eigenvectors, as columns `(features, features)`.
        minimum: the weights of the lowest loss `(features,)`.
        lowest: that loss.
    """

    curvatures: np.ndarray
    directions: np.ndarray
    minimum: np.ndarray
    lowest: float

    @property
    def sharpness(self) -> float:
        return float(self.curvatures[-1])

    def limit(self, momentum: float) -> float:
        """The LR from which on SGD with heavy-ball momentum is unstable, 2 (1 + momentum) / sharpness (Polyak 1964)."""
        return 2 * (1 + momentum) / self.sharpness

    def loss(self, weights: np.ndarray) -> float:
        """Of weights `(features,)`."""
        errors = (weights - self.minimum) @ self.directions
        return self.lowest + float(self.curvatures @ errors**2) / 2

    def path(self, rates: Sequence[float], momentum: float = 0.0) -> np.ndarray:
        """The weights before each step of SGD from 0, and after the last: `(steps + 1, features)`.

        Along each direction the error e and the momentum m go by themselves: m <- momentum m + curvature e, e <- e -
        rate m.
        """
        errors = -self.minimum @ self.directions
        moved, found = np.zeros_like(errors), [errors]
        for rate in rates:
            moved = momentum * moved + self.curvatures * found[-1]
            found.append(found[-1] - rate * moved)
        return self.minimum + np.array(found) @ self.directions.T


@cache
def samples() -> tuple[np.ndarray, np.ndarray]:
    """Inputs `(samples, features)` and targets `(samples, 1)`, in float32 as any data."""
    draw = np.random.default_rng(0)
    left, _ = np.linalg.qr(draw.normal(size=(SAMPLES, FEATURES + 1)))
    right, _ = np.linalg.qr(draw.normal(size=(FEATURES, FEATURES)))
    x = left[:, :FEATURES] * np.sqrt(SAMPLES * np.geomspace(SHARPEST, FLATTEST, FEATURES) / 2) @ right.T
    noise = left[:, FEATURES] * np.sqrt(SAMPLES) / 2  # no weights can fit it: the lowest loss is a quarter
    y = x @ right.sum(1) + noise
    return x.astype(np.float32), y.astype(np.float32)[:, None]


@cache
def quadratic() -> Quadratic:
    """What is known of the loss over `samples`, after their rounding to float32."""
    x, y = (each.astype(np.float64) for each in samples())
    curvatures, directions = np.linalg.eigh(2 * x.T @ x / SAMPLES)
    minimum = np.linalg.lstsq(x, y, rcond=None)[0][:, 0]
    return Quadratic(curvatures, directions, minimum, float(np.mean((x @ minimum - y[:, 0]) ** 2)))


class Samples(InMemory):
    """`samples` to train on, to validate and to test."""

    def load(self) -> tuple[Batch, Batch, Batch]:
        x, y = (torch.from_numpy(each) for each in samples())
        return (x, y), (x, y), (x, y)


class Linear(nn.Sequential):
    """x w, with w = 0 at first; by `dropout` of x training draws random numbers."""

    def __init__(self, *, dropout: float = 0.0) -> None:
        super().__init__(nn.Dropout(dropout), nn.Linear(FEATURES, 1, bias=False))
        nn.init.zeros_(self.get_parameter("1.weight"))
