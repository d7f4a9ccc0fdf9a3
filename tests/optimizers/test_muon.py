"""stride.optimizers.muon: torch's own Muon and AdamW to the bit, in one optimizer that Lightning can hold."""

import io
import math

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.data import DataLoader, TensorDataset

from stride.optimizers.muon import MuonAdamW, orthogonalize

# Singular values after five steps of Newton-Schulz, which does not converge to 1.
BAND = (0.65, 1.25)


def make_network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.LayerNorm(16), nn.Tanh(), nn.Linear(16, 3))


def data():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(32, 6, generator=generator), torch.randn(32, 3, generator=generator)


def backward(network):
    inputs, targets = data()
    loss = nn.functional.mse_loss(network(inputs), targets)
    loss.backward()
    return loss


def train(network, optimizers, steps, lr=lambda step: 0.01):
    for step in range(steps):
        for optimizer in optimizers:
            optimizer.zero_grad()
            for group in optimizer.param_groups:
                group["lr"] = lr(step)
        backward(network)
        for optimizer in optimizers:
            optimizer.step()


def same(left, right):
    return all(torch.equal(a, b) for a, b in zip(left.parameters(), right.parameters(), strict=True))


def matrices_and_rest(network):
    parameters = list(network.parameters())
    return [p for p in parameters if p.ndim == 2], [p for p in parameters if p.ndim < 2]


