"""Says at the start of a run whether what it does after an interruption is what it had done without one."""

from collections.abc import Callable
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer

from stride.callbacks.lean import Lean


class Exactness(Lean):
    """Calls `tell(why)` as training starts; `why` is empty where a resumed run is equal to the bit.

    It is not where the data cannot be served again from the middle of an epoch, nor once it has gone on with another
    number of threads, on another device or with another release of torch: sums are then added up in another order.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._arithmetic = self._why = ""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        before, self._arithmetic = self._arithmetic, _arithmetic(trainer.strategy.root_device)
        if before not in ("", self._arithmetic):
            self._why = f"begun with {before}, gone on with {self._arithmetic}"
        unordered = getattr(trainer.datamodule, "approximate", "")  # pyrefly: ignore[missing-attribute]
        self._tell("; ".join(filter(None, (unordered, self._why))))

    def state_dict(self) -> dict[str, Any]:
        return {"arithmetic": self._arithmetic, "why": self._why}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._arithmetic, self._why = state_dict["arithmetic"], state_dict["why"]


def _arithmetic(device: torch.device) -> str:
    """What the last bits of a sum depend on."""
    if device.type == "cpu":
        count = torch.get_num_threads()
        on = f"{count} thread{'s' * (count != 1)}"
    else:
        on = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return f"{on} and torch {torch.__version__}"
