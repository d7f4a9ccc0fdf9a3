"""Resuming: which checkpoint a run goes on from, and with which plan of the LR."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stride import checkpoint_file
from stride.errors import ConfigError, Fault, one_line
from stride.keys import differences, look_up
from stride.lr.duration import Horizon
from stride.lr.plan import Span
from stride.lr.schedule import OWN_WARMUP
from stride.secret import BLANK

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from pytorch_lightning import LightningModule

CHECKPOINTS = "checkpoints"
LAST = Path(CHECKPOINTS, "last.ckpt")
SHORT_WARMUP = {"_target_": "stride.lr.ramp.linear", "_partial_": True, "length": "5%"}

# What the plan of the LR follows from: how long the run is and how much a step sees, and the law itself.
LENGTH = (
    "trainer.max_epochs",
    "trainer.max_steps",
    "trainer.limit_train_batches",
    "trainer.accumulate_grad_batches",
    "trainer.devices",
    "trainer.num_nodes",
    "datamodule.batch_size",
)
LAW = ("optimizer.lr", "scheduler", "warmup", "lr_scaling")
# What says nothing of what is learned: free to differ from what a run was begun with.
FREE = (
    *("name", "output_root", "run", "time_limit", "resume", "trust_checkpoint"),
    *("callbacks", "logger", "test", "predictions", "hydra", "sweep"),
)
LOADING = ("num_workers", "pin_memory", "persistent_workers", "prefetch_factor")  # of a datamodule: how, not what


@dataclass(frozen=True)
class Start:
    """How a run starts: afresh, or from a checkpoint; and with which plan.

    Args:
        cfg: the config, its optimizer.lr, scheduler and warmup those of the plan in force.
        asked: what the plan follows from, for the fingerprint.
        checkpoint: None: afresh.
        step: the optimizer steps that the checkpoint has behind it.
        lr: the peak where the checkpoint settles it; None: what is asked, found or scaled.
        span: the part of the run that law and warm-up are laid over.
        changes: whether the plan is another one than the checkpoint's.
        damaged: newer checkpoints that were passed over, and what is wrong with each.
    """

    cfg: "DictConfig"
    asked: dict[str, Any]
    checkpoint: Path | None = None
    step: int = 0
    lr: float | None = None
    span: Span = field(default_factory=Span)
    changes: bool = False
    damaged: dict[Path, str] = field(default_factory=dict)

    @property
    def begins(self) -> bool:
        """Whether a new plan begins with this very step."""
        return self.changes and self.span.start == self.step


def may_go_on(folder: Path, cfg: "DictConfig") -> None:
    """Raises ConfigError unless the run in `folder` is one that this line may go on with. Imports no torch."""
    from stride.report import record

    another = f"name={folder.name}-2"
    there = f"{folder} is there already"
    if cfg.task != "train" or not (folder / "run.json").is_file():
        raise ConfigError(Fault("name", there, "two runs never share a folder", another))
    if cfg.resume["from"] == "never":
        raise ConfigError(Fault("name", there, "resume.from=never begins a new run", f"{another} or resume.from=auto"))
    try:
        status = record.read(folder)["status"]
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(Fault("name", f"{folder / 'run.json'} cannot be read", one_line(error), another)) from error
    changed = _other_keys(folder, cfg)
    foreign = {key: pair for key, pair in changed.items() if not key.startswith((*LENGTH, *LAW))}
    if foreign:
        shown = ", ".join(f"{key} {old} -> {new}" for key, (old, new) in foreign.items())
        raise ConfigError(Fault("name", f"{folder} holds a run of another config ({shown})", "", another))
    _refuse_links(folder, another)
    _refuse_by_status(folder, status, cfg, changed)


def _refuse_links(folder: Path, attempt: str) -> None:
    """A run that goes on writes into files that are there: into none that lies elsewhere."""
    for path in folder.rglob("*"):
        if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
            what, law = f"{path} is a link to {path.resolve()}", "a run writes into its own folder alone"
            raise ConfigError(Fault("name", what, law, attempt))


def _refuse_by_status(folder: Path, status: str, cfg: "DictConfig", changed: dict[str, Any]) -> None:
    again = f"name={folder.name} resume.lr"
    if status == "diverged" and cfg.resume.lr == "refuse":
        attempt = f"{again}=rewarm optimizer.lr={cfg.optimizer.lr / 3:.1g}"
        raise ConfigError(Fault("name", f"the run in {folder} diverged", "it would again with the same LR", attempt))
    if status not in ("finished", "stopped_early", "pruned"):
        return
    longer = any(key in LENGTH for key in changed)
    if cfg.resume.lr == "refuse" or not longer:
        key = "max_epochs" if cfg.trainer.max_epochs not in (None, -1) else "max_steps"
        more = cfg.trainer[key] if longer else 2 * cfg.trainer[key]
        law = "it goes on only with more to do, and told how"
        attempt = f"{again}=stretch trainer.{key}={more}, or name={folder.name}-2"
        raise ConfigError(Fault("name", f"the run in {folder} is {status.replace('_', ' ')}", law, attempt))


def _other_keys(folder: Path, cfg: "DictConfig") -> dict[str, tuple[Any, Any]]:
    """The keys in which the run's own config differs from `cfg`; nulls that the data had filled do not count."""
    from omegaconf import OmegaConf

    if not (folder / "config.yaml").is_file():
        return {}  # it ended before it was set up
    changed = learned_from(OmegaConf.load(folder / "config.yaml"), cfg)
    return {key: pair for key, pair in changed.items() if pair[1] is not None}


