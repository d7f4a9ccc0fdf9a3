"""What Lightning and Python's warnings say goes to train.log; the screen shows what a person must act on."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

NAMES = ("stride", "pytorch_lightning", "lightning_fabric", "py.warnings")


class _File(logging.FileHandler):
    """A log that no run fails for: what cannot be written is left out."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        pass

    def close(self) -> None:
        with suppress(OSError):
            super().close()


class _Notes(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno < logging.ERROR:
            print(f"note: {record.getMessage()}")  # above a progress bar, which takes what is printed


@contextmanager
def log_file(path: Path | None) -> Iterator[None]:
    """Send the logs of `NAMES` to `path` (None: nowhere), errors to the screen, too, and our own warnings as notes."""
    import pytorch_lightning  # noqa: F401  its first import adds handlers of its own, which are to be replaced

    logs = [logging.getLogger(name) for name in NAMES]
    before = [(log, log.handlers, log.propagate, log.level) for log in logs]
    file: logging.Handler = _File(path, encoding="utf-8", delay=True) if path else logging.NullHandler()
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    screen: logging.Handler = logging.StreamHandler()
    screen.setLevel(logging.ERROR)
    screen.addFilter(lambda record: not record.exc_info)  # an exception that ends the run is shown as it does
    logging.captureWarnings(True)
    warnings.simplefilter("default")
    for log in logs:
        log.handlers, log.propagate = [file, screen], False
        log.setLevel(logging.INFO)
    if path:  # of several processes, one tells
        logs[0].handlers = [file, screen, _Notes(logging.WARNING)]
    try:
        yield
    finally:
        logging.captureWarnings(False)
        file.close()
        for log, handlers, propagate, level in before:
            log.handlers, log.propagate = handlers, propagate
            log.setLevel(level)
