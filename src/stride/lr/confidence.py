"""How far a suggestion can be believed: a 90 % interval of the LR."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import pstdev

from stride.lr.curve import Curve
from stride.lr.suggest import Suggestion, read

DRAWS = 100
BLOCK = 5  # points: noise of neighbouring losses hangs together
# Decades: the standard deviation of log10(picked / best) over the cells of benchmarks/lr_regret.py. A curve without
# any noise would leave as much, since it does not say how long the run is, nor how it generalises.
OF_THE_RULE = 0.25
OF_THE_REHEARSED = 0.2  # the same of what lr_finder=thorough finds
NORMAL_90 = 1.645


def scatter(curve: Curve, picker: Callable[[Curve], Suggestion], *, seed: int = 0) -> float:
    """The standard deviation of log10 of what `picker` finds, over curves with this one's trend and other noise.

    A wild bootstrap (Wu 1986) in blocks: the errors around the trend keep their size and change their sign, some
    neighbouring ones together. 0 for a curve that cannot be read.
    """
    trend = read(curve)
    if isinstance(trend, Suggestion):
        return 0.0
    draw = random.Random(seed)
    levels = trend.levels
    errors = [loss - level for loss, level in zip(trend.losses, levels, strict=True)]
    found = []
    for _ in range(DRAWS):
        signs = [draw.choice((-1, 1)) for _ in range(len(errors) // BLOCK + 1)]
        noisy = (level + signs[k // BLOCK] * error for k, (level, error) in enumerate(zip(levels, errors, strict=True)))
        lr = picker(replace(curve, losses=tuple(noisy))).lr
        if lr is not None:
            found.append(math.log10(lr))
    return pstdev(found) if found else 0.0


def with_interval(suggestion: Suggestion, scatters: Sequence[float], *, of_the_rule: float = OF_THE_RULE) -> Suggestion:
    """The suggestion with the ends of its 90 % interval, from the scatter of each sweep that it is the mean of."""
    if suggestion.lr is None:
        return suggestion
    of_noise = math.fsum(each**2 for each in scatters) / len(scatters) ** 2
    factor = 10 ** (NORMAL_90 * math.sqrt(of_noise + of_the_rule**2))
    return replace(suggestion, low=suggestion.lr / factor, high=suggestion.lr * factor)