def learned_from(before: Any, cfg: "DictConfig") -> dict[str, tuple[Any, Any]]:
    """The keys of what is learned in which a run's own config differs from `cfg`; what is secret is not compared."""
    from omegaconf import OmegaConf

    from stride.report.record import plain_config

    plain: Any = OmegaConf.to_container(before, resolve=False)  # resolved as it was written, but for secrets
    now = plain_config(cfg)
    if "cv" not in plain:
        now.pop("cv", None)  # it was begun before there was cross-validation
    for key in FREE:
        plain.pop(key, None)
        now.pop(key, None)
    for node in (plain, now):
        for key in LOADING:
            (node.get("datamodule") or {}).pop(key, None)
    return {key: pair for key, pair in differences(plain, now).items() if not any(map(_is_secret, pair))}


def _is_secret(kept: Any) -> bool:
    return BLANK in str(kept) or "${" in str(kept)


def start(cfg: "DictConfig", folder: Path) -> Start:
    """How the run in `folder` starts."""
    checkpoint, damaged = checkpoint_for(folder, cfg)
    return replace(settle(cfg, checkpoint), damaged=damaged) if checkpoint else afresh(cfg)


def checkpoint_for(folder: Path, cfg: "DictConfig") -> tuple[Path | None, dict[Path, str]]:
    """The checkpoint that a training run in `folder` starts from (None: afresh), and what was passed over for it.

    Raises ConfigError for a typed path that leads to no whole one, and where all that there are are damaged.
    """
    source = cfg.resume["from"]
    if cfg.task != "train" or source == "never":
        return None, {}
    if source == "auto":
        found, damaged = checkpoint_file.newest(folder / CHECKPOINTS)
        if found is None and damaged:
            told = "; ".join(f"{path}: {why}" for path, why in damaged.items())
            attempt = f"resume.from=never name={folder.name}-2"
            raise ConfigError(Fault("name", "no checkpoint of this run is whole", told, attempt))
        return found, damaged
    return find_typed(source), {}


def find_typed(source: str) -> Path | None:
    """The whole checkpoint that a typed path stands for: itself, or the newest of a run's folder.

    None where it is no path. Raises ConfigError where there is none.
    """
    if source in ("auto", "never"):
        return None
    path = Path(source).expanduser()
    law = "a checkpoint, or the folder of a run that has one"
    if path.is_dir():
        inside = path / CHECKPOINTS if (path / CHECKPOINTS).is_dir() else path
        found, damaged = checkpoint_file.newest(inside)
        if found is not None:
            return found
        told = "; ".join(f"{damaged_path.name}: {why}" for damaged_path, why in damaged.items())
        raise ConfigError(Fault("resume.from", f"there is no whole checkpoint in {path}", told or law))
    if not path.is_file():
        raise ConfigError(Fault("resume.from", f"there is no checkpoint at {str(path)!r}", law, _instead(path)))
    checkpoint_file.refuse_damaged(path, "resume.from", _instead(path))
    return path


def _instead(path: Path) -> str:
    """What to type in place of a path that leads to no checkpoint: the newest whole one of its folder."""
    found, _ = checkpoint_file.newest(path.parent)
    return f"resume.from={found}" if found else "resume.from=auto"


def afresh(cfg: "DictConfig") -> Start:
    return Start(cfg, _asked(cfg, "refuse", cfg, Span()))


