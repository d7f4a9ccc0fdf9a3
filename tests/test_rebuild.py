"""Runs of earlier versions stay usable: tests/kept_runs keeps one of each, made by a real line."""

import shutil
from pathlib import Path

import pytest
import torch

import stride
from stride.errors import ConfigError

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


def test_a_config_that_names_what_may_not_be_called_is_refused(tmp_path):
    """It may come from anybody; nothing of it is called before the allow-list has seen all of it."""
    shutil.copytree(next((Path(__file__).parent / "kept_runs").iterdir()), tmp_path / "run")
    config = tmp_path / "run" / "config.yaml"
    text = config.read_text()
    assert "_target_: stride.models.mlp.MLP" in text
    config.write_text(text.replace("_target_: stride.models.mlp.MLP", "_target_: os.getcwd"))
    with pytest.raises(ConfigError, match=r"error: model._target_: 'os.getcwd' may not be called"):
        stride.load(tmp_path / "run")
