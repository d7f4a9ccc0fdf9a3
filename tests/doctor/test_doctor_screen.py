"""The tables: readable without colours in 80 columns, and nothing else on the screen meanwhile."""

import os
import re
import sys
from io import StringIO

import pytest
from rich.console import Console

from stride.doctor.row import Mark, Row
from stride.doctor.screen import conclude, screen, show

ROWS = [
    Row("torch", "2.15.0    >=2.9"),
    Row("threads", "8 on 2 CPUs", Mark.LOOK, "too many", "export OMP_NUM_THREADS=2"),
    Row("torchvision", "it cannot be imported " * 5, Mark.WRONG, "of another [torch]", "uv pip install [it]"),
    Row("limit to resume", "mend torchvision first", Mark.UNCHECKED),
]


def shown(rows, width=80):
    console = Console(file=StringIO(), width=width, highlight=False)
    show(console, "environment", rows)
    conclude(console, rows, 12.4)
    return console.file.getvalue()


def test_every_mark_is_a_word_and_fits_into_80_columns():
    lines = shown(ROWS).splitlines()
    panel = [line for line in lines if line.startswith(("╭", "│", "╰"))]
    assert max(map(len, panel)) == 80
    marks = re.findall(r"^│ (ok|look|wrong|not checked) +(\w+)", "\n".join(panel), re.MULTILINE)
    assert marks == [("ok", "torch"), ("look", "threads"), ("wrong", "torchvision"), ("not checked", "limit")]
    assert "\x1b" not in shown(ROWS)


def test_what_is_not_ok_is_told_with_its_cause_and_a_command():
    after = shown(ROWS).partition("╰")[2].splitlines()[1:]
    assert after == [
        "look: threads: too many",
        "  try: export OMP_NUM_THREADS=2",
        "wrong: torchvision: of another [torch]",
        "  try: uv pip install [it]",
        "something is wrong: 1 ok, 1 to look at, 1 wrong, 1 not checked, in 12 s",
    ]


@pytest.mark.parametrize(
    ("count", "verdict"),
    [(1, "all is well: 1 ok, in 12 s"), (2, "it works, and could do better: 1 ok, 1 to look at, in 12 s")],
)
def test_the_last_line_is_the_verdict(count, verdict):
    assert shown(ROWS[:count]).splitlines()[-1] == verdict


def test_only_the_console_is_heard(capfd):
    with screen() as console:
        print("a card of a run")
        print("a warning", file=sys.stderr)
        os.write(2, b"native code\n")
        console.print("the table")
    print("afterwards")
    assert capfd.readouterr() == ("the table\nafterwards\n", "")


def test_the_screen_is_given_back_after_an_exception(capfd):
    with pytest.raises(KeyboardInterrupt), screen():
        raise KeyboardInterrupt
    print("here again")
    os.write(2, b"and here\n")
    assert capfd.readouterr() == ("here again\n", "and here\n")
