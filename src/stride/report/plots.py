"""Pictures. Only these functions pay for matplotlib."""

import csv
from collections.abc import Mapping, Sequence
from functools import partial
from math import isfinite
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from stride.lr.rehearsal import best_lr
from stride.lr.suggest import read
from stride.lr.trend import Trend

if TYPE_CHECKING:
    from stride.lr.curve import Curve
    from stride.lr.descent import Descent
    from stride.lr.finding import Finding
    from stride.lr.rehearsal import Rehearsed
    from stride.lr.shape import Shape
    from stride.lr.trial import Trial

INK, BLUE, ORANGE, GREEN = "#30363d", "#0969da", "#d4580a", "#1a7f37"
PURPLE, RED = "#8250df", "#cf222e"


def draw_run(folder: Path) -> None:
    """curves.png: losses over the steps, and below them the LR that was applied; none where neither was kept."""
    losses = _columns(folder / "metrics.csv", ("train/loss", "val/loss"))
    applied = _columns(folder / "lr_trace.csv", None)
    if not losses and not applied:
        return
    figure, (above, below) = _axes(2, (7.2, 4.6), (2, 1))
    for (name, (steps, values)), colour in zip(losses.items(), (BLUE, ORANGE), strict=False):
        above.plot(steps, values, color=colour, lw=1.6, marker="." if name.startswith("val") else "", label=name)
    if all(value > 0 for _, values in losses.values() for value in values):
        above.set_yscale("log")
    above.set_ylabel("loss")
    above.legend(frameon=False)
    for (name, (steps, values)), colour in zip(applied.items(), (GREEN, BLUE, ORANGE, INK) * 8, strict=False):
        below.plot(steps, values, color=colour, lw=1.6, label=f"lr/{name}")
    below.set(ylabel="LR applied", xlabel="optimizer step")
    below.set_ylim(bottom=0)
    below.legend(frameon=False)
    figure.savefig(folder / "curves.png", dpi=144)


def draw_finding(finding: "Finding", asked: float, path: Path) -> None:
    """The range test: each sweep and its trend, the LR found and its interval, where it diverged; what was tried."""
    found = finding.suggestion
    below = [
        *([partial(_draw_trial, finding.trial)] if finding.trial else []),
        *([partial(_draw_rehearsals, finding.rehearsed)] if finding.rehearsed else []),
    ]
    size = (7.2, 3.6 + 1.8 * len(below))
    figure, axes = _axes(1 + len(below), size, (2, *[1 for _ in below]), sharex=False)
    above = axes[0]
    for order, curve in enumerate(finding.curves):
        above.plot(curve.lrs, curve.losses, color=BLUE, lw=0.6, alpha=0.4)
        trend = read(curve, turned=False)
        if isinstance(trend, Trend):
            above.plot(curve.lrs, trend.levels, color=BLUE, lw=1.8, label="its trend" if order == 0 else None)
        if curve.diverged is not None:
            above.axvline(curve.diverged, color=RED, ls="--", lw=1, label="ran away" if order == 0 else None)
    above.axvline(asked, color=INK, ls=":", label=f"asked {asked:.3g}")
    if found.lr is not None:
        above.axvline(found.lr, color=GREEN, lw=2, label=f"found {found.lr:.3g}")
        if found.low is not None:
            above.axvspan(found.low, found.high, color=GREEN, alpha=0.12, lw=0)
    if finding.limit and finding.limit.safe and finding.limit.ceiling:
        for end, label in (
            (finding.limit.safe, "limit on small batches"),
            (finding.limit.ceiling, "limit on all data"),
        ):
            above.axvline(end, color=PURPLE, ls="-.", lw=1, label=f"{label} {end:.2g}")
    _within_what_matters(above, finding.curves)
    above.set(xscale="log", xlabel="learning rate", ylabel="training loss")
    above.legend(frameon=False, fontsize=8)
    for draw, axis in zip(below, axes[1:], strict=True):
        draw(axis)
    figure.savefig(path, dpi=144)


def _draw_trial(trial: "Trial", axis: Any) -> None:
    axis.plot(range(len(trial.losses)), trial.losses, color=BLUE, lw=1, label="training")
    if trial.held_out:
        axis.plot(*zip(*trial.held_out, strict=True), color=ORANGE, marker=".", label="held out")
    axis.set(xlabel=f"step of a trial at {trial.lr:.3g}", ylabel="loss")
    axis.legend(frameon=False, fontsize=8)


def _draw_rehearsals(rehearsed: "Rehearsed", axis: Any) -> None:
    """The score of each rate; a rate that was lost is a cross at the top."""
    kept = [each for each in rehearsed.rehearsals if isfinite(each.score)]
    lost = [each.lr for each in rehearsed.rehearsals if not isfinite(each.score)]
    axis.plot(
        [each.lr for each in kept], [each.score for each in kept], color=ORANGE, marker="o", lw=1, label="held out"
    )
    if lost:
        axis.plot(lost, [0.95] * len(lost), "x", color=RED, transform=axis.get_xaxis_transform(), label="lost")
    best = best_lr(rehearsed.rehearsals)
    if best is not None:
        axis.axvline(best, color=GREEN, lw=2, label=f"best {best:.3g}")
    axis.set(
        xscale="log", xlabel=f"learning rate of runs of {rehearsed.extent.steps} steps", ylabel="loss at their end"
    )
    tried = [each.lr for each in rehearsed.rehearsals]
    axis.set_xticks(tried, [f"{lr:.2g}" for lr in tried])
    axis.set_xticks([], minor=True)
    axis.legend(frameon=False, fontsize=8)


