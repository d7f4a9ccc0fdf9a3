"""A file of predictions: one row a sample."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch


def write_predictions(batches: Sequence[Any], path: Path) -> int:
    """Write the columns of all batches (dicts of tensors, first dimension a sample) and return the number of rows.

    A path that ends in .npz gets arrays, any other a table.
    """
    columns = {name: torch.cat([batch[name] for batch in batches]).cpu().numpy() for name in batches[0]}
    rows = len(next(iter(columns.values())))
    if path.suffix == ".npz":
        np.savez(path, **columns)  # pyrefly: ignore[bad-argument-type]
        return rows
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["index", *columns])
        writer.writerows(
            [index, *row] for index, row in enumerate(zip(*(c.tolist() for c in columns.values()), strict=True))
        )
    return rows
