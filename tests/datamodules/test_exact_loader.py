"""A DataLoader of anyone's own: an interrupted run sees what the uninterrupted one saw, bit for bit."""

import json
import random
import tracemalloc
import warnings
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from bare_lightning import AFTER_EPOCH, AFTER_VALIDATION, EVERY_BATCH, Fails, OneWeight, SaveAtStart, saved, trainer
from omegaconf import OmegaConf
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.utilities import CombinedLoader
from pytorch_lightning.utilities.model_helpers import is_overridden
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    Sampler,
    Subset,
    SubsetRandomSampler,
    WeightedRandomSampler,
    default_collate,
)

from stride import build
from stride.datamodules.batches import TrainBatches
from stride.datamodules.exact_loader import ExactLoader, exact, serve_exactly

SAMPLES, SIZE = 45, 6  # 8 batches, the last of 3


class Noisy(Dataset):
    """Its samples are (index, torch's noise, numpy's noise, random's noise)."""

    def __init__(self, samples=SAMPLES):
        self.samples = samples

    def __len__(self):
        return self.samples

    def __getitem__(self, index):
        noise = [float(torch.randn(())), np.random.normal(), random.gauss(0, 1)]
        return torch.tensor([index, *noise], dtype=torch.float64)


class Together(Noisy):
    def __getitems__(self, indices):
        return [self[index] + 0.5 for index in indices]


class Buckets(Sampler):
    """A batch sampler of one's own: batches of one remainder each, in random order."""

    def __iter__(self):
        batches = [list(range(first, SAMPLES, 9)) for first in range(9)]
        random.shuffle(batches)
        yield from batches

    def __len__(self):
        return 9


class OwnGenerator(Sampler):
    def __init__(self):
        self.rng = np.random.default_rng(0)

    def __iter__(self):
        yield from self.rng.permutation(SAMPLES).tolist()

    def __len__(self):
        return SAMPLES


class OwnEpoch(Sampler):
    """Random by its epoch alone, as a DistributedSampler is."""

    epoch = 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __iter__(self):
        yield from np.random.default_rng(self.epoch).permutation(SAMPLES).tolist()

    def __len__(self):
        return SAMPLES


def noisy_collate(samples):
    return default_collate(samples) + torch.rand(()) + np.random.rand()


LOADERS = {
    "shuffled": lambda **o: DataLoader(Noisy(), SIZE, shuffle=True, **o),
    "in order": lambda **o: DataLoader(Noisy(), SIZE, **o),
    "drop_last": lambda **o: DataLoader(Noisy(), SIZE, shuffle=True, drop_last=True, **o),
    "generator": lambda **o: DataLoader(Noisy(), SIZE, shuffle=True, generator=torch.Generator().manual_seed(5), **o),
    "weighted": lambda **o: DataLoader(Noisy(), SIZE, sampler=WeightedRandomSampler(range(SAMPLES), 44), **o),
    "subset": lambda **o: DataLoader(Noisy(), SIZE, sampler=SubsetRandomSampler(range(3, 40)), **o),
    "batches": lambda **o: DataLoader(Noisy(), batch_sampler=Buckets(), **o),
    "torch's batches": lambda **o: DataLoader(
        Noisy(), batch_sampler=BatchSampler(RandomSampler(range(40)), 7, drop_last=True), **o
    ),
    "own generator": lambda **o: DataLoader(Noisy(), SIZE, sampler=OwnGenerator(), **o),
    "own epoch": lambda **o: DataLoader(Noisy(), SIZE, sampler=OwnEpoch(), **o),
    "single": lambda **o: DataLoader(Noisy(9), None, shuffle=True, **o),
    "together": lambda **o: DataLoader(Together(), SIZE, shuffle=True, **o),
    "collate": lambda **o: DataLoader(Noisy(), SIZE, shuffle=True, collate_fn=noisy_collate, **o),
    "two": lambda **o: {"a": LOADERS["shuffled"](**o), "b": [DataLoader(Noisy(17), SIZE, shuffle=True, **o)]},
    "shortest of two": lambda **o: CombinedLoader(
        [LOADERS["shuffled"](**o), DataLoader(Noisy(33), SIZE, shuffle=True)], "min_size"
    ),
}


