"""A run that is sent a signal, or whose time runs out, saves and says so; the same line goes on to the same weights.

Real processes of `python train.py`. Those that are not forked from a warm one take seconds to import torch.
"""

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from real_runs import PLACES, SMALL, TRAIN, sha_of

from stride import checkpoint_file

SLOW = pytest.mark.slow
SECONDS = 20  # until all processes of a run have ended, on a busy machine
CODES = {"SIGTERM": 143, "SIGINT": 130, "SIGUSR1": 75}
LINE = [*SMALL, "model._target_=pausing.Net"]
ALLOWED = {"STRIDE_ALLOW_TARGETS": "own_loader,pausing"}
PIPES = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
WORKERS = ["datamodule._target_=own_loader.Wine", "+datamodule.num_workers=2"]


@pytest.fixture(scope="module")
def whole(runs):
    """`whole(word, ...)` is the SHA-256 of the run of LINE and these words that nothing happens to."""
    return lambda *words: sha_of(runs.undisturbed(*LINE, *words, environment=ALLOWED))


class Run:
    """LINE and some words, to be sent signals while its network waits."""

    def __init__(self, runs, folder, *words):
        self.runs, self.meet = runs, folder
        self.folder = runs.folder / folder.name
        self.line = [*LINE, *words, f"name={folder.name}"]

    def disturbed(self, pause, disturb, **environment):
        """How it ended after `disturb(process number)`, done while it waited in the forward pass `pause`."""
        told = {**ALLOWED, "PAUSE": pause, "MEET": str(self.meet), **environment}
        with ThreadPoolExecutor() as pool:
            ended = pool.submit(self.runs, self.line, environment=told)
            try:
                disturb(the_process(self.meet, ended.done))
            finally:
                (self.meet / "go").touch()
            return ended.result()

    def again(self, *words):
        return self.runs([*self.line, *words], environment=ALLOWED)

    def record(self):
        return json.loads((self.folder / "run.json").read_text())

    def saved(self):
        """The step of last.ckpt, which is whole; None where there is none."""
        last = self.folder / "checkpoints" / "last.ckpt"
        return checkpoint_file.verify(last) if last.exists() else None


@pytest.fixture
def run(runs, tmp_path):
    return lambda *words: Run(runs, tmp_path, *words)


def the_process(meet, is_over, rank=0):
    until = time.monotonic() + 60
    while not (meet / f"{rank}.there").exists():
        assert not is_over() and time.monotonic() < until
        time.sleep(0.01)
    return int((meet / f"{rank}.there").read_text())


def sends(name, to=os.kill):
    def send(process):
        to(process, getattr(signal, name))
        time.sleep(0.1)

    return send


def sends_twice(name, *, after, gone_within):
    """Two signals, `after` so many seconds from one to the other; the process waits on, and ends none the less."""

    def send(process):
        for pause in (after, 0):
            os.kill(process, getattr(signal, name))
            time.sleep(pause)
        until = time.monotonic() + gone_within
        while Path("/proc", str(process)).exists():
            assert time.monotonic() < until
            time.sleep(0.01)

    return send


def children_of(runs):
    """The process numbers of the runs that are under way."""
    server = str(runs._server.pid)
    children = Path("/proc", server, "task", server, "children")
    return [int(number) for number in children.read_text().split()]


def line_that_goes_on(shown):
    (line,) = re.findall(r"^to go on: python train\.py (.*)$", shown, re.MULTILINE)
    return shlex.split(line)


@pytest.mark.parametrize("name", CODES)
def test_a_signal_saves_at_the_end_of_the_step_and_the_line_that_is_shown_goes_on(runs, whole, run, name):
    cut = run()
    ended = cut.disturbed("step 11", sends(name))
    assert (ended.code, cut.record()["status"], cut.saved()) == (CODES[name], "interrupted", 11)
    assert ended.err == f"\n{name}: the run saves at the end of this step and stops; once more: at once\n"
    assert f"interrupted by {name} at step 11 " in ended.out
    assert len(ended.out.splitlines()) < 20
    assert line_that_goes_on(ended.out) == [*cut.line, f"output_root={runs.folder}"]
    assert runs(line_that_goes_on(ended.out), environment=ALLOWED).code == 0
    assert sha_of(cut.folder) == whole()


