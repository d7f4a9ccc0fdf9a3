"""Reading a range test's curve: the raw losses behind Lightning's average, its lag, what it suggests."""

import math
from dataclasses import replace

import pytest

from stride.lr.curve import Curve, lag, smooth, unbias
from stride.lr.suggest import Outcome, Suggestion, minimum, together


def as_lightning_reports(losses, beta=0.98):
    """Lightning's own averaging, its exponent one too high."""
    average, reported = 0.0, []
    for step, loss in enumerate(losses):
        average = beta * average + (1 - beta) * loss
        reported.append(average / (1 - beta ** (step + 2)))
    return reported


def sweep(loss, points=100, low=1e-6, high=10.0):
    lrs = [low * (high / low) ** (k / (points - 1)) for k in range(points)]
    return Curve.of(lrs, [loss(lr) for lr in lrs], momentum=0.9)


def valley(lr):
    """Flat at 2, falls to 1 around 0.1, then runs away."""
    return 2 - 1 / (1 + 1e-2 / lr) + (lr / 1.0) ** 2


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


def test_the_minimum_is_found_less_the_lag():
    curve = sweep(valley)
    lowest = min(curve.lrs, key=valley)
    suggestion = minimum(curve)
    assert suggestion.outcome is Outcome.FOUND
    # A causal average sees the minimum late by a few points of ratio 1.18; the lag takes off 9.
    assert lowest / curve.ratio**9 <= suggestion.lr <= lowest
    assert minimum(replace(curve, momentum=0.0)).lr == pytest.approx(suggestion.lr * curve.ratio**4.5)


@pytest.mark.parametrize(
    ("loss", "points", "outcome"),
    [
        (lambda lr: 2.0, 100, Outcome.FLAT),
        (lambda lr: 2 + lr, 100, Outcome.FLAT),
        (lambda lr: 2 - 1 / (1 + 1e-2 / lr), 100, Outcome.NEVER_DIVERGED),
        (valley, 10, Outcome.TOO_SHORT),
    ],
)
def test_a_curve_that_says_nothing_is_not_made_to_speak(loss, points, outcome):
    suggestion = minimum(sweep(loss, points))
    assert suggestion.lr is None
    assert suggestion.outcome is outcome


def test_several_orders_give_their_geometric_mean_and_half_of_them_must_agree():
    found = [Suggestion(lr, Outcome.FOUND, str(lr)) for lr in (1e-3, 1e-1)]
    nothing = Suggestion(None, Outcome.FLAT, "flat")
    assert together(found).lr == pytest.approx(1e-2)
    assert together([found[0], nothing]).lr == pytest.approx(1e-3)
    assert together([found[0], nothing, nothing]).outcome is Outcome.FLAT
