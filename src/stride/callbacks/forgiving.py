"""Loggers that no run ends for, and that are told no secret."""

import inspect
import logging
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from pytorch_lightning.loggers.logger import DummyExperiment

from stride.errors import one_line
from stride.secret import without_secrets

CALLED = ("log_metrics", "log_hyperparams", "log_graph", "save", "finalize", "after_save_checkpoint")


def forgiving(logger: Callable[..., Any]) -> Callable[..., Any]:
    """A logger's class, of which the first error is told, and which from then on does nothing.

    A file in its way, a full disk, a server that does not answer: what a run learns is worth more than what it shows.
    What its constructor refuses was typed, and is raised.
    """
    if not inspect.isclass(logger):
        return logger
    own: dict[str, Any] = {name: _told(getattr(logger, name)) for name in CALLED}
    own["log_hyperparams"] = _without_secrets(own["log_hyperparams"])
    experiment = inspect.getattr_static(logger, "experiment", None)
    if isinstance(experiment, property) and experiment.fget is not None:
        own["experiment"] = property(_told(experiment.fget, DummyExperiment))
    return type(logger.__name__, (logger,), {"_gave_up": False, **own})


def _told(method: Callable[..., Any], otherwise: Callable[[], Any] = lambda: None) -> Callable[..., Any]:
    @wraps(method)
    def told(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not self._gave_up:
            try:
                return method(self, *args, **kwargs)
            except Exception as error:
                self._gave_up = True
                told = f"{type(self).__name__} stopped logging, and the run goes on: {one_line(error)}"
                logging.getLogger("stride").warning(told)
        return otherwise()

    return told


def _without_secrets(log: Callable[..., Any]) -> Callable[..., Any]:
    """What a module or its data that call `save_hyperparameters` were made with is shown but for secrets."""

    @wraps(log)
    def told(self: Any, params: Any, *args: Any, **kwargs: Any) -> Any:
        params = without_secrets(dict(params) if isinstance(params, Mapping) else vars(params))
        return log(self, params, *args, **kwargs)

    return told
