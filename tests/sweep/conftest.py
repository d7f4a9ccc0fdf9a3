"""The database that the tests of a shared sweep use: started once, when the first test asks for it."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest


@pytest.fixture(scope="session")
def _postgres_server(loopback_server: Callable[[str], AbstractContextManager[Any]]) -> Iterator[str]:
    with loopback_server("loopback_postgres.py") as url:
        yield url


@pytest.fixture
def postgres(_postgres_server: str) -> str:
    """The URL of an empty database in a real PostgreSQL."""
    import psycopg

    name = f"test_{secrets.token_hex(4)}"
    with psycopg.connect(_postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return _postgres_server.rpartition("/")[0] + f"/{name}"
