"""Parallel coordinates: each run a line through its values of all swept keys, to its score."""

from collections.abc import Sequence
from dataclasses import dataclass

from stride.report.axis import Axis
from stride.report.scale import Scale
from stride.report.table import Row
from stride.report.worth import Start


@dataclass(frozen=True)
class Parallel:
    """`scales` of the keys, then the score's axis; `lines` are places along them by run name, None where not known."""

    scales: tuple[Scale, ...]
    score: Axis
    lines: dict[str, tuple[float | None, ...]]


def parallel(rows: Sequence[Row], keys: Sequence[str], start: Start | None, score: Axis | None) -> Parallel | None:
    """The runs with a score; None where fewer than two keys took several values. `score` is the score's axis."""
    if start is None or score is None:
        return None
    told = [(row, found) for row in rows if (found := start.counted(row)) is not None]
    scales = [Scale.of(key, [row.words[key] for row, _ in told if key in row.words]) for key in keys]
    scales = [scale for scale in scales if scale.axis is not None or len(scale.choices) > 1]
    if len(scales) < 2:
        return None
    lines: dict[str, tuple[float | None, ...]] = {
        row.name: (*(scale.place(row.words.get(scale.key, "")) for scale in scales), score.place(found))
        for row, found in told
    }
    return Parallel(tuple(scales), score, lines)
