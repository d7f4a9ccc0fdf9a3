"""How Lightning writes and reads checkpoints here: whole, sealed, verified."""

from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import TorchCheckpointIO

from stride import checkpoint_file
from stride.secret import without_secrets

# What Lightning puts there of a module and of data that call `save_hyperparameters`.
OF_CONSTRUCTORS = {"hyper_parameters", "datamodule_hyper_parameters"}


class SealedIO(TorchCheckpointIO):
    """Lightning's TorchCheckpointIO for files that survive a kill, a full disk and a flipped bit.

    Lightning writes into the system's temporary folder and moves the file: on another file system a kill in between
    destroys the checkpoint that was there. Addresses of other storage (`s3://...`) are left to Lightning. No secret
    that a module or its data were made with is written.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        given = OF_CONSTRUCTORS & checkpoint.keys()
        checkpoint = checkpoint | {key: without_secrets(checkpoint[key]) for key in given}
        if "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        checkpoint_file.write(Path(path), checkpoint["global_step"], lambda file: torch.save(checkpoint, file))

    def load_checkpoint(
        self, path: Any, map_location: Any = lambda storage, location: storage, weights_only: bool | None = None
    ) -> dict[str, Any]:
        if "://" not in str(path) and Path(path).is_file():
            checkpoint_file.refuse_damaged(Path(path), "checkpoint")
        return super().load_checkpoint(path, map_location, weights_only)
