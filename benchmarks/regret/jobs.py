"""Jobs: results that are not there yet, and their making, in as many processes as asked for."""

import multiprocessing
import os
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from regret.store import Store, key


@dataclass(frozen=True)
class Job:
    """A result that can be had.

    Args:
        asked: everything that decides it.
        file, label: where its line is written, and what the line says beside the result.
        make: a function of a module, which another process finds by its name.
        arguments: what it is called with.
    """

    asked: Mapping[str, Any]
    file: str
    label: Mapping[str, Any]
    make: Callable[..., Mapping[str, Any]]
    arguments: tuple[Any, ...]


def fill(store: Store, jobs: Iterable[Job], *, until: float, processes: int) -> None:
    """Make what is lacking until `until`, a time of `time.monotonic`; what has begun is waited for."""
    lacking = (job for job in jobs if store.get(job.asked) is None)
    begun: set[str] = set()
    waiting: dict[Future, Job] = {}
    os.environ["OMP_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        while True:
            while len(waiting) <= processes and time.monotonic() < until and (job := next(lacking, None)):
                if key(job.asked) not in begun:  # several rows may ask for the same
                    begun.add(key(job.asked))
                    waiting[pool.submit(_make, job.make, job.arguments)] = job
            if not waiting:
                return
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                job = waiting.pop(future)
                store.put(job.file, job.asked, {**job.label, **future.result()})


def _make(make: Callable[..., Mapping[str, Any]], arguments: tuple[Any, ...]) -> Mapping[str, Any]:
    """In a process that does nothing else."""
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    return make(*arguments)
