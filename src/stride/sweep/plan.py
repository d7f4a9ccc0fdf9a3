"""The plan of a sweep: what is searched, how, how often, and in which folder; refused whole where it is wrong."""

import hashlib
import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stride.errors import ConfigError, Fault, nearest
from stride.secret import without_secret
from stride.sweep import devices, points
from stride.sweep import space as search
from stride.sweep.points import Point
from stride.sweep.space import AroundFound, Choice, Interval, Space

if TYPE_CHECKING:
    from omegaconf import DictConfig

ROOT = Path(__file__).resolve().parents[3]
CHOOSING = ("tpe", "gp", "cmaes")  # by what the earlier trials reached
SAMPLERS = ("grid", "quasi", "random", *CHOOSING)
PRUNERS = ("none", "median", "halving", "hyperband", "patient")
STARTS = ("auto", "fork", "fresh")
OF_THE_SWEEP = ("name", "output_root", "sweep")  # where and how a sweep runs: no part of its trials
OF_ONE_RUN = ("test", "validate", "predict")

# The least that a number of conf/sweep may be; those with None there may be null.
LEAST: dict[str, tuple[int, bool]] = {
    "trials": (1, False),
    "startup": (1, False),
    "grace": (0, False),
    "patience": (0, False),
    "jobs": (1, False),
    "lease": (1, False),
    "max_failures": (0, True),
    "keep_checkpoints": (0, False),
    "confirm": (0, False),
}


@dataclass(frozen=True)
class Plan:
    """A sweep that can start: `trials` in all, each the `fixed` words and a point of `space`.

    `listed` are the points where they are all known before (a grid's). `seed` is the sampler's, `mode` says whether
    the least (min) or the largest (max) `score` is best, `typed` are the words after -m. The rest is as in conf/sweep.
    """

    fixed: dict[str, str]
    space: Space
    listed: tuple[Point, ...] | None
    sampler: str
    startup: int
    trials: int
    pruner: str
    grace: int
    patience: int
    jobs: int
    start: str
    storage: str | None
    lease: float
    max_failures: int | None
    keep_checkpoints: int
    confirm: int
    lr_range: str | None
    seed: int
    score: str
    mode: str
    typed: tuple[str, ...]
    root: Path
    name: str | None
    kind: str = "trial"  # what one of its runs is called

    @property
    def command(self) -> str:
        """What was typed, without secrets."""
        return _line(["-m", *self.typed])

    @property
    def folder(self) -> Path:
        """NAME, else a name that follows from what is run, so that the same line finds it again."""
        what = self.settings() | {"trials": self.trials}
        digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
        return self.root / (self.name or f"sweep-{digest[:8]}")

    @property
    def study(self) -> str:
        """The study's name in its storage."""
        return self.folder.relative_to(self.root).as_posix()

    @property
    def another_name(self) -> str:
        """The word that has the same line begin a new sweep."""
        return f"name={self.folder.name}-2"

    def settings(self) -> dict[str, Any]:
        """What makes two sweeps the same one, as plain data; not how they are run, nor how far."""
        return {
            "fixed": dict(without_secret(f"{key}={text}").split("=", 1) for key, text in self.fixed.items()),
            "space": {
                key: sorted(values.values) if isinstance(values, Choice) else str(values)
                for key, values in self.space.items()
            },
            "sampler": self.sampler,
            "startup": self.startup if self.sampler in CHOOSING else None,
            "pruner": [self.pruner, *([self.grace] if self.pruner != "none" else [])],
            "score": [self.score, self.mode],
        }

    def to_find(self) -> "Plan":
        """The plan of the findings that the range of the learning rate is to lie around."""
        around = self.space["optimizer.lr"]
        assert isinstance(around, AroundFound)
        space: Space = {key: self.space[key] for key in around.keys}
        listed = tuple(points.grid({key: values for key, values in space.items() if isinstance(values, Choice)}))
        fixed = {"lr_finder": "on", **self.fixed, "task": "tune"}
        return self._stage("find", "finding", fixed=fixed, space=space, listed=listed)

    def to_confirm(self, configurations: Sequence[dict[str, str]]) -> "Plan":
        """The plan of the runs of these words again, on `confirm` seeds that none of them was chosen on."""
        seeds = [str(self.seed + further) for further in range(1, self.confirm + 1)]
        listed = tuple({**words, "seed": seed} for words in configurations for seed in seeds)
        space: Space = {key: Choice(tuple(dict.fromkeys(str(point[key]) for point in listed))) for key in listed[0]}
        return self._stage("confirm", "confirmation", fixed=self.fixed, space=space, listed=listed)

    def _stage(self, name: str, kind: str, **changes: Any) -> "Plan":
        """A plan for other runs in a folder of this sweep's."""
        whole: dict[str, Any] = {"sampler": "grid", "pruner": "none", "confirm": 0, "lr_range": None}
        trials = len(changes["listed"])
        name = f"{self.folder.name}/{name}"
        return replace(self, name=name, kind=kind, trials=trials, max_failures=None, **whole, **changes)

    def words(self, values: dict[str, str]) -> list[str]:
        """The words of a single run at one point of the space."""
        return [f"{key}={text}" for key, text in (self.fixed | values).items()]

    def line(self, values: dict[str, str]) -> str:
        """The line that runs one point of the space by itself."""
        return _line(self.words(values))

    def wider(self, key: str, side: str) -> str | None:
        """The line of this sweep with the range of `key` widened beyond its `lower` or `upper` end."""
        beyond = self.space[key].beyond(side)
        if beyond is None:
            return None
        kept = [word for word in self.typed if word.partition("=")[0].lstrip("+") not in (key, "name")]
        renamed = [self.another_name] if self.name else []
        return _line(["-m", *kept, *renamed, f"{key}={beyond}"])


