"""The words after -m become fixed words, values and intervals; an interval that cannot be sampled is refused."""

import pytest

from stride.sweep.space import Choice, Interval, read

DEFAULTS = {"datamodule.batch_size": 64, "model.dropout": 0.1, "optimizer.lr": 0.001, "deterministic": False}


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("optimizer=adam,sgd", Choice(("adam", "sgd"))),
        ("optimizer.lr=1e-3,1e-2", Choice(("0.001", "0.01"))),
        ("++optimizer.lr=1e-3,1e-2", Choice(("0.001", "0.01"))),
        ("seed=range(0,3)", Choice(("0", "1", "2"))),
        ("seed=choice(7)", Choice(("7",))),
        ("deterministic=true,false", Choice(("True", "False"))),
        ("optimizer.betas=[0.9,0.99],[0.8,0.9]", Choice(("[0.9,0.99]", "[0.8,0.9]"))),
        ("warmup.length='5%','20 steps'", Choice(("'5%'", "'20 steps'"))),
        ("optimizer.lr=tag(log,interval(1e-5,1e-1))", Interval(1e-5, 0.1, log=True)),
        ("optimizer.lr=tag(log, interval(1e-5, 1))", Interval(1e-5, 1.0, log=True)),
        ("model.dropout=interval(0,1)", Interval(0.0, 1.0)),  # a fraction: not 0 or 1 alone
        ("datamodule.batch_size=interval(16,64)", Interval(16.0, 64.0, integer=True)),
        ("model.unknown=int(interval(1,4))", Interval(1.0, 4.0, integer=True)),
    ],
)
def test_a_swept_word_is_its_values(word, expected):
    fixed, space, faults = read([word], DEFAULTS.get)
    assert list(space.values()) == [expected]
    assert (fixed, faults) == ({}, [])


def test_words_with_one_value_are_fixed_and_those_for_hydra_are_left_out():
    words = ["optimizer=adam", "++optimizer.amsgrad=true", "seed=1,2", "hydra.verbose=true", "name='a,b'"]
    fixed, space, _ = read(words, DEFAULTS.get)
    assert fixed == {"optimizer": "adam", "optimizer.amsgrad": "true", "name": "'a,b'"}
    assert list(space) == ["seed"]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("optimizer.lr=interval(1e-5,1e-1)", "log scale; try: 'optimizer.lr=tag(log,interval(1e-05,0.1))'"),
        ("lr_finder.max_lr=interval(1,10)", "log scale"),
        ("model.dropout=interval(0.5,0)", "`low < high`"),
        ("model.dropout=interval(0.5,0.5)", "`low < high`"),
        ("optimizer.eps=tag(log,interval(1e-9,inf))", "both finite"),
        ("optimizer.weight_decay=tag(log,interval(0,0.1))", "`low > 0` must hold on a log scale"),
        ("model=glob(*)", "name the values"),
    ],
)
def test_an_interval_that_cannot_be_sampled_is_refused_by_name(word, said):
    _, _, faults = read([word], DEFAULTS.get)
    assert len(faults) == 1
    assert str(faults[0]).startswith(f"error: {word.partition('=')[0]}: ")
    assert said in str(faults[0])


@pytest.mark.parametrize(
    ("values", "text", "side"),
    [
        (Choice(("0.001", "0.01", "0.1")), "0.1", "upper"),
        (Choice(("0.1", "0.001", "0.01")), "0.001", "lower"),
        (Choice(("0.001", "0.01", "0.1")), "0.01", None),
        (Choice(("0.01",)), "0.01", None),
        (Choice(("0.01", "auto")), "0.01", None),
        (Interval(1e-5, 1e-1, log=True), "0.08", "upper"),
        (
            Interval(1e-5, 1e-1, log=True),
            "0.05",
            None,
        ),  # half of the range away on a linear scale, 0.3 of 4 decades here
        (Interval(1e-5, 1e-1, log=True), "0.000011", "lower"),
        (Interval(0.0, 1.0), "0.96", "upper"),
    ],
)
def test_the_edge_of_what_was_tried_is_measured_on_its_own_scale(values, text, side):
    assert values.edge(text, {}) == side
