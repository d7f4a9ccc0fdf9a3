"""The learning-rate finders of others: (LRs, raw losses) -> LR, or None where theirs gives none or fails.

Each from its published rule and source, in our own words, and on the sweep that it makes by itself. The losses given
are those of the whole sweep: where a rival would have stopped, the rest is left out here.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

SMOOTHING = 0.98  # both average so
STOP = 4.0  # and both stop where the average is above this many of its lowest
SKIP_BEGIN, SKIP_END = 10, 1  # points that Lightning leaves out,
FASTAI_SKIP_END = 5  # and fastai; at the beginning that is a tenth of the steps
INTERVAL, EQUAL = 15, 0.005  # fastai's slide: points, and the difference of slopes per point that counts as none

Pick = Callable[[Sequence[float], Sequence[float]], float | None]


@dataclass(frozen=True)
class Rival:
    """A finder as it comes, and the LRs that it sweeps."""

    pick: Pick
    lrs: tuple[float, ...]

    @property
    def min_lr(self) -> float:
        return self.lrs[0]

    @property
    def max_lr(self) -> float:
        return self.lrs[-1]

    @property
    def steps(self) -> int:
        return len(self.lrs)


def lightning(lrs: Sequence[float], losses: Sequence[float]) -> float | None:
    """Lightning 2.6.6: the steepest fall of its average against LR, not log LR, in 32 bits as there."""
    return steepest_against_lr(lrs, biased_averages(losses))


def biased_averages(losses: Sequence[float]) -> list[float]:
    """Lightning's running average, its bias taken out by one power too many, up to where it stops; a NaN does not."""
    return _until_it_stops(losses, lambda step: 1 - SMOOTHING ** (step + 1))


def steepest_against_lr(lrs: Sequence[float], averages: Sequence[float]) -> float | None:
    """Lightning's suggestion from its own averages: central differences, 10 points left out before and 1 after."""
    heights = _floats(averages)
    kept = [k for k in range(len(heights))[SKIP_BEGIN:-SKIP_END] if np.isfinite(heights[k])]
    if len(kept) < 2:
        return None
    slopes = np.gradient(heights[kept], _floats(lrs)[kept])
    return float(lrs[kept[int(np.argmin(slopes))]])


def fastai(rule: Callable[[np.ndarray, np.ndarray], float | None]) -> Pick:
    """A rule of fastai's, given what it gives them: without the first tenth, the last 5 and all from a NaN on."""

    def pick(lrs: Sequence[float], losses: Sequence[float]) -> float | None:
        averages = _floats(unbiased_averages(losses))[len(FASTAI_LRS) // 10 : -FASTAI_SKIP_END]
        nans = np.flatnonzero(np.isnan(averages))
        averages = averages[: nans[0] if len(nans) else None]
        rates = _floats(lrs)[len(FASTAI_LRS) // 10 :][: len(averages)]
        return rule(rates, averages) if len(averages) else None

    return pick


def unbiased_averages(losses: Sequence[float]) -> list[float]:
    """fastai's running average, up to where it stops; a NaN does not."""
    return _until_it_stops(losses, lambda step: 1 - SMOOTHING**step)


def _until_it_stops(losses: Sequence[float], bias: Callable[[int], float]) -> list[float]:
    average, lowest, averages = 0.0, math.inf, []
    for step, loss in enumerate(losses, start=1):
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        averages.append(average / bias(step))
        if averages[-1] > STOP * lowest:
            break
        if averages[-1] < lowest:
            lowest = averages[-1]
    return averages


def valley(lrs: np.ndarray, losses: np.ndarray) -> float:
    """fastai's default: the middle of the longest falling subsequence, counted back from its end without gaps."""
    lengths = [1] * len(losses)
    for point in range(len(losses)):
        before = [lengths[earlier] for earlier in range(point) if losses[earlier] > losses[point]]
        lengths[point] += max(before, default=0)
    end = int(np.argmax(lengths))
    width = lengths[end] if lengths[end] > 1 else 0
    third = width / 3
    return float(lrs[end - width + int(third) + int(third / 2)])


def slide(lrs: np.ndarray, losses: np.ndarray) -> float | None:
    """fastai's interval of 15 points, moved left from the last until its ends' slopes differ by 0.005 or less."""
    right = len(losses) - 1
    if right < INTERVAL:
        return None
    slopes = np.gradient(losses)
    found = right - INTERVAL
    while right >= INTERVAL and abs(slopes[right] - slopes[right - INTERVAL]) > EQUAL:
        found = right - INTERVAL
        right -= 1
    return float(lrs[found])


def minimum(lrs: np.ndarray, losses: np.ndarray) -> float:
    """fastai's tenth of the LR with the lowest average."""
    return float(lrs[np.argmin(losses)]) / 10


def steep(lrs: np.ndarray, losses: np.ndarray) -> float | None:
    """fastai's steepest fall between neighbours against log LR: the left of the two."""
    if len(losses) < 2:
        return None
    return float(lrs[np.argmin(np.diff(losses) / np.diff(np.log(lrs)))])


def _floats(values: Sequence[float]) -> np.ndarray:
    with np.errstate(over="ignore"):  # what 32 bits do not hold is infinite there too
        return np.array(values, dtype=np.float64).astype(np.float32)


def _ladder(low: float, high: float, shares: Sequence[float]) -> tuple[float, ...]:
    return tuple(low * (high / low) ** share for share in shares)


# Lightning's first step is a double one; fastai's last LR is one step short of the end.
LIGHTNING_LRS = _ladder(1e-8, 1.0, [0.0, *(step / 100 for step in range(2, 101))])
FASTAI_LRS = _ladder(1e-7, 10.0, [step / 100 for step in range(100)])

RIVALS = {
    "Lightning 2.6.6": Rival(lightning, LIGHTNING_LRS),
    **{f"fastai {rule.__name__}": Rival(fastai(rule), FASTAI_LRS) for rule in (valley, slide, minimum, steep)},
}
