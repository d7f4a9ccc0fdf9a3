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


def on_noise(words, optimizer, seed, finder="on"):
    """What is found where every target is drawn by itself."""
    cfg = checked([*words, f"optimizer={optimizer}", f"seed={seed}", f"lr_finder={finder}"]).cfg

    def with_noise(parts):
        draw = torch.Generator().manual_seed(seed)
        for _, targets in (parts[2].train, parts[2].val):
            if targets.is_floating_point():
                targets.copy_(torch.randn(targets.shape, generator=draw))
            else:
                targets.copy_(torch.randint(0, int(targets.max()) + 1, targets.shape, generator=draw))
        return parts

    return build.search(cfg, prepare=with_noise).suggestion


@pytest.mark.slow
def test_at_least_95_of_100_sweeps_over_noise_are_refused():
    assert len(TRIES) == 100
    told = [on_noise(*one) for one in TRIES]
    found = [suggestion for suggestion in told if suggestion.outcome is Outcome.FOUND]
    assert all((suggestion.lr is None) == (suggestion.outcome is not Outcome.FOUND) for suggestion in told)
    print(f"{len(told) - len(found)} of {len(told)} refused")
    assert len(found) <= 5


@pytest.mark.parametrize("finder", ["on", "thorough"])
def test_noise_is_refused_with_and_without_rehearsals(finder):
    suggestion = on_noise([*TASKS["mlp on digits"], "trainer.max_epochs=8"], "adam", 0, finder)
    assert suggestion.lr is None
    assert suggestion.outcome in (Outcome.TOO_NOISY, Outcome.FLAT)


@pytest.mark.slow
@pytest.mark.parametrize("words", TASKS.values(), ids=TASKS)
def test_rehearsals_of_noise_find_nothing_either(words):
    assert on_noise([*words, "trainer.max_epochs=-1", "trainer.max_steps=300"], "adam", 1, "thorough").lr is None


def test_what_learns_too_slowly_for_a_sweep_is_found_by_rehearsals():
    """A deep plain network: its loss hardly falls in 100 steps, and by four fifths in a few hundred."""
    deep = ["datamodule=digits", "model=mlp", "model.hidden=[64,64,64]", "model.norm=none", "optimizer=nadam"]
    words = [*deep, "trainer.max_epochs=-1", "trainer.max_steps=400"]
    quick, long = (build.search(checked([*words, f"lr_finder={finder}"]).cfg) for finder in ("on", "thorough"))
    assert quick.suggestion.outcome is Outcome.TOO_NOISY
    assert "try lr_finder=thorough" in quick.suggestion.outcome.value
    assert long.suggestion.lr > 2 * 0.002  # NAdam's own
    scores = [each.score for each in long.rehearsed.rehearsals]
    assert min(scores) < 1.0 < max(scores)
    assert long.steps <= 1000
