import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine

from stride.datamodules.tabular import Table

RAW = {
    "breast_cancer": load_breast_cancer(),
    "wine": load_wine(),
    "diabetes": load_diabetes(scaled=False),
}


def table(dataset, **options):
    data = Table(**{"dataset": dataset, "batch_size": 16, "seed": 0, **options})
    data.setup("fit")
    return data


def rows(*columns):
    return sorted(map(tuple, np.round(np.column_stack(columns), 3)))


@pytest.mark.parametrize("dataset", RAW)
def test_the_parts_are_together_the_whole_table(dataset):
    data = table(dataset)
    x, y = (torch.cat(part).double().numpy() for part in zip(data.train, data.val, data.test, strict=True))
    if dataset == "diabetes":
        y = y * data.target_std + data.target_mean
    x = x * data.feature_std + data.feature_mean
    scale = np.abs(RAW[dataset].data).max(axis=0)
    found, raw = rows(x / scale, y), rows(RAW[dataset].data / scale, RAW[dataset].target)
    assert np.allclose(found, raw, atol=2e-3)


@pytest.mark.parametrize("dataset", RAW)
def test_features_are_standardised_over_the_train_part_alone(dataset):
    data = table(dataset)
    x = data.train[0]
    assert x.mean(dim=0) == pytest.approx(0, abs=1e-4)
    assert x.std(dim=0, correction=0) == pytest.approx(1, abs=1e-4)
    assert data.val[0].mean(dim=0).abs().max() > 0.01


def test_a_regression_target_is_standardised_over_the_train_part_alone():
    data = table("diabetes")
    y = data.train[1]
    assert (y.shape[1], y.dtype) == (1, torch.float32)
    assert (y.mean().item(), y.std(correction=0).item()) == pytest.approx((0, 1), abs=1e-5)
    assert data.val[1].mean().abs() > 0.01
    assert 25 <= data.target_mean[0] - data.target_std[0] <= data.target_mean[0] <= 346  # the table's own range


@pytest.mark.parametrize("dataset", ["breast_cancer", "wine"])
def test_each_part_holds_the_classes_in_proportion(dataset):
    data = table(dataset)
    whole = np.bincount(RAW[dataset].target) / len(RAW[dataset].target)
    for _, y in (data.train, data.val, data.test):
        assert y.bincount() / len(y) == pytest.approx(whole, abs=0.05)


def test_the_split_depends_on_split_seed_and_not_on_the_runs_seed():
    assert table("wine", seed=1).test[0].equal(table("wine", seed=2).test[0])
    assert not table("wine", split_seed=1).test[0].equal(table("wine", split_seed=2).test[0])


@pytest.mark.parametrize(
    "dataset, spec",
    [
        ("breast_cancer", {"features": 30, "classes": 2}),
        ("wine", {"features": 13, "classes": 3}),
        ("diabetes", {"features": 10, "targets": 1}),
    ],
)
def test_the_spec_tells_a_model_what_to_fit(dataset, spec):
    data = table(dataset)
    x, y = next(iter(data.train_dataloader()))
    assert data.spec == spec
    assert (x.shape, x.dtype) == ((16, spec["features"]), torch.float32)
    assert y.dtype == (torch.int64 if "classes" in spec else torch.float32)


@pytest.mark.parametrize(
    "options, law",
    [
        ({"dataset": "iris"}, "`dataset` must be one of breast_cancer, diabetes, wine, but got dataset=iris"),
        ({"val_fraction": 0.6, "test_fraction": 0.4}, r"`val_fraction \+ test_fraction < 1` must hold"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_read(options, law):
    with pytest.raises(ValueError, match=law):
        Table(**{"dataset": "wine", "batch_size": 16, "seed": 0, **options})
