"""The plan of a sweep: what is searched, how, how often, and in which folder; refused whole where it is wrong."""

import hashlib
import json
import math
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stride.errors import ConfigError, Fault, nearest
from stride.sweep import space as search
from stride.sweep.space import Choice, Interval, Space

if TYPE_CHECKING:
    from omegaconf import DictConfig

ROOT = Path(__file__).resolve().parents[3]
SAMPLERS = ("grid", "random", "tpe")
OF_THE_SWEEP = ("name", "output_root", "sweep")  # where and how a sweep runs: no part of its trials
OF_ONE_RUN = ("test", "validate", "predict")


@dataclass(frozen=True)
class Plan:
    """A sweep that can start: `trials` in all, `jobs` at once, each trial the `fixed` words and a point of `space`.

    `startup` counts tpe's random trials before the first chosen one (None: as many as Optuna takes), `seed` is the
    sampler's, `mode` says whether the least (min) or the largest (max) `score` is best, `command` is what was typed.
    """

    fixed: dict[str, str]
    space: Space
    sampler: str
    startup: int | None
    trials: int
    jobs: int
    seed: int
    score: str
    mode: str
    command: str
    root: Path
    name: str | None

    @property
    def folder(self) -> Path:
        """NAME, else a name that follows from what is run, so that the same line finds it again."""
        digest = hashlib.sha256(json.dumps(self.settings(), sort_keys=True).encode()).hexdigest()
        return self.root / (self.name or f"sweep-{digest[:8]}")

    def settings(self) -> dict[str, Any]:
        """What makes two sweeps the same one, as plain data. How many trials run at once does not."""
        return {
            "fixed": self.fixed,
            "space": {
                key: sorted(values.values) if isinstance(values, Choice) else str(values)
                for key, values in self.space.items()
            },
            "sampler": self.sampler,
            "startup": self.startup,
            "trials": self.trials,
            "score": [self.score, self.mode],
        }

    def words(self, values: dict[str, str]) -> list[str]:
        """The words of a single run at one point of the space."""
        return [f"{key}={text}" for key, text in (self.fixed | values).items()]

    def line(self, values: dict[str, str]) -> str:
        """The line that runs one point of the space by itself."""
        return shlex.join(["python", "train.py", *self.words(values)])


def read(words: Sequence[str], cfg: "DictConfig") -> Plan:
    """The plan of the words after -m, in the config that they compose. Raises ConfigError with all its faults."""
    from omegaconf import OmegaConf

    given, space, faults = search.read(words, lambda key: OmegaConf.select(cfg, key))
    sampler, trials, jobs = (cfg.sweep.get(key) for key in ("sampler", "trials", "jobs"))
    startup = cfg.sweep.get("startup") if sampler == "tpe" else None
    faults += _nothing_to_rank(given, space)
    if "optimizer.lr" in space and ("lr_finder" in space or cfg.get("lr_finder")):
        law = "each trial would find its own and use that"
        faults.append(Fault("lr_finder", "on, while optimizer.lr is swept", law, "lr_finder=none"))
    if sampler == "grid":
        faults += _not_a_grid(space, trials)
        trials = math.prod(len(values.values) for values in space.values() if isinstance(values, Choice))
    faults += _settings(sampler, trials, jobs, startup)
    if faults:
        raise ConfigError(*faults)
    return Plan(
        fixed={key: text for key, text in given.items() if not _is_of_the_sweep(key)},
        space=space,
        sampler=sampler,
        startup=startup,
        trials=trials,
        jobs=jobs,
        seed=cfg.seed,
        score=cfg.objective.score.name,
        mode=cfg.objective.score.mode,
        command=shlex.join(["python", "train.py", "-m", *(word.lstrip("+") for word in words)]),
        root=(ROOT / cfg.output_root).resolve(),
        name=None if cfg.name is None else str(cfg.name),
    )


def _is_of_the_sweep(key: str) -> bool:
    return key.partition(".")[0] in OF_THE_SWEEP


def _nothing_to_rank(given: dict[str, str], space: Space) -> Iterator[Fault]:
    if not space:
        yield Fault("-m", "nothing to sweep", "give a key several values", "python train.py -m optimizer.lr=1e-3,1e-2")
    for key in space:
        if _is_of_the_sweep(key) or key in ("task", "run"):
            yield Fault(key, "is one for the whole sweep", "it takes one value", f"{key}=...")
    if given.get("task") in OF_ONE_RUN:
        task = given["task"]
        yield Fault("task", f"task={task} belongs to one run", "a sweep trains new ones", f"without -m: task={task}")


def _not_a_grid(space: Space, trials: int | None) -> Iterator[Fault]:
    for key, values in space.items():
        if isinstance(values, Interval):
            ends = f"{key}={values.low:g},{values.high:g}"
            yield Fault(key, f"a grid has no {values}", "it needs values", f"sweep=random or {ends}")
    if trials is not None:
        yield Fault("sweep.trials", "a grid is run whole", f"got {trials}", f"sweep=random sweep.trials={trials}")


def _settings(sampler: Any, trials: Any, jobs: Any, startup: Any) -> Iterator[Fault]:
    if sampler not in SAMPLERS:
        hint = nearest(str(sampler), SAMPLERS) or "tpe"
        yield Fault(
            "sweep.sampler", f"no sampler {sampler!r}", f"samplers: {', '.join(SAMPLERS)}", f"sweep.sampler={hint}"
        )
    for key, count in (("trials", trials), ("jobs", jobs), ("startup", 1 if startup is None else startup)):
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            yield Fault(f"sweep.{key}", "must be an integer >= 1", f"got {count}", f"sweep.{key}=1")
