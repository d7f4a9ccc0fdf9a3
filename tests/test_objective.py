"""Losses against torch and float64 formulas, metrics in odd batches, and what a predictions file holds."""

import io
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn

from stride.objective import Classification, LanguageModel, Objective, Regression

CONF = Path(__file__).resolve().parents[1] / "conf/objective"
SCORE = {"name": "val/loss", "mode": "min"}


def objective(name: str, *overrides: str) -> Objective:
    """As build makes it: the data's classes filled in."""
    config = OmegaConf.merge(OmegaConf.load(CONF / f"{name}.yaml"), OmegaConf.from_dotlist(list(overrides)))
    if name == "classification":
        config.metrics.acc.num_classes = 4
    return instantiate(config, _convert_="all")


def example(name: str, size: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Output and target of one batch."""
    generator = torch.Generator().manual_seed(seed)
    if name == "regression":
        output, target = torch.randn(2, size, 3, generator=generator)
        return output, target
    shape = (size,) if name == "classification" else (size, 5)
    return torch.randn(*shape, 4, generator=generator), torch.randint(0, 4, shape, generator=generator)


def by_hand(name: str, output: Tensor, target: Tensor, smoothing: float = 0.0) -> float:
    """The loss in float64, from its formula."""
    output = output.double()
    if name == "regression":
        return (output - target.double()).square().mean().item()
    log_p = output - output.exp().sum(-1, keepdim=True).log()
    wanted = F.one_hot(target, 4).double() * (1 - smoothing) + smoothing / 4
    return -(wanted * log_p).sum(-1).mean().item()


NAMES = sorted(path.stem for path in CONF.glob("*.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_is_its_formula(name: str) -> None:
    output, target = example(name)
    assert objective(name)(output, target).item() == pytest.approx(by_hand(name, output, target), rel=1e-5)


@pytest.mark.parametrize("name", ["classification", "language_model"])
@pytest.mark.parametrize("smoothing", [0.1, 0.5])
def test_label_smoothing_spreads_its_share_over_all_classes(name: str, smoothing: float) -> None:
    output, target = example(name)
    loss = objective(name, f"loss.label_smoothing={smoothing}")(output, target)
    assert loss.item() == pytest.approx(by_hand(name, output, target, smoothing), rel=1e-5)


@pytest.mark.parametrize(
    "name, expected",
    [
        ("classification", lambda o, t: {"acc": (o.argmax(-1) == t).double().mean()}),
        (
            "regression",
            lambda o, t: {
                "mae": (o - t).abs().mean(),
                "r2": (1 - (o - t).square().sum(0) / (t - t.mean(0)).square().sum(0)).mean(),
            },
        ),
        ("language_model", lambda o, t: {"perplexity": F.cross_entropy(o.flatten(0, 1), t.flatten()).exp()}),
    ],
)
@pytest.mark.parametrize("sizes", [[7], [4, 1], [1, 1, 1]])
def test_metrics_over_batches_of_any_size_are_those_of_all_samples(name: str, expected, sizes: list[int]) -> None:
    task = objective(name)
    batches = [example(name, size, seed) for seed, size in enumerate(sizes)]
    for output, target in batches:
        for metric in task.metrics.values():
            metric.update(output, target)
    output, target = (torch.cat(parts) for parts in zip(*batches, strict=True))
    values = {key: metric.compute().item() for key, metric in task.metrics.items()}
    assert values == pytest.approx({key: float(value) for key, value in expected(output, target).items()}, rel=1e-4)


def test_macro_accuracy_is_the_mean_over_the_classes() -> None:
    task = objective("classification", "metrics.acc.average=macro")
    output = torch.eye(4)[[0, 0, 0, 0, 1]]  # predicts 0 four times, then 1
    task.metrics["acc"].update(output, torch.tensor([0, 0, 0, 0, 2]))
    assert task.metrics["acc"].compute().item() == pytest.approx(1 / 3)  # of classes 0, 1 and 2: 1, 0 and 0


@pytest.mark.parametrize("name", NAMES)
def test_metrics_never_enter_a_checkpoint(name: str) -> None:
    task = objective(name)
    for metric in task.metrics.values():
        metric.update(*example(name))
    assert not task.state_dict()


def test_weights_of_a_loss_do_enter_a_checkpoint_and_load_as_plain_tensors() -> None:
    task = Classification(loss=nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0])), score=SCORE)
    file = io.BytesIO()
    torch.save(task.state_dict(), file)
    file.seek(0)
    assert torch.load(file, weights_only=True)["loss.weight"].tolist() == [1, 2]


@pytest.mark.parametrize("name", NAMES)
def test_metrics_move_with_the_module(name: str) -> None:
    metrics = objective(name).to("meta").metrics.values()
    assert {metric.device.type for metric in metrics} == {"meta"}


@pytest.mark.parametrize(
    "name, output, target",
    [
        ("regression", (6, 1), (6,)),
        ("regression", (6,), (6, 1)),
        ("regression", (6,), (6,)),
        ("regression", (6, 3), (6, 1)),
        ("regression", (6, 10), (6,)),
        ("classification", (6, 4), (6, 1)),
        ("classification", (6, 4), (5,)),
        ("classification", (6, 1), (6, 1)),
        ("classification", (6, 5, 4), (6, 5)),
        ("language_model", (6, 4), (6,)),
        ("language_model", (6, 5, 4), (6,)),
        ("language_model", (6, 5, 4), (5, 6)),
    ],
)
def test_shapes_that_do_not_agree_are_refused(name: str, output: tuple, target: tuple) -> None:
    task = objective(name)
    label = torch.float32 if name == "regression" else torch.int64
    with pytest.raises(ValueError) as refusal:
        task(torch.zeros(output), torch.zeros(target, dtype=label))
    assert f"but got output {output} and target {target}" in str(refusal.value)


def test_a_refusal_names_the_shapes_that_are_wanted() -> None:
    with pytest.raises(ValueError, match=r"output \(batch, time, vocabulary\) and target \(batch, time\) must agree"):
        objective("language_model")(torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64))


@pytest.mark.parametrize(
    "score",
    [{"name": "val/loss", "mode": "lowest"}, {"name": "", "mode": "min"}, {"name": "val/loss"}, {**SCORE, "by": 1}],
)
def test_a_score_without_a_name_or_with_another_mode_is_refused(score: dict) -> None:
    with pytest.raises(ValueError, match=r"a mode \(min or max\), but got score="):
        Classification(loss=nn.CrossEntropyLoss(), score=score)


def test_the_score_is_plain_data_and_metrics_may_be_left_out() -> None:
    task = instantiate(OmegaConf.create({**OmegaConf.load(CONF / "regression.yaml"), "metrics": None}))
    assert type(task.score) is dict and task.score == SCORE
    assert len(task.metrics) == 0


LOGITS = torch.tensor([[0.0, math.log(3), 0.0, -math.inf], [math.log(6), 0.0, 0.0, math.log(2)]])


def columns(task: Objective, output: Tensor) -> dict[str, list]:
    return {name: column.tolist() for name, column in task.decode(output).items()}


def test_a_class_comes_with_its_probability() -> None:
    decoded = columns(Classification(loss=nn.CrossEntropyLoss(), score=SCORE), LOGITS)
    assert decoded == {"class": [1, 0], "probability": pytest.approx([0.6, 0.6])}


def test_a_token_is_the_one_after_the_last_position() -> None:
    text = torch.stack([LOGITS.flip(1), LOGITS], dim=1)
    decoded = columns(LanguageModel(loss=nn.CrossEntropyLoss(), score=SCORE), text)
    assert decoded == {"token": [1, 0], "probability": pytest.approx([0.6, 0.6])}


@pytest.mark.parametrize(
    "output, expected",
    [
        ([[1.5], [2.5]], {"value": [1.5, 2.5]}),
        ([[1.5, 3.0], [2.5, 4.0]], {"value_0": [1.5, 2.5], "value_1": [3.0, 4.0]}),
    ],
)
def test_a_value_is_a_column_and_several_are_numbered(output: list, expected: dict) -> None:
    assert columns(Regression(loss=nn.MSELoss(), score=SCORE), torch.tensor(output)) == expected


@pytest.mark.parametrize("name", NAMES)
def test_every_column_of_a_half_precision_output_can_be_written(name: str) -> None:
    output, _ = example(name)
    decoded = objective(name).decode(output.bfloat16())
    assert [column.numpy().shape for column in decoded.values()] == [(6,)] * len(decoded)


def test_a_probability_is_computed_in_float32_from_half_precision_too() -> None:
    output = torch.zeros(1, 3, dtype=torch.bfloat16)
    decoded = Classification(loss=nn.CrossEntropyLoss(), score=SCORE).decode(output)
    assert decoded["probability"].item() == pytest.approx(1 / 3, abs=1e-6)


def test_an_objective_without_decode_says_so() -> None:
    with pytest.raises(NotImplementedError, match=r"Objective has no decode\(output\)"):
        Objective(loss=nn.MSELoss(), score=SCORE).decode(torch.zeros(1))
