"""All that the report of a sweep finds in its rows, computed once for every file that tells it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stride.report.axis import Axis
from stride.report.by_lr import Line, lines
from stride.report.heat_map import HeatMap, heat_maps
from stride.report.importance import importances
from stride.report.parallel import Parallel, parallel
from stride.report.response import Response, responses
from stride.report.table import Row
from stride.report.worth import Start


@dataclass(frozen=True)
class Findings:
    """What the rows say of learning rates and of the swept keys; empty or None where they say nothing.

    `start` is what the runs started from, `score` the axis of their scores, `by_lr` the lines of each response.
    """

    start: Start | None
    score: Axis | None
    responses: Sequence[Response]
    by_lr: Sequence[Sequence[Line]]
    importance: Mapping[str, float]
    heat_maps: Sequence[HeatMap]
    parallel: Parallel | None

    def as_dict(self) -> dict[str, Any]:
        """For sweep.json."""
        told = zip(self.responses, self.by_lr, strict=True)
        return {
            "untrained": self.start.score if self.start else None,
            "lr": [one.as_dict() | {"by_lr": [line.cells() for line in table]} for one, table in told],
            "importance": dict(self.importance),
        }


def find(rows: Sequence[Row], keys: Sequence[str], score: str, mode: str, *, weigh: bool = True) -> Findings:
    """The findings about the runs with this score.

    Args:
        keys: what was swept.
        weigh: whether to ask for the importance of the keys, which costs more than a second the first time.
    """
    rows = [row for row in rows if row.score_name == score and row.mode == mode]
    start = Start.of(rows)
    counted = [found for row in rows if start and (found := start.counted(row)) is not None]
    axis = Axis.around([start.score, *counted]) if start else None
    found = [one for one in responses(rows, keys, start) if one.tried]
    by_name = {row.name: row for row in rows}
    importance = importances(rows, keys, start) if weigh else {}
    return Findings(
        start=start,
        score=axis,
        responses=found,
        by_lr=[list(lines(one, by_name)) for one in found],
        importance=importance,
        heat_maps=heat_maps(rows, keys, start, importance),
        parallel=parallel(rows, keys, start, axis),
    )
