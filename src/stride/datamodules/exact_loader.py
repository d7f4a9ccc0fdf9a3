"""A torch DataLoader that goes on where its run was interrupted: the same samples, the same augmentation.

Nothing has to be saved: what is served follows from the seed and the place in the run, which Lightning restores.
"""

import math
import random
from collections.abc import Iterator, Sequence
from functools import wraps
from itertools import islice
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningDataModule, Trainer
from pytorch_lightning.utilities import CombinedLoader
from pytorch_lightning.utilities.seed import isolate_rng
from pytorch_lightning.utilities.signature_utils import is_param_in_hook_signature
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
)

from stride.datamodules import generators

ORDER, BATCHES = 3, 4  # first in a key, beside those of batches.py
PROBE = 1000  # samples or batches, by which a sampler shows that it repeats itself
KEPT = (
    "num_workers",
    "collate_fn",
    "pin_memory",
    "timeout",
    "worker_init_fn",
    "multiprocessing_context",
    "prefetch_factor",
    "persistent_workers",
    "pin_memory_device",
    "in_order",
)


def serve_exactly(data: LightningDataModule, seed: int) -> None:
    """From now on `data.train_dataloader()` gives what `exact` makes of its loaders.

    `data.approximate` is why the last of them cannot be repeated; empty where they can, and before there are any.
    """
    original = data.train_dataloader

    @wraps(original)  # Lightning asks whether it is overridden
    def train_dataloader() -> Any:
        loaders, approximate = exact(original(), seed=seed, trainer=data.trainer)
        data.approximate = approximate  # pyrefly: ignore[missing-attribute]
        return loaders

    data.approximate = ""  # pyrefly: ignore[missing-attribute]
    data.train_dataloader = train_dataloader


def exact(loaders: Any, *, seed: int, trainer: Trainer | None) -> tuple[Any, str]:
    """The loaders to train with, and why a resumed run would not see the same samples; empty where it would.

    Args:
        loaders: a loader, or several in whatever Lightning takes (a dict, a list, a CombinedLoader).
        trainer: knows the ranks and, while it fits, the place in the run.
    """
    if getattr(trainer, "overfit_batches", 0) > 0:
        return loaders, "with trainer.overfit_batches an interrupted epoch starts over"
    module = getattr(trainer, "lightning_module", None)
    if module is not None and is_param_in_hook_signature(module.training_step, "dataloader_iter", explicit=True):
        return loaders, "training_step takes as many batches as it likes (dataloader_iter)"
    given = isinstance(loaders, CombinedLoader)
    combined = loaders if given else CombinedLoader(loaders, "max_size_cycle")  # as Lightning does
    if combined._mode == "max_size":
        return loaders, "CombinedLoader(mode='max_size') starts its shorter loaders over"
    made = [_exact(loader, seed, number, trainer) for number, loader in enumerate(combined.flattened)]
    combined.flattened = [loader for loader, _ in made]
    reasons = dict.fromkeys(reason for _, reason in made if reason)
    return combined if given else combined.iterables, "; ".join(reasons)


def _exact(loader: Any, seed: int, number: int, trainer: Trainer | None) -> tuple[Any, str]:
    name = type(loader).__name__
    if getattr(loader, "exact", False):
        return loader, ""
    if not isinstance(loader, DataLoader):
        return loader, f"{name} is no DataLoader, so its order is its own"
    if isinstance(loader.dataset, IterableDataset):
        return loader, "the order of an IterableDataset cannot be repeated"
    if any(getattr(type(loader), own) is not getattr(DataLoader, own) for own in ("__iter__", "_get_iterator")):
        return loader, f"{name} iterates in its own way"
    try:
        len(loader)
    except (TypeError, NotImplementedError):
        return loader, f"the order of a {name} without a length cannot be listed"
    served = ExactLoader(loader, seed=seed, number=number, trainer=trainer)
    return served, "; ".join(served.doubts())


