"""Reading a range test's curve: the raw losses behind Lightning's average, and its lag."""

import math

import pytest

from stride.lr.curve import Curve, lag, smooth, unbias


def as_lightning_reports(losses, beta=0.98):
    """Lightning's own averaging, its exponent one too high."""
    average, reported = 0.0, []
    for step, loss in enumerate(losses):
        average = beta * average + (1 - beta) * loss
        reported.append(average / (1 - beta ** (step + 2)))
    return reported


def test_the_raw_losses_are_recovered_from_lightnings_average():
    losses = [2 + math.sin(k) for k in range(80)]
    assert unbias(as_lightning_reports(losses)) == pytest.approx(losses, abs=1e-11)
    # What it reports for a constant loss starts at half of it.
    assert as_lightning_reports([1.0] * 3)[0] == pytest.approx(0.505, abs=1e-3)


def test_an_average_of_a_constant_is_the_constant_from_its_first_point():
    assert smooth([3.0] * 20) == pytest.approx([3.0] * 20)


def test_a_curve_ends_before_the_first_loss_that_is_not_finite():
    curve = Curve.of([1, 2, 3, 4], [1.0, 0.5, math.nan, 0.1])
    assert curve.lrs == (1, 2)
    with pytest.raises(ValueError, match="shorter"):
        Curve.of([1, 2], [1.0])


def test_the_lag_is_half_of_what_average_and_momentum_look_back():
    assert lag(0.9, 0.9) == pytest.approx(9.0)
    assert lag(0.9, 0.0) == pytest.approx(4.5)
