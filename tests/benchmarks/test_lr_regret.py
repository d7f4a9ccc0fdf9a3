"""The benchmark of learning-rate finders: its bare loop is a run, and its numbers are those counted by hand."""

import itertools
import math
import time

import pytest

import stride
from stride.lr.curve import Curve
from stride.lr.suggest import bottom


@pytest.fixture(scope="module")
def regret(benchmark):
    """`regret("cells")` is that module of benchmarks/regret."""
    return lambda name: benchmark(f"regret.{name}")


@pytest.fixture
def stores(regret, tmp_path):
    """The grid's and the finders' results, both empty."""
    return [regret("store").Store(tmp_path / name) for name in ("grid", "found")]


@pytest.mark.parametrize(
    ("task", "optimizer", "lr"), [("mlp_diabetes", "adam", 3e-3), ("norm_mlp_digits", "sgd", 0.02)]
)
def test_the_bare_loop_ends_where_a_run_ends(regret, tmp_path, task, optimizer, lr):
    """Warm-up, cosine, momentum, BatchNorm, data order, and a last epoch that is cut short."""
    steps = 30
    words = regret("cells").Cell(task, optimizer, steps).words
    ours = regret("training").run(tuple(words), steps=steps, lr=lr, seed=1)
    looks = ["trainer.check_val_every_n_epoch=null", f"trainer.val_check_interval={steps}"]
    quiet = ["logger=none", "callbacks.progress=null", "callbacks.early_stopping=null", "test=false"]
    line = [*words, f"optimizer.lr={lr}", "seed=1", *looks, *quiet, f"output_root={tmp_path}"]
    record = stride.run(line).record
    assert record["steps"] == steps
    assert record["last"]["val/loss"] == pytest.approx(ours["end"], rel=1e-5)
    assert ours["end"] < 0.9 * ours["start"]


def runs(ends, start=100.0):
    """seed -> a run, of the losses at the end."""
    return {seed: {"start": start, "end": end} for seed, end in enumerate(ends)}


def test_regret_is_1_at_the_best_rate_and_a_straight_line_in_log_log_between_two(regret):
    rate = regret("cells").rate
    found = regret("landscape").Landscape({-8: runs([7.0]), -6: runs([1.0]), -4: runs([31.0])})
    assert found.best == -6
    assert found.regret(rate(-6)) == pytest.approx(1.0)
    assert found.regret(0.01) == pytest.approx(4.0)  # (7 + 1) / (1 + 1): 1 % of the start is 1
    assert found.regret(rate(-7)) == pytest.approx(2.0)  # half way from 4 to 1
    assert found.regret(rate(-4.5)) == pytest.approx(8.0)  # three quarters of the way from 1 to 16
    assert found.regret(1e-9) == pytest.approx(4.0)  # beyond the grid: its end


def test_near_are_the_rates_that_are_nearly_as_good_and_those_within_half_a_decade(regret):
    losses = {-12: 7.0, -9: 31.0, -8: 31.0, -6: 1.0, -3: 31.0}
    found = regret("landscape").Landscape({k: runs([loss]) for k, loss in losses.items()})
    assert found.near(4.0) == [-12, -8, -6]


def test_a_loss_is_the_geometric_mean_over_seeds_and_at_most_its_start(regret):
    landscape = regret("landscape").Landscape
    found = landscape({-8: runs([4.0, 9.0]), -4: runs([None, 100.0]), 0: runs([1e9, math.e * 100])})
    assert found.regret(1.0) == found.regret(0.1) == pytest.approx(101 / 7)
    assert landscape({-8: runs([4.0, None]), -4: runs([5.0, 5.0])}).regret(0.01) == pytest.approx(21 / 6)


def test_the_noise_floor_is_what_the_best_of_the_other_seeds_comes_to(regret):
    landscape = regret("landscape").Landscape
    # Seed 1 alone takes the second rate, where seed 0 ends like it; seed 0 alone the first, where seed 1 ends at 9.
    assert landscape({0: runs([1.0, 9.0]), 1: runs([3.0, 3.0])}).noise_floor() == pytest.approx(
        math.sqrt((3 + 1) / (3 + 1) * (9 + 1) / (1 + 1))
    )
    assert landscape({0: runs([2.0, 2.0]), 1: runs([9.0, 9.0])}).noise_floor() == pytest.approx(1.0)
    assert landscape({0: runs([2.0]), 1: runs([9.0])}).noise_floor() is None