@SLOW
def test_a_signal_in_a_validation_saves_and_the_validation_begins_anew(whole, run):
    words = ["datamodule.eval_batch_size=8"]
    cut = run(*words)
    assert cut.disturbed("eval 6", sends("SIGTERM")).code == 143  # the second of four batches, after step 8
    assert (cut.record()["status"], cut.saved()) == ("interrupted", 8)
    assert cut.again().code == 0
    assert sha_of(cut.folder) == whole(*words)


def test_a_run_that_is_stopped_in_its_test_only_tests(whole, run):
    cut = run()
    ended = cut.disturbed("eval 7", sends("SIGTERM"))  # after six validations
    assert (ended.code, cut.record()["status"], cut.record()["scores"]) == (143, "interrupted", {})
    assert "\ninterrupted by SIGTERM\nto go on: " in ended.out
    checkpoints = [path.stat().st_mtime_ns for path in (cut.folder / "checkpoints").iterdir()]
    assert cut.again().code == 0
    assert cut.record()["scores"]["test/loss"] > 0
    assert [path.stat().st_mtime_ns for path in (cut.folder / "checkpoints").iterdir()] == checkpoints
    assert sha_of(cut.folder) == whole()


def test_a_run_that_is_stopped_while_it_finds_its_rate_finds_it_anew(whole, run):
    words = ["lr_finder=on"]
    cut = run(*words)
    ended = cut.disturbed("step 60", sends("SIGUSR1"))
    assert (ended.code, cut.record()["status"], cut.saved()) == (75, "interrupted", None)
    assert not ended.err
    assert cut.again().code == 0
    assert cut.record()["lr"]["found"] == cut.record()["lr"]["used"]
    assert sha_of(cut.folder) == whole(*words)


@pytest.mark.parametrize(
    ("pause", "how", "seconds"),
    [
        ("step 11", "python", 1.5),
        pytest.param("eval 3", "python", 1.5, marks=SLOW),
        pytest.param("step 11", "native", 4, marks=SLOW),
    ],
)
def test_a_second_signal_ends_it_at_once_and_damages_nothing(whole, run, pause, how, seconds):
    cut = run()
    ended = cut.disturbed(pause, sends_twice("SIGINT", after=1.1, gone_within=seconds), HOW=how)
    assert ended.code == 130
    assert "Traceback" not in ended.out + ended.err
    assert cut.saved() < 11
    assert [checkpoint_file.verify(path) for path in (cut.folder / "checkpoints").glob("*.ckpt")]
    assert cut.again().code == 0
    assert sha_of(cut.folder) == whole()


def test_what_a_launcher_passes_on_once_more_is_no_second_signal(run):
    """As `uv run` and torchrun do of what was sent to their whole group."""
    cut = run()
    echo = lambda process: [sends("SIGTERM")(process) for _ in range(3)]  # noqa: E731
    assert cut.disturbed("step 11", echo).code == 143
    assert cut.saved() == 11


@pytest.mark.parametrize("name", ["SIGTERM", pytest.param("SIGINT", marks=SLOW)])
def test_a_signal_to_the_whole_group_leaves_its_loader_workers_to_the_run(whole, run, name):
    cut = run(*WORKERS)
    assert cut.disturbed("step 11", sends(name, to=os.killpg), GROUP="1").code == CODES[name]
    assert (cut.record()["status"], cut.saved()) == ("interrupted", 11)
    assert cut.again().code == 0
    assert sha_of(cut.folder) == whole(*WORKERS)


def test_a_run_whose_time_is_running_out_saves_and_asks_to_be_requeued(runs, whole, run):
    cut = run()
    began = time.monotonic()
    line = [*cut.line, "time_limit='6 seconds'"]
    ended = runs(line, environment={**ALLOWED, "LAG": "0.3"})  # which would take longer
    assert time.monotonic() - began < 6
    assert (ended.code, cut.record()["status"]) == (75, "interrupted")
    assert 0 < cut.saved() < 24
    assert "interrupted by time_limit at step " in ended.out
    assert cut.again("time_limit='2 hours'").code == 0
    assert sha_of(cut.folder) == whole()


