"""The corridor from end to end: what a run leaves, and what can be done with it afterwards."""

import csv
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import stride
from stride import pipeline
from stride.errors import ConfigError
from stride.lr.schedule import cosine
from stride.pipeline import checked

ROOT = Path(__file__).resolve().parents[1]
SMALL = ["model=mlp", "callbacks.progress=null", "trainer.log_every_n_steps=5"]
WINE = ["datamodule=wine", "model=mlp", "model.hidden=[8]", "callbacks.progress=null", "logger=none"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("project") / "runs"


@pytest.fixture(scope="module")
def outcome(runs):
    words = [
        *SMALL,
        "name=first",
        "trainer.max_epochs=4",
        "optimizer.lr=3e-3",
        "warmup.length='8 steps'",
        "model.dropout=0.1",
    ]
    return stride.run([*words, f"output_root={runs}"])


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_record_has_exactly_the_fields_of_schema_1(outcome):
    record = json.loads((outcome.folder / "run.json").read_text())
    assert record == outcome.record
    assert list(record) == [
        "schema", "id", "task", "status", "command", "overrides", "seed", "lr", "steps", "epochs", "seconds",
        "scores", "last", "score", "best_checkpoint", "resume", "device", "versions", "git",
    ]  # fmt: skip
    assert list(record["lr"]) == ["asked", "found", "used", "peak", "why", "interventions"]
    assert list(record["seconds"]) == ["setup", "tune", "fit", "test"]
    assert record["schema"] == 1
    assert record["status"] == "finished"
    assert record["task"] == "train"
    assert set(record["scores"]) == {"val/loss", "val/acc", "test/loss", "test/acc"}
    assert set(record["last"]) == {"val/loss", "val/acc", "train/loss"}
    assert record["score"]["value"] == record["scores"]["val/loss"] == outcome.score
    assert record["device"] == "cpu"


def test_the_trace_is_the_plan(outcome):
    traced = rows(outcome.folder / "lr_trace.csv")
    total = outcome.record["steps"]
    law = cosine(total=total)
    assert [int(row["step"]) for row in traced] == list(range(total))
    planned = [3e-3 * min(1, (step + 1) / 8) * law(step) for step in range(total)]
    assert [float(row["all"]) for row in traced] == pytest.approx(planned, rel=1e-12, abs=1e-15)
    assert outcome.record["lr"]["peak"] == pytest.approx(max(planned))


def test_metrics_and_tensorboard_tell_the_same(outcome):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    events = EventAccumulator(str(outcome.folder / "tensorboard"))
    events.Reload()
    tags = set(events.Tags()["scalars"])
    assert {"train/loss", "grad/norm", "epoch", "lr/all", "val/loss", "val/acc", "test/loss", "test/acc"} <= tags
    assert "hp_metric" not in tags
    assert "hp/test/acc" in tags
    hparams = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    told = HParamsPluginData.FromString(hparams).session_start_info.hparams
    assert told["lr"].number_value == 3e-3
    assert told["model.dropout"].number_value == 0.1  # typed, as what a sweep goes through
    table = rows(outcome.folder / "metrics.csv")
    for tag in ("train/loss", "val/loss", "lr/all", "grad/norm"):
        told = {int(row["step"]): float(row[tag]) for row in table if row[tag]}
        assert told == pytest.approx({event.step: event.value for event in events.Scalars(tag)}, rel=1e-5), tag
    steps = [int(row["step"]) for row in table]
    assert steps == sorted(set(steps))


def test_checkpoints_load_as_weights_only_where_stride_was_never_imported(outcome):
    script = (
        "import sys, torch\n"
        "for path in sys.argv[1:]:\n"
        "    ckpt = torch.load(path, weights_only=True)\n"
        "    print(ckpt['global_step'], len(ckpt['state_dict']) > 0, 'stride' in sys.modules)"
    )
    paths = [str(outcome.folder / "checkpoints" / name) for name in ("best.ckpt", "last.ckpt")]
    done = subprocess.run([sys.executable, "-c", script, *paths], capture_output=True, text=True)
    steps, *told = zip(*(line.split() for line in done.stdout.splitlines()), strict=True)
    assert told == [("True", "True"), ("False", "False")], done.stderr
    assert int(steps[1]) == outcome.record["steps"]


def test_a_loaded_run_predicts_what_was_scored(outcome):
    module = stride.load(outcome.folder)
    assert not module.training
    data = stride_data(outcome)
    correct = total = 0
    with torch.no_grad():
        for inputs, targets in data.test_dataloader():
            correct += int((module(inputs).argmax(-1) == targets).sum())
            total += len(targets)
    assert correct / total == pytest.approx(outcome.record["scores"]["test/acc"], abs=1e-6)


def stride_data(outcome):
    from omegaconf import OmegaConf

    from stride import build

    return build.datamodule(OmegaConf.load(outcome.folder / "config.yaml"))[0]


def test_a_run_is_tested_again_from_its_own_config_and_its_record_stays(outcome, capsys):
    before = (outcome.folder / "run.json").read_bytes()
    again = stride.run(["task=test", f"run={outcome.folder}"])
    assert again.folder == outcome.folder / "test-1"
    for name in ("test/loss", "test/acc"):
        assert again.record["scores"][name] == pytest.approx(outcome.record["scores"][name], abs=1e-6)
    assert stride.run(["task=validate", f"run={outcome.folder}"]).record["scores"]["val/loss"] == pytest.approx(
        outcome.score, abs=1e-6
    )
    assert (outcome.folder / "run.json").read_bytes() == before
    assert "test/acc" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["csv", "npz"])
