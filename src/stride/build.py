"""From a checked config to the objects of a run. The only file that calls Hydra's instantiate."""

import inspect
import math
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stride.errors import ConfigError, Fault, one_line
from stride.lr.plan import Span
from stride.resume import Start, afresh

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer

    from stride.callbacks.history import History
    from stride.lr.duration import Horizon
    from stride.lr.finding import Finding
    from stride.lr.plan import Plan
    from stride.lr.schedule import Schedule
    from stride.stop import StopRequest
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
OPTIMIZERS = ("torch.optim.", "schedulefree.", "prodigyopt.")

WHOLE = Span()


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
    from omegaconf.errors import OmegaConfBaseException

    own = tuple(f"{path.name}." for path in source.iterdir() if path.is_dir() and any(path.glob("*.py")))
    extra = tuple(f"{name.strip().rstrip('.')}." for name in environment.split(",") if name.strip())
    faults = []
    try:
        found = list(targets(cfg))
    except OmegaConfBaseException:
        return []  # a value that is missing or leads nowhere: the check of the config names it
    for where, target in found:
        if not target.startswith(ALLOWED + own + extra):
            law = "allowed: torch.nn, torch.optim, torchmetrics, Lightning's callbacks and loggers, packages in src/"
            package = target.partition(".")[0]
            # Nobody is led to open all of torch, or the standard library.
            closed = package in sys.stdlib_module_names or any(one.startswith(f"{package}.") for one in ALLOWED)
            attempt = "" if closed else f"STRIDE_ALLOW_TARGETS={package} python train.py ..."
            near = re.sub(r"^(lightning\.pytorch|lightning|pl)\.", "pytorch_lightning.", target)
            if near != target and near.startswith(ALLOWED):
                law, attempt = f"did you mean `{near}`?", f"{where}={near}"
            faults.append(Fault(where, f"{target!r} may not be called", law, attempt))
    return faults


