"""Score against learning rate: best, usable band, where training is lost, edges; and the table drawn by hand."""

import math
from dataclasses import replace

import pytest

from stride.report.by_lr import lines
from stride.report.course import Course
from stride.report.response import responses
from stride.report.table import Row
from stride.report.worth import Start

START = 2.0  # the untrained network's loss in these tests


def run(name, lr, score, status="finished", **more):
    course = Course({}, first_loss=START, first_score=more.pop("first_score", None))
    given = {
        "score_name": "val/loss",
        "optimizer": "Adam",
        "scheduler": "cosine",
        "course": course,
        "spikes": 0,
        **more,
    }
    return Row(name=name, status=status, score=score, asked=lr, words={"optimizer.lr": str(lr)}, **given)


def runs(scores, **more):
    """A run for each LR and score, named by its number; a score of None diverged."""
    told = enumerate(scores.items())
    return [run(str(k), lr, score, "finished" if score is not None else "diverged", **more) for k, (lr, score) in told]


def respond(rows, keys=("optimizer.lr",)):
    return responses(rows, list(keys), Start.of(rows))


def only(rows, keys=("optimizer.lr",)):
    (found,) = respond(rows, keys)
    return found


def log_middle(low, high, share):
    return low ** (1 - share) * high**share


def test_the_band_ends_where_5_percent_of_the_way_back_to_the_untrained_loss_are_lost():
    found = only(runs({1e-4: 1.0, 1e-3: 0.1, 1e-2: 0.0, 1e-1: 0.2}))
    # 5 % of the way from 0.0 to 2.0 is 0.1: reached at 1e-3 itself, and halfway from 1e-2 to 1e-1 in log LR.
    assert found.best == 1e-2
    assert (found.low, found.high) == pytest.approx((1e-3, log_middle(1e-2, 1e-1, 0.5)))
    assert (found.low_open, found.high_open, found.lost, found.edge) == (False, False, None, None)


@pytest.mark.parametrize("change", [lambda x: 1000 * x, lambda x: x / 1000, lambda x: x - 50, lambda x: 3 * x - 2.5])
def test_the_band_does_not_depend_on_the_unit_or_the_zero_of_the_loss(change):
    scores = {1e-4: 1.7, 1e-3: 0.15, 1e-2: 0.02, 1e-1: 0.5, 1.0: None}
    plain = only(runs(scores))
    course = Course({}, first_loss=change(START))
    moved = {lr: None if score is None else change(score) for lr, score in scores.items()}
    there = only([replace(row, course=course) for row in runs(moved)])
    assert (there.best, there.low, there.high, there.lost) == pytest.approx(
        (plain.best, plain.low, plain.high, plain.lost)
    )


def test_of_a_score_to_maximize_the_band_is_the_mirrored_one():
    scores = {1e-4: 0.2, 1e-3: 0.9, 1e-2: 0.98, 1e-1: 0.5}
    rows = [replace(row, score_name="val/acc", mode="max") for row in runs(scores)]
    rows = [replace(row, course=Course({}, first_score=0.1 if row.asked == 1e-4 else 0.6)) for row in rows]
    start = Start.of(rows)
    assert start == Start(0.1, 0.98, measured=False)  # where the lowest LR began: it had moved the least
    mirrored = [replace(row, score=-row.score, mode="min") for row in rows]
    mirrored = [replace(row, course=Course({}, first_score=-row.course.first_score)) for row in mirrored]
    one, other = only(rows), only(mirrored)
    assert (one.best, one.low, one.high) == pytest.approx((other.best, other.low, other.high))
    level = 0.98 - 0.05 * 0.88
    assert one.low == pytest.approx(log_middle(1e-3, 1e-2, (level - 0.9) / 0.08))


def test_a_band_that_reaches_the_last_lr_that_was_tried_is_open_there():
    found = only(runs({1e-3: 0.05, 1e-2: 0.0, 1e-1: 1.0}))
    assert (found.low, found.low_open, found.high_open) == (1e-3, True, False)
    assert "usable from below 1e-3 to" in found.sentence


