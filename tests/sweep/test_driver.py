"""The driver's logic, with a stand-in for train.py that only writes a run.json: failure, divergence, Ctrl-C, codes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from stride.errors import ConfigError
from stride.sweep import trials
from stride.sweep.driver import run

# Reaches a loss that is least at lr=0.006; above 0.03 it diverges. `seed` picks what else can happen.
STAND_IN = """
import json, math, os, pathlib, signal, sys, time
words = dict(word.split("=", 1) for word in sys.argv[1:])
folder = pathlib.Path(words["output_root"].strip("'"), words["name"])
lr, seed = float(words.get("optimizer.lr", 0.001)), words.get("seed", "0")
if seed == "1":
    print("Traceback", "RuntimeError: out of memory", "Aborted", sep="\\n", file=sys.stderr); sys.exit(1)
if seed == "2":
    print("error: model: no such thing", "goodbye", sep="\\n", file=sys.stderr); sys.exit(2)
folder.mkdir()
def write(status, score):
    (folder / "run.json").write_text(json.dumps({
        "schema": 1, "status": status, "overrides": sys.argv[1:], "lr": {"asked": lr, "found": None, "used": lr},
        "score": {"name": "val/loss", "mode": "min", "value": score}, "steps": 10, "seconds": {"fit": 0.5}}))
write("running", None)
if seed == "3":
    os.kill(os.getpid(), signal.SIGKILL)
if seed == "4":
    sys.exit(0) if (folder / "run.json").unlink() is None else None
if seed == "5":  # waits for another trial to run beside it
    until = time.time() + float(os.environ["PATIENCE"])
    while len([path for path in folder.parent.glob("[0-9]") if path.is_dir()]) < 2:
        if time.time() > until:
            sys.exit("alone")
        time.sleep(0.01)
    print(os.environ.get("OMP_NUM_THREADS"))
if seed == "6":
    (folder / "waits").touch()
    time.sleep(60)
if lr > 0.03:
    write("diverged", None); sys.exit(4)
