"""task=stability: up to which LR the optimizer is stable at the initial weights, and what happens around that LR."""

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import Tensor
from torch.optim import Optimizer

from stride import build
from stride.around_step import around
from stride.callbacks.before_first_step import fit_until_first_step
from stride.callbacks.finder_bar import transient
from stride.errors import ConfigError, Fault, one_line
from stride.lr.bounds import Bounds, bounds_of
from stride.lr.descent import Descent, has_diverged
from stride.lr.fixed_loss import Batch, FixedLoss, fixed_loss
from stride.module import LitModule

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from pytorch_lightning import Trainer

TIMES = (0.5, 0.9, 1.1, 2.0)  # the ceiling
STEPS = 60
# All data where that is little: a loss on less is sharper.
MOST_TARGETS, FEWEST_BATCHES = 512, 4


@dataclass(frozen=True)
class Stability:
    """What bounds the LR of `optimizer`, and the descents at TIMES the ceiling, on `batches` of `of` in an epoch."""

    optimizer: str
    bounds: Bounds
    descents: list[Descent]
    samples: int
    batches: int
    of: float

    def as_dict(self) -> dict[str, Any]:
        data = {"samples": self.samples, "batches": self.batches, "batches_in_epoch": self.of}
        descents = [descent.as_dict() for descent in self.descents]
        return {"optimizer": self.optimizer, **data, **self.bounds.as_dict(), "descents": descents}


def set_up(cfg: "DictConfig") -> build.Run:
    """The run's module and data, seeded as it would be, for one process and with nothing written or watched."""
    cfg = cfg.copy()
    cfg.trainer.update(devices=1, num_nodes=1, strategy="auto", precision="32-true")
    cfg.trainer.update(enable_progress_bar=False, num_sanity_val_steps=0, limit_val_batches=0)
    run = build.run(cfg, None, build.scaled_lr(cfg)[0])
    if not isinstance(run.module, LitModule) or type(run.module).training_step is not LitModule.training_step:
        law = "the loss is taken of LitModule's, which is objective(network(inputs), targets)"
        raise ConfigError(Fault("model", f"{cfg.model._target_} has a training_step of its own", law))
    if not any(parameter.requires_grad for parameter in run.module.parameters()):
        raise ConfigError(Fault("model", f"{cfg.model._target_} has no parameter to train", "all are frozen"))
    return run


def measure(run: build.Run, *, bar: bool = False) -> Stability:
    """Measure the bounds on fixed batches, then descend on all of them at once, each time from the same weights.

    The LR stays as it is, and nothing is warmed up, frozen or clipped. The weights of the module are left as they
    were. `bar` draws a progress bar, on a terminal only.

    Raises ConfigError where a run could not begin, and for a model or loss that cannot be measured.
    """
    optimizer = begin(run)
    batches, of = first_batches(run.trainer), run.trainer.num_training_batches
    with _refusing(ValueError), _loss_on(run, batches) as loss, transient(wanted=bar) as shown:
        task = shown.add_task("sharpness", total=None)
        bounds = _bounds(loss, optimizer)
        ceiling = bounds.limit.ceiling
        if ceiling is None or ceiling == math.inf:
            law = f"its sharpness at the initial weights is {bounds.sharpness.value:.3g}"
            raise ConfigError(Fault("task", "no LR is too high for a loss that does not bend upwards", law))
        shown.update(task, description="steps around the limit", total=STEPS * len(TIMES))
        descents = _descents(loss, optimizer, ceiling, lambda: shown.advance(task))
    return Stability(type(optimizer).__name__, bounds, descents, sum(len(x) for x, _ in batches), len(batches), of)


def bounds(cfg: "DictConfig") -> Bounds:
    """The bounds alone, on FEWEST_BATCHES batches: cheap enough to stand beside a suggestion.

    Raises ConfigError as `set_up` and `measure` do.
    """
    run = set_up(cfg)
    optimizer = begin(run)
    with _refusing(ValueError), _loss_on(run, first_batches(run.trainer)[:FEWEST_BATCHES]) as loss:
        return _bounds(loss, optimizer)


