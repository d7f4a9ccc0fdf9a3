"""What a user is told when something typed is wrong, and how the process exits."""

import difflib
import enum
import errno
from collections.abc import Iterable
from dataclasses import dataclass


class Exit(enum.IntEnum):
    """Exit codes of every command; a contract that scripts and schedulers rely on."""

    DONE = 0
    CRASH = 1
    BAD_INPUT = 2
    DIVERGED = 4
    STORAGE = 5
    REQUEUE = 75
    INTERRUPTED = 130
    TERMINATED = 143


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong: where, what was given, the law or the nearest name, what to type."""

    where: str
    what: str
    law: str = ""
    attempt: str = ""

    def __str__(self) -> str:
        law = f"; {self.law}" if self.law else ""
        attempt = f"; try: {self.attempt}" if self.attempt else ""
        return f"error: {self.where}: {self.what}{law}{attempt}"


class ConfigError(Exception):
    """Everything that was wrong with what was typed, at once; the process exits with 2."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = faults


class Diverged(Exception):
    """The loss or a gradient stopped being a finite number; the process exits with 4."""


NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # what the system says of a full disk


class StorageError(Exception):
    """A folder or file of the run cannot be written; the process exits with 5."""


class PlanBroken(Exception):
    """A step used an LR that was not planned, and nobody said why; the process exits with 1."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` was most likely meant to be, or None."""
    known = list(known)
    by_case = {candidate.lower(): candidate for candidate in known}
    if name.lower() in by_case:
        return by_case[name.lower()]
    close = difflib.get_close_matches(name.lower(), by_case, n=1, cutoff=0.6)
    return by_case[close[0]] if close else None


def one_line(error: BaseException, limit: int = 300) -> str:
    """The first lines of an exception as one line of text, for a person."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"
