"""task=plan shows what a run then does, without doing it."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

import stride
from stride.cli import main
from stride.errors import ConfigError
from stride.pipeline import checked
from stride.preview import preview

ROOT = Path(__file__).resolve().parents[1]
SMALL = ["model=mlp", "model.hidden=[8]", "datamodule=wine", "callbacks.progress=null", "logger=none"]


def table(path):
    with path.open(newline="") as file:
        return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]


@pytest.mark.parametrize(
    "words",
    [
        ["trainer.max_epochs=3"],
        ["trainer.max_epochs=3", "param_groups=no_decay", "scheduler=one_cycle", "optimizer=sgd"],
        ["trainer.max_epochs=3", "trainer.accumulate_grad_batches=3", "warmup.length='2 epochs'"],
        ["trainer.max_epochs=-1", "trainer.max_steps=20", "scheduler=wsd"],
        ["trainer.max_epochs=-1", "trainer.max_steps=20", "scheduler=step", "scheduler.every='1 epoch'"],
        ["trainer.max_epochs=3", "optimizer=muon"],
    ],
    ids=" ".join,
)
def test_the_plan_is_what_the_run_then_uses(tmp_path, words):
    planned = stride.run([*SMALL, *words, "task=plan", f"output_root={tmp_path}", "name=planned"])
    ran = stride.run([*SMALL, *words, f"output_root={tmp_path}", "name=ran"])
    before, after = table(planned.folder / "plan.csv"), table(ran.folder / "lr_trace.csv")
    assert len(before) == len(after) == ran.record["steps"]
    for plan, used in zip(before, after, strict=True):
        assert plan == pytest.approx({key: used[key] for key in plan}, rel=1e-12, abs=1e-15)
    assert planned.record["lr"]["peak"] == pytest.approx(ran.record["lr"]["peak"])
    assert (planned.record["task"], planned.record["status"]) == ("plan", "finished")
    files = {path.name for path in planned.folder.iterdir()}
    assert files == {"plan.csv", "plan.png", "run.json", "config.yaml"}


RINGS = """
import torch
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader, TensorDataset


class Loader(LightningDataModule):
    spec = {"features": 2, "classes": 2}

    def train_dataloader(self):
        data = TensorDataset(torch.randn(101, 2), torch.zeros(101, dtype=torch.long))
        return DataLoader(data, 10, shuffle=True)
"""


@pytest.mark.parametrize(("devices", "limit", "batches"), [(1, 1.0, 11), (4, 1.0, 3), (4, 2, 2), (2, 0.5, 2)])
def test_several_devices_share_the_samples_of_torchs_loaders(tmp_path, monkeypatch, devices, limit, batches):
    (tmp_path / "rings_for_plan.py").write_text(RINGS)
    monkeypatch.syspath_prepend(tmp_path)
    cfg = checked([*SMALL, "trainer=cpu", f"trainer.devices={devices}", f"trainer.limit_train_batches={limit}"]).cfg
    cfg.datamodule = {"_target_": "rings_for_plan.Loader"}
    found = preview(cfg)
    assert found.plan.horizon.steps == batches * cfg.trainer.max_epochs
    assert found.loaded == "the length of an epoch"


def test_several_devices_share_the_samples_of_our_loaders():
    words = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.max_epochs=3"]
    assert preview(checked([*SMALL, *words]).cfg).plan.horizon.steps == 3 * 4  # 124 samples, 2 ranks, batches of 16


def test_several_schedules_are_one_picture(tmp_path, capsys):
    words = ["trainer.max_epochs=2", f"output_root={tmp_path}", "name=several"]
    assert main(["-m", "task=plan", *SMALL, "scheduler=cosine,wsd,one_cycle", *words]) == 0
    folder = tmp_path / "several"
    assert list(table(folder / "plan.csv")[0]) == ["step", "cosine", "wsd", "one_cycle"]
    assert not (folder / "study.journal").exists()
    shown = capsys.readouterr().out
    assert "one_cycle brings its own warm-up" in shown
    assert json.loads((folder / "run.json").read_text())["command"].startswith("python train.py -m task=plan")


def test_swept_values_are_told_apart(tmp_path):
    words = ["param_groups=no_decay", "trainer.max_epochs=2", f"output_root={tmp_path}", "name=several"]
    assert main(["-m", "task=plan", *SMALL, "optimizer.lr=0.1,0.01", *words]) == 0
    names = list(table(tmp_path / "several" / "plan.csv")[0])
    assert names == ["step", *(f"optimizer.lr={lr}/{group}" for lr in (0.1, 0.01) for group in ("decay", "no_decay"))]


def test_a_length_in_steps_needs_no_torch(tmp_path):
    words = ["task=plan", "trainer.max_epochs=-1", "trainer.max_steps=1000", f"output_root={tmp_path}", "name=quick"]
    code = (
        "import sys; from stride.cli import main; code = main(sys.argv[1:]); "
        "sys.exit(code or any(name in sys.modules for name in ('torch', 'pytorch_lightning', 'sklearn')))"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "data was loaded" not in done.stdout
    assert len(table(tmp_path / "quick" / "plan.csv")) == 1000


def test_a_dead_warm_up_is_warned_of(tmp_path, capsys):
    main(["task=plan", *SMALL, "trainer.max_epochs=1", f"output_root={tmp_path}", "name=dead"])
    assert "warning: cosine: the warm-up is one step of 8 at most" in capsys.readouterr().out


def test_a_model_with_optimizers_of_its_own_is_refused_and_nothing_is_left(tmp_path, monkeypatch):
    (tmp_path / "plain_for_plan.py").write_text(
        "import torch\nfrom pytorch_lightning import LightningModule\n\n"
        "class Plain(LightningModule):\n"
        "    def __init__(self):\n        super().__init__()\n        self.layer = torch.nn.Linear(13, 3)\n"
        "    def training_step(self, batch, _):\n        return self.layer(batch[0]).sum()\n"
        "    def configure_optimizers(self):\n        return torch.optim.SGD(self.parameters(), lr=0.1)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    cfg = checked([*SMALL]).cfg
    cfg.model = {"_target_": "plain_for_plan.Plain"}
    with pytest.raises(ConfigError, match=r"plain_for_plan\.Plain configures its optimizers by itself"):
        preview(cfg)
