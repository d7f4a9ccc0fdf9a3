"""Small tables that come inside scikit-learn: real data, no download."""

from collections.abc import Sequence

import numpy as np
import torch

from stride.datamodules.batches import Batch
from stride.datamodules.in_memory import InMemory
from stride.datamodules.split import check_fractions, stratified

CLASSIFICATION = ("breast_cancer", "wine")
REGRESSION = ("diabetes",)


class Table(InMemory):
    """One of scikit-learn's tables, split by `split_seed`, each feature standardised over the train part.

    A batch is x float32 (B, features) and y: the class as int64 (B,), split in proportion to the classes, or
    the target as float32 (B, 1), standardised over the train part too. So a regression's MAE is in units of
    the train targets' standard deviation: times `target_std` it is in the table's own unit, and a prediction
    p stands for `p * target_std + target_mean`. `feature_mean` and `feature_std` do the same for x.

    Raises ValueError for an unknown dataset, or fractions that leave a part empty.
    """

    def __init__(
        self,
        *,
        dataset: str,
        batch_size: int,
        seed: int,
        eval_batch_size: int = 1024,
        drop_last: bool = False,
        split_seed: int = 0,
        val_fraction: float = 0.15,
        test_fraction: float = 0.15,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, eval_batch_size=eval_batch_size, drop_last=drop_last)
        if dataset not in CLASSIFICATION + REGRESSION:
            known = ", ".join(sorted(CLASSIFICATION + REGRESSION))
            raise ValueError(f"`dataset` must be one of {known}, but got dataset={dataset}")
        check_fractions(val_fraction, test_fraction)
        self.dataset, self.split_seed = dataset, split_seed
        self.val_fraction, self.test_fraction = val_fraction, test_fraction

    def load(self) -> tuple[Batch, Batch, Batch]:
        x, y = _read(self.dataset)
        regression = self.dataset in REGRESSION
        train, val, test = stratified(
            np.zeros(len(y), dtype=int) if regression else y,
            val_fraction=self.val_fraction,
            test_fraction=self.test_fraction,
            seed=self.split_seed,
        )
        x, y = torch.from_numpy(x), torch.from_numpy(y[:, None] if regression else y)
        return (x[train], y[train]), (x[val], y[val]), (x[test], y[test])

    def preprocess(self, train: Batch, val: Batch, test: Batch) -> tuple[Batch, Batch, Batch]:
        x, y = zip(train, val, test, strict=True)
        x, self.feature_mean, self.feature_std = _standardised(x)
        if self.dataset in REGRESSION:
            y, self.target_mean, self.target_std = _standardised(y)
        train, val, test = zip(x, y, strict=True)
        return train, val, test

    @property
    def spec(self) -> dict[str, int]:
        """What a model has to fit: features, and classes or targets. Known after `setup`."""
        x, y = self.train
        if self.dataset in REGRESSION:
            return {"features": x.shape[1], "targets": y.shape[1]}
        largest = max(int(part[1].max()) for part in (self.train, self.val, self.test))
        return {"features": x.shape[1], "classes": largest + 1}


def _read(dataset: str) -> tuple[np.ndarray, np.ndarray]:
    from sklearn import datasets  # takes 0.1 to 0.5 s

    # diabetes comes scaled over all its samples, the test's too, unless it is asked not to
    options = {"scaled": False} if dataset == "diabetes" else {}
    table = getattr(datasets, f"load_{dataset}")(**options)
    return table.data, table.target


def _standardised(parts: Sequence[torch.Tensor]) -> tuple[list[torch.Tensor], np.ndarray, np.ndarray]:
    """Columns as float32, with mean 0 and std 1 over the first of the parts; and that mean and std.

    A column that is constant over the first part is only centred.
    """
    mean, std = parts[0].numpy().mean(axis=0), parts[0].numpy().std(axis=0)
    std[std == 0] = 1
    return [torch.from_numpy(((part.numpy() - mean) / std).astype(np.float32)) for part in parts], mean, std
