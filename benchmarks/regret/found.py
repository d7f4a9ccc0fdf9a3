"""What finders say of the cells: the jobs whose results are the lines of results/lr_regret/found.

A key holds what a finder is asked, and the settings of `lr_finder`, but not the finder's code: who changes that removes
its file. A sweep does not depend on the run's length: it is made once for both horizons, and read when a table is.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from omegaconf import OmegaConf

from regret.cells import FINDER_SEEDS, Cell, cells, config
from regret.jobs import Job
from regret.rivals import FASTAI_LRS

LIGHTNING = f"Lightning {version('pytorch-lightning')}"
ENGINES = ("lightning", "ramp")
OF_A_SWEEP = ("min_lr", "max_lr", "steps", "orders")  # the settings that a sweep depends on


@dataclass(frozen=True)
class Stage:
    """Stride's tune stage, as it is typed."""

    name: str
    file: str
    words: tuple[str, ...]
    seeds: Sequence[int] = FINDER_SEEDS

    def job(self, cell: Cell, seed: int) -> Job:
        words = (*cell.words, *self.words)
        asked = {"words": words, "settings": _settings(self.words), "seed": seed}
        return Job(asked, self.file, {"cell": str(cell), "seed": seed}, _stage, (words, seed))


def _thorough(budget: int, seeds: Sequence[int] = FINDER_SEEDS) -> Stage:
    words = ("lr_finder=thorough", f"lr_finder.budget={budget}")
    return Stage(f"Stride thorough, budget {budget}", f"thorough-{budget}", words, seeds)


DEFAULT = Stage("Stride (lr_finder=on)", "on", ("lr_finder=on",))
STAGES = (DEFAULT, _thorough(1), _thorough(2, FINDER_SEEDS[:1]), _thorough(4, FINDER_SEEDS[:1]))


def jobs(horizons: Sequence[int]) -> Iterator[Job]:
    """All of them, what is read most first."""
    yield from _each(DEFAULT, horizons)
    of_any_length = [cell for cell in cells() if cell.steps == next(cells()).steps]
    for seed in FINDER_SEEDS:
        for cell in of_any_length:
            yield lightning(cell, seed)
            yield fastai(cell, seed)
            yield from (sweep(cell, engine, seed) for engine in ENGINES)
    for stage in STAGES[1:]:
        yield from _each(stage, horizons)


def _each(stage: Stage, horizons: Sequence[int]) -> Iterator[Job]:
    for seed in stage.seeds:
        for cell in cells(tuple(horizons)):
            yield stage.job(cell, seed)


def sweep(cell: Cell, engine: str, seed: int) -> Job:
    """The curve of one of Stride's engines, for its pickers."""
    ours = ("lr_finder=on", "lr_finder.trial=0", f"lr_finder.engine={engine}")
    settings = {name: _settings(ours)[name] for name in OF_A_SWEEP}
    asked = {"words": cell.words_of_any_length, "engine": engine, "settings": settings, "seed": seed}
    arguments = ((*cell.words_of_any_length, *ours), seed)
    return Job(asked, f"sweeps-{engine}", _of_any_length(cell, seed), _sweep, arguments)


def lightning(cell: Cell, seed: int) -> Job:
    """Lightning's finder as it comes."""
    asked = {"words": cell.words_of_any_length, "finder": LIGHTNING, "seed": seed}
    arguments = (tuple(cell.words_of_any_length), seed)
    return Job(asked, "lightning", _of_any_length(cell, seed), _lightning, arguments)


def fastai(cell: Cell, seed: int) -> Job:
    """The raw losses at the LRs that fastai sweeps, for its four rules."""
    lrs = [FASTAI_LRS[0], FASTAI_LRS[-1], len(FASTAI_LRS)]
    asked = {"words": cell.words_of_any_length, "finder": "fastai", "lrs": lrs, "seed": seed}
    arguments = (tuple(cell.words_of_any_length), seed)
    return Job(asked, "sweeps-fastai", _of_any_length(cell, seed), _fastai, arguments)


def _settings(words: tuple[str, ...]) -> dict[str, Any]:
    """The settings of `lr_finder` under a line, those of conf/ included."""
    settings: Any = OmegaConf.to_container(config(words).lr_finder, resolve=True)
    return settings


def _of_any_length(cell: Cell, seed: int) -> dict[str, Any]:
    return {"cell": f"{cell.task} {cell.optimizer}", "seed": seed}


def _stage(words: tuple[str, ...], seed: int) -> dict[str, Any]:
    from regret import finders

    told = finders.found(words, seed=seed)
    return {name: told[name] for name in ("lr", "interval", "outcome", "gradient_steps")}


def _sweep(words: tuple[str, ...], seed: int) -> dict[str, Any]:
    from regret import finders

    told = finders.found(words, seed=seed)
    return {name: told[name] for name in ("curve", "momentum", "gradient_steps")}


def _lightning(words: tuple[str, ...], seed: int) -> dict[str, Any]:
    from regret import sweeps

    return sweeps.lightning(words, seed=seed)


def _fastai(words: tuple[str, ...], seed: int) -> dict[str, Any]:
    from regret import sweeps

    losses = sweeps.at(FASTAI_LRS, words, seed=seed)
    return {"losses": [None if math.isnan(loss) else float(f"{loss:.5g}") for loss in losses]}