def test_the_noise_floor_sees_the_seeds_that_only_the_rates_near_the_best_have(regret):
    """The first three rates tie by the two seeds that all have; the third seed ends at 7 where the others say 1."""
    near = {-1: runs([1.0, 1.0, 7.0]), 0: runs([1.0, 1.0, 7.0]), 1: runs([1.0, 1.0, 7.0])}
    far = {8: runs([50.0, 50.0])}
    mean = 7 ** (1 / 2)  # of 1 and 7
    expected = ((1 + 1) / (mean + 1)) ** 2 * (7 + 1) / (1 + 1)
    assert regret("landscape").Landscape({**near, **far}).noise_floor() == pytest.approx(expected ** (1 / 3))


def test_a_result_is_found_again_by_what_was_asked_and_by_nothing_else(regret, tmp_path):
    store = regret("store").Store
    asked = {"words": ["model=mlp"], "steps": 250, "seed": 0}
    store(tmp_path).put("a-file", asked, {"lr": 0.1, "note": None})
    again = store(tmp_path)
    assert again.get(dict(reversed(asked.items())))["lr"] == 0.1
    for other in (
        {**asked, "seed": 1},
        {**asked, "words": ["model=cnn"]},
        {**asked, "more": 0},
        {"words": ["model=mlp"]},
    ):
        assert again.get(other) is None, other


def test_what_finders_are_asked_has_the_settings_of_the_line_in_it(regret):
    cell, found, key = regret("cells").Cell("mlp_diabetes", "adam", 250), regret("found"), regret("store").key
    one, two = found.STAGES[1], found.STAGES[2]
    assert (one.words, two.words) == (
        ("lr_finder=thorough", "lr_finder.budget=1"),
        ("lr_finder=thorough", "lr_finder.budget=2"),
    )
    assert one.job(cell, 0).asked["settings"]["budget"] == 1
    longer = regret("cells").Cell("mlp_diabetes", "adam", 1500)
    jobs = [stage.job(each, seed) for stage in found.STAGES for each in (cell, longer) for seed in (0, 10)]
    assert len({key(job.asked) for job in jobs}) == len(jobs)
    assert found.sweep(cell, "ramp", 0) == found.sweep(longer, "ramp", 0)


def test_a_sweep_that_is_kept_is_the_one_of_a_run_of_any_length(regret):
    cell, finders = regret("cells").Cell("mlp_diabetes", "sgd", 1500), regret("finders")
    job = regret("found").sweep(cell, "lightning", 10)
    whole = finders.found((*cell.words, "lr_finder=on", "lr_finder.trial=0"), seed=10)
    kept = job.make(*job.arguments)
    assert kept == {"curve": whole["curve"], "momentum": 0.9, "gradient_steps": 100}


def test_lightnings_own_finder_says_what_its_rule_says_of_our_ramp_over_its_rates(regret):
    rivals, sweeps = regret("rivals"), regret("sweeps")
    words = tuple(regret("cells").Cell("mlp_diabetes", "sgd", 250).words_of_any_length)
    seen = [sweeps.at(rivals.LIGHTNING_LRS, words, seed=seed) for seed in (0, 10)]
    for seed, losses in zip((0, 10), seen, strict=True):
        theirs = sweeps.lightning(words, seed=seed)
        assert theirs["lr"] == rivals.RIVALS["Lightning 2.6.6"].pick(rivals.LIGHTNING_LRS, losses)
        assert theirs["gradient_steps"] == len(rivals.biased_averages(losses))
        assert len(losses) == 100
    assert seen[0][0] != seen[1][0]


def valley(store, regret, cell, best=-10, seeds=(0,)):
    """Fill a cell's grid: the regret is 2 at the rates beside the best, 4 at the next, and at most 50.5."""
    grid, cells = regret("grid"), regret("cells")
    first, last = cells.OPTIMIZERS[cell.optimizer]
    for k in range(first, last + 1):
        end = 2 * 2 ** abs(k - best) - 1
        for seed in seeds:
            store.put("grid", grid.asked(cell, k, seed), {"start": 100.0, "end": end if end < 1000 else None})


def told(stores, regret, cells):
    """name -> spread, over these cells."""
    grid, answers = stores
    landscapes = {cell: regret("grid").landscape(grid, cell) for cell in cells}
    spreads = regret("table").spreads(regret("rows").rows(grid, answers), landscapes)
    return {spread.name: spread for spread in spreads}


