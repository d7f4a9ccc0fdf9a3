"""The doctor's table on the screen: a panel for each part as it is done, a live line meanwhile, the verdict."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.panel import Panel
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from stride.doctor.row import Mark, Row

COLOURS = {Mark.OK: "green", Mark.LOOK: "yellow", Mark.WRONG: "red", Mark.UNCHECKED: "red"}
COUNTED = {mark: mark.value for mark in Mark} | {Mark.LOOK: "to look at"}
WIDEST = 110


@contextmanager
def screen() -> Iterator[Console]:
    """The console; what else writes to standard output or error meanwhile, native code too, is kept from the screen."""
    width = min(Console().width, WIDEST)
    told = {"encoding": sys.stdout.encoding or "utf-8", "errors": "replace"}
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    kept = [os.dup(number) for number in (1, 2)]
    try:
        with (
            os.fdopen(os.dup(1), "w", buffering=1, **told) as file,
            Path(os.devnull).open("w", **told) as nowhere,
            redirect_stdout(nowhere),
            redirect_stderr(nowhere),
        ):
            for number in (1, 2):
                os.dup2(nowhere.fileno(), number)
            yield Console(file=file, width=width, highlight=False)
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        for number, before in zip((1, 2), kept, strict=True):
            os.dup2(before, number)
            os.close(before)


@contextmanager
def live(console: Console, doing: str) -> Iterator[None]:
    """Say what is being done while it is; on a terminal only."""
    if not console.is_terminal:
        yield
        return
    line = Spinner("dots", Text(f"{doing} ..."))
    with Live(line, console=console, transient=True, redirect_stdout=False, redirect_stderr=False):
        yield


def show(console: Console, title: str, rows: Sequence[Row]) -> None:
    """One part as a panel."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(Text(row.mark.value, COLOURS[row.mark]), Text(row.name), Text(row.found))
    worst = max((row.mark for row in rows), key=list(Mark).index)
    console.print(Panel(table, title=f"[bold]{title}[/]", title_align="left", border_style=COLOURS[worst]))


def conclude(console: Console, rows: Sequence[Row], seconds: float) -> None:
    """The verdict; for each thing that is not ok, the cause and what mends it."""
    for row in rows:
        if row.cause and row.mark is not Mark.OK:
            told = Text.assemble((f"{row.mark.value}: ", COLOURS[row.mark]), f"{row.name}: {row.cause}")
            console.print(told, soft_wrap=True)
            if row.attempt:
                console.print(f"  try: {row.attempt}", markup=False, soft_wrap=True)
    counts = [f"{count} {COUNTED[mark]}" for mark in Mark if (count := sum(row.mark is mark for row in rows))]
    worst = max((row.mark for row in rows), key=list(Mark).index)
    said = {Mark.OK: "all is well", Mark.LOOK: "it works, and could do better"}.get(worst, "something is wrong")
    console.print(f"[bold {COLOURS[worst]}]{said}[/]: {', '.join(counts)}, in {seconds:.0f} s")
