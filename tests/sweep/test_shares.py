"""What each of several trials at once may use."""

import pytest

from stride.sweep import devices


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """`machine(cores, gpus)` is what this one looks like."""

    def look(cores, gpus=0, visible=None):
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        monkeypatch.setattr(devices.os, "sched_getaffinity", lambda _: set(range(cores)))
        monkeypatch.setattr(devices, "NVIDIA", tmp_path / "gpus")
        for index in range(gpus):
            (tmp_path / "gpus" / f"0000:0{index}:00.0").mkdir(parents=True)

    return look


def test_threads_are_divided_and_not_multiplied(machine, monkeypatch):
    machine(cores=8)
    assert [devices.share(jobs, "cpu", 1).threads for jobs in (1, 2, 3, 8, 16)] == [None, 4, 2, 1, 1]
    monkeypatch.setenv("OMP_NUM_THREADS", "3")  # what was asked for stays
    assert devices.share(2, "cpu", 1).threads is None


@pytest.mark.parametrize(
    ("accelerator", "each", "there", "slots"),
    [
        ("auto", "auto", {"gpus": 4}, ["0", "1", "2", "3", "0"]),
        ("gpu", 1, {"gpus": 2}, ["0", "1", "0", "1", "0"]),
        ("cuda", 2, {"gpus": 5}, ["0,1", "2,3", "0,1", "2,3", "0,1"]),
        ("auto", 1, {"gpus": 4, "visible": "3,1"}, ["3", "1", "3", "1", "3"]),
        ("auto", 1, {"gpus": 4, "visible": ""}, [None] * 5),
        ("cpu", 1, {"gpus": 4}, [None] * 5),
        ("auto", 1, {}, [None] * 5),
    ],
)
def test_each_trial_at_once_has_gpus_of_its_own(machine, accelerator, each, there, slots):
    machine(cores=8, **there)
    share = devices.share(5, accelerator, each)
    assert [share.gpus(place) for place in range(5)] == slots


@pytest.mark.parametrize(
    ("asked", "nodes", "several"),
    [(1, 1, False), ("auto", 1, False), ([0], 1, False), (2, 1, True), ([0, 1], 1, True), (-1, 1, True), (1, 2, True)],
)
def test_a_trial_on_several_devices_is_told_from_one_on_one(asked, nodes, several):
    assert devices.several(asked, nodes) is several
