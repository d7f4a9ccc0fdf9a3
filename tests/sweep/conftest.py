"""Servers that the tests of a shared sweep start: each once, when the first test asks for it."""

import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import loopback
import pytest
from debian_packages import NoDebian


@dataclass(frozen=True)
class Slurm:
    """A SLURM whose node takes several tasks at once; `environment` is where its commands are found."""

    environment: dict[str, str]

    def __call__(self, *command: str) -> str:
        """What a command of SLURM prints. Raises CalledProcessError if it fails."""
        return subprocess.run(
            command, env=os.environ | self.environment, check=True, stdout=subprocess.PIPE, text=True
        ).stdout


@contextmanager
def _started(script: str) -> Iterator[Any]:
    try:
        with loopback.started(Path(__file__).with_name(script)) as told:
            yield told
    except NoDebian as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def slurm() -> Iterator[Slurm]:
    """A real slurmctld and slurmd: `slurm("sbatch", ...)`."""
    with _started("loopback_slurm.py") as environment:
        yield Slurm(environment)


@pytest.fixture(scope="session")
def _postgres_server() -> Iterator[str]:
    with _started("loopback_postgres.py") as url:
        yield url


@pytest.fixture
def postgres(_postgres_server: str) -> str:
    """The URL of an empty database in a real PostgreSQL."""
    import psycopg

    name = f"test_{secrets.token_hex(4)}"
    with psycopg.connect(_postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return _postgres_server.rpartition("/")[0] + f"/{name}"