class Data(pl.LightningDataModule):
    def __init__(self, make):
        super().__init__()
        self.make = make

    def train_dataloader(self):
        return self.make()

    def val_dataloader(self):
        return DataLoader(Noisy(4), 2)


class Recorder(OneWeight):
    """Asks for the number of steps, as a schedule does, and writes down what it saw and drew at which step."""

    def __init__(self, ask=True):
        super().__init__()
        self.ask, self.seen = ask, []

    def on_after_batch_transfer(self, batch, index):
        return {"batch": batch, "drawn": [float(torch.rand(())), np.random.rand(), random.random()]}

    def training_step(self, batch, index):
        plain = torch.utils._pytree.tree_map(lambda x: x.tolist() if isinstance(x, torch.Tensor) else x, batch)
        self.seen.append((self.global_step, self.current_epoch, index, plain))
        return super().training_step(batch, index)

    def validation_step(self, batch, index):
        self.log("val/loss", self.weight)

    def configure_optimizers(self):
        assert not self.ask or self.trainer.estimated_stepping_batches > 0
        return super().configure_optimizers()


def fit(folder, make, callbacks=(), resume=None, bare=False, ask=True, **options):
    torch.manual_seed(random.SystemRandom().getrandbits(32))  # no process begins where another one did
    module, data = Recorder(ask), Data(make)
    if not bare:
        serve_exactly(data, 7)
    trainer(folder, callbacks, **options).fit(module, datamodule=data, ckpt_path=resume)
    return module.seen


STEPS = {"max_epochs": -1, "max_steps": 20}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """`uninterrupted(name, when, options)`: what a run saw, and the folder of its checkpoints."""
    runs = {}

    def run(name, when, options):
        key = repr((name, when, options))
        if key not in runs:
            folder = tmp_path_factory.mktemp("whole")
            runs[key] = fit(folder, LOADERS[name], [saved(folder, **when)], **options), folder
        return runs[key]

    return run


@pytest.mark.parametrize(
    "when, step, options",
    [
        (EVERY_BATCH, 1, {}),
        (EVERY_BATCH, 11, {}),
        (EVERY_BATCH, 15, {}),
        (EVERY_BATCH, 16, {}),
        (EVERY_BATCH, 11, {"ask": False}),
        (EVERY_BATCH, 16, {"ask": False}),
        (EVERY_BATCH, 4, {"accumulate_grad_batches": 3}),
        (EVERY_BATCH, 7, {"limit_train_batches": 5}),
        (EVERY_BATCH, 10, {"limit_train_batches": 5}),
        (EVERY_BATCH, 13, STEPS),
        (EVERY_BATCH, 16, STEPS),
        (EVERY_BATCH, 11, {"reload_dataloaders_every_n_epochs": 1}),
        (AFTER_VALIDATION, 8, {}),
        (AFTER_VALIDATION, 11, {"val_check_interval": 3}),
        (AFTER_VALIDATION, 10, {"limit_train_batches": 5}),
        (AFTER_VALIDATION, 8, STEPS),
        (AFTER_EPOCH, 16, {}),
        (AFTER_EPOCH, 8, {"ask": False}),
        (AFTER_EPOCH, 8, {"accumulate_grad_batches": 2}),
        (AFTER_EPOCH, 8, STEPS),
    ],
)
def test_a_resumed_run_sees_just_what_was_left(uninterrupted, tmp_path, when, step, options):
    whole, folder = uninterrupted("shuffled", when, options)
    rest = fit(tmp_path, LOADERS["shuffled"], resume=folder / f"{step}.ckpt", **options)
    assert rest == whole[-len(rest) :]
    assert rest[0][0] == step


