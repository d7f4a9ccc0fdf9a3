"""Threads against the CPUs that a process may use."""

import os

import pytest

from stride.doctor import threads
from stride.doctor.row import Mark


@pytest.mark.parametrize(
    ("count", "cpus", "asked", "mark", "found"),
    [
        (8, 8, None, Mark.OK, "8 on 8 CPUs"),
        (4, 8, "4", Mark.OK, "4 on 8 CPUs (OMP_NUM_THREADS=4)"),
        (8, 2, None, Mark.LOOK, "8 on 2 CPUs"),
        (1, 8, None, Mark.LOOK, "1 on 8 CPUs"),
        (1, 8, "1", Mark.OK, "1 on 8 CPUs (OMP_NUM_THREADS=1)"),
        (1, 1, None, Mark.OK, "1 on 1 CPU"),
    ],
)
def test_too_many_threads_and_a_lone_one_are_worth_a_look(count, cpus, asked, mark, found):
    row = threads.judged(count, cpus, asked)
    assert (row.mark, row.found) == (mark, found)
    assert row.attempt == ("" if mark is Mark.OK else f"export OMP_NUM_THREADS={cpus}")


CGROUPS = {
    "no quota": ("0::/a/b\n", {"a/b/cpu.max": "max 100000"}, 8),
    "version 2": ("0::/a/b\n", {"a/b/cpu.max": "350000 100000"}, 4),
    "version 2, of a group around it": ("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "200000 100000"}, 2),
    "version 2, in a container": ("0::/\n", {"cpu.max": "50000 100000"}, 1),
    "version 1": (
        "5:memory:/x\n4:cpu,cpuacct:/docker/x\n",
        {"cpu,cpuacct/cpu.cfs_quota_us": "300000", "cpu,cpuacct/cpu.cfs_period_us": "100000"},
        3,
    ),
    "version 1 without a quota": (
        "4:cpu:/\n",
        {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"},
        8,
    ),
}


@pytest.mark.parametrize("case", CGROUPS)
def test_a_quota_counts_as_so_many_cpus(tmp_path, monkeypatch, case):
    membership, files, expected = CGROUPS[case]
    (tmp_path / "membership").write_text(membership)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    assert threads.cpus(tmp_path, tmp_path / "membership") == expected


def test_without_control_groups_the_affinity_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 3, 5}, raising=False)
    assert threads.cpus(tmp_path, tmp_path / "nowhere") == 3
