"""The trend of a curve: lines through neighbours, and a standard deviation that is the one seen."""

import math
import random
from dataclasses import replace
from statistics import fmean, stdev

import pytest

from stride.lr.curve import Curve
from stride.lr.trend import Trend


def curve(losses):
    """From 1e-6 to 10."""
    points = len(losses)
    return Curve(tuple(10 ** (7 * k / (points - 1) - 6) for k in range(points)), tuple(losses))


def white(rng, points):
    return [rng.gauss(0, 1) for _ in range(points)]


def autoregressive(rng, points):
    """Each keeps half of the one before; of standard deviation 1."""
    losses = [rng.gauss(0, 1)]
    for _ in range(points - 1):
        losses.append(losses[-1] / 2 + math.sqrt(0.75) * rng.gauss(0, 1))
    return losses


def epochs_of_eight(rng, points):
    """The same eight batches again and again, each time in another order."""
    batches = white(rng, 8)
    return [loss for _ in range(points // 8 + 1) for loss in rng.sample(batches, 8)][:points]


@pytest.mark.parametrize("points", [20, 100, 300])
def test_a_straight_loss_is_its_own_trend_to_its_ends(points):
    losses = [5 - 0.01 * k for k in range(points)]
    trend = Trend.of(curve(losses))
    assert trend.levels == pytest.approx(losses)
    assert trend.slopes == pytest.approx([-0.01] * points)
    assert trend.sum(trend.beginning) == pytest.approx(fmean(losses[: points // 5]))
    assert trend.lowest == points - 1
    assert trend.sigma == pytest.approx(0, abs=1e-12)


def test_a_step_is_smoothed_over_half_a_decade_whatever_the_number_of_points():
    for points in (71, 141, 351):
        edge = points // 2
        levels = Trend.of(curve([1.0] * edge + [0.0] * (points - edge))).levels
        decade = (points - 1) / 7
        between = [k for k, level in enumerate(levels) if 1e-3 < level < 1 - 1e-3]
        assert (between[-1] - between[0]) / decade == pytest.approx(0.8, abs=0.15)
        assert abs(between[0] + between[-1] - 2 * edge + 1) <= 1  # symmetric: it is not late


def test_how_far_a_loss_ran_away_says_nothing():
    fall = [2 - k / 80 for k in range(80)]
    far, further = Trend.of(curve([*fall, *[10.0] * 5])), Trend.of(curve([*fall, *[10.0**k for k in range(6, 11)]]))
    assert far.levels == pytest.approx(further.levels)
    assert far.lowest == further.lowest
    assert max(far.losses) == 2.0


@pytest.mark.parametrize("points", [30, 100])
@pytest.mark.parametrize(
    ("noise", "least", "most"), [(white, 0.85, 1.35), (epochs_of_eight, 1.0, 3.0), (autoregressive, 0.65, 1.2)]
)
def test_the_deviation_of_a_fall_is_the_one_seen_in_many_curves(noise, points, least, most):
    """Correlated losses scatter more in a mean, epochs less; of the first, what a short curve can know of it."""
    rng = random.Random(0)
    trends = [Trend.of(curve(noise(rng, points))) for _ in range(150)]
    place = round(0.7 * points)
    falls = [trend.above(trend.beginning, trend.level_weights[place]) for trend in trends]
    seen = stdev(fall for fall, _ in falls)
    said = math.sqrt(fmean(deviation**2 for _, deviation in falls))
    assert least < said / seen < most


def test_a_few_losses_far_off_and_back_count():
    """Half of all second differences are 0 here, and off and back cancel in a mean; yet the losses scatter."""
    losses = [{4: 1.0, 5: -1.0}.get(k % 10, 0.0) for k in range(100)]
    assert Trend.of(curve(losses)).sigma == pytest.approx(math.sqrt(0.2), rel=0.1)


def test_losses_that_leap_about_after_the_lowest_do_not_count():
    rng = random.Random(0)
    fall = [2 - k / 60 + rng.gauss(0, 0.05) for k in range(60)]
    leaps = [rng.choice([1.2, 2.0]) for _ in range(40)]
    # Up to there it is 0.05 for most, more for those whose neighbours leap; of all together it would be 0.3.
    assert 0.04 < Trend.of(curve([*fall, *leaps])).sigma < 0.15


def test_points_that_lie_decades_apart_have_neighbours_all_the_same():
    losses = tuple(5 - 0.01 * k for k in range(25))
    apart = Curve(tuple(10.0 ** (k - 20) for k in range(25)), losses)
    assert Trend.of(apart).levels == pytest.approx(losses)


def test_a_difference_is_sure_from_three_and_a_half_of_its_deviations_on():
    trend = replace(Trend.of(curve(white(random.Random(0), 100))), losses=(*[0.0] * 99, 1.0))
    for sigma, sure in ((0.2, True), (0.25, False)):
        # Two losses, independent: their difference has sqrt(2) of the deviation of one.
        assert replace(trend, sigma=sigma).surely_above({99: 1.0}, {0: 1.0}) is sure
        assert not replace(trend, sigma=sigma).surely_above({0: 1.0}, {99: 1.0})
