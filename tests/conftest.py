"""Fixtures that many tests share."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Two processes on two cores: more threads only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`train("optimizer=adam", ...)` runs train.py in a process of its own, its runs below tmp_path/runs."""

    def command(*words: str, env: dict[str, str] | None = None, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
        words = (*words, f"output_root={tmp_path / 'runs'}") if "--help" not in words else words
        full = {**os.environ, "COLUMNS": "200", **(env or {})}
        return subprocess.run(
            [sys.executable, str(ROOT / "train.py"), *words], cwd=cwd, env=full, capture_output=True, text=True
        )

    return command
