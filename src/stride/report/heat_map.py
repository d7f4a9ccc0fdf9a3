"""The median score for each pair of values of two swept keys."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median

from stride.report.scale import Scale
from stride.report.table import Row
from stride.report.worth import Start

MOST_KEYS = 4  # that are paired, so six maps
LARGEST = 16  # values of a key; more names than these cannot be read


@dataclass(frozen=True)
class Cell:
    """The runs `names` with one pair of values, their median score, and how many of them diverged."""

    across: int
    down: int
    score: float
    diverged: int
    names: tuple[str, ...]


@dataclass(frozen=True)
class HeatMap:
    """Cells by the bins of two scales. A run that diverged counts with the untrained network's score."""

    across: Scale
    down: Scale
    cells: tuple[Cell, ...]


def heat_maps(
    rows: Sequence[Row], keys: Sequence[str], start: Start | None, importance: Mapping[str, float]
) -> list[HeatMap]:
    """A map for each pair of the most important of the swept `keys`; none where fewer than two took several values.

    The key with more cells lies across.
    """
    if start is None:
        return []
    scales = {key: Scale.of(key, [row.words[key] for row in rows if key in row.words]) for key in keys}
    usable = [key for key in keys if 2 <= len(scales[key].bins()) <= LARGEST]
    chosen = sorted(usable, key=lambda key: -importance.get(key, 0.0))[:MOST_KEYS]
    return [_map(rows, scales[one], scales[other], start) for one, other in combinations(chosen, 2)]


def _map(rows: Sequence[Row], one: Scale, other: Scale, start: Start) -> HeatMap:
    down, across = sorted((one, other), key=lambda scale: len(scale.bins()))
    inside: dict[tuple[int, int], list[Row]] = defaultdict(list)
    for row in rows:
        place = (across.bin(row.words.get(across.key, "")), down.bin(row.words.get(down.key, "")))
        if place[0] is not None and place[1] is not None and start.counted(row) is not None:
            inside[place[0], place[1]].append(row)
    cells = [
        Cell(
            *place,
            score=median(score for row in members if (score := start.counted(row)) is not None),
            diverged=sum(row.status == "diverged" for row in members),
            names=tuple(row.name for row in members),
        )
        for place, members in sorted(inside.items())
    ]
    return HeatMap(across, down, tuple(cells))