@pytest.mark.parametrize("name", sorted(set(LOADERS) - {"shuffled"}))
def test_whatever_orders_the_samples_goes_on_in_the_middle_of_an_epoch(tmp_path, name):
    save = saved(tmp_path, every_n_train_steps=12)  # of the shorter of two loaders in the second round
    whole = fit(tmp_path, LOADERS[name], [save], limit_val_batches=0)
    rest = fit(tmp_path, LOADERS[name], resume=tmp_path / "12.ckpt", limit_val_batches=0)
    assert rest == whole[12:]
    epochs = [[batch for _, epoch, _, batch in whole if epoch == e] for e in range(3)]
    assert epochs[0] != epochs[1] != epochs[2]


def test_a_bare_loader_does_not_go_on(tmp_path):
    """So the tests above can tell."""
    save = saved(tmp_path, every_n_train_steps=11)
    whole = fit(tmp_path, LOADERS["shuffled"], [save], bare=True)
    rest = fit(tmp_path, LOADERS["shuffled"], resume=tmp_path / "11.ckpt", bare=True)
    assert len(rest) == len(whole[11:])
    assert all(one != other for one, other in zip(rest, whole[11:], strict=True))


@pytest.mark.parametrize(
    "name, options",
    [
        ("shuffled", {"num_workers": 2}),
        ("shuffled", {"num_workers": 2, "persistent_workers": True}),
        ("weighted", {"num_workers": 2, "persistent_workers": True}),
        ("batches", {"num_workers": 2, "prefetch_factor": 5}),
        pytest.param("single", {"num_workers": 2}, marks=pytest.mark.slow),
        pytest.param("together", {"num_workers": 2}, marks=pytest.mark.slow),
        pytest.param("collate", {"num_workers": 3, "persistent_workers": True}, marks=pytest.mark.slow),
        pytest.param("two", {"num_workers": 2}, marks=pytest.mark.slow),
        pytest.param(
            "shuffled",
            {"num_workers": 2, "persistent_workers": True, "multiprocessing_context": "spawn"},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_workers_change_nothing(tmp_path, name, options):
    alone = fit(tmp_path, LOADERS[name], limit_val_batches=0)
    make = partial(LOADERS[name], **options)
    assert fit(tmp_path, make, [saved(tmp_path, every_n_train_steps=11)], limit_val_batches=0) == alone
    assert fit(tmp_path, make, resume=tmp_path / "11.ckpt", limit_val_batches=0) == alone[11:]


@pytest.mark.parametrize("hook, step", [("on_before_optimizer_step", 10), ("on_train_batch_end", 8)])
def test_a_run_that_failed_resumes_at_the_batch_it_had_not_finished(uninterrupted, tmp_path, hook, step):
    whole, _ = uninterrupted("shuffled", EVERY_BATCH, {})
    save = ModelCheckpoint(tmp_path, filename="failed", save_top_k=0, save_on_exception=True)
    with pytest.raises(RuntimeError):
        fit(tmp_path, LOADERS["shuffled"], [save, Fails(hook, step)])
    (checkpoint,) = tmp_path.glob("*.ckpt")
    assert fit(tmp_path, LOADERS["shuffled"], resume=checkpoint) == whole[step:]


def test_a_run_may_be_saved_again_before_it_goes_on(uninterrupted, tmp_path):
    whole, folder = uninterrupted("shuffled", EVERY_BATCH, {})
    again = tmp_path / "again.ckpt"
    fit(tmp_path, LOADERS["shuffled"], [SaveAtStart(again)], resume=folder / "11.ckpt")
    assert fit(tmp_path, LOADERS["shuffled"], resume=again) == whole[11:]


class Onlooker(pl.Callback):
    """Iterates the training data while others train on them."""

    def __init__(self):
        self.counts = []

    def look(self, trainer, *_):
        self.counts.append(sum(1 for _ in trainer.train_dataloader))

    on_train_start = on_train_epoch_start = on_train_epoch_end = look

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == 13:
            self.look(trainer)


def test_who_else_iterates_sees_a_whole_epoch_and_disturbs_nobody(uninterrupted, tmp_path):
    whole, folder = uninterrupted("shuffled", EVERY_BATCH, {})
    onlooker = Onlooker()
    rest = fit(tmp_path, LOADERS["shuffled"], [onlooker], resume=folder / "11.ckpt")
    assert [batch["batch"] for *_, batch in rest] == [batch["batch"] for *_, batch in whole[11:]]
    assert onlooker.counts == [8] * 5


def test_a_resume_in_the_middle_of_an_epoch_brings_no_warning(uninterrupted, tmp_path):
    _, folder = uninterrupted("shuffled", EVERY_BATCH, {})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(tmp_path, LOADERS["shuffled"], resume=folder / "11.ckpt")
    assert not [str(warning.message) for warning in caught if "resum" in str(warning.message)]


def test_workers_end_with_the_fit(tmp_path):
    data = Data(partial(LOADERS["shuffled"], num_workers=1, persistent_workers=True))
    serve_exactly(data, 7)
    run = trainer(tmp_path, max_steps=2, limit_val_batches=0)
    processes = []
    start = pl.Callback()
    start.on_train_batch_start = lambda trainer, *_: processes.extend(trainer.train_dataloader._iterator._workers)
    run.callbacks.append(start)
    run.fit(Recorder(), datamodule=data)
    assert processes
    assert not any(process.is_alive() for process in processes)


def of(make, *, seed=7, rank=0, world=1, epoch=0, shared=True):
    """The batches of an epoch, without a fit."""
    at = SimpleNamespace(
        global_rank=rank,
        world_size=world,
        training=False,
        current_epoch=epoch,
        _accelerator_connector=SimpleNamespace(use_distributed_sampler=shared),
    )
    loader, _ = exact(make(), seed=seed, trainer=at)
    batches = list(loader)
    assert len(batches) == len(loader)
    return batches


def indices(batches):
    return [[int(index) for index in batch[:, 0]] for batch in batches]


@pytest.mark.parametrize(
    "name", ["shuffled", "in order", "drop_last", "generator", "subset", "own generator", "own epoch"]
)
@pytest.mark.parametrize("world", [2, 3])
def test_ranks_share_the_samples_out(name, world):
    for epoch in (0, 1):
        ranks = [indices(of(LOADERS[name], rank=rank, world=world, epoch=epoch)) for rank in range(world)]
        alone = indices(of(lambda: LOADERS[name](), epoch=epoch))
        seen = [index for rank in ranks for batch in rank for index in batch]
        samples = sum(len(batch) for batch in alone)
        assert len(set(seen)) == len(seen)
        assert len({len(rank) for rank in ranks}) == 1
        assert [len(batch) for batch in ranks[0]] == [len(batch) for batch in ranks[-1]]
        if name != "drop_last":
            assert len(seen) == samples - samples % world
            assert set(seen) <= {index for batch in alone for index in batch}


def test_two_ranks_see_at_each_step_what_one_sees_with_twice_the_batch():
    def twice():
        return DataLoader(Noisy(), 2 * SIZE, shuffle=True)

    alone = indices(of(twice))
    first, second = (indices(of(LOADERS["shuffled"], rank=rank, world=2)) for rank in (0, 1))
    assert [sorted(a + b) for a, b in zip(first, second, strict=True)][:-1] == [sorted(batch) for batch in alone][:-1]
    noise = [of(LOADERS["shuffled"], rank=rank, world=2)[0][:, 1] for rank in (0, 1)]
    assert not set(noise[0].tolist()) & set(noise[1].tolist())


def test_whole_batches_are_dealt_out_to_ranks():
    ranks = [indices(of(LOADERS["batches"], rank=rank, world=2)) for rank in (0, 1)]
    assert [len(rank) for rank in ranks] == [4, 4]
    assert len({tuple(batch) for rank in ranks for batch in rank}) == 8


def test_a_distributed_sampler_shares_out_itself():
    def make(rank):
        return DataLoader(Noisy(), SIZE, sampler=DistributedSampler(Noisy(), num_replicas=2, rank=rank, drop_last=True))

    first, second = (indices(of(partial(make, rank), rank=rank, world=2)) for rank in (0, 1))
    seen = [index for batch in first + second for index in batch]
    assert len(seen) == len(set(seen)) == 44
    assert indices(of(partial(make, 0), rank=0, world=2, epoch=1)) != first


def test_what_lightning_is_told_not_to_share_out_is_not():
    ranks = [indices(of(LOADERS["shuffled"], rank=rank, world=2, shared=False)) for rank in (0, 1)]
    assert ranks[0] == ranks[1] == indices(of(LOADERS["shuffled"]))


def test_fewer_samples_than_ranks_are_refused():
    with pytest.raises(ValueError, match=r"`devices <= samples` must hold, but got devices=50, samples=45"):
        of(LOADERS["shuffled"], world=50)


def test_a_sample_that_comes_twice_in_an_epoch_looks_different_each_time():
    rows = torch.cat(of(lambda: DataLoader(Noisy(), SIZE, sampler=WeightedRandomSampler([1.0, 1.0], 44))))
    assert len(set(rows[:, 0].tolist())) == 2
    for column in (1, 2, 3):
        assert len(set(rows[:, column].tolist())) == 44


def test_loaders_of_the_same_data_are_ordered_and_augmented_apart():
    loaders, _ = exact([LOADERS["shuffled"](), LOADERS["shuffled"]()], seed=7, trainer=None)
    first, second = map(list, loaders)
    assert indices(first) != indices(second)
    assert first[0][0, 1] != second[0][0, 1]


def test_seed_and_epoch_decide():
    shuffled = LOADERS["shuffled"]
    assert len({str(indices(of(shuffled, seed=seed, epoch=epoch))) for seed in (7, 8) for epoch in (0, 1)}) == 4
    noise = [of(LOADERS["in order"], seed=seed, epoch=epoch)[0][0, 1] for seed in (7, 8) for epoch in (0, 1)]
    assert len(set(noise)) == 4


def test_a_shorter_loader_comes_in_another_order_each_time_it_starts_over(tmp_path):
    seen = fit(tmp_path, LOADERS["two"], max_epochs=1, limit_val_batches=0)
    shorter = [row[0] for *_, batch in seen for row in batch["batch"]["b"][0]]
    assert sorted(shorter[:17]) == sorted(shorter[17:34]) == list(range(17))
    assert shorter[:17] != shorter[17:34]


class Bits(Noisy):
    def __getitem__(self, index):
        of_torch = torch.empty(4, dtype=torch.int32).random_().tolist()
        return torch.tensor([*of_torch, *np.random.randint(2**31, size=4), *(random.getrandbits(31) for _ in range(4))])


def test_torch_numpy_and_random_draw_apart_and_the_step_from_the_samples():
    """The generators of torch and numpy are of one kind: from one seed they draw the same bits."""
    drawn = []
    for batch in exact(DataLoader(Bits(4), 1), seed=7, trainer=None)[0]:
        drawn += [*batch.flatten().tolist(), *Bits()[0].tolist()]
    assert len(set(drawn)) == len(drawn) == 4 * 24


class SameList(Sampler):
    """A batch sampler that fills one list again and again."""

    def __iter__(self):
        batch = []
        for first in range(4):
            batch[:] = [first, first + 10]
            yield batch

    def __len__(self):
        return 4


def test_a_batch_sampler_may_fill_one_list_again_and_again():
    assert indices(of(lambda: DataLoader(Noisy(), batch_sampler=SameList()))) == [[n, n + 10] for n in range(4)]


class Opened(Noisy):
    file = None

    def __getitem__(self, index):
        return torch.tensor([index, self.file])


def open_file(worker):
    part = torch.utils.data.get_worker_info().dataset
    part.dataset.file = part.dataset.samples + len(part)
    part.indices = [0, 1, 2, 2]


def test_a_worker_init_fn_finds_the_dataset():
    part = Subset(Opened(9), range(4))
    rows = torch.cat(of(lambda: DataLoader(part, 2, num_workers=1, worker_init_fn=open_file)))
    assert rows.tolist() == [[n, 9 + 4] for n in (0, 1, 2, 2)]


def test_no_list_of_all_indices_is_made_of_a_shuffle():
    tracemalloc.start()
    loader, _ = exact(DataLoader(range(1_000_000), 100, shuffle=True), seed=7, trainer=None)
    first = next(iter(loader))
    peak = tracemalloc.get_traced_memory()[1]  # torch's own memory is not seen
    tracemalloc.stop()
    assert len(first) == 100
    assert peak < 4e6


RNG = np.random.default_rng(0)


class Stream(IterableDataset):
    def __iter__(self):
        return iter(range(9))


class Peculiar(DataLoader):
    def __iter__(self):
        return iter(super().__iter__())


class OnlyMade(DataLoader):
    """As those of many libraries: it has a collate_fn of its own, and nothing else."""

    def __init__(self, dataset, **options):
        super().__init__(dataset, collate_fn=noisy_collate, **options)


class ShufflesItself(Buckets):
    def __init__(self):
        self.batches = [list(range(first, SAMPLES, 9)) for first in range(9)]

    def __iter__(self):
        random.shuffle(self.batches)
        return iter(self.batches)


class Endless(Sampler):
    def __iter__(self):
        return iter(int, 1)


class Holds(Noisy):
    def __init__(self, **parts):
        super().__init__()
        self.__dict__.update(parts)


class NamesGlobal(Noisy):
    def __getitem__(self, index):
        return index + RNG.normal()


def enclosed():
    own = random.Random(0)
    return lambda x: x + own.random()


IN_TENSORS = (torch.arange(8.0),)


@pytest.mark.parametrize(
    "make, why",
    [
        (LOADERS["shuffled"], ""),
        (LOADERS["two"], ""),
        (lambda: DataLoader(Subset(Holds(transform=torch.nn.ReLU(), path="data"), range(9)), shuffle=True), ""),
        (lambda: OnlyMade(Noisy(), batch_size=SIZE), ""),
        (lambda: DataLoader([1, 2, 3], 2), ""),
        (lambda: TrainBatches(IN_TENSORS, batch_size=2, seed=0), ""),
        (lambda: DataLoader(Noisy(), in_order=False), ""),
        (
            lambda: DataLoader(Noisy(), in_order=False, num_workers=1),
            "in_order=False serves batches as they become ready",
        ),
        (lambda: DataLoader(Stream()), "the order of an IterableDataset cannot be repeated"),
        (lambda: [LOADERS["shuffled"](), DataLoader(Stream())], "the order of an IterableDataset cannot be repeated"),
        (lambda: Peculiar(Noisy()), "Peculiar iterates in its own way"),
        (lambda: [1, 2, 3], "list is no DataLoader, so its order is its own"),
        (lambda: DataLoader(Noisy(), sampler=Endless()), "the order of a DataLoader without a length cannot be listed"),
        (
            lambda: DataLoader(Noisy(), batch_sampler=ShufflesItself()),
            "ShufflesItself gives another order when it is asked again",
        ),
        (
            lambda: DataLoader(Subset(Holds(steps=[{"rng": np.random.default_rng(0)}]), [1])),
            "dataset.dataset.steps.0.rng is a generator of its own",
        ),
        (lambda: DataLoader(Holds(R=np.random.RandomState(0))), "dataset.R is a generator of its own"),
        (lambda: DataLoader(NamesGlobal()), "dataset.__getitem__.RNG is a generator of its own"),
        (lambda: DataLoader(Holds(transform=enclosed())), "dataset.transform.own is a generator of its own"),
        (lambda: DataLoader(Noisy(), collate_fn=enclosed()), "collate_fn.own is a generator of its own"),
        (
            lambda: CombinedLoader([LOADERS["shuffled"](), LOADERS["in order"]()], "max_size"),
            "CombinedLoader(mode='max_size') starts its shorter loaders over",
        ),
    ],
)
def test_what_cannot_be_repeated_is_said(make, why):
    before = torch.get_rng_state()
    assert exact(make(), seed=7, trainer=None)[1] == why
    assert torch.equal(torch.get_rng_state(), before)


def test_overfitting_is_left_as_it_is(tmp_path):
    data = Data(LOADERS["shuffled"])
    serve_exactly(data, 7)
    trainer(tmp_path, overfit_batches=2).fit(module := Recorder(), datamodule=data)
    batches = [[row[0] for row in batch["batch"]] for *_, batch in module.seen]
    assert batches == 3 * [list(range(6)), list(range(6, 12))]
    assert data.approximate == "with trainer.overfit_batches an interrupted epoch starts over"


class TakesItself(Recorder):
    def training_step(self, dataloader_iter):
        batch, _, _ = next(dataloader_iter)
        self.seen.append(len(batch))
        return OneWeight.training_step(self, batch, None)


def test_a_step_that_takes_its_batches_itself_gets_them_all(tmp_path):
    data = Data(LOADERS["shuffled"])
    serve_exactly(data, 7)
    trainer(tmp_path, max_epochs=1, limit_val_batches=0).fit(module := TakesItself(), datamodule=data)
    assert sum(module.seen) == SAMPLES
    assert data.approximate == "training_step takes as many batches as it likes (dataloader_iter)"


class Streamed(Data):
    def __init__(self):
        super().__init__(lambda: DataLoader(Stream()))


class Shuffled(Data):
    def __init__(self):
        super().__init__(LOADERS["shuffled"])


@pytest.mark.parametrize(
    "name, why", [("Shuffled", ""), ("Streamed", "the order of an IterableDataset cannot be repeated")]
)
def test_the_datamodule_of_a_config_is_served_exactly_or_says_why_not(name, why):
    cfg = OmegaConf.create({"datamodule": {"_target_": f"{__name__}.{name}"}, "seed": 3})
    data, _ = build.datamodule(cfg)
    assert data.approximate == ""
    loader = data.train_dataloader()
    assert isinstance(loader, ExactLoader) == (not why)
    assert data.approximate == why
    assert is_overridden("train_dataloader", data)


def test_a_datamodule_without_training_data_still_has_none():
    data = pl.LightningDataModule()
    serve_exactly(data, 3)
    assert not is_overridden("train_dataloader", data)


def test_each_order_of_a_range_test_is_another_one():
    """The seed of a config is what a range test counts up."""
    orders = []
    for seed in (3, 4, 3):
        data, _ = build.datamodule(OmegaConf.create({"datamodule": {"_target_": f"{__name__}.Shuffled"}, "seed": seed}))
        orders.append(indices(data.train_dataloader()))
    assert orders[0] == orders[2] != orders[1]


TWO = """
import json, sys
from pathlib import Path
sys.path[:0] = {places!r}
import torch
import test_exact_loader as tests

rank, world = torch.distributed.get_rank, torch.distributed.get_world_size
folder, workers = Path({folder!r}), {{"num_workers": {workers}}}
options = {{"strategy": "ddp", "devices": 2, "limit_val_batches": 0}}
make = tests.partial(tests.LOADERS[{name!r}], **workers)
whole = tests.fit(folder, make, [tests.saved(folder, every_n_train_steps=5)], **options)
rest = tests.fit(folder, make, resume=folder / "5.ckpt", **options)
(folder / f"rank-{{rank()}}.json").write_text(json.dumps([world(), whole, rest]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("name, workers", [("shuffled", 0), ("weighted", 2), ("batches", 2)])
def test_two_processes_go_on_where_they_were(tmp_path, command_in, name, workers):
    script = tmp_path / "two.py"
    places = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    script.write_text(TWO.format(places=places, folder=str(tmp_path), name=name, workers=workers))
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = command_in(tmp_path, *launcher, str(script))
    assert done.returncode == 0, done.stderr
    seen = []
    for rank in (0, 1):
        world, whole, rest = json.loads((tmp_path / f"rank-{rank}.json").read_text())
        assert world == 2
        assert rest == whole[5:]
        seen.append([[row[0] for row in batch["batch"]] for _, epoch, _, batch in whole if epoch == 1])
    first, second = ([tuple(batch) for batch in batches] for batches in seen)
    assert len(first) == len(second) == 4
    assert not set(first) & set(second)
    if name != "weighted":  # which draws a sample more than once
        both = [index for batch in first + second for index in batch]
        assert len(set(both)) == len(both) == (44 if name == "shuffled" else 40)
