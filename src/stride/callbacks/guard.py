"""Keeps a loss or a gradient that is no longer a number out of the weights, and tells what to do about it."""

import copy
import logging
import math
from collections import deque
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.plugins import MixedPrecision
from torch import Tensor
from torch.optim import Optimizer

from stride.around_step import around
from stride.callbacks.lean import Lean
from stride.callbacks.steps import is_due, just_stepped
from stride.errors import ConfigError, Diverged, Fault
from stride.horizon import horizon
from stride.lr.duration import Duration
from stride.lr.plan import Intervention
from stride.lr.spike import LossWatch

MODES = ("watch", "rescue")
READ_AT_ONCE = ("cpu",)  # devices that nobody has to wait for
# A gradient's norm is an outlier above so many times the median of the latest, and times the largest such median of
# the run: late in it the usual ones are small, and those of hard batches are not. The same for how far a step moves the
# weights, for its planned LR. Healthy runs that overfit come to 40 and 14, and to 17 and 2.5.
OUTLIER, LARGE = 50.0, 15.0
FAR, FARTHEST = 12.0, 4.0
LATEST, FEWEST = 50, 20  # values that say what is usual, and how many have to
IN_A_ROW = 3  # steps that are left out, before it is the weights that are taken back
SNAPSHOTS, EVERY, SETTLED = 3, 10, 10  # how many, steps between two at least, steps after which one is known as healthy


class _Usual:
    """What a positive number usually is, late in a run and at its largest."""

    def __init__(self, times: float, times_largest: float) -> None:
        self._times, self._times_largest = times, times_largest
        self.values: deque[float] = deque(maxlen=LATEST)
        self._largest = 0.0  # of the medians

    def times(self, value: float) -> float:
        """How many times the usual an unusual value is; 0 for a usual one, which then counts."""
        if len(self.values) >= FEWEST:
            usual = median(self.values)
            self._largest = max(self._largest, usual)
            if value > max(self._times * usual, self._times_largest * self._largest):
                return value / usual if usual else math.inf
        self.values.append(value)
        return 0.0

    def forget(self) -> None:
        """Begin anew, but for the largest: the weights are others now."""
        self.values.clear()


@dataclass(frozen=True)
class _Snapshot:
    step: int
    module: dict[str, Tensor]
    optimizers: list[dict[str, Any]]