def test_a_band_ends_on_the_way_to_an_lr_that_diverged():
    found = only(runs({1e-2: 0.5, 1e-1: 0.0, 1.0: None, 10.0: None}))
    assert (found.lost, found.diverged) == (1.0, 1.0)
    assert found.high == pytest.approx(log_middle(0.1, 1.0, 0.05))
    assert "diverges from 1 on" in found.sentence


def test_training_is_lost_from_where_nothing_is_learned_any_more():
    found = only(runs({1e-3: 0.3, 1e-2: 0.0, 1e-1: 0.4, 1.0: 1.99, 10.0: 2.4, 100.0: None}))
    assert (found.lost, found.diverged) == (1.0, 100.0)
    assert "learns nothing from 1 on, diverges from 100 on" in found.sentence


def test_one_that_diverged_below_others_that_did_not_is_no_limit():
    found = only(runs({1e-3: 0.3, 1e-2: None, 1e-1: 0.0, 1.0: 0.4}))
    assert found.lost is None
    assert (found.best, found.edge) == (1e-1, None)


@pytest.mark.parametrize(
    ("scores", "edge", "says"),
    [
        ({1e-3: 0.0, 1e-2: 0.5, 1e-1: 1.0}, "lower", "at the lowest end of what was tried; a better one may lie below"),
        (
            {1e-3: 1.0, 1e-2: 0.5, 1e-1: 0.0},
            "upper",
            "at the highest end of what was tried; a better one may lie above",
        ),
        ({1e-3: 1.0, 1e-1: 0.0, 1.0: None}, "brink", "the highest before training is lost, at 1; a better one may lie"),
        ({1e-3: 1.99, 1e-2: 0.0, 1e-1: 0.5}, None, None),  # what learns nothing below it is beside it all the same
        ({1e-4: 0.9, 0.95e-1: 0.0, 1e-1: 0.1}, "upper", "0.095"),  # within 5 % of the decades
        ({1e-4: 0.9, 1e-2: 0.0, 1e-1: 0.1}, None, None),
        ({1e-3: 0.1}, None, None),
        ({1e-3: None}, None, None),
    ],
)
def test_a_best_lr_at_the_edge_of_what_was_tried_is_told(scores, edge, says):
    if list(scores.values()) == [None]:
        assert respond(runs(scores)) == []
        return
    found = only(runs(scores))
    assert found.edge == edge
    assert found.edge_note is None if says is None else says in found.edge_note


def test_seeds_at_one_lr_count_with_their_median():
    rows = [run(f"{lr}-{k}", lr, score) for lr, scores in {1e-2: (0.0, 0.5, 0.6), 1e-1: (0.3, 0.1, 0.2)}.items()
            for k, score in enumerate(scores)]  # fmt: skip
    rows = [replace(row, words=row.words | {"seed": row.name[-1]}) for row in rows]
    found = only(rows, ("optimizer.lr", "seed"))
    assert [(one.lr, one.score) for one in found.tried] == [(1e-2, 0.5), (1e-1, 0.2)]
    assert found.best == 1e-1


def test_where_other_keys_are_swept_too_a_bad_run_beside_the_best_is_not_the_lrs_fault():
    rows = runs({1e-4: 1.5, 1e-3: 0.08, 2e-3: 1.9, 3e-3: 0.0, 1e-2: 1.0, 2e-2: 0.05, 1e-1: 1.2})
    rows = [replace(row, words=row.words | {"model.dropout": str(k % 2)}) for k, row in enumerate(rows)]
    found = only(rows, ("optimizer.lr", "model.dropout"))
    assert [one.lr for one in found.line] == [1e-4, 1e-3, 3e-3, 2e-2, 1e-1]
    assert found.low < 1e-3 and found.high > 2e-2
    alone = only([replace(row, words={}) for row in rows])
    assert alone.low > 2e-3 and alone.high < 1e-2


def test_each_optimizer_and_law_has_its_own_best():
    rows = [*runs({1e-3: 0.3, 1e-2: 0.1}), *runs({1e-1: 0.05, 1.0: 0.6}, optimizer="SGD")]
    rows = [replace(row, name=str(k)) for k, row in enumerate(rows)]
    found = respond(rows)
    assert [(one.label, one.best) for one in found] == [("SGD · cosine", 1e-1), ("Adam · cosine", 1e-2)]


