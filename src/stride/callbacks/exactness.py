"""Says at the start of a run whether it could go on, after an interruption, as if there had been none."""

from collections.abc import Callable

from pytorch_lightning import LightningModule, Trainer

from stride.callbacks.lean import Lean


class Exactness(Lean):
    """Calls `tell(why)` once the loaders are made; `why` is empty where a resumed run sees the same samples."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._tell(getattr(trainer.datamodule, "approximate", ""))  # pyrefly: ignore[missing-attribute]