write("stopped_early" if seed == "7" else "finished", (math.log10(lr) + 2.2) ** 2)
"""


def config(tmp_path, **sweep):
    return OmegaConf.create(
        {
            "name": None,
            "output_root": str(tmp_path / "runs of a test"),
            "seed": 42,
            "optimizer": {"lr": 0.001},
            "objective": {"score": {"name": "val/loss", "mode": "min"}},
            "sweep": {"sampler": "grid", "trials": None, "jobs": 1, **sweep},
        }
    )


@pytest.fixture
def command(tmp_path, monkeypatch):
    monkeypatch.setattr(trials, "POLL", 0.005)
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    return [sys.executable, "-I", "-S", str(tmp_path / "stand_in.py")]


def rows_of(outcome):
    return {row["name"]: row for row in json.loads((outcome.folder / "sweep.json").read_text())["rows"]}


def test_a_grid_runs_every_combination_once_and_ranks_them(tmp_path, command, capsys):
    outcome = run(["optimizer.lr=1e-3,1e-2", "optimizer=adam,sgd", "seed=0"], config(tmp_path), command=command)
    assert outcome.exit_code == 0
    report = json.loads((outcome.folder / "sweep.json").read_text())
    ran = [(row["name"], row["words"]["optimizer.lr"], row["words"]["optimizer"]) for row in report["rows"]]
    assert ran == [("2", "0.01", "adam"), ("3", "0.01", "sgd"), ("0", "0.001", "adam"), ("1", "0.001", "sgd")]
    assert (report["status"], report["best"]) == ("finished", "2")
    there = {path.name for path in outcome.folder.iterdir()}
    assert there == {"0", "1", "2", "3", "logs", "study.journal", "sweep.md", "sweep.csv", "sweep.json"}
    shown = capsys.readouterr().out
    assert "to run: python train.py seed=0 optimizer.lr=0.01 optimizer=adam" in shown
    assert "the best optimizer.lr=0.01 lies at the upper edge of 0.001,0.01; a better one may lie above" in shown
    told = json.loads((outcome.folder / "0" / "run.json").read_text())["overrides"]
    assert told[:3] == ["seed=0", "optimizer.lr=0.001", "optimizer=adam"]


def test_a_failed_trial_is_recorded_with_its_reason_and_the_others_go_on(tmp_path, command, capsys):
    outcome = run(["seed=1,2,3,4,7"], config(tmp_path), command=command)
    assert outcome.exit_code == 1
    rows = rows_of(outcome)
    assert {name: (row["status"], row["reason"]) for name, row in rows.items()} == {
        "0": ("failed", "Aborted"),
        "1": ("failed", "error: model: no such thing"),
        "2": ("failed", "killed by SIGKILL"),
        "3": ("failed", "exit code 0, but no run.json"),
        "4": ("stopped_early", ""),
    }
    assert json.loads((outcome.folder / "2" / "run.json").read_text())["status"] == "failed"
    assert "1: failed: error: model: no such thing" in capsys.readouterr().out
    assert "- 2: failed: killed by SIGKILL" in (outcome.folder / "sweep.md").read_text()


@pytest.mark.parametrize(("mode", "ranking"), [("min", ["2", "0", "1"]), ("max", ["0", "2", "1"])])
def test_a_diverged_trial_is_a_result_the_last_in_the_ranking_and_no_edge(tmp_path, command, capsys, mode, ranking):
    cfg = config(tmp_path)
    cfg.objective.score.mode = mode
    outcome = run(["optimizer.lr=1e-3,1e-1,1e-2"], cfg, command=command)
    assert outcome.exit_code == 0
    assert list(rows_of(outcome)) == ranking
    assert rows_of(outcome)["1"]["status"] == "diverged"
    assert "upper edge" not in capsys.readouterr().out


@pytest.mark.parametrize("mode", ["min", "max"])
def test_where_trials_diverge_is_searched_less(tmp_path, command, mode):
    """Told as failures they would teach TPE nothing, and most of what it chooses here would diverge."""
    cfg = config(tmp_path, sampler="tpe", trials=20, startup=5)
    cfg.objective.score.mode = mode
    outcome = run(["optimizer.lr=tag(log,interval(1e-3,1))"], cfg, command=command)  # a half of it diverges
    chosen = [row for name, row in rows_of(outcome).items() if int(name) >= 8]
    assert sum(row["status"] == "diverged" for row in chosen) <= 4


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_search_draws_from_its_interval_and_the_seed_repeats_it(tmp_path, command, sampler):
    def drawn(name, seed):
        cfg = config(tmp_path, sampler=sampler, trials=4, startup=2)
        cfg.name, cfg.seed = name, seed
        outcome = run(["optimizer.lr=tag(log,interval(1e-4,1e-2))"], cfg, command=command)
        return sorted(float(row["words"]["optimizer.lr"]) for row in rows_of(outcome).values())

    first = drawn("a", 1)
    assert len(set(first)) == 4
    assert all(1e-4 <= lr <= 1e-2 for lr in first)
    assert drawn("b", 1) == first
    assert drawn("c", 2) != first


def test_two_jobs_run_at_once_and_share_the_cores(tmp_path, command, monkeypatch):
    monkeypatch.setenv("PATIENCE", "20")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    outcome = run(["seed=5", "optimizer.lr=1e-3,1e-2"], config(tmp_path, jobs=2), command=command)
    assert outcome.exit_code == 0
    said = [(outcome.folder / "logs" / f"{trial}-stdout.log").read_text().strip() for trial in range(2)]
    assert said == [str(max(1, (os.cpu_count() or 1) // 2))] * 2


def test_one_job_runs_alone(tmp_path, command, monkeypatch):
    monkeypatch.setenv("PATIENCE", "0.2")
    outcome = run(["seed=5", "optimizer.lr=1e-3,1e-2"], config(tmp_path), command=command)
    assert rows_of(outcome)["0"]["reason"] == "alone"


def test_a_finished_sweep_run_again_prints_its_report_and_runs_nothing(tmp_path, command, capsys):
    first = run(["seed=1,7"], config(tmp_path), command=command)
    before = {path: path.stat().st_mtime_ns for path in first.folder.rglob("run.json")}
    capsys.readouterr()
    again = run(["seed=1,7"], config(tmp_path), command=["false"])
    assert (first.exit_code, again.exit_code) == (1, 0)
    assert again.folder == first.folder
    assert {path: path.stat().st_mtime_ns for path in first.folder.rglob("run.json")} == before
    shown = capsys.readouterr().out
    assert "best:   trial 1" in shown
    assert f"name={first.folder.name}-2" in shown


def test_a_folder_that_holds_something_else_is_refused(tmp_path, command):
    cfg = config(tmp_path)
    cfg.name = "mine"
    run(["seed=7,8"], cfg, command=command)
    with pytest.raises(ConfigError, match=r"error: name: .*holds a sweep of another line; try: name=mine-2"):
        run(["seed=7,9"], cfg, command=command)
    cfg.name = "run"
    (Path(cfg.output_root) / "run").mkdir()
    with pytest.raises(ConfigError, match=r"two runs never share a folder; try: name=run-2"):
        run(["seed=7,8"], cfg, command=command)
    (Path(cfg.output_root) / "a file").touch()
    cfg.output_root = str(Path(cfg.output_root) / "a file")
    with pytest.raises(ConfigError, match=r"error: output_root: .*Not a directory"):
        run(["seed=7,8"], cfg, command=command)


INTERRUPTED = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # what is begun in the background may be deaf to it
from omegaconf import OmegaConf
from stride.sweep.driver import run
outcome = run(["seed=7,6,8"], OmegaConf.load(sys.argv[1]), command=sys.argv[2:])
print(sorted({"torch", "pytorch_lightning", "matplotlib", "sklearn"} & set(sys.modules)))
sys.exit(outcome.exit_code)
"""


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_stops_the_trials_writes_the_report_and_the_rest_is_refused(tmp_path, command, sent, code):
    cfg = config(tmp_path)
    OmegaConf.save(cfg, tmp_path / "config.yaml")
    script = [sys.executable, "-c", INTERRUPTED, str(tmp_path / "config.yaml"), *command]
    with subprocess.Popen(script, stdout=subprocess.PIPE, text=True) as driver:
        while driver.poll() is None and not list(tmp_path.glob("runs*/*/1/waits")):
            time.sleep(0.01)
        driver.send_signal(sent)
        shown, _ = driver.communicate()
    assert driver.returncode == code
    assert shown.splitlines()[-1] == "[]"  # the driver never imports torch
    assert "interrupted, 2 of 3 trials" in shown
    folder = next(tmp_path.glob("runs*/*"))
    report = json.loads((folder / "sweep.json").read_text())
    assert report["status"] == "interrupted"
    assert [(row["name"], row["status"]) for row in report["rows"]] == [("0", "stopped_early"), ("1", "interrupted")]
    assert json.loads((folder / "1" / "run.json").read_text())["status"] == "interrupted"
    assert not living(folder)
    with pytest.raises(ConfigError, match=rf"this sweep with 1 of 3 trials.*; try: name={folder.name}-2"):
        run(["seed=7,6,8"], cfg, command=command)


def living(folder):
    found = subprocess.run(["pgrep", "-f", f"output_root='?{folder}"], capture_output=True, text=True)
    return found.stdout