def test_the_table_is_what_was_counted_by_hand(stores, regret):
    cells, stage = regret("cells"), regret("found").DEFAULT
    whole, part, bare = (cells.Cell(task, "adam", 250) for task in ("mlp_diabetes", "cnn_digits", "resnet_digits"))
    for cell in (whole, part):
        valley(stores[0], regret, cell)
    rate = cells.rate
    # Regret 1 with its interval around it, 2 with an interval beside the best, and a refusal: 4 at Adam's 0.001.
    for cell, seed, k, steps in ((whole, 0, -10, 100), (whole, 10, -9, 200), (whole, 20, None, 300), (part, 0, -7, 80)):
        lr, interval = (None, [None, None]) if k is None else (rate(k), [rate(k - 0.8), rate(k + 1)])
        stores[1].put("on", stage.job(cell, seed).asked, {"lr": lr, "interval": interval, "gradient_steps": steps})
    found = told(stores, regret, [whole, part, bare])
    ours = found["Stride (lr_finder=on)"]
    assert ours.lacking == [part, bare]
    alone = ours.of([whole])
    assert alone.lacking == []
    assert alone.regrets == pytest.approx([1, 2, 4])
    assert (alone.cells, alone.steps, alone.mean) == (1, 200, pytest.approx(2.0))
    assert alone.p90 == pytest.approx(3.6)  # four fifths of the way from 2 to 4
    head, row = regret("table").lines([alone])
    values = row.removeprefix(alone.name).split(maxsplit=10)
    assert dict(zip(head.split()[1:], values, strict=True)) == {
        "cells": "1", "draws": "3", "steps": "200", "mean": "2.000", "median": "2.000", "p90": "3.600", "none": "33%",
        "good": "33%", "interval": "33%", "worst": "4.00", "at": "mlp_diabetes adam 250",
    }  # fmt: skip
    (_, row) = regret("table").lines([ours])
    assert row.endswith("8.00  cnn_digits adam 250  (2 cells lack draws)")  # the fourth draw: k is 3 off
    (_, row) = regret("table").lines([found["fastai valley"]])
    assert row.split("  ", 1) == ["fastai valley", " " * 18 + "(3 cells lack draws)"]
    assert found["lr=0.001"].regrets == pytest.approx([4, 4])


def test_pickers_and_rivals_read_what_is_kept_of_their_sweeps(stores, regret):
    cells, found, rivals = regret("cells"), regret("found"), regret("rivals")
    pair = [cells.Cell("mlp_diabetes", "adam", steps) for steps in cells.HORIZONS]
    for cell in pair:
        valley(stores[0], regret, cell)
    lrs = [1e-6 * 10 ** (7 * step / 99) for step in range(100)]
    losses = [2 - 1 / (1 + math.exp(-3 * (math.log10(lr) + 4))) + 0.01 * (-1) ** n for n, lr in enumerate(lrs)]
    curve = {"lrs": lrs, "losses": losses, "diverged": 0.01}
    short = {"lrs": lrs[:5], "losses": losses[:5], "diverged": None}
    for engine, each, steps in (("lightning", curve, 100), ("ramp", short, 5)):
        kept = {"curve": each, "momentum": 0.9, "gradient_steps": steps}
        stores[1].put(engine, found.sweep(pair[0], engine, 0).asked, kept)
    swept = [1.0 / (n + 1) for n in range(60)] + [None] * 40
    stores[1].put("fastai", found.fastai(pair[0], 0).asked, {"losses": swept})
    stores[1].put("lightning", found.lightning(pair[0], 0).asked, {"lr": None, "gradient_steps": 100})
    spreads = told(stores, regret, pair)
    # At both lengths: a tenth of 0.01, which is Adam's rate too, is two rates off; and one that does not say anything.
    assert spreads["divergence, lightning engine"].regrets == pytest.approx([4, 4])
    assert all(draw.answered for draw in spreads["divergence, lightning engine"].draws)
    assert [draw.answered for draw in spreads["divergence, ramp engine"].draws] == [False, False]
    assert [draw.answered for draw in spreads[found.LIGHTNING].draws] == [False, False]
    assert spreads["bottom, ramp engine"].steps == 5
    landscape = regret("grid").landscape(stores[0], pair[0])
    momentous = bottom(Curve(tuple(lrs), tuple(losses), 0.01, momentum=0.9)).lr
    assert spreads["bottom, lightning engine"].regrets == pytest.approx([landscape.regret(momentous)] * 2)
    raw = [math.nan if loss is None else loss for loss in swept]
    lr = rivals.RIVALS["fastai minimum"].pick(rivals.FASTAI_LRS, raw)
    assert lr == pytest.approx(rivals.FASTAI_LRS[59] / 10)
    assert spreads["fastai minimum"].regrets == pytest.approx([landscape.regret(lr)] * 2)


