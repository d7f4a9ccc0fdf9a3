"""What each of several trials at once may use: its share of the cores, and GPUs of its own."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NVIDIA = Path("/proc/driver/nvidia/gpus")


@dataclass(frozen=True)
class Share:
    """What each of the trials at once gets: `threads` (None: as it likes), and a place of `slots` (empty: no GPU)."""

    threads: int | None
    slots: tuple[str, ...] = ()

    def gpus(self, place: int) -> str | None:
        """What CUDA_VISIBLE_DEVICES is for the trial in that place; more trials than slots share them."""
        return self.slots[place % len(self.slots)] if self.slots else None


def share(jobs: int, accelerator: str, devices: Any) -> Share:
    """The share of each of `jobs` trials with these `trainer.accelerator` and `trainer.devices`."""
    return Share(_threads(jobs), tuple(_slots(accelerator, devices)))


def several(devices: Any, nodes: int = 1) -> bool:
    """Whether a trial with these `trainer.devices` is several processes, which Lightning starts itself."""
    is_list = isinstance(devices, Sequence) and not isinstance(devices, str)
    return nodes > 1 or (len(devices) > 1 if is_list else devices not in (1, "1", "auto"))


def _threads(jobs: int) -> int | None:
    if jobs == 1 or "OMP_NUM_THREADS" in os.environ:
        return None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // jobs)


def _slots(accelerator: str, devices: Any) -> list[str]:
    """The GPUs of this process in parts for one trial each, found without CUDA: after it there is no fork."""
    if accelerator not in ("auto", "gpu", "cuda"):
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        gpus = [name for name in visible.split(",") if name]
    else:
        gpus = [str(index) for index in range(len(list(NVIDIA.iterdir())))] if NVIDIA.is_dir() else []
    each = devices if isinstance(devices, int) and devices > 1 else 1
    return [",".join(gpus[at : at + each]) for at in range(0, len(gpus) - each + 1, each)]
