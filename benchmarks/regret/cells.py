"""What the benchmark trains: a cell is a task, an optimizer and a number of steps."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from stride.pipeline import checked

HORIZONS = (250, 1500)
SEEDS = (0, 1, 2)
MORE_SEEDS = (3, 4, 5, 6, 7)  # at the rates within half a decade of the best, and those whose regret is at most
NEAR = 1.2
FINDER_SEEDS = (0, 10, 20)  # weights and data order that a finder sees
SPACING = 4  # rates a decade: 10 ** (k / 4)

# Large validation parts: between two good rates the loss differs by a few images, and so it does between two seeds.
DIGITS = ["datamodule=digits", "datamodule.val_fraction=0.4", "datamodule.test_fraction=0.1"]
TABLE = ["model=mlp", "model.hidden=[64,64]", "model.norm=none"]
TABLE += ["datamodule.val_fraction=0.3", "datamodule.test_fraction=0.1"]
TEXT = ["datamodule=text", "datamodule.context=32", "datamodule.batch_size=16", "datamodule.max_bytes=300000"]

TASKS = {
    "cnn_digits": [*DIGITS, "model=cnn", "model.widths=[16,32]", "datamodule.batch_size=32"],
    "norm_mlp_digits": [*DIGITS, "model=mlp", "model.hidden=[128,128]", "model.norm=batch"],
    "mlp_breast_cancer": ["datamodule=breast_cancer", *TABLE],
    "mlp_diabetes": ["datamodule=diabetes", *TABLE],
    "transformer_text": [*TEXT, "model=transformer", "model.d_model=32", "model.heads=2"],
    "resnet_digits": [*DIGITS, "model=resnet", "model.widths=[16,32]", "datamodule.batch_size=32"],
}

# The first and last k of each optimizer's grid, five decades; where the best lies at an end, the grid is widened.
OPTIMIZERS = {
    "sgd": (-16, 4),
    "adamw": (-20, 0),
    "adam": (-20, 0),
    "rmsprop": (-20, 0),
    "adagrad": (-16, 4),
}


@dataclass(frozen=True)
class Cell:
    """One task under one optimizer for so many steps; warm-up 5 %, cosine, the optimizer's own defaults."""

    task: str
    optimizer: str
    steps: int

    def __str__(self) -> str:
        return f"{self.task} {self.optimizer} {self.steps}"

    @property
    def words(self) -> list[str]:
        """The line of this cell, without its LR and seed."""
        length = [f"trainer.max_steps={self.steps}", "trainer.max_epochs=-1"]
        return [*self.words_of_any_length, "scheduler=cosine", "warmup=linear", *length]

    @property
    def words_of_any_length(self) -> list[str]:
        """What a sweep sees of it: it has a length and a law of its own."""
        return [*TASKS[self.task], f"optimizer={self.optimizer}"]


def cells(horizons: tuple[int, ...] = HORIZONS) -> Iterator[Cell]:
    """All cells, the shortest first."""
    for steps in horizons:
        for task in TASKS:
            for optimizer in OPTIMIZERS:
                yield Cell(task, optimizer, steps)


def rate(k: int) -> float:
    """The k-th rate of the grid."""
    return 10 ** (k / SPACING)


@cache
def config(words: tuple[str, ...]) -> Any:
    """What `python train.py WORDS` would run with; to be copied before it is changed."""
    return checked(words).cfg