def test_choices_that_are_one_class_are_told_apart_by_what_was_typed():
    rows = [
        replace(row, words={"optimizer": word})
        for row, word in zip(runs({0.1: 0.3, 0.2: 0.2}), ("sgd", "sgd_nesterov"), strict=True)
    ]
    rows = [replace(row, optimizer="SGD") for row in rows]
    assert {one.optimizer for one in respond(rows)} == {"sgd", "sgd_nesterov"}
    rows[0] = replace(rows[0], words={})  # typed or by default: the class is the same one
    assert {one.optimizer for one in respond(rows)} == {"SGD"}


def test_a_pruned_run_bounds_the_band_and_is_never_the_best():
    rows = [*runs({1e-2: 0.2, 1e-1: 0.3}), run("p", 3e-2, 0.1, "pruned"), run("f", 1.0, None, "failed")]
    found = only(rows)
    assert (found.best, [one.lr for one in found.tried]) == (1e-2, [1e-2, 3e-2, 1e-1])


@pytest.mark.parametrize(
    ("rows", "start"),
    [
        (runs({1e-3: 0.3, 1e-2: 0.1}), Start(START, 0.1, measured=True)),
        (runs({1e-3: 2.5, 1e-2: 2.4}), Start(2.5, 2.4, measured=False)),  # trained before: it began below the best
        (runs({1e-3: None}), None),
        ([run("0", 1e-3, 0.5, course=None), run("1", 1e-2, 0.25, course=None)], Start(0.5, 0.25, measured=False)),
        ([run("0", 1e-3, None, "failed"), run("1", 1e-3, None, "running")], None),
    ],
)
def test_where_runs_start_from(rows, start):
    assert Start.of(rows) == start


def test_how_far_a_loss_ran_away_does_not_count():
    start = Start(2.0, 0.1, measured=True)
    counted = [start.counted(run("0", 1.0, *how)) for how in ((1e9,), (None, "diverged"), (0.5,), (None, "failed"))]
    assert counted == [2.0, 2.0, 0.5, None]


def by_hand(rows, keys=("optimizer.lr",)):
    (found,) = respond(rows, keys)
    return [tuple(line.cells().values()) for line in lines(found, {row.name: row for row in rows})]


def test_the_table_drawn_by_hand():
    rows = [
        run("0", 1e-3, 1.95, converged=90),
        run("1", 1e-2, 0.2, converged=60, spikes=2),
        run("2", 1e-1, 0.1, converged=30),
        run("3", 1.0, None, "diverged", spikes=1),
        run("4", 10.0, 0.3, spikes=None, converged=50),
    ]
    assert by_hand(rows) == [
        ("1e-3", None, "learned nothing", 1.95),
        ("0.01", 60, "2 spikes", 0.2),
        ("0.1", 30, "steady", 0.1),
        ("1", None, "diverged", None),
        ("10", 50, "not known", 0.3),
    ]


def test_several_runs_at_one_lr_are_one_line():
    rows = [
        run("0", 0.1, 0.4, converged=40, spikes=1),
        run("1", 0.1, 0.2, converged=20),
        run("2", 0.2, None, "diverged"),
        run("3", 0.2, 0.6, converged=70),
    ]
    assert by_hand(rows, ("optimizer.lr", "seed")) == [
        ("0.1", 30, "up to 1 spike", pytest.approx(0.3)),
        ("0.2", 70, "1 of 2 diverged", 0.6),
    ]


def test_many_lrs_are_put_together_by_half_decades():
    rows = [run(str(k), 10 ** (-4 + k / 25), 0.1 + k / 100) for k in range(50)]
    found = by_hand(rows)
    assert len(found) == 4
    assert [line[0] for line in found][:2] == ["1e-4 to 3e-4", "3.3e-4 to 9.1e-4"]
    assert math.isclose(found[0][3], 0.1 + 6 / 100)
