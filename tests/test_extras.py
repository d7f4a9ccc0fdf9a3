"""Loggers that are extras, each against its real package, offline (uv run --extra wandb --extra mlflow pytest ...)."""

import pytest

import stride

SMALL = ["model=mlp", "trainer.max_epochs=2", "callbacks.progress=null"]


def test_wandb_writes_an_offline_run_into_the_run_folder(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="extra: uv run --extra wandb pytest")
    monkeypatch.setenv("WANDB_SILENT", "true")
    words = [*SMALL, "logger=[csv,wandb]", "logger.wandb.offline=true", "name=w", f"output_root={tmp_path}"]
    outcome = stride.run(words)
    import wandb

    wandb.finish()
    assert list((outcome.folder / "wandb").glob("offline-run-*/*.wandb"))
    assert outcome.record["scores"]["test/acc"] > 0


def test_mlflow_keeps_the_runs_metrics_in_one_file_beside_the_runs(tmp_path):
    mlflow = pytest.importorskip("mlflow", reason="extra: uv run --extra mlflow pytest")
    outcome = stride.run([*SMALL, "logger=[csv,mlflow]", "name=m", f"output_root={tmp_path}"])
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (experiment,) = [found for found in client.search_experiments() if found.name == "stride"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.metrics["val/loss"] == pytest.approx(outcome.record["last"]["val/loss"], rel=1e-6)
