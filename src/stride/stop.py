"""What asks a run to stop before its end: signals, and a clock that is about to run out."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from stride.errors import Exit

# The exit code of a run that each of them has ended.
SIGNALS = {
    getattr(signal, name): code
    for name, code in (("SIGTERM", Exit.TERMINATED), ("SIGINT", Exit.INTERRUPTED), ("SIGUSR1", Exit.REQUEUE))
    if hasattr(signal, name)
}


class Stopped(BaseException):
    """Ends a run that was asked to stop. No Exception: whoever goes on after one of those must not go on after this."""

    def __init__(self, why: str, code: int) -> None:
        super().__init__(why)
        self.why, self.code = why, code


class StopRequest:
    """The request to stop, if there is one.

    While somebody looks at `asked` (`is_watched`), the first signal waits for him and the second raises Stopped at
    once; at any other time so does the first.

    Args:
        limit: seconds that the run may take, from now.
    """

    def __init__(self, limit: float | None = None) -> None:
        self.asked: Stopped | None = None
        self.is_watched = False
        self._process = os.getpid()
        self._ends = None if limit is None else time.monotonic() + limit
        self._margin = 0.0 if limit is None else limit / 100
        self._looked = time.monotonic()

    def listen(self) -> None:
        """Take the signals, or take them back from who has taken them since. Only the main thread can."""
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                signal.signal(number, self._take)

    def _take(self, number: int, _: Any) -> None:
        if os.getpid() != self._process:
            return  # a loader's worker, which ends with this process: Ctrl-C reaches them all
        name = signal.Signals(number).name
        stopped = Stopped(name, SIGNALS[signal.Signals(number)])
        if self.asked is not None or not self.is_watched:
            raise stopped
        self.asked = stopped
        # Not print: the signal may have come in the middle of one.
        with contextlib.suppress(OSError):
            os.write(2, f"\n{name}: the run saves at the end of this step and stops; once more: at once\n".encode())

    def look_at_the_clock(self, saving: float) -> None:
        """Ask to stop where what is left of the limit might not do for one more look and a checkpoint.

        Args:
            saving: seconds that the longest checkpoint so far has taken.
        """
        if self._ends is None:
            return
        now = time.monotonic()
        self._margin, self._looked = max(self._margin, 2 * (now - self._looked)), now
        if self.asked is None and now + self._margin + 2 * saving >= self._ends:
            self.asked = Stopped("time_limit", Exit.REQUEUE)


@contextmanager
def request(limit: float | None) -> Iterator[StopRequest]:
    """Take the signals for a while; afterwards they are whose they were."""
    asked = StopRequest(limit)
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in SIGNALS} if main else {}
    asked.listen()
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
