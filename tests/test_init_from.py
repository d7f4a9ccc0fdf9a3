"""stride.init_from: weights and nothing else, and every name that did not fit."""

import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

import stride
from stride.errors import ConfigError
from stride.init_from import load_weights
from stride.models.mlp import MLP

KEPT = sorted((Path(__file__).parent / "kept_runs").iterdir())[0]


def network(seed=0, **options):
    torch.manual_seed(seed)
    return MLP(**{"features": 3, "classes": 2, "hidden": [4], "norm": "batch", **options})


class Lit(nn.Module):
    """As LitModule holds a network and an objective."""

    def __init__(self, inner, weight=None):
        super().__init__()
        self.network = inner
        self.objective = nn.CrossEntropyLoss(weight=torch.ones(2) if weight is None else weight)


def saved(tmp_path, content):
    torch.save(content, tmp_path / "weights.ckpt")
    return tmp_path / "weights.ckpt"


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


@pytest.mark.parametrize("wrap", [lambda state: {"state_dict": state, "epoch": 3}, lambda state: state])
@pytest.mark.parametrize("there", [network, lambda seed: Lit(network(seed))])
@pytest.mark.parametrize("here", [network, lambda seed: Lit(network(seed))])
def test_a_checkpoint_or_a_state_dict_fits_with_and_without_the_prefix(wrap, there, here, tmp_path):
    old, new = there(seed=1), here(seed=2)
    report = load_weights(new, saved(tmp_path, wrap(old.state_dict())))
    assert same(getattr(old, "network", old), getattr(new, "network", new))
    assert str(report) == f"weights: 8 of 8 tensors from {tmp_path / 'weights.ckpt'}"


def test_what_does_not_fit_is_named_and_keeps_its_own_values(tmp_path):
    old, new = network(seed=1), network(seed=2, classes=5, hidden=[4, 4])
    before = {name: value.clone() for name, value in new.state_dict().items()}
    report = load_weights(new, saved(tmp_path, {**old.state_dict(), "old.thing": torch.ones(1)}))
    assert str(report).splitlines()[1:] == [
        "  of another shape: layers.5.weight is [4, 4] here, [2, 4] there",
        "  not in the file: layers.6.weight, layers.6.bias, layers.6.running_mean, layers.6.running_var, "
        "layers.6.num_batches_tracked and 2 more",
        "  in the file, not used: layers.5.bias, old.thing",
    ]
    after = new.state_dict()
    for name in [*report.missing, *report.mismatched]:
        assert torch.equal(after[name], before[name])
    assert torch.equal(after["layers.1.weight"], old.state_dict()["layers.1.weight"])


def test_the_new_runs_objective_stays_its_own(tmp_path):
    new = Lit(network(2), weight=torch.tensor([1.0, 9.0]))
    report = load_weights(new, saved(tmp_path, Lit(network(1), weight=torch.tensor([5.0, 5.0])).state_dict()))
    assert new.objective.weight.tolist() == [1.0, 9.0]
    assert not report.missing and not report.unexpected


def test_a_run_gives_the_weights_of_its_best_checkpoint():
    trained = stride.load(KEPT)
    new = MLP(features=13, classes=3, hidden=[16])
    report = load_weights(new, KEPT)
    assert report.source == KEPT.resolve() / "checkpoints" / "best.ckpt"
    assert same(trained.network, new)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"not a checkpoint", "weights.ckpt cannot be read as a checkpoint; "),
        (b"", "weights.ckpt cannot be read as a checkpoint; "),
        ({"epoch": 3}, "weights.ckpt holds no weights; wanted: a checkpoint of Lightning, or a state dict"),
        ([1, 2], "weights.ckpt holds no weights"),
        ({"state_dict": None}, "weights.ckpt holds no weights"),
        ({"elsewhere": torch.ones(2)}, "nothing in .* fits the model; the model has layers.1.weight, .* and 3 more$"),
        (
            {"layers.1.weight": torch.ones(9, 9)},
            r"nothing in .* fits the model; layers.1.weight is \[4, 3\] here, \[9, 9\] there$",
        ),
    ],
)
def test_a_file_without_weights_for_this_model_is_one_line(content, told, tmp_path):
    path = tmp_path / "weights.ckpt"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    new = network()
    with pytest.raises(ConfigError, match=f"^error: init_from: .*{told}") as refused:
        load_weights(new, path)
    assert "\n" not in str(refused.value)
    assert same(new, network())


class Planted:
    """What a pickle can do to whoever loads it."""

    def __reduce__(self):
        return Path.touch, (Path("planted"),)


def test_no_code_in_a_file_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="cannot be read as a checkpoint"):
        load_weights(network(), saved(tmp_path, {"state_dict": Planted()}))
    assert not (tmp_path / "planted").exists()


def test_a_source_that_is_not_there_is_refused_by_name(tmp_path):
    with pytest.raises(ConfigError, match=r"^error: init_from: no run at .*nowhere"):
        load_weights(network(), tmp_path / "nowhere")


def test_a_run_without_weights_is_refused(tmp_path):
    run = shutil.copytree(KEPT, tmp_path / "run", ignore=shutil.ignore_patterns("*.ckpt"))
    with pytest.raises(ConfigError, match=r"^error: init_from: .* has no checkpoint"):
        load_weights(network(), run)


class Code:
    def __reduce__(self):
        return Path.touch, (Path("it_ran"),)


@pytest.mark.parametrize("key", ["init_from", "resume.from"])
def test_code_in_a_checkpoint_runs_only_where_that_is_typed(tmp_path, monkeypatch, capsys, key):
    monkeypatch.chdir(tmp_path)
    words = ["datamodule=wine", "model=mlp", "model.hidden=[8]", "trainer.max_epochs=2", "callbacks.progress=null"]
    first = stride.run([*words, f"output_root={tmp_path}", "name=first"])
    state = torch.load(first.folder / "checkpoints" / "last.ckpt", weights_only=True)
    torch.save({**state, "more": Code()}, tmp_path / "code.ckpt")
    words += [f"{key}={tmp_path / 'code.ckpt'}", f"output_root={tmp_path}"]
    with pytest.raises(ConfigError, match=rf"error: {key}: "):
        stride.run([*words, "name=second"])
    assert not (tmp_path / "it_ran").exists()
    stride.run([*words, "name=second", "trust_checkpoint=true"])
    assert (tmp_path / "it_ran").exists()
    assert "note: trust_checkpoint=true: code that a checkpoint holds is run as it is loaded" in capsys.readouterr().out
