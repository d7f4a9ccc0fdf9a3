"""The corridor: line -> compose -> check -> build -> tune -> fit -> test -> report."""

import itertools
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stride import build, check, folds, resume, run_folder, stop, trial_link
from stride.errors import ConfigError, Diverged, Exit, Fault, PlanBroken, one_line
from stride.init_from import find_weights, load_weights
from stride.line import Line, each_trial, read
from stride.logs import log_file
from stride.lr.duration import Duration
from stride.names import FROM_RUN, ROOT
from stride.rebuild import checkpoint_of, weights_of
from stride.whole_file import remove_leftovers

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from pytorch_lightning import Trainer

    from stride.report.record import Record


OF_A_RUN = ("run.json", "config.yaml")  # what a refused resume leaves as it was


@dataclass(frozen=True)
class Outcome:
    """What a run came to: its folder, the content of its run.json, and the process's exit code."""

    folder: Path
    record: dict[str, Any]
    exit_code: int = Exit.DONE

    @property
    def status(self) -> str:
        return self.record["status"]

    @property
    def score(self) -> float | None:
        """The number that a sweep optimises, at its best."""
        return self.record["score"]["value"]


Stage = Callable[[Line, Path, "Record"], Outcome]


def checked(words: Sequence[str], *, multirun: bool = False) -> Line:
    """Read and check a line. Raises ConfigError with every fault in it; imports no torch, makes no folder."""
    line, faults = read(list(words), multirun=multirun)
    extra = os.environ.get("STRIDE_ALLOW_TARGETS", "")
    faults += _files_not_there(line.cfg)
    for cfg in each_trial(line):
        faults += [*build.refused_targets(cfg, ROOT / "src", extra), *check.faults(cfg, line.typed)]
    if faults:
        raise ConfigError(*_first_of_each_key(faults))
    return line


def _files_not_there(cfg: "DictConfig") -> list[Fault]:
    """Checkpoints that were typed and are not there, or not whole."""
    from omegaconf import OmegaConf

    faults: list[Fault] = []
    for key, find in (("init_from", find_weights), ("resume.from", resume.find_typed)):
        typed = OmegaConf.select(cfg, key)
        try:
            if isinstance(typed, str):
                find(typed)
        except ConfigError as error:
            faults += error.faults
    return faults


def _first_of_each_key(faults: list[Fault]) -> list[Fault]:
    first: dict[str, Fault] = {}
    for fault in faults:
        first.setdefault(fault.where, fault)
    return list(first.values())


def run(line: Line) -> Outcome:
    """Run one checked line to its end.

    Raises ConfigError for what only the objects themselves can refuse; the folder is removed then, or, where its
    run was to go on, left as it was.
    """
    if "SLURM_JOB_ID" in os.environ and "SLURM_STEP_ID" not in os.environ:
        os.environ["SLURM_JOB_NAME"] = "interactive"  # so Lightning takes it: not started by srun, whatever the tasks
    limit, first = line.cfg.get("time_limit"), run_folder.is_first_process()
    launched = run_folder.HANDED_DOWN in os.environ and not first
    stages = {"plan": _plan, "stability": _stability, **dict.fromkeys(FROM_RUN, _evaluate)}
    try:
        with stop.request(limit and Duration.parse(limit).seconds(), tells=first, launched=launched) as asked:
            folder = run_folder.make(line.cfg, ROOT, lambda folder: folds.may_go_on(folder, line.cfg))
            trains = partial(_cross_validate if folds.asked(line.cfg) else _train, asked=asked)
            outcome = _in_folder(line, folder, stages.get(line.cfg.task, trains), asked)
            if not asked.is_raised:
                _leave_together()
        if first and outcome.status == "interrupted" and line.cfg.task == "train":
            print(f"to go on: {_line_of(outcome, line)}")
        # Lightning kills the first process where one that it has launched leaves before it, with a code of its own.
        return replace(outcome, exit_code=Exit.DONE) if launched and not asked.is_raised else outcome
    finally:
        run_folder.forget()


