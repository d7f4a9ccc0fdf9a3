"""Names of a run's model, optimizer and law, read from the config.yaml that a run writes."""

import pytest

from stride.pipeline import checked
from stride.report import chosen, record


def saved(folder, words):
    data = {"name": "val/loss", "mode": "min"}
    started = record.start(folder, task="train", words=words, seed=1, lr=0.1, score=data)
    started.save_config(checked(words).cfg)
    return chosen.names(folder)


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ([], ("CNN", "Adam", "cosine")),
        (["optimizer=sgd_nesterov", "scheduler=none", "model=mlp"], ("MLP", "SGD", "constant")),
        (["optimizer=muon", "scheduler=torch"], ("CNN", "MuonAdamW", "CosineAnnealingLR")),
        (["scheduler=sequence"], ("CNN", "Adam", "sequence")),
    ],
)
def test_the_names_are_those_of_the_targets(tmp_path, words, names):
    assert saved(tmp_path, words) == dict(zip(("model", "optimizer", "scheduler"), names, strict=True))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("model:\n  net:\n    _target_: a.Inner\n  _target_: a.Outer\n", {"model": "Outer"}),
        ("model:\n  net:\n    _target_: a.Inner\noptimizer:\n  _target_: b.Own\n", {"optimizer": "Own"}),
        ("model: {}\nscheduler:\n  _target_: 'a.law'\n", {"scheduler": "law"}),
        ("\0 not yaml", {}),
        (None, {}),
    ],
)
def test_only_the_target_of_the_block_itself_is_its_name(tmp_path, text, names):
    if text is not None:
        (tmp_path / "config.yaml").write_text(text)
    assert chosen.names(tmp_path) == names
