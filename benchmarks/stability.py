"""How well do sharpness and critical LR foretell where training diverges?

    python benchmarks/stability.py                two seeds, one thread: two minutes of CPU

For each of six small networks it is found, at the initial weights and on the batches that task=stability takes:

1. the critical LR, and the first LR whose gradient step raises the loss, by trying LRs upwards, 1 % apart;
2. lambda_max and the bracket that follows from it, from 2 (1 - b) / lambda to (2 + 2b) / lambda for SGD with momentum
   b; and, on a grid of eight LRs a decade, the first LR at which 100 steps on the run's own batches, at a constant LR,
   diverge: the mean of the last 10 losses is not below that of 10 batches at the initial weights, or not finite.

The figures to reach: the first within 1/16; the second within a factor 2 of its bracket in 80 % of the cells. What
other sharpnesses would have foretold is printed below, and what changes if an LR counts as diverging where any 10
losses in a row, and not only the last, have a mean above the start.
"""

import argparse
import copy
import math
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

import pytorch_lightning as pl
import torch
from torch import nn

from stride.logs import log_file
from stride.lr.bounds import bounds_of
from stride.lr.critical import critical_lr
from stride.lr.fixed_loss import Batch, FixedLoss, fixed_loss
from stride.lr.sharpness import largest_eigenvalue
from stride.pipeline import checked
from stride.stability_check import begin, first_batches, set_up

TASKS = {
    "cnn_digits": ["datamodule=digits", "model=cnn", "model.widths=[8,16]", "datamodule.batch_size=32"],
    "norm_mlp_digits": ["datamodule=digits", "model=mlp", "model.hidden=[128,128]", "model.norm=batch"],
    "mlp_breast_cancer": ["datamodule=breast_cancer", "model=mlp", "model.hidden=[64,64]", "model.norm=none"],
    "mlp_diabetes": ["datamodule=diabetes", "model=mlp", "model.hidden=[64,64]", "model.norm=none"],
    "transformer_text": [
        "datamodule=text",
        "model=transformer",
        "model.d_model=32",
        "model.depth=2",
        "model.heads=2",
        "datamodule.context=32",
        "datamodule.batch_size=16",
        "datamodule.max_bytes=300000",
    ],
    "resnet_digits": ["datamodule=digits", "model=resnet", "model.widths=[8,16]", "datamodule.batch_size=32"],
}
MOMENTA = (0.0, 0.9)
STEPS, MEAN = 100, 10
SPACING = 8  # LRs a decade
WITHIN = 2.0  # factor
EARLY = (0, 5, 10)  # steps at which the sharpness is taken again
# Any but the first was tried after it; the last three use the critical LR c as a sharpness of 2 / c.
RULES: dict[str, Callable[["Cell"], tuple[float, float]]] = {
    "lambda_max": lambda cell: cell.bracket(cell.sharpness),
    "mean lambda_max of single batches": lambda cell: cell.bracket(cell.alone),
    "largest lambda_max in 10 steps at the safe LR": lambda cell: cell.bracket(cell.early),
    "2 / critical LR": lambda cell: cell.bracket(2 / cell.critical),
    "geometric mean of lambda_max and 2 / critical LR": lambda cell: cell.bracket(
        math.sqrt(cell.sharpness * 2 / cell.critical)
    ),
    "lambda_max for the low end, 2 / critical LR for the high": lambda cell: (
        cell.bracket(cell.sharpness)[0],
        cell.bracket(2 / cell.critical)[1],
    ),
}


@dataclass(frozen=True)
class Cell:
    """A network under SGD: its sharpnesses, its critical LR, and the first LRs that diverge (`ends`, `ever`)."""

    task: str
    momentum: float
    sharpness: float
    alone: float
    early: float
    critical: float
    ends: float
    ever: float

    def bracket(self, sharpness: float) -> tuple[float, float]:
        return 2 * (1 - self.momentum) / sharpness, (2 + 2 * self.momentum) / sharpness


