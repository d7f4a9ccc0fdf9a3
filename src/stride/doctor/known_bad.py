"""Packages, and pairs of them, that are known to harm; found by their metadata, and nothing is imported."""

import importlib.metadata
from collections.abc import Iterator

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from stride.doctor.installer import removed
from stride.doctor.requirements import is_met, version_of
from stride.doctor.row import Mark, Row

LIGHTNINGS = ("pytorch-lightning", "lightning")
MALICIOUS = ("2.6.2", "2.6.3")  # of both: https://github.com/advisories/GHSA-w37p-236h-pfx3


def rows() -> Iterator[Row]:
    """A row for each known-bad thing that is there, or one that says what was looked for."""
    found = [*(list(_malicious()) or _two_lightnings()), *_stale_plugins()]
    yield from found or [Row("known bad", "no malware, one Lightning, no stale Hydra plugin")]


def _malicious() -> Iterator[Row]:
    for name in LIGHTNINGS:
        version = version_of(name)
        if version in MALICIOUS:
            cause = "it steals credentials when it is imported: remove it, and change every key and password used here"
            yield Row(name, f"{version} is malware, GHSA-w37p-236h-pfx3", Mark.WRONG, cause, removed(name), stops=True)


def _two_lightnings() -> Iterator[Row]:
    versions = [version_of(name) for name in LIGHTNINGS]
    if all(versions):
        cause = "the same code twice, with different classes: a callback of one is none to the other"
        yield Row("lightning", f"{versions[1]}, beside pytorch-lightning", Mark.LOOK, cause, removed("lightning"))


def _stale_plugins() -> Iterator[Row]:
    """Hydra imports every plugin that it finds; one whose own requirements are not met fails then, or later."""
    for distribution in importlib.metadata.distributions():
        name = canonicalize_name(distribution.metadata["Name"] or "")
        if name.startswith("hydra-") and name != "hydra-core":
            needs = [Requirement(line) for line in distribution.requires or []]
            unmet = [f"{need.name}{need.specifier}, not {version_of(need.name)}" for need in needs if not is_met(need)]
            if unmet:
                cause = f"Hydra imports every plugin, and this one needs {'; '.join(unmet)}"
                yield Row(name, distribution.version, Mark.LOOK, cause, removed(name))
