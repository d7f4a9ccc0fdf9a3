"""Cross-validation from end to end: each fold a run of its own, their mean, and what stops or goes on."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from pytorch_lightning import LightningDataModule
from torch.utils.data import ConcatDataset, DataLoader, Subset, TensorDataset

import stride
from stride import build, folds, trial_link
from stride.callbacks.history import History
from stride.errors import ConfigError, Fault
from stride.pipeline import checked

WINE = ["datamodule=wine", "model=mlp", "model.hidden=[8]", "optimizer.lr=0.01", "trainer.max_epochs=2"]
SMALL = [*WINE, "callbacks.progress=null", "logger=csv"]
THREE = [*SMALL, "cv.folds=3"]
BARE = [*WINE, "callbacks=none", "logger=none", "test=false", "cv.folds=3"]  # for what files and weights say nothing of


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("project") / "runs"


@pytest.fixture(scope="module")
def whole(runs):
    return stride.run([*THREE, "name=whole", f"output_root={runs}"])


def told(folder):
    return json.loads((folder / "run.json").read_text())


def weights(folder):
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def same_weights(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_the_record_holds_means_and_standard_errors_of_the_folds_beside_it(whole):
    record = told(whole.folder)
    assert record == json.loads(json.dumps(whole.record))
    each = [told(whole.folder / f"fold-{number}") for number in range(3)]
    assert [fold["task"] for fold in each] == ["train"] * 3
    assert record["status"] == "finished" and whole.exit_code == 0
    assert set(record["scores"]) == {"val/loss", "val/acc", "test/loss", "test/acc"}
    for name, value in record["scores"].items():
        values = [fold["scores"][name] for fold in each]
        assert value == pytest.approx(np.mean(values), rel=1e-12)
        error = record["folds"]["standard_error"][name]
        assert error == pytest.approx(np.std(values, ddof=1) / np.sqrt(3), rel=1e-9)
    assert record["score"] == {"name": "val/loss", "mode": "min", "value": record["scores"]["val/loss"]}
    assert whole.score == record["score"]["value"]
    assert record["folds"]["each"] == [
        {"name": f"fold-{number}", "status": "finished", "score": fold["score"]["value"]}
        for number, fold in enumerate(each)
    ]
    assert record["steps"] == sum(fold["steps"] for fold in each)
    assert "folds" not in each[0]


def test_a_fold_is_a_whole_run_in_the_folder_of_the_whole(whole):
    assert {path.name for path in whole.folder.iterdir()} == {
        "run.json", "config.yaml", "curves.png", "fold-0", "fold-1", "fold-2",
    }  # fmt: skip
    for number in range(3):
        left = {path.name for path in (whole.folder / f"fold-{number}").iterdir()}
        assert {"run.json", "config.yaml", "checkpoints", "metrics.csv", "lr_trace.csv", "train.log"} <= left
    own = OmegaConf.load(whole.folder / "fold-1" / "config.yaml")
    assert own.cv == {"folds": 3, "splitter": "auto", "repeats": 1, "fold": 1}
    assert OmegaConf.load(whole.folder / "config.yaml").cv.fold is None


def test_the_line_of_a_fold_is_that_fold_alone_with_the_same_weights(whole, tmp_path):
    words = [word for word in told(whole.folder / "fold-1")["overrides"] if not word.startswith("output_root=")]
    assert words == [*THREE, "cv.fold=1", "name=fold-1"]
    alone = stride.run([*words, f"output_root={tmp_path}"])
    assert alone.record["scores"] == told(whole.folder / "fold-1")["scores"]
    assert same_weights(weights(alone.folder), weights(whole.folder / "fold-1"))
    assert not same_weights(weights(alone.folder), weights(whole.folder / "fold-0"))


@pytest.mark.parametrize("task", ["validate", "test"])
def test_a_fold_is_evaluated_again_on_its_own_samples(whole, task):
    again = stride.run([f"task={task}", f"run={whole.folder / 'fold-2'}"])
    name = {"validate": "val/loss", "test": "test/loss"}[task]
    assert again.record["scores"][name] == pytest.approx(told(whole.folder / "fold-2")["scores"][name], abs=1e-6)
    module = stride.load(whole.folder / "fold-2")
    data, _ = build.datamodule(OmegaConf.load(whole.folder / "fold-2" / "config.yaml"))
    with torch.no_grad():
        hit = (module(data.val[0]).argmax(-1) == data.val[1]).float().mean()
    assert float(hit) == pytest.approx(told(whole.folder / "fold-2")["scores"]["val/acc"], abs=1e-6)


def test_a_report_has_one_row_for_all_folds(whole, runs):
    from stride.report.table import read_row, run_folders

    rows = [read_row(folder, folder.name) for folder in run_folders(whole.folder.parent) if folder == whole.folder]
    assert [(row.name, row.status, row.score) for row in rows] == [("whole", "finished", whole.score)]
    assert not [folder for folder in run_folders(runs) if folder.name.startswith("fold-")]


def test_the_screen_says_which_fold_it_is_and_ends_with_the_means(tmp_path, capsys):
    outcome = stride.run([*BARE[:-1], "cv.folds=2", "name=seen", f"output_root={tmp_path}"])
    said = capsys.readouterr().out
    assert said.index("fold 1 of 2: seen/fold-0") < said.index("fold 2 of 2: seen/fold-1")
    card = said[said.index("cross-validation") :]
    error = outcome.record["folds"]["standard_error"]["val/loss"]
    assert f"{outcome.score:.4f} ± {error:.4f}   (the score)" in card
    assert "mean ± standard error of 2 folds" in card


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (THREE, "the cross-validation in .*whole is finished; .*; try: name=whole-2"),
        ([*SMALL, "cv.folds=4"], "the cross-validation in .*whole is finished"),
        (SMALL, "whole holds a cross-validation; try: name=whole-2"),
    ],
    ids=["again", "more folds", "a single run"],
)
def test_a_finished_one_is_left_as_it_was(whole, runs, words, said):
    before = {path: path.read_bytes() for path in whole.folder.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match=f"error: name: .*{said}"):
        stride.run([*words, "name=whole", f"output_root={runs}"])
    assert {path: path.read_bytes() for path in whole.folder.rglob("*") if path.is_file()} == before


def test_a_single_run_does_not_become_one(tmp_path):
    outcome = stride.run([*SMALL, "name=alone", f"output_root={tmp_path}"])
    before = (outcome.folder / "run.json").read_bytes()
    with pytest.raises(ConfigError, match=r"error: name: .*alone holds a single run; try: name=alone-2"):
        stride.run([*THREE, "name=alone", f"output_root={tmp_path}"])
    assert (outcome.folder / "run.json").read_bytes() == before


def test_a_fold_does_not_go_on_with_other_samples(whole):
    fold = whole.folder / "fold-1"
    before = (fold / "run.json").read_bytes()
    line = [*SMALL, "name=fold-1", f"output_root={whole.folder}"]
    for words, difference in (([], "cv.folds 3 -> None"), (["cv.folds=3", "cv.fold=2"], "cv.fold 1 -> 2")):
        with pytest.raises(ConfigError, match=rf"holds a run of another config \({difference}"):
            stride.run([*line, *words])
    with pytest.raises(ConfigError, match="fold-1 is finished"):
        stride.run([*line, "cv.folds=3", "cv.fold=1"])
    assert (fold / "run.json").read_bytes() == before


def test_weights_are_of_a_fold_and_the_best_is_named(whole):
    scores = [told(whole.folder / f"fold-{number}")["score"]["value"] for number in range(3)]
    best = f"fold-{int(np.argmin(scores))}"
    with pytest.raises(ConfigError, match=f"each fold has weights of its own; {best} is the best; try: .*/{best}"):
        stride.load(whole.folder)
    with pytest.raises(ConfigError, match=f"error: init_from: .*{best} is the best"):
        checked([*SMALL, f"init_from={whole.folder}"])
    with pytest.raises(ConfigError, match=r"error: run: .* is a cross-validation; .*; try: task=test run=.*fold-0"):
        checked(["task=test", f"run={whole.folder}"])


def stops_in(fold, step, error=KeyboardInterrupt):
    """For History.on_train_batch_end: an end in a step of a fold."""

    def stop(self, trainer, *_):
        if trainer.datamodule.fold.number == fold and trainer.global_step == step:
            raise error

    return stop


def test_after_ctrl_c_the_same_line_goes_on_in_the_fold_that_was_running(whole, tmp_path, monkeypatch):
    line = [*THREE, "name=cut", f"output_root={tmp_path}"]
    with monkeypatch.context() as patch:
        patch.setattr(History, "on_train_batch_end", stops_in(1, 9))
        outcome = stride.run(line)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # Lightning leaves it ignored
    assert (outcome.exit_code, outcome.status) == (130, "interrupted")
    assert [fold["status"] for fold in outcome.record["folds"]["each"]] == ["finished", "interrupted"]
    assert outcome.score == told(outcome.folder / "fold-0")["score"]["value"]
    first = {path: path.read_bytes() for path in (outcome.folder / "fold-0").rglob("*") if path.is_file()}
    for changed, difference in (
        ("cv.folds=4", "cv.folds 3 -> 4"),
        ("optimizer.lr=0.02", "optimizer.lr 0.01 -> 0.02"),
        ("trainer.max_epochs=3", "trainer.max_epochs 2 -> 3"),
    ):
        other = [word for word in line if not word.startswith(changed.partition("=")[0])]
        with pytest.raises(ConfigError, match=f"error: name: .*another config .*{difference}.*try: name=cut-2"):
            stride.run([*other, changed])
    again = stride.run(line)
    assert (again.exit_code, again.status) == (0, "finished")
    assert {path: path.read_bytes() for path in (outcome.folder / "fold-0").rglob("*") if path.is_file()} == first
    assert again.record["scores"] == whole.record["scores"]
    for number in range(3):
        assert same_weights(weights(again.folder / f"fold-{number}"), weights(whole.folder / f"fold-{number}"))


def test_a_fold_that_diverges_ends_all_without_a_score(tmp_path, capsys):
    words = ["optimizer=sgd", "optimizer.lr=1e30", "scheduler=constant", "warmup=none"]
    line = [word for word in THREE if not word.startswith("optimizer.lr")] + [*words, "name=lost"]
    outcome = stride.run([*line, f"output_root={tmp_path}"])
    assert (outcome.exit_code, outcome.status, outcome.score) == (4, "diverged", None)
    assert [fold["status"] for fold in outcome.record["folds"]["each"]] == ["diverged"]
    assert not (outcome.folder / "fold-1").exists()
    assert "fold 1 of 3 diverged" in " ".join(capsys.readouterr().out.replace("│", " ").split())
    with pytest.raises(ConfigError, match=r"lost diverged; .*; try: name=lost-2 optimizer.lr=3e\+29"):
        stride.run([*line, f"output_root={tmp_path}"])


def test_a_fold_that_crashes_leaves_both_records_failed(tmp_path, monkeypatch):
    monkeypatch.setattr(History, "on_train_batch_end", stops_in(1, 1, RuntimeError("on purpose")))
    with pytest.raises(RuntimeError, match="on purpose"):
        stride.run([*BARE, "name=crash", f"output_root={tmp_path}"])
    folder = tmp_path / "crash"
    assert [told(folder / part)["status"] for part in (".", "fold-0", "fold-1")] == ["failed", "finished", "failed"]


def test_what_a_later_fold_refuses_takes_nothing_from_those_that_are_trained(tmp_path, monkeypatch):
    refusal = ConfigError(Fault("trainer", "refused on purpose"))
    monkeypatch.setattr(History, "on_train_batch_end", stops_in(1, 1, refusal))
    with pytest.raises(ConfigError, match="refused on purpose"):
        stride.run([*BARE, "name=late", f"output_root={tmp_path}"])
    assert [told(tmp_path / "late" / part)["status"] for part in (".", "fold-0")] == ["failed", "finished"]
    assert not (tmp_path / "late" / "fold-1").exists()


def test_a_sweep_hears_the_mean_after_each_fold_and_may_end_it_between_two(tmp_path, monkeypatch):
    heard = []
    monkeypatch.setattr(trial_link, "attached", lambda: True)
    monkeypatch.setattr(trial_link, "report", lambda step, score: heard.append((step, score)) or step >= 2)
    outcome = stride.run([*BARE, "name=trial", f"output_root={tmp_path}"])
    scores = [told(outcome.folder / f"fold-{number}")["score"]["value"] for number in range(2)]
    assert [step for step, _ in heard] == [1, 2]  # and none of the folds' own validations
    assert [score for _, score in heard] == pytest.approx([scores[0], np.mean(scores)])
    assert (outcome.status, outcome.exit_code) == ("pruned", 0)
    assert outcome.score == heard[-1][1]
    assert not (outcome.folder / "fold-2").exists()


def test_after_the_last_fold_there_is_nothing_to_end(tmp_path, monkeypatch):
    monkeypatch.setattr(trial_link, "attached", lambda: True)
    monkeypatch.setattr(trial_link, "report", lambda step, score: step == 3)
    assert stride.run([*BARE, "name=trial", f"output_root={tmp_path}"]).status == "finished"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cv.folds=100"], "error: cv.folds: 100 folds need as many samples of class 2 .*; got 41; try: cv.folds=41"),
        (["cv.folds=3", "cv.splitter=group"], "error: cv.splitter: group needs groups, .*; try: cv.splitter=auto"),
    ],
)
def test_what_the_splitter_refuses_is_one_line_and_leaves_nothing(tmp_path, words, said):
    with pytest.raises(ConfigError, match=said):
        stride.run([*SMALL, *words, "name=none", f"output_root={tmp_path}"])
    assert list(tmp_path.iterdir()) == []


class Plain(LightningDataModule):
    """A datamodule of a user's own, with what the contract asks for."""

    fold = None

    def setup(self, stage=None):
        parts = [TensorDataset(torch.full((count, 1), float(start)), torch.arange(count)) for start, count in SIZES]
        self.train, self.val, self.test = parts
        if self.fold is not None:
            pool = ConcatDataset(parts[:2])
            self.train, self.val = (Subset(pool, part) for part in self.fold(len(pool)))

    def val_dataloader(self):
        return DataLoader(self.val, 100)


