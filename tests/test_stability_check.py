"""task=stability: on a quadratic the limit is one; what is drawn, written and printed agrees."""

import json
import math
from pathlib import Path

import pytest
import torch

import stride
from stride import stability_check
from stride.errors import ConfigError
from stride.pipeline import checked, run
from stride.stability_check import begin, first_batches, measure, set_up

LINEAR = ["model=mlp", "model.hidden=[]", "model.norm=none", "datamodule=diabetes", "datamodule.batch_size=80"]
SMALL = ["model=mlp", "model.hidden=[8]", "datamodule=wine"]
STILL = "optimizer.betas=[0.9,0.9999999]"  # a mean square that stays as it was over all descents
OPTIMIZERS = {
    "gradient descent": ["optimizer=sgd", "optimizer.momentum=0"],
    "momentum": ["optimizer=sgd"],
    "L2": ["optimizer=sgd", "optimizer.weight_decay=3"],
    "nesterov": ["optimizer=sgd_nesterov"],
    "adam": ["optimizer=adam", STILL],
    "adamw": ["optimizer=adamw", STILL, "optimizer.weight_decay=0.1"],
    "rmsprop": ["optimizer=rmsprop", "optimizer.alpha=0.9999999", "optimizer.momentum=0.5"],
    "scaled groups": [
        "optimizer=sgd",
        "param_groups=by_regex",
        "param_groups.patterns=[{pattern: 'bias$', lr_scale: 0.1}]",
        "param_groups.no_decay=false",
    ],
}


def measured(words):
    return measure(set_up(checked(["task=stability", *words]).cfg))


def linear_hessian(words):
    """Of the mean squared error, in the order weight, bias, in units of what the optimizer divides gradients by."""
    prepared = set_up(checked(words).cfg)
    optimizer = begin(prepared)
    batches = first_batches(prepared.trainer)
    weight, bias = prepared.module.network.parameters()
    slopes, rows = [], []
    for inputs, targets in batches:
        ones = torch.cat([inputs, torch.ones(len(inputs), 1)], dim=1)
        errors = ones @ torch.cat([weight[0], bias])[:, None] - targets
        slopes.append(2 * (errors * ones).mean(0).detach())
        rows.append(ones)
    rows = torch.cat(rows)
    hessian = 2 * rows.T @ rows / len(rows)
    group, name = optimizer.param_groups[0], type(optimizer).__name__
    hessian += group["weight_decay"] * torch.eye(len(hessian)) * (name != "AdamW")
    divisor = torch.ones(len(hessian))
    if name != "SGD":
        divisor = torch.stack(slopes).square().mean(0).sqrt() + group["eps"]
    scales = {p: group.get("lr_scale", 1.0) for group in optimizer.param_groups for p in group["params"]}
    divisor /= torch.tensor([scales[weight]] * weight.numel() + [scales[bias]])
    shrink = divisor.rsqrt()
    return shrink[:, None] * hessian * shrink


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_on_a_quadratic_the_loss_falls_below_the_ceiling_and_grows_above(name):
    words = [*LINEAR, *OPTIMIZERS[name]]
    found = measured(words)
    expected = torch.linalg.eigvalsh(linear_hessian(words))[-1].item()
    assert found.bounds.sharpness.value == pytest.approx(expected, rel=0.01)
    assert [descent.times for descent in found.descents] == [0.5, 0.9, 1.1, 2.0]
    grown = [descent.losses[-1] / descent.losses[0] for descent in found.descents]
    assert max(grown[:2]) < 1 < 2 < min(grown[2:])
    assert [descent.lr / found.bounds.limit.ceiling for descent in found.descents] == pytest.approx([0.5, 0.9, 1.1, 2])
    assert all(descent.losses[0] == found.descents[0].losses[0] for descent in found.descents)
    assert len(found.descents[0].losses) == stability_check.STEPS + 1


