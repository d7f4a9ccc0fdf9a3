"""Where a study is kept: a journal file in the sweep's folder, or any storage of Optuna's by its URL."""

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from stride.errors import ConfigError, Fault, one_line
from stride.secret import shown

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.storages.journal import JournalFileOpenLock

JOURNAL = "study.journal"
PACKAGES = {"MySQLdb": "mysqlclient", "psycopg2": "psycopg2-binary"}  # whose name is not the module's
TRIES = 5  # at a database: of several drivers that find it empty all but one fail to make Optuna's tables
EXAMPLE = "sweep.storage=postgresql://user:password@host/database"


def open_storage(url: str | None, folder: Path) -> "BaseStorage":
    """The storage at `url`; None: the journal in `folder`, which is made.

    Raises ConfigError where it cannot be opened: no such kind, a driver that is not installed, nobody there.
    """
    if url is None:
        return _journal(folder / JOURNAL)
    try:
        return _proxy(url) if url.startswith("grpc://") else _database(url)
    except ImportError as error:
        lacking = getattr(error.__cause__ or error, "name", None) or "a driver"
        package = f"uv pip install {PACKAGES.get(lacking, lacking)}"
        what = f"{shown(url)} needs {lacking}"
        attempt = "uv sync --extra postgres" if lacking == "psycopg" else package
        raise ConfigError(Fault("sweep.storage", what, "which is not installed", attempt)) from error
    except Exception as error:
        what, told = f"{shown(url)} cannot be opened", getattr(error, "orig", None) or error
        raise ConfigError(Fault("sweep.storage", what, shown(one_line(told)), EXAMPLE)) from error


def _database(url: str) -> "BaseStorage":
    from optuna.storages import RDBStorage
    from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

    one_file = url.startswith("sqlite")
    options = {"connect_args": {"timeout": 60}} if one_file else {"pool_pre_ping": True}
    for _ in range(TRIES - 1):
        with suppress(IntegrityError, ProgrammingError, OperationalError):
            return RDBStorage(url, engine_kwargs=options)
        time.sleep(0.5)
    return RDBStorage(url, engine_kwargs=options)


def _proxy(url: str) -> "BaseStorage":
    """Optuna's own proxy, for workers that reach neither the folder nor the database."""
    from optuna.storages import GrpcStorageProxy

    parts = urlsplit(url)
    storage = GrpcStorageProxy(host=parts.hostname or "localhost", port=parts.port or 13000)
    storage.wait_server_ready(timeout=60)
    return storage


def _journal(path: Path) -> "BaseStorage":
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = JournalFileOpenLock(str(path), grace_period=10)  # seconds, where a driver was killed as it wrote
        if path.is_file():
            _drop_torn_line(path, lock)
        return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
    except OSError as error:
        raise ConfigError(Fault("output_root", f"{path.parent}: {error.strerror}", "a sweep lives there")) from error


def _drop_torn_line(path: Path, lock: "JournalFileOpenLock") -> None:
    """Cut off a last line without an end, which a full disk or a power cut has left.

    Optuna would append to it, and from then on read neither that line nor any after it.
    """
    lock.acquire()
    try:
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with path.open("r+b") as file:
                file.truncate(whole)
    finally:
        lock.release()
