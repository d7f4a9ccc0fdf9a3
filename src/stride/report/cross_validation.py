"""What the folds of a cross-validation came to together: means and standard errors, one card, their curves."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table

from stride.report.card import COLOURS, cost_line, lr_line, shown_path

DONE = ("finished", "stopped_early")


def mean(values: Sequence[float | None]) -> float | None:
    """The mean; None of no values, and where one is not known."""
    known = _known(values)
    return fmean(known) if known else None


def standard_error(values: Sequence[float | None]) -> float | None:
    """Of the mean: sd / sqrt(k) of k values, the sd with k - 1 degrees of freedom; None of fewer than two values.

    Folds share training samples, so this is rather too small, and no better estimate is without bias (Bengio and
    Grandvalet 2004, No unbiased estimator of the variance of K-fold cross-validation).
    """
    known = _known(values)
    return stdev(known) / math.sqrt(len(known)) if len(known) > 1 else None


def _known(values: Sequence[float | None]) -> list[float]:
    """The values, or none of them where one is missing or no finite number: a mean of the others would mislead."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    return known if len(known) == len(values) else []


def together(folds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Fields of the run.json of a cross-validation, from those of its folds so far.

    Scores are means over the folds that ran to their end, steps and seconds are sums over all, an LR is told where
    all folds have the same. `folds` says how each ended, and the standard error of each mean. There is no score
    where a fold diverged: what the others reached says nothing of a config that loses one run in so many.
    """
    done = [fold for fold in folds if fold["status"] in DONE]
    scores, last = _columns(done, "scores"), _columns(done, "last")
    lost = any(fold["status"] == "diverged" for fold in folds)
    stages = list(folds[0]["seconds"]) if folds else []
    each = [{"name": fold["id"], "status": fold["status"], "score": fold["score"]["value"]} for fold in folds]
    return {
        "scores": {name: mean(values) for name, values in scores.items()},
        "last": {name: mean(values) for name, values in last.items()},
        "score": {"value": None if lost else mean([fold["score"]["value"] for fold in done])},
        "folds": {"each": each, "standard_error": {name: standard_error(values) for name, values in scores.items()}},
        "lr": _lr([fold["lr"] for fold in folds]),
        "steps": sum(fold["steps"] or 0 for fold in folds),
        "epochs": sum(fold["epochs"] or 0 for fold in folds),
        "seconds": {stage: _sum([fold["seconds"][stage] for fold in folds]) for stage in stages},
        "device": next((fold["device"] for fold in folds), None),
    }


def _columns(folds: Sequence[dict[str, Any]], field: str) -> dict[str, list[float | None]]:
    """Each name that all folds have, with the value of each fold."""
    names = [name for name in folds[0][field] if all(name in fold[field] for fold in folds)] if folds else []
    return {name: [fold[field][name] for fold in folds] for name in names}


def _lr(lrs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for name in ("found", "used"):
        given = {lr[name] for lr in lrs}
        told[name] = given.pop() if len(given) == 1 else None
    why = {lr["why"] for lr in lrs}
    found = ", ".join("nothing" if lr["found"] is None else f"{lr['found']:.4g}" for lr in lrs)
    told["why"] = why.pop() if len(why) == 1 else f"each fold found its own: {found}"
    told["peak"] = max((lr["peak"] for lr in lrs if lr["peak"] is not None), default=None)
    return told


def _sum(seconds: Sequence[float | None]) -> float | None:
    known = [value for value in seconds if value is not None]
    return round(sum(known), 3) if known else None


def card(folder: Path, record: dict[str, Any], folds: Sequence[dict[str, Any]], verdict: str) -> RenderableType:
    """The means with their standard errors, a row for each fold, why it ended, and where the files are."""
    errors = record["folds"]["standard_error"]
    means = Table.grid(padding=(0, 2))
    means.add_column(style="dim", no_wrap=True)
    means.add_column(overflow="fold")
    for name, value in record["scores"].items():
        if value is not None:
            error = f" ± {errors[name]:.4f}" if errors[name] is not None else ""
            score = "   [dim](the score)[/]" if name == record["score"]["name"] else ""
            means.add_row(name, f"[bold]{value:.4f}[/]{error}{score}")
    done = sum(fold["status"] in DONE for fold in folds)
    means.add_row("", f"[dim]mean ± standard error of {done} {'fold' if done == 1 else 'folds'}[/]")
    means.add_row("why it ended", verdict)
    means.add_row("learning rate", lr_line(record["lr"]))
    means.add_row("cost", cost_line(record))
    means.add_row("all files", f"{shown_path(folder)}/")
    status = record["status"]
    colour = COLOURS.get(status, "cyan")
    title = f"[bold]{record['id']}[/] · [{colour}]{status.replace('_', ' ')}[/] · cross-validation"
    return Panel(Group(means, "", _table(record, folds)), title=title, title_align="left", border_style=colour)


def _table(record: dict[str, Any], folds: Sequence[dict[str, Any]]) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for title in ("fold", "status"):
        table.add_column(title, no_wrap=True)
    for title in (*record["scores"], "LR used", "steps"):
        table.add_column(title.replace("/", "/\n"), justify="right", no_wrap=True)  # a terminal has 80 columns
    for fold in folds:
        scores = [_number(fold["scores"].get(name), ".4f") for name in record["scores"]]
        numbers = [*scores, _number(fold["lr"]["used"], ".4g"), str(fold["steps"])]
        table.add_row(str(fold["id"]), fold["status"].replace("_", " "), *numbers)
    return table


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def draw(folder: Path, folds: Sequence[str]) -> None:
    """curves.png: the validation losses of all folds over their steps; none where none were kept."""
    curves = {fold: curve for fold in folds if (curve := _curve(folder / fold / "metrics.csv"))}
    if not curves:
        return
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    axis: Any = figure.subplots()
    for fold, curve in curves.items():
        axis.plot(*zip(*curve, strict=True), lw=1.4, marker=".", label=fold)
    if all(loss > 0 for curve in curves.values() for _, loss in curve):
        axis.set_yscale("log")
    axis.set(xlabel="optimizer step", ylabel="val/loss")
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25, lw=0.5)
    axis.legend(frameon=False, ncols=1 + len(curves) // 11)
    figure.savefig(folder / "curves.png", dpi=144)


def _curve(path: Path) -> list[tuple[int, float]]:
    """Step and validation loss of each row of a metrics.csv that has one."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [(int(row["step"]), float(row["val/loss"])) for row in csv.DictReader(file) if row.get("val/loss")]
