"""Trials that train: however they are started, and whatever befalls them, they end as the same run by itself."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TINY = ("model=mlp", "logger=none", "trainer.limit_train_batches=6", "test=false")

pytestmark = pytest.mark.slow


def weights(run):
    import torch

    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def equal(one, other):
    import torch

    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def command(*words):
    return [sys.executable, str(ROOT / "train.py"), *words]


def rows_of(folder):
    return {row["name"]: row for row in json.loads((folder / "sweep.json").read_text())["rows"]}


def test_a_forked_trial_a_fresh_one_and_the_run_by_itself_end_with_equal_weights(train, tmp_path):
    """The one by itself is started by the very line that the report prints."""
    for start in ("fork", "fresh"):
        done = train(
            "-m",
            *TINY,
            "trainer.max_epochs=3",
            "optimizer.lr=1e-3,1e-2",
            f"sweep.start={start}",
            f"name={start}",
            "sweep.jobs=2",
        )
        assert done.returncode == 0, done.stdout + done.stderr
    runs = tmp_path / "runs"
    line = json.loads((runs / "fork" / "sweep.json").read_text())["best_line"].split()
    alone = train(*line[2:], "name=alone")
    assert alone.returncode == 0, alone.stderr
    best = json.loads((runs / "fork" / "sweep.json").read_text())["best"]
    for other in (runs / "fresh" / best, runs / "alone"):
        assert equal(weights(runs / "fork" / best), weights(other))
        assert (runs / "fork" / best / "lr_trace.csv").read_bytes() == (other / "lr_trace.csv").read_bytes()
    assert not equal(weights(runs / "fork" / "0"), weights(runs / "fork" / "1"))


def test_a_trial_that_was_cut_short_goes_on_from_its_checkpoint_to_the_same_weights(tmp_path):
    """Killed with its driver after the first epoch's checkpoint; the line again ends as one that was not."""
    words = ("-m", *TINY, "trainer.max_epochs=60", "optimizer.lr=1e-3,1e-2")
    whole = subprocess.run(command(*words, "name=whole", f"output_root={tmp_path}"), capture_output=True, text=True)
    assert whole.returncode == 0, whole.stderr
    line = command(*words, "name=cut", f"output_root={tmp_path}")
    driver = subprocess.Popen(line, stdout=subprocess.DEVNULL)
    folder = tmp_path / "cut"
    while not (folder / "1" / "checkpoints" / "last.ckpt").exists():
        assert driver.poll() is None
        time.sleep(0.01)
    driver.kill()
    driver.wait()
    before = json.loads((folder / "1" / "run.json").read_text())
    assert before["status"] == "running"
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for number in "01":
        assert equal(weights(folder / number), weights(tmp_path / "whole" / number))
        assert (folder / number / "lr_trace.csv").read_text() == (
            tmp_path / "whole" / number / "lr_trace.csv"
        ).read_text()
    assert rows_of(folder)["1"]["score"] == rows_of(tmp_path / "whole")["1"]["score"]


LOADER = """
import torch
from torch.utils.data import DataLoader, TensorDataset
import pytorch_lightning as pl

class Data(pl.LightningDataModule):
    spec = {"features": 4, "classes": 2}
    def __init__(self, *, batch_size, workers):
        super().__init__()
        self.batch_size, self.workers = batch_size, workers
    def loader(self):
        x = torch.arange(128.0).reshape(32, 4) / 128
        return DataLoader(TensorDataset(x, (x[:, 0] > 0.5).long()), self.batch_size, num_workers=self.workers)
    train_dataloader = val_dataloader = test_dataloader = loader
"""


def test_a_forked_trial_may_start_loader_workers(copy_of_project, command_in):
    project = copy_of_project(
        {
            "src/mine/__init__.py": "",
            "src/mine/data.py": LOADER,
            "conf/datamodule/mine.yaml": "# Mine.   python train.py datamodule=mine\n_target_: mine.data.Data\n"
            "_partial_: true\nbatch_size: 8\nworkers: 2\n",
        }
    )
    words = (
        "datamodule=mine",
        "model=mlp",
        "logger=none",
        "trainer.max_epochs=1",
        "optimizer.lr=1e-3,1e-2",
        "name=one",
    )
    done = command_in(project, "train.py", "-m", *words)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_trial_on_two_processes_is_pruned_by_both_of_them(tmp_path):
    """The first of them alone hears of it from the sweep."""
    words = ("-m", *TINY, "trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu", "trainer.max_epochs=4")
    search = ("optimizer.lr=1e-2,2e-2,1e-6", "sweep.pruner=median", "sweep.startup=2", "sweep.grace=1", "name=two")
    done = subprocess.run(
        command(*words, *search, f"output_root={tmp_path}"), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    statuses = {name: row["status"] for name, row in rows_of(tmp_path / "two").items()}
    assert statuses == {"0": "finished", "1": "finished", "2": "pruned"}
    told = json.loads((tmp_path / "two" / "2" / "run.json").read_text())
    assert (told["device"], told["epochs"]) == ("2 x cpu", 2)


def test_a_trial_that_diverges_on_two_processes_is_worth_its_untrained_network(tmp_path):
    words = (
        "-m",
        *TINY,
        "trainer=ddp",
        "trainer.devices=2",
        "trainer.accelerator=cpu",
        "optimizer=sgd",
        "trainer.max_epochs=2",
    )
    line = command(*words, "optimizer.lr=1e30,1e-2", "name=two", f"output_root={tmp_path}")
    done = subprocess.run(line, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    journal = (tmp_path / "two" / "study.journal").read_text().splitlines()
    values = [value for line in journal for value in json.loads(line).get("values") or ()]
    assert 2.2 < max(values) < 2.8  # about log(10), and no infinity


UNGUARDED = """
import stride
tiny = ["model=mlp", "logger=none", "debug=one_batch"]
outcome = stride.sweep([*tiny, "optimizer.lr=1e-3,1e-2", "name=one", {root!r}])
print("ONCE", outcome.exit_code, outcome.report.best.name, outcome.report.best_line)
"""


def test_a_sweep_from_a_script_without_a_main_guard_runs_that_script_once(tmp_path):
    (tmp_path / "mine.py").write_text(UNGUARDED.format(root=f"output_root={tmp_path}"))
    done = subprocess.run([sys.executable, "mine.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("ONCE 0") == 1
    assert "python train.py model=mlp" in done.stdout.splitlines()[-1]


def test_ctrl_c_in_a_terminal_ends_a_real_sweep_with_a_report_and_no_process_left(tmp_path):
    words = ("-m", *TINY, "trainer.max_epochs=2000", "optimizer.lr=1e-3,1e-2", "sweep.jobs=2", "name=long")
    line = command(*words, f"output_root={tmp_path}")
    driver = subprocess.Popen(line, stdout=subprocess.PIPE, text=True, start_new_session=True)
    while len(list(tmp_path.glob("long/*/checkpoints/last.ckpt"))) < 2:
        assert driver.poll() is None
        time.sleep(0.05)
    os.killpg(driver.pid, signal.SIGINT)  # as the terminal does: all of the foreground group
    shown, _ = driver.communicate(timeout=60)
    assert driver.returncode == 130
    assert "interrupted, 0 of 2 trials" in shown
    assert {row["status"] for row in rows_of(tmp_path / "long").values()} == {"interrupted"}
    left = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(tmp_path).encode() in (process / "cmdline").read_bytes() or str(tmp_path) in str(
                (process / "fd" / "1").readlink()
            ):
                left.append(process.name)
    assert left == []