def test_a_search_has_as_many_runs_as_its_cost_pays_for_and_takes_the_best_of_one_seed(stores, regret):
    search, cells = regret("search"), regret("cells")
    cell = cells.Cell("mlp_diabetes", "adam", 250)
    assert [search.trials(cells.Cell("mlp_diabetes", "adam", steps)) for steps in (100, 250, 1000, 1500)] == [
        10,
        4,
        1,
        1,
    ]
    # For seed 0 the loss falls with the LR all along, for seed 1 it rises: of the same draws, one takes the largest.
    first, last = cells.OPTIMIZERS["adam"]
    for k in range(first, last + 1):
        for seed, end in ((0, -k + 1.0), (1, k + 21.0)):
            stores[0].put("grid", regret("grid").asked(cell, k, seed), {"start": 100.0, "end": end})
    low, high = cells.rate(first), cells.rate(last)
    for sampler in search.SAMPLERS.values():
        falling, rising = (search.best(stores[0], cell, seed, sampler) for seed in (0, 1))
        assert low <= rising < falling <= high
        assert search.best(stores[0], cell, 0, sampler) == falling
    assert search.best(stores[0], cell, 2, "TPESampler") is None  # no run of that seed
    assert told(stores, regret, [cell])["random search"].steps == 1000


@pytest.mark.parametrize(
    ("lrs", "steps", "costs", "until_good", "at_budget"),
    [
        # By the seed that it sees -8 is best: it gives up the good LR of its second run.
        ([-12, -10, -8, -10], 125, [1.5, 2.5, 3.5, 4.5], 2.5, 4.0),
        ([-12] * 5 + [-10], 0, [1, 2, 3, 4, 5, 6], 6.0, 1.0),
        ([-12] * 5 + [-10], 125, [1.5, 2.5, 3.5, 4.5, 5.5, 6.5], 6.5, 2.0),
        ([-8, -10, -12], 0, [1, 2, 3], math.inf, 4.0),
    ],
)
def test_a_search_costs_its_runs_and_the_finder_until_what_it_would_give_is_good(
    regret, lrs, steps, costs, until_good, at_budget
):
    """By all seeds the regret is 2 at -12, 1 at -10 and 4 at -8."""
    landscape, cells = regret("landscape").Landscape, regret("cells")
    whole = landscape({-12: runs([3.0]), -10: runs([1.0]), -8: runs([7.0])})
    seen = landscape({-12: runs([3.0]), -10: runs([2.0]), -8: runs([1.0])})
    cell = cells.Cell("mlp_diabetes", "adam", 250)
    course = regret("cost").course(cell, [cells.rate(k) for k in lrs], steps, seen, whole)
    assert course.costs == costs
    assert (course.until_good, course.at_budget) == (until_good, pytest.approx(at_budget))


def test_the_table_of_searches_is_what_was_counted_by_hand(stores, regret, tmp_path):
    cells, tried, cost = regret("cells"), regret("tried"), regret("cost")
    whole, part = (cells.Cell(task, "adam", 250) for task in ("mlp_diabetes", "cnn_digits"))
    kept = regret("store").Store(tmp_path / "tried")
    for cell in (whole, part):
        valley(stores[0], regret, cell, seeds=cells.SEEDS)
        for seed in cells.FINDER_SEEDS:
            answer = {"lr": None if (cell, seed) == (part, 20) else 0.01, "gradient_steps": 125}
            stores[1].put("on", regret("found").DEFAULT.job(cell, seed).asked, answer)
    landscapes = {cell: regret("grid").landscape(stores[0], cell) for cell in (whole, part)}
    draws = list(cost.judged(*stores, landscapes))
    assert [(draw.cell, draw.seed) for draw, *_ in draws] == [
        *((whole, seed) for seed in cells.FINDER_SEEDS),
        *((part, seed) for seed in cells.FINDER_SEEDS[:2]),
    ]
    # Good with the second run, with the sixth, and never; a rate beside the best has a regret of 2, the next one of 4.
    for (draw, seen, _), ks in zip(draws, ([-9, -10], [-8] * 5 + [-10], [-8]), strict=False):
        for search in (tried.FOUND, tried.SEARCHES[-1]):
            job = search.job(draw, seen)
            kept.put(job.file, job.asked, {"lrs": [cells.rate(k) for k in ks]})
    _, *table = (" ".join(line.split()) for line in cost.lines(cost.searched(draws, kept)))
    at = "mlp_diabetes adam 250 (2 draws are lacking)"
    assert table == [
        f"Stride, around what is found 3 33% 6.50 > 20 > 20 33% 2.520 4.000 4.00 {at}",
        *(f"{search.name} (5 draws are lacking)" for search in tried.SEARCHES[1:-1]),
        f"random search 3 67% 6.00 > 20 > 20 67% 1.587 4.000 4.00 {at}",
    ]
    assert cost.ceiling(draws) == "All 21 rates of the grid, by the runs of one seed: 100% good."


