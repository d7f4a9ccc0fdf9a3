"""run.json: what a run was told, did and reached. Schema 1; written whole, beside its target, then renamed."""

import json
import math
import platform
import shlex
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omegaconf import DictConfig

from stride.secret import without_secret, without_secrets
from stride.whole_file import replaced

SCHEMA = 1
KEPT = ("lr", "steps", "epochs", "seconds", "scores", "last", "score", "best_checkpoint")
STATUSES = ("running", "finished", "stopped_early", "diverged", "interrupted", "failed", "pruned")


@dataclass
class Record:
    """The run.json of one run folder, or of none (`folder=None`: ranks other than the first)."""

    folder: Path | None
    data: dict[str, Any]

    def update(self, **changes: Any) -> None:
        """Set top-level fields, and write. Dicts are merged one level deep."""
        for key, value in changes.items():
            if key not in self.data:
                raise KeyError(key)
            old = self.data[key]
            self.data[key] = old | value if isinstance(old, dict) and isinstance(value, dict) else value
        if self.folder is not None:
            write_json(self.folder / "run.json", self.data)

    def save_config(self, cfg: "DictConfig") -> None:
        """Write config.yaml: resolved, without secrets; enough to rebuild the run."""
        from omegaconf import OmegaConf

        if self.folder is not None:
            with replaced(self.folder / "config.yaml") as file:
                file.write(OmegaConf.to_yaml(OmegaConf.create(plain_config(cfg))))


def plain_config(cfg: "DictConfig") -> Any:
    """A config as plain data: resolved but for secrets, which are blanked or stay the interpolation that gives them."""
    from omegaconf import OmegaConf

    return without_secrets(OmegaConf.to_container(cfg, resolve=True), OmegaConf.to_container(cfg, resolve=False))


def start(
    folder: Path | None,
    *,
    task: str,
    words: list[str],
    seed: int,
    lr: float | None,
    score: dict[str, str],
    multirun: bool = False,
    goes_on: bool = False,
    cross_validated: bool = False,
) -> Record:
    """A record with status `running`, written at once where there is a folder.

    `words` are what was typed, `multirun` says whether -m was. The record of a run that goes on
    keeps what it had found, reached and cost before. Only a `cross_validated` one has the field `folds`.
    """
    typed = [without_secret(word) for word in words]
    data = {
        "schema": SCHEMA,
        "id": folder.name if folder else None,
        "task": task,
        "status": "running",
        "command": shlex.join(["python", "train.py", *(["-m"] if multirun else []), *typed]),
        "overrides": typed,
        "seed": seed,
        "lr": {
            "asked": lr,
            "found": None,
            "used": None,
            "peak": None,
            "why": "as asked",
            "interventions": [],
        },
        "steps": None,
        "epochs": None,
        "seconds": {"setup": None, "tune": None, "fit": None, "test": None},
        "scores": {},
        "last": {},
        "score": {"name": score["name"], "mode": score["mode"], "value": None},
        "best_checkpoint": None,
        "resume": None,
        "device": None,
        "versions": versions(),
        "git": git(),
    }
    if cross_validated:
        data["folds"] = {"each": [], "standard_error": {}}
    if goes_on and folder is not None:
        before = read(folder)
        data |= {key: before[key] for key in KEPT}
    record = Record(folder, data)
    record.update()
    return record


def read(folder: Path) -> dict[str, Any]:
    """The run.json below `folder`. Raises ValueError if it is not one of ours or of a later schema."""
    path = folder / "run.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(data, dict) or not 1 <= data.get("schema", 0) <= SCHEMA:
        raise ValueError(f"{path} is not a run.json of schema 1 to {SCHEMA}")
    return data


def write_json(path: Path, data: Any) -> None:
    """Write `data` so that a reader sees the old file or the new one, never a part; NaN becomes null."""
    text = json.dumps(_plain(data), indent=1, allow_nan=False)
    with replaced(path) as file:
        file.write(text + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def versions() -> dict[str, str | None]:
    names = ("stride", "torch", "pytorch-lightning", "hydra-core", "torchmetrics")
    return {"python": platform.python_version(), **{name: _version(name) for name in names}}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:  # this project used from its folder without being installed
        return None


def git() -> dict[str, Any]:
    """Commit of the project and whether it had uncommitted changes; nulls outside a checkout."""

    def ask(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=5)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    status = ask("status", "--porcelain", "--untracked-files=no")
    return {"commit": ask("rev-parse", "HEAD"), "dirty": bool(status) if status is not None else None}
