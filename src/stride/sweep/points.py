"""Points of a search space that follow from a trial's number alone: a grid's, independent ones, evenly spread ones.

Nothing is drawn in turn, so a sweep that is resumed, or shared by several drivers, tries each point exactly once.
"""

import itertools
import math
import random
from collections.abc import Iterator, Mapping

from stride.sweep.space import AROUND, AroundFound, Choice, Space

# Where a choosing sampler begins that searches the learning rate alone around what was found: there, at half of it,
# at twice of it. Of the orders tried on the cells of benchmarks/lr_regret.py it found a good rate soonest after these.
NEAR_FOUND = [(1 + math.log(factor, AROUND)) / 2 for factor in (1, 1 / 2, 2)]

Point = dict[str, str | int | float]


def grid(space: Mapping[str, Choice]) -> list[Point]:
    """Every combination of the values; the key typed last changes fastest."""
    values = (choice.values for choice in space.values())
    return [dict(zip(space, point, strict=True)) for point in itertools.product(*values)]


def independent(space: Space, seed: int, number: int) -> Point:
    """Uniform over each key's own scale, whatever the other keys and trials have."""
    draw = random.Random(f"{seed} {number}")
    return {key: values.at(draw.random()) for key, values in space.items()}


def evenly_spread(space: Space, seed: int, number: int) -> Point:
    """The points of a scrambled Sobol sequence (Sobol 1967, Owen 1995) in the order of their numbers.

    Any stretch from the first one on covers every key's scale evenly: 8 points of a learning rate lie one in each
    eighth of its decades, where 8 independent ones leave a third of the eighths empty.
    """
    places = _sobol(len(space), seed, number)
    point = {key: values.at(u) for (key, values), u in zip(space.items(), places, strict=True)}
    # The first run goes where the finder says.
    return point | {key: 0.5 for key, values in space.items() if isinstance(values, AroundFound) and number == 0}


def _sobol(dimensions: int, seed: int, number: int) -> Iterator[float]:
    """Point `number` of the sequence, in [0, 1) along each dimension."""
    from scipy.stats.qmc import Sobol

    blocks = Sobol(dimensions, scramble=True, rng=seed)
    if number:  # SciPy cannot go forward by none
        blocks.fast_forward(number)
    return (min(float(u), math.nextafter(1.0, 0.0)) for u in blocks.random(1)[0])