def test_predictions_are_a_file_with_a_row_a_sample(outcome, kind):
    import numpy as np

    done = stride.run(["task=predict", f"run={outcome.folder}", f"predictions={kind}"])
    path = done.folder / f"predictions.{kind}"
    classes = [int(row["class"]) for row in rows(path)] if kind == "csv" else np.load(path)["class"].tolist()
    targets = torch.cat([batch[1] for batch in stride_data(outcome).test_dataloader()]).tolist()
    right = sum(a == b for a, b in zip(classes, targets, strict=True)) / len(targets)
    assert right == pytest.approx(outcome.record["scores"]["test/acc"], abs=1e-6)


def test_another_choice_for_a_finished_run_is_refused(outcome):
    with pytest.raises(ConfigError, match="error: model: cannot become 'cnn' in a run that was trained"):
        checked(["task=test", f"run={outcome.folder}", "model=cnn"])


def test_a_folder_is_never_shared(outcome, runs):
    before = sorted(path.name for path in outcome.folder.rglob("*"))
    with pytest.raises(ConfigError, match=r"error: name: the run in .*first is finished"):
        stride.run([*SMALL, "model.dropout=0.1", "name=first", f"output_root={runs}"])
    assert sorted(path.name for path in outcome.folder.rglob("*")) == before


def test_what_only_a_constructor_refuses_leaves_no_folder(runs):
    with pytest.raises(ConfigError, match=r"error: model: .*needs channels"):
        stride.run(["datamodule=wine", "model=cnn", "name=refused", f"output_root={runs}"])
    assert not (runs / "refused").exists()


def test_a_run_that_diverges_says_so_and_keeps_no_bad_checkpoint(runs, capsys):
    words = [*SMALL, "optimizer=sgd", "optimizer.lr=1e9", "warmup=none", "name=diverged", f"output_root={runs}"]
    outcome = stride.run(words)
    assert outcome.exit_code == 4
    assert outcome.status == "diverged"
    assert "unstable" in capsys.readouterr().out
    for path in (outcome.folder / "checkpoints").glob("*.ckpt"):
        weights = torch.load(path, weights_only=True)["state_dict"].values()
        assert all(bool(torch.isfinite(weight).all()) for weight in weights), path


def test_of_several_checkpoints_the_best_is_tested_and_not_the_newest(runs):
    words = [*SMALL, "optimizer.lr=0.05", "scheduler=constant", "warmup=none", "trainer.max_epochs=12"]
    words += ["callbacks.checkpoint_best.save_top_k=3", "callbacks.checkpoint_best.filename='best-{step}'"]
    outcome = stride.run([*words, "name=three", f"output_root={runs}"])
    names = {path.name for path in (outcome.folder / "checkpoints").iterdir()}
    assert len(names) == 5
    assert {"last.ckpt", "last-2.ckpt"} < names
    again = stride.run(["task=validate", f"run={outcome.folder}"])
    assert again.record["scores"]["val/loss"] == pytest.approx(outcome.score, abs=1e-6)
    assert outcome.score < outcome.record["last"]["val/loss"]  # else this run could not tell