def settle(cfg: "DictConfig", checkpoint: Path) -> Start:
    """The start from a checkpoint: its plan, or, where `resume.lr` says so, another one.

    keep: the old plan, whatever the line says now; after its end the last LR holds.
    stretch: the old law and peak over the run's new length.
    rewarm: what the line says now, laid over what is left of the run, with a warm-up.
    refuse, or the mode under which the checkpoint was written: nothing changes; what would is refused later.

    Raises ConfigError where the checkpoint cannot be read, and where stretch would have to drop a typed law.
    """
    step, saved = _read(checkpoint, cfg)
    if not saved:
        return Start(cfg, _asked(cfg, "refuse", cfg, Span()), checkpoint, step)
    before, mode = saved["asked"], cfg.resume.lr
    in_force, changed = before["in_force"], differences(before["keys"], _keys(cfg))
    held = Horizon(**in_force["held"]) if in_force["held"] else None
    span = Span(in_force["start"], held)
    if mode == "refuse" and changed:
        return Start(cfg, _asked(cfg, mode, cfg, span), checkpoint, step, span=span)
    if mode == "refuse" or (mode == before["mode"] and not changed):
        kept = _with(cfg, in_force)
        return Start(kept, _asked(cfg, before["mode"], kept, span), checkpoint, step, saved.get("lr"), span)
    if mode == "rewarm":
        new = _with(cfg, {"scheduler": _node(cfg.scheduler), "warmup": _warmup(cfg)})
        span = Span(step)
        scaled = LENGTH if cfg.get("lr_scaling") else ()
        same_peak = not any(key.startswith(("optimizer.lr", "lr_scaling", *scaled)) for key in changed)
        lr = saved.get("lr") if same_peak else None
        return Start(new, _asked(cfg, mode, new, span), checkpoint, step, lr, span, changes=True)
    if mode == "keep":
        whole = Horizon(steps=saved["steps"], epoch_steps=saved["epoch_steps"])
        span = Span(span.start, held or whole)
    else:
        dropped = [key for key in changed if key not in LENGTH]
        if dropped:
            law = "it keeps the law and the peak; only the run's length changes"
            attempt = "resume.lr=rewarm, or the line without these words"
            raise ConfigError(Fault("resume.lr", f"stretch would drop {', '.join(dropped)}", law, attempt))
        span = Span(span.start)
    kept = _with(cfg, in_force)
    return Start(kept, _asked(cfg, mode, kept, span), checkpoint, step, saved.get("lr"), span, changes=True)


def _read(checkpoint: Path, cfg: "DictConfig") -> tuple[int, dict[str, Any]]:
    """The optimizer steps of a checkpoint, and the fingerprint of its plan (empty where it has none)."""
    import torch

    try:
        told = torch.load(checkpoint, map_location="cpu", weights_only=not trusts(cfg), mmap=True)
        return told["global_step"], told["callbacks"].get("LRPlan", {})
    except Exception as error:
        raise ConfigError(unreadable(checkpoint, error, "resume.from", "trust_checkpoint=true")) from error


def unreadable(checkpoint: Path, error: Exception, key: str, attempt: str = "") -> Fault:
    """What to say of a file that `key` names and that is whole, and yet cannot be used; `attempt` runs its code."""
    import torch

    try:
        code = torch.serialization.get_unsafe_globals_in_checkpoint(str(checkpoint))
    except Exception:
        code = []
    if code:
        law = f"nothing of it was run{'; only if you know who wrote it' if attempt else ''}"
        what = f"{checkpoint} holds code ({', '.join(sorted(code)[:3])})"
        return Fault(key, what, law, attempt)
    law = "it is no checkpoint of a training run"
    return Fault(key, f"{checkpoint} cannot be read", f"{law}: {one_line(error, 120)}")


def trusts(cfg: "DictConfig") -> bool:
    """Whether a checkpoint may hold code, which is run as it is loaded: only where that was typed."""
    return bool(cfg.get("trust_checkpoint"))


def refuse_other_model(checkpoint: Path, module: "LightningModule", cfg: "DictConfig") -> None:
    """Raises ConfigError where the weights of a checkpoint are not those of this module: names and shapes."""
    import torch

    own = module.state_dict()
    told = torch.load(checkpoint, map_location="cpu", weights_only=not trusts(cfg), mmap=True)["state_dict"]
    for name in [*own, *(name for name in told if name not in own)]:
        here, there = (list(state[name].shape) if name in state else None for state in (own, told))
        if here != there:
            what = f"{checkpoint} is of another model: {name} is {there or 'not'} there, {here or 'not'} here"
            raise ConfigError(Fault("resume.from", what, "a run goes on with its own model", f"init_from={checkpoint}"))


def _asked(cfg: "DictConfig", mode: str, in_force: "DictConfig", span: Span) -> dict[str, Any]:
    held = {"steps": span.held.steps, "epoch_steps": span.held.epoch_steps} if span.held else None
    nodes = {"scheduler": _node(in_force.scheduler), "warmup": _node(in_force.warmup)}
    return {"keys": _keys(cfg), "mode": mode, "in_force": {**nodes, "start": span.start, "held": held}}


def _keys(cfg: "DictConfig") -> dict[str, Any]:
    plain = _node(cfg)
    return {key: look_up(plain, key)[1] for key in (*LENGTH, *LAW)}


def _node(node: Any) -> Any:
    from omegaconf import OmegaConf

    return OmegaConf.to_container(node, resolve=True) if node is not None else None


def _with(cfg: "DictConfig", nodes: dict[str, Any]) -> "DictConfig":
    cfg = cfg.copy()
    cfg.scheduler, cfg.warmup = nodes["scheduler"], nodes["warmup"]
    return cfg


def _warmup(cfg: "DictConfig") -> Any:
    law = str(cfg.scheduler._target_).rpartition(".")[2]
    return _node(cfg.warmup) if cfg.warmup else {} if law in OWN_WARMUP else SHORT_WARMUP
