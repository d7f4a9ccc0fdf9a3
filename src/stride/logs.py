"""What Lightning and Python's warnings say goes to train.log; the screen shows what a person must act on."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAMES = ("stride", "pytorch_lightning", "lightning_fabric", "py.warnings")


@contextmanager
def log_file(path: Path | None) -> Iterator[None]:
    """Send the logs of `NAMES` to `path` (None: nowhere), and errors to the screen as well."""
    import pytorch_lightning  # noqa: F401  its first import adds handlers of its own, which are to be replaced

    logs = [logging.getLogger(name) for name in NAMES]
    before = [(log, log.handlers, log.propagate, log.level) for log in logs]
    file: logging.Handler = logging.FileHandler(path, encoding="utf-8") if path else logging.NullHandler()
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    screen: logging.Handler = logging.StreamHandler()
    screen.setLevel(logging.ERROR)
    logging.captureWarnings(True)
    warnings.simplefilter("default")
    for log in logs:
        log.handlers, log.propagate = [file, screen], False
        log.setLevel(logging.INFO)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        file.close()
        for log, handlers, propagate, level in before:
            log.handlers, log.propagate = handlers, propagate
            log.setLevel(level)
