"""Cross-validation: the folds of one config, one after another in this process, each a run with a folder of its own."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stride import resume, run_folder, trial_link
from stride.errors import ConfigError, Exit, Fault, StorageError
from stride.kept_config import load_config
from stride.line import Line

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from stride.report.record import Record

# Told one fold's line and folder; trains it, and gives its run.json and exit code.
Train = Callable[[Line, Path], tuple[dict[str, Any], int]]


def asked(cfg: "DictConfig") -> bool:
    """Whether a config asks for all of its folds, and not for one run or one fold."""
    cv = cfg.get("cv") or {}
    return cfg.task == "train" and cv.get("folds") is not None and cv.get("fold") is None


def count(cfg: "DictConfig") -> int:
    """How many folds there are, repetitions included."""
    return int(cfg.cv.folds) * int(cfg.cv.repeats)


def may_go_on(folder: Path, cfg: "DictConfig") -> None:
    """Raises ConfigError unless the run in `folder` is one that this line may go on with. Imports no torch.

    A cross-validation goes on with the very config that it was begun with, or not at all: folds of several plans
    have no mean. A single run goes on with the samples that it had. All else is asked of `resume.may_go_on`.
    """
    from stride.report import record

    try:
        kept = record.read(folder)
    except (OSError, ValueError):
        return resume.may_go_on(folder, cfg)
    if asked(cfg) != ("folds" in kept):
        held = "a cross-validation" if "folds" in kept else "a single run"
        raise ConfigError(Fault("name", f"{folder} holds {held}", "", f"name={folder.name}-2"))
    if asked(cfg):
        _refuse_ended(folder, kept["status"], cfg)
    changed = {
        key: pair
        for key, pair in _differences(folder, cfg).items()
        if asked(cfg) or (key.startswith("cv.") and pair[0] is not None)
    }
    if changed:
        shown = ", ".join(f"{key} {old} -> {new}" for key, (old, new) in changed.items())
        raise ConfigError(
            Fault("name", f"{folder} holds a run of another config ({shown})", "", f"name={folder.name}-2")
        )
    return resume.may_go_on(folder, cfg)


def _refuse_ended(folder: Path, status: str, cfg: "DictConfig") -> None:
    attempt, law = f"name={folder.name}-2", "all of its folds follow one plan"
    if status == "diverged":
        attempt += f" optimizer.lr={cfg.optimizer.lr / 3:.1g}"
    if status in ("diverged", "finished", "pruned"):
        ended = "diverged" if status == "diverged" else f"is {status}"
        raise ConfigError(Fault("name", f"the cross-validation in {folder} {ended}", law, attempt))


def _differences(folder: Path, cfg: "DictConfig") -> dict[str, tuple[Any, Any]]:
    """The keys in which the config that `folder` was begun with differs from `cfg`; none where it has no config."""
    if not (folder / "config.yaml").is_file():
        return {}  # it ended before it was set up
    return resume.learned_from(load_config(folder), cfg)


def run(line: Line, folder: Path, record: "Record", train: Train) -> int:
    """Run the folds that are left, and keep their means in `record`; returns the exit code.

    Folds that an earlier start finished are not run again. The first that does not run to its end is the last:
    after Ctrl-C nobody waits for the others, and after a divergence there is no mean that they could add to. Inside
    a sweep, which hears the mean so far after each fold, the sweep may end it too.
    """
    from stride.report.cross_validation import DONE, together

    record.save_config(line.cfg)
    folds: list[dict[str, Any]] = []
    status, why, code = "finished", "all folds done", int(Exit.DONE)
    for number in range(count(line.cfg)):
        of = f"fold {number + 1} of {count(line.cfg)}"
        fold, code = _ended(folder, number) or _trained(line, folder, number, of, train)
        folds.append(fold)
        record.update(**together(folds))
        if fold["status"] not in DONE:
            status, why = fold["status"], _why(of, fold["status"], folder.name)
            break
        enough = _sweep_has_enough(len(folds), record.data["score"]["value"])
        if enough and len(folds) < count(line.cfg):
            status, why = "pruned", f"other trials of the sweep were better after {of}"
            break
    record.update(status=status)
    if record.folder is not None:
        _show(folder, record.data, folds, why)
    return code


def _why(of: str, status: str, name: str) -> str:
    if status == "diverged":
        return f"{of} diverged, and a mean of the others would mislead; try a lower optimizer.lr, or lr_finder=on"
    return f"{status} in {of}; the same line with name={name} goes on there"


def _ended(parent: Path, number: int) -> tuple[dict[str, Any], int] | None:
    """The run.json and exit code of a fold with nothing left to do; None: it is to be run, or goes on."""
    from stride.report import record
    from stride.report.cross_validation import DONE

    folder = parent / f"fold-{number}"
    fold = record.read(folder) if (folder / "run.json").is_file() else {"status": None}
    if fold["status"] == "diverged":
        return fold, Exit.DIVERGED
    return (fold, Exit.DONE) if fold["status"] in DONE else None


def _trained(line: Line, parent: Path, number: int, of: str, train: Train) -> tuple[dict[str, Any], int]:
    """Train one fold; its run.json and exit code."""
    folder = parent / f"fold-{number}"
    if run_folder.is_first_process():
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise StorageError(f"{folder}: {error.strerror}") from error
        print(f"\n{of}: {parent.name}/{folder.name}")
    cfg = line.cfg.copy()
    cfg.cv.fold, cfg.name, cfg.output_root = number, folder.name, str(parent)
    own = {"cv.fold": number, "name": folder.name, "output_root": parent}
    words = [word for word in line.overrides if word.lstrip("+").partition("=")[0] not in own]
    words += [f"{key}={value}" for key, value in own.items()]
    return train(replace(line, cfg=cfg, overrides=words), folder)


def _sweep_has_enough(done: int, mean: float | None) -> bool:
    """What the sweep says to the mean of `done` folds, where there is one; every process hears the same."""
    if mean is None or not trial_link.attached():
        return False
    from torch import distributed

    told = [run_folder.is_first_process() and trial_link.report(done, mean)]
    if distributed.is_available() and distributed.is_initialized():
        distributed.broadcast_object_list(told)
    return told[0]


def _show(folder: Path, record: dict[str, Any], folds: list[dict[str, Any]], why: str) -> None:
    from rich.console import Console

    from stride.report.cross_validation import card, draw

    draw(folder, [fold["id"] for fold in folds])
    Console().print(card(folder, record, folds, why))
