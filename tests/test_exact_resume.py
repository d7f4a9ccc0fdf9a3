"""A run goes on from any of its checkpoints as if it had never stopped: weights, optimizer, LR, metrics, to the bit."""

import json
import os
import random
import shutil
import signal
from pathlib import Path

import pytest
import torch

import stride
from stride.callbacks.checkpoint import LastCheckpoint
from stride.callbacks.history import History

EPOCH = 8  # batches of one
EPOCHS = 3
SMALL = [
    "datamodule=wine",
    "model=mlp",
    "model.hidden=[8]",
    "model.dropout=0.3",
    f"trainer.max_epochs={EPOCHS}",
    "callbacks.progress=null",
    "callbacks.checkpoint_last.every='1 step'",
    "logger=csv",
    "trainer.log_every_n_steps=1",
]
HALVES = ["trainer.val_check_interval=0.5"]


def kept_at_every_step(patch, kept):
    """Have the checkpoints of a run copied to `kept / N` as they are after step N."""
    plain = LastCheckpoint.save

    def save(self, trainer):
        plain(self, trainer)
        shutil.copytree(self._last.parent, kept / str(trainer.global_step))

    patch.setattr(LastCheckpoint, "save", save)


def state_of(folder):
    """All that must be equal, of a run that has ended."""
    last = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    best = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    callbacks = {name: state for name, state in last["callbacks"].items() if "heckpoint" not in name}
    record = json.loads((folder / "run.json").read_text())
    told = {key: record[key] for key in ("status", "steps", "epochs", "scores", "last", "score")}
    state = {key: last[key] for key in ("state_dict", "optimizer_states", "lr_schedulers", "loops")}
    texts = [(folder / name).read_text() for name in ("lr_trace.csv", "metrics.csv")]
    return {**state, "callbacks": callbacks, "best": best["state_dict"], "record": told, "texts": texts}


def difference(one, other, where=""):
    """Where two states differ first; None where they are equal to the bit."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        found = (difference(one[key], other[key], f"{where}.{key}") for key in one)
    elif isinstance(one, list | tuple) and len(one) == len(other):
        found = (difference(*pair, f"{where}[{place}]") for place, pair in enumerate(zip(one, other, strict=True)))
    elif isinstance(one, torch.Tensor):
        return None if one.dtype == other.dtype and torch.equal(one, other) else f"{where}: {one} is not {other}"
    else:
        return None if one == other else f"{where}: {one!r} is not {other!r}"
    return next((each for each in found if each), None)


def went_on(whole, kept, step, words):
    """A run that goes on from the checkpoint of a step, in a folder as its interruption would have left it."""
    folder = whole.with_name(f"from-{step}")
    shutil.copytree(whole, folder)
    shutil.rmtree(folder / "checkpoints")
    shutil.copytree(kept / str(step), folder / "checkpoints")
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**record, "status": "interrupted"}))
    stride.run([*words, f"name={folder.name}"])
    return folder


def differences_of(tmp_path, words, steps=None):
    """What differs after a resume from each of these steps, or from eight of all: {step: where}."""
    draw, words = random.Random(" ".join(words)), [*SMALL, *words, f"output_root={tmp_path}"]
    with pytest.MonkeyPatch.context() as patch:
        kept_at_every_step(patch, tmp_path / "kept")
        whole = stride.run([*words, "name=whole"]).folder
    wanted, found = state_of(whole), {}
    saved = sorted(int(path.name) for path in (tmp_path / "kept").iterdir())[:-1]
    for step in steps or draw.sample(saved, 8):
        folder = went_on(whole, tmp_path / "kept", step, words)
        found[step] = difference(wanted, state_of(folder))
        shutil.rmtree(folder)
    return {step: where for step, where in found.items() if where}


STEPS = [2, 4, 8, 11, 16, 23]  # in an epoch, at a validation within one, at the end of one, one before the end
SCHEDULES = ["constant", "cosine", "cosine_restarts", "cyclic", "exponential", "inverse_sqrt", "linear", "multistep"]
SCHEDULES += ["one_cycle", "plateau", "polynomial", "rex", "sequence", "step", "wsd"]
OWN_LOADER = ["datamodule._target_=own_loader.Wine"]


@pytest.fixture
def own_loader(monkeypatch):
    """A datamodule of the user's own, with an ordinary DataLoader, may be named."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    monkeypatch.setenv("STRIDE_ALLOW_TARGETS", "own_loader")


