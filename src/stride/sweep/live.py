"""What a person sees while a sweep runs: how far it is, the best so far, what runs now, and how long it will take."""

import time
from collections.abc import Mapping
from datetime import timedelta
from types import TracebackType
from typing import Self

from rich import live
from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from stride.report.card import COLOURS
from stride.report.table import Row, best
from stride.sweep.plan import Plan
from stride.sweep.trials import Trial

LATEST = 5  # trials that have ended last


class Live:
    """The live table of one driver; nothing where nobody looks (a pipe, a file)."""

    def __init__(self, console: Console, plan: Plan) -> None:
        self.plan = plan
        self.began = time.monotonic()
        self.before: int | None = None  # trials that had ended when this driver came
        self.live = live.Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self.live:
            self.live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.live:
            self.live.stop()

    def show(self, ended: Mapping[int, Row], running: Mapping[int, Trial]) -> None:
        """Draw anew: the trials that have ended, by number in the order that they ended, and those that run here."""
        if self.live:
            self.live.update(self.picture(ended, running), refresh=True)

    def picture(self, ended: Mapping[int, Row], running: Mapping[int, Trial]) -> RenderableType:
        head = Table.grid(padding=(0, 2))
        done = ProgressBar(total=self.plan.trials, completed=len(ended), width=24)
        head.add_row(
            Text(self.plan.folder.name, style="bold"),
            done,
            f"{len(ended)} of {self.plan.trials} trials",
            self._left(len(ended)),
            self._leader(ended),
        )
        table = Table(box=None, header_style="dim", pad_edge=False)
        for title in ("trial", "status", self.plan.score, *self.plan.space, "seconds"):
            table.add_column(title, justify="right" if title in ("trial", self.plan.score, "seconds") else "left")
        for row in list(ended.values())[-LATEST:]:
            status = Text(row.status.replace("_", " "), style=COLOURS.get(row.status, ""))
            seconds = "-" if row.seconds is None else f"{row.seconds:.0f}"
            table.add_row(row.name, status, _number(row.score), *self._values(row.words), seconds)
        for trial in running.values():
            at = f"running, validation {trial.step}" if trial.step else "running"
            seconds = f"{time.monotonic() - trial.began:.0f}"
            status = Text(at, style="cyan")
            table.add_row(str(trial.number), status, _number(trial.score), *self._values(trial.values), seconds)
        return Group(head, table)

    def _left(self, ended: int) -> str:
        """By the rate of this driver's own time, whoever else helps."""
        if self.before is None:
            self.before = ended
        new, passed = ended - self.before, time.monotonic() - self.began
        if not new:
            return ""
        return f"{timedelta(seconds=round(passed / new * (self.plan.trials - ended)))} left"

    def _leader(self, ended: Mapping[int, Row]) -> Text:
        leader = best(list(ended.values()))
        if leader is None:
            return Text("no score yet", style="dim")
        values = " ".join(
            f"{key}={text}" for key, text in zip(self.plan.space, self._values(leader.words), strict=True)
        )
        return Text(f"best {self.plan.score} {leader.score:.4g}: {values}", style="green")

    def _values(self, values: Mapping[str, str]) -> list[str]:
        return [_short(values.get(key, "-")) for key in self.plan.space]


def _short(text: str) -> str:
    """A number to four digits, anything else as it is."""
    try:
        return f"{float(text):.4g}" if len(text) > 6 else text
    except ValueError:
        return text


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
