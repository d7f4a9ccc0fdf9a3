"""How long a run is, asked of the trainer: the one place where total optimizer steps come from."""

import math

from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import GradientAccumulationScheduler

from stride.errors import ConfigError, Fault
from stride.lr.duration import Horizon


def horizon(trainer: Trainer) -> Horizon:
    """Optimizer steps of the whole run and of one epoch, accumulation and uneven last batches included.

    Raises ConfigError where Lightning cannot know the number (data without a length, `max_epochs=-1`,
    accumulation that changes by schedule): a schedule planned for a guess is another experiment.
    """
    if any(isinstance(callback, GradientAccumulationScheduler) for callback in trainer.callbacks):  # pyrefly: ignore
        law = "a schedule cannot be planned over accumulation that changes"
        raise ConfigError(Fault("callbacks", "GradientAccumulationScheduler", law, "trainer.accumulate_grad_batches=4"))
    steps = trainer.estimated_stepping_batches
    if not 0 < steps < math.inf:
        law = "the data has no length or the run no end, and the schedule needs both"
        raise ConfigError(
            Fault(
                "trainer.max_steps",
                "the number of optimizer steps is not known",
                law,
                "trainer.max_steps=1000",
            )
        )
    batches = trainer.num_training_batches
    epoch_steps = math.ceil(batches / trainer.accumulate_grad_batches) if batches < math.inf else None
    return Horizon(steps=int(steps), epoch_steps=epoch_steps)
