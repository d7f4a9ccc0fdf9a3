"""sweep.html: one page that needs no network. Python says what is drawn and where; the page's own script draws it."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from importlib.resources import files
from math import isfinite, log10
from statistics import median
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from stride.report.axis import Axis, rate
from stride.report.columns import columns
from stride.report.course import TRAIN_LOSS, VAL_LOSS
from stride.report.findings import Findings
from stride.report.heat_map import HeatMap
from stride.report.parallel import Parallel
from stride.report.response import Response
from stride.report.table import OPEN, Row

if TYPE_CHECKING:
    from stride.report.sweep import SweepReport

REFRESH = 10  # seconds between two looks at a sweep that runs
POINTS = 24_000  # of all curves of one metric; 200 runs have room for all of theirs
BEYOND = 0.25  # of the way from the lowest loss to where runs start: so much more of a rising one is shown
NOT_SHOWN = ("reason", "folder", "LR peak", "epochs", "model class", "optimizer class", "scheduler law")


def page(report: "SweepReport", findings: Findings, rows: Sequence[Row]) -> str:
    """The page of a report; `rows` are its rows, best first, each `folder` as seen from where the page is to lie."""
    text = (files("stride.report") / "sweep.html").read_text(encoding="utf-8")
    refresh = f'<meta http-equiv="refresh" content="{REFRESH}">' if report.status == "running" else ""
    data = _data(report, findings, rows)
    return text.replace("<!-- refresh -->", refresh).replace('"the data"', _json(data))


def _json(data: Any) -> str:
    """`data` as JSON that no HTML parser sees an end of the script in."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _data(report: "SweepReport", findings: Findings, rows: Sequence[Row]) -> dict[str, Any]:
    index = {row.name: at for at, row in enumerate(rows)}
    best = report.best
    return {
        "name": report.name,
        "status": report.status,
        "command": report.command,
        "trials": report.trials,
        "counts": Counter(row.status for row in rows),
        "done": sum(row.status not in OPEN for row in rows),
        "score": report.score,
        "best": index[best.name] if best else None,
        "line": report.best_line,
        "notes": list(report.notes),
        "confirmed": [asdict(one) for one in report.confirmed],
        "written": datetime.now().astimezone().isoformat(timespec="seconds"),
        "runs": list(_runs(report, rows, findings)),
        "columns": list(_columns(rows, report.keys)),
        "lr": _lr(findings, index),
        "curves": list(_curves(rows, report.score, report.mode)),
        "importance": list(findings.importance.items()),
        "heat": [_heat(one, findings.score, report.mode, index) for one in findings.heat_maps],
        "parallel": _parallel(findings.parallel, index),
    }


def _axis(axis: Axis) -> dict[str, Any]:
    ticks = [[tick, rate(tick) if axis.log else f"{tick:g}"] for tick in axis.ticks()]
    return {"low": axis.low, "high": axis.high, "log": axis.log, "ticks": ticks}


def _runs(report: "SweepReport", rows: Sequence[Row], findings: Findings) -> Iterator[dict[str, Any]]:
    """What a run is told and drawn by: its rank, and `worth` and `heat`, its places among the ranks and the LRs."""
    groups = {name: at for at, one in enumerate(findings.responses) for tried in one.tried for name in tried.names}
    lrs = [row.lr for row in rows if row.name in groups and row.lr]
    heat = Axis.around(lrs, log=True) if len(set(lrs)) > 1 else None
    named = [row.name for row in rows if row.ended and row.score is not None and row.score_name == report.score]
    rank = {name: at for at, name in enumerate(named)}
    for row in rows:
        group, place = groups.get(row.name), rank.get(row.name)
        yield {
            "name": row.name,
            "link": f"{quote(row.folder)}/" if row.folder else None,
            "status": row.status,
            "score": row.score,
            "shown": _counted(row, findings),
            "lr": row.lr,
            "group": group,
            "label": " · ".join(part for part in (row.optimizer, row.scheduler) if part),
            "rank": None if place is None else place + 1,
            "worth": 1.0 if place is None else round(place / max(len(named) - 1, 1), 4),
            "heat": round(heat.place(row.lr), 4) if heat and group is not None and row.lr else None,
            "reason": row.reason,
        }


def _counted(row: Row, findings: Findings) -> float | None:
    return findings.start.counted(row) if findings.start and row.score_name else None


