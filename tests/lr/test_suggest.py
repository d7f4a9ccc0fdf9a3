"""The pickers: what they pick of curves whose places are known, what they do not depend on, and when they refuse."""

import math
import random
from dataclasses import replace

import pytest

from stride.lr.curve import Curve
from stride.lr.suggest import PICKERS, Outcome, Suggestion, bottom, minimum, slide, steepest, together
from stride.lr.trend import Trend

ALL = list(PICKERS.values())
FOUND, NEVER, NOISY, SHORT, FLAT = (
    Outcome.FOUND,
    Outcome.NEVER_DIVERGED,
    Outcome.TOO_NOISY,
    Outcome.TOO_SHORT,
    Outcome.FLAT,
)


def good(decade):
    """Flat at 2, steepest at 10**-2.5, lowest (1.02) at 10**-1.77, above 2 from 10**-0.8 on."""
    return 2 - 1 / (1 + 10 ** ((-2.5 - decade) / 0.35)) + 10 ** (2 * (decade + 0.8))


def without_turn(decade):
    return 2 - 1 / (1 + 10 ** ((-2.5 - decade) / 0.35))


def sweep(loss, points=100, low=-6.0, high=1.0, noise=None, seed=0):
    """`loss` of each decade, plus `noise(rng, points)`."""
    decades = [low + (high - low) * k / (points - 1) for k in range(points)]
    added = noise(random.Random(seed), points) if noise else [0.0] * points
    losses = [loss(decade) + more for decade, more in zip(decades, added, strict=True)]
    return Curve.of([10**decade for decade in decades], losses, momentum=0.9)


def white(sigma):
    return lambda rng, points: [rng.gauss(0, sigma) for _ in range(points)]


def heavy_tailed(rng, points):
    """Student's t with 3 degrees of freedom: now and then a loss that is far off."""
    return [rng.gauss(0, 0.1) / math.sqrt(rng.gammavariate(1.5, 2) / 3) for _ in range(points)]


