"""What a sweep came to so far: each trial's run folder beside what only the study knows, as rows of a report."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace

from stride.report import record
from stride.report.sweep import Confirmed, SweepReport
from stride.report.table import Row, best, ranked, read_row
from stride.sweep.plan import Plan
from stride.sweep.space import number
from stride.sweep.study import Study, Told


class Ranking:
    """The rows of one study's trials; those that have ended are read once."""

    def __init__(self, plan: Plan, study: Study) -> None:
        self.plan, self.study = plan, study
        self.ended: dict[int, Row] = {}
        self.dropped: set[str] = set()  # trials without checkpoints: none comes back among the best as more end

    def rows(self) -> list[Row]:
        """A row for each trial that was ever begun, by number."""
        rows = []
        for told in self.study.told():
            row = self.ended.get(told.number) or _row(self.plan, told)
            if told.result is not None:
                self.ended[told.number] = row
            rows.append(row)
        return rows

    def report(self, status: str, *, notes: Sequence[str] = (), confirmed: Sequence[Confirmed] = ()) -> SweepReport:
        """The report of these rows; where configurations were `confirmed` the first of those is the winner."""
        plan, rows = self.plan, self.rows()
        leader = best(rows)
        words = confirmed[0].words if confirmed else leader.words if leader else None
        edges = [*_edges(plan, words)] if words else []
        return SweepReport(
            name=plan.folder.name,
            status=status,
            command=plan.command,
            trials=plan.trials,
            score=plan.score,
            mode=plan.mode,
            keys=list(plan.space),
            rows=rows,
            best_line=plan.line(words) if words else None,
            notes=[*edges, *notes],
            confirmed=confirmed,
        )

    def best(self, count: int) -> list[Row]:
        """The best trials of those that ran to their end, no two with the same words but for the seed."""
        found: dict[tuple[tuple[str, str], ...], Row] = {}
        for row in ranked(self.rows()):
            if row.ended and row.score is not None:
                found.setdefault(tuple((key, text) for key, text in row.words.items() if key != "seed"), row)
        return list(found.values())[:count]

    def drop_checkpoints(self) -> None:
        """Remove those of all trials that have ended, but for the best few."""
        self.rows()
        for row in ranked(list(self.ended.values()))[self.plan.keep_checkpoints :]:
            if row.name in self.dropped:
                continue
            self.dropped.add(row.name)
            for checkpoints in list((self.plan.folder / row.name).rglob("checkpoints")):
                run = checkpoints.parent
                record.Record(run, record.read(run)).update(best_checkpoint=None)
                shutil.rmtree(checkpoints, ignore_errors=True)


def _row(plan: Plan, told: Told) -> Row:
    folder = plan.folder / str(told.number)
    known = (folder / "run.json").is_file()
    row = read_row(folder, folder.name) if known else Row(folder.name, "waiting")
    row = replace(
        row,
        words=told.values,
        score_name=row.score_name or plan.score,
        mode=plan.mode,
        asked=row.asked or number(told.values.get("optimizer.lr", "")),
    )
    if told.result is None:
        return replace(row, status="running" if told.worker else "interrupted")
    score = told.result.score if row.score is None else row.score  # of another machine: its folder is not here
    return replace(row, status=told.result.status, reason=told.result.reason, score=score)


def _edges(plan: Plan, values: dict[str, str]) -> Iterator[str]:
    """A sentence for each learning rate that is best at an end of what was tried, with the wider line to run."""
    for key, text in values.items():
        side = plan.space[key].edge(text, values) if key.endswith("lr") and key in plan.space else None
        if side:
            where, line = "below" if side == "lower" else "above", plan.wider(key, side)
            wider = f", try: {line}" if line else ""
            what = f"the best {key}={text} lies at the {side} edge of {plan.space[key]}"
            yield f"{what}; a better one may lie {where}{wider}"
