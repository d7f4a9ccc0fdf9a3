"""What a line may name: keys, groups with their choices, tasks, flags; and what a wrong name was meant to be."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stride.errors import nearest

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf"
TASKS = ("train", "tune", "plan", "stability", "test", "validate", "predict")
FROM_RUN = ("test", "validate", "predict")
FLAGS = {"help": "--help", "cfg": "--cfg job", "multirun": "-m", "info": "--info", "version": "--version"}

# Names that other frameworks use for a key of ours.
ALIASES = {
    "lr": "optimizer.lr",
    "learning_rate": "optimizer.lr",
    "weight_decay": "optimizer.weight_decay",
    "momentum": "optimizer.momentum",
    "epochs": "trainer.max_epochs",
    "steps": "trainer.max_steps",
    "bs": "datamodule.batch_size",
    "gpus": "trainer.devices",
    "fp16": "trainer.precision",
    "data": "datamodule",
    "dataset": "datamodule",
    "schedule": "scheduler",
    "lr_scheduler": "scheduler",
    "net": "model",
    "network": "model",
    "loss": "objective",
    "early_stopping": "callbacks.early_stopping",
    "output_dir": "output_root",
    "ckpt": "resume.from",
    "ckpt_path": "resume.from",
    "resume_from_checkpoint": "resume.from",
    "resume_from": "resume.from",
}


@dataclass(frozen=True)
class Names:
    """What a line may name: every key of a config with its default, and every group with its choices."""

    defaults: dict[str, Any]
    options: dict[str, list[str]]

    def meant(self, key: str) -> str | None:
        """What `key` was most likely meant to be: by another framework's word, by its last part, by spelling."""
        if "._" in key:
            return None
        known = [*self.defaults, *self.options]
        lower, leaf = key.lower(), key.lower().rpartition(".")[2]
        if lower in known:
            return lower
        if lower in ALIASES or leaf in ALIASES:
            alias = ALIASES.get(lower) or ALIASES[leaf]
            if alias in known:
                return alias
        same_leaf = [name for name in known if name.rpartition(".")[2] == leaf]
        if len(same_leaf) == 1:
            return same_leaf[0]
        by_key = nearest(lower, known)
        if by_key is not None:
            return by_key
        leaves = {name.rpartition(".")[2]: name for name in reversed(known)}
        close = nearest(leaf, leaves)
        return leaves[close] if close else None

    def word(self, name: str, value: str = "") -> str:
        """The word that sets `name` to `value`, or to what it may be."""
        if name in self.options:
            choices = self.options[name]
            usual = next((choice for choice in choices if choice not in ("none", "default")), choices[0])
            return f"{name}={nearest(value, choices) or usual}"
        default = self.defaults.get(name)
        usual = "true" if isinstance(default, bool) else "..." if isinstance(default, dict | None) else show(default)
        return f"{name}={value or usual}"


def groups(conf: Path = CONF) -> dict[str, list[str]]:
    """Every group of conf/ and its options, read from disk."""
    folders = sorted(path for path in conf.iterdir() if path.is_dir())
    return {folder.name: sorted(file.stem for file in folder.glob("*.yaml")) for folder in folders}


def show(value: Any) -> str:
    """A value as one types it."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, dict):
        return f"{{{','.join(f'{name}:{show(item)}' for name, item in value.items())}}}"
    return f"[{','.join(show(item) for item in value)}]" if isinstance(value, list) else str(value)
