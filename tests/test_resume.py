"""A run goes on as it was planned, or says what would change; proved by what the steps really used."""

import csv
import os
import shutil
import signal
import subprocess
import sys
from functools import partial

import pytest
import torch
from omegaconf import OmegaConf

import stride
from stride import resume
from stride.callbacks.history import History
from stride.datamodules.in_memory import InMemory
from stride.errors import ConfigError
from stride.lr.schedule import cosine, linear
from stride.pipeline import checked

SMALL = ["model=mlp", "model.hidden=[8]", "datamodule=wine", "callbacks.progress=null", "logger=csv"]
EPOCH = 8  # optimizer steps of one
LR = 1e-3


def train_in(folder, *words, name="mine"):
    """A run below `folder`, four epochs unless told otherwise, and the LRs in its trace."""
    given = [*SMALL, f"name={name}", f"output_root={folder}", *words]
    if not any(word.startswith("trainer.max_epochs=") for word in words):
        given.append("trainer.max_epochs=4")
    return stride.run(given), lrs(folder / name)


@pytest.fixture
def train_on(tmp_path):
    return partial(train_in, tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of four epochs; to go on with it, copy it."""
    outcome, _ = train_in(tmp_path_factory.mktemp("finished"))
    return outcome.folder


def lrs(folder):
    with (folder / "lr_trace.csv").open(newline="") as file:
        told = {int(row["step"]): float(row["all"]) for row in csv.DictReader(file)}
    assert list(told) == list(range(min(told), max(told) + 1))  # no gap, no double row
    return list(told.values())


def law(lr, law, warm=0):
    return [lr * law(step) * min(1, (step + 1) / max(1, warm)) for step in range(EPOCH * 8)]


OLD = law(LR, cosine(total=4 * EPOCH), warm=round(0.05 * 4 * EPOCH))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["resume.lr=keep"], [*OLD[:32], *[0.0] * 32]),
        (["resume.lr=stretch"], [*OLD[:32], *law(LR, cosine(total=64))[32:]]),
        (["resume.lr=rewarm"], [*OLD[:32], *law(LR, cosine(total=32), warm=2)[:32]]),
        (
            ["resume.lr=rewarm", "optimizer.lr=0.01", "scheduler=linear", "warmup.length=25%"],
            [*OLD[:32], *law(0.01, linear(total=32), warm=8)[:32]],
        ),
        (["resume.lr=rewarm", "warmup=none"], [*OLD[:32], *law(LR, cosine(total=32), warm=2)[:32]]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value[0], str) else "",
)
def test_a_longer_run_goes_on_as_resume_lr_says(finished, train_on, tmp_path, words, expected):
    shutil.copytree(finished, tmp_path / "mine")
    outcome, applied = train_on("trainer.max_epochs=8", *words)
    assert applied == pytest.approx(expected, abs=1e-9)
    assert outcome.record["steps"] == 64
    (said,) = outcome.record["lr"]["interventions"]
    assert (said["step"], said["why"]) == (32, words[0])


def stops_in(step):
    """For History.on_train_batch_end: Ctrl-C in a step."""

    def stop(self, trainer, *_):
        if trainer.global_step == step:
            raise KeyboardInterrupt

    return stop


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """A run of four epochs that was stopped in its third."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(History, "on_train_batch_end", stops_in(20))
        outcome, _ = train_in(tmp_path_factory.mktemp("interrupted"))
    assert outcome.status == "interrupted"
    return outcome.folder


@pytest.mark.parametrize("name", ["metrics.csv", "checkpoints"])
def test_a_run_that_goes_on_writes_through_no_link(interrupted, train_on, tmp_path, name):
    """Whoever made the folder: what lies elsewhere is not written to. Links inside it, and to it, are as good."""
    folder, elsewhere = tmp_path / "elsewhere" / "mine", tmp_path / "other" / name
    shutil.copytree(interrupted, folder)
    (tmp_path / "mine").symlink_to(folder)
    (folder / "latest.csv").symlink_to(folder / "lr_trace.csv")
    elsewhere.parent.mkdir()
    (folder / name).rename(elsewhere)
    (folder / name).symlink_to(elsewhere)
    before = sorted((path, path.stat().st_mtime_ns) for path in elsewhere.parent.rglob("*"))
    with pytest.raises(ConfigError, match=f"^error: name: .*{name} is a link to .*{name}; .*; try: name=mine-2$"):
        train_on()
    assert sorted((path, path.stat().st_mtime_ns) for path in elsewhere.parent.rglob("*")) == before
    (folder / name).unlink()
    elsewhere.rename(folder / name)
    assert train_on()[0].status == "finished"


def test_a_run_that_was_begun_before_there_was_cross_validation_goes_on(interrupted, train_on, tmp_path):
    shutil.copytree(interrupted, tmp_path / "old")
    config = OmegaConf.load(tmp_path / "old" / "config.yaml")
    del config["cv"]
    OmegaConf.save(config, tmp_path / "old" / "config.yaml")
    outcome, _ = train_on(name="old")
    assert outcome.status == "finished"


def test_after_a_change_the_same_line_goes_on_with_the_changed_plan(finished, train_on, tmp_path):
    """A second interruption must not change the plan a second time."""
    for name in ("mine", "twice"):
        shutil.copytree(finished, tmp_path / name)
    words = ["trainer.max_epochs=8", "resume.lr=rewarm", "optimizer.lr=0.01"]
    _, whole = train_on(*words)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(History, "on_train_batch_end", stops_in(52))
        outcome, _ = train_on(*words, name="twice")
    assert outcome.status == "interrupted"
    assert torch.load(tmp_path / "twice" / resume.LAST, weights_only=True)["global_step"] == 48
    outcome, applied = train_on(*words, name="twice")
    assert applied == pytest.approx(whole, abs=1e-12)
    assert len(outcome.record["lr"]["interventions"]) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trainer.max_epochs=8"], "is finished; it goes on only with more to do"),
        (["resume.lr=stretch"], "is finished; .* try: name=mine resume.lr=stretch trainer.max_epochs=8"),
        (["resume.from=never"], "is there already; resume.from=never begins a new run"),
        (["model.norm=none"], r"another config \(model.norm batch -> none\); try: name=mine-2"),
        (["task=plan"], "is there already; two runs never share a folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_finished_run_is_left_as_it_was(finished, words, said):
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match=said):
        train_in(finished.parent, *words)
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["optimizer.lr=0.01"], ["optimizer.lr 0.001 -> 0.01", "it was 0.000997", "it would be 0.00997"]),
        (["scheduler=linear"], ["scheduler._target_ stride.lr.schedule.cosine -> stride.lr.schedule.linear"]),
        (["trainer.max_epochs=8"], ["trainer.max_epochs 4 -> 8", "at the end of 32 steps", "at the end of 64 steps"]),
        (["datamodule.batch_size=32"], ["datamodule.batch_size 16 -> 32"]),
        (["trainer.accumulate_grad_batches=2"], ["trainer.accumulate_grad_batches 1 -> 2"]),
        (["optimizer.lr=0.01", "resume.lr=stretch"], ["stretch would drop optimizer.lr"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_a_plan_that_would_change_is_refused_with_both_curves_and_the_ways_on(interrupted, words, said):
    names = ("run.json", "config.yaml", "checkpoints/last.ckpt", "lr_trace.csv")
    before = [(interrupted / name).read_bytes() for name in names]
    with pytest.raises(ConfigError) as refused:
        train_in(interrupted.parent, *words)
    for part in [*said, "resume.lr=rewarm"]:
        assert part in str(refused.value)
    assert [(interrupted / name).read_bytes() for name in names] == before


def test_data_of_another_size_is_noticed_though_no_key_says_so(interrupted, monkeypatch):
    whole = InMemory.setup

    def less(self, stage=None):
        whole(self, stage)
        self.train = tuple(tensor[:60] for tensor in self.train)

    monkeypatch.setattr(InMemory, "setup", less)
    with pytest.raises(ConfigError, match=r"no key says why.* of 32 steps, it would be .* of 16 steps"):
        train_in(interrupted.parent)


def test_a_diverged_run_needs_another_plan(train_on, tmp_path):
    outcome, _ = train_on("optimizer=sgd", "optimizer.lr=1e30", "scheduler=constant", "warmup=none")
    assert outcome.status == "diverged"
    with pytest.raises(ConfigError, match=r"diverged; .* try: name=mine resume.lr=rewarm optimizer.lr=3e"):
        train_on("optimizer=sgd", "optimizer.lr=1e30", "scheduler=constant", "warmup=none")


def test_a_checkpoint_of_another_run_starts_a_new_one(finished, train_on):
    words = [f"resume.from={finished}", "trainer.max_epochs=6", "resume.lr=stretch"]
    outcome, applied = train_on(*words, name="other")
    assert applied == pytest.approx(law(LR, cosine(total=48))[32:48], abs=1e-9)
    assert outcome.record["steps"] == 48


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["resume.from=no/such.ckpt"], "error: resume.from: there is no checkpoint at 'no/such.ckpt'"),
        (["resume.lr=strech"], "error: resume.lr: no way 'strech'; .* try: resume.lr=stretch"),
        (["ckpt_path=x.ckpt"], "did you mean `resume.from`"),
    ],
)
def test_what_cannot_be_resumed_is_refused_before_torch(words, said):
    with pytest.raises(ConfigError, match=said):
        checked(words)


