"""What scores are worth: against the best of them, and against the score of the untrained network."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from stride.report.course import VAL_LOSS
from stride.report.table import Row

NOTHING = 0.95  # of the way from the best score to the untrained network's: a run that ends beyond has learned nothing
REACHED = ("finished", "stopped_early", "pruned")  # statuses of runs whose score says something about their values


@dataclass(frozen=True)
class Start:
    """The `score` that runs start from, and the `best` they reached.

    It was `measured` on the untrained network, or is the nearest there is to it.
    """

    score: float
    best: float
    measured: bool

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "Start | None":
        """That of runs with one score; None where none of them reached any.

        Of a validation loss it is measured: the training loss of step 0, the median over the runs. Of another score
        it is what the run with the lowest LR, which has moved the least, had at its first validation. Where that is
        not known, or no worse than the best (a network trained before), it is the worst score that a run came to.
        """
        reached = [row.score for row in rows if row.status in REACHED and row.score is not None]
        if not reached:
            return None
        losses = [row.course.first_loss for row in rows if row.course and row.course.first_loss is not None]
        firsts = [
            (row.lr, row.course.first_score)
            for row in rows
            if row.lr is not None and row.course and row.course.first_score is not None
        ]
        better, worse = (max, min) if rows[0].mode == "max" else (min, max)
        best, worst = better(reached), worse(reached)
        measured = rows[0].score_name == VAL_LOSS and bool(losses)
        start = median(losses) if measured else min(firsts)[1] if firsts else worst
        return cls(start, best, measured) if worse(start, best) != best else cls(worst, best, False)

    def counted(self, row: Row) -> float | None:
        """The score that a run counts with beside others; None if it says nothing, as that of one that failed.

        One that diverged counts as untrained, and none counts as worse: how far a loss ran away means nothing.
        """
        if row.status == "diverged":
            return self.score
        if row.status not in REACHED or row.score is None:
            return None
        return max(row.score, self.score) if row.mode == "max" else min(row.score, self.score)

    def lost(self, row: Row) -> bool:
        """Whether a run diverged, or surely came to hardly better than the untrained network."""
        score = self.counted(row)
        if row.status == "diverged" or score is None or not self.measured:
            return row.status == "diverged"
        return (score - self.best) / (self.score - self.best) > NOTHING