class Network:
    """One task's network at its initial weights, the fixed batches, and the batches of the first STEPS steps."""

    def __init__(self, words: Sequence[str], seed: int) -> None:
        run = set_up(checked([*words, "optimizer=sgd", "optimizer.momentum=0", f"seed={seed}"]).cfg)
        self.optimizer = begin(run)
        self.network, self.objective = run.module.network, run.module.objective
        self.fixed = first_batches(run.trainer)
        self.stream = list(_stream(run.trainer))

    def loss(self, network: nn.Module | None = None):
        return fixed_loss(network or self.network, self.objective, self.fixed)

    def start(self) -> float:
        """The mean loss of MEAN batches at the initial weights."""
        return statistics.fmean(self.train(0.0, 0.0, steps=MEAN))

    def train(
        self, lr: float, momentum: float, *, steps: int = STEPS, look: Callable[[int, nn.Module], None] | None = None
    ) -> list[float]:
        """The loss of each step's batch before the step; it ends early where one is beyond a million."""
        network, losses = copy.deepcopy(self.network).train(), []
        optimizer = torch.optim.SGD(network.parameters(), lr=lr, momentum=momentum)
        for step, (inputs, targets) in enumerate(self.stream[:steps]):
            if look:
                look(step, network)
            loss = self.objective(network(inputs), targets)
            losses.append(loss.item())
            if not losses[-1] < 1e6:
                break
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return losses


def _stream(trainer: pl.Trainer) -> Iterator[Batch]:
    loader, epoch, served = trainer.train_dataloader, 0, 0
    while served < STEPS:
        loader.set_epoch(epoch)
        for batch in loader:
            yield batch
            served += 1
        epoch += 1


def first_rise(loss: FixedLoss, network: nn.Module, near: float) -> float:
    """The smallest of the LRs, 5 % and from near / 1.3 on 1 % apart, whose step along the gradient raises the loss."""
    weights = list(network.parameters())
    slopes = torch.autograd.grad(loss(), weights)
    origin = [weight.detach().clone() for weight in weights]
    with torch.no_grad():
        before, lr = loss().item(), near / 20
        while True:
            for weight, at, slope in zip(weights, origin, slopes, strict=True):
                weight.copy_(at - lr * slope)
            rises = loss().item() > before
            for weight, at in zip(weights, origin, strict=True):
                weight.copy_(at)
            if rises:
                return lr
            lr *= 1.05 if lr * 1.05 < near / 1.3 else 1.01


def first_divergences(made: Network, momentum: float, low: float) -> tuple[float, float]:
    """The smallest LR of the grid that ends above the start, and the smallest at which some mean is above it."""
    start, ever = made.start(), math.inf
    k = math.floor(SPACING * math.log10(low / WITHIN))
    while True:
        lr = 10 ** (k / SPACING)
        losses = made.train(lr, momentum)
        means = [statistics.fmean(losses[i : i + MEAN]) for i in range(max(1, len(losses) - MEAN + 1))]
        whole = len(losses) == STEPS
        if not (whole and max(means) <= start):
            ever = min(ever, lr)
        if not (whole and means[-1] < start):
            return lr, ever
        k += 1


def cells(task: str, made: Network) -> Iterator[Cell]:
    with made.loss() as loss:
        bounds = bounds_of(loss, made.optimizer)
    alone = statistics.fmean(bounds.alone)
    for momentum in MOMENTA:
        seen = []

        def look(step: int, network: nn.Module, seen: list[float] = seen) -> None:
            if step in EARLY:
                moved = copy.deepcopy(network)
                with made.loss(moved) as loss:
                    seen.append(largest_eigenvalue(loss, list(moved.parameters()), tolerance=0.01).value)

        made.train(2 * (1 - momentum) / alone, momentum, steps=EARLY[-1] + 1, look=look)
        low = 2 * (1 - momentum) / bounds.sharpness.value
        ends, ever = first_divergences(made, momentum, low)
        yield Cell(task, momentum, bounds.sharpness.value, alone, max(seen), bounds.critical.lr, ends=ends, ever=ever)