def test_early_stopping_waits_its_part_of_the_run_and_is_told(runs, capsys):
    words = [
        *SMALL,
        "trainer.max_epochs=20",
        "callbacks.early_stopping.min_delta=1000",
        "name=stopped",
        f"output_root={runs}",
    ]
    outcome = stride.run(words)
    assert outcome.status == "stopped_early"
    assert outcome.record["epochs"] == 1 + math.ceil(20 * 0.3)  # the first is the best; then 30 % of 20 epochs
    assert "stopped early" in capsys.readouterr().out


def test_without_callbacks_and_loggers_only_the_record_is_left(runs):
    words = ["model=mlp", "callbacks=none", "logger=none", "trainer.max_epochs=1", "name=bare", f"output_root={runs}"]
    outcome = stride.run(words)
    left = {path.name for path in outcome.folder.iterdir()}
    assert left == {"run.json", "config.yaml", "train.log"}
    assert outcome.record["scores"]["test/acc"] > 0


def test_secrets_are_not_written(runs):
    words = [*SMALL, "debug=one_batch", "logger=csv", "name=secret", f"output_root={runs}"]
    line = checked(words)
    line.cfg.logger.csv["api_key"] = "canary-1"
    line.cfg.trainer["plugins"] = None
    from stride.report.record import Record

    folder = runs / "secret"
    folder.mkdir()
    Record(folder, {}).save_config(line.cfg)
    assert "canary-1" not in (folder / "config.yaml").read_text()
    assert "api_key: '***'" in (folder / "config.yaml").read_text()


def test_a_new_run_starts_from_old_weights_and_with_a_new_plan(tmp_path, capsys):
    words = [*WINE, f"output_root={tmp_path}"]
    old = stride.run([*words, "name=old", "trainer.max_epochs=3"])
    words = [*words, f"init_from={old.folder}", "param_groups=finetune", "param_groups.freeze=100%"]
    new = stride.run([*words, "name=new", "trainer.max_epochs=1"])
    assert "tensors from" in capsys.readouterr().out
    before, after = (stride.load(run.folder).network for run in (old, new))
    assert torch.equal(before.layers[1].weight, after.layers[1].weight)  # the backbone, frozen to the end
    assert not torch.equal(before.layers[-1].weight, after.layers[-1].weight)
    traced = rows(new.folder / "lr_trace.csv")
    assert [int(row["step"]) for row in traced] == list(range(8))
    assert {row["backbone_decay"] for row in traced} == {"0.0"}


def test_the_finder_sweeps_from_the_old_weights_too(tmp_path, monkeypatch):
    old = stride.run([*WINE, f"output_root={tmp_path}", "name=old", "trainer.max_epochs=1"])
    loaded = []
    real = pipeline.load_weights
    monkeypatch.setattr(
        pipeline, "load_weights", lambda module, source, **_: loaded.append(source) or real(module, source)
    )
    words = [f"init_from={old.folder}", "lr_finder=on", "lr_finder.picker=divergence", "trainer.max_epochs=1"]
    outcome = stride.run([*WINE, f"output_root={tmp_path}", *words])
    assert outcome.record["lr"]["found"]
    assert len(loaded) == 3  # the sweep, its trial, and the run


@pytest.mark.parametrize(
    ("words", "shown"),
    [([], True), (["callbacks.progress=null"], False), (["trainer.enable_progress_bar=false"], False)],
    ids=["default", "no callback", "none of the trainer"],
)
def test_the_finder_shows_a_bar_where_the_run_would(tmp_path, monkeypatch, words, shown):
    asked = []

    def finder(*_, bar):
        asked.append(bar)
        raise ConfigError

    monkeypatch.setattr(pipeline.build, "finder", lambda cfg: finder)
    with pytest.raises(ConfigError):
        stride.run(["task=tune", *words, f"output_root={tmp_path}"])
    assert asked == [shown]


def test_the_lr_follows_the_batch_and_says_the_sum(tmp_path, capsys):
    words = ["lr_scaling=sqrt", "lr_scaling.reference_batch=4", "trainer.accumulate_grad_batches=4"]
    outcome = stride.run([*WINE, *words, f"output_root={tmp_path}", "trainer.max_epochs=1"])
    assert outcome.record["lr"]["asked"] == 0.001
    assert outcome.record["lr"]["used"] == pytest.approx(0.004)
    said = "lr 0.004 = 0.001 x sqrt(64/4), batch 16 x 1 x 4 (samples a device, devices, accumulated)"
    assert outcome.record["lr"]["why"] == said
    assert said in capsys.readouterr().out
