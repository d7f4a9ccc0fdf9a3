"""Fixtures that many tests share."""

import copy
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import real_runs

from stride import line

ROOT = Path(__file__).resolve().parents[1]
SERVERS = ROOT / "tests" / "sweep"  # where the programs are that start a real SLURM and a real database
sys.path.append(str(SERVERS))

# Two processes on two cores: more threads only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session", autouse=True)
def _composed_once() -> Iterator[None]:
    """The same choices compose to the same config: Hydra's tenth of a second a line is half of what tests take."""
    compose, kept = line._compose, {}

    def once(choices, conf, values):
        tunes = any(override.input_line == "task=tune" for override in values)
        key = (conf, tunes, *(choice.input_line for choice in choices.values()))
        if key not in kept:
            kept[key] = compose(choices, conf, values)
        return copy.deepcopy(kept[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(line, "_compose", once)
        yield


@pytest.fixture(scope="session")
def copy_of_project(tmp_path_factory: pytest.TempPathFactory) -> Callable[[dict[str, str]], Path]:
    """`copy_of_project({"src/mine/net.py": "...", ...})` is the project's folder elsewhere, with more files in it."""

    def copy(files: dict[str, str]) -> Path:
        folder = tmp_path_factory.mktemp("copy") / "project"
        for name in ("src", "conf"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "train.py", folder)
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return folder

    return copy


@pytest.fixture(scope="session")
def command_in() -> Callable[..., subprocess.CompletedProcess[str]]:
    """`command_in(folder, "train.py", ...)` runs python there, with that folder's own sources."""

    def command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "PYTHONPATH": str(folder / "src"), "COLUMNS": "200"}
        return subprocess.run([sys.executable, *words], cwd=folder, env=env, capture_output=True, text=True)

    return command


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`train("optimizer=adam", ...)` runs this project's train.py, with its runs below tmp_path/runs."""

    def command(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, str(ROOT / "train.py"), *words, f"output_root={tmp_path / 'runs'}"]
        return subprocess.run(line, cwd=cwd, env={**os.environ, "COLUMNS": "200"}, capture_output=True, text=True)

    return command


@pytest.fixture
def stepped() -> Callable[..., list[tuple[float, float]]]:
    """`stepped(make, steps, saved_at=())`: (rate, momentum) of each step under a scheduler, from a base rate of `lr`.

    `make(optimizer)` makes the scheduler. Before each step in `saved_at` the state of both is loaded into new ones.
    """
    import torch

    def new(make, lr):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr, momentum=0.5)
        scheduler = make(optimizer)
        optimizer.step()  # torch warns of a scheduler that is stepped before its optimizer
        return optimizer, scheduler

    def walk(make, steps, saved_at=(), lr=1.0):
        optimizer, scheduler = new(make, lr)
        seen = []
        for step in range(steps):
            if step:
                scheduler.step()
            if step in saved_at:
                states = copy.deepcopy((optimizer.state_dict(), scheduler.state_dict()))
                optimizer, scheduler = new(make, lr)
                optimizer.load_state_dict(states[0])
                scheduler.load_state_dict(states[1])
            seen.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]))
        return seen

    return walk


@pytest.fixture
def refusal() -> Callable[[list[str], str], str]:
    """`refusal(words, key)` is the one line that a line of `words` is told about `key`."""
    from stride.errors import ConfigError
    from stride.pipeline import checked

    def told(words: list[str], key: str) -> str:
        with pytest.raises(ConfigError) as refused:
            checked(words)
        (line,) = (line for line in str(refused.value).splitlines() if line.startswith(f"error: {key}: "))
        return line

    return told


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[real_runs.Runs]:
    """`runs([...])` is a real process of `python train.py ...`."""
    with real_runs.started(tmp_path_factory.mktemp("runs")) as runs:
        yield runs


@dataclass(frozen=True)
class Slurm:
    """A SLURM whose node takes several tasks at once; `environment` is where its commands are found."""

    environment: dict[str, str]

    def __call__(self, *command: str) -> str:
        """What a command of SLURM prints. Raises CalledProcessError if it fails."""
        return subprocess.run(
            command, env=os.environ | self.environment, check=True, stdout=subprocess.PIPE, text=True
        ).stdout


@pytest.fixture(scope="session")
def loopback_server() -> Callable[[str], AbstractContextManager[Any]]:
    """`with loopback_server("loopback_slurm.py") as told:` runs that server; the test is skipped where it cannot."""
    import loopback
    from debian_packages import NoDebian

    @contextmanager
    def started(script: str) -> Iterator[Any]:
        try:
            with loopback.started(SERVERS / script) as told:
                yield told
        except NoDebian as reason:
            pytest.skip(str(reason))

    return started


@pytest.fixture(scope="session")
def slurm(loopback_server: Callable[[str], AbstractContextManager[Any]]) -> Iterator[Slurm]:
    """A real slurmctld and slurmd, for all tests that ask for it: `slurm("sbatch", ...)`."""
    with loopback_server("loopback_slurm.py") as environment:
        yield Slurm(environment)