def _in_folder(line: Line, folder: Path, stage: Stage, asked: stop.StopRequest) -> Outcome:
    """A stage in a folder that nobody else writes into, with a record that says how it ended."""
    first = run_folder.is_first_process()
    try:
        with run_folder.held(folder) if first else nullcontext():
            return _recorded(line, folder, first, stage, asked)
    except OSError as error:
        if told := run_folder.storage_error(error, folder):
            raise told from error
        raise


def _recorded(line: Line, folder: Path, first: bool, stage: Stage, asked: stop.StopRequest) -> Outcome:
    before = {path: path.read_bytes() for name in OF_A_RUN if (path := folder / name).is_file()}
    record = _start(line, folder if first else None, goes_on=bool(before))
    # A plan that needs no data needs no Lightning either, which the log would import; each fold has its own log.
    unlogged = line.cfg.task == "plan" or folds.asked(line.cfg)
    try:
        with asked.interrupts(), ExitStack() as around:
            if not unlogged:
                around.enter_context(log_file(folder / "train.log" if first else None))
                around.enter_context(stop.others_are_deaf())
            return stage(line, folder, record)
    except ConfigError:
        if first and before:
            for path, content in before.items():
                path.write_bytes(content)
        elif first and any(folder.glob("fold-*/run.json")):
            record.update(status="failed")  # what has been trained stays
        elif first:
            run_folder.remove(folder)
        raise
    except stop.Stopped as stopped:
        record.update(status="interrupted")
        if first:
            print(f"\ninterrupted by {stopped.why}")
        return Outcome(folder, record.data, stopped.code)
    except BaseException as error:
        ctrl_c = isinstance(error, KeyboardInterrupt | SystemExit)
        with suppress(OSError):  # the disk may be full, and that be the error
            record.update(status="interrupted" if ctrl_c else "failed")
        raise


def _cross_validate(line: Line, folder: Path, record: "Record", *, asked: stop.StopRequest) -> Outcome:
    """Every fold of the line as a run of its own below `folder`, and their means in the record."""

    def train(fold: Line, place: Path) -> tuple[dict[str, Any], int]:
        outcome = _in_folder(fold, place, partial(_train, asked=asked, reports=False), asked)
        return outcome.record, outcome.exit_code

    return Outcome(folder, record.data, folds.run(line, folder, record, train))


def _train(line: Line, folder: Path, record: "Record", *, asked: stop.StopRequest, reports: bool = True) -> Outcome:
    """Find the LR if asked to, fit, test. `reports`: a sweep that this is a trial of hears of each validation."""
    from stride.report import report

    cfg = line.cfg
    if record.folder is not None:
        for note in check.notes(cfg):
            print(f"note: {note}")
    start = resume.start(cfg, folder)
    if record.folder is not None:
        remove_leftovers(folder)
        for path, why in start.damaged.items():
            print(f"note: {path} is damaged: {why}; the run goes on from {start.checkpoint}, step {start.step}")
    lr = start.lr or _asked_lr(cfg, record)
    if cfg.lr_finder and start.checkpoint is None:
        with _timed(record, "tune"):
            lr = _tune(cfg, folder, record, line.overrides) or lr
    if cfg.task == "tune":
        record.update(status="finished")
        return Outcome(folder, record.data)
    with _timed(record, "setup"):
        watch = trial_link.report if reports and trial_link.attached() else None
        parts = build.run(start.cfg, folder, lr, start, watch, asked, partial(_tell_exactness, record))
        if cfg.get("init_from") is not None and start.checkpoint is None:
            loaded = load_weights(parts.module, cfg.init_from, trusted=resume.trusts(cfg))
            if record.folder is not None:
                print(loaded)
        # What was typed, with what the data has filled in: the same line is to find itself again.
        cfg.model, cfg.objective = start.cfg.model, start.cfg.objective
        if start.checkpoint is not None:
            resume.refuse_other_model(start.checkpoint, parts.module, cfg)
        record.save_config(cfg)
    record.update(lr={"used": lr}, device=_device(parts.trainer))
    with _timed(record, "fit"):
        status, reason, code = _fit(parts, start.checkpoint, trusted=resume.trusts(cfg))
    if status == "diverged" and trial_link.attached():
        trial_link.untrained(_untrained_score(cfg))
    scores: dict[str, float] = {}
    best = _best_checkpoint(parts.trainer)
    if cfg.test and status in ("finished", "stopped_early"):
        with _timed(record, "test"):
            parts.trainer.test(
                parts.module, parts.datamodule, ckpt_path=best, verbose=False, weights_only=not resume.trusts(cfg)
            )
            scores = {name: float(value) for name, value in parts.trainer.callback_metrics.items()}
    record.update(best_checkpoint=os.path.relpath(best, folder) if best else None)
    report.finish(record, parts.trainer, parts.history, status=status, reason=reason, tested=scores, cfg=cfg)
    return Outcome(folder, record.data, code)


