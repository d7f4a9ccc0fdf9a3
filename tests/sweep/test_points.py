"""Points that follow from a trial's number: the same for every driver, and spread as they say."""

import math

import pytest
from scipy.stats import kstest

from stride.sweep.points import evenly_spread, grid, independent
from stride.sweep.space import Choice, Interval

LR = Interval(1e-5, 1e-1, log=True)
SPACE = {
    "optimizer.lr": LR,
    "model.dropout": Interval(0.0, 0.5),
    "model.depth": Interval(1, 4, integer=True),
    "optimizer": Choice(("sgd", "adam", "rmsprop")),
}


def test_a_grid_has_every_combination_once_the_last_key_fastest():
    space = {"optimizer": Choice(("sgd", "adam")), "optimizer.lr": Choice(("1e-3", "1e-2"))}
    points = [tuple(point.values()) for point in grid(space)]
    assert points == [("sgd", "1e-3"), ("sgd", "1e-2"), ("adam", "1e-3"), ("adam", "1e-2")]


@pytest.mark.parametrize("draw", [independent, evenly_spread])
def test_a_point_follows_from_seed_and_number_alone_and_lies_in_its_range(draw):
    points = [draw(SPACE, 42, number) for number in range(64)]
    assert points == [draw(SPACE, 42, number) for number in range(64)]
    assert points[::-1] == [draw(SPACE, 42, number) for number in reversed(range(64))]
    assert draw(SPACE, 43, 7) != points[7]
    assert len({point["optimizer.lr"] for point in points}) == 64
    assert all(1e-5 <= point["optimizer.lr"] <= 1e-1 and 0 <= point["model.dropout"] <= 0.5 for point in points)
    assert {point["model.depth"] for point in points} == {1, 2, 3, 4}
    assert {point["optimizer"] for point in points} == {"sgd", "adam", "rmsprop"}


@pytest.mark.parametrize("draw", [independent, evenly_spread])
def test_a_learning_rate_is_as_likely_in_one_decade_as_in_another(draw):
    logs = [math.log10(draw({"lr": LR}, 0, number)["lr"]) for number in range(512)]
    assert kstest(logs, "uniform", args=(-5, 4)).pvalue > 0.01
    depths = [draw({"depth": Interval(1, 4, integer=True)}, 0, number)["depth"] for number in range(512)]
    assert all(90 <= depths.count(depth) <= 170 for depth in (1, 2, 3, 4))


@pytest.mark.parametrize("count", [8, 16, 32])
def test_evenly_spread_points_leave_no_part_of_the_range_empty(count):
    """One in each of `count` equal stretches of the decades, where independent ones leave a third of them empty."""

    def stretches(draw, seed):
        return {int((math.log10(draw({"lr": LR}, seed, n)["lr"]) + 5) / 4 * count) for n in range(count)}

    assert all(len(stretches(evenly_spread, seed)) == count for seed in range(20))
    filled = sum(len(stretches(independent, seed)) for seed in range(20)) / (20 * count)
    assert 0.55 < filled < 0.75  # 1 - 1/e
