"""The script of docs/clusters.md on a real SLURM: whatever ends its job, the run goes on in its folder, bit for bit.

Each start imports torch, for seconds, and so long does a requeued job wait, too.
"""

import json
import os
import re
import shlex
import signal
import sys
import time

import pytest
from real_runs import PLACES, SMALL, TRAIN, sha_of

from stride import checkpoint_file

pytestmark = pytest.mark.slurm

PAGE = (TRAIN.parent / "docs" / "clusters.md").read_text(encoding="utf-8")
SCRIPT = re.search(r"^```bash\n(#!.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)[1]
ITS_LINE = "python train.py name=my_run"
LINE = [*SMALL, "model._target_=pausing.Net", "trainer.accelerator=cpu"]
TWO = ["trainer=ddp", "trainer.devices=2", "datamodule.batch_size=8"]
ENVIRONMENT = {"STRIDE_ALLOW_TARGETS": "pausing", "PYTHONPATH": PLACES}
PAUSE = 14  # of 24 steps, where the run waits to be disturbed; from its last checkpoint on there are fewer
PATIENCE = 120.0  # seconds; an idle machine needs a third of it


class Job:
    """The page's script, with LINE and some words in its line, as a job below a folder."""

    def __init__(self, slurm, folder, *options, words=(), **environment):
        self.slurm, self.root, self.meet = slurm, folder / "runs", folder
        self.folder, self.out, self.err = self.root / "my_run", folder / "job.out", folder / "0.err"
        assert SCRIPT.count(ITS_LINE) == 1
        line = [sys.executable, str(TRAIN), *LINE, *words, "name=my_run", f"output_root={self.root}"]
        script = folder / "job.sh"
        script.write_text(SCRIPT.replace(ITS_LINE, shlex.join(line)))
        # What a task writes into a file of its own does not pass through srun, which may be gone before it.
        told = {**ENVIRONMENT, "MEET": str(folder), "SLURM_STDERRMODE": str(folder / "%t.err"), **environment}
        exported = ",".join(["ALL", *(f"{name}={value}" for name, value in told.items())])
        where = [f"--chdir={folder}", f"--output={self.out}"]  # there a slurmstepd that crashes leaves its core, too
        self._sbatch = ["sbatch", "--parsable", *where, f"--export={exported}", *options, str(script)]
        self.out.write_text("what is there\n")
        self.submit()

    def submit(self):
        self.number = self.slurm(*self._sbatch).strip()

    def comes_to_its_pause(self):
        """Returns the number of the process that waits."""
        there = self.meet / "0.there"
        self.wait_for(there.exists)
        number = int(there.read_text())
        there.unlink()
        return number

    def ends_its_step_when_told_of(self, name):
        self.wait_for(lambda: self.err.exists() and f"{name}: the run saves" in self.err.read_text())
        (self.meet / "go").touch()
        self.wait_for(lambda: self.record()["status"] == "interrupted")

    def ends_as(self, state, *, code=0, restarts):
        self.wait_for(lambda: not self.slurm("squeue", "--noheader", f"--jobs={self.number}"))
        shown = self.slurm("scontrol", "show", "job", self.number)
        ended = [re.search(rf"\b{name}=(\S+)", shown)[1] for name in ("JobState", "ExitCode", "Restarts")]
        assert ended == [state, f"{code}:0", str(restarts)], self.told()
        assert self.out.read_text().startswith("what is there\n")

    def wait_for(self, condition):
        until = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < until, self.told()
            time.sleep(0.2)

    def record(self):
        (only,) = self.root.rglob("run.json")
        assert only.parent == self.folder
        return json.loads(only.read_text())

    def saved(self):
        return checkpoint_file.verify(self.folder / "checkpoints" / "last.ckpt")

    def told(self):
        return "\n".join(path.read_text() for path in (self.out, self.err) if path.exists())


@pytest.fixture(scope="module")
def whole(runs):
    """`whole(word, ...)` is the SHA-256 of the run of LINE and these words that nothing happens to, without SLURM."""
    return lambda *words: sha_of(runs.undisturbed(*LINE, *words, environment=ENVIRONMENT))


def requeue(job):
    job.slurm("scontrol", "requeue", job.number)


def preempt(job):
    job.slurm("sbatch", "--partition=urgent", "--exclusive", "--output=/dev/null", "--wrap", "true")


@pytest.mark.parametrize(
    ("options", "disturb", "name"),
    [
        (["--time=1", "--signal=USR1@1"], None, "SIGUSR1"),  # at half a minute, when SLURM looks next
        ([], preempt, "SIGTERM"),
        ([], requeue, "SIGTERM"),
    ],
    ids=["its time limit", "preemption", "requeue"],
)
def test_a_job_that_has_to_stop_goes_on_by_itself(slurm, whole, tmp_path, options, disturb, name):
    job = Job(slurm, tmp_path, *options, PAUSE=f"step {PAUSE}")
    job.comes_to_its_pause()
    if disturb:
        disturb(job)
    job.ends_its_step_when_told_of(name)
    assert job.saved() == PAUSE
    job.ends_as("COMPLETED", restarts=1)
    assert job.record()["status"] == "finished"
    assert not (tmp_path / "0.there").exists()  # as it would from its first step on
    assert sha_of(job.folder) == whole()


def test_a_job_whose_run_is_killed_goes_on_when_it_is_submitted_once_more(slurm, whole, tmp_path):
    job = Job(slurm, tmp_path, PAUSE=f"step {PAUSE}")
    os.kill(job.comes_to_its_pause(), signal.SIGKILL)
    job.ends_as("FAILED", code=128 + signal.SIGKILL, restarts=0)
    assert (job.record()["status"], job.saved()) == ("running", 12)
    job.submit()
    job.ends_as("COMPLETED", restarts=0)
    assert job.record()["status"] == "finished"
    assert not (tmp_path / "0.there").exists()
    assert sha_of(job.folder) == whole()


def test_the_two_tasks_of_a_job_stop_and_go_on_together(slurm, whole, tmp_path):
    job = Job(slurm, tmp_path, "--ntasks-per-node=2", words=TWO, LAG="0.2")
    job.wait_for((job.folder / "lr_trace.csv").exists)
    slurm("scancel", "--signal=USR1", job.number)  # what the time limit sends, to all tasks
    job.ends_its_step_when_told_of("SIGUSR1")
    assert 0 < job.saved() < 24
    expected = whole(*TWO)  # while SLURM lets the job wait
    job.ends_as("COMPLETED", restarts=1)
    assert job.record()["status"] == "finished"
    assert sha_of(job.folder) == expected
