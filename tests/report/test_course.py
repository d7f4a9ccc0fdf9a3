"""What metrics.csv says of a run: its curves, how fast it converged, how often its loss jumped."""

import math
import random

import pytest

from stride.report.course import Series, converged, read, spikes
from stride.report.metrics_csv import MetricsCSV


def fall(count, to=0.1, noise=0.0, seed=0):
    draw = random.Random(seed)
    return [(to + (2.3 - to) * math.exp(-5 * k / count)) * (1 + noise * draw.gauss(0, 1)) for k in range(count)]


@pytest.mark.parametrize(
    ("scores", "mode", "steps"),
    [
        ([2.0, 1.0, 0.3, 0.1, 0.0], "min", 30),  # 1.7 of 2.0 after 20 steps, 1.9 after 30
        ([0.1, 0.5, 0.95, 1.0], "max", 20),
        ([-1.0, -2.0, -2.9, -3.0], "min", 20),  # below 0 it is the same drop
        ([2.0, 0.0, 1.0, 5.0], "min", 10),  # what comes after the best is no part of it
        ([1.0, 1.0, 2.0], "min", None),
        ([1.0], "min", None),
        ([], "min", None),
    ],
)
def test_convergence_is_where_nine_tenths_of_the_drop_were_made(scores, mode, steps):
    assert converged(Series(tuple(range(0, 10 * len(scores), 10)), tuple(scores)), mode) == steps


def with_jump(losses, at, by, length=1):
    return [loss + by * (at <= k < at + length) for k, loss in enumerate(losses)]


@pytest.mark.parametrize(
    ("losses", "count"),
    [
        (fall(100), 0),
        (with_jump(fall(100), 60, 1.5), 1),
        (with_jump(fall(100), 60, 1.5, length=8), 1),  # until it has come back it is one
        (with_jump(with_jump(fall(100), 60, 1.5), 80, 1.5), 2),
        (with_jump(fall(100), 60, 0.5), 0),  # less than half of the fall
        ([loss - 50 for loss in with_jump(fall(100), 60, 1.5)], 1),  # a loss below 0
        ([1e-6 * loss for loss in with_jump(fall(100), 60, 1.5)], 1),  # and one near 0
        ([*fall(50), math.nan, math.nan], 1),
        ([2.3] * 50, 0),
        ([2.3, 2.31, 2.305, 2.32], 0),
        ([2.3, 40.0, 30.0, 10.0, 5.0, 3.0, 2.4, 2.3], 1),
        ([math.inf, math.nan], 1),
        ([], 0),
    ],
)
def test_a_spike_is_a_rise_by_half_of_the_fall(losses, count):
    assert spikes(losses) == count


def test_noise_is_no_spike():
    flat = [[2.3 + 0.2 * random.Random(seed * 1000 + k).gauss(0, 1) for k in range(200)] for seed in range(40)]
    falling = [fall(200, noise=0.1, seed=seed) for seed in range(40)]
    assert sum(map(spikes, [*flat, *falling])) <= 8


def test_a_thinned_curve_keeps_its_ends_and_its_spikes():
    values = [*fall(2000)]
    values[1234] = 9.0
    series = Series(tuple(range(2000)), tuple(values)).thinned(120)
    assert len(series.values) <= 120
    assert (series.steps[0], series.steps[-1]) == (0, 1999)
    assert series.values[series.steps.index(1234)] == 9.0
    assert list(series.steps) == sorted(set(series.steps))
    assert series.thinned(120) == series


def test_what_a_run_logs_is_read_in_optimizer_steps(tmp_path):
    logger = MetricsCSV(str(tmp_path))
    for step in range(0, 100, 10):
        logger.log_metrics({"lr/all": 0.1, "train/loss": 2.0 - step / 100}, step=step)
        logger.log_metrics({"val/loss": 1.5 - step / 100, "val/acc": step / 100}, step=step)
    logger.save()
    course = read(tmp_path / "metrics.csv", "val/acc", "max")
    assert list(course.series) == ["val/acc", "val/loss", "train/loss"]
    assert course.series["train/loss"].steps[:3] == (0, 10, 20)  # taken before the step that it is logged at
    assert course.series["val/loss"].steps[:3] == (1, 11, 21)
    assert course.series["val/acc"].values[:3] == (0.0, 0.1, 0.2)
    assert (course.converged, course.spikes, course.first_score, course.first_loss) == (91, 0, 0.0, 2.0)


@pytest.mark.parametrize(
    ("text", "losses"),
    [
        ("step,train/loss,val/loss\n0,2.5,\n9,2.0,1.5\n19,nan,", (2.5, 2.0)),  # diverged
        ("step,train/loss,val/loss\n0,2.5,\n9,2.0,1.5\n19", (2.5, 2.0)),  # the last row is being written
        ("step,train/loss\n9,2.0\n", (2.0,)),
    ],
)
def test_a_file_that_ends_anyhow_is_read_as_far_as_it_goes(tmp_path, text, losses):
    (tmp_path / "metrics.csv").write_text(text)
    assert read(tmp_path / "metrics.csv", "val/loss", "min").series["train/loss"].values == losses


@pytest.mark.parametrize(
    "text", [None, "", "step,lr/all\n0,0.1\n", "no table at all", "step,val/loss\nx,y\n", "\0\n\0"]
)
def test_a_file_without_a_loss_is_no_course(tmp_path, text):
    if text is not None:
        (tmp_path / "metrics.csv").write_text(text)
    assert read(tmp_path / "metrics.csv", "val/loss", "min") is None


def test_the_loss_of_the_untrained_network_is_that_of_step_0_only(tmp_path):
    (tmp_path / "metrics.csv").write_text("step,train/loss\n9,2.0\n")
    assert read(tmp_path / "metrics.csv", "val/loss", "min").first_loss is None
