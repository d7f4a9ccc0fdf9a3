"""The report of a sweep: the ranking, the line that runs the best, what to look at; on the screen and in files."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console

from stride.report.card import shown_path
from stride.report.record import write_json
from stride.report.table import Row, best, comma_separated, markdown, ranked, reasons, show

SCHEMA = 1


@dataclass(frozen=True)
class SweepReport:
    """What a sweep came to so far: `rows` are its trials, `keys` what was swept, `trials` how many were asked for.

    `best_line` runs the best trial by itself, None while there is none; `notes` are sentences about the result.
    """

    name: str
    status: str
    command: str
    trials: int
    score: str
    mode: str
    keys: Sequence[str]
    rows: Sequence[Row]
    best_line: str | None
    notes: Sequence[str]

    @property
    def best(self) -> Row | None:
        """The best trial of those that ran to their end."""
        return best(self.rows)

    @property
    def heading(self) -> str:
        ended = sum(row.status not in ("running", "interrupted", "waiting") for row in self.rows)
        return f"{self.name}: {self.status}, {ended} of {self.trials} trials"


def write(folder: Path, report: SweepReport) -> None:
    """Write sweep.md, sweep.csv and sweep.json below `folder`."""
    rows = ranked(report.rows)
    (folder / "sweep.csv").write_text(comma_separated(rows, report.keys, "trial"), encoding="utf-8")
    (folder / "sweep.md").write_text(_markdown(report, rows), encoding="utf-8")
    data = {"schema": SCHEMA, **asdict(report), "rows": [asdict(row) for row in rows]}
    write_json(folder / "sweep.json", data | {"best": report.best.name if report.best else None})


def print_report(console: Console, folder: Path, report: SweepReport) -> None:
    """The same on the screen."""
    console.print(f"\n[bold]{report.heading}[/]", highlight=False)
    show(console, ranked(report.rows), report.keys, "trial")
    for line in _conclusion(report):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(f"report: {shown_path(folder / 'sweep.md')}", markup=False, highlight=False, soft_wrap=True)


def _conclusion(report: SweepReport) -> list[str]:
    notes = [f"note:   {note}" for note in report.notes]
    if report.best is None:
        return ["best:   none yet: no trial has ended with a score", *notes]
    return [
        f"best:   trial {report.best.name}, {report.score} {report.best.score:.4g}",
        f"to run: {report.best_line}",
        *notes,
    ]


def _markdown(report: SweepReport, rows: Sequence[Row]) -> str:
    parts = [f"# {report.heading}", f"    {report.command}", markdown(rows, report.keys, "trial")]
    parts += ["\n".join(f"    {line}" for line in _conclusion(report))]
    parts += ["\n".join(f"- {reason}" for reason in reasons(rows))]
    return "\n\n".join(part for part in parts if part) + "\n"