def targets(cfg: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Where each `_target_` of a config stands, and what it names."""
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
            yield from targets(value, f"{where}.")


def datamodule(cfg: "DictConfig") -> tuple["LightningDataModule", dict[str, Any]]:
    """The datamodule and its `spec`: what a model has to know of the data (channels, classes, ...), by name.

    A DataLoader that it trains from is served as `stride.datamodules.exact_loader` says.
    """
    from stride.datamodules.exact_loader import serve_exactly

    data = _call(_instantiate(cfg.datamodule, "datamodule"), "datamodule")
    serve_exactly(data, cfg.get("seed", 0))
    cv = cfg.get("cv")
    if cv is not None and cv.get("fold") is not None:
        _call(partial(_set_up_as_fold, data, cv, cfg.datamodule._target_), "datamodule")
    if not hasattr(type(data), "spec"):
        return data, {}
    data.prepare_data()
    _call(partial(data.setup, "fit"), "datamodule")
    return data, dict(data.spec)


def _set_up_as_fold(data: "LightningDataModule", cv: "DictConfig", target: str) -> None:
    """Set the data up as the fold that `cv` names. Raises ConfigError where it cannot be cut into folds."""
    from stride.datamodules.fold import CannotFold, Fold

    fold = Fold(int(cv.folds), int(cv.fold), cv.splitter, int(cv.repeats))
    data.fold = fold  # pyrefly: ignore[missing-attribute]  what offers folds looks there
    data.prepare_data()
    try:
        data.setup("fit")
    except CannotFold as error:
        attempt = " ".join(f"cv.{name}={value}" for name, value in error.instead.items())
        raise ConfigError(Fault(f"cv.{error.argument}", error.what, error.law, attempt)) from error
    if not fold.used:
        law = "its setup has to split train plus validation by `self.fold` where that is set"
        attempt = f"`train, val = self.fold(len(samples))`, as in {Fold.__module__}.Fold"
        raise ConfigError(Fault("cv.folds", f"{target} offers no folds", law, attempt))


def module(cfg: "DictConfig", spec: dict[str, Any], lr: float, span: Span = WHOLE) -> "LightningModule":
    """The LightningModule: the config's model inside LitModule, or the model itself where it is one.

    Its schedule is laid over `span` of the run.

    Arguments that the model's signature names and the config leaves null come from `spec`; those that a
    LightningModule of the user's own names (objective, optimizer, schedule, param_groups, lr) from their groups.
    The values taken from `spec` are written into `cfg`, so that a saved config rebuilds without the data.
    """
    from pytorch_lightning import LightningModule

    from stride.module import LitModule

    for metric in (cfg.objective.get("metrics") or {}).values():
        if "num_classes" in metric and metric.num_classes is None and "classes" in spec:
            metric.num_classes = spec["classes"]
    schedule, optimizer = _schedule(cfg), _optimizer(cfg)
    parts = {
        "objective": _call(_instantiate(cfg.objective, "objective"), "objective"),
        "optimizer": partial(_for_training, optimizer),
        "schedule": schedule and (lambda run, lr: span.lay(lambda part: schedule(part, lr), run)),
        "param_groups": _param_groups(cfg),
        "lr": lr,
    }
    known = {**parts, **spec, **_of_width(cfg)}
    model = _instantiate(cfg.model, "model")
    arguments = inspect.signature(model.func).parameters
    offered = {name: value for name, value in known.items() if name in arguments and cfg.model.get(name) is None}
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
    cfg.model.update({name: value for name, value in offered.items() if name not in parts})
    network = _call(partial(model, **offered), "model")
    made = network if isinstance(network, LightningModule) else LitModule(network=network, **parts)
    _settle(parts["param_groups"], made, network, partial(model, **offered), optimizer)
    return made


def _param_groups(cfg: "DictConfig") -> Any:
    """What splits the parameters: a function of the network, or an object that is called as one."""
    from stride.lr.width import usual_base

    node = cfg.param_groups
    if "base" in node and node.base is None:
        node.base = usual_base(_plain(cfg.model))  # into the saved config, too
    factory = _instantiate(node, "param_groups")
    return _call(factory, "param_groups") if inspect.isclass(factory.func) else factory


def _of_width(cfg: "DictConfig") -> dict[str, Any]:
    """What muP tells a model that asks for it."""
    from stride.lr.width import attention_scale

    base, model = cfg.param_groups.get("base"), _plain(cfg.model)
    if not base or not {"d_model", "heads"} <= set(model):
        return {}
    return {"attention_scale": attention_scale(model, _plain(base))}


def _settle(groups: Any, module: "LightningModule", network: Any, model: Callable[..., Any], optimizer: Any) -> None:
    """Let the groups see the new network: once to set its initial weights, where they do, and once to split it.

    A pattern that finds nothing is a line here, and not in the middle of the fit.
    """
    if hasattr(groups, "prepare"):
        _call(partial(groups.prepare, network, model, optimizer), "param_groups")
    _call(partial(groups, module), "param_groups")


def _plain(node: Any) -> dict[str, Any]:
    from omegaconf import OmegaConf

    plain: Any = OmegaConf.to_container(node, resolve=True)
    return plain


def run(
    cfg: "DictConfig",
    folder: Path | None,
    lr: float,
    start: Start | None = None,
    watch: Callable[[int, float], bool] | None = None,
    asked: "StopRequest | None" = None,
    tell_exactness: Callable[[str], None] | None = None,
) -> Run:
    """Everything that a task needs, with its files in `folder`; None: nothing is written, nothing watches.

    `start` says which plan a resumed run goes on with; None: it starts afresh. `watch` is told each validation's
    number and score, and may end the run. `asked` tells that it is to stop. `tell_exactness` hears, as training starts,
    why a resumed run would not see the same samples; the empty text where it would.
    """
    from pytorch_lightning import seed_everything

    from stride.callbacks.exactness import Exactness
    from stride.callbacks.history import History
    from stride.callbacks.metric_states import MetricStates
    from stride.callbacks.saved_logs import SavedLogs
    from stride.callbacks.step_seed import StepSeed
    from stride.callbacks.stop import Stop

    seed_everything(cfg.seed, workers=True, verbose=False)
    data, spec = datamodule(cfg)
    start = start or afresh(cfg)
    model = module(cfg, spec, lr, start.span)
    history = History(cfg.objective.score.name, cfg.objective.score.mode, watch)
    callbacks = [StepSeed(cfg.seed), MetricStates(), SavedLogs(), *_lr_callbacks(cfg, start), history]
    callbacks += _watchers(cfg, folder) if folder else []
    if tell_exactness is not None:
        callbacks.append(Exactness(tell_exactness))
    if asked is not None:
        callbacks.append(Stop(asked))
    return Run(_trainer(cfg, callbacks, folder, start.step), model, data, history)


def scaled_lr(cfg: "DictConfig") -> tuple[float, str]:
    """The asked LR at the batch that a step of this run sees, and the sum by which it came about."""
    asked = cfg.optimizer.lr
    if not cfg.get("lr_scaling"):
        return asked, "as asked"
    counts = (cfg.datamodule.batch_size, processes(cfg), cfg.trainer.accumulate_grad_batches)
    rule = _instantiate(cfg.lr_scaling, "lr_scaling")
    scaling = _call(partial(rule, batch=math.prod(counts)), "lr_scaling")
    of = " x ".join(map(str, counts))
    lr = asked * scaling.factor
    return lr, f"lr {lr:.4g} = {asked:.4g} x {scaling.told}, batch {of} (samples a device, devices, accumulated)"


def processes(cfg: "DictConfig") -> int:
    """How many processes the run has on all nodes, each of which takes its share of the samples."""
    devices = cfg.trainer.devices
    if devices in ("auto", -1):
        import torch

        on_gpus = cfg.trainer.accelerator in ("auto", "gpu", "cuda")
        devices = max(1, torch.cuda.device_count()) if on_gpus else 1
    return (devices if isinstance(devices, int) else len(devices)) * cfg.trainer.num_nodes


def plan(cfg: "DictConfig", run: "Horizon") -> "Plan":
    """The plan of a run of this horizon whose parameters are in one group; needs neither data nor model."""
    from stride.lr.plan import Plan
    from stride.lr.schedule import constant

    (lr, _), schedule = scaled_lr(cfg), _schedule(cfg)
    found = Plan(lr, schedule(run, lr) if schedule else constant(total=run.steps), run, {"all": 1.0})
    if cfg.get("warmup"):
        found.ramp = _law(cfg.warmup, "warmup")(run)
    return found


def is_one_group(cfg: "DictConfig") -> bool:
    """Whether all parameters are in one group, whatever the model: the optimizer makes no more of it."""
    return cfg.param_groups._target_.endswith(".one_group") and cfg.optimizer._target_.startswith(OPTIMIZERS)


def finder(cfg: "DictConfig") -> "RangeTest":
    """The range test that `lr_finder` describes."""
    return _call(_instantiate(cfg.lr_finder, "lr_finder"), "lr_finder")


def search(
    cfg: "DictConfig",
    *,
    prepare: Callable[[Any], Any] = lambda parts: parts,
    everywhere: bool = False,
    bar: bool = False,
) -> "Finding":
    """What `lr_finder` finds for this config.

    Args:
        prepare: takes each fresh (trainer, module, datamodule) and gives what is to be trained.
        everywhere: as in `range_test`.
        bar: show how far it is.

    Raises ConfigError as `RangeTest` does.
    """
    stage = finder(cfg)
    return stage(
        lambda order, folder: prepare(range_test(cfg, folder, order, stage.steps, everywhere=everywhere)),
        lambda order, folder: prepare(trial(cfg, folder, order)),
        cfg.optimizer.lr,
        bar=bar,
    )


def range_test(
    cfg: "DictConfig", folder: Path, order: int, steps: int, *, everywhere: bool = False
) -> tuple["Trainer", "LightningModule", "LightningDataModule"]:
    """A fresh module and datamodule for one data order, and a Trainer to throw away: no logger, no callbacks.

    Precision, clipping, accumulation and batches are the run's own: another batch has another best LR. `everywhere`
    says that all processes of the run are at it, else it is this one alone.
    """
    cfg = cfg.copy()
    cfg.trainer.update({"max_epochs": -1, "max_steps": steps, "max_time": None})
    if not everywhere:
        cfg.trainer.update({"strategy": "auto", "devices": 1, "num_nodes": 1})
    # The sweep has a schedule of its own, and the run's may not fit into so few steps.
    cfg.scheduler = {"_target_": "stride.lr.schedule.constant"}
    return _throw_away(cfg, folder, order, [])


def trial(cfg: "DictConfig", folder: Path, order: int) -> tuple["Trainer", "LightningModule", "LightningDataModule"]:
    """The same of the run's own length, law and warm-up, on all of its processes; whoever fits it has to stop it."""
    from stride.callbacks.warmup import Warmup

    return _throw_away(cfg.copy(), folder, order, [Warmup(_law(cfg.warmup, "warmup"))] if cfg.get("warmup") else [])


def _throw_away(
    cfg: "DictConfig", folder: Path, order: int, callbacks: list["Callback"]
) -> tuple["Trainer", "LightningModule", "LightningDataModule"]:
    from pytorch_lightning import seed_everything

    no_shorter = {"min_epochs": None, "min_steps": None}  # a sweep ends where the loss runs away
    silent = {
        "limit_val_batches": 0,
        "num_sanity_val_steps": 0,
        "enable_progress_bar": False,
        "profiler": None,
        "detect_anomaly": False,
        "overfit_batches": 0,
        "fast_dev_run": False,
    }
    cfg.seed = (cfg.seed + order) % 2**32
    cfg.trainer.update({**no_shorter, **silent})
    seed_everything(cfg.seed, workers=True, verbose=False)
    data, spec = datamodule(cfg)
    model = module(cfg, spec, cfg.optimizer.lr)
    factory = _instantiate(cfg.trainer, "trainer")
    fixed = {"logger": False, "enable_checkpointing": False, "default_root_dir": folder, "callbacks": callbacks}
    return _call(partial(factory, **fixed), "trainer"), model, data


def _optimizer(cfg: "DictConfig") -> Any:
    node = cfg.optimizer.copy()
    node.pop("lr")
    return _instantiate(node, "optimizer")


def _for_training(factory: Callable[..., Any], groups: Any, *, lr: float) -> Any:
    """An optimizer that steps at its groups' scales, in a range test too, which has no callbacks."""
    from stride.around_step import around

    optimizer = factory(groups, lr=lr)
    around(optimizer)
    if hasattr(optimizer, "train"):  # a new schedule-free one cannot step
        optimizer.train()
    return optimizer


def _schedule(cfg: "DictConfig") -> Callable[["Horizon", float], "Schedule"] | None:
    """`schedule(horizon, lr)` is the law of a run that long at that base rate; None where the score decides."""
    if is_plateau(cfg):
        return None
    factory = _instantiate(cfg.scheduler, "scheduler")
    if inspect.isclass(factory.func):  # asked first, because a law of ours needs no torch
        from torch.optim.lr_scheduler import LRScheduler

        from stride import torch_law

        if issubclass(factory.func, LRScheduler):
            return lambda horizon, lr: _call(partial(torch_law.law, factory, horizon=horizon, lr=lr), "scheduler")
    law = _law(cfg.scheduler, "scheduler")
    return lambda horizon, lr: law(horizon)


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


def _lr_callbacks(cfg: "DictConfig", start: Start) -> list["Callback"]:
    """What acts on the LR; before the watchers, so that they see the LR that acts."""
    from stride.callbacks.freeze import Freeze
    from stride.callbacks.lr_plan import LRPlan
    from stride.callbacks.momentum import Momentum
    from stride.callbacks.plateau import Plateau
    from stride.callbacks.schedule_free import ScheduleFree
    from stride.callbacks.warmup import Warmup

    found: list[Callback] = [Momentum(), Freeze(), ScheduleFree()]
    if cfg.get("warmup"):
        ramp = _law(cfg.warmup, "warmup")
        found.append(Warmup(lambda run: start.span.lay(ramp, run)))
    if is_plateau(cfg):
        found.append(Plateau(_instantiate(cfg.scheduler, "scheduler"), cfg.objective.score.name))
    return [*found, LRPlan(start.asked, changes=start.changes, begins=start.begins)]


def _watchers(cfg: "DictConfig", folder: Path) -> list["Callback"]:
    nodes = {name: node for name, node in (cfg.get("callbacks") or {}).items() if node}
    return [_made(node, f"callbacks.{name}", folder) for name, node in nodes.items()]


def _trainer(cfg: "DictConfig", callbacks: list["Callback"], folder: Path | None, step: int) -> "Trainer":
    from lightning_fabric.plugins import TorchCheckpointIO
    from pytorch_lightning.callbacks import Checkpoint, ProgressBar

    from stride.checkpoint_io import SealedIO

    loggers = [
        _made(node, f"logger.{name}", folder, step)
        for name, node in (cfg.get("logger") or {}).items()
        if node and folder
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
    trainer = _call(partial(_instantiate(node, "trainer"), **fixed), "trainer")
    _refuse_idle_processes(trainer)
    # Not in place of one that was asked for, or that a strategy needs.
    if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
        trainer.strategy.checkpoint_io = SealedIO()
    return trainer


def _refuse_idle_processes(trainer: "Trainer") -> None:
    """Lightning asks this of strategies that it starts processes for; others would each train the whole run."""
    from lightning_fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment

    cluster, asked = trainer._accelerator_connector.cluster_environment, trainer.num_devices * trainer.num_nodes
    if isinstance(cluster, SLURMEnvironment | TorchElasticEnvironment) and cluster.world_size() != asked:
        what, law = f"{asked} in all, but {cluster.world_size()} processes were started", "one process a device"
        raise ConfigError(Fault("trainer.devices", what, law))


def _made(node: "DictConfig", where: str, folder: Path | None, step: int = 0) -> Any:
    """One object; its null arguments that name a folder are given the run's.

    A logger of a run that goes on from `step` shows nothing of what a lost part of it had logged from there on.
    """
    from stride.callbacks.forgiving import forgiving

    factory = _instantiate(node, where)
    if where.startswith("logger."):
        factory = partial(forgiving(factory.func), *factory.args, **factory.keywords)
    if node._target_.endswith((".MetricsCSV", ".TensorBoardLogger")):
        factory = partial(factory, purge_step=step)
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
    try:
        return factory()
    except Exception as error:
        # Lightning's by its name: a plan needs no Lightning, and would import it for this line.
        known = isinstance(error, ValueError | TypeError | ImportError | RuntimeError)
        if not known and type(error).__name__ != "MisconfigurationException":
            raise
        told = one_line(error)
        named = re.search(r"but got (\w+)=", told)  # our own laws name the argument
        raise ConfigError(Fault(f"{where}.{named[1]}" if named else where, told)) from error
