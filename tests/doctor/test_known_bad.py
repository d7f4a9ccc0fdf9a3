"""Known-bad packages, made for real as far as metadata goes: found, told, and never imported."""

import pytest

from stride.doctor import known_bad
from stride.doctor.row import Mark


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """`installed(name, version, *needs)` puts the metadata of a distribution before all others."""

    def install(name, version, *needs):
        folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        (folder / "METADATA").write_text("\n".join([*lines, *(f"Requires-Dist: {need}" for need in needs), ""]))
        monkeypatch.syspath_prepend(tmp_path)

    return install


@pytest.mark.parametrize("name", ["lightning", "pytorch-lightning"])
@pytest.mark.parametrize("version", ["2.6.2", "2.6.3"])
def test_malware_is_wrong_and_forbids_every_import(installed, name, version):
    installed(name, version)
    (row,) = known_bad.rows()
    assert (row.name, row.mark, row.stops) == (name, Mark.WRONG, True)
    assert "GHSA-w37p-236h-pfx3" in row.found
    assert "change every key and password" in row.cause
    assert row.attempt.endswith(f"uninstall {name}")


def test_two_lightnings_are_worth_a_look(installed):
    installed("lightning", "2.6.6")
    (row,) = known_bad.rows()
    assert (row.name, row.mark, row.stops) == ("lightning", Mark.LOOK, False)
    assert row.attempt.endswith("uninstall lightning")


def test_a_hydra_plugin_for_another_optuna_is_worth_a_look(installed):
    installed("hydra-optuna-sweeper", "1.3.0", "hydra-core (>=1.1.0.dev7)", "optuna (<3.0.0,>=2.10.0)")
    (row,) = known_bad.rows()
    assert (row.name, row.mark) == ("hydra-optuna-sweeper", Mark.LOOK)
    assert "optuna<3.0.0,>=2.10.0" in row.cause
    assert "hydra-core" not in row.cause


def test_a_hydra_plugin_whose_requirements_are_met_is_no_trouble(installed):
    installed("hydra-joblib-launcher", "1.3.0", "hydra-core>=1.3", "nobody-has-this; extra == 'more'")
    (row,) = known_bad.rows()
    assert (row.name, row.mark) == ("known bad", Mark.OK)
