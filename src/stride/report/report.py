"""The last stage: what a run came to, in its record, its picture, TensorBoard's HParams, and on a card."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from stride.report.card import card, rate_line, shown_path
from stride.report.plots import draw_run, picture
from stride.report.table import NOT_COMPARED, by_key
from stride.report.verdict import verdict

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from pytorch_lightning import Trainer

    from stride.callbacks.history import History
    from stride.report.record import Record


def finish(
    record: "Record",
    trainer: "Trainer",
    history: "History",
    *,
    status: str,
    reason: str,
    tested: dict[str, float],
    cfg: "DictConfig",
) -> None:
    """Close the record of a training run; rank 0 also draws its curves and prints the card.

    Args:
        status: how training ended, as in run.json; `reason` is what it said of that.
        tested: `test/*` of the best weights; empty if they were not tested.
    """
    best, points = history.best, history.points
    last = dict(points[-1].scores) if points else {}
    if points and points[-1].train_loss is not None:
        last["train/loss"] = points[-1].train_loss
    record.update(
        status=status,
        steps=trainer.global_step,
        epochs=trainer.current_epoch,
        scores={**(best.scores if best else {}), **tested},
        last=last,
        score={"value": best.scores[history.score] if best else None},
        lr={"peak": _peak(trainer), "interventions": _interventions(trainer)},
    )
    if record.folder is None:
        return
    _log_hparams(trainer, cfg, record.folder, record.data)
    draw_run(record.folder)
    train = [point.train_loss for point in points if point.train_loss is not None]
    val = [point.scores["val/loss"] for point in points if "val/loss" in point.scores]
    why = verdict(status, reason, train, val)
    decays = bool(cfg.optimizer.get("weight_decay"))
    rate = rate_line(record.folder / "lr_trace.csv", cfg.optimizer._target_, decays=decays)
    Console().print(card(record.folder, record.data, losses=_losses(history), verdict=why, rate=rate))


def print_evaluation(folder: Path, record: dict[str, Any], rows: int | None) -> None:
    """task=test, validate, predict: the scores, or the file of predictions."""
    console = Console()
    for name, value in record["scores"].items():
        console.print(f"{name}  [bold]{value:.4f}[/]")
    if rows is not None:
        file = next(folder.glob("predictions.*"))
        console.print(f"{rows} predictions in {shown_path(file)}", soft_wrap=True)
    console.print(f"record: {shown_path(folder / 'run.json')}", soft_wrap=True)


def _losses(history: "History") -> str:
    """Training against validation loss, at the best and at the end."""
    if not history.points or history.best is None:
        return ""

    def both(point: Any) -> str:
        train = "-" if point.train_loss is None else f"{point.train_loss:.4f}"
        return f"train {train}, val {point.scores.get('val/loss', float('nan')):.4f} at step {point.step}"

    return f"best: {both(history.best)}; end: {both(history.points[-1])}"


def _peak(trainer: "Trainer") -> float | None:
    peaks = [callback.peak for callback in trainer.callbacks if hasattr(callback, "peak")]  # pyrefly: ignore
    return max(peaks, default=None) or None


def _interventions(trainer: "Trainer") -> list[dict[str, Any]]:
    plan = getattr(trainer.lightning_module, "plan", None)
    return plan.state_dict()["interventions"] if plan else []


def _log_hparams(trainer: "Trainer", cfg: "DictConfig", folder: Path, record: dict[str, Any]) -> None:
    """One row of TensorBoard's HParams table, with the scores that the run reached, and the finder's curve."""
    from pytorch_lightning.loggers import TensorBoardLogger

    numbers = {
        "lr": record["lr"]["used"],
        "lr_found": record["lr"]["found"],
        "batch_size": cfg.datamodule.get("batch_size"),
        "seed": cfg.seed,
    }
    choices = {key: str(cfg[key]._target_).rpartition(".")[2] for key in ("model", "optimizer", "scheduler")}
    typed = {key: _value(text) for key, text in by_key(record["overrides"]).items() if _tells_more(key)}
    reached = {**record["scores"], **{f"last/{name}": value for name, value in record["last"].items()}}
    curve = picture(folder / "lr_finder" / "curve.png")
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            hparams = {
                key: value
                for key, value in {**typed, **numbers, **choices, **dict(_leaves(cfg.optimizer))}.items()
                if value is not None
            }
            logger.log_hyperparams(hparams, {f"hp/{name}": value for name, value in reached.items()})
            logger.experiment.add_text("command", f"`{record['command']}`")
            if curve is not None:
                logger.experiment.add_image("lr_finder/curve", curve, dataformats="HWC")
            logger.experiment.flush()


def _tells_more(key: str) -> bool:
    """Whether a typed key, such as one that a sweep goes through, is not in the table by another name."""
    return key not in (*NOT_COMPARED, "seed", "datamodule.batch_size") and not key.startswith("optimizer.")


def _value(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _leaves(node: "DictConfig") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, int | float | str) and not str(key).startswith("_") and key != "lr":
            yield f"optimizer.{key}", value
