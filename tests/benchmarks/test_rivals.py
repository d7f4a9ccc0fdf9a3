"""The finders of others pick what theirs pick: Lightning's held against its own, fastai's against hand-made tables."""

import math
import random

import numpy as np
import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.tuner import Tuner
from pytorch_lightning.tuner.lr_finder import _LRFinder


@pytest.fixture(scope="module")
def rivals(benchmark):
    return benchmark("regret.rivals")


class Recited(LightningModule):
    """Its losses are read from a list, whatever the LR."""

    def __init__(self, losses):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.losses = iter(losses)

    def training_step(self, batch, batch_idx):
        return 0 * self.weight.sum() + next(self.losses)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def lightnings_own(losses, folder):
    quiet = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    trainer = Trainer(accelerator="cpu", max_epochs=1, default_root_dir=folder, **quiet)
    batches = torch.utils.data.DataLoader(torch.zeros(len(losses), 1))
    return Tuner(trainer).lr_find(Recited(losses), train_dataloaders=batches, update_attr=False)


def noisy(seed, points=100, fall=1.5, sigma=0.1):
    rng = random.Random(seed)
    return [2.3 - fall / (1 + math.exp((60 - k) / 5)) + sigma * rng.gauss(0, 1) for k in range(points)]


SWEEPS = {
    "a noisy fall": noisy(0),
    "a fall, then far up": [*noisy(1)[:80], *(1.0 + 1.5**k for k in range(20))],
    "up at once": [0.1] * 3 + [50.0] * 97,
    "no number from step 50 on": [*noisy(2)[:50], *[math.nan] * 50],
    "no number from step 8 on": [*noisy(3)[:8], *[math.nan] * 92],
    "one number too few": [*noisy(3)[:11], *[math.nan] * 89],
    "just enough numbers": [*noisy(3)[:12], *[math.nan] * 88],
    "no number at first": [math.nan, *noisy(4)[1:]],
    "below zero": [loss - 3 for loss in noisy(5)],
    "more than 32 bits hold": [*noisy(6)[:90], *[1e39] * 10],
}


@pytest.mark.parametrize("losses", SWEEPS.values(), ids=SWEEPS)
@pytest.mark.filterwarnings("ignore")
def test_lightning_picks_what_its_own_sweep_picks(rivals, losses, tmp_path):
    theirs = lightnings_own(losses, tmp_path)
    rival = rivals.RIVALS["Lightning 2.6.6"]
    swept = theirs.results["lr"]
    assert rival.lrs[: len(swept)] == pytest.approx(swept, rel=1e-12)
    raw = torch.tensor(losses).tolist()  # as a loss of 32 bits
    assert rivals.biased_averages(raw) == pytest.approx(theirs.results["loss"], rel=1e-12, nan_ok=True)
    assert rival.pick(swept, raw) == theirs.suggestion()


def test_lightnings_rule_is_its_own_on_200_noisy_curves(rivals):
    theirs = _LRFinder("exponential", lr_min=1e-8, lr_max=1, num_training=100)
    lrs = list(rivals.LIGHTNING_LRS)
    for seed in range(200):
        averages = noisy(seed, points=20 + seed % 80, fall=seed % 2, sigma=10 ** -(seed % 8))
        theirs.results = {"lr": lrs[: len(averages)], "loss": averages}
        assert rivals.steepest_against_lr(lrs, averages) == theirs.suggestion()


def test_every_rival_sweeps_100_lrs_over_the_range_that_it_publishes(rivals):
    ends = {name: (rival.min_lr, rival.max_lr, rival.steps) for name, rival in rivals.RIVALS.items()}
    assert ends.pop("Lightning 2.6.6") == pytest.approx((1e-8, 1.0, 100))
    assert list(ends) == ["fastai valley", "fastai slide", "fastai minimum", "fastai steep"]
    for end in ends.values():
        assert end == pytest.approx((1e-7, 10**0.92, 100))


def test_fastais_average_has_no_bias_and_stops_above_4_times_its_lowest(rivals):
    assert rivals.unbiased_averages([3.0] * 50) == pytest.approx([3.0] * 50)
    # After two losses the average is (0.98 a + b) / 1.98.
    assert rivals.unbiased_averages([1.0, 2.0])[1] == pytest.approx(2.98 / 1.98)
    # 0.98 + b over 1.98 is 4 at b = 6.94.
    assert len(rivals.unbiased_averages([1.0, 6.93, 1.0])) == 3
    assert len(rivals.unbiased_averages([1.0, 6.95, 1.0])) == 2
    assert len(rivals.unbiased_averages([1.0, math.nan, 1.0])) == 3


