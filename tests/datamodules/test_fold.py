"""Folds against scikit-learn's own splitters, and what is fitted to the training part of one."""

import numpy as np
import pytest
import torch
from sklearn import model_selection as sk

from stride.datamodules import tabular
from stride.datamodules.digits import Digits
from stride.datamodules.fold import SPLITTERS, CannotFold, Fold
from stride.datamodules.in_memory import InMemory
from stride.datamodules.tabular import Table
from stride.datamodules.text import Text

LABELS = np.array([0, 1, 2, 0, 1, 0, 2, 0, 1, 0, 0, 1, 2, 2, 0, 1, 0, 2, 1, 0])
GROUPS = np.array([0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 0, 1, 2, 3, 4, 5, 0, 1])
N = len(LABELS)

REFERENCES = [
    ("auto", {}, sk.KFold(4, shuffle=True, random_state=7)),
    ("auto", {"labels": LABELS}, sk.StratifiedKFold(4, shuffle=True, random_state=7)),
    ("auto", {"labels": LABELS, "groups": GROUPS}, sk.GroupKFold(4)),
    ("auto", {"in_order": True}, sk.KFold(4)),
    ("kfold", {"labels": LABELS}, sk.KFold(4, shuffle=True, random_state=7)),
    ("kfold", {"in_order": True}, sk.KFold(4)),
    ("stratified", {"labels": LABELS}, sk.StratifiedKFold(4, shuffle=True, random_state=7)),
    ("group", {"groups": GROUPS}, sk.GroupKFold(4)),
    ("repeated", {}, sk.RepeatedKFold(n_splits=4, n_repeats=3, random_state=7)),
    ("repeated", {"labels": LABELS}, sk.RepeatedStratifiedKFold(n_splits=4, n_repeats=3, random_state=7)),
]


@pytest.mark.parametrize(("splitter", "offered", "reference"), REFERENCES)
def test_folds_are_scikit_learns_index_by_index(splitter, offered, reference):
    expected = list(reference.split(np.zeros(N), offered.get("labels"), offered.get("groups")))
    repeats = 3 if splitter == "repeated" else 1
    assert len(expected) == 4 * repeats
    for number, parts in enumerate(expected):
        found = Fold(4, number, splitter, repeats)(N, seed=7, **offered)
        for ours, theirs in zip(found, parts, strict=True):
            assert ours.tolist() == theirs.tolist()


def test_every_splitter_has_a_reference():
    assert {splitter for splitter, *_ in REFERENCES} == set(SPLITTERS)


