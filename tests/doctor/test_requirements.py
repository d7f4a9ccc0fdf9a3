"""The project's requirements against what is installed, by metadata alone."""

import importlib.metadata
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from stride.doctor import requirements
from stride.doctor.row import Mark

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"


@pytest.fixture
def versions(monkeypatch):
    """`versions[name] = "1.0"` is what is installed, and nothing else is."""
    found = {}
    monkeypatch.setattr(requirements, "version_of", found.get)
    return found


@pytest.mark.parametrize(
    ("line", "there", "found", "mark", "stops"),
    [
        ("optuna<6,>=5", "5.0.0", "5.0.0     >=5,<6", Mark.OK, False),
        ("optuna<6,>=5", "4.9.1", "4.9.1     >=5,<6", Mark.WRONG, False),
        ("optuna<6,>=5", None, "missing   >=5,<6", Mark.WRONG, True),
        ("torch>=2.9", "2.15.0.dev20261101+cpu", "2.15.0.dev20261101+cpu >=2.9", Mark.OK, False),
    ],
)
def test_a_requirement_is_met_by_its_law(versions, line, there, found, mark, stops):
    versions["optuna" if "optuna" in line else "torch"] = there
    row = requirements._row(Requirement(line))
    assert (row.found, row.mark, row.stops) == (found, mark, stops)
    assert mark is Mark.OK or row.attempt.endswith('"optuna>=5,<6"')


def test_an_optional_one_is_a_row_only_where_it_is_there(versions, monkeypatch):
    asked = [Requirement("rich>=14"), Requirement("wandb>=0.20; extra == 'wandb'")]
    monkeypatch.setattr(requirements, "_asked", lambda: (requirements.SpecifierSet(">=3.11"), asked))
    versions["rich"] = "15.0.0"
    assert [row.name for row in requirements.rows()] == ["python", "rich"]
    versions["wandb"] = "0.10.1"
    assert [(row.name, row.mark) for row in requirements.rows()][2:] == [("wandb", Mark.WRONG)]


def test_python_has_a_law_too():
    row = requirements._of_python(requirements.SpecifierSet("<3.14,>=3.11"), "3.14.1")
    assert (row.found, row.mark) == ("3.14.1    >=3.11,<3.14", Mark.WRONG)


def test_a_project_that_is_not_installed_asks_what_its_pyproject_says(monkeypatch):
    def not_installed(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "metadata", not_installed)
    python, asked = requirements._asked()
    told = tomllib.loads(PYPROJECT.read_text())["project"]
    assert python == requirements.SpecifierSet(told["requires-python"])
    assert asked == [Requirement(line) for line in told["dependencies"]]
