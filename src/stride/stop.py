"""What asks a run to stop before its end: signals, and a clock that is about to run out."""

import atexit
import contextlib
import os
import signal
import socket
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
ECHO = 1.0  # seconds in which one request may come twice: a launcher passes on what its whole group was sent
PATIENCE = 2.0  # seconds that an end at once may take
RESERVE = 5.0  # seconds of a limit for an end with reports, and for leaving the interpreter

_TAKEN: dict[int, Any] = {}  # the handlers in whose place a request has put its own


class Stopped(BaseException):
    """Ends a run that was asked to stop. No Exception: whoever goes on after one of those must not go on after this.

    `saved`: by all processes of the run together, after a checkpoint. Else at once, each by itself.
    """

    def __init__(self, why: str, code: int, *, saved: bool = False) -> None:
        super().__init__(why)
        self.why, self.code, self.saved = why, code, saved


class StopRequest:
    """The request to stop, if there is one.

    Inside `interrupts` it raises Stopped at once; while somebody looks at `asked` there (`is_watched`), only when it
    is repeated. Everywhere else it is kept for whoever looks.

    Args:
        seconds: from now, after which the run has to begin to end.
        tells: whether to tell the user that a request waits.
        parent: the process that has started this one for the same run, and that it ends with.
    """

    def __init__(self, seconds: float | None = None, *, tells: bool = True, parent: int | None = None) -> None:
        self.asked: Stopped | None = None
        self.is_watched = self.is_raised = False
        self._interrupts, self._tells, self._parent = False, tells, parent
        self._first = 0.0
        self._looked, self._gap = time.monotonic(), 0.0
        self._ends = None if seconds is None else self._looked + seconds

    @contextmanager
    def interrupts(self) -> Iterator[None]:
        """What is done inside can be ended at any moment; it ends in Stopped then, whatever becomes of that below."""
        self._interrupts = True
        try:
            if self.asked is not None:
                self._raise()
            yield
        except BaseException:
            if not self.is_raised and self._parent is not None and _is_gone(self._parent, ECHO):
                self.asked, self.is_raised = Stopped("another process", Exit.TERMINATED), True
            if self.is_raised and self.asked is not None:
                raise self.asked from None
            raise
        finally:
            self._interrupts = False

    def take(self, number: int, _: Any) -> None:
        """The handler of a signal."""
        repeated = self.asked is not None
        if repeated and time.monotonic() < self._first + ECHO:
            return
        if self._parent is not None and not self.is_watched:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._parent, number)
        self._ask(Stopped(signal.Signals(number).name, SIGNALS[signal.Signals(number)]), at_once=repeated)
        if self.is_watched and self._tells and not repeated:
            told = f"{signal.Signals(number).name}: the run saves at the end of this step and stops; once more: at once"
            with contextlib.suppress(OSError):
                os.write(2, f"\n{told}\n".encode())  # not print: the signal may have come in the middle of one

    def run_out(self, *_: Any) -> None:
        """The time is over."""
        if self.asked is None:
            self._ask(Stopped("time_limit", Exit.REQUEUE))

    def look_at_the_clock(self, saving: float) -> None:
        """Ask to stop where what is left of the time might not do for one more look and a checkpoint.

        Args:
            saving: seconds that the longest checkpoint so far has taken.
        """
        if self._ends is None:
            return
        now = time.monotonic()
        self._gap, self._looked = max(self._gap, now - self._looked), now
        if now + 2 * (self._gap + saving) >= self._ends:
            self.run_out()

    def _ask(self, stopped: Stopped, *, at_once: bool = False) -> None:
        self._first = self._first or time.monotonic()
        self.asked = stopped
        if self._interrupts and (at_once or not self.is_watched):
            self._raise()

    def _raise(self) -> None:
        assert self.asked is not None
        self.is_raised = True
        raise self.asked


