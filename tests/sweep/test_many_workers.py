"""Several workers on one sweep, one of them killed: under a real SLURM, and on a real PostgreSQL.

A worker is what `python train.py -m ...` starts: its process, a server that forks trials, and the trials. They are
told apart by a word in their environment.
"""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from loopback import free_ports

ROOT = Path(__file__).resolve().parents[2]
TRIALS = 12
LINE = (
    *("-m", "sweep=random", f"sweep.trials={TRIALS}", "sweep.jobs=1", "optimizer.lr=tag(log,interval(1e-4,1e-1))"),
    *("model=mlp", "trainer.max_epochs=1", "callbacks.progress=null"),
)
DATABASE = "postgresql://user:password@host/database"  # as docs/clusters.md has it
PATIENCE = 240.0  # seconds; an idle machine needs a tenth of it


def first_with_a_trial(workers, outputs):
    """The first worker that is seen running a trial, and the trial's number.

    Args:
        workers: a word in the environment of the processes of each.
        outputs: the file that each one's own process prints to.
    """
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and any(any(processes_of(worker)) for worker in workers):
        for worker, output in zip(workers, outputs, strict=True):
            number = running_trial(worker)
            if number is not None and number not in ended_trials(output):
                return worker, number
        time.sleep(0.02)
    pytest.fail(f"no worker was seen running a trial\n{told(outputs)}")


def told(outputs):
    return "\n".join(output.read_text()[-2000:] for output in outputs)


def processes_of(worker):
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if worker.encode() in (process / "environ").read_bytes().split(b"\0"):
                yield process
        except OSError:  # ended meanwhile
            continue


def driver_of(worker):
    """The process number of the worker's own process; the others have not been started as train.py."""
    (found,) = (process for process in processes_of(worker) if b"train.py" in (process / "cmdline").read_bytes())
    return int(found.name)


def running_trial(worker):
    """The number of the trial in whose log a process of this worker writes, once its run has begun."""
    for process in processes_of(worker):
        try:
            log = (process / "fd" / "1").readlink()
        except OSError:
            continue
        if found := re.fullmatch(r"(\d+)-stdout\.log", log.name):
            record = log.parents[1] / found[1] / "run.json"
            if record.is_file() and json.loads(record.read_text())["status"] == "running":
                return int(found[1])
    return None


def ended_trials(output):
    """The numbers of the trials whose end a worker has told, in order."""
    return [int(number) for number in re.findall(r"^trial (\d+): ", output.read_text(), flags=re.MULTILINE)]


def assert_each_trial_is_there_once(folder, storage, outputs):
    """The report, the study, the run folders and what the workers have told agree on TRIALS finished trials."""
    import optuna

    numbers = list(range(TRIALS))
    report = json.loads((folder / "sweep.json").read_text())
    assert (report["status"], report["trials"]) == ("finished", TRIALS)
    assert sorted(int(row["name"]) for row in report["rows"]) == numbers
    assert {row["status"] for row in report["rows"]} == {"finished"}
    assert sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit()) == numbers
    assert sorted(number for output in outputs for number in ended_trials(output)) == numbers
    study = optuna.load_study(study_name=folder.name, storage=storage)
    complete = study.get_trials(states=[optuna.trial.TrialState.COMPLETE])
    assert [trial.number for trial in complete] == numbers
    records = [json.loads((folder / str(number) / "run.json").read_text()) for number in numbers]
    assert [record["lr"]["asked"] for record in records] == [float(t.params["optimizer.lr"]) for t in complete]
    assert [record["score"]["value"] for record in records] == [trial.value for trial in complete]
    assert len({record["steps"] for record in records}) == 1


# Each task takes itself for a machine of its own, as it would be on a cluster: a dead worker shows by its lease only.
ELSEWHERE = """
import os, socket
socket.gethostname = lambda: "node" + os.environ.get("SLURM_ARRAY_TASK_ID", "")
"""