class ExactLoader:
    """What a DataLoader over a map-style dataset serves, in an order that follows from (seed, epoch) alone.

    The order is the loader's own sampler's (or batch sampler's), listed at the start of an epoch with all random
    numbers seeded from (seed, epoch): torch's, numpy's and random's global ones and the generators that the sampler
    keeps. All ranks list the same and share it out: rank r takes every `world`-th sample (or batch, of a batch
    sampler). All serve equally many; the `samples % world` that do not go round sit out. A DistributedSampler has
    shared out already, as has any sampler where Lightning's `use_distributed_sampler` is off.

    Before a batch is loaded, in whatever process, the global generators are seeded from (seed, rank, epoch, batch),
    so that augmentation depends neither on the workers nor on where the run was resumed; and again in this process
    when it is served, for what is drawn on the CPU from there on.

    The first batch of an epoch that Lightning begins is the first that Lightning's progress does not count as done;
    whoever else iterates sees a whole epoch. `len` is always that of a whole epoch.

    Args:
        number: of this loader among several.
        trainer: None: alone, and at the start of a run.

    Raises ValueError where a rank would have nothing.
    """

    exact = True

    def __init__(self, loader: DataLoader, *, seed: int, number: int = 0, trainer: Trainer | None = None) -> None:
        self._seed, self._number, self._trainer = seed, number, trainer
        self._begins = False
        self._size: int | None = None
        self._drop_last = False
        order: Any = loader.sampler if loader.batch_sampler is None else loader.batch_sampler
        if type(order) is BatchSampler:
            self._size, self._drop_last, order = order.batch_size, order.drop_last, order.sampler
        self._order = order
        self._samplers: list[Any] = [order, getattr(order, "sampler", None)]
        self._generators = list(generators.found_in(order).values())
        self._rank, self._world = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        self._share = 1 if self._is_shared_out() else self._world
        if len(order) < self._share:
            raise ValueError(f"`devices <= samples` must hold, but got devices={self._share}, samples={len(order)}")
        self._keys = _Keys()
        keys: Any = {"batch_sampler": self._keys}
        if loader.batch_sampler is None:
            keys = {"sampler": self._keys, "batch_size": None}
        kept: Any = {name: getattr(loader, name) for name in KEPT}
        self._dataset = loader.dataset
        dataset: Any = _Seeded(self._dataset)
        self._loader = DataLoader(dataset, **keys, **kept)
        self.sampler, self.batch_sampler = self, None  # Lightning calls set_epoch on `sampler` only

    def set_epoch(self, epoch: int) -> None:
        # Its number is not taken: of a run with max_steps that was resumed after an epoch, it is one more.
        self._begins = True

    def __len__(self) -> int:
        return self._batches(len(self._order))

    def __iter__(self) -> Iterator[Any]:
        # Lightning makes an iterator before it restores its progress; a generator asks with the first batch.
        epoch, cycle, start = self._place()
        order = self._listed(epoch, cycle)
        count = self._batches(len(order))
        seeds = _drawn(2 * count, BATCHES, self._seed, self._number, self._rank, epoch, cycle).reshape(count, 2)
        self._keys.next = ((int(seeds[batch, 0]), self._indices(order, batch)) for batch in range(start, count))
        for batch, seed in zip(self._loader, seeds[start:, 1], strict=True):
            _seed(int(seed))
            yield batch

    def doubts(self) -> Iterator[str]:
        """What of it may yet differ in a resumed run."""
        if self._loader.num_workers and not self._loader.in_order:
            yield "in_order=False serves batches as they become ready"
        if not type(self._order).__module__.startswith("torch.utils.data."):
            with isolate_rng(include_cuda=False):
                first, second = (str(self._listed(0, 0, PROBE)) for _ in range(2))
            if first != second:
                yield f"{type(self._order).__name__} gives another order when it is asked again"
        own = generators.found_in({"dataset": self._dataset, "collate_fn": self._loader.collate_fn})
        if own:
            yield f"{next(iter(own))} is a generator of its own"

    # Without these two Lightning warns at each resume; they hold nothing.
    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, state: dict) -> None:
        pass

    @property
    def _iterator(self) -> Any:
        """Where Lightning looks for workers that it has to stop."""
        return self._loader._iterator

    @_iterator.setter
    def _iterator(self, iterator: None) -> None:
        self._loader._iterator = iterator

    def _place(self) -> tuple[int, int, int]:
        """The epoch, how often this loader has ended in it (beside a longer one), and the first batch."""
        if self._trainer is None or not self._trainer.training:
            return 0 if self._trainer is None else self._trainer.current_epoch, 0, 0
        done = self._trainer.fit_loop.epoch_loop.batch_progress.current.ready
        cycle, start = divmod(done, max(1, len(self)))
        begins, self._begins = self._begins, False
        return self._trainer.current_epoch, cycle, start if begins else 0

    def _is_shared_out(self) -> bool:
        wanted = self._trainer is None or self._trainer._accelerator_connector.use_distributed_sampler
        return not wanted or any(isinstance(sampler, DistributedSampler) for sampler in self._samplers)

    def _listed(self, epoch: int, cycle: int, most: int | None = None) -> Sequence[Any]:
        """What the sampler gives in an epoch, of all ranks."""
        count = len(self._order)
        own, *others = _drawn(1 + len(self._generators), ORDER, self._seed, self._number, epoch, cycle).tolist()
        _seed(own)
        for generator, seed in zip(self._generators, others, strict=True):
            generators.reseed(generator, seed)
        for sampler in self._samplers:
            if callable(getattr(sampler, "set_epoch", None)):
                sampler.set_epoch(epoch)
        if type(self._order) is SequentialSampler:
            return range(count)
        if type(self._order) is RandomSampler and not self._order.replacement and count == len(self._order.data_source):
            shuffled: Any = torch.randperm(count).numpy()
            return memoryview(shuffled)  # a list of ints, as its own, takes five times the memory
        given = islice(self._order, count if most is None else min(count, most))
        return [one[:] if isinstance(one, list) else one for one in given]  # some fill the same list again

    def _batches(self, samples: int) -> int:
        share = samples // self._share
        if self._size is None:
            return share
        return share // self._size if self._drop_last else math.ceil(share / self._size)

    def _indices(self, order: Sequence[Any], batch: int) -> Any:
        first = self._rank if self._share > 1 else 0
        if self._size is None:
            return order[batch * self._share + first]
        share = len(order) // self._share
        begin, end = batch * self._size, min((batch + 1) * self._size, share)
        return list(order[begin * self._share + first : end * self._share : self._share])


