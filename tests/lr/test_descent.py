"""stride.lr.descent: what a list of losses is called."""

import math

import pytest

from stride.lr.descent import Descent


@pytest.mark.parametrize(
    ("losses", "verdict", "diverged"),
    [
        ([2.0, 1.0, 0.5], "falls to 0.5", False),
        ([2.0, 1.0, 1.5], "falls to 1.5", False),
        ([2.0, 2.0, 2.0], "falls to 2", False),
        ([2.0, 9.0, 3.0, 0.1], "rises to 9 at step 1, then falls to 0.1", False),
        ([2.0, 1.0, 0.5, 3.0, 8.0], "rises from step 2 on, to 8 at step 4", False),
        ([2.0, 3.0], "rises from step 0 on, to 3 at step 1", False),
        ([2.0, 1.0, math.nan], "diverges at step 2", True),
        ([2.0, math.inf], "diverges at step 1", True),
        ([2.0, 19_000.0], "rises from step 0 on, to 1.9e+04 at step 1", False),
        ([2.0, 21_000.0], "diverges at step 1", True),
        ([-2.0, -3.0], "falls to -3", False),
        ([-2.0, -30_000.0], "falls to -3e+04", False),
        ([-2.0, 21_000.0], "diverges at step 1", True),
        ([0.0, 2.0], "rises from step 0 on, to 2 at step 1", False),
        ([0.0, 11_000.0], "diverges at step 1", True),
    ],
)
def test_a_descent_is_called_what_it_is(losses, verdict, diverged):
    descent = Descent(1.1, 0.3, losses)
    assert (descent.verdict, descent.diverged) == (verdict, diverged)
    assert descent.as_dict() == {"times": 1.1, "lr": 0.3, "verdict": verdict, "losses": losses}
