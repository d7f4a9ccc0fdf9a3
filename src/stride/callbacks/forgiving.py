"""Loggers that no run ends for."""

import inspect
import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

from pytorch_lightning.loggers.logger import DummyExperiment

from stride.errors import one_line

CALLED = ("log_metrics", "log_hyperparams", "log_graph", "save", "finalize", "after_save_checkpoint")


def forgiving(logger: Callable[..., Any]) -> Callable[..., Any]:
    """A logger's class, of which the first error is told, and which from then on does nothing.

    A file in its way, a full disk, a server that does not answer: what a run learns is worth more than what it shows.
    What its constructor refuses was typed, and is raised.
    """
    if not inspect.isclass(logger):
        return logger
    own: dict[str, Any] = {name: _told(getattr(logger, name)) for name in CALLED}
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
