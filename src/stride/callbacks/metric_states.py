"""Metrics that are half gathered when a run stops: Lightning's checkpoints leave them out."""

from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.trainer.connectors.logger_connector.result import _Metadata, _ResultMetric, _Sync
from torchmetrics import Metric

from stride.callbacks.lean import Lean

# What `self.log` was told of a value, as plain data.
TOLD = ("fx", "name", "prog_bar", "logger", "on_step", "on_epoch", "enable_graph", "add_dataloader_idx")


class MetricStates(Lean):
    """Keeps in each checkpoint what the module's torchmetrics, and its `self.log(..., on_epoch=True)`, have gathered.

    So a mean over an epoch, or the best accuracy so far, is the same after a resume in the middle of an epoch.
    """

    def __init__(self) -> None:
        self._trainer: Trainer | None = None
        self._module: LightningModule | None = None
        self._resumed: dict[str, Any] = {}
        self._before_validation: dict[str, Any] | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._trainer, self._module = trainer, pl_module

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        known = _metrics(pl_module)
        for name, (count, states) in self._resumed.get("metrics", {}).items():
            if name in known:
                known[name]._update_count = count
                for key, value in states.items():
                    setattr(known[name], key, _on(pl_module.device, value))
        if not self._resumed.get("logged"):
            self.rest("on_train_batch_start")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Before the first batch of a resumed run, and no other: there is nothing to put it into any earlier."""
        self.rest("on_train_batch_start")
        results = trainer.fit_loop.epoch_loop._results
        trainer._logger_connector._first_loop_iter = False  # else what is logged first clears what was there before
        for key, (told, reduced, sync, states) in self._resumed["logged"].items():
            meta = _Metadata(**told, reduce_fx=getattr(torch, reduced))
            meta.sync = _Sync(fn=trainer.strategy.reduce, **sync)
            results[key] = _ResultMetric(meta, is_tensor=True).to(pl_module.device)
            results[key]._update_count = 1
            for name, value in states.items():
                setattr(results[key], name, value.to(pl_module.device))

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # A run that is stopped in a validation goes on at its begin: what that has gathered does not count.
        self._before_validation = self.state_dict()

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._before_validation = None

    def state_dict(self) -> dict[str, Any]:
        if self._before_validation is not None:
            return self._before_validation
        if self._trainer is None or self._module is None:
            return {}
        gathered = {
            name: (metric._update_count, {key: _on("cpu", value) for key, value in metric.metric_state.items()})
            for name, metric in _metrics(self._module).items()
            if metric._update_count
        }
        loop = self._trainer.fit_loop.epoch_loop
        ended = loop._num_ready_batches_reached()  # of an epoch that has ended the values are written already
        logged = {} if ended else {key: _told(value) for key, value in loop._results.items() if _is_gathered(value)}
        return {"metrics": gathered, "logged": logged}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._resumed = state_dict


def _metrics(module: LightningModule) -> dict[str, Metric]:
    return {name: each for name, each in module.named_modules() if isinstance(each, Metric)}


def _is_gathered(value: _ResultMetric) -> bool:
    return value.is_tensor and value.meta.on_epoch and not value.has_reset and value.meta.sync.group is None


def _told(value: _ResultMetric) -> tuple[dict[str, Any], str, dict[str, Any], dict[str, Any]]:
    meta = value.meta
    sync = {"_should": meta.sync.should, "rank_zero_only": meta.sync.rank_zero_only}
    states = {name: _on("cpu", state) for name, state in value.metric_state.items()}
    return {name: getattr(meta, name) for name in TOLD}, meta.reduce_fx.__name__, sync, states


def _on(device: Any, value: Any) -> Any:
    """A metric's state, a tensor or a list of them, copied to a device."""
    return (
        [each.detach().to(device, copy=True) for each in value]
        if isinstance(value, list)
        else value.to(device, copy=True)
    )
