"""Handwritten digits that come inside scikit-learn: real images, no download."""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from stride.datamodules.batches import Batch
from stride.datamodules.in_memory import InMemory
from stride.datamodules.split import check_fractions, stratified


class Digits(InMemory):
    """1,797 images of 8x8 pixels in 10 classes, split by `split_seed` in proportion to the classes.

    A batch is x float32 (B, 1, 8, 8) in [0, 1], background 0, and y int64 (B,). `shift` moves each training
    image at random by up to so many pixels along both axes, filling with background; 0 leaves them in place.

    Raises ValueError if `shift` is out of range, or fractions leave a part empty.
    """

    def __init__(
        self,
        *,
        batch_size: int,
        seed: int,
        eval_batch_size: int = 1024,
        drop_last: bool = False,
        split_seed: int = 0,
        val_fraction: float = 0.15,
        test_fraction: float = 0.15,
        shift: int = 1,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, eval_batch_size=eval_batch_size, drop_last=drop_last)
        check_fractions(val_fraction, test_fraction)
        if not 0 <= shift < 8:
            raise ValueError(f"`0 <= shift < 8` (pixels) must hold, but got shift={shift}")
        self.split_seed, self.val_fraction, self.test_fraction = split_seed, val_fraction, test_fraction
        self.transform = partial(shifted, pixels=shift) if shift else None

    def load(self) -> tuple[Batch, Batch, Batch]:
        from sklearn.datasets import load_digits  # takes 0.1 to 0.5 s

        digits: Any = load_digits()
        train, val, test = stratified(
            digits.target,
            val_fraction=self.val_fraction,
            test_fraction=self.test_fraction,
            seed=self.split_seed,
        )
        x = torch.from_numpy(digits.images).float()[:, None] / 16  # ink is counted from 0 to 16
        y = torch.from_numpy(digits.target)
        return (x[train], y[train]), (x[val], y[val]), (x[test], y[test])

    @property
    def spec(self) -> dict[str, int]:
        """What a model has to fit; `features` counts all pixels, for a network without convolutions."""
        return {"channels": 1, "height": 8, "width": 8, "features": 64, "classes": 10}


def shifted(images: torch.Tensor, generator: torch.Generator, *, pixels: int) -> torch.Tensor:
    """Each image of (B, C, H, W) moved at random by up to `pixels` along both axes."""
    count, channels, height, width = images.shape
    padded = F.pad(images, [pixels] * 4)
    top, left = torch.randint(0, 2 * pixels + 1, (2, count, 1), generator=generator)
    rows, columns = top + torch.arange(height), left + torch.arange(width)
    image, channel = torch.arange(count)[:, None, None, None], torch.arange(channels)[:, None, None]
    return padded[image, channel, rows[:, None, :, None], columns[:, None, None, :]]
