"""Does the accelerator come to the weights that the CPU comes to?"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from stride.doctor.quadratic.loss import quadratic
from stride.doctor.quadratic.trained import train
from stride.doctor.quadratic.witness import weights
from stride.doctor.row import Row, judged

STEPS, MOMENTUM = 40, 0.9
NEAR = 1e-4  # of the largest weight, in float32


def rows(root: Path) -> Iterator[Row]:
    """The same run on the CPU and on what Lightning chooses; nothing where there is only the CPU."""
    import torch

    if torch.accelerator.is_available():
        yield compared(root, "auto")


def compared(root: Path, accelerator: str) -> Row:
    words = [
        *(f"optimizer.lr={quadratic().limit(0.0) / 10!r}", f"optimizer.momentum={MOMENTUM}", "warmup=linear"),
        *("warmup.length=20%", "scheduler=cosine", f"trainer.max_epochs={STEPS}"),
        f"trainer.check_val_every_n_epoch={STEPS}",
    ]
    expected = weights(train(root, "on-cpu", words).folder)
    on_it = train(root, "on-it", [*words, f"trainer.accelerator={accelerator}"])
    off = float(np.abs(weights(on_it.folder) - expected).max() / np.abs(expected).max())
    return judged(
        "accelerator",
        f"{on_it.record['device']}: the CPU's weights to {off:.0e}",
        holds=off <= NEAR,
        law=f"over {STEPS} steps the weights must agree to {NEAR:g}",
        attempt="python train.py trainer=cpu",
    )
