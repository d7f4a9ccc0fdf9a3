"""What there is to train on, and what there would be if this torch could see it."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stride.doctor.installer import replaced_torch
from stride.doctor.row import Mark, Row

HIDING = "CUDA_VISIBLE_DEVICES"
BUS = Path("/sys/bus/pci/devices")
NVIDIA, DISPLAY = "0x10de", "0x03"  # a vendor, and what a class of device begins with


def rows() -> Iterator[Row]:
    """The accelerators that torch sees; a GPU that it does not see, and why."""
    import torch

    kind = torch.accelerator.current_accelerator()
    if kind is not None and torch.accelerator.is_available():
        told = [_told(kind.type, index) for index in range(torch.accelerator.device_count())]
        counted = [f"{count} x {each}" if (count := told.count(each)) > 1 else each for each in dict.fromkeys(told)]
        yield Row("devices", "; ".join(counted))
    else:
        yield without(torch.version.cuda, _gpus(), on_the_bus=_is_on_the_bus())


def without(built_for: str | None, gpus: list[str], *, on_the_bus: bool) -> Row:
    """What to say where torch sees no accelerator.

    Args:
        built_for: the version of CUDA.
        gpus: what NVIDIA's driver lists.
        on_the_bus: whether there is a device of NVIDIA's at all.
    """
    hidden = os.environ.get(HIDING)
    if gpus and hidden is not None:
        return Row("devices", f"the CPU; {HIDING}={hidden!r} hides {gpus[0]}")
    if gpus:
        of_cuda = f"torch is built for CUDA {built_for}, which the driver does not serve"
        cause = of_cuda if built_for else "this torch is built for the CPU alone"
        return Row("devices", f"the CPU; {gpus[0]} is not seen", Mark.WRONG, cause, replaced_torch())
    if built_for and on_the_bus:
        cause = "there is an NVIDIA device without a working driver, and all runs are on the CPU"
        return Row("devices", "the CPU", Mark.WRONG, cause, "nvidia-smi")
    return Row("devices", f"the CPU (this torch is built for CUDA {built_for})" if built_for else "the CPU")


def _told(kind: str, index: int) -> str:
    """Name, memory and whether bfloat16 is computed in hardware, as far as a kind of device tells."""
    import torch

    module: Any = torch.get_device_module(kind)
    asked = getattr(module, "get_device_properties", None)
    properties = asked(index) if asked else None
    name = getattr(properties, "name", kind.upper())
    memory = getattr(properties, "total_memory", 0)
    if kind == "mps":
        memory = module.recommended_max_memory()
    parts = [name, f"{memory / 1e9:.0f} GB" if memory else ""]
    if kind == "cuda":
        parts.append("bf16" if module.is_bf16_supported(including_emulation=False) else "no bf16")
    return ", ".join(part for part in parts if part)


def _is_on_the_bus() -> bool:
    """Whether the system knows of an NVIDIA GPU, with or without a driver; on Linux."""
    return any(
        (device / "vendor").read_text().strip() == NVIDIA and (device / "class").read_text().startswith(DISPLAY)
        for device in (BUS.iterdir() if BUS.is_dir() else ())
    )


def _gpus() -> list[str]:
    """The GPUs that NVIDIA's driver lists, by name."""
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip()] if done.returncode == 0 else []
