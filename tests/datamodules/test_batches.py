import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stride.datamodules.batches import EvalBatches, TrainBatches


def numbers(count):
    return (torch.arange(count), 10 * torch.arange(count))


def epoch_of(batches, epoch):
    batches.set_epoch(epoch)
    return [x.tolist() for x, _ in batches]


def train(count=20, *, batch_size=6, seed=0, **options):
    return TrainBatches(numbers(count), batch_size=batch_size, seed=seed, **options)


@pytest.mark.parametrize(
    "options, sizes",
    [
        ({}, [6, 6, 6, 2]),
        ({"drop_last": True}, [6, 6, 6]),
        ({"batch_size": 10}, [10, 10]),
        ({"batch_size": 99}, [20]),
        ({"world": 3, "rank": 2}, [6]),
        ({"world": 3, "rank": 2, "batch_size": 4}, [4, 2]),
        ({"world": 3, "rank": 2, "batch_size": 4, "drop_last": True}, [4]),
    ],
)
def test_a_training_epoch_has_these_batches(options, sizes):
    batches = train(**options)
    assert [len(batch) for batch in epoch_of(batches, 0)] == sizes
    assert len(batches) == len(sizes)


def test_the_order_depends_on_seed_and_epoch_and_on_nothing_else():
    assert epoch_of(train(seed=5), 3) == epoch_of(train(seed=5), 3)
    assert epoch_of(train(seed=5), 3) != epoch_of(train(seed=6), 3)
    assert epoch_of(train(seed=5), 3) != epoch_of(train(seed=5), 4)


def test_all_tensors_of_a_batch_are_of_the_same_samples():
    assert all(torch.equal(y, 10 * x) for x, y in train())


def test_iterating_changes_no_state():
    batches = train()
    batches.set_epoch(1)
    half_read = iter(batches)
    next(half_read), next(half_read)
    iter(batches)
    assert [x.tolist() for x, _ in batches] == epoch_of(train(), 1)


def test_an_iterator_made_before_the_epoch_is_set_serves_that_epoch():
    batches = train()
    early = iter(batches)
    batches.set_epoch(4)
    assert [x.tolist() for x, _ in early] == epoch_of(train(), 4)


def test_only_the_epoch_of_the_position_begins_in_its_middle():
    resumed = train(position={"epoch": 2, "batch": 3})
    assert [x.tolist() for x, _ in resumed] == epoch_of(train(), 2)[3:]
    assert epoch_of(resumed, 2) == epoch_of(train(), 2)[3:]
    assert epoch_of(resumed, 3) == epoch_of(train(), 3)
    assert len(resumed) == len(train())


grid = {
    "count": st.integers(1, 200),
    "world": st.integers(1, 7),
    "batch_size": st.integers(1, 40),
    "epoch": st.integers(0, 3),
}


@settings(max_examples=150, deadline=None)
@given(**grid, drop_last=st.booleans())
def test_ranks_serve_equal_batches_that_share_no_sample(count, world, batch_size, epoch, drop_last):
    if count // world < (batch_size if drop_last else 1):
        with pytest.raises(ValueError, match="must hold"):
            train(count, batch_size=batch_size, world=world, drop_last=drop_last)
        return
    ranks = [
        epoch_of(train(count, batch_size=batch_size, rank=rank, world=world, drop_last=drop_last), epoch)
        for rank in range(world)
    ]
    assert len({tuple(len(batch) for batch in rank) for rank in ranks}) == 1
    served = [sample for rank in ranks for batch in rank for sample in batch]
    assert len(set(served)) == len(served)
    left_out = count // world % batch_size * world if drop_last else 0
    assert len(served) == count - count % world - left_out


def test_the_samples_that_do_not_go_round_are_others_in_each_epoch():
    def left_out(epoch):
        ranks = [epoch_of(train(11, rank=rank, world=4), epoch) for rank in range(4)]
        return set(range(11)) - {sample for rank in ranks for batch in rank for sample in batch}

    assert len(set.union(*map(left_out, range(20)))) == 11


@pytest.mark.parametrize("count", [64, 70])
def test_two_ranks_learn_from_the_samples_of_one_rank_with_twice_the_batch(count):
    alone = epoch_of(train(count, batch_size=16), 2)
    ranks = [epoch_of(train(count, batch_size=8, rank=rank, world=2), 2) for rank in (0, 1)]
    assert [sorted(a + b) for a, b in zip(*ranks, strict=True)] == [sorted(batch) for batch in alone]


def noisy(**options):
    def add_noise(x, generator):
        return x + torch.rand(x.shape, generator=generator)

    return train(transform=add_noise, **options)


def test_the_transform_changes_only_x_and_is_another_in_each_epoch_batch_and_rank():
    batches = list(noisy())
    assert all(torch.equal(x.long() * 10, y) for x, y in batches)
    firsts = [x[0].item() for x, _ in batches]
    firsts += [epoch_of(noisy(), 1)[0][0], epoch_of(noisy(rank=1, world=2), 0)[0][0]]
    assert len({round(first % 1, 4) for first in firsts}) == len(firsts)


def test_a_resumed_epoch_repeats_the_transform():
    assert epoch_of(noisy(position={"epoch": 1, "batch": 2}), 1) == epoch_of(noisy(), 1)[2:]


@settings(max_examples=150, deadline=None)
@given(**grid)
def test_evaluation_counts_each_sample_once_in_order_with_as_many_steps_on_every_rank(count, world, batch_size, epoch):
    if count < world:
        with pytest.raises(ValueError, match="`devices <= samples` must hold"):
            EvalBatches(numbers(count), batch_size=batch_size, rank=0, world=world)
        return
    ranks = [
        [x.tolist() for x, _ in EvalBatches(numbers(count), batch_size=batch_size, rank=rank, world=world)]
        for rank in range(world)
    ]
    assert [sample for rank in ranks for batch in rank for sample in batch] == list(range(count))
    assert len({len(rank) for rank in ranks}) == 1
    sizes = [len(batch) for rank in ranks for batch in rank]
    assert min(sizes) >= 1 and max(sizes) <= max(batch_size, 2 if world > 1 else 1)


def test_a_step_may_change_its_evaluation_batch_in_place():
    batches = EvalBatches(numbers(9), batch_size=4)
    for x, _ in batches:
        x.zero_()
    assert [x.tolist() for x, _ in batches] == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


def test_an_epoch_without_a_batch_is_refused_with_the_law():
    with pytest.raises(ValueError) as error:
        train(20, batch_size=11, world=2, drop_last=True)
    assert str(error.value) == (
        "`batch_size <= samples // devices` must hold with drop_last, but got batch_size=11, samples=20, devices=2"
    )
    with pytest.raises(ValueError, match="`devices <= samples` must hold, but got devices=21, samples=20"):
        train(20, world=21)


@pytest.mark.parametrize(
    ("samples", "batch_size", "drop_last", "sizes"),
    [
        (17, 8, False, [8, 9]),  # a lone last sample joins the batch before it
        (18, 8, False, [8, 8, 2]),
        (17, 8, True, [8, 8]),
        (16, 8, False, [8, 8]),
        (3, 1, False, [1, 1, 1]),
        (1, 8, False, [1]),
    ],
)
def test_no_batch_is_left_with_one_sample_where_others_have_more(samples, batch_size, drop_last, sizes):
    batches = TrainBatches((torch.arange(samples),), batch_size=batch_size, seed=0, drop_last=drop_last)
    served = [batch[0] for batch in batches]
    assert [len(batch) for batch in served] == sizes
    assert len(batches) == len(sizes)
    assert len(torch.cat(served).unique()) == sum(sizes)
