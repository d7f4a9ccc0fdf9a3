"""Score against learning rate: the best, the band around it that is as good as the best, where training is lost."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import groupby, pairwise
from statistics import median
from typing import Any, NamedTuple

from stride.report.axis import rate
from stride.report.table import Row
from stride.report.worth import Start

USABLE = 0.05  # of the way from the best back to the untrained network
EDGE = 0.05  # of the decades that were tried: nearer to their end than this is at their edge
SAME = 1e-6  # relative: rates that were written with fewer digits
BESIDE = ("optimizer", "scheduler", "seed")  # keys whose values are compared, or are meant to change nothing


@dataclass(frozen=True)
class Tried:
    """What the runs `names` at one LR count with: their median, or their best where other keys were swept too.

    `lost`: all of them diverged or learned nothing. `ended`: one of them ran to its end.
    """

    lr: float
    score: float
    names: tuple[str, ...]
    lost: bool
    ended: bool


@dataclass(frozen=True)
class Response:
    """How the score of one optimizer and law depends on the LR.

    Args:
        tried: each LR with a score, ascending; `line` are those that the band is read from, which is all of them
            where nothing but the LR was swept.
        best: the LR of the best run that ended and was not lost, None where there is none; `score` is its score.
        low, high: the usable band: from the best one to both sides, the LRs at which the score is within 5 % of the
            best. `low_open`, `high_open`: the band may go on there, nothing was tried beyond.
        lost: the LR from which on every run was lost: it learned nothing, or diverged.
        diverged: the lowest of those LRs at which one diverged.
        edge: `lower`, `upper`, or `brink` for the last LR before those that are lost; None for a best one inside.
    """

    optimizer: str
    scheduler: str
    tried: tuple[Tried, ...]
    line: tuple[Tried, ...]
    best: float | None = None
    score: float | None = None
    low: float | None = None
    high: float | None = None
    low_open: bool = False
    high_open: bool = False
    lost: float | None = None
    diverged: float | None = None
    edge: str | None = None

    @property
    def label(self) -> str:
        return " · ".join(part for part in (self.optimizer, self.scheduler) if part) or "all runs"

    @property
    def sentence(self) -> str:
        """The same in words."""
        return ", ".join(self._parts())

    def _parts(self) -> Iterator[str]:
        if self.best is None:
            yield "no LR has trained to its end"
            return
        place = {"lower": " (the lowest tried)", "upper": " (the highest tried)"}.get(self.edge or "", "")
        yield f"best LR {rate(self.best)}{place}"
        if self.low is not None and self.high is not None:
            low = f"{'below ' if self.low_open else ''}{rate(self.low)}"
            high = f"{'beyond ' if self.high_open else ''}{rate(self.high)}"
            yield f"usable from {low} to {high}"
        if self.lost is not None and self.lost != self.diverged:
            yield f"learns nothing from {rate(self.lost)} on"
        if self.diverged is not None:
            yield f"diverges from {rate(self.diverged)} on"

    @property
    def edge_note(self) -> str | None:
        """What the edge says about where a better LR may lie."""
        if self.best is None or self.edge is None:
            return None
        best = f"the best LR of {self.label}, {rate(self.best)},"
        if self.edge == "brink" and self.lost is not None:
            return f"{best} is the highest before training is lost, at {rate(self.lost)}; a better one may lie between"
        end, where = ("lowest", "below") if self.edge == "lower" else ("highest", "above")
        return f"{best} lies at the {end} end of what was tried; a better one may lie {where}"

    def as_dict(self) -> dict[str, Any]:
        """The findings without the runs."""
        told = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in ("tried", "line")}
        return told | {"says": self.sentence}


def responses(rows: Sequence[Row], keys: Sequence[str], start: Start | None) -> list[Response]:
    """One response for each optimizer and law, the one with the best score first.

    Args:
        rows: runs of one score; those without an LR or a score are left out.
        keys: what was swept.
        start: what a run that diverged counts with. `None`: nothing reached a score.

    The 5 % of the usable band are of the way from the best score of a group back to the untrained network's: a regret
    of at most 0.05, (score - best) / (untrained - best). That means the same for a loss near 0, for one below 0 and
    for an accuracy, where 5 % of the score itself is next to nothing, or the wrong way round, or far too much.
    """
    if start is None:
        return []
    groups: dict[tuple[str, str], list[_Run]] = defaultdict(list)
    for row, *group in zip(rows, *(_labels(rows, key) for key in ("optimizer", "scheduler")), strict=True):
        score = start.counted(row)
        if row.lr and row.lr > 0 and score is not None:
            groups[group[0], group[1]].append(_Run(row, row.lr, score, start.lost(row)))
    sign = -1 if rows and rows[0].mode == "max" else 1
    found = [_response(*group, runs, keys, start, sign) for group, runs in groups.items()]
    return sorted(found, key=lambda one: math.inf if one.score is None else sign * one.score)


class _Run(NamedTuple):
    row: Row
    lr: float
    score: float
    lost: bool


def _labels(rows: Sequence[Row], key: str) -> list[str]:
    """The name of each row's class or law; what was typed, where one class stands for several choices."""
    classes = [getattr(row, key) for row in rows]
    typed = [row.words.get(key) for row in rows]
    choices = {
        one: {word for name, word in zip(classes, typed, strict=True) if name == one and word} for one in classes
    }
    return [
        (word if len(choices[name]) > 1 else name) or name or word or ""
        for name, word in zip(classes, typed, strict=True)
    ]


