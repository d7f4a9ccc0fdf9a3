"""The config that a run has kept: where it is found, and how it is read again."""

from pathlib import Path
from typing import TYPE_CHECKING

from stride.errors import ConfigError, Fault, one_line
from stride.keys import every
from stride.names import ROOT

if TYPE_CHECKING:
    from omegaconf import DictConfig

PARTS = ("model", "datamodule", "objective", "optimizer", "scheduler", "trainer", "param_groups")  # of every config


def find_run(text: str) -> Path:
    """The run folder that `text` names, as a path or as a name below runs/. Raises ConfigError if it is none."""
    for folder in (Path(text).expanduser(), ROOT / text, ROOT / "runs" / text):
        if (folder / "config.yaml").is_file() and (folder / "run.json").is_file():
            return folder.resolve()
    newest = newest_run()
    law = f"the newest is {newest}" if newest else "there is none in runs/ yet"
    raise ConfigError(Fault("run", f"no run at {text!r}", law, "python -m stride.report runs/"))


def newest_run() -> str | None:
    """The run below runs/ that was written to last."""
    runs = sorted((ROOT / "runs").glob("*/run.json"), key=lambda path: path.stat().st_mtime)
    return f"runs/{runs[-1].parent.name}" if runs else None


def load_config(folder: Path) -> "DictConfig":
    """The config.yaml of a run folder. Raises ConfigError if it cannot be read."""
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    path = folder / "config.yaml"
    try:
        cfg = OmegaConf.load(path)
        whole = isinstance(cfg, DictConfig) and all(isinstance(cfg.get(part), DictConfig) for part in PARTS)
    except (OmegaConfBaseException, YAMLError, ValueError) as error:
        raise ConfigError(Fault("run", f"{path} cannot be read: {one_line(error)}")) from error
    if not whole:
        raise ConfigError(Fault("run", f"{path} is no run's config", f"it has {', '.join(PARTS)}"))
    if not all(key.isprintable() for key, _ in every(OmegaConf.to_container(cfg, resolve=False))):
        raise ConfigError(Fault("run", f"{path} has a key that would steer a terminal"))
    return cfg


def to_evaluate(cfg: "DictConfig") -> "DictConfig":
    """A run's own config without what it came from and what watched it, which need not be there, and without trust."""
    cfg.callbacks = {"progress": (cfg.get("callbacks") or {}).get("progress")}
    cfg.logger = {}
    cfg.trainer.profiler = None
    cfg.init_from, cfg.resume = None, {"from": "auto", "lr": "refuse"}
    cfg.trust_checkpoint = False  # only who types this line can say so, and not who made the run
    return cfg