class Without(Plain):
    def setup(self, stage=None):
        super().setup(stage) if self.fold is None else None


SIZES = ((0, 12), (1, 8), (2, 4))


def of_a_user(name, fold=None):
    cv = {"folds": 4, "splitter": "auto", "repeats": 1, "fold": fold}
    return build.datamodule(OmegaConf.create({"datamodule": {"_target_": f"{__name__}.{name}"}, "cv": cv}))[0]


def test_a_datamodule_of_a_users_own_splits_by_its_fold():
    validated = []
    for number in range(4):
        data = of_a_user("Plain", number)
        assert (len(data.train), len(data.val), len(data.test)) == (15, 5, 4)
        ((x, y),) = data.val_dataloader()
        validated += zip(x.flatten().tolist(), y.tolist(), strict=True)
    assert sorted(validated) == [(start, k) for start, count in SIZES[:2] for k in range(count)]


def test_a_datamodule_that_offers_no_folds_is_told_what_to_add():
    with pytest.raises(ConfigError, match=r"error: cv.folds: .*Without offers no folds; its setup .*`self.fold`"):
        of_a_user("Without", 0)


def test_repeated_folds_are_counted_through():
    cfg = checked([*SMALL, "cv.folds=2", "cv.splitter=repeated", "cv.repeats=3"]).cfg
    assert folds.count(cfg) == 6
    assert checked([*SMALL, "cv.folds=2", "cv.splitter=repeated", "cv.repeats=3", "cv.fold=5"])