@pytest.mark.parametrize(
    ("words", "steps"),
    [(["scheduler=cosine"], STEPS), (["scheduler=plateau", "scheduler.patience=0", *HALVES], STEPS)],
    ids=lambda value: value[0] if isinstance(value[0], str) else "",
)
def test_a_run_goes_on_from_any_checkpoint_to_the_bit(tmp_path, words, steps):
    assert differences_of(tmp_path, words, steps) == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        *([f"scheduler={name}", *HALVES] for name in SCHEDULES),
        *([f"scheduler={name}", "optimizer=sgd", "trainer.accumulate_grad_batches=3"] for name in ("step", "plateau")),
        *([f"warmup={name}", "warmup.length=50%"] for name in ("linear", "cosine", "exponential")),
        ["optimizer=muon"],
        ["param_groups=no_decay", "optimizer=adamw", "trainer.gradient_clip_val=0.1"],
        ["trainer.precision=bf16-mixed"],
        ["callbacks.early_stopping.patience='6 steps'", *HALVES],
    ],
    ids=" ".join,
)
def test_every_schedule_and_warm_up_goes_on_to_the_bit(tmp_path, words):
    assert differences_of(tmp_path, words) == {}


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("scheduler", ["one_cycle", "plateau"])
def test_an_ordinary_data_loader_goes_on_to_the_bit(tmp_path, own_loader, scheduler, workers):
    words = [*OWN_LOADER, f"+datamodule.num_workers={workers}", f"scheduler={scheduler}", *HALVES]
    assert differences_of(tmp_path, words) == {}


def signalled(patch, hook, step, number):
    """Have this process sent a signal in a hook, once, after so many optimizer steps."""
    sent = []

    def send(self, trainer, *_):
        if trainer.global_step == step and not sent:
            sent.append(os.kill(os.getpid(), number))

    patch.setattr(History, hook, send, raising=False)


STOPS = {
    "in a step": ("on_train_batch_start", 5, []),
    "in an epoch's last step": ("on_train_batch_start", EPOCH - 1, []),
    "in a step that a validation follows": ("on_train_batch_start", EPOCH // 2 - 1, HALVES),
    "in a validation": ("on_validation_batch_end", EPOCH, ["datamodule.eval_batch_size=8"]),
    "in a validation within an epoch": (
        "on_validation_batch_end",
        EPOCH + EPOCH // 2,
        [*HALVES, "datamodule.eval_batch_size=8"],
    ),
    "between two steps of three batches": ("on_train_batch_start", 3, ["trainer.accumulate_grad_batches=3"]),
    "in the last step": ("on_train_batch_start", 3 * EPOCH - 1, []),
}


@pytest.mark.parametrize("moment", STOPS)
def test_a_run_that_is_told_to_stop_saves_and_goes_on_to_the_bit(tmp_path, moment):
    hook, step, words = STOPS[moment]
    words = [*SMALL, "callbacks.checkpoint_last.every='1 epoch'", *words, f"output_root={tmp_path}"]
    words.remove("callbacks.checkpoint_last.every='1 step'")
    whole = stride.run([*words, "name=whole"])
    with pytest.MonkeyPatch.context() as patch:
        signalled(patch, hook, step, signal.SIGTERM)
        cut = stride.run([*words, "name=cut"])
    assert (cut.status, cut.exit_code) == ("interrupted", 143)
    saved = torch.load(cut.folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    assert saved == step + hook.startswith("on_train")
    assert stride.run([*words, "name=cut"]).status == whole.status
    assert difference(state_of(whole.folder), state_of(cut.folder)) is None