def test_what_is_written_and_drawn_is_what_was_printed(tmp_path, capsys):
    outcome = stride.run(["task=stability", *SMALL, "optimizer=sgd", f"output_root={tmp_path}", "name=shown"])
    shown = capsys.readouterr().out
    told = json.loads((outcome.folder / "stability.json").read_text())
    files = {path.name for path in outcome.folder.iterdir()}
    assert files == {"run.json", "config.yaml", "stability.json", "stability.png", "train.log"}
    lines = {line.split("  ")[0]: line for line in shown.splitlines()}
    numbers = {
        "lambda_max": f"{told['sharpness']['value']:.4g} ",
        "ceiling": f"{told['limit']['ceiling']:.3g} ",
        "safe LR": f"{told['limit']['safe']:.3g} ",
        "critical LR": f"{math.sqrt(told['critical']['low'] * told['critical']['high']):.3g} ",
        "cost": f"{told['gradients']:.0f} ",
    }
    for name, number in numbers.items():
        assert number in lines[name], name
    assert f"{told['sharpness']['products']} products" in lines["lambda_max"]
    assert told["limit"]["why"] in lines["ceiling"]
    for descent in told["descents"]:
        assert f"{descent['lr']:.3g}  {descent['verdict']}" in shown
    assert f"SGD at the initial weights, {told['samples']} samples in {told['batches']} batches" in shown
    assert "it does not choose it" in shown
    record = outcome.record
    assert (record["task"], record["status"], record["lr"]["used"]) == ("stability", "finished", None)
    assert told["limit"]["why"] in record["lr"]["why"]
    assert set(record) == set(json.loads(RECORD.read_text()))


RECORD = Path(__file__).parent / "kept_runs" / "kept-0.1" / "run.json"


def test_each_descent_is_a_line_of_the_picture(monkeypatch, tmp_path):
    from matplotlib.figure import Figure

    saved = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **_: saved.append((figure, path)))
    monkeypatch.setattr(stability_check, "STEPS", 5)
    outcome = stride.run(["task=stability", *SMALL, f"output_root={tmp_path}", "name=drawn"])
    told = json.loads((outcome.folder / "stability.json").read_text())
    ((figure, path),) = saved
    assert path == outcome.folder / "stability.png"
    lines = [line for line in figure.axes[0].lines if not line.get_label().startswith("_")]
    assert [list(line.get_ydata()) for line in lines] == [descent["losses"] for descent in told["descents"]]
    for line, descent in zip(lines, told["descents"], strict=True):
        assert line.get_label() == f"{descent['times']:g} x, LR {descent['lr']:.3g}: {descent['verdict']}"


def test_it_is_the_runs_own_network_and_data_and_leaves_them_as_they_were(monkeypatch):
    monkeypatch.setattr(stability_check, "STEPS", 3)
    words = [*SMALL, "optimizer=adam", "seed=7"]
    prepared = set_up(checked(words).cfg)
    before = {name: value.clone() for name, value in prepared.module.state_dict().items()}
    first, again = measure(prepared), measured(words)
    assert all(torch.equal(value, before[name]) for name, value in prepared.module.state_dict().items())
    assert first.as_dict() == again.as_dict()
    assert first.as_dict() != measured([*words[:-1], "seed=8"]).as_dict()


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "rmsprop"])
def test_a_descent_after_others_is_what_it_would_be_alone(monkeypatch, optimizer):
    monkeypatch.setattr(stability_check, "STEPS", 5)
    words = [*SMALL, f"optimizer={optimizer}"]
    *_, last = measured(words).descents
    monkeypatch.setattr(stability_check, "TIMES", (last.times,))
    assert measured(words).descents == [last]


def test_neither_warm_up_nor_schedule_nor_a_frozen_group_has_a_say(monkeypatch):
    monkeypatch.setattr(stability_check, "STEPS", 3)
    words = [*SMALL, "param_groups=finetune"]
    plain = measured([*words, "warmup=none", "scheduler=constant"]).as_dict()
    for word in ("scheduler=one_cycle", "warmup.length=20%"):
        assert measured([*words, word]).as_dict() == plain
    prepared = set_up(checked([*words, "param_groups.freeze=20%", "optimizer=sgd", "warmup=none"]).cfg)
    optimizer = begin(prepared)
    before = [parameter.detach().clone() for parameter in prepared.module.network.parameters()]
    for parameter in prepared.module.network.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert all((now < then).all() for now, then in zip(prepared.module.network.parameters(), before, strict=True))


