"""The report of a sweep made again from what lies in folders, whoever made them and however they ended."""

import json
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stride.errors import ConfigError, Fault
from stride.report.findings import find
from stride.report.sweep import Confirmed, SweepReport
from stride.report.table import NOT_COMPARED, OPEN, Row, differing, read_row, run_folders

RECORD, JOURNAL = "sweep.json", "study.journal"
COMMAND = ("python", "-m", "stride.report")
# What is taken from a sweep.json, and only if it is of this type.
TAKEN = {
    "name": str,
    "command": str,
    "score": str,
    "mode": str,
    "trials": int,
    "keys": list,
    "notes": list,
    "rows": list,
    "confirmed": list,
}


def report_on(paths: Sequence[Path]) -> SweepReport:
    """What the runs at or below the paths came to.

    One sweep folder's own sweep.json says what was typed, how many trials were asked for and which keys were swept;
    a run.json says more of its run. Raises ConfigError where a path is no folder, or holds no run.
    """
    told = _told(paths[0]) if len(paths) == 1 else {}
    rows = [row for path in paths for row in _rows_below(path, whole_names=len(paths) > 1)]
    if len(paths) == 1:
        rows = _with_what_only_the_sweep_knew(rows, told)
    if not rows:
        raise ConfigError(Fault(str(paths[-1]), "holds no run", "a run is a folder with a run.json"))
    score, mode = told.get("score"), told.get("mode")
    if score is None or mode is None:
        score, mode = _most_common_score(rows)
    keys = [str(key) for key in told.get("keys", ())] or differing(rows)
    notes = [str(note) for note in told.get("notes", ())]
    if not told:
        notes = [note for one in find(rows, keys, score, mode, weigh=False).responses[:1] if (note := one.edge_note)]
    report = SweepReport(
        name=told.get("name") or ", ".join(path.resolve().name for path in paths),
        # Nobody keeps writing this report, so it is never `running`.
        status="unfinished" if any(row.status in OPEN for row in rows) else "finished",
        command=told.get("command") or shlex.join([*COMMAND, *map(str, paths)]),
        trials=told.get("trials") or len(rows),
        score=score,
        mode=mode,
        keys=keys,
        rows=rows,
        best_line=None,
        notes=notes,
        confirmed=[found for data in told.get("confirmed", ()) if (found := _confirmed(data))],
    )
    return replace(report, best_line=_line(report.best)) if report.best else report


def is_sweep(path: Path, runs: int) -> bool:
    """Whether a folder with this number of runs at or below it is the home of a report on them."""
    return any((path / name).is_file() for name in (RECORD, JOURNAL)) or (
        runs > 1 and not (path / "run.json").is_file()
    )


def _rows_below(path: Path, *, whole_names: bool) -> list[Row]:
    """The rows of every run at or below `path`. `whole_names` keeps runs of the same name below several apart."""
    if not path.is_dir():
        raise ConfigError(Fault(str(path), "there is no such folder", f"looked in {Path.cwd()}"))

    def name(folder: Path) -> str:
        return str(folder if whole_names or folder == path else folder.relative_to(path))

    folders = list(run_folders(path))
    if (path / JOURNAL).is_file() or _told(path):  # what lies deeper in a sweep's folder are no trials of it
        folders = [folder for folder in folders if folder.parent == path]
    rows = [read_row(folder, name(folder)) for folder in folders]
    if not rows and (whole_names or not (path / RECORD).is_file()):
        raise ConfigError(Fault(str(path), "holds no run", "a run is a folder with a run.json"))
    return rows


def _told(path: Path) -> dict[str, Any]:
    """What the sweep.json of a sweep says, as far as it can be read; one that was made by hand says nothing new."""
    try:
        data = json.loads((path / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(data, dict) or str(data.get("command")).startswith(shlex.join(COMMAND)):
        return {}
    return {key: data[key] for key, kind in TAKEN.items() if isinstance(data.get(key), kind)}


def _with_what_only_the_sweep_knew(rows: Sequence[Row], told: dict[str, Any]) -> list[Row]:
    """The rows, with why a trial failed, and with the trials that left no run.json."""
    known = {row.name: row for row in rows}
    for data in told.get("rows", ()):
        if isinstance(data, dict) and isinstance(data.get("name"), str) and isinstance(data.get("status"), str):
            name, reason = data["name"], data.get("reason")
            if name not in known:
                known[name] = _row(data)
            elif isinstance(reason, str) and reason and known[name].status == data["status"]:
                known[name] = replace(known[name], reason=reason)
    return list(known.values())


def _row(data: dict[str, Any]) -> Row:
    """The row of a trial that only sweep.json tells of: what was asked of it, and how it ended."""
    words = data.get("words")
    texts = {str(key): str(value) for key, value in words.items()} if isinstance(words, dict) else {}
    asked = data.get("asked")
    return Row(
        name=data["name"],
        status=data["status"],
        words=texts,
        asked=asked if isinstance(asked, int | float) else None,
        reason=str(data.get("reason") or ""),
    )


def _confirmed(data: Any) -> Confirmed | None:
    """What sweep.json tells of a configuration that was run again; None if it cannot be read."""
    try:
        numbers = [None if value is None else float(value) for value in (*data["scores"], data["mean"], data["error"])]
        words = {str(key): str(value) for key, value in data["words"].items()}
        return Confirmed(str(data["name"]), words, numbers[:-2], numbers[-2], numbers[-1])
    except (LookupError, TypeError, ValueError, AttributeError):
        return None


def _most_common_score(rows: Sequence[Row]) -> tuple[str, str]:
    named = Counter((row.score_name, row.mode) for row in rows if row.score_name)
    (score, mode), _ = named.most_common(1)[0] if named else (("score", "min"), 0)
    return score or "score", mode


def _line(row: Row) -> str:
    """The line that runs it again under another name."""
    return shlex.join(
        ["python", "train.py", *(f"{key}={text}" for key, text in row.words.items() if key not in NOT_COMPARED)]
    )
