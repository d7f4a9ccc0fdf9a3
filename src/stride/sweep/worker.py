"""Who works on a study: a name for a process that tells, on the machine it lives on, whether it still does."""

import os
import socket
from pathlib import Path

PROC = Path("/proc")


def me() -> str:
    """The name of this process: machine, process number, and when it started."""
    return f"{_machine()}/{os.getpid()}/{_started(os.getpid())}"


def is_gone(name: str) -> bool | None:
    """Whether the process of that name has ended; None for a process of another machine."""
    machine, pid, started = name.rsplit("/", 2)
    if machine != _machine():
        return None
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # somebody else's, and alive
    return _started(int(pid)) != started  # its number may have been given to another since


def _machine() -> str:
    """The host, and where there is a /proc also its boot and the space of process numbers (a container's own)."""
    parts = [socket.gethostname()]
    try:
        parts.append((PROC / "sys/kernel/random/boot_id").read_text().strip()[:8])
        parts.append(str((PROC / "self/ns/pid").stat().st_ino))
    except OSError:
        pass
    return ":".join(parts)


def _started(pid: int) -> str:
    """When a process began, in the kernel's ticks; empty where that cannot be told. A zombie has ended."""
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]