def _line(words: Sequence[str]) -> str:
    return shlex.join(["python", "train.py", *map(without_secret, words)])


def read(words: Sequence[str], cfg: "DictConfig") -> Plan:
    """The plan of the words after -m, in the config that they compose. Raises ConfigError with all its faults."""
    from omegaconf import OmegaConf

    given, space, faults = search.read(words, lambda key: OmegaConf.select(cfg, key))
    asked: Any = OmegaConf.to_container(cfg.sweep)
    if asked["lr_range"] is not None:
        faults += _no_range_of_its_own(asked["lr_range"], asked["sampler"], space, cfg)
        space["optimizer.lr"] = AroundFound(tuple(key for key in ("model", "optimizer") if key in space))
    elif "optimizer.lr" in space and ("lr_finder" in space or cfg.get("lr_finder")):
        law = "each trial would find its own and use that"
        faults.append(Fault("lr_finder", "on, while optimizer.lr is swept", law, "lr_finder=none"))
    faults += _nothing_to_rank(given, space)
    listed = None
    if asked["sampler"] == "grid":
        faults += _not_a_grid(space, asked["trials"])
        values = {key: choice for key, choice in space.items() if isinstance(choice, Choice)}
        listed = tuple(points.grid(values))
        asked["trials"] = len(listed)
    faults += _settings(asked, space)
    if asked["start"] == "fork" and devices.several(cfg.trainer.devices, cfg.trainer.num_nodes):
        law = f"with trainer.devices={cfg.trainer.devices} Lightning starts processes of its own, from a fresh one"
        faults.append(Fault("sweep.start", "no fork", law, "sweep.start=auto"))
    if faults:
        raise ConfigError(*faults)
    del asked["space"]
    return Plan(
        fixed={key: text for key, text in given.items() if not _is_of_the_sweep(key)},
        space=space,
        listed=listed,
        seed=cfg.seed,
        score=cfg.objective.score.name,
        mode=cfg.objective.score.mode,
        typed=tuple(word.lstrip("+") for word in words),
        root=(ROOT / cfg.output_root).resolve(),
        name=None if cfg.name is None else str(cfg.name),
        **asked,
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


def _no_range_of_its_own(lr_range: str, sampler: str, space: Space, cfg: "DictConfig") -> Iterator[Fault]:
    if lr_range != "finder":
        yield Fault("sweep.lr_range", f"no range {lr_range!r}", "finder or null", "sweep.lr_range=finder")
    if "optimizer.lr" in space:
        law = "sweep.lr_range=finder sets it"
        yield Fault("optimizer.lr", f"swept over {space['optimizer.lr']}", law, "sweep.lr_range=null")
    if "lr_finder" in space or cfg.get("lr_finder"):
        law = "the sweep searches around one finding"
        yield Fault("lr_finder", "on, with sweep.lr_range=finder", law, "lr_finder=none")
    if sampler == "grid":
        law = "a grid has values of its own"
        yield Fault("sweep.lr_range", "is no range for a grid", law, "sweep=bayes sweep.lr_range=finder")


def _not_a_grid(space: Space, trials: int | None) -> Iterator[Fault]:
    for key, values in space.items():
        if isinstance(values, Interval):
            ends = f"{key}={values.low:g},{values.high:g}"
            yield Fault(key, f"a grid has no {values}", "it needs values", f"sweep=random or {ends}")
    if trials is not None:
        yield Fault("sweep.trials", "a grid is run whole", f"got {trials}", f"sweep=random sweep.trials={trials}")


def _settings(asked: dict[str, Any], space: Space) -> Iterator[Fault]:
    for key, known in (("sampler", SAMPLERS), ("pruner", PRUNERS), ("start", STARTS)):
        if asked[key] not in known:
            hint = nearest(str(asked[key]), known) or known[0]
            law = f"{key}s: {', '.join(known)}"
            yield Fault(f"sweep.{key}", f"no {key} {asked[key]!r}", law, f"sweep.{key}={hint}")
    for key, (least, nullable) in LEAST.items():
        value = asked[key]
        whole = isinstance(value, int | float if key == "lease" else int) and not isinstance(value, bool)
        if not (whole and value >= least) and not (value is None and nullable):
            kind = "a number" if key == "lease" else "an integer"
            yield Fault(f"sweep.{key}", f"must be {kind} >= {least}", f"got {value}", f"sweep.{key}={max(1, least)}")
    if asked["sampler"] == "cmaes" and not any(isinstance(values, Interval) for values in space.values()):
        law = "it moves along numbers; values without order are not for it"
        yield Fault("sweep.sampler", "cmaes has no interval to search", law, "sweep.sampler=tpe")
