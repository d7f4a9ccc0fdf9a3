"""Rehearsals: what the steps are spent on, which rates are tried, and which LR comes of them."""

import math

import pytest

from stride.lr.rehearsal import SPACING, Rehearsal, Rehearsed, best_lr, extent, rises_again, search, verdict
from stride.lr.suggest import Outcome


@pytest.mark.parametrize(
    ("run", "steps", "length", "rates", "orders"),
    [
        (250, 820, 250, 3, 1),
        (1500, 1320, 440, 3, 1),
        (1500, 2820, 940, 3, 1),
        (1500, 5820, 1500, 3, 1),
        (250, 1820, 250, 5, 1),
        (250, 3820, 250, 5, 3),
        (100, 820, 100, 5, 1),
        (10, 820, 10, 5, 4),
        (250, 3, 1, 3, 1),
    ],
)
def test_the_steps_go_to_length_first_then_to_rates_then_to_orders(run, steps, length, rates, orders):
    size = extent(run, steps)
    assert (size.steps, size.rates, size.orders) == (length, rates, orders)
    assert size.steps * size.rates * size.orders <= steps


def bowl(lowest, *, lost_from=math.inf):
    """A score that is a parabola in log LR."""

    def rehearse(lr):
        return Rehearsal(lr, 2 + math.log(lr / lowest) ** 2 if lr < lost_from else math.inf, overfits=False)

    return rehearse


def places(rehearsals, start):
    return [round(math.log(each.lr / start, SPACING), 6) for each in rehearsals]


@pytest.mark.parametrize(
    ("lowest", "most", "expected"),
    [
        (0.01, 3, [-1, 0, 1]),
        (0.001, 3, [-2, -1, 0]),
        (0.1, 3, [-1, 0, 1]),
        (0.1, 5, [-1, 0, 1, 2, 3]),
        (0.01 * SPACING**0.1, 5, [-1, -0.5, 0, 0.5, 1]),
        (0.01 * SPACING**0.1, 4, [-1, 0, 0.5, 1]),
        (0.01 * SPACING**-0.1, 4, [-1, -0.5, 0, 1]),
        (0.01, 9, [-1, -0.5, 0, 0.5, 1]),
    ],
)
def test_it_brackets_the_lowest_score_and_then_looks_closer(lowest, most, expected):
    assert places(search(bowl(lowest), 0.01, most), 0.01) == expected


def test_what_is_lost_sends_it_down():
    rehearsals = search(bowl(0.001, lost_from=0.003), 0.01, 5)
    assert places(rehearsals, 0.01) == [-3, -2.5, -2, -1, 0]
    assert best_lr(rehearsals) == pytest.approx(0.001)


@pytest.mark.parametrize("shift", [-1.4, -0.9, -0.3, 0.0, 0.4, 0.8])
def test_the_lowest_point_of_a_parabola_is_found_between_and_beside_the_rates(shift):
    lowest = 0.01 * SPACING**shift
    for most in (3, 5):
        assert best_lr(search(bowl(lowest), 0.01, most)) == pytest.approx(lowest)


def test_it_does_not_go_beyond_what_was_rehearsed():
    assert best_lr(search(bowl(1.0), 0.01, 3)) == pytest.approx(0.01 * SPACING)
    assert best_lr(search(bowl(1e-5), 0.01, 3)) == pytest.approx(0.01 / SPACING**2)


def test_where_the_scores_bend_the_wrong_way_it_is_the_lowest():
    scores = {0.001: 1.0, 0.01: 1.2, 0.1: 0.9}
    assert best_lr([Rehearsal(lr, score, overfits=False) for lr, score in scores.items()]) == 0.1


def test_of_two_it_is_the_lower_and_of_none_nothing():
    lost = Rehearsal(0.1, math.inf, overfits=False)
    kept = [Rehearsal(0.01, 1.0, overfits=False), Rehearsal(0.001, 2.0, overfits=False)]
    assert best_lr([*kept, lost]) == 0.01
    assert best_lr([lost, lost]) is None


def rehearsed(scores, times=1.0):
    rehearsals = [Rehearsal(lr, score, overfits=times != 1) for lr, score in scores.items()]
    return Rehearsed(extent(1500, 1320), rehearsals, times)


BEST = {0.01: 1.0, 0.1: 0.5, 1.0: 1.0}


def test_the_verdict_says_what_was_lowest_and_how_it_was_brought_to_the_runs_length():
    kept, moved = verdict(rehearsed(BEST), 1500), verdict(rehearsed(BEST, 0.3), 1500)
    assert (kept.lr, moved.lr) == pytest.approx((0.1, 0.03))
    assert kept.why == "of runs of 440 steps at 3 rates, the held-out loss is lowest at 0.1"
    assert moved.why == f"{kept.why}; they overfit, and 1500 steps come as far at 0.03"


def test_where_all_were_lost_it_goes_below_them():
    below = verdict(rehearsed(dict.fromkeys(BEST, math.inf)), 1500)
    assert below.lr == pytest.approx(0.01 / SPACING)
    assert below.outcome is Outcome.FOUND
    assert below.why == "runs of 440 steps were lost at all of 3 rates, down to 0.01"


def path(*losses):
    return list(enumerate(losses))


@pytest.mark.parametrize(
    ("losses", "rose"),
    [
        (path(2.0, 1.0, 0.5, 0.5, 0.5), False),
        (path(2.0, 1.0, 0.5, 0.54, 0.54), False),
        (path(2.0, 1.0, 0.5, 0.6, 0.6), True),
        (path(2.0, 0.5, 0.9, 0.5, 0.5), False),
        (path(2.0, 2.1, 2.3), True),
        (path(2.0, 0.5, math.nan), False),
        (path(2.0, 0.5), False),
        ([], False),
    ],
)
def test_a_held_out_loss_has_risen_if_it_ends_above_its_lowest_by_more_than_noise(losses, rose):
    assert rises_again(losses) == rose
