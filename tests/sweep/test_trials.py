"""One trial's process: how its folder is named on its line, and how it is stopped."""

import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from stride.sweep import trials


@pytest.mark.parametrize("path", ["/runs/a-1.b_2", "/my runs/a", "/it's/a=b,c", "/a[1]{2}(3)", "/a\\b", "/schön"])
def test_any_path_is_the_same_on_the_other_side_of_the_line(path):
    word = f"output_root={trials._quoted(Path(path))}"
    assert OverridesParser.create().parse_override(word).value() == path


STUBBORN = """
import pathlib, signal, subprocess, sys, time
here = pathlib.Path(__file__).parent
signal.signal(signal.SIGINT, signal.SIG_IGN)
subprocess.Popen(["bash", "-c", f"sleep 1; touch '{here}/late'"])
(here / "began").touch()
time.sleep(60)
"""
TELLS = """
import os, sys, threading
import numpy
print(sys.argv[1:], os.environ.get("OMP_NUM_THREADS"), os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ["OF_NOW"])
print("STRIDE_RUN_DIR" in os.environ, os.getpgrp() == os.getpid(), sys.stdin.read() == "")
sys.exit(7)
"""


@pytest.fixture(params=["forked", "fresh"])
def start(tmp_path, request):
    """`start(script_text, **how)` starts that as trial 0, in both of the ways there are."""
    processes = trials.Processes(tmp_path / "script.py", fresh=request.param == "fresh", warm=())

    def one(text, **how):
        (tmp_path / "script.py").write_text(text)
        how = {"slot": 0, "threads": None, "gpus": None, "answers": False, **how}
        return processes.start(["seed=1"], trials.Told(0, {}, None), tmp_path, **how)

    yield one
    processes.close()


def test_a_trial_that_will_not_stop_is_killed_with_all_that_it_started(tmp_path, monkeypatch, start):
    monkeypatch.setattr(trials, "PATIENCE", 0.2)
    trial = start(STUBBORN)
    while not (tmp_path / "began").exists():
        time.sleep(0.01)
    trials.stop([trial], signal.SIGINT)
    assert trial.process.exitcode == -signal.SIGKILL
    time.sleep(1)
    assert not (tmp_path / "late").exists()


def test_a_trial_is_told_its_words_its_share_and_the_environment_of_now(tmp_path, monkeypatch, start):
    monkeypatch.setenv("OF_NOW", "yes")
    monkeypatch.setenv("STRIDE_RUN_DIR", "of another run")
    trial = start(TELLS, threads=3, gpus="5")
    trial.process.join()
    assert trial.process.exitcode == 7
    first, second = (tmp_path / "logs" / "0-stdout.log").read_text().splitlines()
    assert first == f"['seed=1', 'name=0', 'output_root={tmp_path}'] 3 5 yes"
    assert second == "False True True"
    assert trial.result().reason == "exit code 7, and nothing on stderr"
    trial.close()


@pytest.mark.slow
def test_the_warm_process_has_all_that_a_trial_imports_and_no_thread_of_its_own():
    """Else each trial pays for it again, and says nothing of it."""
    script = (
        "import sys, threading, stride.warm; before, threads = set(sys.modules), threading.active_count()\n"
        "from stride.cli import main\n"
        "code = main(['debug=one_batch', 'name=one', f'output_root={sys.argv[1]}'])\n"
        "new = {name for name in set(sys.modules) - before if name.split('.')[0] in HEAVY}\n"
        "print(); print(code, threads, sorted(new))"
    ).replace("HEAVY", "('hydra', 'omegaconf', 'antlr4', 'torchmetrics', 'tensorboard', 'matplotlib', 'sklearn')")
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([sys.executable, "-c", script, folder], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "0 1 []", done.stderr
