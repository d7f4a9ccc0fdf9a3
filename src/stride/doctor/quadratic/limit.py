"""Is the limit of the LR measured right, and does SGD fall below it and grow above it, as it must?"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from stride.doctor.quadratic.loss import Quadratic, quadratic
from stride.doctor.quadratic.trained import train
from stride.doctor.quadratic.witness import weights
from stride.doctor.row import Row, judged
from stride.lr.stability import stability_limit

NEAR = 1e-4  # of the sharpness: what Lanczos' algorithm is asked for
BELOW, ABOVE = 0.98, 1.02  # of the limit
MOMENTA = (0.0, 0.9)
STEPS = 60
EXACT = 1e-9  # of the largest weight, or of 1


def rows(root: Path) -> Iterator[Row]:
    """The measured limit, and descents on both sides of the true one."""
    known = quadratic()
    yield _measured(root, known)
    yield _descended(root, known)


def _measured(root: Path, known: Quadratic) -> Row:
    folder = train(root, "stability", ["task=stability"]).folder
    told = json.loads((folder / "stability.json").read_text(encoding="utf-8"))
    sharpness, ceiling = told["sharpness"]["value"], told["limit"]["ceiling"]
    limits = [stability_limit("SGD", {"momentum": momentum}, sharpness).ceiling or 0.0 for momentum in MOMENTA]
    pairs = zip([ceiling, *limits], map(known.limit, [0.0, *MOMENTA]), strict=True)
    off = np.max([abs(measured / true - 1) for measured, true in pairs])  # unlike max, nan where one is
    built_in = f"2 / sharpness = 2 / {known.sharpness:.5g} = {known.limit(0.0):.5g} built in"
    return judged(
        "limit",
        f"{ceiling:.5g} measured, {built_in}",
        holds=bool(off <= NEAR),
        law=f"the two must agree to {NEAR:g} of themselves, with momentum too, and differ by {off:.2g}",
        attempt="pytest tests/lr/test_sharpness.py tests/lr/test_stability.py",
    )


def _descended(root: Path, known: Quadratic) -> Row:
    """SGD near the limit, with and without momentum, against the recursion that its weights must follow."""
    wrong, distances = [], []
    for momentum in MOMENTA:
        for times in (BELOW, ABOVE):
            rate = times * known.limit(momentum)
            words = [f"optimizer.lr={rate!r}", f"optimizer.momentum={momentum}", *_steps(STEPS)]
            run = weights(train(root, f"sgd-{momentum}-{times}", words).folder)
            expected = known.path([rate] * STEPS, momentum)
            distances.append(_distance(run, expected))
            if (known.loss(run[-1]) > known.loss(run[0])) != (times > 1):
                wrong.append(f"{times} times it, with momentum {momentum:g}")
    largest = np.max(distances)
    law = f"it must fall below the limit and grow above it, and does not at {'; '.join(wrong)}"
    return judged(
        "stability",
        f"SGD falls at {BELOW} x limit, grows at {ABOVE} x; path off by {largest:.0e}",
        holds=not wrong and bool(largest <= EXACT),
        law=law if wrong else f"the weights must be on the path of the closed form to {EXACT:g}",
        attempt="pytest tests/test_applied_lr.py",
    )


def _distance(run: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference on the way, in parts of the largest weight of its step; infinite for another length."""
    if run.shape != expected.shape:
        return np.inf
    return float(np.max(np.abs(run - expected).max(1) / np.maximum(1.0, np.abs(expected).max(1))))


def _steps(count: int) -> list[str]:
    """A run of so many steps in float64, validated at its end: an epoch is one step."""
    ends = f"trainer.check_val_every_n_epoch={count}"
    return [f"trainer.max_epochs={count}", ends, "trainer.precision=64-true"]
