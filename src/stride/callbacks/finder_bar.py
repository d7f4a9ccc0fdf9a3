"""How far what comes before a run is, on a terminal."""

from typing import Any

from pytorch_lightning import LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn

from stride.callbacks.lean import Lean
from stride.callbacks.steps import just_stepped


def transient(*columns: ProgressColumn, wanted: bool = True) -> Progress:
    """A bar that is gone when it is done; nothing where nobody looks."""
    console = Console()
    return Progress(*columns, console=console, transient=True, disable=not (wanted and console.is_terminal))


class FinderBar(Lean):
    """A `transient` bar of optimizer steps.

    Args:
        doing: what the steps are for, as it stands before the bar.
        steps: how many there will be, at most.
    """

    def __init__(self, doing: str, steps: int) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = transient(*columns)
        self._task = self._progress.add_task(f"learning rate: {doing}", total=steps)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._progress.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if just_stepped(trainer) is not None:
            self._progress.advance(self._task)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._progress.stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._progress.stop()
