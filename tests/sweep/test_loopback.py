"""The servers that other tests share do what these rely on, and are gone when pytest is, even if it is killed."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

HERE = Path(__file__).parent

MEETING = "touch {folder}/$SLURM_ARRAY_TASK_ID; until [ $(ls {folder} | wc -l) = 4 ]; do sleep 0.05; done"


@pytest.mark.slurm
def test_the_four_tasks_of_an_array_run_at_once(slurm, tmp_path):
    meet = MEETING.format(folder=tmp_path)
    slurm("sbatch", "--wait", "--array=0-3", "--time=1", "--output=/dev/null", "--wrap", meet)
    assert {path.name for path in tmp_path.iterdir()} == {"0", "1", "2", "3"}


SHARING = """
import os, sys
import optuna
study = optuna.create_study(study_name="shared", storage=sys.argv[1], load_if_exists=True)
for _ in range(5):
    trial = study.ask()
    trial.set_user_attr("process", os.getpid())
    study.tell(trial, 0.0)
"""


@pytest.mark.slow
def test_two_processes_share_a_study_in_postgresql(postgres):
    import optuna

    optuna.create_study(study_name="shared", storage=postgres)
    processes = [subprocess.Popen([sys.executable, "-c", SHARING, postgres]) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    trials = optuna.load_study(study_name="shared", storage=postgres).trials
    assert [trial.number for trial in trials] == list(range(10))
    assert len({trial.user_attrs["process"] for trial in trials}) == 2


HOLDER = """
import json, sys, time
from pathlib import Path
import loopback
with loopback.started(Path(sys.argv[1])) as told:
    print(json.dumps(told), flush=True)
    time.sleep(600)
"""


@contextlib.contextmanager
def held(script):
    """What is said of a server that another process holds; that process is killed at the end."""
    command = [sys.executable, "-c", HOLDER, str(HERE / script)]
    with subprocess.Popen(command, cwd=HERE, stdout=subprocess.PIPE, text=True) as holder:
        try:
            yield json.loads(holder.stdout.readline())
        finally:
            holder.kill()


def within(seconds, condition):
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.1)
    return condition()


def words_of(pid_file):
    """The words of the process of that number; none where there is no such file or process, or a zombie is left."""
    try:
        return Path("/proc", pid_file.read_text().strip() or "0", "cmdline").read_text().split("\0")[:-1]
    except OSError:
        return []


@pytest.mark.slurm
def test_a_job_is_gone_with_the_process_that_held_slurm(tmp_path):
    with held("loopback_slurm.py") as environment:
        job = ["sbatch", "--output=/dev/null", "--wrap", f"setsid sleep 600 & echo $! > {tmp_path}/pid; wait"]
        subprocess.run(job, env=os.environ | environment, check=True)
        assert within(20, lambda: words_of(tmp_path / "pid") == ["sleep", "600"])
    assert within(10, lambda: not words_of(tmp_path / "pid"))
    assert within(10, lambda: not Path(environment["SLURM_CONF"]).exists())


@pytest.mark.slow
def test_postgresql_is_gone_with_the_process_that_held_it():
    def answers():
        with socket.socket() as client:
            return client.connect_ex((address.hostname, address.port)) == 0

    with held("loopback_postgres.py") as url:
        address = urlsplit(url)
        assert answers()
    assert within(10, lambda: not answers())
