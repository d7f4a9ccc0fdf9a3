"""Which samples are for training, for validation and for the test."""

import numpy as np


def check_fractions(val_fraction: float, test_fraction: float) -> None:
    """Raises ValueError unless all three parts get something."""
    if not (val_fraction > 0 and test_fraction > 0 and val_fraction + test_fraction < 1):
        raise ValueError(
            "`val_fraction > 0`, `test_fraction > 0` and `val_fraction + test_fraction < 1` must hold, "
            f"but got val_fraction={val_fraction}, test_fraction={test_fraction}"
        )


def stratified(
    labels: np.ndarray, *, val_fraction: float, test_fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices of the train, validation and test samples: disjoint, together all, drawn by `seed` alone.

    `labels` (samples,) are integers; each part holds every class in proportion, up to rounding. With the same
    label for all it is a plain random split.

    Raises ValueError if a fraction is out of range or a part would be empty.
    """
    check_fractions(val_fraction, test_fraction)
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    # Sorted by a sample's place within its class, as a fraction, any stretch holds the classes in proportion.
    counts = np.unique(labels, return_counts=True)[1]
    place = np.concatenate([(np.arange(count) + 0.5) / count for count in counts])
    mixed = by_class[np.argsort(place, kind="stable")]
    test_size, val_size = round(len(labels) * test_fraction), round(len(labels) * val_fraction)
    test, val, train = np.split(mixed, [test_size, test_size + val_size])
    if min(len(train), len(val), len(test)) == 0:
        raise ValueError(
            f"each part must hold a sample, but {len(labels)} samples with val_fraction={val_fraction} and "
            f"test_fraction={test_fraction} give train={len(train)}, val={len(val)}, test={len(test)}"
        )
    return train, val, test