def test_searches_try_the_same_until_they_learn_from_the_losses(stores, regret):
    """Stride's begins where the finder says, and stays within 8 times of it; the others have the whole grid."""
    cells, tried = regret("cells"), regret("tried")
    cell, longer = (cells.Cell("mlp_diabetes", "adam", steps) for steps in (250, 1500))
    lrs = {}
    for each, best in ((cell, -10), (cell, -6), (longer, -10)):
        valley(stores[0], regret, each, best=best)
        seen = regret("grid").landscape(stores[0], each, (0,))
        for search in tried.SEARCHES:
            job = search.job(tried.Draw(each, 0, 0.01, 125), seen)
            lrs[search.name, each, best] = job.make(*job.arguments)["lrs"]
    for search in tried.SEARCHES:
        lower, higher, other = (lrs[search.name, *case] for case in ((cell, -10), (cell, -6), (longer, -10)))
        low, high = (0.01 / 8, 0.01 * 8) if search.finds else (1e-5, 1.0)
        assert 0.999 * low <= min(lower) < 4 * low
        assert high / 4 < max(lower) <= 1.001 * high
        assert len(lower) == tried.RUNS
        first = 3 if search.finds else 1  # what was found, its half, its double
        assert not {*lower[first:]} & {*other[first:]}  # each draw has numbers of its own
        learns_after = {tried.FOUND.name: 3, "random search": tried.RUNS, "Optuna TPE": 10}.get(search.name, 5)
        assert lower[:learns_after] == higher[:learns_after]
        if search.name != "random search":
            assert lower[learns_after] != higher[learns_after]
            assert math.prod(lower[learns_after:]) < math.prod(higher[learns_after:])
    assert lrs[tried.FOUND.name, cell, -10][0] == 0.01
    assert lrs["Optuna TPE", cell, -10][:10] == lrs["random search", cell, -10][:10]


def test_a_job_is_made_once_and_none_is_begun_when_time_is_up(regret, tmp_path):
    jobs, store = regret("jobs"), regret("store").Store(tmp_path)
    job = jobs.Job({"seed": 0}, "a-file", {"cell": "one"}, dict, ([("lr", 0.1)],))
    jobs.fill(store, [job], until=time.monotonic(), processes=1)
    assert store.get(job.asked) is None
    jobs.fill(store, [job, job], until=time.monotonic() + 60, processes=1)
    (line,) = (tmp_path / "a-file.jsonl").read_text().splitlines()
    assert line.endswith('"cell":"one","lr":0.1}')
    jobs.fill(store, [job], until=time.monotonic() + 60, processes=1)
    assert len((tmp_path / "a-file.jsonl").read_text().splitlines()) == 1


def test_names_in_the_picture_stand_apart_and_beside_their_points(regret):
    from matplotlib.figure import Figure

    picture, table = regret("picture"), regret("table")
    cell = regret("cells").Cell("mlp_diabetes", "adam", 250)
    same = [table.Spread(f"fastai {n}", "fastai", [table.Draw(cell, 1.5, 90)]) for n in range(4)]
    free = table.Spread("lr=0.001", "fixed", [table.Draw(cell, 40.0, 0)])
    places = list(picture._places([*same, free]))
    assert [x for x, _ in places] == pytest.approx([20, 90, 97.2, 104.976, 113.37408])
    assert [len(column) for column in picture._columns(places)] == [1, 4]
    axis = Figure().subplots()
    axis.set(xscale="log", yscale="log", xlim=(15, 30000), ylim=(picture.FOOT, picture.TOP))
    picture._names(axis, places[1:])
    at = [axis.transLimits.transform(axis.transScale.transform(text.xyann)) for text in axis.texts]
    assert [high[1] - low[1] for low, high in itertools.pairwise(at)] == pytest.approx([picture.APART] * 3)
    assert at[0][1] == pytest.approx(math.log(0.5 / picture.FOOT) / math.log(picture.TOP / picture.FOOT))
    assert min(text.xyann[0] for text in axis.texts) > places[-1][0]