END = """
import os, signal
from pytorch_lightning import Callback

class End(Callback):
    def on_train_batch_start(self, trainer, *_):
        if trainer.datamodule.fold.number == 1 and trainer.global_step == 11 and "END_BY" in os.environ:
            os.kill(os.getpid(), int(os.environ["END_BY"]))
"""
CODES = {signal.SIGKILL: -9, signal.SIGTERM: 143}


@pytest.mark.slow
def test_after_a_real_kill_in_the_second_fold_the_same_line_ends_with_the_same_weights(copy_of_project):
    end = "# Ends a run.\nend:\n  _target_: mine.end.End\n"
    project = copy_of_project({"src/mine/end.py": END, "conf/callbacks/end.yaml": end})
    line = [sys.executable, "train.py", *THREE, "callbacks=[default,end]"]
    env = {**os.environ, "PYTHONPATH": str(project / "src")}

    def run(name, **more):
        return subprocess.run([*line, f"name={name}"], cwd=project, env={**env, **more}, capture_output=True, text=True)

    assert run("whole").returncode == 0
    whole = project / "runs" / "whole"
    for how, code in CODES.items():
        cut = project / "runs" / how.name
        assert run(how.name, END_BY=str(int(how))).returncode == code
        assert told(cut)["status"] == ("running" if how == signal.SIGKILL else "interrupted")
        assert not (cut / "fold-2").exists()
        first = (cut / "fold-0" / "run.json").read_bytes()
        again = run(how.name)
        assert again.returncode == 0, again.stderr
        assert (cut / "fold-0" / "run.json").read_bytes() == first
        assert told(cut)["scores"] == told(whole)["scores"]
        for number in range(3):
            one, other = whole / f"fold-{number}", cut / f"fold-{number}"
            assert (one / "lr_trace.csv").read_text() == (other / "lr_trace.csv").read_text()
            assert same_weights(weights(one), weights(other))


