"""What one check found."""

import enum
from dataclasses import dataclass


class Mark(enum.Enum):
    """How bad it is; the value is what is shown. Only `wrong` and `not checked` make the command fail."""

    OK = "ok"
    LOOK = "look"
    WRONG = "wrong"
    UNCHECKED = "not checked"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Args:
        name: of the check.
        found: what there is.
        mark: how bad that is.
        cause: where it is not ok: why, in one line.
        attempt: a command that mends it, or shows more of it.
        stops: training cannot be tried, or must not be.
    """

    name: str
    found: str
    mark: Mark = Mark.OK
    cause: str = ""
    attempt: str = ""
    stops: bool = False


def judged(name: str, found: str, *, holds: bool, law: str, attempt: str) -> Row:
    """The row of a law that holds or is broken."""
    return Row(name, found) if holds else Row(name, found, Mark.WRONG, law, attempt)