def _within_what_matters(axis: Any, curves: "Sequence[Curve]") -> None:
    """Cut off how high a loss ran away: it would flatten all the rest."""
    firsts = [fmean(curve.losses[:10]) for curve in curves if curve.losses]
    if firsts:
        lowest = min(min(curve.losses) for curve in curves if curve.losses)
        fall = max(firsts) - lowest
        if fall > 0:
            axis.set_ylim(lowest - 0.1 * fall, max(firsts) + 0.6 * fall)


def picture(path: Path) -> Any:
    """A PNG file as an array (height, width, 3 or 4) in [0, 1]; None where there is none."""
    if not path.is_file():
        return None
    from matplotlib.image import imread

    return imread(path)


def draw_plans(shapes: "Mapping[str, Shape]", path: Path) -> None:
    """The planned LR over the run: each group of one plan, or the largest group of several plans."""
    figure, (axis,) = _axes(1, (7.2, 3.6), (1,))
    colours = (BLUE, ORANGE, GREEN, INK, PURPLE, RED)
    alone = next(iter(shapes.values())) if len(shapes) == 1 else None
    lines = _lines(alone) if alone else [(name, shape.steps, shape.lrs) for name, shape in shapes.items()]
    for place, (name, steps, lrs) in enumerate(lines):
        style = ("-", "--", ":")[place // len(colours) % 3]
        axis.plot(steps, lrs, color=colours[place % len(colours)], ls=style, lw=1.8, label=name)
    axis.set(xlabel="optimizer step", ylabel="learning rate")
    axis.set_ylim(bottom=0)
    axis.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    if alone:
        _mark(axis, alone)
    figure.savefig(path, dpi=144)


def draw_descents(descents: "Sequence[Descent]", path: Path) -> None:
    """The losses of steps at several times a limit; those that diverge leave at the top."""
    figure, (axis,) = _axes(1, (7.2, 3.6), (1,))
    start, seen = descents[0].losses[0], [loss for descent in descents for loss in descent.losses if loss == loss]
    for descent, colour in zip(descents, (BLUE, GREEN, ORANGE, RED) * len(descents), strict=False):
        label = f"{descent.times:g} x, LR {descent.lr:.3g}: {descent.verdict}"
        axis.plot(descent.losses, color=colour, lw=1.6, label=label)
    axis.axhline(start, color=INK, lw=0.8, ls=":")
    if start > 0 and min(seen) >= 0:
        axis.set_yscale("log")
        axis.set_ylim(min(loss for loss in seen if loss > 0) / 1.5, min(1.5 * max(seen), 30 * start))
    else:
        axis.set_ylim(top=min(max(seen), 3 * start - 2 * min(seen)))
    axis.set(xlabel="steps at a constant LR, each on all of the data", ylabel="training loss")
    figure.legend(frameon=False, loc="outside upper left", title="times the ceiling", alignment="left")
    figure.savefig(path, dpi=144)


def _lines(shape: "Shape") -> list[tuple[str, list[int], list[float]]]:
    lrs = [shape.plan.at(step) for step in shape.steps]
    return [(name, shape.steps, [each[place] for each in lrs]) for place, name in enumerate(shape.plan.scales)]


def _mark(axis: Any, shape: "Shape") -> None:
    """Where the warm-up ends, where the fall begins, and the level at which the run ends."""
    texts: dict[int, list[str]] = {}
    for step, text in ((shape.warm_from, "warm"), (shape.falls_from, "falls")):
        if step is not None:
            texts.setdefault(step, []).append(text)
    for step, said in texts.items():
        axis.axvline(step, color=INK, lw=0.8, ls=":")
        above = ("data", "axes fraction")
        axis.annotate(f"{', '.join(said)} from {step}", (step, 1.01), xycoords=above, fontsize=8, ha="center")
    if shape.lowest_from is not None and shape.lrs[-1] > 0:
        axis.axhline(shape.lrs[-1], color=INK, lw=0.8, ls=":")
        place, beside = (1.01, shape.lrs[-1]), ("axes fraction", "data")
        axis.annotate(f"ends at {shape.lrs[-1]:.3g}", place, xycoords=beside, fontsize=8, va="center")


def _axes(rows: int, size: tuple[float, float], heights: Sequence[float], *, sharex: bool = True) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")  # no pyplot: no global state, no display
    axes: Any = figure.subplots(rows, 1, sharex=sharex, squeeze=False, height_ratios=heights)[:, 0]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25, lw=0.5)
    return figure, axes


def _columns(path: Path, wanted: tuple[str, ...] | None) -> dict[str, tuple[list[int], list[float]]]:
    """Each column of a table of steps, with the steps at which it has a value."""
    if not path.is_file():
        return {}
    found: dict[str, tuple[list[int], list[float]]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            for name, text in row.items():
                if text and name != "step" and (name in wanted if wanted else "/" not in name):
                    steps, values = found.setdefault(name, ([], []))
                    steps.append(int(row["step"]))
                    values.append(float(text))
    return found