def distance(lr: float, bracket: tuple[float, float]) -> float:
    """By which factor an LR is outside of a bracket: below 1 below it, above 1 above it, 1 inside."""
    low, high = bracket
    return lr / low if lr < low else lr / high if lr > high else 1.0


def is_within(lr: float, bracket: tuple[float, float]) -> bool:
    return 1 / WITHIN <= distance(lr, bracket) <= WITHIN


def nearer(lr: float, bracket: tuple[float, float]) -> str:
    low, high = bracket
    return "-" if low == high else "low" if lr / low < high / lr else "high"


def critical_lrs(seeds: Sequence[int]) -> None:
    print(f"{'critical LR':<20} {'seed':>5} {'found':>10} {'first rise':>11} {'ratio':>8}")
    ratios = []
    for seed in seeds:
        for task, words in TASKS.items():
            made = Network(words, seed)
            weights = list(made.network.parameters())
            with made.loss() as loss:
                slopes = torch.autograd.grad(loss(), weights)
                found = critical_lr(loss, weights, slopes, start=1.0).lr
                rise = first_rise(loss, made.network, found)
            ratios.append(found / rise)
            print(f"{task:<20} {seed:>5} {found:>10.4g} {rise:>11.4g} {found / rise:>8.3f}", flush=True)
    inside = sum(16 / 17 <= ratio <= 17 / 16 for ratio in ratios)
    print(f"within 1/16: {inside} of {len(ratios)}\n")


def divergences(seeds: Sequence[int]) -> None:
    head = f"{'cell':<20} {'momentum':>8} {'seed':>5} {'lambda_max':>11} {'bracket':>19} {'critical':>9}"
    print(f"{head} {'diverges':>9} {'beyond by':>10} {'nearer end':>11} {'ever above':>11}")
    found: list[Cell] = []
    for seed in seeds:
        for task, words in TASKS.items():
            for cell in cells(task, Network(words, seed)):
                found.append(cell)
                bracket = cell.bracket(cell.sharpness)
                shown = f"{bracket[0]:.3g} to {bracket[1]:.3g}"
                row = (
                    f"{task:<20} {cell.momentum:>8} {seed:>5} {cell.sharpness:>11.4g} {shown:>19} {cell.critical:>9.3g}"
                )
                beyond, end = distance(cell.ends, bracket), nearer(cell.ends, bracket)
                print(f"{row} {cell.ends:>9.3g} {beyond:>10.3g} {end:>11} {cell.ever:>11.3g}", flush=True)
    print(
        f"\nlowest divergence, in units of the safe LR, 2 (1 - b) / mean lambda_max of single batches: {_lowest(found)}"
    )
    for momentum in MOMENTA:
        same = [cell for cell in found if cell.momentum == momentum]
        near = sum(is_within(cell.ends, cell.bracket(cell.sharpness)) for cell in same)
        print(f"within a factor {WITHIN:g} of lambda_max's bracket with momentum {momentum}: {near} of {len(same)}")
    title = f"within a factor {WITHIN:g} of the bracket, by"
    print(f"\n{title:<60} {'diverges':>12} {'ever above':>12} {'its width':>10}")
    for name, rule in RULES.items():
        shares = [
            sum(is_within(lr(cell), rule(cell)) for cell in found) for lr in (attrgetter("ends"), attrgetter("ever"))
        ]
        width = statistics.median(rule(cell)[1] / rule(cell)[0] for cell in found)
        told = [f"{share} of {len(found)}" for share in shares]
        print(f"{name:<60} {told[0]:>12} {told[1]:>12} {width:>10.3g}")


def _lowest(found: Sequence[Cell]) -> str:
    return f"{min(cell.ends / cell.bracket(cell.alone)[0] for cell in found):.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    seeds = parser.parse_args().seeds
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, pytorch-lightning {pl.__version__}, 1 thread, seeds {seeds}, {STEPS} steps\n")
    started = time.process_time()
    with log_file(None):
        critical_lrs(seeds)
        divergences(seeds)
    print(f"\n{time.process_time() - started:.0f} seconds of CPU")


if __name__ == "__main__":
    main()