@pytest.mark.parametrize(
    ("fold", "offered", "said", "instead"),
    [
        (Fold(6, 0), {"labels": LABELS}, "folds: 6 folds need as many samples of class 2 .*; got 5", {"folds": 5}),
        (Fold(2, 0), {"labels": np.array([0, 0, 0, 1])}, "folds: .* of class 1 .*; got 1", {"splitter": "kfold"}),
        (
            Fold(2, 0, "repeated", 2),
            {"labels": np.array([0, 0, 0, 1])},
            "folds: .* samples of class 1 .*; got 1",
            {"splitter": "kfold", "repeats": 1},
        ),
        (Fold(21, 0), {}, "folds: 21 folds need as many samples for .*; got 20", {"folds": 20}),
        (Fold(7, 0), {"groups": GROUPS}, "folds: .* groups .*; got 6", {"folds": 6}),
        (Fold(3, 0), {"groups": np.zeros(N)}, "folds: .* groups .*; got 1", {}),
        (Fold(3, 0, "group"), {"labels": LABELS}, "splitter: group needs groups", {"splitter": "auto"}),
        (Fold(3, 0, "stratified"), {}, "splitter: stratified needs classes", {"splitter": "kfold"}),
        (Fold(3, 0, "repeated", 2), {"in_order": True}, "would shuffle", {"splitter": "kfold", "repeats": 1}),
        (Fold(2, 0, "stratified"), {"labels": np.repeat([0.25, 0.5], N // 2)}, "splitter: Supported target types", {}),
    ],
)  # fmt: skip
def test_what_cannot_be_cut_is_refused_with_what_could(fold, offered, said, instead):
    with pytest.raises(CannotFold, match=said) as refused:
        fold(len(offered.get("labels", np.zeros(N))), **offered)
    assert refused.value.instead == instead


LETTERS = "".join(chr(33 + k % 90) for k in range(2000))


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "letters.txt"
    path.write_text(LETTERS)
    return lambda: Text(path=str(path), context=9, batch_size=4, seed=0)


def datasets(text):
    return {
        "digits": lambda: Digits(batch_size=64, seed=0),
        "text": text,
        **{name: lambda name=name: Table(dataset=name, batch_size=16, seed=0) for name in ("wine", "diabetes")},
    }


def folded(make, number, folds=5, splitter="auto"):
    data = make()
    data.fold = Fold(folds, number, splitter)
    data.setup("fit")
    return data


def samples(data, part):
    """Each sample of a part as one row of numbers, a table's in its own units and with the decimals that it has."""
    columns = [(tensor.flatten(1) if tensor.ndim > 1 else tensor[:, None]).double().numpy() for tensor in part]
    if isinstance(data, Table):
        columns[0] = columns[0] * data.feature_std + data.feature_mean
        if data.dataset == "diabetes":
            columns[1] = columns[1] * data.target_std + data.target_mean
    return np.round(np.concatenate(columns, axis=1), 3 if getattr(data, "dataset", "") == "wine" else 4)


def in_order(*parts):
    return sorted(map(tuple, np.concatenate(parts)))


@pytest.mark.parametrize("name", ["digits", "text", "wine", "diabetes"])
def test_each_sample_of_train_and_val_validates_once_and_the_test_part_stays(name, text):
    make = datasets(text)[name]
    plain = make()
    plain.setup("fit")
    pool = in_order(samples(plain, plain.train), samples(plain, plain.val))
    folds = [folded(make, number) for number in range(5)]
    assert in_order(*(samples(fold, fold.val) for fold in folds)) == pool
    for fold in folds:
        assert in_order(samples(fold, fold.train), samples(fold, fold.val)) == pool
        assert np.array_equal(samples(fold, fold.test), samples(plain, plain.test))
        assert fold.spec == plain.spec


def test_the_folds_of_a_datamodule_are_scikit_learns_over_train_then_val():
    plain = Digits(batch_size=64, seed=0)
    plain.setup("fit")
    x, y = (torch.cat(pair) for pair in zip(plain.train, plain.val, strict=True))
    parts = sk.StratifiedKFold(5, shuffle=True, random_state=0).split(x, y)
    for number, (train, val) in enumerate(parts):
        fold = folded(lambda: Digits(batch_size=64, seed=99), number)
        assert fold.train[0].equal(x[train]) and fold.train[1].equal(y[train])
        assert fold.val[0].equal(x[val]) and fold.val[1].equal(y[val])


@pytest.mark.parametrize("name", ["wine", "diabetes"])
def test_nothing_of_a_validation_sample_gets_into_how_training_samples_are_standardised(name, monkeypatch):
    def make():
        return Table(dataset=name, batch_size=16, seed=0)

    before = folded(make, 1)
    for part, columns in ((before.train[0], True), (before.val[0], False)):
        mean, std = part.double().mean(dim=0), part.double().std(dim=0, correction=0)
        assert (bool(mean.abs().max() < 1e-6), bool((std - 1).abs().max() < 1e-6)) == (columns, columns)
    raw = tabular._read(name)
    ours = samples(before, before.val)[0, : raw[0].shape[1]]
    row = int(np.abs((raw[0] - ours) / raw[0].std(axis=0)).sum(axis=1).argmin())
    changed = raw[0].copy()
    changed[row] += 1000
    monkeypatch.setattr(tabular, "_read", lambda dataset: (changed, raw[1]))
    after = folded(make, 1)
    assert all(one.equal(other) for one, other in zip(before.train, after.train, strict=True))
    assert (after.val[0] - before.val[0])[0].min() > 1  # the sample that was changed
    assert after.val[0][1:].equal(before.val[0][1:])


def test_folds_of_a_text_are_blocks_and_no_byte_is_predicted_on_both_sides(text):
    plain = text()
    plain.setup("fit")
    windows = torch.cat([plain.train[0], plain.val[0]])
    start = 0
    for number in range(5):
        fold = folded(text, number)
        block = len(fold.val[0])
        assert fold.val[0].equal(windows[start : start + block])
        assert fold.train[0].equal(torch.cat([windows[:start], windows[start + block :]]))
        for x, y in (fold.train, fold.val):
            assert y[:, :-1].equal(x[:, 1:])
        start += block
    assert start == len(windows)


class Patients(InMemory):
    """Four samples a patient."""

    def load(self):
        self.groups = np.arange(40) // 4
        x = torch.arange(48.0)[:, None]
        return (x[:30], x[:30] % 2), (x[30:40], x[30:40] % 2), (x[40:], x[40:] % 2)


def test_a_datamodule_that_offers_groups_keeps_them_together():
    for number in range(5):
        data = folded(lambda: Patients(batch_size=4, seed=0), number)
        sides = [set((part[0][:, 0] // 4).tolist()) for part in (data.train, data.val)]
        assert len(sides[1]) == 2
        assert not sides[0] & sides[1]


def test_a_label_is_a_class_only_where_it_is_one_whole_number_beside_an_input():
    class Odd(InMemory):
        def load(self):
            return self.parts

    for parts, kind in (
        (torch.arange(12), sk.KFold(3, shuffle=True, random_state=0)),  # no input: a stream of numbers
        ((torch.zeros(12, 1), torch.arange(12) / 2), sk.KFold(3, shuffle=True, random_state=0)),
        ((torch.zeros(12, 1), torch.arange(12) % 2), sk.StratifiedKFold(3, shuffle=True, random_state=0)),
    ):
        whole = parts if isinstance(parts, tuple) else (parts,)
        data = Odd(batch_size=2, seed=0)
        data.parts = tuple(t[:8] for t in whole), tuple(t[8:] for t in whole), whole
        data.fold = Fold(3, 2)
        data.setup("fit")
        (_, expected) = list(kind.split(np.zeros(12), whole[-1]))[2]
        assert data.val[-1].equal(whole[-1][expected])
