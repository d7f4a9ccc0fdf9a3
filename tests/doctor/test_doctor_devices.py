"""Devices: what torch sees, and why it does not see a GPU that is there."""

from types import SimpleNamespace

import pytest
import torch

from stride.doctor import devices
from stride.doctor.row import Mark

H100 = SimpleNamespace(name="NVIDIA H100", total_memory=80e9)


@pytest.mark.parametrize(
    ("built_for", "gpus", "on_the_bus", "hidden", "mark", "told"),
    [
        (None, [], False, None, Mark.OK, "the CPU"),
        ("13.2", [], False, None, Mark.OK, "the CPU (this torch is built for CUDA 13.2)"),
        ("13.2", [], True, None, Mark.WRONG, "without a working driver"),
        ("13.2", ["NVIDIA H100"], True, None, Mark.WRONG, "built for CUDA 13.2, which the driver does not serve"),
        (None, ["NVIDIA H100"], True, None, Mark.WRONG, "this torch is built for the CPU alone"),
        ("13.2", ["NVIDIA H100"], True, "", Mark.OK, "CUDA_VISIBLE_DEVICES='' hides NVIDIA H100"),
    ],
)
def test_a_gpu_that_torch_does_not_see_is_told_with_its_reason(
    monkeypatch, built_for, gpus, on_the_bus, hidden, mark, told
):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if hidden is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    row = devices.without(built_for, gpus, on_the_bus=on_the_bus)
    assert row.mark is mark
    assert told in f"{row.found}; {row.cause}"
    assert (mark is Mark.OK) == (row.attempt == "")


@pytest.mark.parametrize(
    ("kind", "module", "told"),
    [
        (
            "cuda",
            SimpleNamespace(get_device_properties=lambda i: H100, is_bf16_supported=lambda **_: True),
            "2 x NVIDIA H100, 80 GB, bf16",
        ),
        (
            "cuda",
            SimpleNamespace(get_device_properties=lambda i: H100, is_bf16_supported=lambda **_: False),
            "2 x NVIDIA H100, 80 GB, no bf16",
        ),
        ("mps", SimpleNamespace(recommended_max_memory=lambda: 12e9), "2 x MPS, 12 GB"),
        ("other", SimpleNamespace(), "2 x OTHER"),
    ],
)
def test_devices_are_told_by_name_memory_and_bfloat16(monkeypatch, kind, module, told):
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: SimpleNamespace(type=kind))
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    monkeypatch.setattr(torch, "get_device_module", lambda kind: module)
    assert [row.found for row in devices.rows()] == [told]


def test_the_driver_is_asked_for_its_gpus(tmp_path, monkeypatch):
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho NVIDIA H100 80GB HBM3\necho NVIDIA A100\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert devices._gpus() == ["NVIDIA H100 80GB HBM3", "NVIDIA A100"]
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho NVIDIA-SMI has failed\nexit 9\n")
    assert devices._gpus() == []


@pytest.mark.parametrize(
    ("vendor", "kind", "there"),
    [("0x10de", "0x030200", True), ("0x10de", "0x040300", False), ("0x8086", "0x030000", False)],
)
def test_a_gpu_without_a_driver_is_seen_on_the_bus(tmp_path, monkeypatch, vendor, kind, there):
    (tmp_path / "0000:01:00.0").mkdir()
    (tmp_path / "0000:01:00.0" / "vendor").write_text(f"{vendor}\n")
    (tmp_path / "0000:01:00.0" / "class").write_text(f"{kind}\n")
    monkeypatch.setattr(devices, "BUS", tmp_path)
    assert devices._is_on_the_bus() is there
