"""Places and ticks of axes; learning rates as one types them."""

import pytest

from stride.report.axis import Axis, rate


@pytest.mark.parametrize(
    ("axis", "ticks"),
    [
        (Axis(1e-5, 10, log=True), [1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1, 10]),
        (Axis(1e-4, 1e-2, log=True), [1e-4, 3e-4, 1e-3, 3e-3, 1e-2]),
        (Axis(0.8e-3, 6e-3, log=True), [1e-3, 2e-3, 5e-3]),
        (Axis(1e-12, 1e8, log=True), [1e-12, 1e-9, 1e-6, 1e-3, 1, 1e3, 1e6]),
        (Axis(2.1, 2.9, log=True), [2.2, 2.4, 2.6, 2.8]),  # no two round decades: linear ones
        (Axis(0, 1), [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (Axis(-0.03, 0.012), [-0.03, -0.02, -0.01, 0, 0.01]),
        (Axis(0, 2000), [0, 500, 1000, 1500, 2000]),
    ],
)
def test_ticks_are_round_numbers(axis, ticks):
    assert axis.ticks() == ticks


@pytest.mark.parametrize("axis", [Axis(1e-5, 10, log=True), Axis(-3, 5)])
def test_a_place_and_its_value_are_each_other(axis):
    assert [axis.place(axis.at(place)) for place in (0, 0.3, 1, 1.2)] == pytest.approx([0, 0.3, 1, 1.2])
    assert (axis.place(axis.low), axis.place(axis.high)) == (0, 1)


@pytest.mark.parametrize(
    ("values", "log"),
    [([1, 19], False), ([1, 20], True), ([0, 20], False), ([-1, 100], False), ([3], False), ([0], False)],
)
def test_the_values_decide_the_scale(values, log):
    axis = Axis.around(values, margin=0.1)
    assert axis.log == log
    assert all(0 < axis.place(value) < 1 for value in values)


def test_without_a_margin_an_axis_ends_exactly_at_its_values():
    assert Axis.around([1.0, 1e-9, 0.1], log=True) == Axis(1e-9, 1.0, log=True)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e-4, "1e-4"),
        (3.16e-3, "3.2e-3"),
        (0.01, "0.01"),
        (0.05, "0.05"),
        (1, "1"),
        (31.6, "32"),
        (2e5, "2e5"),
        (0, "0"),
    ],
)
def test_a_rate_is_written_as_one_types_it(value, text):
    assert rate(value) == text