@pytest.mark.slurm
def test_the_tasks_of_an_array_share_a_sweep_though_one_is_killed_and_one_requeued(slurm, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(ELSEWHERE)
    outputs = [tmp_path / f"{task}.out" for task in range(4)]
    script = f"export PYTHONPATH={tmp_path}; exec {shared_line(tmp_path, 'sweep.lease=10')}"
    options = ["--array=0-3", "--open-mode=append", f"--output={tmp_path}/%a.out"]
    job = slurm("sbatch", "--parsable", *options, "--wrap", script).strip()
    wait_for(lambda: all(output.is_file() for output in outputs))

    tasks = [f"SLURM_ARRAY_TASK_ID={task}" for task in range(4)]
    killed, number = first_with_a_trial(tasks, outputs)
    os.kill(driver_of(killed), signal.SIGKILL)
    others = [task for task in tasks if task != killed]
    requeued, _ = first_with_a_trial(others, [outputs[tasks.index(task)] for task in others])
    slurm("scontrol", "requeue", f"{job}_{tasks.index(requeued)}")

    wait_for(lambda: not slurm("squeue", "--noheader", f"--jobs={job}"))
    assert_each_trial_is_there_once(tmp_path / "shared", journal(tmp_path), outputs)
    assert number not in ended_trials(outputs[tasks.index(killed)])
    for task in others:
        shown = slurm("scontrol", "show", "job", f"{job}_{tasks.index(task)}")
        assert "JobState=COMPLETED" in shown
        assert f"Restarts={int(task == requeued)}" in shown


@pytest.mark.slurm
def test_the_tasks_of_one_srun_share_a_sweep(slurm, tmp_path):
    """Each is told that it is one of three, and which; a trial that heard so would take itself for a part of a run."""
    script = f"srun --output={tmp_path}/%t.out {shared_line(tmp_path)}"
    job = slurm("sbatch", "--parsable", "--ntasks=3", f"--output={tmp_path}/job.out", "--wrap", script).strip()
    wait_for(lambda: not slurm("squeue", "--noheader", f"--jobs={job}"))
    outputs = [tmp_path / f"{task}.out" for task in range(3)]
    assert_each_trial_is_there_once(tmp_path / "shared", journal(tmp_path), outputs)
    assert "JobState=COMPLETED" in slurm("scontrol", "show", "job", job)


def shared_line(folder, *words):
    where = ["name=shared", f"output_root={folder}"]
    return shlex.join([sys.executable, str(ROOT / "train.py"), *LINE, *where, *words])


def journal(folder):
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(str(folder / "shared" / "study.journal")))


@pytest.fixture
def proxy(postgres):
    """The URL of Optuna's proxy of that database, run by the line of docs/clusters.md."""
    line = re.search(r"^python -c (.*)$", (ROOT / "docs" / "clusters.md").read_text(), flags=re.MULTILINE)[0]
    (port,) = free_ports(1)
    for shown, real in ((DATABASE, postgres), ("0.0.0.0", "127.0.0.1"), ("13000", str(port))):
        assert shown in line
        line = line.replace(shown, real)
    with subprocess.Popen([sys.executable, *shlex.split(line)[1:]]) as server:
        try:
            wait_for(lambda: answers(port))
            yield f"grpc://127.0.0.1:{port}"
        finally:
            server.kill()


def answers(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.slow
@pytest.mark.parametrize("through", ["postgres", "proxy"])
def test_four_processes_share_a_sweep_in_postgresql_though_one_is_killed(postgres, through, request, tmp_path):
    line = shlex.split(shared_line(tmp_path, f"sweep.storage={request.getfixturevalue(through)}"))
    workers = [f"WORKER={at}" for at in range(4)]
    outputs = [tmp_path / f"{at}.out" for at in range(4)]
    started = []
    try:
        for at, output in enumerate(outputs):
            with output.open("wb") as out:
                env = os.environ | {"WORKER": str(at)}
                started.append(subprocess.Popen(line, env=env, stdout=out, stderr=subprocess.STDOUT))
        killed, number = first_with_a_trial(workers, outputs)
        victim = started[workers.index(killed)]
        victim.kill()
        codes = [process.wait(PATIENCE) for process in started]
    finally:
        for process in started:
            process.kill()
    assert codes == [-signal.SIGKILL if process is victim else 0 for process in started], told(outputs)
    assert_each_trial_is_there_once(tmp_path / "shared", postgres, outputs)
    assert number not in ended_trials(outputs[workers.index(killed)])
    assert not (tmp_path / "shared" / "study.journal").exists()


def wait_for(condition):
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, f"not so after {PATIENCE:g} s"
        time.sleep(0.2)
