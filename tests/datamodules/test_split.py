import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stride.datamodules.split import stratified


@settings(max_examples=100, deadline=None)
@given(
    counts=st.lists(st.integers(10, 60), min_size=1, max_size=6),
    val_fraction=st.floats(0.1, 0.4),
    test_fraction=st.floats(0.1, 0.4),
    seed=st.integers(0, 9),
)
def test_parts_are_disjoint_complete_and_hold_every_class_in_proportion(counts, val_fraction, test_fraction, seed):
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(len(counts)), counts))
    parts = stratified(labels, val_fraction=val_fraction, test_fraction=test_fraction, seed=seed)
    assert sorted(np.concatenate(parts)) == list(range(len(labels)))
    fractions = (1 - val_fraction - test_fraction, val_fraction, test_fraction)
    for part, fraction in zip(parts, fractions, strict=True):
        assert abs(len(part) - fraction * len(labels)) <= 1
        found = np.bincount(labels[part], minlength=len(counts))
        assert np.abs(found - fraction * np.array(counts)).max() <= 4


def split(seed, labels=np.zeros(100, dtype=int)):  # noqa: B008
    return [list(part) for part in stratified(labels, val_fraction=0.2, test_fraction=0.2, seed=seed)]


def test_the_seed_alone_draws_the_split():
    assert split(0) == split(0)
    assert split(0) != split(1)


@pytest.mark.parametrize("val_fraction, test_fraction", [(0, 0.2), (0.2, 0), (0.5, 0.5), (0.2, -0.1)])
def test_fractions_out_of_range_are_refused_with_the_law(val_fraction, test_fraction):
    law = r"`val_fraction > 0`, `test_fraction > 0` and `val_fraction \+ test_fraction < 1` must hold, but got"
    with pytest.raises(ValueError, match=law):
        stratified(np.zeros(9, int), val_fraction=val_fraction, test_fraction=test_fraction, seed=0)


def test_a_part_without_a_sample_is_refused_with_the_sizes():
    with pytest.raises(ValueError, match=r"3 samples .* give train=3, val=0, test=0"):
        stratified(np.zeros(3, int), val_fraction=0.1, test_fraction=0.1, seed=0)