class _Keys:
    """The sampler of the DataLoader inside, whose workers may outlive an epoch: what the next one serves."""

    next: Iterator[tuple[int, Any]] = iter(())

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        return self.next


class _Seeded:
    """A dataset that is asked for (seed, index) or (seed, indices). A worker_init_fn finds all else of it, too."""

    def __init__(self, dataset: Any) -> None:
        self.__dict__["_of"] = dataset

    def __getitem__(self, key: tuple[int, Any]) -> Any:
        seed, index = key
        _seed(seed)
        return self._of[index]

    def __getitems__(self, key: tuple[int, Any]) -> Any:
        seed, indices = key
        _seed(seed)
        together = getattr(self._of, "__getitems__", None)
        return together(indices) if together else [self._of[index] for index in indices]

    def __len__(self) -> int:
        return len(self._of)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._of, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._of, name, value)

    def __reduce__(self) -> Any:
        return _Seeded, (self._of,)


def _drawn(count: int, *key: int) -> np.ndarray:
    """uint64 (count,), other ones for each key; fewer of them are the first of more."""
    return np.random.SeedSequence(key).generate_state(count, np.uint64)


def _seed(seed: int) -> None:
    """Seed the global generators, each from bits of its own: torch's and numpy's are of one kind."""
    torch.default_generator.manual_seed(seed)  # torch.manual_seed takes a hundred times as long
    np.random.seed(seed >> 32)
    random.seed(seed)
