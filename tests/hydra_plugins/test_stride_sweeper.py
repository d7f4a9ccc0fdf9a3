"""`python train.py -m`, from the words typed to the report, through Hydra."""

import json
import subprocess
import sys

import pytest

from stride.cli import main, sweep_line

TINY = ("debug=one_batch", "logger=none", "model=mlp")


def rows_of(folder):
    return json.loads((folder / "sweep.json").read_text())["rows"]


def test_a_sweep_trains_each_combination_in_a_folder_of_its_own_and_leaves_nothing_else(train, tmp_path, capsys):
    # momentum is no key of the default optimizer, only of the two that are swept
    words = ["-m", *TINY, "optimizer=sgd,sgd_nesterov", "optimizer.momentum=0.8", "sweep.jobs=2", "name=mine"]
    done = train(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    folder = tmp_path / "runs" / "mine"
    assert {row["name"]: (row["status"], row["words"]) for row in rows_of(folder)} == {
        "0": ("finished", {"optimizer": "sgd"}),
        "1": ("finished", {"optimizer": "sgd_nesterov"}),
    }
    assert all(row["score"] > 0 and row["steps"] == 1 and row["used"] == 0.1 for row in rows_of(folder))
    told = json.loads((folder / "1" / "run.json").read_text())
    assert "optimizer.momentum=0.8" in told["overrides"]
    assert "to run: python train.py debug=one_batch" in done.stdout
    assert "Traceback" not in done.stderr
    assert main([*words, f"output_root={tmp_path / 'runs'}"]) == 0
    assert "finished before; to run it anew: name=mine-2" in capsys.readouterr().out


REFUSED = {
    "": "error: -m: nothing to sweep",
    "sweep=bayes optimizer.lr=interval(1e-4,1e-1)": "try: 'optimizer.lr=tag(log,interval(0.0001,0.1))'",
    "optimizer.lr=0.1,": "error: optimizer.lr: ends with a comma: '0.1,'; no value follows it; try: optimizer.lr=0.1",
    "optimizer.lr=1e-3,1e-2,1e-3": "0.001 is given twice; once is enough; try: optimizer.lr=0.001,0.01",
    "sweep=bayes sweep.sampler=tp": "try: sweep.sampler=tpe",
    "sweep=bayes sweep.pruner=medan": "try: sweep.pruner=median",
    "sweep=bayes sweep.trials=0": "error: sweep.trials: must be an integer >= 1",
    "sweep=bayse": "did you mean `bayes`?",
    "optimizer.lrr=1,2": "did you mean `optimizer.lr`?",
    "hydra.verbose=true,false": "error: hydra.verbose: ",
}


def test_a_sweep_that_cannot_run_is_one_line_before_torch_and_before_any_folder(tmp_path):
    script = (
        "import sys; from stride.cli import main\n"
        "root, *lines = sys.argv[1:]\n"
        "codes = [int(main(['-m', *line.split(), f'output_root={root}'])) for line in lines]\n"
        "print(codes, sorted({'torch', 'pytorch_lightning', 'optuna'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", script, f"{tmp_path}/runs", *REFUSED]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout == f"{[2] * len(REFUSED)} []\n"
    for said, line in zip(REFUSED.values(), done.stderr.splitlines(), strict=True):
        assert said in line
    assert list(tmp_path.iterdir()) == []


def test_words_of_a_sweep_without_m_are_refused_with_the_line_that_sweeps(tmp_path, capsys):
    assert main(["sweep=bayes", "optimizer=adam", f"output_root={tmp_path}"]) == 2
    assert capsys.readouterr().err == (
        "error: sweep: nothing is swept without -m; "
        f"try: python train.py -m sweep=bayes optimizer=adam output_root={tmp_path}\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_typed_word_wins_over_the_space_of_the_yaml_and_the_rest_of_it_stays():
    assert sweep_line(["sweep=random"]).overrides == [
        "sweep=random",
        "optimizer.lr=tag(log, interval(1e-5, 1e-1))",
    ]
    typed = ["sweep=random", "optimizer.lr=tag(log,interval(1e-3,1e-2))"]
    assert sweep_line(typed).overrides == typed
    assert sweep_line(["sweep=random", "model.dropout=interval(0,0.5)"]).swept == {
        "model.dropout": [0.0, 0.5],
        "optimizer.lr": [1e-5, 1e-1],
    }


@pytest.mark.slow
@pytest.mark.parametrize("sweep", ["random", "bayes"])
def test_a_search_of_the_learning_rate_trains_and_reports(train, tmp_path, sweep):
    line = ("-m", *TINY, f"sweep={sweep}", "sweep.trials=4", "sweep.jobs=2", "optimizer=adam,sgd", "name=mine")
    done = train(*line)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = rows_of(tmp_path / "runs" / "mine")
    assert sorted(row["name"] for row in rows) == ["0", "1", "2", "3"]
    assert all(1e-5 <= row["used"] == row["asked"] <= 1e-1 for row in rows)
    assert len({row["used"] for row in rows}) == 4


@pytest.mark.slow
def test_a_grid_of_learning_rates_and_optimizers_runs_two_at_once_with_one_that_fails(train, tmp_path):
    words = ("optimizer.lr=1e-3,1e-2", "optimizer=adam,sgd", "sweep.jobs=2", "optimizer.betas=[0.8,0.9]")
    done = train("-m", *TINY, *words, "name=mine")
    assert done.returncode == 1, done.stdout + done.stderr
    rows = {
        (row["words"]["optimizer"], row["words"]["optimizer.lr"]): row for row in rows_of(tmp_path / "runs" / "mine")
    }
    assert len(rows) == 4
    for (optimizer, _), one in rows.items():
        assert one["status"] == ("finished" if optimizer == "adam" else "failed")
        assert one["reason"].startswith("error: optimizer.betas: ") == (optimizer == "sgd")
