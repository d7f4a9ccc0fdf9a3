"""Files that others look at while they are written: the old one or the new one, never a part of one."""

import os
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Write `text` beside `path`, then put it in its place. Raises OSError, and leaves the old file, if it cannot."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
