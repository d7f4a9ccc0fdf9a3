"""Run folders as one ranked table: `python -m stride.report PATH...`."""

import csv
import json
import subprocess
import sys
from io import StringIO

import pytest
from rich.console import Console

from stride.report.__main__ import main
from stride.report.columns import columns, comma_separated, markdown, show
from stride.report.table import Row, best, differing, ranked, read_row


def make_run(folder, *, status="finished", score=0.5, words=("optimizer.lr=0.1",), name="val/loss", mode="min"):
    folder.mkdir(parents=True)
    record = {
        "schema": 1,
        "status": status,
        "overrides": list(words),
        "lr": {"asked": 0.1, "found": None, "used": 0.1, "peak": 0.1, "why": "as asked", "interventions": []},
        "steps": 420,
        "seconds": {"setup": 0.25, "tune": None, "fit": 3.5, "test": 0.25},
        "score": {"name": name, "mode": mode, "value": score},
    }
    (folder / "run.json").write_text(json.dumps(record))


def test_a_row_is_what_run_json_says(tmp_path):
    make_run(tmp_path / "a", words=("optimizer=sgd", "++optimizer.lr=0.1", "name=a"))
    assert read_row(tmp_path / "a", "a") == Row(
        name="a",
        status="finished",
        score=0.5,
        score_name="val/loss",
        mode="min",
        asked=0.1,
        found=None,
        used=0.1,
        steps=420,
        seconds=4.0,
        words={"optimizer": "sgd", "optimizer.lr": "0.1", "name": "a"},
        folder=str(tmp_path / "a"),
        peak=0.1,
    )


def row(name, score, status="finished", **more):
    return Row(name=name, status=status, score=score, **{"score_name": "val/loss", **more})


@pytest.mark.parametrize(
    ("rows", "order"),
    [
        ([row("a", 0.2), row("b", 0.1), row("c", 0.3)], "bac"),
        ([row("a", 0.2, mode="max"), row("b", 0.1, mode="max"), row("c", 0.3, mode="max")], "cab"),
        ([row("a", None, "failed"), row("b", 0.9, "stopped_early"), row("c", 0.1, "diverged")], "bca"),
        ([row("a", 0.1, "running"), row("b", 0.9), row("c", None), row("d", 0.2, "unreadable")], "bcad"),
        ([row("a", 0.1, score_name="val/mse"), row("b", 0.9), row("c", 0.5)], "cba"),  # a loss and an error: apart
    ],
)
def test_rows_are_ranked_by_how_they_ended_and_then_by_score(rows, order):
    assert "".join(one.name for one in ranked(rows)) == order


@pytest.mark.parametrize(
    ("rows", "name"),
    [
        ([row("a", 0.2), row("b", 0.1, "diverged"), row("c", 0.15, "interrupted")], "a"),
        ([row("a", 0.2, mode="max"), row("b", 0.3, "stopped_early", mode="max")], "b"),
        ([row("a", None), row("b", 0.1, "failed")], None),
    ],
)
def test_the_best_ran_to_its_end(rows, name):
    found = best(rows)
    assert (found and found.name) == name


def test_the_words_shown_are_those_in_which_the_runs_differ():
    first = row("a", 0.1, words={"optimizer": "adam", "optimizer.lr": "0.1", "name": "a", "seed": "1"})
    second = row("b", 0.2, words={"optimizer": "sgd", "seed": "1", "name": "b"})
    assert differing([first, second]) == ["optimizer", "optimizer.lr"]


def test_csv_has_every_column_at_full_precision():
    rows = [row("0", 1 / 3, words={"optimizer.lr": "0.1", "optimizer": "adam"}, asked=0.1, steps=7)]
    read = list(csv.DictReader(StringIO(comma_separated(rows, ["optimizer.lr", "optimizer"], "trial"))))
    assert float(read[0]["val/loss"]) == 1 / 3
    assert list(read[0]) == list(columns(rows, ["optimizer.lr", "optimizer"], "trial"))
    assert (read[0]["LR found"], read[0]["optimizer.lr"]) == ("", "0.1")


def test_markdown_leaves_out_what_no_row_has_and_what_was_said_already():
    rows = [row("0", 0.25, asked=0.1, words={"optimizer.lr": "0.1", "x": "a|b"}), row("1", None, "failed", reason="no")]
    assert markdown(rows, ["optimizer.lr", "x"], "trial").splitlines() == [
        "| trial | status | val/loss | LR asked | x |",
        "| --- | --- | --- | --- | --- |",
        r"| 0 | finished | 0.25 | 0.1 | a\|b |",
        "| 1 | failed | - | - | - |",
    ]


def test_many_keys_become_one_column_of_words():
    words = {f"key{n}": "1" for n in range(6)}
    lines = markdown([row("0", 0.25, words=words)], list(words)).splitlines()
    assert lines[0] == "| run | status | val/loss | words |"
    assert "key0=1 key1=1" in lines[2]


def test_in_a_pipe_a_row_is_one_line_however_narrow_the_screen(capsys):
    rows = [row("a-long-name" * 6, 0.25, words={"model": "[bold]x" * 9}), row("b", None, "failed", reason="no memory")]
    show(Console(width=40), rows, ["model"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert "a-long-name" * 6 in lines[1]
    assert "[bold]x" * 9 in lines[1]
    assert lines[3] == "b: failed: no memory"


def test_the_command_ranks_every_run_below_and_not_what_lies_inside_a_run(tmp_path, capsys):
    make_run(tmp_path / "a", score=0.3, words=["seed=1"])
    make_run(tmp_path / "a" / "test-1", score=0.0)
    make_run(tmp_path / "sweep-x" / "10", score=0.2, words=["seed=10"])
    make_run(tmp_path / "sweep-x" / "9", score=0.2, words=["seed=9"])
    make_run(tmp_path / ".hidden", score=0.1)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "run.json").write_text("{")
    assert main([str(tmp_path)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines[:5]] == ["run", "sweep-x/9", "sweep-x/10", "a", "b"]
    assert lines[0][:4] == ["run", "status", "val/loss", "LR"]
    assert "seed" in lines[0]
    assert lines[5][:2] == ["b:", "unreadable:"]


def test_runs_of_several_folders_keep_their_whole_names(tmp_path, capsys):
    make_run(tmp_path / "x" / "0", score=0.1)
    make_run(tmp_path / "y" / "0", score=0.2)
    assert main([str(tmp_path / "x"), str(tmp_path / "y" / "0")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:3]] == [str(tmp_path / "x" / "0"), str(tmp_path / "y" / "0")]


@pytest.mark.parametrize(("below", "said"), [("nope", "there is no such folder"), ("empty", "holds no run")])
def test_a_wrong_path_is_one_line(tmp_path, capsys, below, said):
    (tmp_path / "empty").mkdir()
    make_run(tmp_path / "a")
    assert main([str(tmp_path / "a"), str(tmp_path / below)]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(f"error: {tmp_path / below}: {said}")
    assert len(told.err.splitlines()) == 1


def test_the_table_comes_without_torch(tmp_path):
    make_run(tmp_path / "a")
    script = (
        "import sys; from stride.report.__main__ import main; main(sys.argv[1:]); "
        "print(sorted({'torch', 'optuna', 'matplotlib', 'omegaconf'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
