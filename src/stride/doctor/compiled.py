"""Packages that are built for one torch and break beside another: imported in a process of their own."""

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator

from stride.doctor.installer import removed
from stride.doctor.requirements import version_of
from stride.doctor.row import Mark, Row
from stride.errors import one_line

PACKAGES = ("torchvision", "torchaudio")
IMPORTED_BY_LIGHTNING = ("torchvision",)
PATIENCE = 60.0  # seconds for an import


def rows() -> Iterator[Row]:
    """A row for each that is there."""
    for name in PACKAGES:
        if importlib.util.find_spec(name) is None:
            continue
        version, failure = version_of(name) or "", _failure_of_importing(name)
        if not failure:
            yield Row(name, f"{version} can be imported beside this torch".strip())
            continue
        stops = name in IMPORTED_BY_LIGHTNING
        cause = f"{failure}; it is built for another torch{', breaks Lightning' * stops}, and is not needed here"
        mark = Mark.WRONG if stops else Mark.LOOK
        yield Row(name, f"{version} cannot be imported".strip(), mark, cause, removed(name), stops)


def _failure_of_importing(name: str) -> str:
    """How `import name` ends in a fresh process; empty where it goes well."""
    command, environment = [sys.executable, "-c", f"import {name}"], {**os.environ, "TMPDIR": tempfile.gettempdir()}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return f"its import does not end within {PATIENCE:.0f} s"
    said = done.stderr.strip().splitlines() or [f"its import ends the process with {done.returncode}"]
    return one_line(Exception(said[-1]), limit=120) if done.returncode else ""
