"""What the report finds in rows beyond learning rates: scales, heat maps, importance, parallel coordinates."""

import math
import random

import pytest

from stride.report.axis import Axis
from stride.report.findings import find
from stride.report.heat_map import heat_maps
from stride.report.importance import importances
from stride.report.parallel import parallel
from stride.report.scale import Scale
from stride.report.table import Row
from stride.report.worth import Start


def run(name, score, status="finished", lr=None, **words):
    words = {key.replace("__", "."): str(value) for key, value in words.items()}
    return Row(name=name, status=status, score=score, score_name="val/loss", asked=lr, words=words)


START = Start(2.0, 0.0, measured=True)


@pytest.mark.parametrize(
    ("key", "texts", "places"),
    [
        ("optimizer", ["sgd", "adam"], {"adam": 0, "sgd": 1}),
        ("x", ["10", "2", "1"], {"1": 0, "2": 0.5, "10": 1}),  # in the order of numbers, not of words
        ("x", ["1e-2", "0.01", "1"], {"1e-2": 0, "0.01": 0, "1": 1}),  # one number typed in two ways
        ("x", ["none", "5", "10"], {"5": 0, "10": 0.5, "none": 1}),
        ("optimizer.lr", [f"1e-{k}" for k in range(9)], {"1e-8": 0, "1e-4": 0.5, "1e-0": 1}),
        ("optimizer.lr", [str(1 + k / 8) for k in range(9)], {"1.0": 0, "2.0": 1, "1.5": math.log2(1.5)}),
        ("x", [str(k) for k in range(9)], {"0": 0, "2": 0.25, "8": 1}),
    ],
)
def test_a_key_has_the_scale_of_its_values(key, texts, places):
    scale = Scale.of(key, texts)
    assert {text: scale.place(text) for text in places} == pytest.approx(places)


def test_many_numbers_are_put_into_bins_of_equal_width_on_their_own_scale():
    scale = Scale.of("optimizer.lr", [f"1e-{k}" for k in range(9)])
    assert scale.bins()[0] == "1e-8 to 1e-7"
    assert [scale.bin(text) for text in ("1e-8", "3e-8", "2e-7", "1")] == [0, 0, 1, 7]
    assert scale.bin("adam") is None


def test_a_cell_is_the_median_of_its_runs_and_one_that_diverged_counts_as_untrained():
    rows = [
        run("0", 0.1, a=1, b="x"),
        run("1", 0.3, a=1, b="x"),
        run("2", None, "diverged", a=1, b="x"),
        run("3", 0.5, a=2, b="y"),
        run("4", None, "failed", a=2, b="x"),
        run("5", 0.7, a=3, b="x"),
    ]
    (found,) = heat_maps(rows, ["b", "a"], START, {})
    assert (found.across.key, found.down.key) == ("a", "b")
    assert [(cell.across, cell.down, cell.score, cell.diverged, cell.names) for cell in found.cells] == [
        (0, 0, 0.3, 1, ("0", "1", "2")),
        (1, 1, 0.5, 0, ("3",)),
        (2, 0, 0.7, 0, ("5",)),
    ]


def test_the_most_important_keys_are_paired_first():
    rows = [run(str(k), k / 10, a=k % 2, b=k % 3, c=k % 5, d=1) for k in range(10)]
    pairs = [{one.across.key, one.down.key} for one in heat_maps(rows, list("abcd"), START, {"c": 0.7, "b": 0.2})]
    assert pairs == [{"c", "b"}, {"c", "a"}, {"b", "a"}]  # d took one value only


def searched(count, seed=0):
    draw = random.Random(seed)
    for k in range(count):
        lr, dropout = 10 ** draw.uniform(-5, 0), draw.random()
        yield run(str(k), 0.2 * (math.log10(lr) + 2) ** 2 + 0.01 * dropout, lr=lr, optimizer__lr=lr, dropout=dropout)


def test_the_key_that_sets_the_score_is_the_important_one():
    found = importances(list(searched(60)), ["dropout", "optimizer.lr"], START)
    assert list(found) == ["optimizer.lr", "dropout"]
    assert found["optimizer.lr"] > 0.7
    assert sum(found.values()) == pytest.approx(1)


def test_the_ends_of_a_range_are_inside_of_it():
    rows = [run(str(k), k / 10, optimizer__lr=10.0**-k, a=k % 2) for k in range(10)]
    assert importances(rows, ["optimizer.lr", "a"], START)


@pytest.mark.parametrize(
    ("rows", "keys"),
    [
        (list(searched(3)), ["dropout", "optimizer.lr"]),
        (list(searched(20)), ["optimizer.lr"]),
        (list(searched(20)), ["optimizer.lr", "optimizer"]),  # the other was not swept
        ([run(str(k), 1.0, a=k, b=-k) for k in range(8)], ["a", "b"]),
        ([run(str(k), None, "failed", a=k, b=-k) for k in range(8)], ["a", "b"]),
    ],
)
def test_there_is_no_importance_where_there_is_nothing_to_compare(rows, keys):
    assert importances(rows, keys, START) == {}


def test_a_run_is_a_line_through_its_values_to_its_score():
    rows = [run("0", 0.5, a=1, b="x"), run("1", None, "diverged", a=3, b="y"), run("2", 1.0, a=2, c=1)]
    found = parallel(rows, ["a", "b", "c"], START, Axis(0, 2))
    assert [scale.key for scale in found.scales] == ["a", "b"]
    assert found.lines == {"0": (0, 0, 0.25), "1": (1, 1, 1), "2": (0.5, None, 0.5)}


def test_runs_with_another_score_are_not_compared():
    rows = [*searched(8), Row("acc", "finished", 0.99, "val/acc", "max", asked=0.1, words={"optimizer.lr": "0.1"})]
    found = find(rows, ["optimizer.lr"], "val/loss", "min")
    assert sum(len(one.tried) for one in found.responses) == 8


@pytest.mark.parametrize("rows", [[], [run("0", None, "failed")], [run("0", None, "diverged", lr=0.1)]])
def test_without_a_score_nothing_is_found(rows):
    found = find(rows, ["optimizer.lr"], "val/loss", "min")
    assert (found.start, found.score, found.parallel) == (None, None, None)
    assert not (found.responses or found.importance or found.heat_maps)