def _tell_exactness(record: "Record", why: str) -> None:
    record.update(resume=f"approximate: {why}" if why else "exact")
    if why:
        logging.getLogger("stride").warning("resume is approximate: %s", why)


def _asked_lr(cfg: "DictConfig", record: "Record") -> float:
    """The LR that was typed, at the batch of this run."""
    lr, why = build.scaled_lr(cfg)
    record.update(lr={"why": why})
    if cfg.get("lr_scaling") and not cfg.lr_finder and record.folder is not None:  # a found LR is not scaled
        print(why)
    return lr


def _tune(cfg: "DictConfig", folder: Path, record: "Record", overrides: list[str]) -> float | None:
    """The tune stage: the one writer of the learning rate, on every process. None where the curve says nothing."""
    from stride.report.finding import show_finding
    from stride.report.plots import draw_finding
    from stride.report.record import write_json

    def with_weights(parts: Any) -> Any:
        if cfg.get("init_from") is not None:
            load_weights(parts[1], cfg.init_from, trusted=resume.trusts(cfg))
        return parts

    bar = _shows_bar(cfg) and record.folder is not None
    finding = build.search(cfg, prepare=with_weights, everywhere=True, bar=bar)
    if cfg.task == "tune" and record.folder is not None:
        from stride import stability_check

        with suppress(ConfigError):  # not every optimizer and model has a limit that can be measured
            finding = replace(finding, limit=stability_check.bounds(cfg).limit)
    told = finding.suggestion
    why = told.why if told.lr else f"{told.outcome.value} ({told.why}); kept the asked LR"
    record.update(lr={"found": told.lr, "why": why})
    if record.folder is not None:
        (folder / "lr_finder").mkdir(exist_ok=True)
        write_json(folder / "lr_finder" / "curve.json", finding.as_data())
        draw_finding(finding, cfg.optimizer.lr, folder / "lr_finder" / "curve.png")
        if cfg.task == "tune":
            show_finding(folder, finding, cfg.optimizer.lr, why, overrides)
    return told.lr


def _plan(line: Line, folder: Path, record: "Record") -> Outcome:
    """task=plan: the LR of every step on the screen and as files, for each of several values under -m."""
    from stride.lr.shape import Shape
    from stride.preview import preview
    from stride.report import plan

    shapes: dict[str, Shape] = {}
    notes: list[str] = []
    for name, cfg in _each_value(line):
        found = preview(cfg)
        ends = [cfg.scheduler.get(key) for key in ("floor", "final", "end", "low")]
        floor = next((end for end in ends if isinstance(end, int | float)), None)
        shapes[name] = Shape(found.plan, warmed=bool(cfg.warmup), floor=floor)
        notes += [f"{name}: {note}" for note in check.notes(cfg)]
        if build.is_plateau(cfg):
            notes.append(f"{name}: its cuts follow {cfg.objective.score.name}, which no plan knows")
        if found.loaded:
            notes.append(f"the data was loaded for {found.loaded}")
    peak = max(shape.peak for shape in shapes.values())
    record.update(status="finished", lr={"used": next(iter(shapes.values())).plan.lr, "peak": peak})
    record.save_config(line.cfg)
    if record.folder is not None:
        plan.show(shapes, folder, list(dict.fromkeys(notes)))
    return Outcome(folder, record.data)