def test_weights_of_an_earlier_run_are_where_it_starts(tmp_path, monkeypatch):
    monkeypatch.setattr(stability_check, "STEPS", 1)
    here = [*SMALL, "callbacks.progress=null", f"output_root={tmp_path}"]
    stride.run([*here, "trainer.max_epochs=10", "optimizer.lr=0.03", "logger=none", "name=before"])
    losses = []
    for more in ([], [f"init_from={tmp_path / 'before'}"]):
        folder = stride.run([*here, *more, "task=stability", f"name=after-{len(more)}"]).folder
        losses.append(json.loads((folder / "stability.json").read_text())["descents"][0]["losses"][0])
    assert losses[1] < 0.5 * losses[0]


@pytest.mark.parametrize(
    ("words", "samples", "batches", "of"),
    [
        (["datamodule=wine"], 124, 8, 8),  # all there is
        (["datamodule=digits", "datamodule.batch_size=64"], 512, 8, 20),
        (["datamodule=digits", "datamodule.batch_size=200"], 800, 4, 7),
        (["datamodule=digits", "trainer.limit_train_batches=2"], 128, 2, 2),
        (["datamodule=digits", "debug=one_batch"], 64, 1, 1),
        (["datamodule=text", "datamodule.context=32", "datamodule.max_bytes=100000"], 128, 4, 79),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_it_takes_all_data_where_that_is_little_and_four_batches_at_least(words, samples, batches, of):
    prepared = set_up(checked(words).cfg)
    begin(prepared)
    taken = first_batches(prepared.trainer)
    assert (sum(len(x) for x, _ in taken), len(taken), prepared.trainer.num_training_batches) == (samples, batches, of)


@pytest.mark.parametrize(
    ("optimizer", "told"),
    [
        ("adagrad", "there is none for Adagrad: its steps shrink as it goes, so every LR becomes stable in the end"),
        ("muon", "there is none for MuonAdamW: the known limits are those of SGD, RMSprop, Adam, AdamW"),
        ("nadam", "there is none for NAdam: the known limits are those of SGD, RMSprop, Adam, AdamW"),
    ],
)
def test_an_optimizer_without_a_limit_is_refused_before_torch(refusal, optimizer, told):
    line = refusal(["task=stability", f"optimizer={optimizer}"], "optimizer")
    assert told in line
    assert line.endswith("try: optimizer=adam, or optimizer=sgd")
    assert checked([f"optimizer={optimizer}"])


def test_a_number_out_of_range_is_told_once(refusal):
    with pytest.raises(ConfigError) as refused:
        checked(["task=stability", "optimizer=sgd", "optimizer.momentum=2"])
    assert len(refused.value.faults) == 1


MODELS = """
import torch
from stride.module import LitModule


class Net(torch.nn.Module):
    def __init__(self, features, classes):
        super().__init__()
        self.layer = torch.nn.Linear(features, classes)

    def forward(self, inputs):
        return self.layer(inputs)


class Frozen(Net):
    def __init__(self, features, classes):
        super().__init__(features, classes)
        self.requires_grad_(False)


class Flat(Net):
    def forward(self, inputs):
        return 0 * super().forward(inputs)


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx, inputs):
        ctx.save_for_backward(inputs)
        return inputs.square()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, slope):
        return 2 * slope * ctx.saved_tensors[0]


class Once(Net):
    def forward(self, inputs):
        return Square.apply(super().forward(inputs))


class Twice(Net):
    def forward(self, inputs):
        scores = super().forward(inputs).log_softmax(-1)[:, None]
        lengths = (torch.full((1,), len(inputs)), torch.ones(1, dtype=torch.long))
        return scores[:, 0] + torch.nn.functional.ctc_loss(scores, torch.tensor([[1]]), *lengths)


class NoNumber(Net):
    def forward(self, inputs):
        return super().forward(inputs) / 0


class Own(LitModule):
    def training_step(self, batch, batch_idx):
        return 2 * super().training_step(batch, batch_idx)
"""


@pytest.mark.parametrize(
    ("model", "words", "told"),
    [
        ("Frozen", [], r"error: model: own_for_stability\.Frozen has no parameter to train; all are frozen"),
        ("Flat", [], r"error: task: no LR is too high for a loss that does not bend upwards; its sharpness .* is 0"),
        ("Once", [], "error: task: stability cannot be measured: an operation in the model can be differentiated only"),
        ("Twice", [], "error: task: stability cannot be measured: derivative for aten::_ctc_loss_backward is not impl"),
        ("NoNumber", [], "error: task: stability cannot be measured: the curvature of the loss is not finite"),
        ("Own", [], r"error: model: own_for_stability\.Own has a training_step of its own; the loss is taken of"),
        (
            "Net",
            ["datamodule.batch_size=500", "datamodule.drop_last=true"],
            "error: datamodule.batch_size: `batch_size <= ",
        ),
        ("Net", ["optimizer.dampening=1"], "error: task: stability cannot be measured: `dampening < 1` must hold"),
    ],
)
def test_what_cannot_be_measured_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, model, words, told):
    (tmp_path / "own_for_stability.py").write_text(MODELS)
    monkeypatch.syspath_prepend(tmp_path)
    line = checked([*SMALL, "optimizer=sgd", "task=stability", f"output_root={tmp_path / 'runs'}", *words])
    line.cfg.model = {"_target_": f"own_for_stability.{model}", "features": None, "classes": None}
    if model == "Own":
        network = {"_target_": "own_for_stability.Net", "features": 13, "classes": 3}
        line.cfg.model = {"_target_": "own_for_stability.Own", "network": network}
    with pytest.raises(ConfigError, match=told) as refused:
        run(line)
    assert len(str(refused.value).splitlines()) == 1
    assert not (tmp_path / "runs").exists()


LOADERS = """
import torch
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader, TensorDataset


class Triples(LightningDataModule):
    spec = {"features": 2, "classes": 2}

    def train_dataloader(self):
        data = TensorDataset(torch.randn(40, 2), torch.zeros(40, dtype=torch.long), torch.ones(40))
        return DataLoader(data, 10)


class TooFew(LightningDataModule):
    spec = {"features": 2, "classes": 2}

    def train_dataloader(self):
        return DataLoader(TensorDataset(torch.randn(5, 2), torch.zeros(5, dtype=torch.long)), 10, drop_last=True)
"""


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("Triples", r"error: datamodule: a batch is no pair \(inputs, targets\) of tensors"),
        ("TooFew", "error: task: stability cannot be measured: the training data is smaller than one batch"),
    ],
)
def test_data_without_a_batch_of_inputs_and_targets_is_one_line(tmp_path, monkeypatch, data, told):
    (tmp_path / "loaders_for_stability.py").write_text(LOADERS)
    monkeypatch.syspath_prepend(tmp_path)
    cfg = checked([*SMALL, "optimizer=sgd", "scheduler=constant", "warmup=none"]).cfg
    cfg.datamodule = {"_target_": f"loaders_for_stability.{data}"}
    with pytest.raises(ConfigError, match=told):
        measure(set_up(cfg))


def test_one_process_measures_and_the_others_leave(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(stability_check, "measure", lambda *_, **__: pytest.fail("measured"))
    words = ["task=stability", *SMALL, f"output_root={tmp_path}", "name=other"]
    assert stride.run(words).exit_code == 0
    assert not (tmp_path / "other").exists()


def test_what_the_run_has_and_the_check_leaves_out_is_said():
    words = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.gradient_clip_val=1"]
    said = stability_check.notes(checked([*SMALL, *words, "param_groups=finetune", "param_groups.freeze=10%"]).cfg)
    assert [line.split(":")[0] for line in said] == [
        "gradients are clipped in the run, and not here",
        "a step of the run sees 2 such batches",
        "no group is frozen here; in the run some are for 10%",
    ]
    assert stability_check.notes(checked([*SMALL, "param_groups=finetune"]).cfg) == []