@SLOW
def test_the_time_can_run_out_before_training_too(run):
    cut = run("lr_finder=on", "time_limit='2 seconds'")
    began = time.monotonic()
    ended = cut.disturbed("step 60", lambda process: time.sleep(1.5))
    assert time.monotonic() - began < 6
    assert (ended.code, cut.record()["status"]) == (75, "interrupted")


@SLOW
def test_a_cross_validation_goes_on_in_the_fold_that_was_stopped(runs, run):
    folds = ["cv.folds=3", "test=false", "logger=none"]
    cut, other = run(*folds), "whole-folds"
    ended = cut.disturbed("step 30", sends("SIGTERM"))
    assert (ended.code, cut.record()["status"]) == (143, "interrupted")
    assert [fold["status"] for fold in cut.record()["folds"]["each"]] == ["finished", "interrupted"]
    assert json.loads((cut.folder / "fold-1" / "run.json").read_text())["status"] == "interrupted"
    assert ended.out.count("to go on: ") == 1
    assert runs(line_that_goes_on(ended.out), environment=ALLOWED).code == 0
    assert runs([*LINE, *folds, f"name={other}"], environment=ALLOWED).code == 0
    for fold in ("fold-0", "fold-1", "fold-2"):
        assert sha_of(cut.folder / fold, tables=()) == sha_of(runs.folder / other / fold, tables=())


# From the moment that there is a folder; torch is imported for seconds then.
@pytest.mark.parametrize("seconds", [0.5, *(pytest.param(each, marks=SLOW) for each in (0, 0.2, 1, 2, 3))])
def test_a_run_that_is_stopped_before_it_trains_ends_and_begins_anew(runs, whole, run, seconds):
    cut = run()
    name = list(CODES)[int(seconds * 10) % 3]
    line = [sys.executable, str(TRAIN), *cut.line, f"output_root={runs.folder}"]
    with subprocess.Popen(line, env={**os.environ, **ALLOWED, "PYTHONPATH": PLACES}, **PIPES) as process:
        while not cut.folder.exists():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.001)
        time.sleep(seconds)
        process.send_signal(getattr(signal, name))
        out, err = process.communicate()
    assert (process.returncode, cut.record()["status"], err) == (CODES[name], "interrupted", "")
    assert f"interrupted by {name}" in out
    assert cut.again().code == 0
    assert sha_of(cut.folder) == whole()


@SLOW
def test_ctrl_c_reaches_a_run_that_a_script_has_begun_in_the_background(runs, whole, run):
    """A shell that is no terminal's begins those with SIGINT ignored."""
    cut = run()
    line = shlex.join([sys.executable, str(TRAIN), *cut.line, f"output_root={runs.folder}"])
    environment = {
        **os.environ,
        **ALLOWED,
        "PYTHONPATH": PLACES,
        "PAUSE": "step 11",
        "MEET": str(cut.meet),
    }
    shell = subprocess.Popen(["sh", "-c", f"{line} & wait $!"], env=environment, **PIPES)
    os.kill(the_process(cut.meet, lambda: shell.poll() is not None), signal.SIGINT)
    time.sleep(0.1)
    (cut.meet / "go").touch()
    shell.communicate()
    assert (shell.returncode, cut.record()["status"], cut.saved()) == (130, "interrupted", 11)
    assert cut.again().code == 0
    assert sha_of(cut.folder) == whole()


def test_lightning_by_itself_ends_without_an_error_and_has_saved_nothing(runs, tmp_path):
    sign = tmp_path / "go"
    with ThreadPoolExecutor() as pool:
        ended = pool.submit(runs.plain, str(tmp_path / "plain"), fault=("waits_at", [1, str(sign)]))
        while not sign.with_suffix(".waits").exists():
            assert not ended.done()
            time.sleep(0.01)
        (process,) = children_of(runs)
        os.kill(process, signal.SIGTERM)
        time.sleep(0.1)
        sign.touch()
    assert ended.result().code == 0
    assert not list(tmp_path.rglob("*.ckpt"))


