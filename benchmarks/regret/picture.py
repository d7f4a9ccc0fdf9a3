"""The picture: regret against cost, a point a finder."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from regret.table import Spread
from stride.report.plots import BLUE, GREEN, INK, ORANGE, PURPLE, RED

COLOURS = {"ours": BLUE, "lightning": RED, "fastai": ORANGE, "search": PURPLE, "fixed": INK}
FREE, MOST = 20, 30000  # steps: where a log axis has its place for none, and its end
STEPS = {FREE: "0", 100: "100", 300: "300", 1000: "1000", 3000: "3000"}
# What lies above 1 is drawn on a log axis: else a regret of 1.02 and one of 1.2 would both lie at its foot.
REGRETS = (1.01, 1.02, 1.05, 1.1, 1.2, 1.5, 2, 3, 5, 10, 20, 40)
FOOT, TOP = 0.005, 50
BESIDE = 1.08  # finders of the same cost stand side by side, by this factor
TOGETHER = 2.2  # and share a column of names, if they are no further apart than by this
APART = 0.045  # names in a column, in heights of the axis
MEANING = "point: geometric mean over cells and seeds · line: up to the 90th percentile · dash: the worst"

Place = tuple[float, Spread]  # x, and what stands there


def draw(spreads: Sequence[Spread], path: Path) -> None:
    """Each finder's geometric mean against its mean steps, a line up to the 90th percentile and a dash at the worst.

    What the pickers make of a sweep alone are small rings without a name; the noise floor is a line.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 5.0), layout="constrained")  # no pyplot: no global state, no display
    axis: Any = figure.subplots()
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25, lw=0.5)
    axis.set(xscale="log", yscale="log", xlim=(0.75 * FREE, MOST), ylim=(FOOT, TOP))
    axis.set_xticks(list(STEPS), list(STEPS.values()))
    axis.set_yticks([regret - 1 for regret in REGRETS], [f"{regret:g}" for regret in REGRETS])
    axis.minorticks_off()
    axis.set(xlabel="gradient steps of the search", ylabel="regret of the LR found")
    axis.set_title(MEANING, fontsize=8, loc="left")
    told = [spread for spread in spreads if spread.draws]
    _noise_floor(axis, [spread for spread in told if spread.kind == "noise"])
    _rings(axis, [spread for spread in told if spread.kind == "picker"])
    places = list(_places([spread for spread in told if spread.kind in COLOURS]))
    for x, spread in places:
        _point(axis, x, spread)
    for ours in (True, False):
        for column in _columns([place for place in places if (place[1].kind == "ours") is ours]):
            _names(axis, column)
    figure.savefig(path, dpi=144)


def _above(regret: float) -> float:
    """What lies above 1, within the axis."""
    return min(max(regret - 1, FOOT), TOP)


def _noise_floor(axis: Any, floors: Sequence[Spread]) -> None:
    for floor in floors:
        y = _above(floor.mean)
        axis.axhline(y, color=INK, lw=0.8, ls=":")
        axis.annotate("noise floor", (0.01, y), (0, 3), axis.get_yaxis_transform(), "offset points", fontsize=8)


def _rings(axis: Any, pickers: Sequence[Spread]) -> None:
    for spread in pickers:
        axis.plot(spread.steps, _above(spread.mean), "o", ms=4, mfc="none", mec=GREEN, zorder=3)
    if pickers:
        lowest = min(pickers, key=lambda spread: spread.mean)
        place, below = (lowest.steps, _above(lowest.mean)), {"ha": "center", "va": "top"}
        told = "rings: a picker on\none sweep alone"
        axis.annotate(told, place, (0, -6), textcoords="offset points", fontsize=8, color=GREEN, **below)


def _places(spreads: Sequence[Spread]) -> Iterator[Place]:
    x = 0.0
    for spread in sorted(spreads, key=lambda spread: spread.steps):
        x = max(FREE, spread.steps, x * BESIDE)
        yield x, spread


def _point(axis: Any, x: float, spread: Spread) -> None:
    colour, mean = COLOURS[spread.kind], _above(spread.mean)
    axis.plot([x, x], [mean, _above(spread.p90)], color=colour, lw=1.4)
    axis.plot(x, mean, "o", color=colour, ms=7 if spread.kind == "ours" else 5)
    axis.plot(x, _above(spread.worst.regret), "_", color=colour, ms=7)


def _columns(places: Sequence[Place]) -> Iterator[list[Place]]:
    """The places from left to right, parted where there is room for names."""
    column: list[Place] = []
    for x, spread in places:
        if column and x > TOGETHER * column[-1][0]:
            yield column
            column = []
        column.append((x, spread))
    if column:
        yield column


def _names(axis: Any, column: Sequence[Place]) -> None:
    """Right of their points, at their heights, or as near as they do not overlap."""
    beside, height = 1.15 * column[-1][0], -1.0
    for x, spread in sorted(column, key=lambda place: place[1].mean):
        colour, y = COLOURS[spread.kind], _above(spread.mean)
        height = max(math.log(y / FOOT) / math.log(TOP / FOOT), height + APART)
        place, line = (beside, FOOT * (TOP / FOOT) ** height), {"arrowstyle": "-", "color": colour, "lw": 0.5}
        axis.annotate(_name(spread), (x, y), place, color=colour, va="center", fontsize=8, arrowprops=line)


def _name(spread: Spread) -> str:
    if spread.kind == "ours":
        return f"{spread.name.replace('Stride thorough', 'thorough')} {spread.mean:.3f}"
    name = spread.name.replace(" ", "\n") if spread.kind == "fixed" else spread.name
    return f"{name} {spread.mean:.2f}"
