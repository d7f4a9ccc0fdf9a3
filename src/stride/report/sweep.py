"""The report of a sweep: the ranking, the line that runs the best, what to look at; on the screen and in files."""

import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from stride.report.card import shown_path
from stride.report.columns import as_text, comma_separated, escaped, markdown, markdown_table, reasons, show
from stride.report.findings import Findings, find
from stride.report.page import page
from stride.report.record import write_json
from stride.report.response import Response
from stride.report.table import OPEN, Row, best, ranked
from stride.secret import printable
from stride.whole_file import replaced

SCHEMA = 1
MOST_RESPONSES = 6  # that a terminal is told


@dataclass(frozen=True)
class Confirmed:
    """A configuration run again on seeds that it was not chosen on: its trial's name, words, and a score for each.

    `mean` is None where not all of them came to a score, `error` is the mean's standard error (None for one seed).
    """

    name: str
    words: dict[str, str]
    scores: Sequence[float | None]
    mean: float | None
    error: float | None


@dataclass(frozen=True)
class SweepReport:
    """What a sweep came to so far: `rows` are its trials, `keys` what was swept, `trials` how many were asked for.

    `confirmed` are the best ones run again, the winner first. `best_line` runs the best trial by itself, None while
    there is none; `notes` are sentences about the result.
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
    confirmed: Sequence[Confirmed] = ()

    @property
    def best(self) -> Row | None:
        """The best trial of those that ran to their end."""
        return best([row for row in self.rows if row.score_name == self.score])

    @property
    def heading(self) -> str:
        ended = sum(row.status not in OPEN for row in self.rows)
        return printable(f"{self.name}: {self.status}, {ended} of {self.trials} trials")


def write(folder: Path, report: SweepReport) -> None:
    """Write sweep.html, sweep.md, sweep.csv and sweep.json below `folder`, each whole at any time.

    While the sweep runs they leave out the importance of its keys.
    """
    rows = [_told(folder, row) for row in ranked(report.rows)]
    findings = find(rows, report.keys, report.score, report.mode, weigh=report.status != "running")
    _write(folder / "sweep.csv", comma_separated(rows, report.keys, "trial"))
    _write(folder / "sweep.md", _markdown(report, findings, rows))
    told = asdict(replace(report, rows=())) | {"rows": [row.as_dict() for row in rows]}
    leader = {"best": report.best.name if report.best else None}
    write_json(folder / "sweep.json", {"schema": SCHEMA, **told, **leader, **findings.as_dict()})
    _write(folder / "sweep.html", page(report, findings, rows))


def _write(path: Path, text: str) -> None:
    with replaced(path) as file:
        file.write(text)


def _told(folder: Path, row: Row) -> Row:
    """The row with its run folder as seen from the report, as both may be moved together, and no score but a number."""
    score = row.score if row.score is not None and math.isfinite(row.score) else None
    return replace(row, score=score, folder=os.path.relpath(row.folder, folder) if row.folder else None)


def print_report(console: Console, folder: Path, report: SweepReport) -> None:
    """The ranking and what follows from it, on the screen; then where the files are, which lie in `folder`."""
    console.print(f"\n{report.heading}", style="bold", markup=False, highlight=False)
    show(console, ranked(report.rows), report.keys, "trial")
    for line in _conclusion(report, find(report.rows, report.keys, report.score, report.mode, weigh=False).responses):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(f"report: {shown_path(folder / 'sweep.html')}", markup=False, highlight=False, soft_wrap=True)


def _conclusion(report: SweepReport, found: Sequence[Response]) -> list[str]:
    """The best, the line that runs it, the learning rates, the notes."""
    notes = [f"note:   {note}" for note in report.notes]
    if report.best is None:
        return [*map(printable, ["best:   none yet: no trial has ended with a score", *notes])]
    several = [one for one in found if len(one.tried) > 1]
    lines = [
        f"best:   trial {report.best.name}, {report.score} {report.best.score:.4g}",
        *(f"winner: {_confirmed(one)}" for one in report.confirmed[:1]),
        *(f"then:   {_confirmed(one)}" for one in report.confirmed[1:]),
        f"to run: {report.best_line}",
        *(f"rates:  {one.label}: {one.sentence}" for one in several[:MOST_RESPONSES]),
        *notes,
    ]
    return [*map(printable, lines)]


def _confirmed(one: Confirmed) -> str:
    """What a configuration came to on seeds that it was not chosen on."""
    if one.mean is None:
        return f"trial {one.name}, which did not come to a score on each of {len(one.scores)} fresh seeds"
    error = "" if one.error is None else f" ± {one.error:.2g}"
    return f"trial {one.name}, {one.mean:.4g}{error} on {len(one.scores)} fresh seeds"


def _markdown(report: SweepReport, findings: Findings, rows: Sequence[Row]) -> str:
    parts = [f"# {escaped(report.heading)}", f"    {printable(report.command)}", markdown(rows, report.keys, "trial")]
    parts += ["\n".join(f"    {line}" for line in _conclusion(report, findings.responses))]
    parts += ["\n".join(f"- {escaped(reason)}" for reason in reasons(rows))]
    parts += [_rates(findings), _importance(findings)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _rates(findings: Findings) -> str:
    """Each optimizer's table of rates."""
    parts = []
    for one, lines in zip(findings.responses, findings.by_lr, strict=True):
        if len(one.tried) > 1:
            cells = [line.cells() for line in lines]
            parts += [
                f"## {escaped(one.label)}",
                f"{one.sentence}.",
                markdown_table(list(cells[0]), [_texts(c) for c in cells]),
            ]
    return "\n\n".join(parts)


def _texts(cells: dict[str, Any]) -> list[str]:
    return [as_text(value) for value in cells.values()]


def _importance(findings: Findings) -> str:
    if not findings.importance:
        return ""
    shares = [[key, f"{share:.0%}"] for key, share in findings.importance.items()]
    return "## Importance\n\n" + markdown_table(["key", "share"], shares)
