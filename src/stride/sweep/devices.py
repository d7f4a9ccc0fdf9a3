"""What each of several trials at once may use: its share of the cores, and GPUs of its own."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

NVIDIA = Path("/proc/driver/nvidia/gpus")


def threads(jobs: int) -> int | None:
    """Threads for each of `jobs` trials; None: as many as one run takes."""
    if jobs == 1 or "OMP_NUM_THREADS" in os.environ:
        return None
    return max(1, len(os.sched_getaffinity(0)) // jobs)


def several(devices: Any, nodes: int = 1) -> bool:
    """Whether a trial with these `trainer.devices` is several processes, which Lightning starts itself."""
    is_list = isinstance(devices, Sequence) and not isinstance(devices, str)
    return nodes > 1 or (len(devices) > 1 if is_list else devices not in (1, "1", "auto"))


def gpu_slots(accelerator: str, devices: Any) -> list[str]:
    """What CUDA_VISIBLE_DEVICES is for the trials that run at once, slot by slot; empty where none uses a GPU.

    Found without CUDA, which could not be used after a fork any more.
    """
    if accelerator not in ("auto", "gpu", "cuda"):
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        gpus = [name for name in visible.split(",") if name]
    else:
        gpus = [str(index) for index in range(len(list(NVIDIA.iterdir())))] if NVIDIA.is_dir() else []
    each = devices if isinstance(devices, int) and devices > 1 else 1
    return [",".join(gpus[at : at + each]) for at in range(0, len(gpus) - each + 1, each)]