def names(optimizer):
    return [group.get("name") for group in optimizer.param_groups]


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("momentum, ns_steps", [(0.95, 5), (0.8, 3)])
@pytest.mark.parametrize("betas, eps", [((0.9, 0.999), 1e-8), ((0.8, 0.95), 1e-4)])
def test_twenty_steps_under_a_schedule_are_those_of_torchs_muon_and_adamw(weight_decay, momentum, ns_steps, betas, eps):
    ours, theirs = make_network(), make_network()
    matrices, rest = matrices_and_rest(theirs)
    muon = torch.optim.Muon(
        matrices,
        weight_decay=weight_decay,
        momentum=momentum,
        ns_steps=ns_steps,
        adjust_lr_fn="match_rms_adamw",
    )
    adamw = torch.optim.AdamW(rest, weight_decay=weight_decay, betas=betas, eps=eps)
    both = MuonAdamW(
        ours.parameters(),
        weight_decay=weight_decay,
        momentum=momentum,
        ns_steps=ns_steps,
        betas=betas,
        eps=eps,
    )

    train(ours, [both], steps=20, lr=lambda step: 0.02 / (step + 1))
    train(theirs, [muon, adamw], steps=20, lr=lambda step: 0.02 / (step + 1))
    assert same(ours, theirs)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_a_kernel_learns_as_the_matrix_of_channels_out_by_everything_else(memory_format):
    torch.manual_seed(0)
    kernel = nn.Parameter(torch.randn(8, 4, 3, 3).to(memory_format=memory_format))
    matrix = nn.Parameter(kernel.detach().flatten(1).clone())
    ours = MuonAdamW([kernel], lr=0.1)
    theirs = torch.optim.Muon([matrix], lr=0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        gradient = torch.randn(8, 4, 3, 3)
        kernel.grad, matrix.grad = gradient.to(memory_format=memory_format), gradient.flatten(1)
        ours.step()
        theirs.step()
    assert torch.equal(kernel.flatten(1), matrix)
    assert kernel.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize("shape", [(128, 32), (32, 128), (64, 576), (10, 1024), (1, 7)])
def test_an_update_is_nearly_orthogonal(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    update = orthogonalize(matrix, steps=5).float()
    singular = torch.linalg.svdvals(update)
    least, largest = BAND
    assert least < singular.min()
    assert singular.max() < largest
    # U S' V^T against U S V^T gives the sum of S' S: it falls out of the band where U or V are not the same.
    assert least < (update * matrix).sum() / torch.linalg.svdvals(matrix).sum() < largest


def test_a_zero_gradient_moves_nothing():
    assert torch.equal(orthogonalize(torch.zeros(4, 3), steps=5), torch.zeros(4, 3, dtype=torch.bfloat16))


@pytest.mark.parametrize("shape", [(128, 32), (32, 128), (64, 64, 3, 3), (32, 16, 5)])
@pytest.mark.parametrize("size", [1e-4, 1e4])
def test_a_step_has_an_rms_of_a_fifth_of_the_lr_whatever_the_shape_and_the_gradient(shape, size):
    weights = nn.Parameter(torch.zeros(shape))
    weights.grad = size * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    MuonAdamW([weights], lr=0.5).step()
    least, largest = BAND
    assert least < weights.detach().square().mean().sqrt() / (0.2 * 0.5) < largest


def test_a_mixed_group_becomes_two_with_its_options_and_suffixed_names():
    network = make_network()
    group = {"params": network.parameters(), "name": "all", "lr": 0.25, "weight_decay": 0.0, "note": "kept"}
    optimizer = MuonAdamW([group], lr=0.5)
    matrices, rest = matrices_and_rest(network)
    assert names(optimizer) == ["all_muon", "all_adamw"]
    for found, params in zip(optimizer.param_groups, [matrices, rest], strict=True):
        assert all(a is b for a, b in zip(found["params"], params, strict=True))
        assert (found["lr"], found["weight_decay"], found["note"]) == (0.25, 0.0, "kept")


def test_a_group_of_one_kind_keeps_its_name_and_a_kind_outranks_the_shape():
    network = make_network()
    body, norm, _, head = network
    groups = [
        {"params": [body.weight], "name": "body"},
        {"params": head.parameters(), "name": "head", "kind": "adamw"},
        {"params": [body.bias, *norm.parameters()], "name": "vectors"},
    ]
    optimizer = MuonAdamW(groups)
    assert names(optimizer) == ["body", "head", "vectors"]
    assert [group["kind"] for group in optimizer.param_groups] == ["muon", "adamw", "adamw"]

    reference = make_network()
    muon = torch.optim.Muon([reference[0].weight], weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    rest = [p for p in reference.parameters() if p is not reference[0].weight]
    train(network, [optimizer], steps=5)
    train(reference, [muon, torch.optim.AdamW(rest, weight_decay=0.1)], steps=5)
    assert same(network, reference)


def test_named_parameters_keep_their_names_when_a_group_is_split():
    optimizer = MuonAdamW(make_network().named_parameters())
    assert [group["param_names"] for group in optimizer.param_groups] == [
        ["0.weight", "3.weight"],
        ["0.bias", "1.weight", "1.bias", "3.bias"],
    ]


def test_a_group_that_is_added_later_is_split_too():
    optimizer = MuonAdamW([{"params": make_network().parameters(), "name": "all"}])
    optimizer.add_param_group({"params": nn.Linear(2, 2).parameters(), "name": "late"})
    assert names(optimizer) == ["all_muon", "all_adamw", "late_muon", "late_adamw"]


@pytest.mark.parametrize(
    "options, law",
    [
        ({"lr": -1.0}, "`lr >= 0` must hold, but got lr=-1.0"),
        ({"lr": math.nan}, "`lr >= 0` must hold, but got lr=nan"),
        ({"weight_decay": -0.1}, "`weight_decay >= 0` must hold, but got weight_decay=-0.1"),
        ({"momentum": 1.0}, "`0 <= momentum < 1` must hold, but got momentum=1.0"),
        ({"ns_steps": 0}, "`ns_steps >= 1` must hold, but got ns_steps=0"),
        ({"betas": (0.9, 1.0)}, r"`0 <= beta < 1` must hold, but got betas=\(0.9, 1.0\)"),
        ({"eps": -1e-8}, "`eps >= 0` must hold, but got eps=-1e-08"),
    ],
)
def test_an_option_out_of_range_is_refused_with_its_law(options, law):
    with pytest.raises(ValueError, match=law):
        MuonAdamW(make_network().parameters(), **options)


@pytest.mark.parametrize(
    "shape, kind, law",
    [
        ((4, 4), "adam", '`kind` must be "muon" or "adamw", but got kind=\'adam\''),
        ((4,), "muon", r"`ndim >= 2` must hold in a group with kind=\"muon\", but got shapes \[\(4,\)\]"),
        ((4,), None, "`ndim >= 2` must hold for at least one parameter"),
    ],
)
def test_a_group_that_muon_cannot_serve_is_refused(shape, kind, law):
    with pytest.raises(ValueError, match=law):
        MuonAdamW([{"params": [nn.Parameter(torch.ones(shape))], "kind": kind}])


def test_a_scheduler_moves_each_group_by_its_own_lr():
    frozen, moving = nn.Parameter(torch.ones(4, 4)), nn.Parameter(torch.ones(4, 4))
    groups = [{"params": [frozen], "lr": 0.0}, {"params": [moving], "lr": 0.1}]
    optimizer = MuonAdamW(groups, weight_decay=0.0)
    scheduler = LambdaLR(optimizer, lambda step: 0.5**step)
    sizes = []
    for _ in range(3):
        before = moving.detach().clone()
        frozen.grad = moving.grad = torch.eye(4)
        optimizer.step()
        scheduler.step()
        sizes.append((moving - before).norm().item())
    assert torch.equal(frozen, torch.ones(4, 4))
    assert [sizes[1] / sizes[0], sizes[2] / sizes[1]] == pytest.approx([0.5, 0.5], rel=1e-4)


def test_one_cycle_can_move_the_momentum_of_every_group():
    network = make_network()
    optimizer = MuonAdamW(network.parameters())
    scheduler = OneCycleLR(optimizer, max_lr=0.01, total_steps=4)
    backward(network)
    optimizer.step()
    scheduler.step()
    assert [group["betas"][0] < 0.95 for group in optimizer.param_groups] == [True, True]


def test_step_hooks_fire_once_a_step_and_a_closure_runs_once():
    network = make_network()
    optimizer = MuonAdamW(network.parameters())
    calls = []
    optimizer.register_step_pre_hook(lambda *_: calls.append("before"))
    optimizer.register_step_post_hook(lambda *_: calls.append("after"))
    everywhere = register_optimizer_step_post_hook(lambda *_: calls.append("everywhere"))

    def closure():
        calls.append("closure")
        return backward(network)

    try:
        loss = optimizer.step(closure)
    finally:
        everywhere.remove()
    assert calls == ["before", "closure", "after", "everywhere"]
    assert loss.requires_grad


def test_a_parameter_without_a_gradient_is_left_alone():
    network = make_network()
    network[0].requires_grad_(False)
    before = network[0].weight.clone()
    train(network, [MuonAdamW(network.parameters())], steps=2)
    assert torch.equal(network[0].weight, before)


def test_a_scaled_loss_gives_the_same_steps_and_an_overflow_none():
    plain, scaled = make_network(), make_network()
    train(plain, [MuonAdamW(plain.parameters(), lr=0.01)], steps=1)

    optimizer = MuonAdamW(scaled.parameters(), lr=0.01)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    inputs, targets = data()
    scaler.scale(nn.functional.mse_loss(scaled(inputs), targets)).backward()
    scaler.step(optimizer)
    scaler.update()
    assert same(scaled, plain)

    scaler.scale(torch.tensor(1.0))
    for p in scaled.parameters():
        p.grad = torch.full_like(p, math.inf)
    scaler.step(optimizer)
    assert same(scaled, plain)


def test_a_saved_state_goes_on_to_the_bit():
    through, halfway = make_network(), make_network()
    train(through, [MuonAdamW(through.parameters())], steps=6)

    optimizer = MuonAdamW(halfway.parameters())
    train(halfway, [optimizer], steps=3)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    resumed = MuonAdamW(halfway.parameters())
    resumed.load_state_dict(torch.load(file, weights_only=True))
    train(halfway, [resumed], steps=3)
    assert same(halfway, through)


class Regression(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.network = make_network()
        self.lrs = []

    def training_step(self, batch, batch_idx):
        inputs, targets = batch
        return nn.functional.mse_loss(self.network(inputs), targets)

    def configure_optimizers(self):
        optimizer = MuonAdamW([{"params": self.network.parameters(), "name": "all"}], lr=0.01)
        optimizer.register_step_pre_hook(lambda o, *_: self.lrs.append([g["lr"] for g in o.param_groups]))
        scheduler = LambdaLR(optimizer, lambda step: 1 / (step + 1))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def fit(folder, epochs, checkpoint=None):
    module = Regression()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        callbacks=[ModelCheckpoint(folder, save_last=True)],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = DataLoader(TensorDataset(*data()), batch_size=8)
    trainer.fit(module, loader, ckpt_path=checkpoint, weights_only=True)
    return module


@pytest.mark.filterwarnings("ignore")
def test_lightning_trains_saves_and_resumes_it_to_the_bit(tmp_path):
    through = fit(tmp_path / "through", epochs=2)
    halfway = fit(tmp_path / "halfway", epochs=1)
    resumed = fit(tmp_path / "resumed", epochs=2, checkpoint=tmp_path / "halfway" / "last.ckpt")
    assert same(resumed, through)
    assert not same(halfway, through)
    assert halfway.lrs + resumed.lrs == through.lrs
    assert through.lrs == [pytest.approx([0.01 / (step + 1)] * 2) for step in range(8)]
