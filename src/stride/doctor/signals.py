"""Ctrl-C and SIGTERM end the command, also where a library swallows the exception that they raise."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from stride.errors import Exit

CODES = {signal.SIGINT: Exit.INTERRUPTED, signal.SIGTERM: Exit.TERMINATED}

_ASKED: list[Exit] = []


@contextmanager
def taken() -> Iterator[None]:
    """Have the signals raise SystemExit with their code for a while, but for a run's, which it takes itself."""
    before = {number: signal.signal(number, _take) for number in CODES}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _ASKED.clear()


def look() -> None:
    """Raises SystemExit where one has come, whatever has become of its exception."""
    if _ASKED:
        raise SystemExit(_ASKED[0])


def _take(number: int, _: Any) -> None:
    _ASKED.append(CODES[signal.Signals(number)])
    look()