TWO = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
TWO += ["datamodule.batch_size=4", "trainer.accumulate_grad_batches=2"]  # an epoch is 8 steps of 2 batches
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


class RunOfTwo:
    """LINE on two processes."""

    def __init__(self, folder, *words, launcher=()):
        self.meet, self.folder = folder, folder / "runs" / "two"
        line = [*LINE, *TWO, *words, "name=two", f"output_root={folder}/runs"]
        self.command = [sys.executable, *launcher, str(TRAIN), *line]

    def started(self, **environment):
        told = {**os.environ, **ALLOWED, "PYTHONPATH": PLACES, "COLUMNS": "100", "MEET": str(self.meet)}
        return subprocess.Popen(self.command, env=told | environment, start_new_session=True, **PIPES)

    def disturbed(self, pause, disturb, *, ranks="01", **environment):
        """Its exit code and what was shown after `disturb(all that was started, processes by rank)`; none is left."""
        with self.started(PAUSE=pause, RANKS=ranks, **environment) as leader:
            try:
                disturb(leader.pid, [the_process(self.meet, lambda: leader.poll() is not None, rank) for rank in ranks])
                (self.meet / "go").touch()
                shown = leader.communicate(timeout=SECONDS)
                until = time.monotonic() + SECONDS
                while processes_of(leader.pid):
                    assert time.monotonic() < until
                    time.sleep(0.1)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(leader.pid, signal.SIGKILL)
        return leader.returncode, "".join(shown)

    def again(self):
        with self.started() as leader:
            return leader.communicate(timeout=60) and leader.returncode

    def status(self):
        return json.loads((self.folder / "run.json").read_text())["status"]

    def sha(self):
        return sha_of(self.folder)


def processes_of(group):
    found = subprocess.run(["pgrep", "--pgroup", str(group)], capture_output=True, text=True)
    return found.stdout.split()


@pytest.fixture(scope="module")
def sha_of_two(tmp_path_factory):
    """What two processes come to that nothing happens to."""
    run = RunOfTwo(tmp_path_factory.mktemp("two"))
    assert run.again() == 0
    return run.sha()


def to_rank(rank, name="SIGTERM"):
    return lambda _, processes: os.kill(processes[rank], getattr(signal, name))


def to_all(leader, _):
    os.killpg(leader, signal.SIGTERM)


@SLOW
@pytest.mark.parametrize(
    ("launcher", "to", "code"),
    [((), to_rank(0, "SIGUSR1"), 75), ((), to_all, 143), (TORCHRUN, to_all, 1)],  # its exit code is always 1
    ids=["the first", "both", "both under torchrun"],
)
def test_two_processes_save_together_whichever_is_signalled(tmp_path, sha_of_two, launcher, to, code):
    cut = RunOfTwo(tmp_path, launcher=launcher)
    got, shown = cut.disturbed("step 22", to, WATCHED="1")  # in the second batch of step 11
    last = cut.folder / "checkpoints" / "last.ckpt"
    assert (got, cut.status(), checkpoint_file.verify(last)) == (code, "interrupted", 11), shown
    assert [shown.count(once) for once in ("once more: at once", "why it ended", "to go on")] == [1, 1, 1]
    assert launcher or "Traceback" not in shown
    assert cut.again() == 0
    assert cut.sha() == sha_of_two


@SLOW
@pytest.mark.parametrize(
    ("launcher", "to", "ranks", "pause", "words"),
    [
        ((), to_all, "0", "step 60", ["lr_finder=on"]),  # while the other one waits for its gradients
        ((), to_rank(1), "01", "eval 7", []),
        (TORCHRUN, to_rank(0), "01", "eval 7", []),
    ],
    ids=["both in the tune stage", "the second in the test", "the first in the test under torchrun"],
)
def test_two_processes_end_at_once_where_there_is_nothing_to_save(tmp_path, launcher, to, ranks, pause, words):
    """Not one of them waits for the other, which is at something else."""
    cut = RunOfTwo(tmp_path, *words, launcher=launcher)
    code, shown = cut.disturbed(pause, to, ranks=ranks)
    assert (code, cut.status()) == (1 if launcher else 143, "interrupted"), shown
    assert launcher or "Traceback" not in shown
