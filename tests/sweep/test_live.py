"""What a person sees while a sweep runs."""

import io
import time
from types import SimpleNamespace

import pytest
from rich.console import Console

from stride.report.table import Row
from stride.sweep.live import Live

PLAN = SimpleNamespace(
    folder=SimpleNamespace(name="mine"),
    trials=8,
    score="val/loss",
    mode="min",
    space={"optimizer.lr": 0, "optimizer": 0},
)


def ended(number, score, lr, status="finished"):
    words = {"optimizer.lr": lr, "optimizer": "adam"}
    return Row(str(number), status, score=score, score_name="val/loss", seconds=3.0, words=words)


def running(number, step, score):
    values = {"optimizer.lr": "0.0123456789", "optimizer": "sgd"}
    return SimpleNamespace(number=number, values=values, step=step, score=score, began=time.monotonic() - 7)


@pytest.fixture
def shown():
    def show(ended, running, passed):
        console = Console(file=io.StringIO(), width=160)
        view = Live(console, PLAN)
        view.picture({}, {})
        view.began = time.monotonic() - passed
        console.print(view.picture(ended, running))
        return console.file.getvalue()

    return show


def test_the_live_table_tells_how_far_it_is_the_best_and_the_time_left(shown):
    rows = {0: ended(0, 0.7, "1e-3"), 1: ended(1, 0.25, "1e-2"), 2: ended(2, None, "1", "diverged")}
    text = shown(rows, {3: running(3, 2, 0.5), 4: running(4, 0, None)}, passed=30)
    assert "mine" in text and "3 of 8 trials" in text
    assert "0:00:50 left" in text  # three in 30 s, five more
    assert "best val/loss 0.25: optimizer.lr=1e-2 optimizer=adam" in text
    lines = {line.split()[0]: line for line in text.splitlines() if line.split()[0].isdigit()}
    assert "diverged" in lines["2"]
    assert lines["3"].split() == ["3", "running,", "validation", "2", "0.5", "0.01235", "sgd", "7"]
    assert "running" in lines["4"] and "validation" not in lines["4"]


def test_the_live_table_keeps_to_the_latest_and_says_nothing_that_is_not_known(shown):
    text = shown({number: ended(number, None, "1e-3", "failed") for number in range(7)}, {}, passed=30)
    assert "no score yet" in text
    assert [line.split()[0] for line in text.splitlines() if "failed" in line] == ["2", "3", "4", "5", "6"]
    assert "left" not in shown({}, {}, passed=30)


def test_nothing_is_drawn_where_nobody_looks(monkeypatch):
    console = Console(file=io.StringIO())
    with Live(console, PLAN) as view:
        view.show({0: ended(0, 0.7, "1e-3")}, {})
    assert console.file.getvalue() == ""
    terminal = Console(file=io.StringIO(), force_terminal=True, width=160)
    with Live(terminal, PLAN) as view:
        view.show({0: ended(0, 0.7, "1e-3")}, {})
    assert "1 of 8 trials" in terminal.file.getvalue()
