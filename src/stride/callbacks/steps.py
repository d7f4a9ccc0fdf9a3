"""What callbacks ask about an optimizer step: is it one to log, and what was its loss."""

from typing import Any

from pytorch_lightning import Trainer
from torch import Tensor


def is_due(trainer: Trainer, step: int) -> bool:
    """Whether optimizer step `step` (from 0) is the first or a multiple of `log_every_n_steps`."""
    every: int = trainer.log_every_n_steps  # pyrefly: ignore[missing-attribute]  set by a connector
    return every > 0 and (step == 0 or (step + 1) % every == 0)


def just_stepped(trainer: Trainer) -> int | None:
    """The optimizer step (from 0) that the batch which just ended made; None if it only accumulated."""
    loop = trainer.fit_loop.epoch_loop
    made = (loop.batch_idx + 1) % trainer.accumulate_grad_batches == 0 or loop.batch_progress.is_last_batch
    return trainer.global_step - 1 if made and trainer.global_step else None


def batch_loss(trainer: Trainer, outputs: Any) -> Tensor | float:
    """`loss_of` for `on_train_batch_end`: Lightning has divided that loss by the batches that a step accumulates."""
    return loss_of(outputs) * trainer.accumulate_grad_batches


def loss_of(outputs: Any) -> Tensor | float:
    """The detached loss in what training_step returned; 0 where it returned none."""
    loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
    return loss.detach() if isinstance(loss, Tensor) else 0.0


def ends_epoch(trainer: Trainer) -> bool:
    """Whether the batch that just ended is the epoch's last."""
    return trainer.fit_loop.epoch_loop._num_ready_batches_reached()


def validation_follows(trainer: Trainer) -> bool:
    """Whether a validation is due with the batch that just ended."""
    loop = trainer.fit_loop
    assert loop._data_fetcher is not None
    return loop.epoch_loop._should_check_val_fx(loop._data_fetcher)
