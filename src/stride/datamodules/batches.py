"""In-memory tensors served as whole batches: one index operation a tensor, no workers, no collating.

Both loaders are plain iterables. Lightning shards only torch's DataLoader, so they shard by rank themselves.
All ranks serve equally many batches: none waits in a collective that the others never enter.
"""

import math
from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import torch

Batch = tuple[torch.Tensor, ...]
Transform = Callable[[torch.Tensor, torch.Generator], torch.Tensor]

ORDER, TRANSFORM = 1, 2  # first in a key: SeedSequence takes no notice of zeros at its end


class TrainBatches:
    """Shuffled batches, in an order that is a function of (seed, epoch, rank, world) and of nothing else.

    Global batch k of an epoch is the k-th run of `batch_size * world` samples of the epoch's permutation, and
    rank r serves every `world`-th sample of it: 2 ranks with batch 32 learn from the same samples at each
    step as 1 rank with batch 64. No sample comes twice in an epoch. The last batch is short, equally on all
    ranks, or left out with `drop_last`; a last batch of one sample joins the one before, since batch norm cannot
    train on one. The `samples % world` that do not go round sit out, other ones in
    each epoch.

    `transform(x, generator)` changes the first tensor of a batch; its generator is seeded from (seed, rank,
    epoch, batch), so that a resumed epoch repeats it. The epoch of `position`, {"epoch": e, "batch": b},
    begins at its batch b; all others begin at 0. `len` is always that of a whole epoch. `current_epoch()`, where
    given, counts epochs in place of Lightning, whose number is one too high where a run that `max_steps` ends goes
    on after an epoch.

    Raises ValueError where an epoch would have no batch.
    """

    exact = True  # whatever interrupts the run: `exact_loader` asks

    def __init__(
        self,
        tensors: Batch,
        *,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        drop_last: bool = False,
        transform: Transform | None = None,
        position: dict[str, int] | None = None,
        current_epoch: Callable[[], int] | None = None,
    ) -> None:
        self._current_epoch = current_epoch
        self.tensors, self.batch_size, self.seed = tensors, batch_size, seed
        self.rank, self.world, self.transform = rank, world, transform
        self.position = position or {"epoch": 0, "batch": 0}
        self.epoch: int | None = None  # set when an epoch begins
        self.share = _samples(tensors, world) // world
        lone = self.share % batch_size == 1 and 1 < batch_size < self.share
        whole = drop_last or lone
        self.batches = self.share // batch_size if whole else math.ceil(self.share / batch_size)
        self.end = self.batches * batch_size if drop_last else self.share
        if self.batches == 0:
            raise ValueError(
                "`batch_size <= samples // devices` must hold with drop_last, but got "
                f"batch_size={batch_size}, samples={len(tensors[0])}, devices={world}"
            )
        self.sampler, self.batch_sampler = self, None  # Lightning calls set_epoch on `sampler` only

    def set_epoch(self, epoch: int) -> None:
        self.epoch = self._current_epoch() if self._current_epoch else epoch

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[Batch]:
        # Lightning makes an iterator before it sets the epoch; a generator looks at it with the first batch.
        epoch = self.position["epoch"] if self.epoch is None else self.epoch
        start = self.position["batch"] if epoch == self.position["epoch"] else 0
        order = self.order(epoch)
        for k in range(start, self.batches):
            index = self._batch(order, k)
            # tensor[index] takes several times as long
            first, *rest = (tensor.index_select(0, index) for tensor in self.tensors)
            if self.transform:
                first = self.transform(first, _random(TRANSFORM, self.seed, self.rank, epoch, k))
            yield first, *rest

    def samples(self, epoch: int, batch: int) -> torch.Tensor:
        """Which samples of the training data a batch of this rank is made of: int64 (samples,)."""
        return self._batch(self.order(epoch), batch)

    def _batch(self, order: torch.Tensor, batch: int) -> torch.Tensor:
        end = self.end if batch + 1 == self.batches else (batch + 1) * self.batch_size
        return order[batch * self.batch_size : end]

    def order(self, epoch: int) -> torch.Tensor:
        """The samples of this rank in `epoch`: int64 (samples // world,)."""
        everyone = torch.randperm(len(self.tensors[0]), generator=_random(ORDER, self.seed, epoch))
        return everyone[: self.share * self.world][self.rank :: self.world]

    # Without these two Lightning warns at each resume. They hold nothing: where a schedule asks for the
    # number of steps, Lightning never loads a loader's state, so the datamodule holds the place in the epoch.
    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, state: dict) -> None:
        pass


class EvalBatches:
    """The samples in their order, each exactly once over all ranks: metrics summed over ranks are exact.

    Rank r serves the r-th contiguous range, cut into equally many batches on all ranks. Ranges and batches
    differ by at most one sample. None is larger than `batch_size`, save that with `batch_size=1` some ranks
    serve a pair where the samples do not go round. Batches are copies: a step may change its own in place.

    Raises ValueError where a rank would have no sample.
    """

    def __init__(self, tensors: Batch, *, batch_size: int, rank: int = 0, world: int = 1) -> None:
        samples = _samples(tensors, world)
        first, end = samples * rank // world, samples * (rank + 1) // world
        batches = min(math.ceil(samples / (batch_size * world)), samples // world)
        edges = [first + (end - first) * k // batches for k in range(batches + 1)]
        self.tensors, self.ranges = tensors, [slice(*pair) for pair in pairwise(edges)]

    def __len__(self) -> int:
        return len(self.ranges)

    def __iter__(self) -> Iterator[Batch]:
        for part in self.ranges:
            yield tuple(tensor[part].clone() for tensor in self.tensors)


def _samples(tensors: Batch, world: int) -> int:
    samples = len(tensors[0])
    if samples < world:
        raise ValueError(f"`devices <= samples` must hold, but got devices={world}, samples={samples}")
    return samples


def _random(*key: int) -> torch.Generator:
    """A generator of its own for each key; SeedSequence keeps neighbouring keys apart."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0]))