def notes(cfg: "DictConfig") -> list[str]:
    """What a run of this config has that the check leaves out, in a line each."""
    said = []
    if cfg.trainer.get("gradient_clip_val"):
        said.append("gradients are clipped in the run, and not here")
    if (each := build.processes(cfg) * cfg.trainer.accumulate_grad_batches) > 1:
        said.append(f"a step of the run sees {each} such batches: its safe LR is between that of one and the ceiling")
    if str(cfg.param_groups.get("freeze") or "0").split()[0] != "0":
        said.append(f"no group is frozen here; in the run some are for {cfg.param_groups.freeze}")
    return said


def begin(run: build.Run) -> Optimizer:
    """The optimizer of a run that stands before its first step, without what a run puts around its steps."""
    try:
        fit_until_first_step(run.trainer, run.module, run.datamodule)
    except (ValueError, MisconfigurationException) as error:
        none = run.trainer.num_training_batches == 0
        raise _refused("the training data is smaller than one batch" if none else one_line(error)) from error
    (optimizer,) = run.trainer.optimizers
    inside = around(optimizer)
    inside.factors.clear()
    inside.group_factors.clear()
    inside.momentum = None
    return optimizer


def _loss_on(run: build.Run, batches: list[Batch]) -> AbstractContextManager[FixedLoss]:
    module = run.module.to(run.trainer.strategy.root_device)
    assert isinstance(module, LitModule)
    return fixed_loss(module.network, module.objective, batches)


def _bounds(loss: FixedLoss, optimizer: Optimizer) -> Bounds:
    with _refusing(ValueError, RuntimeError):  # torch's where there is no second derivative
        return bounds_of(loss, optimizer)


@contextmanager
def _refusing(*errors: type[Exception]) -> Iterator[None]:
    try:
        yield
    except errors as error:
        raise _refused(one_line(error)) from error


def _refused(why: str) -> ConfigError:
    return ConfigError(Fault("task", f"stability cannot be measured: {why}"))


def first_batches(trainer: "Trainer") -> list[Batch]:
    """All training batches of the first epoch, or its first: MOST_TARGETS at most, but FEWEST_BATCHES at least."""
    kept: list[Batch] = []
    targets, loader = 0, trainer.train_dataloader or ()
    for batch in islice(loader, int(min(trainer.num_training_batches, MOST_TARGETS))):
        if not (isinstance(batch, tuple | list) and len(batch) == 2 and all(isinstance(x, Tensor) for x in batch)):
            what = "a batch is no pair (inputs, targets) of tensors"
            raise ConfigError(Fault("datamodule", what, f"got {type(batch).__name__}"))
        targets += batch[1].numel()
        if len(kept) >= FEWEST_BATCHES and targets > MOST_TARGETS:
            break
        kept.append(trainer.strategy.batch_to_device(tuple(batch)))
    return kept


def _descents(loss: FixedLoss, optimizer: Optimizer, ceiling: float, tick: Callable[[], None]) -> list[Descent]:
    state = copy.deepcopy(optimizer.state_dict())
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    weights = [parameter.detach().clone() for parameter in parameters]
    found = []
    for times in TIMES:
        optimizer.load_state_dict(copy.deepcopy(state))
        losses = _descend(loss, optimizer, times * ceiling, tick)
        found.append(Descent(times, times * ceiling, losses))
        for parameter, before in zip(parameters, weights, strict=True):
            parameter.data.copy_(before)
    return found


def _descend(loss: FixedLoss, optimizer: Optimizer, lr: float, tick: Callable[[], None]) -> list[float]:
    """The loss before the first of STEPS and after each, as far as it does not diverge."""
    for group in optimizer.param_groups:
        group["lr"] = lr
    losses: list[float] = []
    while True:
        optimizer.zero_grad()
        value = loss()
        losses.append(value.item())
        if len(losses) > STEPS or has_diverged(losses):
            return losses
        value.backward()
        optimizer.step()
        tick()
