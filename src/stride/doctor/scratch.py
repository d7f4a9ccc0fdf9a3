"""A folder for all that is written meanwhile, gone afterwards."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def scratch() -> Iterator[Path | None]:
    """Inside of the temporary folder, and in its place for this process: torch leaves something there when imported.

    None where it cannot be made.
    """
    try:
        folder = tempfile.TemporaryDirectory()
    except OSError:
        yield None
        return
    before = tempfile.tempdir
    with folder as path:
        tempfile.tempdir = path
        try:
            yield Path(path).resolve()
        finally:
            tempfile.tempdir = before