def test_fastai_leaves_out_the_first_10_the_last_5_and_all_from_a_nan_on(rivals):
    seen = []
    look = rivals.fastai(lambda lrs, losses: seen.append((lrs, losses)))
    lrs = list(range(1, 101))
    look(lrs, [1.0] * 100)
    look(lrs, [1.0] * 40 + [math.nan] * 60)
    look(lrs, [1.0] * 30 + [1e9] * 70)  # it stops at that one, the 31st
    look(lrs, [1.0] * 9 + [math.nan] * 91)
    ends = [(rates[0], rates[-1]) for rates, _ in seen]
    assert ends == [(11, 95), (11, 40), (11, 26)]
    assert all(losses.tolist() == [1.0] * len(rates) for rates, losses in seen)


UP = [2.0**k for k in range(20)]

# The longest fall is 9 8 4 3 2 or another of 5, and ends at point 8. Counted back without gaps it begins at point 3; a
# third of it is 1 point and 2 / 3, half of that 0 points and 5 / 6: rounded down, the suggestion is at point 4.
FALLS = [5.0, 7.0, 9.0, 6.0, 8.0, 4.0, 1.0, 3.0, 2.0, 9.0]


@pytest.mark.parametrize(
    ("rule", "losses", "point"),
    [
        ("valley", FALLS, 4),
        ("valley", [9.0, 8.0, 7.0, 6.0, 5.0, 4.0], 2),  # from point -1 on: 6 / 3 = 2, and 1 more
        ("valley", [1.0, 2.0, 3.0], 0),  # no fall: the first
        # Equal losses are no fall: it ends at point 1, from -1 on, 0 and 0 more. Point -1 is, there too, the last.
        ("valley", [3.0, 2.0, 2.0, 9.0], -1),
        ("steep", [5.0, 4.5, 3.8, 3.3, 5.0], 1),  # from 4.5 to 3.8, the left of the two; by LR it would be 5 to 4.5
        ("steep", [4.0], None),
        ("slide", [1.0] * 15, None),  # 15 points have no interval of 15
        ("slide", [1.0] * 16, 0),
        # A line, then a rise of 1 a point at the last three: slopes 0 ... 0, 0.5, 1, 1. The interval stops where both
        # ends are 0, at 1 .. 16; the last place where they still differed was 2 .. 17.
        ("slide", [*[0.0] * 18, 1.0, 2.0], 2),
        ("slide", [*[0.0] * 18, 0.004, 0.008], 4),  # 0.004 is as good as equal: it stays where it begins
        ("slide", [float(k * k) for k in range(20)], 0),  # never equal: it ends at the first
    ],
)
def test_fastais_rules_are_their_tables(rivals, rule, losses, point):
    lrs = np.array(UP[: len(losses)], dtype=np.float32)
    found = getattr(rivals, rule)(lrs, np.array(losses, dtype=np.float32))
    assert found == (None if point is None else lrs[point])


def test_fastais_minimum_is_a_tenth_of_where_the_loss_is_lowest(rivals):
    assert rivals.minimum(np.array([1.0, 2.0, 4.0, 8.0]), np.array([3.0, 2.0, 1.0, 9.0])) == pytest.approx(0.4)


def test_fastais_rules_on_a_whole_sweep(rivals):
    """A loss that is a parabola in log LR: averaged over 50 steps, it is lowest later than the parabola itself."""
    lrs = rivals.FASTAI_LRS
    losses = [2 + (math.log10(lr) + 3) ** 2 / 10 for lr in lrs]
    averages = rivals.unbiased_averages(losses)[10:95]
    lowest = lrs[10 + int(np.argmin(averages))]
    assert lowest > 10**-3
    assert rivals.RIVALS["fastai minimum"].pick(lrs, losses) == pytest.approx(lowest / 10)
    # It falls at every one of the points 10 .. lowest: the middle is half way.
    middle = math.sqrt(lrs[10] * lowest)
    assert rivals.RIVALS["fastai valley"].pick(lrs, losses) == pytest.approx(middle, rel=0.3)
