"""Two CPU processes, under Lightning's launcher and under torchrun; other precisions; deterministic kernels."""

import json
from pathlib import Path

import pytest
import torch

import stride
from stride.errors import ConfigError

WITNESS = '''
import hashlib, json
from pathlib import Path
from pytorch_lightning import Callback


class Witness(Callback):
    """Writes what this rank saw: a digest of each sample in each epoch, and of the weights at the end."""

    def __init__(self, folder):
        self.folder, self.seen = Path(folder), {}

    def setup(self, trainer, module, stage):
        self.own_lr = module.lr  # before the first rank has told the others

    def on_train_batch_start(self, trainer, module, batch, index):
        rows = [hashlib.sha1(row.numpy().tobytes()).hexdigest() for row in batch[0]]
        self.seen.setdefault(trainer.current_epoch, []).extend(rows)

    def on_train_end(self, trainer, module):
        weights = hashlib.sha1(b"".join(p.detach().numpy().tobytes() for p in module.network.parameters()))
        told = {"seen": self.seen, "weights": weights.hexdigest(), "scores": {k: float(v) for k, v in
                trainer.callback_metrics.items()}, "lr": module.lr, "own_lr": self.own_lr}
        (self.folder / f"rank-{trainer.global_rank}.json").write_text(json.dumps(told))
'''
YAML = """# Writes down what each rank saw.
witness:
  _target_: witness.seen.Witness
  folder: {folder}
"""
WORDS = ["datamodule=wine", "model=mlp", "model.norm=none", "trainer.max_epochs=3", "datamodule.batch_size=8"]
TWO = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "callbacks=[default,witness]"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "finder"),
    [
        (["train.py"], "on"),
        (["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "train.py"], "thorough"),
    ],
)
def test_two_processes_make_one_run_and_use_each_sample_once(launcher, finder, copy_of_project, command_in, tmp_path):
    files = {"src/witness/seen.py": WITNESS, "conf/callbacks/witness.yaml": YAML.format(folder=tmp_path)}
    project = copy_of_project(files)
    done = command_in(
        project, *launcher, *WORDS, *TWO, "name=both", f"lr_finder={finder}", "callbacks.early_stopping=null"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("both · finished") == 1
    assert [path.name for path in (project / "runs").iterdir()] == ["both"]
    assert len(list(project.rglob("run.json"))) == 1
    record = json.loads((project / "runs" / "both" / "run.json").read_text())
    assert record["device"] == "2 x cpu"
    first, second = (json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in (0, 1))
    assert first["weights"] == second["weights"]
    assert first["lr"] == second["lr"] == record["lr"]["found"]
    assert first["own_lr"] == second["own_lr"] == record["lr"]["found"]
    assert_the_curve_is_of_the_global_batch(project / "runs" / "both", tmp_path)
    assert first["scores"]["val/loss"] == second["scores"]["val/loss"] == record["last"]["val/loss"]
    train = 178 - 2 * 27  # wine, less 15 % for validation and 15 % for test
    for epoch in "012":
        both = first["seen"][epoch] + second["seen"][epoch]
        assert len(both) == len(set(both)) == train - train % 2
    assert first["seen"]["0"] != first["seen"]["1"]
    assert record["steps"] == 3 * -(-(train // 2) // 8)


def assert_the_curve_is_of_the_global_batch(folder, tmp_path):
    """Two ranks sweep as one process does with batches of twice the size; only the first wrote a finding."""
    words = [word for word in WORDS if not word.startswith("datamodule.batch_size=")]
    alone = ["task=tune", "lr_finder.engine=ramp", "datamodule.batch_size=16", f"output_root={tmp_path}", "name=alone"]
    stride.run([*words, *alone])
    both, one = (json.loads((path / "lr_finder" / "curve.json").read_text()) for path in (folder, tmp_path / "alone"))
    assert both["engine"] == "ramp"
    for ours, other in zip(both["curves"], one["curves"], strict=True):
        assert ours["lrs"][:50] == other["lrs"][:50]
        assert ours["losses"][:50] == pytest.approx(other["losses"][:50], rel=1e-4)
    for kind in ("losses", "held_out"):
        told = [torch.tensor(each["trial"][kind]) for each in (both, one)]
        assert len(told[0]) > 5
        torch.testing.assert_close(*told, rtol=0.02, atol=0.002)  # held out: 14 and 13 samples, each half of the mean
    assert len(list(folder.glob("lr_finder/*"))) == 2


@pytest.mark.slow
def test_what_two_processes_refuse_is_one_line_and_leaves_nothing(copy_of_project, command_in):
    project = copy_of_project({})
    words = [*TWO[:-1], "lr_finder=on", "lr_finder.required=true", "lr_finder.max_lr=2e-6", "lr_finder.orders=1"]
    done = command_in(project, "train.py", *WORDS, *words, "name=none")
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert errors[0].startswith("error: lr_finder.required: ")
    assert done.returncode != 0  # 2, unless Lightning has seen its child leave first and killed it
    assert not (project / "runs").exists()


def test_bf16_runs_and_its_weights_stay_in_32_bits(tmp_path):
    words = [*WORDS, "callbacks.progress=null", f"output_root={tmp_path}"]
    outcome = stride.run([*words, "trainer.precision=bf16-mixed", "name=half"])
    assert outcome.status == "finished"
    weights = torch.load(outcome.folder / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    assert {weight.dtype for weight in weights.values() if weight.is_floating_point()} == {torch.float32}
    full = stride.run([*words, "name=full"])
    assert outcome.score != full.score  # it did compute in another precision
    assert outcome.score == pytest.approx(full.score, rel=0.05)


def test_a_deterministic_run_is_the_same_run_again(tmp_path):
    outcomes = [
        stride.run([*WORDS, "deterministic=true", f"name=run{n}", "callbacks.progress=null", f"output_root={tmp_path}"])
        for n in (1, 2)
    ]
    torch.use_deterministic_algorithms(False)
    first, second = (
        torch.load(Path(o.folder) / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for o in outcomes
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert outcomes[0].record["scores"] == outcomes[1].record["scores"]


def test_processes_that_would_each_train_the_whole_run_are_refused(tmp_path, monkeypatch):
    started = {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "GROUP_RANK": 0, "MASTER_PORT": 1}
    for name, value in {**started, "TORCHELASTIC_RUN_ID": "none", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, str(value))
    with pytest.raises(ConfigError, match=r"trainer\.devices: 1 in all, but 2 processes were started"):
        stride.run([*WORDS, "trainer=cpu", f"output_root={tmp_path / 'runs'}", "name=alone"])
    assert list(tmp_path.iterdir()) == []
