"""What the project asks for, against what is installed: read from metadata, and nothing imported."""

import importlib.metadata
import platform
import tomllib
from collections.abc import Iterator

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from stride.doctor.installer import installed
from stride.doctor.row import Mark, Row, judged
from stride.names import ROOT


def rows() -> Iterator[Row]:
    """Python, each requirement, and each optional one that is there, with the version and the law."""
    python, requirements = _asked()
    yield _of_python(python, platform.python_version())
    for requirement in requirements:
        if version_of(requirement.name) is not None or not is_optional(requirement):
            yield _row(requirement)


def _of_python(law: SpecifierSet, version: str) -> Row:
    holds = law.contains(version, prereleases=True)
    cause = f"{version} runs this, and {_shown(law)} is needed"
    return judged("python", _told(version, law), holds=holds, law=cause, attempt="uv sync")


def _row(requirement: Requirement) -> Row:
    law, there = requirement.specifier, version_of(requirement.name)
    if is_met(requirement):
        return Row(requirement.name, _told(there or "-", law))
    cause = f"{there} is there, and {_shown(law)} is needed" if there else "it is not installed"
    mend = installed(f"{requirement.name}{_shown(law)}")
    return Row(requirement.name, _told(there or "missing", law), Mark.WRONG, cause, mend, stops=there is None)


def is_optional(requirement: Requirement) -> bool:
    """Whether it is one of an extra, or of another system."""
    return requirement.marker is not None and not requirement.marker.evaluate({"extra": ""})


def is_met(requirement: Requirement) -> bool:
    """Whether it is installed in a version that is asked for; an optional one need not be there."""
    there = version_of(requirement.name)
    if there is None:
        return is_optional(requirement)
    return requirement.specifier.contains(there, prereleases=True)


def _told(version: str, law: SpecifierSet) -> str:
    return f"{version:<9} {_shown(law)}"


def _shown(law: SpecifierSet) -> str:
    """`>=2.6.4,<2.7`, from the least."""
    return ",".join(sorted(map(str, law), reverse=True))


def version_of(name: str) -> str | None:
    """The installed version of a distribution, None where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _asked() -> tuple[SpecifierSet, list[Requirement]]:
    """Which Python and which distributions, by the metadata of this project; uninstalled, by its pyproject.toml."""
    try:
        told = importlib.metadata.metadata(__name__.partition(".")[0])
        python, lines = told["Requires-Python"], told.get_all("Requires-Dist") or []
    except importlib.metadata.PackageNotFoundError:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        python, lines = project["requires-python"], project["dependencies"]
    return SpecifierSet(python), [Requirement(line) for line in lines]