def _each_value(line: Line) -> Iterator[tuple[str, "DictConfig"]]:
    """Every combination of a line's swept values, under a name that tells them apart."""
    kept = [word for word in line.overrides if word.lstrip("+").partition("=")[0] not in line.swept]
    if not line.swept:
        yield line.choices.get("scheduler", line.cfg.scheduler._target_.rpartition(".")[2]), line.cfg
        return
    for values in itertools.product(*line.swept.values()):
        pairs = dict(zip(line.swept, values, strict=True))
        words = [f"{key}={value}" for key, value in pairs.items()]
        name = " ".join(str(value) if key in line.choices else f"{key}={value}" for key, value in pairs.items())
        yield name, checked([*kept, *words]).cfg


def _stability(line: Line, folder: Path, record: "Record") -> Outcome:
    """task=stability: what bounds the LR at the initial weights, and what steps around that LR do."""
    if record.folder is None:  # one process measures
        return Outcome(folder, record.data)
    from stride import stability_check
    from stride.report import stability

    cfg = line.cfg
    with _timed(record, "setup"):
        parts = stability_check.set_up(cfg)
        if cfg.get("init_from") is not None:
            print(load_weights(parts.module, cfg.init_from, trusted=resume.trusts(cfg)))
        record.save_config(cfg)
    record.update(device=_device(parts.trainer))
    found = stability_check.measure(parts, bar=_shows_bar(cfg))
    record.update(status="finished", lr={"why": f"ceiling {found.bounds.limit.ceiling:.4g} = {found.bounds.limit.why}"})
    stability.show(found, folder, stability_check.notes(cfg))
    return Outcome(folder, record.data)


def _fit(parts: build.Run, checkpoint: Path | None, *, trusted: bool) -> tuple[str, str, int]:
    """Train. Returns the run's status, the reason it gave, and the exit code."""
    from pytorch_lightning.callbacks import EarlyStopping
    from pytorch_lightning.utilities.exceptions import MisconfigurationException

    trainer = parts.trainer
    try:
        trainer.fit(parts.module, datamodule=parts.datamodule, ckpt_path=checkpoint, weights_only=not trusted)
    except Diverged as error:
        return "diverged", str(error), Exit.DIVERGED
    except PlanBroken as error:
        return "failed", str(error), Exit.CRASH
    except MisconfigurationException as error:
        raise ConfigError(Fault("trainer", one_line(error))) from error
    except stop.Stopped as stopped:
        if not stopped.saved:
            raise
        return "interrupted", f"by {stopped.why} at step {trainer.global_step}", stopped.code
    except (KeyboardInterrupt, SystemExit):
        return "interrupted", f"at step {trainer.global_step}", Exit.INTERRUPTED
    except ConfigError:
        raise
    except Exception:
        logging.getLogger("stride").exception("failed at step %d", trainer.global_step)
        raise
    if parts.history.pruned:
        return "pruned", "other trials of the sweep were better by then", Exit.DONE
    for callback in trainer.early_stopping_callbacks:
        if isinstance(callback, EarlyStopping) and callback.stopped_epoch:
            return "stopped_early", callback.stopping_reason_message or "no improvement", Exit.DONE
    return "finished", "", Exit.DONE


