"""The loss on samples that are not trained on, measured as the training loss is."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.utilities import CombinedLoader
from pytorch_lightning.utilities.model_helpers import is_overridden
from pytorch_lightning.utilities.seed import isolate_rng
from pytorch_lightning.utilities.signature_utils import is_param_in_hook_signature
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from stride.callbacks.lean import Lean
from stride.callbacks.steps import just_stepped, loss_of


class HeldOut(Lean):
    """Asks `training_step` for the loss of validation samples, before training and after some of its steps.

    In training mode, so that batch norm takes the batch's own statistics and dropout acts, as they do in the losses
    that these are compared with. No weight, no buffer and no random number of the training's moves; what the step
    logs is dropped.

    Args:
        after: optimizer steps after which to measure, rising.
        samples: at most that many, the first of the validation data (of several loaders, of the first one).
        training: False for evaluation mode instead, which is how a trained network is judged.

    `losses` are (steps done, mean over the samples and over all ranks). It stays empty without validation data, and
    for a loss that needs gradients by itself, or draws its batches by itself.
    """

    def __init__(self, after: Sequence[int], samples: int, *, training: bool = True) -> None:
        self._after, self._samples, self._training = frozenset(after), samples, training
        self._batches: list[Any] = []
        self.losses: list[tuple[int, float]] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if is_param_in_hook_signature(pl_module.training_step, "dataloader_iter", explicit=True):
            return
        with isolate_rng():  # a loader draws the seeds of its workers
            batches = list(self._first_samples(trainer, pl_module))
        # As many on each rank: in some strategies they wait for one another in every pass.
        count = torch.tensor(len(batches), device=pl_module.device)
        self._batches = batches[: int(trainer.strategy.reduce(count, reduce_op="min"))]
        try:
            self._measure(trainer, pl_module, 0)
        except RuntimeError as error:
            if "does not require grad" not in str(error):
                raise
            self._batches = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = just_stepped(trainer)
        if step is not None and step + 1 in self._after:
            self._measure(trainer, pl_module, step + 1)

    def _first_samples(self, trainer: Trainer, module: LightningModule) -> Iterator[Any]:
        """Batches on the device, as the training's come there."""
        left = self._samples
        # Of one sample batch norm has no statistics, and raises.
        least = 2 if any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules()) else 1
        for batch, _, loader in CombinedLoader(_validation(trainer, module), "sequential"):
            if loader or left < least:
                return
            batch = trainer.precision_plugin.convert_input(batch)
            batch = module._on_before_batch_transfer(batch)  # with the line above, Lightning's own steps
            part = _first(trainer.strategy.batch_to_device(batch), left)
            if _rows(part) == 0:
                return
            if _rows(part) >= least:
                yield part
            left -= _rows(part)

    def _measure(self, trainer: Trainer, module: LightningModule, steps: int) -> None:
        if not self._batches:
            return
        numbered = is_param_in_hook_signature(module.training_step, "batch_idx", min_args=2)
        total = 0.0
        with _unmoved(module), _in_mode(module, self._training):
            for index, batch in enumerate(self._batches):
                own = pytree.tree_map_only(Tensor, Tensor.clone, batch)  # the step may change it in place
                outputs = trainer.strategy.training_step(own, *([index] if numbered else []))
                total += float(torch.as_tensor(loss_of(outputs)).float().mean()) * _rows(batch)
        mean = torch.tensor(total / sum(map(_rows, self._batches)), device=module.device)
        self.losses.append((steps, float(trainer.strategy.reduce(mean, reduce_op="mean"))))


def _validation(trainer: Trainer, module: LightningModule) -> Any:
    """The run's own validation data; no loader where it has none."""
    for source in (getattr(trainer, "datamodule", None), module):
        if source is not None and is_overridden("val_dataloader", source):
            loader = source.val_dataloader()
            return [] if loader is None else loader
    return []


def _rows(batch: Any) -> int:
    return max((len(leaf) for leaf in pytree.tree_leaves(batch) if isinstance(leaf, Tensor) and leaf.ndim), default=0)


def _first(batch: Any, rows: int) -> Any:
    """At most so many samples of a batch; None where it is not plain what belongs to a sample."""
    whole = _rows(batch)
    if whole <= rows:
        return batch
    if all(isinstance(leaf, Tensor) and leaf.ndim and len(leaf) == whole for leaf in pytree.tree_leaves(batch)):
        return pytree.tree_map(lambda leaf: leaf[:rows], batch)
    return None


@contextmanager
def _unmoved(module: LightningModule) -> Iterator[None]:
    """No gradients, nothing logged; every buffer and the random numbers as before at the end."""
    # By their places: a module may put another tensor there.
    owned = [(owner._buffers, name, buffer) for owner in module.modules() for name, buffer in owner._buffers.items()]
    before = [buffer if buffer is None else buffer.clone() for _, _, buffer in owned]
    quiet = {"log": _nothing, "log_dict": _nothing}
    module.__dict__.update(quiet)
    try:
        with torch.no_grad(), isolate_rng():
            yield
    finally:
        for name in quiet:
            del module.__dict__[name]
        with torch.no_grad():
            for (buffers, name, buffer), values in zip(owned, before, strict=True):
                buffers[name] = buffer if buffer is None or values is None else buffer.copy_(values)


@contextmanager
def _in_mode(module: LightningModule, training: bool) -> Iterator[None]:
    """Part by part, as a frozen part may be in evaluation mode while the rest trains."""
    before = {part: part.training for part in module.modules()}
    if not training:
        module.eval()
    try:
        yield
    finally:
        for part, was in before.items():
            part.training = was


def _nothing(*_: Any, **__: Any) -> None:
    pass
