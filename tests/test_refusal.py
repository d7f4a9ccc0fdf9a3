"""Where targets are pure noise there is nothing to find, and the finder says so.

That it finds something on good data is the column `none` of benchmarks/lr_regret.py.
"""

import itertools

import pytest
import torch

from stride import build
from stride.lr.suggest import Outcome
from stride.pipeline import checked

MLP = ["model=mlp", "model.hidden=[64,64]", "model.norm=none"]
TASKS = {
    "cnn on digits": ["datamodule=digits", "model=cnn", "model.widths=[16,32]", "datamodule.batch_size=32"],
    "batch norm on digits": ["datamodule=digits", "model=mlp", "model.hidden=[128,128]", "model.norm=batch"],
    "mlp on digits": ["datamodule=digits", *MLP],
    "mlp on breast_cancer": ["datamodule=breast_cancer", *MLP],
    "mlp on diabetes": ["datamodule=diabetes", *MLP],
}
TRIES = [*itertools.product(TASKS.values(), ("sgd", "adam"), range(10))]


def on_noise(words, optimizer, seed):
    """What is found where every target is drawn by itself."""
    cfg = checked([*words, f"optimizer={optimizer}", f"seed={seed}", "lr_finder=on", "lr_finder.trial=0"]).cfg
    finder = build.finder(cfg)

    def make(order, folder):
        trainer, module, data = build.range_test(cfg, folder, order, finder.steps)
        _, targets = data.train
        draw = torch.Generator().manual_seed(seed)
        if targets.is_floating_point():
            targets.copy_(torch.randn(targets.shape, generator=draw))
        else:
            targets.copy_(torch.randint(0, int(targets.max()) + 1, targets.shape, generator=draw))
        return trainer, module, data

    return finder(make, make, cfg.optimizer.lr).suggestion


@pytest.mark.slow
def test_at_least_95_of_100_sweeps_over_noise_are_refused():
    assert len(TRIES) == 100
    told = [on_noise(*one) for one in TRIES]
    found = [suggestion for suggestion in told if suggestion.outcome is Outcome.FOUND]
    assert all((suggestion.lr is None) == (suggestion.outcome is not Outcome.FOUND) for suggestion in told)
    print(f"{len(told) - len(found)} of {len(told)} refused")
    assert len(found) <= 5


def test_a_sweep_over_noise_is_refused():
    suggestion = on_noise(TASKS["mlp on digits"], "adam", 0)
    assert suggestion.lr is None
    assert suggestion.outcome in (Outcome.TOO_NOISY, Outcome.FLAT)
