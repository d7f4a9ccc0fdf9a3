"""Run folders as rows of one table: read from run.json, ranked, and shown on a screen, in Markdown or as CSV.

Imports no torch: a table of 500 runs is there before torch would be loaded.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stride.report import record

# Where a status stands in the ranking: what ran to its end, what may still, what diverged, what is no result.
STANDING = {"finished": 0, "stopped_early": 0, "pruned": 1, "interrupted": 1, "running": 1, "diverged": 2}
NO_RESULT = 3
NOT_COMPARED = ("name", "output_root")  # words that say where a run lives, not what it is
MOST_KEYS = 5  # more columns than these would squeeze every one of them


@dataclass(frozen=True)
class Row:
    """One run: what it was told, how it ended, what it reached and cost; None where its record does not say.

    `score` is that of the best checkpoint, `seconds` is the sum of its stages, `words` are the overrides that were
    typed, by key.
    """

    name: str
    status: str
    score: float | None = None
    score_name: str | None = None
    mode: str = "min"
    asked: float | None = None
    found: float | None = None
    used: float | None = None
    steps: int | None = None
    seconds: float | None = None
    words: dict[str, str] = field(default_factory=dict)
    reason: str = ""


def run_folders(path: Path) -> Iterator[Path]:
    """Every run at or below `path`; what lies inside a run (its tests, its predictions) is a part of it."""
    if (path / "run.json").is_file():
        yield path
        return
    below = [child for child in path.iterdir() if child.is_dir() and not child.is_symlink()]
    for child in sorted(below, key=lambda child: (len(child.name) if child.name.isdigit() else 0, child.name)):
        if not child.name.startswith("."):
            yield from run_folders(child)


def read_row(folder: Path, name: str) -> Row:
    """The row of one run folder. A run.json that cannot be read makes a row that says so."""
    try:
        data = record.read(folder)
        lr, score = data["lr"], data["score"]
        times = [value for value in data["seconds"].values() if value is not None]
        return Row(
            name=name,
            status=data["status"],
            score=score["value"],
            score_name=score["name"],
            mode=score["mode"],
            asked=lr["asked"],
            found=lr["found"],
            used=lr["used"],
            steps=data["steps"],
            seconds=round(sum(times), 3) if times else None,
            words=by_key(data["overrides"]),
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        return Row(name, "unreadable", reason=f"{folder / 'run.json'}: {error or type(error).__name__}")


def by_key(words: Sequence[str]) -> dict[str, str]:
    """`["++optimizer.lr=0.1"]` as `{"optimizer.lr": "0.1"}`."""
    return {key.lstrip("+"): text for key, _, text in (word.partition("=") for word in words)}


def ranked(rows: Sequence[Row]) -> list[Row]:
    """Best first. Rows with different scores are ranked apart, a score's own rows together."""

    def place(row: Row) -> tuple[str, int, bool, float]:
        sign = -1 if row.mode == "max" else 1
        known = row.score is not None
        return row.score_name or "\uffff", STANDING.get(row.status, NO_RESULT), not known, sign * (row.score or 0.0)

    return sorted(rows, key=place)


def best(rows: Sequence[Row]) -> Row | None:
    """The best of the rows that ran to their end with a score."""
    ended = [row for row in rows if STANDING.get(row.status) == 0 and row.score is not None]
    return ranked(ended)[0] if ended else None


def differing(rows: Sequence[Row]) -> list[str]:
    """The keys of the words in which the rows differ, in the order they were typed."""
    keys = dict.fromkeys(key for row in rows for key in row.words if key not in NOT_COMPARED)
    return [key for key in keys if len({row.words.get(key) for row in rows}) > 1]


def columns(rows: Sequence[Row], keys: Sequence[str], first: str = "run") -> dict[str, list[Any]]:
    """Title -> one value a row; `first` is the title of the rows' names, `keys` are the words to show."""
    names = {row.score_name for row in rows if row.score_name}
    return {
        first: [row.name for row in rows],
        "status": [row.status for row in rows],
        **({"score name": [row.score_name for row in rows]} if len(names) > 1 else {}),
        names.pop() if len(names) == 1 else "score": [row.score for row in rows],
        "LR asked": [row.asked for row in rows],
        "LR found": [row.found for row in rows],
        "LR used": [row.used for row in rows],
        **{key: [row.words.get(key) for row in rows] for key in keys},
        "steps": [row.steps for row in rows],
        "seconds": [row.seconds for row in rows],
        "reason": [row.reason for row in rows],
    }


def show(console: Console, rows: Sequence[Row], keys: Sequence[str], first: str = "run") -> None:
    """Print the table and why rows are no result. Where nobody looks (a pipe, a file) each row is one line."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    shown = _for_a_person(rows, keys, first)
    for title, values in shown.items():
        numbers = any(isinstance(value, int | float) for value in values)
        right = "right" if numbers else "left"
        table.add_column(title, justify=right, no_wrap=numbers or title == "status", overflow="fold")
    for line in zip(*shown.values(), strict=True):
        table.add_row(*(Text(_text(value)) for value in line))
    if not console.is_terminal:
        unbounded = console.options.update(max_width=10_000)
        console.width = max(console.width, console.measure(table, options=unbounded).maximum)
    console.print(table)
    for reason in reasons(rows):
        console.print(reason, markup=False, highlight=False, soft_wrap=True)


def markdown(rows: Sequence[Row], keys: Sequence[str], first: str = "run") -> str:
    """The same table in Markdown."""
    shown = _for_a_person(rows, keys, first)
    lines = [[_text(value) for value in line] for line in zip(*shown.values(), strict=True)]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |"
        for line in (list(shown), ["---"] * len(shown), *lines)
    )


def comma_separated(rows: Sequence[Row], keys: Sequence[str], first: str = "run") -> str:
    """Every column at full precision; empty where a value is not known."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    titled = columns(rows, keys, first)
    writer.writerow(titled)
    writer.writerows(zip(*titled.values(), strict=True))
    return text.getvalue()


def reasons(rows: Sequence[Row]) -> list[str]:
    """Why rows are no result, a line each."""
    return [f"{row.name}: {row.status}: {row.reason}" for row in rows if row.reason]


def _for_a_person(rows: Sequence[Row], keys: Sequence[str], first: str) -> dict[str, list[Any]]:
    """The columns that hold something, each thing once, and no more of them than can be read."""
    keys = [key for key in keys if key != "optimizer.lr"]  # `LR asked` is it
    if len(keys) > MOST_KEYS:
        joined = [" ".join(f"{key}={row.words[key]}" for key in keys if key in row.words) for row in rows]
        rows = [replace(row, words={"words": words}) for row, words in zip(rows, joined, strict=True)]
        keys = ["words"]
    titled = columns(rows, keys, first)
    del titled["reason"]
    return {title: values for title, values in titled.items() if any(value is not None for value in values)}


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.1f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value)