def _columns(rows: Sequence[Row], keys: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The columns of the ranking that hold something, each thing once."""
    titled = columns(rows, keys, "trial")
    for title, values in titled.items():
        told = title == "optimizer.lr" or (title in ("LR asked", "LR found") and values == titled["LR used"])
        if title in NOT_SHOWN or told or all(value is None for value in values):
            continue
        values = _as_numbers(values) if title in keys else values
        number = all(value is None or isinstance(value, int | float) for value in values)
        kind = "text" if not number else "rate" if title.startswith("LR") or title in keys else "number"
        yield {"title": title, "kind": kind, "values": values}
    if any(row.reason for row in rows):
        yield {"title": "reason", "kind": "text", "values": [row.reason or None for row in rows]}


def _as_numbers(texts: Sequence[str | None]) -> Sequence[str | float | None]:
    """The texts as numbers, if all of them are."""
    try:
        found = [text if text is None else float(text) for text in texts]
    except ValueError:
        return texts
    return found if all(number is None or isfinite(number) for number in found) else texts


def _lr(findings: Findings, index: Mapping[str, int]) -> dict[str, Any] | None:
    """Score against LR; None where no optimizer ran at two LRs."""
    several = [one for one in findings.responses if len(one.tried) > 1]
    if not several or findings.score is None:
        return None
    lrs = [tried.lr for one in findings.responses for tried in one.tried]
    x = Axis.around(lrs, log=True, margin=0.04)
    y = Axis.around([findings.score.low, findings.score.high], log=findings.score.log, margin=0.06)
    groups = [
        _group(one, index) | {"table": [line.cells() | {"runs": _at(line.names, index)} for line in table]}
        for one, table in zip(findings.responses, findings.by_lr, strict=True)
    ]
    return {"x": _axis(x), "y": _axis(y), "groups": groups}


def _group(one: Response, index: Mapping[str, int]) -> dict[str, Any]:
    return {
        "label": one.label,
        "says": one.sentence,
        "runs": [at for tried in one.tried for at in _at(tried.names, index)],
        "line": [[tried.lr, tried.score] for tried in one.line],
        "best": [one.best, one.score] if one.best is not None else None,
        "band": [one.low, one.high] if one.low is not None else None,
        "open": [one.low_open, one.high_open],
        "lost": one.lost,
        "why": "diverges" if one.lost == one.diverged else "learns nothing",
    }


def _at(names: Iterable[str], index: Mapping[str, int]) -> list[int]:
    return [index[name] for name in names]


def _curves(rows: Sequence[Row], score: str, mode: str) -> Iterator[dict[str, Any]]:
    """The curves of each metric: what decides first. Runs that were logged at the same steps share them."""
    for name in dict.fromkeys((score, VAL_LOSS, TRAIN_LOSS)):
        told = [
            (at, row.course.series[name]) for at, row in enumerate(rows) if row.course and name in row.course.series
        ]
        if not told:
            continue
        thin = [(at, series.thinned(max(20, POINTS // len(told)))) for at, series in told]
        steps = list(dict.fromkeys(series.steps for _, series in thin))
        place = {one: at for at, one in enumerate(steps)}
        axis = _loss_axis([series.values for _, series in thin], "min" if name in (VAL_LOSS, TRAIN_LOSS) else mode)
        yield {
            "name": name,
            "y": _axis(axis),
            "x": _axis(Axis.around([0, *(one[-1] for one in steps)], log=False)),
            "steps": steps,
            "lines": [[at, place[series.steps], _short(series.values, axis)] for at, series in thin],
        }


def _loss_axis(curves: Sequence[Sequence[float]], mode: str) -> Axis:
    """From the best value to a little beyond where half of the runs start: a loss that ran away goes out of sight."""
    values = [value for curve in curves for value in curve]
    start = median(curve[0] for curve in curves)
    if mode == "max":
        best, worst = max(values), min(values)
        return Axis.around([best, max(worst, start - BEYOND * abs(best - start)) if start < best else worst], log=False)
    best, worst = min(values), max(values)
    return Axis.around([best, min(worst, start + BEYOND * (start - best)) if start > best else worst], margin=0.02)


def _short(values: Sequence[float], axis: Axis) -> list[float]:
    """The values with as many digits as a screen shows."""
    if axis.log:
        return [float(f"{value:.4g}") for value in values]
    digits = 3 - int(log10(axis.high - axis.low))
    return [round(value, max(digits, 0)) for value in values]


def _heat(one: HeatMap, score: Axis | None, mode: str, index: Mapping[str, int]) -> dict[str, Any]:
    """A cell's fourth number says how bad it is: 0 for the best score, 1 for the worst."""

    def bad(value: float) -> float:
        place = score.place(value) if score else 0.0
        return round(1 - place if mode == "max" else place, 4)

    return {
        "across": {"key": one.across.key, "bins": one.across.bins()},
        "down": {"key": one.down.key, "bins": one.down.bins()},
        "cells": [
            [cell.across, cell.down, cell.score, bad(cell.score), cell.diverged, _at(cell.names, index)]
            for cell in one.cells
        ],
    }


def _parallel(found: Parallel | None, index: Mapping[str, int]) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "axes": [{"key": scale.key, "ticks": scale.ticks()} for scale in found.scales],
        "score": [[label, found.score.place(tick)] for tick, label in _axis(found.score)["ticks"]],
        "lines": [
            [index[name], [place if place is None else round(place, 4) for place in places]]
            for name, places in found.lines.items()
        ],
    }