def test_a_file_that_is_no_checkpoint_is_one_line(train_on, tmp_path):
    (tmp_path / "broken.ckpt").write_bytes(b"not a checkpoint")
    with pytest.raises(
        ConfigError, match=r"error: resume.from: .*broken.ckpt is no whole checkpoint; it does not begin as"
    ):
        train_on(f"resume.from={tmp_path / 'broken.ckpt'}")
    assert not (tmp_path / "mine").exists()


KILLED = """
import os, signal
from pytorch_lightning import Callback

class Kill(Callback):
    def on_train_batch_start(self, trainer, *_):
        if trainer.global_step == int(os.environ.get("KILL_AT", -1)):
            os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [["lr_finder=on"], ["scheduler=plateau", "scheduler.patience=0"], ["scheduler=one_cycle", "optimizer=sgd"]],
    ids=lambda words: words[0],
)
def test_after_a_real_kill_the_same_line_ends_with_the_same_weights_and_trace(copy_of_project, words):
    kill = "# Kills.\nkill:\n  _target_: mine.kill.Kill\n"
    project = copy_of_project({"src/mine/kill.py": KILLED, "conf/callbacks/kill.yaml": kill})
    line = [sys.executable, "train.py", *SMALL, *words, "callbacks=[default,kill]", "trainer.max_epochs=6"]
    env = {**os.environ, "PYTHONPATH": str(project / "src")}

    def run(name, **more):
        return subprocess.run([*line, f"name={name}"], cwd=project, env={**env, **more}, capture_output=True, text=True)

    assert run("whole").returncode == 0
    assert run("cut", KILL_AT="29").returncode == -signal.SIGKILL
    again = run("cut")
    assert again.returncode == 0, again.stderr
    whole, cut = project / "runs" / "whole", project / "runs" / "cut"
    assert (whole / "lr_trace.csv").read_text() == (cut / "lr_trace.csv").read_text()
    assert (whole / "metrics.csv").read_text() == (cut / "metrics.csv").read_text()
    weights = [torch.load(run / resume.LAST, weights_only=True)["state_dict"] for run in (whole, cut)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