def epochs(steps, *, shuffled):
    """The same batches in every epoch."""

    def noise(rng, points):
        batches = [rng.gauss(0, 0.2) for _ in range(steps)]
        again = [rng.sample(batches, steps) if shuffled else batches for _ in range(points // steps + 1)]
        return [loss for epoch in again for loss in epoch][:points]

    return noise


def uneven_epochs(rng, points):
    """Some ten steps have a mean of their own."""
    means = [rng.gauss(0, 0.1) for _ in range(points // 10 + 1)]
    return [means[k // 10] + rng.gauss(0, 0.2) for k in range(points)]


def hanging_together(rng, points):
    """Each loss keeps a third of how far off the one before was."""
    off = [rng.gauss(0, 0.2)]
    for _ in range(points - 1):
        off.append(off[-1] / 3 + rng.gauss(0, 0.2))
    return off


def drifting(by):
    """Slowly, by so much over the whole sweep, whatever the LR."""
    return lambda rng, points: [by * k / points + rng.gauss(0, 0.2) for k in range(points)]


def decade_of(suggestion):
    assert suggestion.outcome is FOUND, suggestion
    return math.log10(suggestion.lr)


# The valley begins where a twentieth has fallen, at -2.95; the interval of 1.2 decades lies around the steepest place.
# The momentum and the average of `minimum` look back 18 steps; half of that, 0.64 decades, is taken off again.
# `bottom` is where 95 % has fallen, less the 6.3 steps that a momentum of 0.9 looks back.
PLACES = {
    "bottom": -2.42,
    "steepest": -2.5,
    "valley": (-2.95 - 1.77) / 2,
    "slide": -3.1,
    "minimum": -1.77,
    "divergence": -1.5,
}


@pytest.mark.parametrize("name", PICKERS)
def test_a_picker_finds_the_place_that_it_is_named_after(name):
    assert decade_of(PICKERS[name](sweep(good))) == pytest.approx(PLACES[name], abs=0.1)


@pytest.mark.parametrize("points", [50, 200, 400])
@pytest.mark.parametrize("name", ["steepest", "valley", "slide", "divergence"])
def test_the_number_of_points_does_not_matter(name, points):
    allowed = 0.2 if name == "divergence" else 0.1  # a runaway is seen in an average over steps
    assert decade_of(PICKERS[name](sweep(good, points))) == pytest.approx(PLACES[name], abs=allowed)


@pytest.mark.parametrize("name", PICKERS)
def test_where_the_sweep_begins_does_not_matter(name):
    early, late = sweep(good, 100, low=-6), sweep(good, 72, low=-4)
    assert decade_of(PICKERS[name](late)) == pytest.approx(decade_of(PICKERS[name](early)), abs=0.1)


@pytest.mark.parametrize("picker", ALL)
@pytest.mark.parametrize("curve", [sweep(good, noise=white(0.2)), sweep(lambda _: 2.0, noise=white(0.2))])
@pytest.mark.parametrize(("scale", "shift"), [(1000, 0), (0.001, 0), (1, -5), (7, 20)])
def test_the_unit_and_the_origin_of_the_loss_do_not_matter(picker, curve, scale, shift):
    """So long as it falls by a tenth of where it begins."""
    other = replace(curve, losses=tuple(scale * loss + shift for loss in curve.losses))
    one, two = picker(curve), picker(other)
    assert two.outcome is one.outcome
    assert two.lr == (one.lr and pytest.approx(one.lr))


@pytest.mark.parametrize("picker", ALL)
def test_in_another_unit_of_the_lr_it_is_the_same_place(picker):
    curve = sweep(good, noise=white(0.2))
    other = replace(curve, lrs=tuple(100 * lr for lr in curve.lrs), diverged=100 * curve.diverged)
    assert picker(other).lr == pytest.approx(100 * picker(curve).lr)


@pytest.mark.parametrize("picker", ALL)
@pytest.mark.parametrize("shift", [48, -52])
def test_a_fall_of_some_8_deviations_that_is_small_for_where_it_begins_is_refused(picker, shift):
    """From 2 down to 1 it is good, from 50 to 49 it is what networks fall by where there is nothing to learn."""
    curve = sweep(good, noise=white(0.2))
    shifted = replace(curve, losses=tuple(loss + shift for loss in curve.losses))
    assert (picker(curve).outcome, picker(shifted).outcome) == (FOUND, NOISY)


def test_the_minimum_is_found_less_the_lag():
    curve = sweep(good)
    assert minimum(replace(curve, momentum=0.0)).lr == pytest.approx(minimum(curve).lr * curve.ratio**4.5)


@pytest.mark.parametrize(("momentum", "steps"), [(0.0, 0.0), (0.5, 0.7), (0.9, 6.3)])
def test_the_bottom_is_where_95_of_100_have_fallen_less_what_momentum_looks_back(momentum, steps):
    curve = replace(sweep(good), momentum=momentum)
    trend = Trend.of(curve)
    top, levels = trend.sum(trend.beginning), trend.levels
    reached = [point for point, level in enumerate(levels) if level <= top - 0.95 * (top - levels[trend.lowest])]
    assert bottom(curve).lr == pytest.approx(curve.lrs[reached[0]] / curve.ratio**steps)
    assert bottom(curve).why.endswith("momentum looks back") == (momentum > 0)


def test_the_bottom_is_of_the_fall_to_the_lowest_and_not_of_an_earlier_dip():
    def dipped(decade):
        return good(decade) - 0.94 * (abs(decade + 3.9) < 0.6)  # to 1.06, as low as 95 % of the fall

    assert decade_of(bottom(sweep(dipped))) == pytest.approx(PLACES["bottom"], abs=0.1)


def test_one_low_loss_at_the_very_first_step_is_not_the_minimum():
    curve = sweep(good)
    first = replace(curve, losses=(0.5, *curve.losses[1:]))
    assert minimum(first).lr == minimum(curve).lr


@pytest.mark.parametrize("picker", [steepest, slide])
def test_a_leap_back_from_above_is_not_the_steepest_fall(picker):
    curve = sweep(good)
    losses = [*curve.losses[:68], *[2.0] * 10, *[1.1] * 12]
    leapt = Curve(tuple(10 ** (7 * k / 99 - 6) for k in range(90)), tuple(losses), diverged=3.0)
    assert picker(leapt).lr == pytest.approx(picker(curve).lr, rel=0.2)


@pytest.mark.parametrize(
    ("curve", "outcomes"),
    # In the order bottom, steepest, valley, slide, minimum, divergence.
    [
        (sweep(good, 19), [SHORT] * 6),
        (sweep(lambda _: 2.0), [FLAT] * 6),
        (sweep(lambda _: 0.0), [FLAT] * 6),
        (sweep(lambda decade: 2 + 1e-7 * math.sin(40 * decade)), [FLAT] * 6),  # a float's rounding
        (sweep(lambda decade: 2 + 10**decade), [FLAT] * 6),
        (sweep(lambda decade: 2 + decade / 1000), [FLAT] * 6),
        (sweep(lambda _: 2.0, noise=white(0.2)), [NOISY] * 6),
        (sweep(without_turn), [NEVER, FOUND, *[NEVER] * 4]),
        (sweep(without_turn, noise=white(0.1)), [NEVER, FOUND, *[NEVER] * 4]),
        (sweep(without_turn, high=-2.5), [NEVER] * 6),
        (sweep(lambda decade: -decade), [NEVER] * 6),
        (sweep(good, low=-2.4, noise=white(0.01)), [FOUND, SHORT, FOUND, SHORT, FOUND, FOUND]),
    ],
    ids=[
        "19 points",
        "constant",
        "always 0",
        "constant but for rounding",
        "rising from the first LR on",
        "rising all the time",
        "noise",
        "a fall without a turn",
        "a noisy fall without a turn",
        "a sweep that ends within the fall",
        "falling all the time",
        "a sweep that begins within the fall",
    ],
)
def test_a_curve_that_says_nothing_is_not_made_to_speak(curve, outcomes):
    assert [picker(curve).outcome for picker in ALL] == outcomes
    for picker in ALL:
        suggestion = picker(curve)
        assert (suggestion.lr is None) == (suggestion.outcome is not FOUND)


@pytest.mark.parametrize("end", [math.inf, 1e12])
def test_a_fall_that_ends_far_above_has_turned(end):
    """Whether the lowest loss is the last that is a number, or what follows is beyond all measure."""
    decades = [-6 + 0.07 * k for k in range(100)]
    losses = [without_turn(decade) if decade < -1 else end for decade in decades]
    curve = Curve.of([10**decade for decade in decades], losses)
    assert [picker(curve).outcome for picker in ALL] == [FOUND] * 6


INDEPENDENT = {
    "white": white(0.2),
    "heavy-tailed": heavy_tailed,
    "8 batches an epoch, shuffled": epochs(8, shuffled=True),
    "30 batches an epoch, shuffled": epochs(30, shuffled=True),
    "30 batches an epoch, in one order": epochs(30, shuffled=False),
}
NOISES = INDEPENDENT | {
    "uneven epochs": uneven_epochs,
    "each like the one before": hanging_together,
    "drifting down": drifting(-0.2),
    "drifting up": drifting(0.5),
}


@pytest.mark.parametrize("points", [30, 100])
@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES)
def test_noise_is_refused_at_least_95_times_in_100(noise, points):
    curves = [sweep(lambda _: 2.3, points, noise=noise, seed=seed) for seed in range(100)]
    assert sum(minimum(curve).lr is None for curve in curves) >= 95


@pytest.mark.parametrize("points", [20, 30, 100])
@pytest.mark.parametrize("noise", INDEPENDENT.values(), ids=INDEPENDENT)
def test_noise_that_diverges_at_last_is_refused_for_not_falling(noise, points):
    """No turn is missing here. What hangs together and diverges is refused less often, 90 times in 100."""
    curves = [sweep(lambda _: 2.3, points, noise=noise, seed=seed) for seed in range(100)]
    assert sum(minimum(replace(curve, diverged=10.0)).lr is None for curve in curves) >= 97


@pytest.mark.parametrize("picker", ALL)
def test_noise_that_runs_away_at_last_is_refused_by_all(picker):
    curves = [sweep(lambda u: 2.3 + 10 ** (2 * u), noise=white(0.2), seed=seed) for seed in range(100)]
    assert sum(curve.diverged is not None for curve in curves) == 100
    assert sum(picker(curve).lr is None for curve in curves) >= 95


@pytest.mark.parametrize("picker", ALL)
@pytest.mark.parametrize("by", [-0.6, -2.0])
def test_a_loss_that_drifts_down_whatever_the_lr_is_refused_by_all(picker, by):
    """By 3 and by 10 deviations of a loss: that it falls is sure, where it falls is not known."""
    curves = [sweep(lambda _: 2.3, noise=drifting(by), seed=seed) for seed in range(40)]
    assert sum(picker(curve).lr is None for curve in curves) >= 38


@pytest.mark.parametrize("name", PICKERS)
@pytest.mark.parametrize(
    ("points", "noise"),
    [(100, white(0.1)), (100, white(0.4)), (50, white(0.2)), (100, drifting(-0.2)), (100, epochs(8, shuffled=True))],
    ids=["quiet", "a fall of two and a half deviations", "50 points", "drifting", "epochs"],
)
def test_a_good_curve_is_refused_at_most_twice_in_100_and_its_place_is_found(name, points, noise):
    found = [PICKERS[name](sweep(good, points, noise=noise, seed=seed)).lr for seed in range(50)]
    assert sum(lr is None for lr in found) <= 1
    place = decade_of(PICKERS[name](sweep(good, points)))
    near = [lr for lr in found if lr and abs(math.log10(lr) - place) < 0.5]
    assert len(near) >= 47


def test_several_orders_give_their_geometric_mean_and_half_of_them_must_agree():
    found = [Suggestion(lr, FOUND, str(lr)) for lr in (1e-3, 1e-1)]
    nothing = Suggestion(None, FLAT, "flat")
    assert together(found).lr == pytest.approx(1e-2)
    assert together([found[0], nothing]).lr == pytest.approx(1e-3)
    assert together([found[0], nothing, nothing]).outcome is FLAT
