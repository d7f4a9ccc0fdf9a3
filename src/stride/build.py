"""From a checked config to the objects of a run. The only file that calls Hydra's instantiate."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stride.errors import ConfigError, Fault, one_line

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer

    from stride.callbacks.history import History
    from stride.lr.duration import Horizon
    from stride.lr.schedule import Schedule
    from stride.tune import RangeTest

# What a config may name in `_target_`. Hydra's own block-list is no boundary: torch.load passes it.
ALLOWED = (
    "torch.nn.",
    "torch.optim.",
    "torchmetrics.",
    "pytorch_lightning.Trainer",
    "pytorch_lightning.callbacks.",
    "pytorch_lightning.loggers.",
    "pytorch_lightning.strategies.",
    "pytorch_lightning.profilers.",
    "pytorch_lightning.plugins.",
    "sklearn.model_selection.",
    "optuna.samplers.",
    "optuna.pruners.",
    "schedulefree.",
    "prodigyopt.",
)


@dataclass
class Run:
    """The objects of one run."""

    trainer: "Trainer"
    module: "LightningModule"
    datamodule: "LightningDataModule"
    history: "History"


def refused_targets(cfg: "DictConfig", source: Path, environment: str = "") -> list[Fault]:
    """A fault for every `_target_` that is not on the allow-list. Imports nothing.

    Args:
        source: the folder whose packages are the project's own.
        environment: more packages, separated by commas (STRIDE_ALLOW_TARGETS).
    """
    own = tuple(f"{path.name}." for path in source.iterdir() if path.is_dir() and any(path.glob("*.py")))
    extra = tuple(f"{name.strip().rstrip('.')}." for name in environment.split(",") if name.strip())
    faults = []
    for where, target in _targets(cfg):
        if not target.startswith(ALLOWED + own + extra):
            law = "allowed: torch.nn, torch.optim, torchmetrics, Lightning's callbacks and loggers, packages in src/"
            package = target.partition(".")[0]
            faults.append(
                Fault(
                    where,
                    f"{target!r} may not be called",
                    law,
                    f"STRIDE_ALLOW_TARGETS={package} python train.py ...",
                )
            )
    return faults


def _targets(cfg: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    from omegaconf import DictConfig, ListConfig

    if isinstance(cfg, DictConfig):
        items: Any = cfg.items_ex(resolve=False)
    elif isinstance(cfg, ListConfig):
        items = enumerate(cfg._iter_ex(resolve=False))
    else:
        return
    for key, value in items:
        where = f"{prefix}{key}"
        if key == "_target_":
            yield where, str(cfg._target_)
        else:
            yield from _targets(value, f"{where}.")


def datamodule(cfg: "DictConfig") -> tuple["LightningDataModule", dict[str, Any]]:
    """The datamodule and its `spec`: what a model has to know of the data (channels, classes, ...), by name."""
    data = _call(_instantiate(cfg.datamodule, "datamodule"), "datamodule")
    if not hasattr(type(data), "spec"):
        return data, {}
    data.prepare_data()
    _call(partial(data.setup, "fit"), "datamodule")
    return data, dict(data.spec)


def module(cfg: "DictConfig", spec: dict[str, Any], lr: float) -> "LightningModule":
    """The LightningModule: the config's model inside LitModule, or the model itself where it is one.

    Arguments that the model's signature names and the config leaves null come from `spec`; those that a
    LightningModule of the user's own names (objective, optimizer, schedule, param_groups, lr) from their groups.
    The values taken from `spec` are written into `cfg`, so that a saved config rebuilds without the data.
    """
    from pytorch_lightning import LightningModule

    from stride.module import LitModule

    for metric in (cfg.objective.get("metrics") or {}).values():
        if "num_classes" in metric and metric.num_classes is None and "classes" in spec:
            metric.num_classes = spec["classes"]
    parts = {
        "objective": _call(_instantiate(cfg.objective, "objective"), "objective"),
        "optimizer": _optimizer(cfg),
        "schedule": _schedule(cfg),
        "param_groups": _instantiate(cfg.param_groups, "param_groups"),
        "lr": lr,
    }
    model = _instantiate(cfg.model, "model")
    arguments = inspect.signature(model.func).parameters
    offered = {
        name: value for name, value in {**parts, **spec}.items() if name in arguments and cfg.model.get(name) is None
    }
    lacking = [
        name
        for name, argument in arguments.items()
        if name not in offered
        and cfg.model.get(name) is None
        and argument.default is argument.empty
        and argument.kind in (argument.POSITIONAL_OR_KEYWORD, argument.KEYWORD_ONLY)
    ]
    if lacking:
        law = f"the data offers {', '.join(spec) or 'nothing'}"
        raise ConfigError(
            Fault("model", f"{cfg.model._target_} needs {', '.join(lacking)}", law, f"model.{lacking[0]}=...")
        )
    cfg.model.update({name: value for name, value in offered.items() if name in spec})
    network = _call(partial(model, **offered), "model")
    return network if isinstance(network, LightningModule) else LitModule(network=network, **parts)


def run(cfg: "DictConfig", folder: Path | None, lr: float) -> Run:
    """Everything that a task needs, with its files in `folder`; None: nothing is written, nothing watches."""
    from pytorch_lightning import seed_everything

    from stride.callbacks.history import History

    seed_everything(cfg.seed, workers=True, verbose=False)
    data, spec = datamodule(cfg)
    model = module(cfg, spec, lr)
    history = History(cfg.objective.score.name, cfg.objective.score.mode)
    callbacks = [*_lr_callbacks(cfg), history, *(_watchers(cfg, folder) if folder else ())]
    return Run(_trainer(cfg, callbacks, folder), model, data, history)


def finder(cfg: "DictConfig") -> "RangeTest":
    """The range test that `lr_finder` describes."""
    return _call(_instantiate(cfg.lr_finder, "lr_finder"), "lr_finder")


def range_test(
    cfg: "DictConfig", folder: Path, order: int, steps: int
) -> tuple["Trainer", "LightningModule", "LightningDataModule"]:
    """A fresh module and datamodule for one data order, and a Trainer to throw away: no logger, no callbacks.

    Precision, clipping, accumulation and batches are the run's own: another batch has another best LR.
    """
    from pytorch_lightning import seed_everything

    cfg = cfg.copy()
    length = {"max_epochs": -1, "max_steps": steps, "max_time": None, "overfit_batches": 0}
    one_process = {"strategy": "auto", "devices": 1, "num_nodes": 1}
    silent = {
        "limit_val_batches": 0,
        "num_sanity_val_steps": 0,
        "enable_progress_bar": False,
        "profiler": None,
    }
    cfg.seed += order
    cfg.trainer.update({**length, **one_process, **silent})
    seed_everything(cfg.seed, workers=True, verbose=False)
    data, spec = datamodule(cfg)
    model = module(cfg, spec, cfg.optimizer.lr)
    factory = _instantiate(cfg.trainer, "trainer")
    trainer = _call(partial(factory, logger=False, enable_checkpointing=False, default_root_dir=folder), "trainer")
    return trainer, model, data


def _optimizer(cfg: "DictConfig") -> Any:
    node = cfg.optimizer.copy()
    node.pop("lr")
    return _instantiate(node, "optimizer")


def _schedule(cfg: "DictConfig") -> Callable[["Horizon"], "Schedule"] | None:
    return None if is_plateau(cfg) else _law(cfg.scheduler, "scheduler")


def _law(node: "DictConfig", where: str) -> Callable[["Horizon"], "Schedule"]:
    """The law or ramp of a config node, still to be told how long the run is."""
    from stride.lr.duration import bind

    factory = _instantiate(node, where)

    def of(horizon: "Horizon") -> "Schedule":
        return _call(partial(bind, factory, {}, horizon), where)

    return of


def is_plateau(cfg: "DictConfig") -> bool:
    """Whether the LR follows the score and no law."""
    return str(cfg.scheduler._target_).endswith(".ReduceLROnPlateau")


def _lr_callbacks(cfg: "DictConfig") -> list["Callback"]:
    """What acts on the LR; before the watchers, so that they see the LR that acts."""
    from stride.callbacks.plateau import Plateau
    from stride.callbacks.warmup import Warmup

    found: list[Callback] = []
    if cfg.get("warmup"):
        found.append(Warmup(_law(cfg.warmup, "warmup")))
    if is_plateau(cfg):
        found.append(Plateau(_instantiate(cfg.scheduler, "scheduler"), cfg.objective.score.name))
    return found


def _watchers(cfg: "DictConfig", folder: Path) -> list["Callback"]:
    nodes = {name: node for name, node in (cfg.get("callbacks") or {}).items() if node}
    return [_made(node, f"callbacks.{name}", folder) for name, node in nodes.items()]


def _trainer(cfg: "DictConfig", callbacks: list["Callback"], folder: Path | None) -> "Trainer":
    from pytorch_lightning.callbacks import Checkpoint, ProgressBar

    loggers = [
        _made(node, f"logger.{name}", folder) for name, node in (cfg.get("logger") or {}).items() if node and folder
    ]
    node = cfg.trainer.copy()
    shows = any(isinstance(callback, ProgressBar) for callback in callbacks)
    if not node.enable_progress_bar:
        callbacks = [callback for callback in callbacks if not isinstance(callback, ProgressBar)]
    fixed = {
        "callbacks": callbacks,
        "logger": loggers or False,
        "default_root_dir": folder,
        "enable_progress_bar": node.pop("enable_progress_bar") and shows,
        "enable_checkpointing": any(isinstance(callback, Checkpoint) for callback in callbacks),
    }
    if node.get("profiler") is not None and not isinstance(node.profiler, str):
        fixed["profiler"] = _made(node.pop("profiler"), "trainer.profiler", folder)
    return _call(partial(_instantiate(node, "trainer"), **fixed), "trainer")


def _made(node: "DictConfig", where: str, folder: Path | None) -> Any:
    """One object; its null arguments that name a folder are given the run's."""
    factory = _instantiate(node, where)
    offered = {"run_dir": folder, "save_dir": folder, "dirpath": folder}
    if folder is not None and where.startswith("callbacks"):
        offered["dirpath"] = folder / "checkpoints"
    arguments = inspect.signature(factory.func).parameters
    filled = {
        name: str(value) for name, value in offered.items() if name in arguments and value and node.get(name) is None
    }
    return _call(partial(factory, **filled), where)


def _instantiate(node: "DictConfig", where: str) -> Any:
    """A functools.partial of the node's target, with its own nodes made; calling it is left to the caller."""
    from hydra.errors import HydraException
    from hydra.utils import instantiate

    node = node.copy()
    node["_partial_"] = True
    try:
        return instantiate(node, _convert_="all")
    except HydraException as error:
        raise ConfigError(Fault(where, one_line(error.__cause__ or error))) from error


def _call(factory: Callable[[], Any], where: str) -> Any:
    """What only a constructor can refuse becomes one line that names the key."""
    from pytorch_lightning.utilities.exceptions import MisconfigurationException

    try:
        return factory()
    except (ValueError, TypeError, ImportError, RuntimeError, MisconfigurationException) as error:
        raise ConfigError(Fault(where, one_line(error))) from error
