"""Rules on a composed config; torch-free. Collects every fault and raises nothing.

A rule about one value is a row of RANGES; a rule that belongs to a law of the LR stands in that law, and is asked
here by building the law.
"""

import functools
import importlib.util
import math
import os
import re
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path, PureWindowsPath
from types import ModuleType
from typing import TYPE_CHECKING, Any

from stride import engine, own_rate, torch_law
from stride.datamodules.fold import SPLITTERS
from stride.datamodules.split import check_fractions
from stride.errors import ConfigError, Fault, nearest, one_line
from stride.keys import every, flat, look_up
from stride.lr import ramp, schedule, width
from stride.lr.duration import Duration, Horizon, NoLength, bind, within
from stride.lr.stability import stability_limit
from stride.lr.suggest import FEWEST_POINTS, PICKERS
from stride.patterns import compiled, rules
from stride.run_folder import RUN_NAME
from stride.secret import BLANK, secrets_in, shown
from stride.signature import NoSuchTarget, is_subclass, signature

if TYPE_CHECKING:
    from omegaconf import DictConfig


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`; `above` leaves `low` itself out, `integer` all but whole numbers.

    `also` are further values that mean something of their own (-1: no limit).
    """

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    below: bool = False
    integer: bool = False
    also: tuple[float, ...] = ()

    def holds(self, value: object) -> bool:
        if value in self.also:
            return True
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return False
        if self.integer and value != int(value):
            return False
        low = value > self.low if self.above else value >= self.low
        return low and (value < self.high if self.below else value <= self.high)

    def __str__(self) -> str:
        kind = "an integer" if self.integer else "a finite number"
        low = f" {'>' if self.above else '>='} {self.low}" if self.low > -math.inf else ""
        high = f" {'<' if self.below else '<='} {self.high}" if self.high < math.inf else ""
        also = f", or {' or '.join(f'{value:g}' for value in self.also)}" if self.also else ""
        return f"must be {kind}{low}{' and' if low and high else ''}{high}{also}"


POSITIVE, NON_NEGATIVE, FRACTION = Range(0, above=True), Range(0), Range(0, 1, below=True)
COUNT = Range(1, integer=True)

# Which numbers a key takes, each item of a list where it ends in `*`. A null is left to whoever reads it. Keys that a
# config does not have are passed over.
RANGES: dict[str, Range] = {
    "seed": Range(0, 2**32 - 1, integer=True),
    "optimizer.lr": POSITIVE,
    "optimizer.weight_decay": NON_NEGATIVE,
    "optimizer.momentum": FRACTION,
    "optimizer.eps": NON_NEGATIVE,
    "optimizer.alpha": FRACTION,
    "optimizer.rho": FRACTION,
    "optimizer.betas.0": FRACTION,
    "optimizer.betas.1": FRACTION,
    "model.dropout": FRACTION,
    "model.widths.*": COUNT,
    "model.hidden.*": COUNT,
    "model.attention_scale": POSITIVE,
    "objective.loss.label_smoothing": FRACTION,
    "datamodule.batch_size": COUNT,
    "datamodule.eval_batch_size": COUNT,
    "datamodule.num_workers": Range(0, integer=True),
    "datamodule.context": COUNT,
    "datamodule.max_bytes": COUNT,
    "datamodule.val_fraction": Range(0, 1, above=True, below=True),
    "datamodule.test_fraction": Range(0, 1, above=True, below=True),
    "datamodule.split_seed": Range(0, 2**32 - 1, integer=True),
    "datamodule.shift": Range(0, 7, integer=True),
    "cv.folds": Range(2, integer=True),
    "cv.repeats": COUNT,
    "cv.fold": Range(0, integer=True),
    "trainer.max_epochs": Range(1, integer=True, also=(-1,)),
    "trainer.max_steps": Range(1, integer=True, also=(-1,)),
    "trainer.num_nodes": COUNT,
    "trainer.accumulate_grad_batches": COUNT,
    "trainer.gradient_clip_val": POSITIVE,
    "trainer.check_val_every_n_epoch": COUNT,
    "trainer.log_every_n_steps": COUNT,
    "trainer.limit_train_batches": NON_NEGATIVE,
    "trainer.limit_val_batches": NON_NEGATIVE,
    "trainer.limit_test_batches": NON_NEGATIVE,
    "trainer.num_sanity_val_steps": Range(0, integer=True, also=(-1,)),
    "callbacks.early_stopping.min_delta": NON_NEGATIVE,
    "callbacks.progress.refresh_rate": COUNT,
    "param_groups.decay": Range(0, 1, above=True),
    "param_groups.backbone_lr_scale": NON_NEGATIVE,
    "lr_scaling.reference_batch": COUNT,
    "lr_finder.min_lr": POSITIVE,
    "lr_finder.max_lr": POSITIVE,
    "lr_finder.steps": COUNT,
    "lr_finder.orders": COUNT,
    "lr_finder.trial": Range(0, integer=True),
    "lr_finder.budget": NON_NEGATIVE,
}

PRECISIONS = ("32-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true", "64-true")
OTHER_PRECISIONS = {"32": "32-true", "16": "16-mixed", "fp16": "16-mixed", "bf16": "bf16-mixed", "64": "64-true"}
SHARDED = ("fsdp", "deepspeed")
STRATEGIES = ("auto", "ddp", "fsdp", "ddp_find_unused_parameters_true", "ddp_spawn", "deepspeed")
ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps", "tpu", "hpu")
OF_TRAINER = {
    "precision": PRECISIONS,
    "strategy": STRATEGIES,
    "accelerator": ACCELERATORS,
    "gradient_clip_algorithm": ("norm", "value"),
    "profiler": ("simple", "advanced", "pytorch", "xla"),
}
# Either a part of an epoch or a number of batches.
BATCHES = (
    "limit_train_batches",
    "limit_val_batches",
    "limit_test_batches",
    "limit_predict_batches",
    "overfit_batches",
    "val_check_interval",
)
TWO_BETAS = ("torch.optim.", "stride.optimizers.", "schedulefree.", "prodigyopt.")
RESUME = ("refuse", "keep", "stretch", "rewarm")  # where the plan of the LR would change
UNUSUAL_LR = 5.0
STAND_IN = 10**6  # optimizer steps of a run whose length is typed in epochs
# Targets of packages that a plain installation lacks: the package, and the extra that brings it.
EXTRAS = {
    "schedulefree.": ("schedulefree", "lr-free"),
    "prodigyopt.": ("prodigyopt", "lr-free"),
    "pytorch_lightning.loggers.WandbLogger": ("wandb", "wandb"),
    "pytorch_lightning.loggers.MLFlowLogger": ("mlflow", "mlflow"),
}
PATHS = ("path", "dir", "data_dir", "root", "file", "folder")
# Folders that callbacks and loggers write into, and names in such a folder.
WRITTEN = ("dirpath", "run_dir", "save_dir")
IN_FOLDER = ("filename", "name", "version", "sub_dir")
# Of this package, what runs the training and is no part of one: nothing that a config may call.
HOME = __name__.partition(".")[0]
ACTS = re.compile(
    r"adopt|around_step|build|check|checkpoint_file|checkpoint_io|cli|coordinate_check|doctor|engine|errors|folds|"
    r"help_page|horizon|init_from|kept_config|keys|law_lr|line|logs|names|own_rate|patterns|pipeline|preview|"
    r"rate_inside|rebuild|report|resume|run_folder|secret|short_runs|signature|stability_check|stop|sweep|"
    r"torch_law|trial_link|warm|whole_file|words"
)
SHOWS = f"{HOME}.report.metrics_csv."  # the one logger of ours
# How Hydra is to call a target.
HOW: dict[str, Callable[[Any], bool]] = {
    "_target_": lambda value: isinstance(value, str) and re.fullmatch(r"[A-Za-z_]\w*(\.\w+)+", value) is not None,
    "_args_": lambda value: isinstance(value, list),
    "_partial_": lambda value: isinstance(value, bool),
    "_recursive_": lambda value: isinstance(value, bool),
    "_convert_": lambda value: value in ("none", "partial", "object", "all"),
}
RUN_LENGTH = ("T_max", "total_steps", "num_training_steps")  # other schedulers' words for it


def faults(cfg: "DictConfig", typed: Collection[str] = ()) -> list[Fault]:
    """Every fault of a composed config; `typed` are the keys of the line that composed it. None tells a secret."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    written: Any = OmegaConf.to_container(cfg, resolve=False)
    missing = [key for key, value in flat(written) if value == "???"]
    if missing:
        return [Fault(key, "is required", "it has no default", f"{key}=...") for key in missing]
    try:
        plain: Any = OmegaConf.to_container(cfg, resolve=True)
    except OmegaConfBaseException as error:
        return [unresolved(error, cfg)]
    found = [
        *calls(plain, written),
        *blanks(plain),
        *_ranges(plain),
        *_front_page(plain),
        *_output_root(plain),
        *_written(plain),
        *_time_limit(plain),
        *_trainer(plain),
        *_durations(plain, typed),
        *_param_groups(plain),
        *_score(plain),
        *_checkpoints(plain),
        *_finder(plain),
        *_stability(plain),
        *_fractions(plain),
        *_files(plain),
        *_resume(plain),
        *_cross_validation(plain),
        *_scaling(plain),
        *own_rate.faults(plain),
    ]
    secrets = secrets_in(plain)
    return [Fault(*(shown(part, secrets) for part in astuple(fault))) for fault in found]


def unresolved(error: Exception, cfg: "DictConfig") -> Fault:
    """What is told of a `${...}` that leads nowhere."""
    from omegaconf import OmegaConf

    raw = dict(flat(OmegaConf.to_container(cfg, resolve=False)))
    if circle := _circle(raw):
        return Fault(circle[0], "its ${...} goes round in a circle", " -> ".join(circle), f"{circle[0]}=...")
    key, told = str(getattr(error, "full_key", None) or "config"), str(error).partition("\n")[0]
    if variable := re.search(r"Environment variable '(\w+)' not found", told):
        return Fault(key, f"there is no {variable[1]} in the environment", "", f"export {variable[1]}=...")
    found = re.search(r"'([^']+)' not found", told)
    if not found:
        return Fault(key, told)
    hint = nearest(found[1], raw) or nearest(found[1], [name.rpartition(".")[2] for name in raw])
    hint = next((name for name in raw if name == hint or name.endswith(f".{hint}")), None)
    return Fault(key, f"${{{found[1]}}} is not there", f"did you mean ${{{hint}}}?" if hint else "")


def _circle(raw: dict[str, Any]) -> list[str]:
    """Keys each of which is set from the next, and the last of them from the first; none where there is no circle."""
    refers = {key: re.findall(r"\$\{([\w.]+)\}", value) for key, value in raw.items() if isinstance(value, str)}
    for key in refers:
        chain = [key]
        while follow := refers.get(chain[-1]):
            if follow[0] in chain:
                return [*chain[chain.index(follow[0]) :], follow[0]]
            chain.append(follow[0])
    return []


def _get(plain: Any, key: str) -> Any:
    return look_up(plain, key)[1]


def _ranges(plain: Any) -> Iterator[Fault]:
    for key, allowed in RANGES.items():
        for where, value in _values(plain, key):
            if value is not None and not allowed.holds(value):
                yield Fault(where, str(allowed), f"got {value}")
    if _get(plain, "optimizer.lr") is None:
        yield Fault("optimizer.lr", "may not be null", str(RANGES["optimizer.lr"]), "optimizer.lr=0.001")
    betas, target = _get(plain, "optimizer.betas"), str(_get(plain, "optimizer._target_"))
    if isinstance(betas, list) and len(betas) != 2 and target.startswith(TWO_BETAS):
        yield Fault("optimizer.betas", "must be two numbers", f"got {betas}", "optimizer.betas=[0.9,0.999]")


def _values(plain: Any, key: str) -> list[tuple[str, Any]]:
    if not key.endswith(".*"):
        return [(key, _get(plain, key))]
    listed = _get(plain, key[:-2])
    return [(f"{key[:-1]}{at}", value) for at, value in enumerate(listed)] if isinstance(listed, list) else []


def calls(plain: Any, written: Any) -> list[Fault]:
    """What is wrong with the nodes of a config that call something; which packages they may call is asked elsewhere.

    `written` is the config before its interpolations were resolved: what is asked elsewhere is asked of that, so no
    resolver may make a `_target_`, and none a text that Hydra would resolve once more.
    """
    nodes = dict(_calling(plain))
    stand = {str(node["_target_"]) for where, node in nodes.items() if look_up(written, f"{where}._target_")[0]}
    refused = [fault for where, node in nodes.items() for fault in _call(node, where, stand)]
    law = "Hydra would resolve that, too"
    refused += [Fault(key, "leads to another ${...}", law) for key, text in _texts(plain) if "${" in text]
    return refused or list(_signatures(plain))


def _calling(plain: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    return ((key, node) for key, node in every(plain) if isinstance(node, dict) and "_target_" in node)


def _texts(plain: Any) -> Iterator[tuple[str, str]]:
    return ((key, text) for key, text in every(plain) if isinstance(text, str))


def _call(node: dict[str, Any], where: str, stand: Collection[str]) -> Iterator[Fault]:
    target, what = str(node["_target_"]), f"{node['_target_']!r} may not be called"
    for key, holds in HOW.items():
        if key in node and not holds(node[key]):
            yield Fault(f"{where}.{key}", "says nothing that Hydra could do", f"got {node[key]!r}")
    if target not in stand:
        yield Fault(f"{where}._target_", what, "a resolver made it, and a target is to be written out")
    elif any(part.startswith("_") for part in target.split(".")):
        yield Fault(f"{where}._target_", what, "a name that begins with `_` is private")
    elif _acts(target):
        yield Fault(f"{where}._target_", what, "it runs the training, and is no part of one")


def _acts(target: str) -> bool:
    home, *rooms = target.split(".")
    return home == HOME and (len(rooms) < 2 or ACTS.fullmatch(rooms[0]) is not None) and not target.startswith(SHOWS)


def _signatures(plain: Any) -> Iterator[Fault]:
    """Arguments that a target does not take, in every node of the config."""
    for where, node in _calling(plain):
        yield from _arguments(node, node["_target_"], f"{where}.")


def blanks(plain: Any) -> Iterator[Fault]:
    """Where a secret stood that is not kept: nothing is called with what was put in its place."""
    for where, value in _texts(plain):
        if BLANK in value and not (where.startswith("sweep.") and plain.get("run")):  # of a run, nobody reads that
            name = re.sub(r"\W", "_", where.rpartition(".")[2]).upper()
            law = f"{BLANK} stands for a secret, which no run keeps; give it again"
            yield Fault(where, f"is {value}", law, f"{where}='${{oc.env:{name}}}'")


def _arguments(node: dict[str, Any], target: str, where: str) -> Iterator[Fault]:
    for known, (package, extra) in EXTRAS.items():
        if target.startswith(known) and importlib.util.find_spec(package) is None:
            yield Fault(where.rstrip("."), f"needs {package}, which is an extra", "", f"uv sync --extra {extra}")
            return
    try:
        takes = signature(target)
    except NoSuchTarget as error:
        name, module = target.rpartition(".")[2], target.rpartition(".")[0]
        hint, package = nearest(name, error.names), target.partition(".")[0]
        is_there = importlib.util.find_spec(package) is not None
        lacks = f"{module} has no {name}" if is_there else f"{package} is not installed"
        law = f"did you mean `{module}.{hint}`?" if hint else lacks
        yield Fault(f"{where}_target_", f"there is no {target}", law)
        return
    if takes is None or takes.open:
        return
    of_torch = where == "scheduler." and _is_torchs(target)
    known = torch_law.names(takes.arguments) if of_torch else takes.arguments
    of_a_law = target.startswith((f"{schedule.__name__}.", f"{ramp.__name__}."))
    for key in node:
        if of_a_law and key in RUN_LENGTH:
            law = "a law is told how long the run is"
            yield Fault(f"{where}{key}", "is not typed", law, f"trainer.max_steps={node[key]}")
        elif not key.startswith("_") and key not in known:
            known = [name for name in known if not (of_a_law and name in ("total", "horizon"))]
            hint = nearest(key, known)
            law = f"did you mean `{where}{hint}`?" if hint else f"it takes {', '.join(known) or 'none'}"
            value = str(node[key]).lower() if isinstance(node[key], bool) else node[key]
            other = f"scheduler=torch scheduler._target_={target}" if of_torch else ""
            attempt = f"{where}{hint}={value}" if hint else other
            yield Fault(f"{where}{key}", f"{target} takes no such argument", law, attempt)


def _front_page(plain: dict[str, Any]) -> Iterator[Fault]:
    name = plain.get("name")
    if name is not None and not RUN_NAME.fullmatch(str(name)):
        law = "letters, digits, `.`, `_` and `-`, at most 80, beginning with a letter or digit; no device of Windows"
        close = re.sub(r"[^A-Za-z0-9._-]+", "-", str(name))[:80].strip("-.") or "my_run"
        attempt = f"name={close if RUN_NAME.fullmatch(close) else f'run-{close}'}"
        yield Fault("name", f"{str(name)!r} is no name for a folder", law, attempt)
    if plain.get("predictions") not in ("csv", "npz"):
        yield Fault("predictions", f"no format {plain.get('predictions')!r}", "formats: csv, npz", "predictions=csv")


def _output_root(plain: dict[str, Any]) -> Iterator[Fault]:
    """A relative path lies below the project; who wants another place names it from the root."""
    text = str(plain.get("output_root") or "").strip()
    if not text:
        yield Fault("output_root", "names no folder", "runs live there", "output_root=runs")
    elif text.startswith("~"):
        yield Fault("output_root", "`~` is not expanded here", "", f"output_root={Path(text).expanduser()}")
    elif "\\" in text and os.sep == "/":
        attempt = f"output_root={PureWindowsPath(text).name or 'runs'}"
        yield Fault("output_root", f"{text} is a path of Windows", "`/` separates folders here", attempt)
    elif _climbs(text) and not Path(text).is_absolute():
        law = "another place is named from the root"
        yield Fault("output_root", f"{text} leads out of the project", law, f"output_root={Path(text).resolve()}")


def _written(plain: dict[str, Any]) -> Iterator[Fault]:
    """What callbacks and loggers write lies in the run's folder, or where a path from the root says."""
    for key, path in flat({name: plain.get(name) for name in ("callbacks", "logger", "trainer")}):
        name = key.rpartition(".")[2]
        if not isinstance(path, str) or not path:
            continue
        if name in WRITTEN and not Path(path).is_absolute():
            yield Fault(key, f"{path} leads out of the run's folder", "null is that folder", f"{key}=null")
        if name in IN_FOLDER and (_climbs(path) or Path(path).is_absolute()):
            attempt = f"{key}={Path(path).name}"
            yield Fault(key, f"{path} leads out of the folder", "it is a name in that folder", attempt)
    root = _get(plain, "trainer.default_root_dir")
    if root is not None:
        law = "all of a run lies in its own folder"
        yield Fault("trainer.default_root_dir", "has no effect here", law, f"output_root={Path(str(root)).absolute()}")


def _time_limit(plain: dict[str, Any]) -> Iterator[Fault]:
    limit = plain.get("time_limit")
    try:
        if limit is None or Duration.parse(limit).seconds() > 0:
            return
    except ValueError:
        pass
    yield Fault("time_limit", f"no time: {limit}", "a number above 0 and its unit", "time_limit='2 hours'")


def _climbs(path: str) -> bool:
    """Whether a path leads out of the folder that it begins in."""
    return Path(os.path.normpath(path)).parts[:1] == (os.pardir,)


def _trainer(plain: dict[str, Any]) -> Iterator[Fault]:
    trainer = plain["trainer"]
    for key, known in OF_TRAINER.items():
        value = trainer.get(key, known[0])
        takes_null = key not in ("strategy", "accelerator")
        if value not in known and not isinstance(value, dict) and not (value is None and takes_null):
            hint = OTHER_PRECISIONS.get(str(value)) or nearest(str(value), known) or known[0]
            yield Fault(f"trainer.{key}", f"no {key} {value!r}", f"known: {', '.join(known)}", f"trainer.{key}={hint}")
    for key in BATCHES:
        value = trainer.get(key)
        if not isinstance(value, int | float):
            continue
        is_part = 0 <= value <= 1 and (value > 0 or key != "val_check_interval")
        if not is_part and not (value > 1 and value % 1 == 0):
            law = "must be a part of an epoch, 0.0 to 1.0, or a whole number of batches"
            yield Fault(f"trainer.{key}", law, f"got {value}", f"trainer.{key}=1.0")
    yield from _devices(trainer)
    yield from _max_time(trainer.get("max_time"))
    if _has_no_length(trainer) and not trainer.get("max_time"):
        law = "the schedule has to know the run's length"
        yield Fault("trainer.max_steps", "the run has no length", law, "trainer.max_steps=1000")


def _max_time(written: Any) -> Iterator[Fault]:
    """Lightning reads no units; what is written with one is told in its way."""
    if written is None or isinstance(written, dict) or re.fullmatch(r"\d+:\d\d:\d\d:\d\d", str(written)):
        return
    found = re.fullmatch(r"(\d+\.?\d*) *([smhd])[a-z]*", str(written))
    seconds = round(float(found[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]]) if found else 7200
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    attempt = f"trainer.max_time={days:02}:{hours:02}:{minutes:02}:{seconds % 60:02}"
    yield Fault("trainer.max_time", f"no time: {written}", "it is days:hours:minutes:seconds", attempt)


def _devices(trainer: dict[str, Any]) -> Iterator[Fault]:
    """Whether there are so many devices, as far as it is known without torch."""
    devices, accelerator, strategy = trainer.get("devices"), trainer.get("accelerator"), trainer.get("strategy")
    wanted = len(devices) if isinstance(devices, list) else 1 if devices in ("auto", -1) else devices
    if not isinstance(wanted, int) or not COUNT.holds(wanted):
        law = "auto, or an integer >= 1"
        yield Fault("trainer.devices", f"{devices!r} is no number of devices", law, "trainer.devices=1")
        return
    visible = 0 if accelerator == "mps" and sys.platform != "darwin" else gpus()
    if accelerator in ("gpu", "cuda", "mps") and visible < wanted:
        what = f"{wanted} {accelerator} asked for, {visible} visible"
        attempt = f"trainer.devices={visible}" if visible else "trainer.accelerator=cpu trainer.devices=1"
        yield Fault("trainer.accelerator", what, "auto takes what is there", attempt)
    elif strategy in SHARDED and (accelerator == "cpu" or not visible):
        yield Fault("trainer.strategy", f"{strategy} needs a GPU", f"{visible} visible", "trainer.strategy=ddp")


@functools.cache
def gpus() -> int:
    """How many GPUs this machine shows, without importing torch: device files, less what CUDA_VISIBLE_DEVICES hides."""
    if sys.platform == "darwin":
        return 1
    if sys.platform == "win32" or Path("/dev/dxg").exists():
        return sys.maxsize  # no device files to count there; torch has the last word
    files = sum(bool(re.fullmatch(r"nvidia\d+", path.name)) for path in Path("/dev").iterdir())
    files = files or len(list(Path("/sys/class/kfd/kfd/topology/nodes").glob("[1-9]*")))
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    return (
        files
        if shown is None
        else min(files, len([part for part in shown.split(",") if part.strip() not in ("", "-1")]))
    )


def _durations(plain: dict[str, Any], typed: Collection[str]) -> Iterator[Fault]:
    """The laws of the LR, built for a run of this length as far as it is known."""
    run = _horizon(plain["trainer"])
    patience = _get(plain, "callbacks.early_stopping.patience")
    readers: dict[str, Callable[[], object]] = {
        "scheduler": lambda: _schedule(plain, run),
        "warmup": lambda: _built(plain.get("warmup") or {}, ramp, run),
        "callbacks.early_stopping.patience": lambda: patience is None or Duration.parse(patience).steps(run),
    }
    without_length = []
    for key, read in readers.items():
        try:
            read()
        except NoLength as error:
            where = _of_law(key, str(error)).where
            without_length.append("scheduler=constant" if where == "scheduler" else f"{where}='500 steps'")
        except ValueError as error:
            if getattr(error, "certain", True):
                yield _of_law(key, one_line(error))
        except TypeError:
            pass  # a wrong argument, which _signatures names
    if without_length:
        yield _only_the_clock(without_length, plain, typed)
    yield from _second_warmup(plain, typed)


def _schedule(plain: dict[str, Any], run: Horizon) -> None:
    """Build the law of a run, or raise what it refuses; of a class of torch's, what can be told without torch."""
    node, lr = plain["scheduler"], _get(plain, "optimizer.lr")
    target = str(node.get("_target_", ""))
    if target.endswith(".ReduceLROnPlateau") and "interval" in node:
        raise ValueError(f"_target_={target}: it goes by the score, after each validation; try: scheduler=plateau")
    if not _is_torchs(target):
        return _built(node, schedule, run)
    name, takes = target.rpartition(".")[2], signature(target)
    if name in torch_law.OF_OTHERS:
        raise ValueError(f"_target_={target}: it is made of other schedulers; try: scheduler=sequence")
    if takes is not None:
        lr = lr if RANGES["optimizer.lr"].holds(lr) else 1.0
        torch_law.arguments(name, takes.arguments, _arguments_of(node), run, lr)


def _built(node: dict[str, Any], room: ModuleType, run: Horizon) -> None:
    """Build a law or ramp of ours, or raise what it refuses; another's is not imported here."""
    module, _, name = str(node.get("_target_", "")).rpartition(".")
    if module == room.__name__ and hasattr(room, name):
        bind(getattr(room, name), _arguments_of(node), run)


def _arguments_of(node: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in node.items() if not name.startswith("_")}


def _is_torchs(target: str) -> bool:
    """Whether a scheduler is driven as a table of torch's; plateau has its own callback."""
    return is_subclass(target, "LRScheduler") and not target.endswith(".ReduceLROnPlateau")


def _only_the_clock(instead: list[str], plain: dict[str, Any], typed: Collection[str]) -> Fault:
    """All that has to change in a run that max_time alone ends, so that one retyped line works."""
    if "scheduler=constant" in instead and not plain.get("warmup") and "warmup" not in typed:
        instead = [*instead, "warmup=none"]  # the scheduler that goes had switched the default one off
    return Fault(
        "trainer.max_steps",
        "the run has no length, and its plan needs one",
        "max_time is a stop, never the schedule's horizon",
        f"trainer.max_steps=1000, or {' '.join(instead)}",
    )


def _second_warmup(plain: dict[str, Any], typed: Collection[str]) -> Iterator[Fault]:
    node = plain["scheduler"]
    law = str(node.get("_target_", "")).rpartition(".")[2]
    first = _get(node, "parts.0.law") if law == "sequence" else law
    if plain.get("warmup") and first in schedule.OWN_WARMUP | torch_law.OWN_WARMUP:
        yield Fault(
            "warmup" if "warmup" in typed else "scheduler",
            f"{f'scheduler={law}' if first == law else first} brings its own warm-up, and a second one would bend it",
            "",
            f"scheduler={law} warmup=none" if law in schedule.OWN_WARMUP else "warmup=none",
        )


def _param_groups(plain: dict[str, Any]) -> Iterator[Fault]:
    """What can be read of the groups before there is a network; only that knows which names a pattern finds."""
    node, run = plain.get("param_groups") or {}, _horizon(plain["trainer"])
    readers: dict[str, Callable[[Any], object]] = {
        "patterns": rules,
        "head": compiled,
        "freeze": lambda written: within("freeze", written, run),
    }
    for name, read in readers.items():
        if node.get(name) is not None:
            try:
                read(node[name])
            except ValueError as error:
                if getattr(error, "certain", True):
                    yield Fault(f"param_groups.{name}", one_line(error).removeprefix(f"{name}={node[name]}: "))
    if str(node.get("_target_", "")).endswith(".MuP"):
        yield from _mup(plain["model"], node, str(plain["optimizer"].get("_target_", "")))


def _mup(model: dict[str, Any], node: dict[str, Any], optimizer: str) -> Iterator[Fault]:
    """What muP needs: an optimizer that it has a rule for, and a base that is the model's own."""
    try:
        width.rule_of(optimizer.rpartition(".")[2])
    except ValueError as error:
        yield Fault("param_groups", one_line(error), "", "optimizer=adamw, or param_groups=none")
    base, takes = node.get("base"), signature(str(model.get("_target_")))
    base = width.usual_base(model) if base is None else base
    if not isinstance(base, dict) or not base:
        what = "needs arguments of the model that are widths, and what they are at the base"
        yield Fault("param_groups.base", what, f"got {node.get('base')}", '"param_groups.base={d_model: 256}"')
        return
    unknown = [key for key in base if takes is not None and not takes.open and key not in takes.arguments]
    for key in unknown:
        hint = nearest(key, takes.arguments if takes else ())
        law = f"did you mean `{hint}`?" if hint else f"it takes {', '.join(takes.arguments if takes else ())}"
        yield Fault(f"param_groups.base.{key}", f"{model['_target_']} takes no such argument", law)
    try:
        width.check_base(model, base)
    except ValueError as error:
        if not unknown:
            own = ", ".join(f"{key}: {model[key]}" for key in base if key in model)
            yield Fault("param_groups.base", one_line(error), "", f'"param_groups.base={{{own}}}"')


def _of_law(group: str, refusal: str) -> Fault:
    """A law's refusal with the key that it is about: `length=5 apples: ...` is warmup.length."""
    part = re.match(r"parts\[(\d+)\]: (.*)", refusal)
    if part:
        return _of_law(f"{group}.parts.{part[1]}", part[2])
    about = re.match(r"(\w+)(?:\[\d+\])?=(.*?): (.*)", refusal)
    if about:
        return Fault(f"{group}.{about[1]}", about[3])
    named = re.search(r"but got (\w+)=", refusal)
    return Fault(f"{group}.{named[1]}" if named else group, refusal)


def _has_no_length(trainer: dict[str, Any]) -> bool:
    return trainer.get("max_epochs") in (None, -1) and trainer.get("max_steps") in (None, -1)


def _horizon(trainer: dict[str, Any]) -> Horizon:
    """The run's length as far as it is known before there is any data, which alone knows the steps in an epoch."""
    epochs, steps = trainer.get("max_epochs"), trainer.get("max_steps")
    if _has_no_length(trainer) and trainer.get("max_time"):
        return Horizon(steps=None, epoch_steps=1, unknown="epochs")
    if isinstance(steps, int) and steps > 0:
        return Horizon(steps=steps, epoch_steps=1, unknown="epochs")
    epochs = epochs if isinstance(epochs, int) and epochs > 0 else 1
    each = max(1, STAND_IN // epochs)
    return Horizon(steps=each * epochs, epoch_steps=each, unknown="steps")


def _score(plain: dict[str, Any]) -> Iterator[Fault]:
    objective = plain["objective"]
    if is_subclass(str(plain["model"].get("_target_", "")), "LightningModule"):
        return  # it logs what it likes
    logged = ["val/loss", *(f"val/{name}" for name in objective.get("metrics") or {})]
    readers = {"objective.score.name": _get(objective, "score.name")}
    for name, node in (plain.get("callbacks") or {}).items():
        if isinstance(node, dict) and node.get("monitor") is not None:
            readers[f"callbacks.{name}.monitor"] = node["monitor"]
    score = readers["objective.score.name"]
    for key, name in readers.items():
        if name not in logged and (key == "objective.score.name" or name != score):
            hint = nearest(str(name), logged)
            yield Fault(key, f"nothing logs {name!r}", f"logged: {', '.join(logged)}", f"{key}={hint or logged[0]}")
    mode = _get(objective, "score.mode")
    if mode not in ("min", "max"):
        yield Fault("objective.score.mode", f"no mode {mode!r}", "min or max", "objective.score.mode=min")


def _checkpoints(plain: dict[str, Any]) -> Iterator[Fault]:
    """Lightning keeps its list of the best by path: under one name the newest replaces the best."""
    for name, node in (plain.get("callbacks") or {}).items():
        if (
            isinstance(node, dict)
            and node.get("save_top_k", 1) not in (0, 1)
            and "{" not in (node.get("filename") or "{")
        ):
            key = f"callbacks.{name}"
            what = f"{node['save_top_k']} checkpoints would share the name {node['filename']}.ckpt"
            attempt = f"\"{key}.filename='{node['filename']}-{{step}}'\""
            yield Fault(f"{key}.save_top_k", what, "each needs its own", attempt)


def _finder(plain: dict[str, Any]) -> Iterator[Fault]:
    node, target = plain.get("lr_finder"), str(plain["model"].get("_target_", ""))
    if not node:
        return
    low, high, steps = node.get("min_lr"), node.get("max_lr"), node.get("steps")
    if isinstance(low, int | float) and isinstance(high, int | float) and low >= high:
        yield Fault("lr_finder.max_lr", "`min_lr < max_lr` must hold", f"got {low} and {high}", "lr_finder.max_lr=10")
    if COUNT.holds(steps) and steps < FEWEST_POINTS:
        what = f"a curve of fewer than {FEWEST_POINTS} points is not read"
        yield Fault("lr_finder.steps", what, f"got {steps}", "lr_finder.steps=100")
    if node.get("trial") == 0 and node.get("budget"):
        law = "a trial tells whether a run overfits, and how long it is"
        yield Fault("lr_finder.trial", "lr_finder.budget needs one, but got 0", law, "lr_finder.trial=80")
    picker = str(node.get("picker", "bottom"))
    if picker not in PICKERS:
        attempt = f"lr_finder.picker={nearest(picker, PICKERS) or 'bottom'}"
        yield Fault("lr_finder.picker", f"no picker {picker!r}", f"pickers: {', '.join(PICKERS)}", attempt)
    yield from _engine(node.get("engine"), plain["trainer"])
    takes = signature(target) if is_subclass(target, "LightningModule") else None
    if takes and not takes.open and "lr" not in takes.arguments:
        yield Fault("lr_finder", f"{target} takes no `lr`", "nothing would read what is found", "lr_finder=none")


def _engine(asked: Any, trainer: dict[str, Any]) -> Iterator[Fault]:
    """What can be told before there is a module, and where `devices` is a number or a list."""
    if asked not in (None, *engine.ENGINES):
        hint = nearest(str(asked), engine.ENGINES) or engine.RAMP
        law = f"null, {' or '.join(engine.ENGINES)}"
        yield Fault("lr_finder.engine", f"no engine {asked!r}", law, f"lr_finder.engine={hint}")
        return
    devices = trainer.get("devices")
    processes = _count(len(devices) if isinstance(devices, list) else devices) * _count(trainer.get("num_nodes"))
    try:
        engine.engine_of(asked, accumulated=_count(trainer.get("accumulate_grad_batches")), processes=processes)
    except ConfigError as error:
        yield from error.faults


def _count(value: Any) -> int:
    """A number of things, 1 where it is not known."""
    return value if isinstance(value, int) and value > 0 else 1


def _stability(plain: dict[str, Any]) -> Iterator[Fault]:
    """task=stability goes with the optimizers whose limit is known."""
    if plain.get("task") != "stability":
        return
    name = str(plain["optimizer"].get("_target_", "")).rpartition(".")[2]
    options = {"betas": (0.9, 0.999), "weight_decay": 0.0, **plain["optimizer"]}
    with suppress(ValueError):  # of a number that RANGES refuses
        limit = stability_limit(name, options, 1.0)
        if limit.ceiling is None:
            what = f"task=stability shows a limit, and there is {limit.why}"
            yield Fault("optimizer", what, "", "optimizer=adam, or optimizer=sgd")


def _scaling(plain: dict[str, Any]) -> Iterator[Fault]:
    if plain.get("lr_scaling") and not isinstance(_get(plain, "datamodule.batch_size"), int):
        law = "the batch is datamodule.batch_size x devices x nodes x accumulation"
        yield Fault("lr_scaling", "this datamodule has no batch_size to scale by", law, "lr_scaling=none")


def _resume(plain: dict[str, Any]) -> Iterator[Fault]:
    way, source = _get(plain, "resume.lr"), _get(plain, "resume.from")
    if way is not None and way not in RESUME:
        hint = nearest(str(way), RESUME) or RESUME[0]
        yield Fault("resume.lr", f"no way {way!r}", f"ways: {', '.join(RESUME)}", f"resume.lr={hint}")
    if source not in (None, "auto", "never") and not Path(str(source)).expanduser().exists():
        law = "auto, never, a checkpoint, or the folder of a run"
        yield Fault("resume.from", f"there is no checkpoint at {source!r}", law, "resume.from=auto")


def _cross_validation(plain: dict[str, Any]) -> Iterator[Fault]:
    """Which folds there are, and what goes with them."""
    folds, splitter, repeats, fold = (_get(plain, f"cv.{key}") for key in ("folds", "splitter", "repeats", "fold"))
    if splitter not in (None, *SPLITTERS):
        attempt = f"cv.splitter={nearest(str(splitter), SPLITTERS) or SPLITTERS[0]}"
        yield Fault("cv.splitter", f"no splitter {splitter!r}", f"splitters: {', '.join(SPLITTERS)}", attempt)
    if folds is None:
        for key, given, default in (("splitter", splitter, "auto"), ("repeats", repeats, 1), ("fold", fold, None)):
            if given not in (None, default):
                yield Fault(f"cv.{key}", "is not read without cv.folds", "", f"cv.folds=5 cv.{key}={given}")
        return
    if not all(RANGES[key].holds(value) for key, value in (("cv.folds", folds), ("cv.repeats", repeats))):
        return
    if splitter == "repeated" and repeats == 1:
        yield Fault("cv.splitter", "repeated needs cv.repeats >= 2", "got 1", "cv.splitter=repeated cv.repeats=2")
    if splitter in SPLITTERS and splitter != "repeated" and repeats > 1:
        law = f"cv.splitter={splitter} splits once"
        yield Fault("cv.repeats", f"got {repeats}", law, f"cv.splitter=repeated cv.repeats={repeats}")
    if fold is None:
        yield from _all_folds(plain, folds * repeats)
    elif RANGES["cv.fold"].holds(fold) and fold >= folds * repeats:
        law = "counted from 0 to cv.folds x cv.repeats - 1"
        yield Fault("cv.fold", f"there is no fold {fold}", law, f"cv.fold={folds * repeats - 1}")


def _all_folds(plain: dict[str, Any], count: int) -> Iterator[Fault]:
    """What is of one run, and not of so many."""
    task, run = plain.get("task"), plain.get("run")
    if run is not None:
        yield Fault("run", f"{run} is a cross-validation", "its folds have weights", f"task={task} run={run}/fold-0")
    elif task != "train":
        yield Fault("task", f"task={task} is of one run, not of {count} folds", "", f"task={task} cv.fold=0")
    way, source = _get(plain, "resume.lr"), _get(plain, "resume.from")
    if way in RESUME and way != "refuse":
        what = "all folds of a cross-validation follow one plan"
        yield Fault("resume.lr", what, f"got {way}", f"resume.lr=refuse, or one fold: resume.lr={way} cv.fold=0")
    if source not in (None, "auto", "never"):
        law = "it has learned from samples that other folds validate on"
        yield Fault("resume.from", "one checkpoint for all folds", law, "resume.from=auto")


def _fractions(plain: dict[str, Any]) -> Iterator[Fault]:
    keys = ("datamodule.val_fraction", "datamodule.test_fraction")
    fractions = [_get(plain, key) for key in keys]
    if all(RANGES[key].holds(value) for key, value in zip(keys, fractions, strict=True)):
        try:
            check_fractions(*fractions)
        except ValueError as error:
            yield Fault(keys[0], one_line(error), "", " ".join(f"{key}=0.15" for key in keys))


def _files(plain: dict[str, Any]) -> Iterator[Fault]:
    for key in PATHS:
        value = _get(plain, f"datamodule.{key}")
        if isinstance(value, str) and not (value and Path(value).expanduser().exists()):
            yield Fault(
                f"datamodule.{key}",
                f"there is no {value!r}",
                f"looked in {Path(value).expanduser().absolute().parent}",
            )


def notes(cfg: "DictConfig") -> list[str]:
    """What was switched off or looks unusual, in a line each: said before a run, not refused."""
    said = []
    law = str(cfg.scheduler._target_).rpartition(".")[2]
    if law in schedule.OWN_WARMUP:
        said.append(f"scheduler={law} brings its own warm-up: warmup=none")
    said += own_rate.notes(cfg)
    if cfg.optimizer.lr > UNUSUAL_LR:
        said.append(f"optimizer.lr={cfg.optimizer.lr:g} is far above what any optimizer here is used with")
    for name, node in (cfg.get("callbacks") or {}).items():
        if node and str(node.get("_target_")).endswith(".LearningRateMonitor"):
            said.append(f"callbacks.{name} shows the LR that was planned; lr/<group> is the one that was applied")
    if cfg.get("trust_checkpoint"):
        said.append("trust_checkpoint=true: code that a checkpoint holds is run as it is loaded")
    return said
