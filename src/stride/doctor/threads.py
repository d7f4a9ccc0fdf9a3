"""The CPUs that this process may use, and the threads that torch would put on them."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

from stride.doctor.row import Mark, Row

ASKED = "OMP_NUM_THREADS"
CGROUPS = Path("/sys/fs/cgroup")


def rows() -> Iterator[Row]:
    """Torch's threads against the CPUs: more only wait for one another, one of many that nobody asked for is slow."""
    import torch

    yield judged(torch.get_num_threads(), cpus(), os.environ.get(ASKED))


def judged(threads: int, cpus: int, asked: str | None) -> Row:
    found = f"{threads} on {cpus} CPU{'s' * (cpus != 1)}{f' ({ASKED}={asked})' if asked else ''}"
    if threads > cpus:
        cause = "more threads than CPUs, which wait for one another: steps take several times as long"
        return Row("threads", found, Mark.LOOK, cause, f"export {ASKED}={cpus}")
    if threads == 1 < cpus and not asked:
        cause = "torch uses one CPU of several, and nobody has asked it to"
        return Row("threads", found, Mark.LOOK, cause, f"export {ASKED}={cpus}")
    return Row("threads", found)


def cpus(cgroups: Path = CGROUPS, membership: Path = Path("/proc/self/cgroup")) -> int:
    """CPUs that the scheduler gives this process: by its affinity, and by the quota of its control groups."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([allowed, *(max(1, math.ceil(quota)) for quota in _quotas(cgroups, membership))])


def _quotas(cgroups: Path, membership: Path) -> Iterator[float]:
    """The quota of each control group around this process, in CPUs: of version 2, then of version 1."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:  # no Linux
        return
    for line in lines:
        _, controllers, own = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = cgroups / controllers if controllers else cgroups
        group = root / own.strip("/")
        for place in (group, *group.parents):
            if place.is_relative_to(root):
                yield from _quota(place)


def _quota(group: Path) -> Iterator[float]:
    try:
        if (group / "cpu.max").is_file():
            quota, period = (group / "cpu.max").read_text().split()
        else:
            quota, period = ((group / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
    except OSError:
        return
    if quota not in ("max", "-1"):
        yield int(quota) / int(period)