def _response(
    optimizer: str, scheduler: str, runs: Sequence[_Run], keys: Sequence[str], start: Start, sign: int
) -> Response:
    others = [key for key in keys if key not in BESIDE and not key.endswith("lr")]
    alone = not any(len({run.row.words.get(key) for run in runs}) > 1 for key in others)
    tried = _tried(runs, sign, alone)
    kept = [one for one in tried if not one.lost]
    ended = [one for one in kept if one.ended]
    found = Response(optimizer, scheduler, tuple(tried), tuple(tried))
    if not ended:
        return found
    best = min(ended, key=lambda one: sign * one.score)
    diverged = {run.lr for run in runs if run.row.status == "diverged"}
    above = [one for one in tried if one.lr > kept[-1].lr]
    found = replace(
        found,
        best=best.lr,
        score=best.score,
        lost=above[0].lr if above else None,
        diverged=min((one.lr for one in above if one.lr in diverged), default=None),
        edge=_edge(best.lr, tried[0].lr, kept[-1].lr, bool(above)),
    )
    line = tried if alone else _frontier(tried, best, sign)
    return _with_band(replace(found, line=tuple(line)), best, start.score, sign)


def _tried(runs: Sequence[_Run], sign: int, alone: bool) -> list[Tried]:
    found = []
    by_lr = sorted(runs, key=lambda run: run.lr)
    for _, group in groupby(by_lr, lambda run: round(math.log(run.lr) / SAME)):
        same = list(group)
        scores = [run.score for run in same]
        score = median(scores) if alone else sign * min(sign * score for score in scores)
        names = tuple(run.row.name for run in same)
        lost, ended = all(run.lost for run in same), any(run.row.ended for run in same)
        found.append(Tried(same[0].lr, score, names, lost, ended))
    return found


def _frontier(tried: Sequence[Tried], best: Tried, sign: int) -> list[Tried]:
    """The LRs whose score is better than all that lie farther from the best.

    Where other keys were swept too, a bad run near the best LR says that those were bad.
    """

    def better_inwards(outside_in: Sequence[Tried]) -> Iterator[Tried]:
        reached = math.inf
        for one in outside_in:
            if sign * one.score < reached:
                reached = sign * one.score
                yield one

    below = list(better_inwards([one for one in tried if one.lr < best.lr]))
    above = list(better_inwards([one for one in reversed(tried) if one.lr > best.lr]))
    return [*below, best, *reversed(above)]


def _edge(best: float, low: float, high: float, lost_above: bool) -> str | None:
    """Where `best` lies between the lowest LR that was tried and the highest that was not lost."""
    if low == high and not lost_above:
        return None
    place = math.log(best / low) / math.log(high / low) if low < high else 1.0
    if place > 1 - EDGE:
        return "brink" if lost_above else "upper"
    return "lower" if place < EDGE else None


def _with_band(found: Response, best: Tried, start: float, sign: int) -> Response:
    """The response with its band, whose ends lie between the last good LR and the next one, linear in log LR."""
    if len(found.line) < 2:
        return found
    level = best.score + USABLE * (start - best.score)
    middle = found.line.index(best)
    low, low_open = _end(found.line[middle::-1], level, sign)
    high, high_open = _end(found.line[middle:], level, sign)
    return replace(found, low=low, high=high, low_open=low_open, high_open=high_open)


def _end(outwards: Sequence[Tried], level: float, sign: int) -> tuple[float, bool]:
    """Where the score passes `level` on the way outwards; the last LR, and True, where it does not."""
    for inner, outer in pairwise(outwards):
        if sign * outer.score > sign * level:
            share = (level - inner.score) / (outer.score - inner.score)
            return inner.lr * (outer.lr / inner.lr) ** share, False
    return outwards[-1].lr, True
