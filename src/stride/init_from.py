"""Weights of an earlier run or of a file for a new run: weights only, and a word on each that did not fit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stride import checkpoint_file
from stride.errors import ConfigError, Fault, one_line
from stride.kept_config import find_run
from stride.rebuild import checkpoint_of

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

_SHOWN = 5  # names of a list that are written out


@dataclass(frozen=True)
class Loaded:
    """How many of the module's tensors were loaded, and the names of all that were not; as text, for a person."""

    source: Path
    loaded: int
    missing: Sequence[str]  # in the module, not in the file
    unexpected: Sequence[str]  # in the file, not in the module
    mismatched: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]  # the shapes in the module and in the file

    def __str__(self) -> str:
        total = self.loaded + len(self.missing) + len(self.mismatched)
        parts = {
            "of another shape": self.shapes(),
            "not in the file": _listed(self.missing),
            "in the file, not used": _listed(self.unexpected),
        }
        lines = [f"weights: {self.loaded} of {total} tensors from {self.source}"]
        return "\n".join(lines + [f"  {what}: {names}" for what, names in parts.items() if names])

    def shapes(self) -> str:
        """Both shapes of each tensor that has another one in the file."""
        both = [f"{name} is {list(here)} here, {list(there)} there" for name, (here, there) in self.mismatched.items()]
        return _listed(both)


def find_weights(source: str | Path) -> Path:
    """The file that `source` stands for: itself, or a run's best checkpoint. Raises ConfigError for none."""
    path = Path(source).expanduser()
    try:
        path = path if path.is_file() else checkpoint_of(find_run(str(source)))
    except ConfigError as error:
        raise ConfigError(*(replace(fault, where="init_from") for fault in error.faults)) from None
    with path.open("rb") as file:
        is_archive = file.read(2) == b"PK"
    if is_archive:  # else one that torch wrote before 1.6, without checksums
        checkpoint_file.refuse_damaged(path, "init_from")
    return path


def load_weights(module: "Module", source: str | Path, *, trusted: bool = False) -> Loaded:
    """Load what fits of `source` into `module`, and say what did not.

    `source` is a run (its folder or name; its best checkpoint is taken) or a file: a checkpoint of Lightning or a
    plain state dict, in either case with or without LitModule's `network.` before the names. The module's objective
    is left alone: what a loss weighs belongs to the new run's config. A file that is `trusted` may hold code, which is
    run.

    Raises ConfigError if there is no such run or file, if it holds no weights, or if nothing of it fits.
    """
    path = find_weights(source)
    own = _weights(module.state_dict())
    state = _renamed(_weights(_read(path, trusted)), own)
    fitting = {name: value for name, value in state.items() if name in own and value.shape == own[name].shape}
    loaded = Loaded(
        source=path,
        loaded=len(fitting),
        missing=[name for name in own if name not in state],
        unexpected=[name for name in state if name not in own],
        mismatched={
            name: (tuple(own[name].shape), tuple(state[name].shape))
            for name in own
            if name in state and name not in fitting
        },
    )
    if not fitting:
        raise _refused(f"nothing in {path} fits the model", loaded.shapes() or f"the model has {_listed(list(own))}")
    module.load_state_dict(fitting, strict=False)
    return loaded


def _read(path: Path, trusted: bool) -> dict[str, Any]:
    """The tensors of a file by name."""
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=not trusted)
    except Exception as error:  # zip, pickle and torch each have their own for a file that is none of theirs
        raise _refused(f"{path} cannot be read as a checkpoint", one_line(error, 120)) from error
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    tensors = {name: value for name, value in (state or {}).items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise _refused(f"{path} holds no weights", "wanted: a checkpoint of Lightning, or a state dict")
    return tensors


def _weights(state: Mapping[str, Any]) -> dict[str, "Tensor"]:
    return {name: value for name, value in state.items() if not name.startswith("objective.")}


def _renamed(state: dict[str, "Tensor"], own: Mapping[str, "Tensor"]) -> dict[str, "Tensor"]:
    """The file's tensors under the names that fit the module best: as they are, with `network.`, or without it."""
    spellings = (
        state,
        {f"network.{name}": value for name, value in state.items()},
        {name.removeprefix("network."): value for name, value in state.items()},
    )
    return max(spellings, key=lambda names: len(names.keys() & own.keys()))


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _refused(what: str, law: str) -> ConfigError:
    return ConfigError(Fault("init_from", what, law))