@contextmanager
def request(limit: float | None, *, tells: bool = True, launched: bool = False) -> Iterator[StopRequest]:
    """Take the signals for a while; afterwards they are whose they were. Only the main thread can.

    Args:
        limit: seconds that the run may take, from now.
        tells: as of a StopRequest.
        launched: this process was started by another one of the same run, and ends with it.
    """
    seconds = None if limit is None else limit - max(limit / 100, min(limit / 2, RESERVE))
    parent = os.getppid() if launched else None
    asked = StopRequest(seconds, tells=tells, parent=parent)
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    over = threading.Event()
    ear, mouth = socket.socketpair()
    mouth.setblocking(False)
    threading.Thread(target=_end_what_hangs, args=(ear, over), daemon=True).start()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent, over), daemon=True).start()
    handlers: dict[int, Any] = dict.fromkeys(SIGNALS, asked.take)
    if seconds and hasattr(signal, "setitimer"):
        handlers[signal.SIGALRM] = asked.run_out
        signal.setitimer(signal.ITIMER_REAL, seconds)
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    _TAKEN.update(before)
    heard_before = signal.set_wakeup_fd(mouth.fileno(), warn_on_full_buffer=False)
    try:
        yield asked
    finally:
        signal.set_wakeup_fd(heard_before)
        if seconds and hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
        _TAKEN.clear()
        over.set()
        mouth.close()


@contextmanager
def others_are_deaf() -> Iterator[None]:
    """Keep Lightning and the workers of torch's loaders from acting on the signals of a run. Imports both.

    In Lightning's handler of SIGTERM all processes of a run wait for one another, whatever each of them is at; where
    one alone was sent it, they do so forever. Under SLURM it requeues the job by itself. A worker dies of a SIGTERM to
    the whole group, and the step that is to be saved dies with it.
    """
    from pytorch_lightning.trainer.connectors.signal_connector import _SignalConnector
    from torch.utils.data._utils import signal_handling

    lightning_takes = _SignalConnector.register_signal_handlers
    worker_takes = signal_handling._set_worker_signal_handlers

    def spare_the_worker(*_: Any) -> None:
        worker_takes()
        signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))  # the next one ends it

    _SignalConnector.register_signal_handlers = lambda self: None
    signal_handling._set_worker_signal_handlers = spare_the_worker
    atexit.unregister(_end_the_workers)
    atexit.register(_end_the_workers)  # after multiprocessing's own, and so called before it
    try:
        yield
    finally:
        _SignalConnector.register_signal_handlers = lightning_takes
        signal_handling._set_worker_signal_handlers = worker_takes


def _end_the_workers() -> None:
    """End what multiprocessing would send a SIGTERM as this process ends, and then wait for; a spared worker waits on.

    They are left where a run ends in an error, whose traceback holds the iterator of its loader.
    """
    import multiprocessing

    for process in multiprocessing.active_children():
        if process.daemon:
            process.kill()


def _end_what_hangs(ear: socket.socket, over: threading.Event) -> None:
    """End the process for a repeated signal that the main thread does not act on, in native code as it is.

    Args:
        ear: where the numbers of the signals come in, whatever the main thread does.
        over: set when the run has ended by itself.
    """
    first = 0.0
    with ear:
        while heard := ear.recv(1):
            if heard[0] not in SIGNALS:
                continue
            first = first or time.monotonic()
            if time.monotonic() >= first + ECHO:
                if not over.wait(PATIENCE):
                    os._exit(SIGNALS[signal.Signals(heard[0])])
                return


def _end_with(parent: int, over: threading.Event) -> None:
    """End this process when the one that has started it is gone, and nobody will answer it any more."""
    while not _is_gone(parent, ECHO):
        if over.is_set():
            return
    os.kill(os.getpid(), signal.SIGTERM)
    if not over.wait(PATIENCE):
        os._exit(Exit.TERMINATED)


def _is_gone(parent: int, within: float) -> bool:
    """Whether the process that has started this one ends within so many seconds."""
    until = time.monotonic() + within
    while os.getppid() == parent and time.monotonic() < until:
        time.sleep(0.05)
    return os.getppid() != parent


def _leave_to_the_parent() -> None:
    """In a process that was forked: Ctrl-C, which reaches it too, is its parent's business, whose signals it had."""
    if not _TAKEN:
        return
    signal.set_wakeup_fd(-1)
    for number in _TAKEN:
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else lambda *_: None)
    _TAKEN.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_the_parent)
