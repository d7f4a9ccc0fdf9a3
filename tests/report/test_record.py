"""run.json, metrics.csv, predictions, the verdict and the card."""

import csv
import io
import json
import math

import pytest
import torch

from stride.report import record
from stride.report.card import card
from stride.report.metrics_csv import MetricsCSV
from stride.report.predictions import write_predictions
from stride.report.verdict import verdict

SCORE = {"name": "val/loss", "mode": "min"}


def started(folder):
    return record.start(folder, task="train", words=["seed=1", "logger.a.api_key=canary"], seed=1, lr=0.1, score=SCORE)


def test_a_record_is_written_whole_at_each_change(tmp_path):
    kept = started(tmp_path)
    assert record.read(tmp_path)["status"] == "running"
    kept.update(status="finished", lr={"used": 0.1}, scores={"val/loss": math.nan})
    told = record.read(tmp_path)
    assert told["status"] == "finished"
    assert told["lr"]["asked"] == told["lr"]["used"] == 0.1
    assert told["scores"] == {"val/loss": None}  # JSON has no NaN
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
    with pytest.raises(KeyError):
        kept.update(statsu="finished")


def test_a_secret_that_was_typed_is_not_told(tmp_path):
    told = started(tmp_path).data
    assert told["overrides"] == ["seed=1", "logger.a.api_key=***"]
    assert "canary" not in (tmp_path / "run.json").read_text()


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    kept = started(tmp_path)
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        kept.update(status="finished")
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "running"
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_other_ranks_keep_a_record_and_write_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kept = started(None)
    kept.update(status="finished")
    assert kept.data["status"] == "finished"
    assert list(tmp_path.iterdir()) == []


def test_a_later_schema_is_not_read_as_ours(tmp_path):
    started(tmp_path)
    data = json.loads((tmp_path / "run.json").read_text()) | {"schema": 2}
    (tmp_path / "run.json").write_text(json.dumps(data))
    with pytest.raises(ValueError, match="schema 1"):
        record.read(tmp_path)


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_what_is_logged_for_a_step_is_one_row_and_late_metrics_widen_the_table(tmp_path):
    logger = MetricsCSV(str(tmp_path))
    logger.log_metrics({"a": 1.0}, step=0)
    logger.log_metrics({"b": 2.0}, step=0)
    logger.log_metrics({"a": 3.0}, step=1)
    logger.log_metrics({"late": 4.0}, step=2)
    logger.finalize("success")
    assert table(tmp_path / "metrics.csv") == [
        {"step": "0", "a": "1.0", "b": "2.0", "late": ""},
        {"step": "1", "a": "3.0", "b": "", "late": ""},
        {"step": "2", "a": "", "b": "", "late": "4.0"},
    ]


def test_predictions_of_all_batches_are_one_table(tmp_path):
    batches = [
        {"class": torch.tensor([1, 2]), "p": torch.tensor([0.5, 0.25])},
        {"class": torch.tensor([0]), "p": torch.ones(1)},
    ]
    assert write_predictions(batches, tmp_path / "predictions.csv") == 3
    assert [(row["index"], row["class"], row["p"]) for row in table(tmp_path / "predictions.csv")] == [
        ("0", "1", "0.5"),
        ("1", "2", "0.25"),
        ("2", "0", "1.0"),
    ]


FALLING = [2.0, 1.5, 1.2, 1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
LEVEL = [2.0, 1.0, 0.5, 0.4, 0.35, 0.33, 0.32, 0.319, 0.318, 0.318]
RISING = [2.0, 1.0, 0.5, 0.4, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
JUMP = [2.0, 1.0, 0.5, 3.0, 0.5, 0.4, 0.3, 0.3, 0.3, 0.3]


@pytest.mark.parametrize(
    ("status", "reason", "train", "val", "says"),
    [
        ("finished", "", LEVEL, LEVEL, "plan done"),
        ("finished", "", FALLING, FALLING, "plan done; still falling"),
        ("finished", "", FALLING, RISING, "plan done; overfitting"),
        ("finished", "", RISING, RISING, "plan done"),  # both rise: that is no overfitting
        ("finished", "", LEVEL, JUMP, "plan done; unstable"),
        ("stopped_early", "no improvement", FALLING, RISING, "stopped early: no improvement; overfitting"),
        ("diverged", "the training loss is nan", [], [], "unstable: the training loss is nan"),
        ("interrupted", "at step 7", [], [], "interrupted at step 7"),
        ("finished", "", [], [], "plan done"),
    ],
)
def test_a_verdict_names_how_the_curves_end(status, reason, train, val, says):
    told = verdict(status, reason, train, val)
    assert told == says if says in ("plan done", "interrupted at step 7") else told.startswith(says)


def test_a_card_tells_score_losses_lr_and_place(tmp_path):
    from rich.console import Console

    kept = started(tmp_path)
    kept.update(
        status="finished",
        scores={"val/loss": 0.25, "test/acc": 0.5},
        lr={"used": 0.1, "peak": 0.0995},
        best_checkpoint="checkpoints/best.ckpt",
        device="cpu",
    )
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(card(tmp_path, kept.data, losses="best: train 0.1", verdict="plan done"))
    text = console.export_text()
    for said in (
        "finished",
        "acc 0.5000",
        "loss 0.2500",
        "best by val/loss",
        "best: train 0.1",
        "plan done",
        "asked 0.1",
    ):
        assert said in text
    assert "largest applied 0.0995" in text
    assert "best.ckpt" in text
