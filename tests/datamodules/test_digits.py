import pytest
import torch
from sklearn.datasets import load_digits

from stride.datamodules.digits import Digits, shifted


def digits(**options):
    data = Digits(**{"batch_size": 64, "seed": 0, **options})
    data.setup("fit")
    return data


def test_the_parts_are_together_all_images_scaled_to_one():
    data = digits()
    images = torch.cat([data.train[0], data.val[0], data.test[0]])
    raw = torch.from_numpy(load_digits().images).float()
    assert images.shape == (1797, 1, 8, 8)
    assert sorted((images * 16).flatten(1).tolist()) == sorted(raw.flatten(1).tolist())


def test_each_part_holds_the_classes_in_proportion():
    data = digits()
    for _, y in (data.train, data.val, data.test):
        assert y.bincount() / len(y) == pytest.approx(
            torch.from_numpy(load_digits().target).bincount() / 1797, abs=0.01
        )


def test_the_split_depends_on_split_seed_and_not_on_the_runs_seed():
    assert digits(seed=1).train[0].equal(digits(seed=2).train[0])
    assert not digits(split_seed=1).train[0].equal(digits(split_seed=2).train[0])


def test_the_spec_fits_what_is_served():
    data = digits()
    spec = data.spec
    x, y = next(iter(data.train_dataloader()))
    assert x.shape == (64, spec["channels"], spec["height"], spec["width"])
    assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
    assert x.flatten(1).shape[1] == spec["features"]
    assert data.train[1].unique().tolist() == list(range(spec["classes"]))


def test_a_shift_moves_each_image_by_its_own_offset_and_fills_with_background():
    images = torch.zeros(200, 2, 5, 6)
    images[:, :, 2, 3] = torch.tensor([1.0, 2.0])  # a dot for each channel
    moved = shifted(images, torch.Generator().manual_seed(0), pixels=1)
    assert moved.sum(dim=(2, 3)).equal(images.sum(dim=(2, 3)))
    places = {tuple(place) for place in moved[:, 1].nonzero()[:, 1:].tolist()}
    assert places == {(row, column) for row in (1, 2, 3) for column in (2, 3, 4)}
    assert moved[:, 1].equal(2 * moved[:, 0])


def test_what_is_shifted_out_is_lost_and_background_comes_in():
    moved = shifted(torch.ones(50, 1, 4, 4), torch.Generator().manual_seed(0), pixels=1)
    assert set(moved.sum(dim=(1, 2, 3)).tolist()) == {16.0, 12.0, 9.0}


def test_training_images_move_and_evaluation_images_do_not():
    still = next(iter(digits(shift=0).train_dataloader()))
    moving = next(iter(digits(shift=1).train_dataloader()))
    assert still[1].equal(moving[1]) and not still[0].equal(moving[0])
    assert torch.cat([x for x, _ in digits(shift=1).val_dataloader()]).equal(digits().val[0])


@pytest.mark.parametrize("shift", [-1, 8])
def test_a_shift_out_of_range_is_refused_with_the_law(shift):
    with pytest.raises(ValueError, match=rf"`0 <= shift < 8` \(pixels\) must hold, but got shift={shift}"):
        digits(shift=shift)
