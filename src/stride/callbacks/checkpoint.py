"""Checkpoints: Lightning's, at the cost of what they do."""

from pytorch_lightning.callbacks import ModelCheckpoint

from stride.callbacks.lean import Lean


class Checkpoint(Lean, ModelCheckpoint):
    """Lightning's ModelCheckpoint; see there for the arguments."""
