"""Rows as a table with titles: on a screen, in Markdown, as CSV."""

import csv
from collections.abc import Sequence
from dataclasses import replace
from io import StringIO
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stride.report.table import Row
from stride.secret import printable

# Further columns: title -> field of a row. A terminal has no room for them.
FOR_FILES = {
    "steps to 90 %": "converged",
    "spikes": "spikes",
    "at the end": "last",
    "LR peak": "peak",
    "epochs": "epochs",
    "model class": "model",
    "optimizer class": "optimizer",
    "scheduler law": "scheduler",
    "folder": "folder",
}
MOST_KEYS = 5  # more columns than these would squeeze every one of them


def columns(rows: Sequence[Row], keys: Sequence[str], first: str = "run") -> dict[str, list[Any]]:
    """Title -> one value a row; `first` is the title of the rows' names, `keys` are the words to show."""
    names = {row.score_name for row in rows if row.score_name}
    return {
        first: [row.name for row in rows],
        "status": [row.status for row in rows],
        **({"score name": [row.score_name for row in rows]} if len(names) > 1 else {}),
        names.pop() if len(names) == 1 else "score": [row.score for row in rows],
        "standard error": [row.error for row in rows],
        "LR asked": [row.asked for row in rows],
        "LR found": [row.found for row in rows],
        "LR used": [row.used for row in rows],
        **{key: [row.words.get(key) for row in rows] for key in keys},
        "steps": [row.steps for row in rows],
        "seconds": [row.seconds for row in rows],
        **{title: [getattr(row, name) for row in rows] for title, name in FOR_FILES.items()},
        "reason": [row.reason for row in rows],
    }


def show(console: Console, rows: Sequence[Row], keys: Sequence[str], first: str = "run") -> None:
    """Print the table and why rows are no result. Where nobody looks (a pipe, a file) each row is one line."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    shown = _for_a_person(rows, keys, first)
    for title, values in shown.items():
        numbers = any(isinstance(value, int | float) for value in values)
        right = "right" if numbers else "left"
        table.add_column(Text(printable(title)), justify=right, no_wrap=numbers or title == "status", overflow="fold")
    for line in zip(*shown.values(), strict=True):
        table.add_row(*(Text(as_text(value)) for value in line))
    if not console.is_terminal:
        unbounded = console.options.update(max_width=10_000)
        console.width = max(console.width, console.measure(table, options=unbounded).maximum)
    console.print(table)
    for reason in reasons(rows):
        console.print(reason, markup=False, highlight=False, soft_wrap=True)


def markdown(rows: Sequence[Row], keys: Sequence[str], first: str = "run") -> str:
    """The same table in Markdown."""
    shown = _for_a_person(rows, keys, first)
    return markdown_table(list(shown), [list(map(as_text, line)) for line in zip(*shown.values(), strict=True)])


def markdown_table(titles: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Any table in Markdown."""
    return "\n".join(
        "| " + " | ".join(escaped(cell).replace("|", "\\|") for cell in line) + " |"
        for line in (titles, ["---"] * len(titles), *lines)
    )


def comma_separated(rows: Sequence[Row], keys: Sequence[str], first: str = "run") -> str:
    """Every column at full precision; empty where a value is not known."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    titled = columns(rows, keys, first)
    for line in (titled, *zip(*titled.values(), strict=True)):
        writer.writerow(printable(value) if isinstance(value, str) else value for value in line)
    return text.getvalue()


def escaped(text: str) -> str:
    """A text in Markdown that no reader of it takes for HTML."""
    return printable(text).replace("&", "&amp;").replace("<", "&lt;")


def reasons(rows: Sequence[Row]) -> list[str]:
    """Why rows are no result, a line each."""
    return [printable(f"{row.name}: {row.status}: {row.reason}") for row in rows if row.reason]


def _for_a_person(rows: Sequence[Row], keys: Sequence[str], first: str) -> dict[str, list[Any]]:
    """The columns that hold something, each thing once, and no more of them than can be read."""
    keys = [key for key in keys if key != "optimizer.lr"]  # `LR asked` is it
    if len(keys) > MOST_KEYS:
        joined = [" ".join(f"{key}={row.words[key]}" for key in keys if key in row.words) for row in rows]
        rows = [replace(row, words={"words": words}) for row, words in zip(rows, joined, strict=True)]
        keys = ["words"]
    titled = columns(rows, keys, first)
    for title in ("reason", *FOR_FILES):
        del titled[title]
    return {title: values for title, values in titled.items() if any(value is not None for value in values)}


def as_text(value: Any) -> str:
    """A value as a person reads it."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.1f}" if abs(value) >= 1000 else f"{value:.4g}"
    return printable(str(value))
