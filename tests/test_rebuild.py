"""Runs of earlier versions stay usable: tests/kept_runs keeps one of each, made by a real line.

And a run may come from anybody: nothing of its config is called, and nothing of its files run, that was not allowed.
"""

import contextlib
import os
import shutil
from pathlib import Path

import pytest
import torch
import yaml

import stride
from stride.errors import ConfigError
from stride.pipeline import checked

KEPT = sorted((Path(__file__).parent / "kept_runs").iterdir())


@pytest.mark.parametrize("folder", KEPT, ids=lambda folder: folder.name)
def test_a_run_of_an_earlier_version_still_loads_and_scores_the_same(folder, tmp_path):
    run = shutil.copytree(folder, tmp_path / folder.name)
    module = stride.load(run)
    assert module(torch.zeros(2, 13)).shape == (2, 3)
    again = stride.run(["task=test", f"run={run}"])
    from stride.report.record import read

    was = read(folder)["scores"]
    for name in ("test/loss", "test/acc"):
        assert again.record["scores"][name] == pytest.approx(was[name], abs=1e-5)


def test_a_folder_without_a_run_is_refused_by_name(tmp_path):
    with pytest.raises(ConfigError, match="error: run: no run at"):
        stride.load(tmp_path)


def test_a_run_without_weights_is_refused_by_name(tmp_path):
    run = shutil.copytree(KEPT[0], tmp_path / "run", ignore=shutil.ignore_patterns("*.ckpt"))
    with pytest.raises(ConfigError, match="has no checkpoint"):
        stride.load(run)


class Code:
    def __reduce__(self):
        return os.system, ("touch it_ran",)


MAKES = "${oc.create:{_target_: torch.load, f: code.pt, weights_only: false}}"
LOADS = {"_target_": "torch.load", "f": "code.pt", "weights_only": False}
HOSTILE = {
    "the system": ({"_target_": "os.system", "command": "touch it_ran"}, "'os.system' may not be called"),
    "Python": ({"_target_": "builtins.eval", "_args_": ["1"]}, "'builtins.eval' may not be called"),
    "Hydra": ({"_target_": "hydra.utils.get_method", "path": "os.system"}, "'hydra.utils.get_method' may not be"),
    "a wrapper": ({"_target_": "functools.partial", "_args_": [LOADS]}, "'functools.partial' may not be called"),
    "a hub": ({"_target_": "torch.hub.load", "repo_or_dir": "me/code"}, "'torch.hub.load' may not be called"),
    "a compiler": ({"_target_": "torch.utils.cpp_extension.load_inline", "name": "x"}, "may not be called"),
    "deep inside": ({"_target_": "torch.nn.Sequential", "_args_": [[{"a": {"b": LOADS}}]]}, "'torch.load' may not be"),
    "in part": ({"_target_": "torch.nn.Sequential", "a": {**LOADS, "_partial_": True}}, "'torch.load' may not be"),
    "through a module": ({**LOADS, "_target_": "torch.nn.functional.torch.load"}, "has no load"),
    "through a class": ({"_target_": "pytorch_lightning.Trainer.test", "self": None}, "has no test"),
    "through a loader": ({"_target_": "torch.nn.functional.__loader__.set_data"}, "begins with `_` is private"),
    "a private function": ({"_target_": "torch.nn.attention._fa3._fa3_import_module"}, "begins with `_` is private"),
    "what removes": ({"_target_": "stride.run_folder.remove", "folder": "."}, "it runs the training"),
    "what trusts": ({"_target_": "stride.init_from.load_weights", "source": "code.pt"}, "it runs the training"),
    "what runs a script": ({"_target_": "stride.sweep.trial_process.run", "script": "x"}, "it runs the training"),
    "what trains": ({"_target_": "stride.run", "words": ["trust_checkpoint=true"]}, "it runs the training"),
    "a resolver": (
        {"_target_": "torch.nn.Sequential", "_args_": [MAKES]},
        "'torch.load' may not be called",
    ),
    "a resolver of all": ("${oc.create:{_target_: torch.load}}", "'torch.load' may not be called"),
    "a decoder": (
        {"_target_": "torch.nn.Sequential", "a": "${oc.decode:'{_target_: torch.load}'}"},
        "'torch.load' may not be called",
    ),
    "a second look": ({"_target_": "torch.nn.Sequential", "_args_": ["\\" + MAKES]}, "leads to another ${...}"),
    "the environment": ({"_target_": "torch.nn.Sequential", "_args_": ["${oc.env:MAKES}"]}, "leads to another ${...}"),
    "its target": ({**LOADS, "_target_": "${oc.env:LOADS}"}, "'torch.load' may not be called"),
    "no text": ({**LOADS, "_target_": ["torch.load"]}, "may not be called"),
    "no name": ({**LOADS, "_target_": "torch.nn..load"}, "says nothing that Hydra could do"),
    "no switch": ({"_target_": "torch.nn.Linear", "_recursive_": "no"}, "says nothing that Hydra could do; got 'no'"),
    "a key that steers a terminal": (
        {"_target_": "torch.nn.Linear", "a\x1b[31m": 1},
        "a key that would steer a terminal",
    ),
}