@pytest.mark.slow
def test_two_processes_run_the_folds_together_and_go_on_with_those_that_are_left(copy_of_project, command_in):
    project = copy_of_project({})
    two = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "lr_finder=on", "lr_finder.trial=20"]
    done = command_in(project, "train.py", *THREE, *two)
    assert done.returncode == 0, done.stderr
    (folder,) = (project / "runs").iterdir()  # unnamed: the second process was told where
    assert done.stdout.count(f"{folder.name} · finished · cross-validation") == 1
    record = told(folder)
    assert record["device"] == "2 x cpu"
    found = [told(folder / f"fold-{number}")["lr"]["found"] for number in range(3)]
    assert len(set(found)) == 3
    assert record["lr"]["used"] is None and all(f"{lr:.4g}" in record["lr"]["why"] for lr in found)
    last = weights(folder / "fold-2")
    subprocess.run(["rm", "-r", str(folder / "fold-2")], check=True)
    (folder / "run.json").write_text(json.dumps(record | {"status": "interrupted"}))
    first = (folder / "fold-0" / "run.json").read_bytes()
    again = command_in(project, "train.py", *THREE, *two, f"name={folder.name}")
    assert again.returncode == 0, again.stderr
    assert (folder / "fold-0" / "run.json").read_bytes() == first
    assert same_weights(last, weights(folder / "fold-2"))
    assert told(folder)["scores"] == record["scores"]
    assert [Path(path).name for path in sorted(project.joinpath("runs").iterdir())] == [folder.name]