def _untrained_score(cfg: "DictConfig") -> float:
    """What the initial weights of this run score, before any training."""
    parts = build.run(cfg, None, cfg.optimizer.lr)
    if cfg.get("init_from") is not None:
        load_weights(parts.module, cfg.init_from, trusted=resume.trusts(cfg))
    parts.trainer.validate(parts.module, datamodule=parts.datamodule, verbose=False)
    return float(parts.trainer.callback_metrics[cfg.objective.score.name])


def _evaluate(line: Line, folder: Path, record: "Record") -> Outcome:
    """task=test, validate, predict: the run's own config and weights, its record untouched."""
    from stride.report import report
    from stride.report.predictions import write_predictions

    cfg = line.cfg
    weights = checkpoint_of(Path(cfg.run))
    weights_of(weights, trusted=resume.trusts(cfg), attempt="trust_checkpoint=true")
    if cfg.task == "predict":  # one process, for one file in the order of the samples
        cfg.trainer.update(strategy="auto", devices=1, num_nodes=1)
    with _timed(record, "setup"):
        parts = build.run(cfg, folder, cfg.optimizer.lr)
        record.save_config(cfg)
    record.update(device=_device(parts.trainer))
    with _timed(record, "test"):
        if cfg.task == "predict":
            batches = parts.trainer.predict(
                parts.module, datamodule=parts.datamodule, ckpt_path=weights, weights_only=not resume.trusts(cfg)
            )
            rows = write_predictions(batches or [], folder / f"predictions.{cfg.predictions}")
        else:
            task = parts.trainer.test if cfg.task == "test" else parts.trainer.validate
            task(
                parts.module,
                datamodule=parts.datamodule,
                ckpt_path=weights,
                verbose=False,
                weights_only=not resume.trusts(cfg),
            )
            rows = None
    scores = {name: float(value) for name, value in parts.trainer.callback_metrics.items()}
    record.update(status="finished", scores=scores, best_checkpoint=os.path.relpath(weights, folder))
    if parts.trainer.is_global_zero:
        report.print_evaluation(folder, record.data, rows)
    return Outcome(folder, record.data)


# --- small parts -----------------------------------------------------------------------------------------------


def _line_of(outcome: Outcome, line: Line) -> str:
    """What to type for the run to go on."""
    name = "" if "name" in line.typed else f" name={outcome.folder.name}"
    return outcome.record["command"] + name


def _leave_together() -> None:
    """End all processes of a run at once: one that leaves first can abort while its connections are torn down."""
    if "torch" not in sys.modules:
        return
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()


def _start(line: Line, folder: Path | None, goes_on: bool) -> "Record":
    from stride.report import record

    cfg = line.cfg
    score = {"name": cfg.objective.score.name, "mode": cfg.objective.score.mode}
    return record.start(
        folder,
        task=cfg.task,
        words=line.overrides,
        seed=cfg.seed,
        lr=cfg.optimizer.lr,
        score=score,
        multirun=bool(line.swept),
        goes_on=goes_on,
        cross_validated=folds.asked(cfg),
    )


def _device(trainer: "Trainer") -> str:
    import torch

    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return name if trainer.world_size == 1 else f"{trainer.world_size} x {name}"


def _best_checkpoint(trainer: "Trainer") -> Path | None:
    """The checkpoint to test: the best by a score, else the last; None tests the weights as they are."""
    by_score = sorted(trainer.checkpoint_callbacks, key=lambda callback: getattr(callback, "monitor", None) is None)
    kept = [Path(path) for callback in by_score if (path := getattr(callback, "best_model_path", ""))]
    return next((path for path in kept if path.is_file()), None)


def _shows_bar(cfg: "DictConfig") -> bool:
    return bool(cfg.trainer.enable_progress_bar and (cfg.get("callbacks") or {}).get("progress"))


@contextmanager
def _timed(record: "Record", stage: str) -> Iterator[None]:
    started, before = time.perf_counter(), record.data["seconds"][stage] or 0.0
    yield
    record.update(seconds={stage: round(before + time.perf_counter() - started, 3)})