@pytest.fixture
def from_anybody(tmp_path, monkeypatch):
    """A run whose config can be changed, in a folder with a file of code that a config could have loaded."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MAKES", MAKES)
    monkeypatch.setenv("LOADS", "torch.load")
    torch.save(Code(), "code.pt")
    run = shutil.copytree(KEPT[0], tmp_path / "run")

    def change(**parts):
        config = yaml.safe_load((run / "config.yaml").read_text())
        (run / "config.yaml").write_text(yaml.safe_dump(config | parts))
        return run

    yield change
    assert not Path("it_ran").exists()


WAYS = {"load": stride.load, "task=test": lambda run: checked(["task=test", f"run={run}"])}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize(("model", "told"), HOSTILE.values(), ids=HOSTILE)
def test_a_config_that_calls_what_it_may_not_is_refused_before_anything_is_called(model, told, way, from_anybody):
    run = from_anybody(model=model)
    with pytest.raises(ConfigError) as refused:
        way(run)
    assert told in str(refused.value)
    assert "\x1b" not in str(refused.value)


@pytest.mark.parametrize("name", ["deep inside", "a resolver", "a second look", "the environment", "its target"])
def test_hydra_by_itself_would_run_it(name, from_anybody):
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    from_anybody()
    with contextlib.suppress(Exception):  # Sequential takes no numbers, which is what the code gives
        instantiate(OmegaConf.create({"model": HOSTILE[name][0]}).model)
    assert Path("it_ran").exists()
    Path("it_ran").unlink()


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_tag_of_yaml_makes_no_object(way, from_anybody):
    run = from_anybody()
    with (run / "config.yaml").open("a") as config:
        config.write("more: !!python/object/apply:os.system ['touch it_ran']\n")
    with pytest.raises(
        ConfigError, match=r"error: run: .*config.yaml cannot be read: could not determine a constructor"
    ):
        way(run)


def add_code(weights):
    torch.save({**torch.load(weights, weights_only=True), "more": Code()}, weights)


def test_code_among_the_weights_is_named_and_not_run(from_anybody):
    run = from_anybody()
    add_code(run / "checkpoints" / "best.ckpt")
    with pytest.raises(
        ConfigError, match=r"error: run: .*best.ckpt holds code \(posix.system\); nothing of it was run$"
    ):
        stride.load(run)


def test_code_among_the_weights_is_tested_only_where_that_is_typed(from_anybody):
    run = from_anybody()
    add_code(run / "checkpoints" / "best.ckpt")
    with pytest.raises(
        ConfigError, match=r"error: run: .* holds code \(posix.system\); .*; try: trust_checkpoint=true$"
    ):
        stride.run(["task=test", f"run={run}"])
    assert not (run / "test-1").exists()
    assert not Path("it_ran").exists()
    stride.run(["task=test", f"run={run}", "trust_checkpoint=true"])
    Path("it_ran").unlink()


def test_a_runs_own_config_neither_trusts_nor_reads_where_it_came_from(from_anybody):
    """Of a run that began from another's weights, those may be gone; what watched its training writes nothing."""
    writes = {"_target_": "pytorch_lightning.profilers.SimpleProfiler", "dirpath": "/", "filename": "x"}
    trainer = yaml.safe_load((from_anybody() / "config.yaml").read_text())["trainer"]
    gone = {"init_from": "/gone", "resume": {"from": "/gone", "lr": "keep"}}
    run = from_anybody(**gone, trust_checkpoint=True, trainer=trainer | {"profiler": writes})
    cfg = checked(["task=test", f"run={run}"]).cfg
    assert (cfg.init_from, cfg.resume["from"], cfg.trust_checkpoint, cfg.trainer.profiler) == (
        None,
        "auto",
        False,
        None,
    )
