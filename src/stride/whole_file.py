"""Files that a process may be killed over: replaced as a whole, and read without a line that was cut off."""

import contextlib
import csv
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

PART = ".part"


@contextmanager
def replaced(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """A new file in place of `path`: whoever looks there sees the old one or, once it is on the disk, the new one.

    Several processes, of several machines, may do so at once: the last one's stays.

    Raises OSError where it cannot be written; the old one stays then, and nothing beside it.
    """
    beside = _beside(path)
    encoding, newline = (None, None) if "b" in mode else ("utf-8", "")
    try:
        with beside.open(mode, encoding=encoding, newline=newline) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        _sync(path.parent)
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


def linked(path: Path, file: Path) -> bool:
    """Make `path` another name of a file, in place of what had that name; False on a file system without links.

    Raises OSError where the name cannot be taken.
    """
    beside = _beside(path)
    try:
        os.link(file, beside)
    except OSError:
        return False
    beside.replace(path)
    beside.unlink(missing_ok=True)  # a rename onto the same file by another name does nothing
    return True


def remove_leftovers(folder: Path) -> None:
    """Remove what processes that were killed while they wrote have left in a folder that nobody else writes into."""
    for path in folder.rglob(f".*{PART}"):
        path.unlink(missing_ok=True)


def rows_of(path: Path) -> list[list[str]]:
    """The rows of a table that is appended to; none where there is no file. A last line without its end is left out."""
    if not path.is_file():
        return []
    whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
    return [row for row in csv.reader(whole.splitlines()) if row]


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}{PART}")


def _sync(folder: Path) -> None:
    """Have the new name outlive a power failure, where the system can sync folders."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
