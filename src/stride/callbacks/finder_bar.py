"""How far the tune stage is."""

from typing import Any

from pytorch_lightning import LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from stride.callbacks.lean import Lean
from stride.callbacks.steps import just_stepped


class FinderBar(Lean):
    """A bar of optimizer steps on a terminal; nothing where nobody looks. It is gone when the steps are done.

    Args:
        doing: what the steps are for, as it stands before the bar.
        steps: how many there will be, at most.
    """

    def __init__(self, doing: str, steps: int) -> None:
        console = Console()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
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
