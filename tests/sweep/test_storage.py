"""Where a study is kept: a journal that survives a torn line, and one line for every URL that cannot be opened."""

import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from stride.errors import ConfigError
from stride.sweep.storage import open_storage

TRAIN = Path(__file__).resolve().parents[2] / "train.py"
HELD = 8.0  # seconds: more than the five that SQLite waits by itself


def studies(folder):
    import optuna

    storage = open_storage(None, folder)
    study = optuna.create_study(study_name="one", storage=storage, load_if_exists=True)
    study.tell(study.ask(), 1.0)
    return len(study.trials)


def test_a_journal_whose_last_line_was_torn_is_read_and_goes_on(tmp_path):
    assert studies(tmp_path) == 1
    with (tmp_path / "study.journal").open("ab") as file:
        file.write(b'{"op_code":5,"worker_id":"x","tri')
    assert studies(tmp_path) == 2
    assert studies(tmp_path) == 3


def test_a_lock_that_a_killed_driver_left_is_taken_over(tmp_path, monkeypatch):
    from optuna.storages.journal import JournalFileOpenLock

    assert studies(tmp_path) == 1
    made = JournalFileOpenLock.__init__
    monkeypatch.setattr(JournalFileOpenLock, "__init__", lambda self, path, grace_period: made(self, path, 1))
    (tmp_path / "study.journal.lock").touch()
    assert studies(tmp_path) == 2


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nope://host/x", "sweep.storage: nope://host/x cannot be opened; .*try: sweep.storage=postgresql://"),
        ("nope://me:secret@host/x", r"sweep.storage: nope://me:\*\*\*@host/x cannot be opened; "),
        ("study", "sweep.storage: study cannot be opened"),
        ("mysql://me:secret@host/x", r"mysql://me:\*\*\*@host/x needs MySQLdb; which is not installed; try: uv pip"),
        ("sqlite:////not/there/x.db", "unable to open database file"),
    ],
)
def test_a_url_that_cannot_be_opened_is_one_line_without_its_password(tmp_path, url, said):
    with pytest.raises(ConfigError, match=said) as refused:
        open_storage(url, tmp_path)
    assert "\n" not in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"output_root: .*Not a directory; a sweep lives there"):
        open_storage(None, tmp_path / "file" / "below")


def test_an_optuna_proxy_serves_a_study(tmp_path):
    """Over gRPC, as `optuna` starts it, on loopback."""
    import optuna
    from optuna.storages import run_grpc_proxy_server

    backend = open_storage(None, tmp_path)
    port = free_port()
    threading.Thread(
        target=run_grpc_proxy_server, kwargs={"storage": backend, "host": "127.0.0.1", "port": port}, daemon=True
    ).start()
    study = optuna.create_study(storage=open_storage(f"grpc://127.0.0.1:{port}", tmp_path))
    study.tell(study.ask(), 1.0)
    assert [trial.value for trial in optuna.load_study(study_name=study.study_name, storage=backend).trials] == [1.0]


def hold(path):
    """Another process' write to an SQLite file, which takes its time."""
    with closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        time.sleep(HELD)
        connection.execute("COMMIT")


@pytest.mark.slow
def test_a_sweep_waits_for_a_database_that_is_held_and_loses_no_trial(tmp_path):
    import optuna

    words = ["-m", "optimizer.lr=1e-4,1e-3,1e-2,1e-1", "datamodule=wine", "trainer.max_epochs=2", "sweep.jobs=2"]
    url = f"sqlite:///{tmp_path / 'study.db'}"
    line = [*words, f"sweep.storage={url}", "name=held", f"output_root={tmp_path}", "logger=none", "callbacks=none"]
    sweep = subprocess.Popen([sys.executable, str(TRAIN), *line], stdout=subprocess.DEVNULL)
    while not (tmp_path / "held" / "0").is_dir():
        assert sweep.poll() is None
        time.sleep(0.05)
    hold(tmp_path / "study.db")
    assert sweep.wait(timeout=60) == 0
    (study,) = optuna.get_all_study_summaries(storage=url)
    trials = optuna.load_study(study_name=study.study_name, storage=url).trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 4


@pytest.mark.slow
def test_optuna_by_itself_does_not_wait_that_long(tmp_path):
    import optuna
    from optuna.exceptions import StorageInternalError

    study = optuna.create_study(storage=f"sqlite:///{tmp_path / 'study.db'}")
    holder = threading.Thread(target=hold, args=(tmp_path / "study.db",))
    holder.start()
    time.sleep(0.5)
    with pytest.raises(StorageInternalError):
        study.ask()
    holder.join()


def free_port():
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
