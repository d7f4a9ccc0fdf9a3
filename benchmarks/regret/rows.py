"""The finders of the table: what each says of a cell."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

from regret import found, search
from regret.cells import FINDER_SEEDS, SEEDS, Cell, config
from regret.rivals import FASTAI_LRS, RIVALS, unbiased_averages
from regret.store import Store
from stride.lr.curve import Curve
from stride.lr.suggest import PICKERS, in_late_steps

ADAMS = 1e-3  # the LR of torch's Adam, and of most who ask for none


@dataclass(frozen=True)
class Answer:
    """A finder's LR for a cell, None where it gives none; the gradient steps it took; its 90 % interval, if any."""

    lr: float | None
    steps: int
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Row:
    """A finder.

    Args:
        kind: what it is one of: ours, picker, lightning, fastai, search, fixed.
        seeds: what it is asked with.
        ask: the answer for a cell and a seed; None where it has not been asked yet.
        has_interval: whether it gives one with its LR.
    """

    name: str
    kind: str
    seeds: Sequence[int]
    ask: Callable[[Cell, int], Answer | None]
    has_interval: bool = False


def rows(grid: Store, store: Store) -> list[Row]:
    """All of them; `store` has what finders said, `grid` the runs that a search would make."""
    stages = [
        Row(stage.name, "ours", stage.seeds, partial(_of_stage, store, stage), has_interval=True)
        for stage in found.STAGES
    ]
    pickers = [
        Row(f"{picker}, {engine} engine", "picker", FINDER_SEEDS, partial(_of_picker, store, picker, engine))
        for engine in found.ENGINES
        for picker in PICKERS
    ]
    fastai = [
        Row(name, "fastai", FINDER_SEEDS, partial(_of_fastai, store, name))
        for name in RIVALS
        if name.startswith("fastai")
    ]
    searches = [
        Row(name, "search", SEEDS, partial(_of_search, grid, sampler)) for name, sampler in search.SAMPLERS.items()
    ]
    return [
        *stages,
        *pickers,
        Row(found.LIGHTNING, "lightning", FINDER_SEEDS, partial(_of_lightning, store)),
        *fastai,
        *searches,
        Row(f"lr={ADAMS}", "fixed", (0,), lambda cell, seed: Answer(ADAMS, 0)),
        Row("optimizer's default", "fixed", (0,), lambda cell, seed: Answer(asked_lr(cell), 0)),
    ]


def asked_lr(cell: Cell) -> float:
    """The LR that a run has where none is found: the default of its optimizer in conf/."""
    return config((f"optimizer={cell.optimizer}",)).optimizer.lr


def _of_stage(store: Store, stage: found.Stage, cell: Cell, seed: int) -> Answer | None:
    told = store.get(stage.job(cell, seed).asked)
    if told is None:
        return None
    low, high = told["interval"]
    return Answer(told["lr"], told["gradient_steps"], None if low is None else (low, high))


def _of_picker(store: Store, picker: str, engine: str, cell: Cell, seed: int) -> Answer | None:
    told = store.get(found.sweep(cell, engine, seed).asked)
    if told is None:
        return None
    curve = told["curve"]
    read = Curve(tuple(curve["lrs"]), tuple(curve["losses"]), curve["diverged"], told["momentum"])
    return Answer(_picked(picker, read, cell.optimizer), told["gradient_steps"])


@cache
def _picked(picker: str, curve: Curve, optimizer: str) -> float | None:
    """Kept, because a sweep is asked about at every horizon."""
    node = config((f"optimizer={optimizer}",)).optimizer
    return in_late_steps(PICKERS[picker](curve), curve, node._target_.rpartition(".")[2], node).lr


def _of_lightning(store: Store, cell: Cell, seed: int) -> Answer | None:
    told = store.get(found.lightning(cell, seed).asked)
    return told and Answer(told["lr"], told["gradient_steps"])


def _of_fastai(store: Store, name: str, cell: Cell, seed: int) -> Answer | None:
    told = store.get(found.fastai(cell, seed).asked)
    if told is None:
        return None
    losses = [float("nan") if loss is None else loss for loss in told["losses"]]
    return Answer(RIVALS[name].pick(FASTAI_LRS, losses), len(unbiased_averages(losses)))


def _of_search(grid: Store, sampler: str, cell: Cell, seed: int) -> Answer | None:
    lr = search.best(grid, cell, seed, sampler)
    return lr and Answer(lr, search.trials(cell) * cell.steps)
