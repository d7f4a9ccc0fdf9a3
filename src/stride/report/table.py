"""Run folders as the rows of one table: read from what a run leaves, and ranked.

Imports no torch: a table of 500 runs is there before torch would be loaded.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from stride.report import chosen, course, record
from stride.report.course import Course

# Where a status stands in the ranking: what ran to its end, what may still, what diverged, what is no result.
STANDING = {
    "finished": 0,
    "stopped_early": 0,
    "pruned": 1,
    "interrupted": 1,
    "running": 1,
    "waiting": 1,
    "diverged": 2,
}
NO_RESULT = 3
OPEN = ("running", "waiting", "interrupted")  # statuses of what goes on, or may
NOT_COMPARED = ("name", "output_root")  # words that say where a run lives, not what it is


@dataclass(frozen=True)
class Row:
    """One run: what it was told, how it ended, what it reached and cost; None where its record does not say.

    `score` is that of the best checkpoint and `last` that of the last step, `error` is the standard error of a
    cross-validation's score, `seconds` is the sum of the stages, `words` are the overrides that were typed, by key.
    `peak` is the largest LR that a step applied. `model`, `optimizer` and `scheduler` are names of classes and laws,
    `converged` and `spikes` as `Course` has them.
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
    folder: str | None = None
    model: str | None = None
    optimizer: str | None = None
    scheduler: str | None = None
    peak: float | None = None
    epochs: int | None = None
    last: float | None = None
    converged: int | None = None
    spikes: int | None = None
    error: float | None = None
    course: Course | None = field(default=None, repr=False)

    @property
    def lr(self) -> float | None:
        """The LR that it used, or is to use."""
        return self.asked if self.used is None else self.used

    @property
    def ended(self) -> bool:
        """Whether it ran to its end."""
        return STANDING.get(self.status) == 0

    def as_dict(self) -> dict[str, Any]:
        """Everything but the curves, which lie in the run's metrics.csv."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name != "course"}


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
    # A sweep asks for all its rows whenever a trial ends: those whose files did not change are not read again.
    return replace(_read_row(folder, _stamp(folder / "run.json"), _stamp(folder / "metrics.csv")), name=name)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_mtime_ns, about.st_size


@lru_cache(maxsize=10_000)
def _read_row(folder: Path, *stamps: tuple[int, int] | None) -> Row:
    """The row of a folder, read once for each state of its files, which the `stamps` tell apart."""
    try:
        data = record.read(folder)
        lr, score = data["lr"], data["score"]
        times = [seconds for value in data["seconds"].values() if (seconds := _number(value)) is not None]
        scored = None if score["name"] is None else str(score["name"])
        went = course.read(folder / "metrics.csv", scored or "", score["mode"])
        made_of = chosen.names(folder)
        row = Row(
            name=folder.name,
            status=str(data["status"]),
            score=_number(score["value"]),
            score_name=scored,
            mode=score["mode"],
            asked=_number(lr["asked"]),
            found=_number(lr["found"]),
            used=_number(lr["used"]),
            steps=_number(data["steps"]),
            seconds=round(sum(times), 3) if times else None,
            words=by_key(data["overrides"]),
            folder=str(folder),
            model=made_of.get("model"),
            optimizer=made_of.get("optimizer"),
            scheduler=made_of.get("scheduler"),
            peak=_number(lr.get("peak")),
            epochs=_number(data.get("epochs")),
            last=_number(data.get("last", {}).get(scored)),
            error=_number(data.get("folds", {}).get("standard_error", {}).get(scored)),
            spikes=went.spikes if went else None,
            course=went,
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        reason = f"{folder / 'run.json'}: {error or type(error).__name__}"
        return Row(folder.name, "unreadable", reason=reason, folder=str(folder))
    return replace(row, converged=went.converged) if went and row.ended else row


def _number(value: Any) -> Any:
    """`value`, or None where it is not finite. Raises TypeError for what is no number."""
    return value if value is None or math.isfinite(value) else None


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
    ended = [row for row in rows if row.ended and row.score is not None]
    return ranked(ended)[0] if ended else None


def differing(rows: Sequence[Row]) -> list[str]:
    """The keys of the words in which the rows differ, in the order they were typed."""
    keys = dict.fromkeys(key for row in rows for key in row.words if key not in NOT_COMPARED)
    return [key for key in keys if len({row.words.get(key) for row in rows}) > 1]