class Guard(Lean):
    """Leaves out each step whose loss or gradient is not finite; in `watch` mode it then ends the run (exit 4).

    Such a step changes nothing: no weight, no state of the optimizer, no statistic of a batch norm. Where the
    optimizer is fused and on a GPU, the step is left out on the device and the run ends when a point is logged; else
    the loss and the norm of the gradient are read in each step. Under 16-bit mixed precision an infinite gradient is
    the loss scaler's own affair.

    In `rescue` mode the run goes on. A step with a gradient of 50 times the usual norm is left out, too, and one that
    has moved the weights 12 times as far as is usual for its planned LR is taken back. Where that is three steps in a
    row, or the loss runs away (`LossWatch`), weights and optimizer go back to the latest snapshot that has shown
    itself healthy, the batches since are not seen again, and the LR is cut, inside of each step, where no schedule can
    undo it, and re-warmed. After `most` times the run ends as in `watch` mode. Each act is logged and stands among the
    plan's interventions, in run.json.

    Args:
        mode: watch or rescue.
        cut: what a rescue multiplies the LR by.
        rewarm: how long the LR takes to rise to that.
        most: rescues.

    Raises ValueError for an argument out of range, Diverged where the run ends.
    """

    def __init__(self, *, mode: str = "watch", cut: float = 0.5, rewarm: str = "2%", most: int = 3) -> None:
        if mode not in MODES:
            raise ValueError(f"`mode` is one of {', '.join(MODES)}, but got mode={mode}")
        if not 0 < cut <= 1:
            raise ValueError(f"`0 < cut <= 1` must hold, but got cut={cut}")
        if most < 1:
            raise ValueError(f"`most >= 1` must hold, but got most={most}")
        self._rescues, self._cut, self._most = mode == "rescue", cut, most
        self._rewarm_for = Duration.parse(rewarm)
        self._rewarm = 1
        self._every = EVERY
        self._acts: list[Intervention] = []
        self._is_scaled = False  # by the precision plugin, whose own affair an infinite gradient is
        self._is_parted = False  # each process has its own part of the gradient
        self._losses: list[Tensor] = []  # of the batches of this step
        self._first = math.nan  # the loss of the first step
        self._lowest = math.inf  # val/loss of all validations
        self._norm: Tensor | float | None = None
        self._norms = _Usual(OUTLIER, LARGE)
        self._moves = _Usual(FAR, FARTHEST)
        self._weights: list[Tensor] = []
        self._weights_before: list[Tensor] = []
        self._left_out = ""  # why this step was
        self._in_a_row = 0
        self._bad: Tensor | None = None  # whether this step is left out, on the device: 0 or 1
        self._last_bad: Tensor | None = None  # the number, from 1, of the last that was
        self._buffers: list[Tensor] = []
        self._before: list[Tensor] = []
        self._watch = LossWatch()
        self._snapshots: deque[_Snapshot] = deque(maxlen=SNAPSHOTS)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        precision = trainer.precision_plugin
        self._is_scaled = isinstance(precision, MixedPrecision) and precision.scaler is not None
        self._is_parted = trainer.world_size > 1 and trainer.strategy.__class__.__name__ != "DDPStrategy"
        self._buffers = list(pl_module.buffers())
        self._before = [buffer.clone() for buffer in self._buffers]
        if not self._rescues:
            return
        run = horizon(trainer)
        try:
            self._rewarm = self._rewarm_for.steps(run)
        except ValueError as error:
            raise ConfigError(Fault("callbacks.guard.rewarm", str(error))) from error
        self._every = max(EVERY, (run.steps or 0) // 100)
        self._weights = [
            one for optimizer in trainer.optimizers for group in optimizer.param_groups for one in group["params"]
        ]
        self._weights_before = [weight.detach().clone() for weight in self._weights]
        for optimizer in trainer.optimizers:
            around(optimizer).factors.append(lambda: self._factor(trainer.global_step))

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self._buffers and not self._losses:  # the first batch of a step
            torch._foreach_copy_(self._before, self._buffers)

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        self._losses.append(loss.detach())

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        grads = [p.grad for group in optimizer.param_groups for p in group["params"]]
        dense = [grad for grad in grads if grad is not None and grad.layout is torch.strided]
        if not dense:
            return
        self._norm = norm = _norm_of(dense)
        losses, device = self._losses, dense[0].device
        at_once = device.type in READ_AT_ONCE
        total = sum(map(float, losses) if at_once else losses, 0.0 if self._is_scaled else norm)
        if self._is_parted:
            total = trainer.strategy.reduce(torch.as_tensor(total, device=device), reduce_op="sum")
        if not at_once and not self._rescues and _masks_on_device(optimizer):
            self._bad = (~torch.isfinite(torch.as_tensor(total, device=device))).float()
            optimizer.found_inf, optimizer.grad_scale = self._bad, None  # pyrefly: ignore[missing-attribute]
            return
        if not math.isfinite(float(total)):
            self._left_out = "not finite"
        elif self._rescues and (times := self._norms.times(float(norm))):
            self._left_out = f"{times:.3g} times the usual gradient"
        elif self._rescues:
            with torch.no_grad():
                torch._foreach_copy_(self._weights_before, self._weights)
        if self._left_out:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.grad = None  # optimizers pass over those, their state and their weight decay, too

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = just_stepped(trainer)
        if step is None:
            return
        losses, self._losses = self._losses, []
        if step == 0 and losses:
            self._first = float(sum(losses))
        if self._bad is not None:
            self._keep_on_device(trainer, step, self._bad)
        if self._rescues and not self._left_out:
            self._take_back(trainer, pl_module, step)
        if not self._left_out:
            self._in_a_row = 0
            if self._rescues:
                self._look(trainer, pl_module, step, losses)
            return
        why, self._left_out = self._left_out, ""
        if self._buffers:
            torch._foreach_copy_(self._buffers, self._before)
        told = self._told(trainer, step, losses, batch, batch_idx)
        if not self._rescues:
            raise Diverged(f"{told}; the weights are those before it. {self._advice(trainer, step, batch)}")
        self._in_a_row += 1
        self._act(trainer, pl_module, Intervention(step, 1.0, f"rescue: left out step {step} ({why}): {told}"))
        if self._in_a_row >= IN_A_ROW:
            self._go_back(trainer, pl_module, f"{self._in_a_row} steps in a row were left out ({why})", batch)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for name, value in trainer.callback_metrics.items():
            if name.endswith("loss") and not trainer.sanity_checking and not math.isfinite(float(value)):
                lr = _lr(trainer)
                raise Diverged(f"{name} is {float(value)} at step {trainer.global_step} (lr {lr:.3g}); {_lower(lr)}")
        if not trainer.sanity_checking and (loss := trainer.callback_metrics.get("val/loss")) is not None:
            self._lowest = min(self._lowest, float(loss))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # What is normalized stays finite at any LR, and is wrong all the same.
        if not math.isinf(self._lowest) and self._lowest > self._first + abs(self._first):
            told = f"val/loss was never below {self._lowest:.4g}; before the first step the loss was {self._first:.4g}"
            logging.getLogger("stride").warning(f"{told}. {self._advice(trainer, trainer.global_step, None)}")

    def state_dict(self) -> dict[str, Any]:
        return {"acts": [vars(act) for act in self._acts], "first": self._first, "lowest": self._lowest}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._acts = [Intervention(**act) for act in state_dict["acts"]]
        self._first, self._lowest = state_dict["first"], state_dict["lowest"]

    def _factor(self, step: int) -> float:
        return math.prod(act.inside(step) for act in self._acts)

    def _keep_on_device(self, trainer: Trainer, step: int, bad: Tensor) -> None:
        """Put the buffers back where the device says so; ask it, at a step that is logged, for the last such step."""
        for buffer, before in zip(self._buffers, self._before, strict=True):
            buffer.copy_(torch.where(bad.bool(), before, buffer))
        number = bad * (step + 1)
        self._last_bad = number if self._last_bad is None else torch.maximum(self._last_bad, number)
        if is_due(trainer, step) and (last := int(self._last_bad)):
            advice = _lower(_lr(trainer))
            raise Diverged(
                f"the loss or the gradient was not finite at step {last - 1}, which changed nothing. Try {advice}"
            )

    @torch.no_grad()
    def _take_back(self, trainer: Trainer, module: LightningModule, step: int) -> None:
        """Put the weights back where a step has moved them much too far; its LR has no say in the optimizer's state."""
        plan = getattr(module, "plan", None)
        lr = max(plan.at(step)) if plan is not None else _lr(trainer)
        if lr <= 0:
            return
        moved = _norm_of(torch._foreach_sub(self._weights, self._weights_before))
        if times := self._moves.times(float(moved) / lr):
            torch._foreach_copy_(self._weights, self._weights_before)
            self._left_out = f"{times:.3g} times as far as usual"

    def _look(self, trainer: Trainer, module: LightningModule, step: int, losses: list[Tensor]) -> None:
        """After a healthy step: does the loss run away, and is it time for a snapshot."""
        loss = float(sum(losses)) if losses else math.nan
        if wrong := self._watch.add(loss):
            self._go_back(trainer, module, wrong, None)
        elif (step + 1) % self._every == 0:
            own = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
            states = [copy.deepcopy(optimizer.state_dict()) for optimizer in trainer.optimizers]
            self._snapshots.append(_Snapshot(step, own, states))

    def _go_back(self, trainer: Trainer, module: LightningModule, why: str, batch: Any) -> None:
        step = trainer.global_step
        done = sum(act.rewarm is not None for act in self._acts)
        healthy = [snapshot for snapshot in self._snapshots if snapshot.step <= step - SETTLED]
        if done >= self._most or not healthy:
            spent = f"after {done} rescues" if done else "before there was a snapshot to go back to"
            raise Diverged(f"{why} at step {step}, {spent}. {self._advice(trainer, step, batch)}")
        snapshot = healthy[-1]
        module.load_state_dict(snapshot.module)
        for optimizer, state in zip(trainer.optimizers, snapshot.optimizers, strict=True):
            rates = [group["lr"] for group in optimizer.param_groups]
            optimizer.load_state_dict(copy.deepcopy(state))
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate  # the clock does not go back
        told = f"rescue: {why}; back to step {snapshot.step + 1}, LR x {self._cut:g}, risen over {self._rewarm} steps"
        self._act(trainer, module, Intervention(step, self._cut, told, self._rewarm))
        self._snapshots = deque([snapshot], maxlen=SNAPSHOTS)
        self._watch.forget()
        self._norms.forget()
        self._moves.forget()
        self._in_a_row = 0

    def _act(self, trainer: Trainer, module: LightningModule, act: Intervention) -> None:
        self._acts.append(act)
        if (plan := getattr(module, "plan", None)) is not None:
            plan.interventions.append(act)
        logging.getLogger("stride").warning(act.why)

    def _told(self, trainer: Trainer, step: int, losses: list[Tensor], batch: Any, batch_idx: int) -> str:
        loss = float(sum(losses)) if losses else math.nan
        norm = math.nan if self._norm is None else float(self._norm)
        place = f"batch {batch_idx} of epoch {trainer.current_epoch}"
        culprits = _culprits(trainer, batch, batch_idx)
        data = f"; samples {culprits} of it hold values that are not finite" if culprits else ""
        return f"loss {loss:.4g}, gradient norm {norm:.4g} at step {step} (lr {_lr(trainer):.3g}, {place}{data})"

    def _advice(self, trainer: Trainer, step: int, batch: Any) -> str:
        """The one thing to try first."""
        if batch is not None and _bad_rows(batch):
            return "The data is at fault: mend or leave out these samples"
        usual = median(self._norms.values) if self._norms.values else 0.0
        norm = math.nan if self._norm is None else float(self._norm)
        run = horizon(trainer).steps
        if math.isfinite(norm) and usual and norm > OUTLIER * usual and trainer.gradient_clip_val is None:
            return f"One gradient stood out: trainer.gradient_clip_val={2 * usual:.2g}"
        plan = getattr(trainer.lightning_module, "plan", None)
        if run and step < run / 20 and plan is not None and plan.ramp(0) == 1:
            return f"It came at once: warmup=linear warmup.length=10%, or {_lower(plan.lr)}"
        return f"Try {_lower(plan.lr if plan is not None else _lr(trainer))}"


def _norm_of(tensors: list[Tensor] | tuple[Tensor, ...]) -> Tensor | float:
    """The norm of all of them together; a number where nobody has to wait for it, in half of the time."""
    norms = torch._foreach_norm(tensors)
    device = norms[0].device
    if device.type in READ_AT_ONCE:
        return math.hypot(*map(float, norms))
    return torch.linalg.vector_norm(torch.stack([each.to(device) for each in norms]))


def _lower(lr: float) -> str:
    return f"a lower LR: optimizer.lr={lr / 3:.1g}, or lr_finder=on"


def _lr(trainer: Trainer) -> float:
    return float(trainer.optimizers[0].param_groups[0]["lr"]) if trainer.optimizers else math.nan


def _masks_on_device(optimizer: Optimizer) -> bool:
    """Whether its step can be told by a tensor to change nothing, as a loss scaler does."""
    able = getattr(optimizer, "_step_supports_amp_scaling", False)
    return able and all(group.get("fused") for group in optimizer.param_groups)


def _bad_rows(batch: Any) -> list[int]:
    """Which samples of a batch hold a number that is not finite."""
    rows: set[int] = set()
    for tensor in batch if isinstance(batch, list | tuple) else [batch]:
        if isinstance(tensor, Tensor) and tensor.is_floating_point() and tensor.ndim:
            finite = torch.isfinite(tensor).reshape(len(tensor), -1).all(1)
            rows |= set((~finite).nonzero().flatten().tolist())
    return sorted(rows)


def _culprits(trainer: Trainer, batch: Any, batch_idx: int) -> list[int]:
    """Their numbers in the training data where the datamodule can tell, else in the batch; the first ten."""
    rows = _bad_rows(batch)[:10]
    batches = getattr(trainer.datamodule, "batches", None)  # pyrefly: ignore[missing-attribute]
    if not rows or not hasattr(batches, "samples"):
        return rows
    return batches.samples(trainer.current_epoch, batch_idx)[rows].tolist()
