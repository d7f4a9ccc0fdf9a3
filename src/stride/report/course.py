"""The course of a run, from its metrics.csv: its curves, how fast it converged, how often its loss jumped."""

import csv
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from stride.lr.curve import noise

TRAIN_LOSS, VAL_LOSS = "train/loss", "val/loss"
MOST_POINTS = 120  # of a thinned curve: what a screen shows of it
CONVERGED = 0.9  # of the way from the first score to the best
RISE = 0.5  # of all it had fallen: a loss that rises by more has jumped,
NOISES = 6.0  # if that is more than its noise, in standard deviations,
LEVEL = 5  # losses,
SHORTEST = 4  # and 2**4 whose noise is told
LEAST_RISE = 0.01  # and than this part of the first loss: what has not fallen yet would jump at every step


@dataclass(frozen=True)
class Series:
    """Finite values of one metric, each after so many optimizer steps."""

    steps: tuple[int, ...]
    values: tuple[float, ...]

    def thinned(self, most: int = MOST_POINTS) -> "Series":
        """At most about `most` points: of each stretch its lowest and its highest, so that no spike is lost."""
        count = len(self.values)
        if count <= most:
            return self
        inner = most // 2 - 1
        kept = {0, count - 1}
        for stretch in range(inner):
            here = range(stretch * count // inner, (stretch + 1) * count // inner)
            kept |= {min(here, key=self.values.__getitem__), max(here, key=self.values.__getitem__)}
        at = sorted(kept)
        return Series(tuple(self.steps[k] for k in at), tuple(self.values[k] for k in at))


@dataclass(frozen=True)
class Course:
    """What a run went through.

    Args:
        series: thinned curves of the score, val/loss and train/loss, those that were logged.
        converged: optimizer steps until `CONVERGED` of the way from the first score to the best was made; None where
            the score did not improve on its first value.
        spikes: how often the training loss jumped, None where it was not logged.
        first_score: the score at the first validation.
        first_loss: the training loss of step 0, which is that of the untrained network.
    """

    series: dict[str, Series]
    converged: int | None = None
    spikes: int | None = None
    first_score: float | None = None
    first_loss: float | None = None


def read(path: Path, score: str, mode: str) -> Course | None:
    """The course of the run with this metrics.csv; None where there is no such file, or nothing of it to read.

    Args:
        score: the metric that decides; `mode` is min or max.
    """
    try:
        logged = _columns(path, (score, VAL_LOSS, TRAIN_LOSS))
    except (OSError, ValueError, csv.Error):
        return None
    if not logged:
        return None
    series = {name: _finite(steps, values, name) for name, (steps, values) in logged.items()}
    scored, train = series.get(score), logged.get(TRAIN_LOSS)
    return Course(
        series={name: one.thinned() for name, one in series.items() if one.values},
        converged=converged(scored, mode) if scored else None,
        spikes=spikes(train[1]) if train else None,
        first_score=scored.values[0] if scored and scored.values else None,
        first_loss=train[1][0] if train and train[0][0] == 0 and math.isfinite(train[1][0]) else None,
    )


def converged(scores: Series, mode: str) -> int | None:
    """Steps until the first of the scores that made `CONVERGED` of the way from the first one to the best."""
    if not scores.values:
        return None
    sign = -1 if mode == "max" else 1
    values = [sign * value for value in scores.values]
    drop = values[0] - min(values)
    if drop <= 0:
        return None
    return next(step for step, value in zip(scores.steps, values, strict=True) if values[0] - value >= CONVERGED * drop)


def spikes(losses: Sequence[float]) -> int:
    """How often a loss jumped: it rose above its lowest level by half of all it had fallen, or is not finite.

    Measured against the fall, not against the loss, so it means the same for losses near or below 0; and only where
    it is more than 6 sigma of the loss's noise and more than 1 % of the first loss. From a jump until the loss has
    come back counts once. A level is the median of five losses: the lowest single one would be one of noise.
    """
    finite = [loss for loss in losses if math.isfinite(loss)]
    if not finite:
        return 1 if losses else 0
    first = lowest = finite[0]
    # Noise shrinks with the loss: what a loss is held against is the noise of the losses up to about there.
    sigmas = {
        length: noise(finite[: 2**length]) for length in range(SHORTEST, max(len(losses).bit_length(), SHORTEST) + 1)
    }
    last: deque[float] = deque(maxlen=LEVEL)
    count, above = 0, False
    for index, loss in enumerate(losses):
        sigma = sigmas[max(index.bit_length(), SHORTEST)]
        jumped = not loss - lowest <= max(RISE * (first - lowest), NOISES * sigma, LEAST_RISE * abs(first))
        count += jumped and not above
        above = jumped
        if math.isfinite(loss):
            last.append(loss)
            lowest = min(lowest, median(last)) if len(last) == LEVEL else lowest
    return count


def _columns(path: Path, names: Sequence[str]) -> dict[str, tuple[list[int], list[float]]]:
    """Name -> the steps of the file's rows that hold a value of it, and the values, for each column that holds any."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        header = next(rows, [])
        places = [(header.index(name), *found) for name in names if name in header for found in [([], [])]]
        step_at = header.index("step")
        for row in rows:
            for place, steps, values in places:
                if place < len(row) and row[place]:  # a row that is being written may be short
                    values.append(float(row[place]))
                    steps.append(int(row[step_at]))
    return {header[place]: (steps, values) for place, steps, values in places if values}


def _finite(steps: Sequence[int], values: Sequence[float], name: str) -> Series:
    # A row's step counts from 0: a training loss was taken before that step, all else after it.
    done = 0 if name == TRAIN_LOSS else 1
    kept = [(step + done, value) for step, value in zip(steps, values, strict=True) if math.isfinite(value)]
    return Series(tuple(step for step, _ in kept), tuple(value for _, value in kept))
