"""Laws of the learning rate: factories that return `step -> multiplier` of the base rate.

The clock t counts optimizer steps from 0. A law's end is reached at t = total - 1 and held from there on: a
step too many never raises the rate. Multipliers lie in [0, 1]. A run of one step takes it at 1, except under
`cyclic`, which begins low.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence

from stride.lr.duration import Steps

Schedule = Callable[[int], float]

# These laws rise by themselves; another warm-up on top would bend the rise.
OWN_WARMUP = frozenset({"one_cycle", "cyclic"})

# How much of a fall is still to come, 1 to 0, when `u` of its way, 0 to 1, is done.
_LEFT: dict[str, Callable[[float], float]] = {
    "linear": lambda u: 1 - u,
    "sqrt": lambda u: 1 - math.sqrt(u),
    "cosine": lambda u: (1 + math.cos(math.pi * u)) / 2,
}


def constant(*, total: int) -> Schedule:
    """f(t) = 1."""
    return _hold(total, lambda t: 1.0)


def linear(*, total: int, floor: float = 0.0) -> Schedule:
    """f(t) = floor + (1 - floor) (1 - u), u = t / (total - 1): from 1 at step 0 to `floor` at the last step.

    Raises ValueError unless 0 <= floor <= 1.
    """
    return _fall(total, floor, _LEFT["linear"])


def cosine(*, total: int, floor: float = 0.0) -> Schedule:
    """f(t) = floor + (1 - floor) (1 + cos(pi u)) / 2, u = t / (total - 1): half a cosine from 1 to `floor`.

    Loshchilov and Hutter 2016, arXiv 1608.03983, without restarts. Raises ValueError unless 0 <= floor <= 1.
    """
    return _fall(total, floor, _LEFT["cosine"])


def cosine_restarts(
    *, total: int, cycle: Steps, growth: float = 1.0, decay: float = 1.0, floor: float = 0.0
) -> Schedule:
    """SGDR: f(t) = floor + (1 - floor) decay^i (1 + cos(pi s / n)) / 2, s of n steps into cycle i.

    The cycle that would end nearest to the end of the run is the last one and is fitted to it: the run ends
    at `floor`, never shortly after a restart (cycles of 500 in 1001 steps would restart at the very last).
    n is `cycle` at first and grows by `growth`. Loshchilov and Hutter 2016, arXiv 1608.03983.
    Raises ValueError unless 1 <= cycle <= total, growth >= 1, 0 < decay <= 1 and 0 <= floor <= 1.
    """
    require(1 <= cycle <= total, "1 <= cycle <= total", f"{cycle=}, {total=}")
    require(1 <= growth < math.inf, "1 <= growth < inf", f"{growth=}")
    require(0 < decay <= 1, "0 < decay <= 1", f"{decay=}")
    require(0 <= floor <= 1, "0 <= floor <= 1", f"{floor=}")
    starts, length = [0], float(cycle)
    while total - (starts[-1] + length) > length * growth / 2:
        starts.append(round(starts[-1] + length))
        length *= growth
    ends = [*starts[1:], total - 1]

    def law(t: int) -> float:
        i = bisect_right(starts, t) - 1
        return _above(floor, decay**i * _LEFT["cosine"](_way(t, starts[i], ends[i])))

    return _hold(total, law)


def polynomial(*, total: int, power: float, floor: float = 0.0) -> Schedule:
    """f(t) = floor + (1 - floor) (1 - u)^power, u = t / (total - 1): from 1 to `floor` at the last step.

    Power 1 is `linear`; 0.9 is the `poly` policy of DeepLab, arXiv 1606.00915.
    Raises ValueError unless 0 < power < inf and 0 <= floor <= 1.
    """
    require(0 < power < math.inf, "0 < power < inf", f"{power=}")
    return _fall(total, floor, lambda u: (1 - u) ** power)


def exponential(*, total: int, final: float) -> Schedule:
    """f(t) = final^u, u = t / (total - 1): the same factor at every step, from 1 to `final` at the last step.

    It asks for the end, not for the factor of a step (torch's `gamma`, here final^(1 / (total - 1))): a gamma
    that suits one length of run leaves nothing of the rate in a longer one.
    Raises ValueError unless 0 < final <= 1.
    """
    require(0 < final <= 1, "0 < final <= 1", f"{final=}")
    return _hold(total, lambda t: final ** _way(t, 0, total - 1))


def step(*, total: int, every: Steps, gamma: float) -> Schedule:
    """f(t) = gamma^floor(t / every): a drop by `gamma` each `every` steps.

    Raises ValueError unless every >= 1 and 0 < gamma <= 1.
    """
    require(every >= 1, "every >= 1", f"{every=}")
    require(0 < gamma <= 1, "0 < gamma <= 1", f"{gamma=}")
    return _hold(total, lambda t: gamma ** (t // every))


def multistep(*, total: int, milestones: list[Steps], gamma: float) -> Schedule:
    """f(t) = gamma^(number of milestones <= t): the step of a milestone is the first one after its drop.

    Raises ValueError unless the milestones ascend from 1 or more and 0 < gamma <= 1.
    """
    ascend = all(early <= late for early, late in zip([1, *milestones], milestones, strict=False))
    require(ascend, "1 <= milestones, ascending", f"{milestones=}")
    require(0 < gamma <= 1, "0 < gamma <= 1", f"{gamma=}")
    return _hold(total, lambda t: gamma ** bisect_right(milestones, t))


def inverse_sqrt(*, total: int, timescale: Steps) -> Schedule:
    """f(t) = sqrt(timescale / max(timescale, t + 1)): 1 for `timescale` steps, then as 1 / sqrt(t + 1).

    T5's rule, arXiv 1910.10683; under a linear warm-up of `timescale` steps it is that of the Transformer,
    arXiv 1706.03762. Raises ValueError unless timescale >= 1.
    """
    require(timescale >= 1, "timescale >= 1", f"{timescale=}")
    return _hold(total, lambda t: math.sqrt(timescale / max(timescale, t + 1)))


def wsd(*, total: int, decay: Steps, shape: str = "linear", floor: float = 0.0) -> Schedule:
    """Warm-up, stable, decay, less the warm-up: f(t) = 1, in the last `decay` steps floor + (1 - floor) g(v).

    v = (t - start) / decay from start = total - 1 - decay on; g is 1 - v (`linear`), 1 - sqrt(v) (`sqrt`) or
    (1 + cos(pi v)) / 2 (`cosine`). A decay as long as the run starts from 1 at step 0.
    Hägele et al. 2024, arXiv 2405.18392. Raises ValueError unless 0 <= decay <= total and 0 <= floor <= 1.
    """
    require(0 <= decay <= total, "0 <= decay <= total", f"{decay=}, {total=}")
    return _fall(total, floor, _shaped(shape, "linear", "sqrt", "cosine"), start=max(total - 1 - decay, 0))


def one_cycle(
    *, total: int, rise: Steps, start: float = 1 / 25, end: float = 1 / 25 / 1e4, shape: str = "cosine"
) -> Schedule:
    """From `start` at step 0 up to 1 at step rise - 1, then down to `end` at the last step.

    Both ways are half a cosine (`cosine`) or straight (`linear`). Smith and Topin 2018, arXiv 1708.07120.
    Raises ValueError unless 1 <= rise <= total, 0 <= start <= 1 and 0 <= end <= 1.
    """
    require(1 <= rise <= total, "1 <= rise <= total", f"{rise=}, {total=}")
    require(0 <= start <= 1, "0 <= start <= 1", f"{start=}")
    require(0 <= end <= 1, "0 <= end <= 1", f"{end=}")
    left = _shaped(shape, "cosine", "linear")
    peak = rise - 1

    def law(t: int) -> float:
        if t <= peak:
            return _above(start, left(_way(peak - t, 0, peak)))
        return _above(end, left(_way(t, peak, total - 1)))

    return _hold(total, law)


def cyclic(*, total: int, half_cycle: Steps, low: float, mode: str = "triangular", gamma: float = 0.5) -> Schedule:
    """f(t) = low + (1 - low) a(t) h(t), the triangle h(t) = 1 - |1 - (t mod 2 half_cycle) / half_cycle|.

    From `low` at step 0 to the peak at step half_cycle and back. The height a is 1 (`triangular`), halved
    after each cycle (`triangular2`), or gamma^(t / (2 half_cycle)) (`exp_range`): `gamma` is per cycle, which
    means the same in a run of any length; torch's is per step. The run may end anywhere in a cycle.
    Smith 2015, arXiv 1506.01186.
    Raises ValueError unless half_cycle >= 1, 0 <= low <= 1 and 0 < gamma <= 1.
    """
    require(half_cycle >= 1, "half_cycle >= 1", f"{half_cycle=}")
    require(0 <= low <= 1, "0 <= low <= 1", f"{low=}")
    require(0 < gamma <= 1, "0 < gamma <= 1", f"{gamma=}")
    whole = 2 * half_cycle
    heights: dict[str, Schedule] = {
        "triangular": lambda t: 1.0,
        "triangular2": lambda t: 0.5 ** (t // whole),
        "exp_range": lambda t: gamma ** (t / whole),
    }
    require(mode in heights, f"mode in ({', '.join(heights)})", f"{mode=}")
    height = heights[mode]
    return _hold(total, lambda t: _above(low, (1 - abs(1 - t % whole / half_cycle)) * height(t)))


def times(*parts: Schedule) -> Schedule:
    """The product of its parts, all on one clock."""
    return lambda t: math.prod(part(t) for part in parts)


def join(parts: Sequence[Schedule], boundaries: Sequence[int]) -> Schedule:
    """One part after the other: the next one takes over at each boundary, where its own clock starts at 0.

    Raises ValueError unless the boundaries, one fewer than the parts, ascend from 1 or more.
    """
    require(
        len(boundaries) == len(parts) - 1,
        "len(boundaries) == len(parts) - 1",
        f"{len(boundaries)} boundaries for {len(parts)} parts",
    )
    starts = [0, *boundaries]
    ascend = all(early < late for early, late in zip(starts, boundaries, strict=False))
    require(ascend, "1 <= boundaries, ascending", f"{boundaries=}")

    def law(t: int) -> float:
        current = bisect_right(starts, t) - 1
        return parts[current](t - starts[current])

    return law


def require(holds: bool, law: str, got: str) -> None:
    """Raise ValueError, with the law and the values that break it, unless it holds."""
    if not holds:
        raise ValueError(f"`{law}` must hold, but got {got}")


def _hold(total: int, law: Schedule) -> Schedule:
    require(total >= 1, "total >= 1", f"{total=}")
    return lambda t: law(min(t, total - 1))


def _fall(total: int, floor: float, left: Callable[[float], float], start: int = 0) -> Schedule:
    require(0 <= floor <= 1, "0 <= floor <= 1", f"{floor=}")
    return _hold(total, lambda t: _above(floor, left(_way(t, start, total - 1))))


def _way(t: int, start: int, end: int) -> float:
    # Until `start` nothing is done; asking this first also answers for a way without length.
    return (t - start) / (end - start) if t > start else 0.0


def _above(low: float, height: float) -> float:
    # In this form both ends are exact in floating point: `low` at height 0 and 1.0 at height 1.
    return low + (1 - low) * height


def _shaped(shape: str, *known: str) -> Callable[[float], float]:
    require(shape in known, f"shape in ({', '.join(known)})", f"{shape=}")
    return _LEFT[shape]
