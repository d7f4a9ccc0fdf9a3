"""Each line that a person types wrong, as a process of its own: one line on stderr, before torch and before any folder.

The numbers are those of the table of 48 bad inputs that this project set out from.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass

import pytest
import torch

import stride
from stride import check
from stride.pipeline import checked

SECONDS = 3.0


@dataclass(frozen=True)
class Row:
    """What is typed after `python train.py`, and what is told: `...` stands for any text."""

    typed: str
    told: str
    code: int = 2
    torch: bool = False  # may be imported, because a file has to be read


KEPT = "datamodule=wine model=mlp model.hidden=[8]"  # what kept/last.ckpt is of

ROWS = {
    "1 a key": Row("optimizer.lrr=0.1", "optimizer.lrr: ...; did you mean `optimizer.lr`?; try: optimizer.lr=0.1"),
    "2 another framework's word": Row("learning_rate=0.1", "learning_rate: no such key; ...; try: optimizer.lr=0.1"),
    "3 a forced key": Row("++optimizer.lrr=0.1", "optimizer.lrr: ...; did you mean `optimizer.lr`?; ..."),
    "4 a new group": Row("+modle=cnn", "modle: no such key; ...; did you mean `model`?; try: model=cnn"),
    "5 a choice": Row(
        "model=mpl", "model: no choice 'mpl'; did you mean `mlp`? choices: cnn, mlp, ...; try: model=mlp"
    ),
    "6 a capital": Row("Optimizer.lr=0.1", "Optimizer.lr: no such key; ...; try: optimizer.lr=0.1"),
    "7 a slash": Row("optimizer/lr=0.1", "optimizer/lr: `/` does not set a value; use `.`; try: optimizer.lr=0.1"),
    "8 a text for a number": Row(
        "optimizer.lr=abc", "optimizer.lr: expected a number, got 'abc'; try: optimizer.lr=0.001"
    ),
    "9 a suffix": Row("optimizer.lr=1e-3f", "optimizer.lr: expected a number, got '1e-3f'; try: optimizer.lr=1e-3"),
    "11 a typographic minus": Row(
        "optimizer.lr=1e\N{MINUS SIGN}3",
        "optimizer.lr: holds a typographic minus at column 16; try: optimizer.lr=1e-3",
    ),
    "12 a decimal comma": Row(
        "optimizer.lr=0,001",
        "optimizer.lr: '0,001' is two values; decimals take a point; ...; try: optimizer.lr=0.001",
    ),
    "12 a decimal comma in a sweep": Row("-m optimizer.lr=0,001", "optimizer.lr: must be a finite number > 0; got 0"),
    "13 Python's None": Row(
        "optimizer.lr=None", "optimizer.lr: 'None' is but a text here; nothing is written null; ..."
    ),
    "14 null": Row("optimizer.lr=null", "optimizer.lr: may not be null; the default is 0.001"),
    "15 not a number": Row("optimizer.lr=nan", "optimizer.lr: must be a finite number > 0; got nan"),
    "16 below zero": Row("optimizer.lr=-1", "optimizer.lr: must be a finite number > 0; got -1"),
    "18 a warm-up longer than the run": Row(
        "warmup.length='900 steps' trainer.max_steps=500",
        "warmup.length: 900 steps is longer than the run of 500 steps",
    ),
    "19 a unit": Row("warmup.length='10 %%'", "warmup.length: `10 %%` has no known unit (%, steps, ...); try `10%`"),
    "20 epochs": Row("trainer.max_epochs=-5", "trainer.max_epochs: must be an integer >= 1, or -1; got -5"),
    "21 no batch": Row("datamodule.batch_size=0", "datamodule.batch_size: must be an integer >= 1; got 0"),
    "22 half a sample": Row("datamodule.batch_size=32.7", "datamodule.batch_size: expected an integer, got 32.7; ..."),
    "24 a batch larger than the data": Row(
        "datamodule.batch_size=99999 datamodule.drop_last=true",
        "datamodule.batch_size: `batch_size <= 1257`, all training samples, must hold with drop_last, but got ...",
        torch=True,
    ),
    "25 workers": Row(
        "datamodule=mine datamodule.dir=. datamodule.num_workers=-1",
        "datamodule.num_workers: must be an integer >= 0; got -1",
    ),
    "26 a seed": Row("seed=1.5", "seed: expected an integer, got 1.5; try: seed=42"),
    "27 no value": Row("optimizer.lr", "optimizer.lr: has no `=`; words are key=value; try: optimizer.lr=0.001"),
    "28 two signs": Row("optimizer.lr==0.1", "optimizer.lr: has two `=`; one is enough; try: optimizer.lr=0.1"),
    "29 a space": Row("'optimizer.lr =0.1'", "optimizer.lr: has a space beside `=`; try: optimizer.lr=0.1"),
    "30 twice": Row(
        "optimizer.lr=0.1 optimizer.lr=0.2",
        "optimizer.lr: given 2 times (0.1, 0.2); once is enough; try: optimizer.lr=0.2",
    ),
    "31 two models": Row(
        "model=[mlp,cnn]", "model: ['mlp', 'cnn'] are several choices; one choice only; try: model=mlp"
    ),
    "32 a value for a group of keys": Row(
        "resume=never", "resume: is not one value; it holds resume.from, resume.lr...; set one of them"
    ),
    "33 a removed key": Row("~optimizer.lr", "~optimizer.lr: nothing is deleted here; try: optimizer.lr=0.001"),
    "34 a required key": Row(
        "datamodule=mine", "datamodule.dir: is required; it has no default; try: datamodule.dir=..."
    ),
    "35 an interpolation": Row(
        "optimizer.lr='${lr}'", "optimizer.lr: ${lr} is not there; did you mean ${optimizer.lr}?"
    ),
    "36 a circle": Row(
        "seed='${datamodule.split_seed}' datamodule.split_seed='${seed}'",
        "seed: its ${...} goes round in a circle; seed -> datamodule.split_seed -> seed; ...",
    ),
    "37 a recipe": Row("experiment=digist", "experiment: no choice 'digist'; did you mean `digits`? choices: ..."),
    "37 another config": Row(
        "--config-name wien",
        "--config-name: no such flag; the one config is conf/train.yaml, ...; try: experiment=wine",
    ),
    "38 no such checkpoint": Row(
        "resume.from=kept/nope.ckpt",
        "resume.from: there is no checkpoint at 'kept/nope.ckpt'; ...; try: resume.from=kept/last.ckpt",
    ),
    "39 a name with = in it": Row(
        "resume.from=kept/epoch=1-step=2.ckpt",
        "resume.from: cannot read the value 'kept/epoch=1-step=2.ckpt'; ...needs quotes...; "
        "try: \"resume.from='kept/epoch=1-step=2.ckpt'\"",
    ),
    "40 a checkpoint that was cut off": Row(
        "resume.from=kept/cut.ckpt",
        "resume.from: kept/cut.ckpt is no whole checkpoint; its end is missing or altered (... bytes); "
        "try: resume.from=kept/last.ckpt",
    ),
    "41 code in a checkpoint": Row(
        "resume.from=kept/code.ckpt",
        "resume.from: kept/code.ckpt holds code (posix.system); nothing of it was run; ...; try: trust_checkpoint=true",
        torch=True,
    ),
    "42 another model": Row(
        "resume.from=kept/last.ckpt",
        "resume.from: kept/last.ckpt is of another model: network.layers.0.weight is not there, [32, 1, 3, 3] here; "
        "...; try: init_from=kept/last.ckpt",
        torch=True,
    ),
    "43 another rate": Row(
        f"{KEPT} trainer.max_epochs=2 resume.from=kept/last.ckpt optimizer.lr=0.5",
        "resume.lr: the plan of the LR is not the checkpoint's: it would change with optimizer.lr 0.001 -> 0.5; ...; "
        "try: resume.lr=keep (the old plan), ...",
        torch=True,
    ),
    "44 another length": Row(
        f"{KEPT} trainer.max_epochs=20 resume.from=kept/last.ckpt",
        "resume.lr: the plan of the LR is not the checkpoint's: it would change with trainer.max_epochs 2 -> 20; ...; "
        "try: resume.lr=keep (the old plan), ...",
        torch=True,
    ),
    "45 a home folder": Row(
        "datamodule=text datamodule.path=~/src",
        "datamodule.path: cannot read the value '~/src'; `~` is not expanded here; try: datamodule.path=/.../src",
    ),
    "45 a quoted home folder": Row(
        "datamodule=text datamodule.path=\"'~/no_such'\"", "datamodule.path: there is no '~/no_such'; looked in /..."
    ),
    "46 a GPU": Row(
        "trainer.accelerator=gpu",
        "trainer.accelerator: 1 gpu asked for, 0 visible; auto takes what is there; try: trainer.accelerator=cpu ...",
    ),
    "47 a metric": Row(
        "callbacks.early_stopping.monitor=val/los",
        "callbacks.early_stopping.monitor: nothing logs 'val/los'; logged: val/loss, val/acc; try: ...monitor=val/loss",
    ),
    "48 Hydra's folder": Row("hydra.run.dir=../../x", "hydra.run.dir: is Hydra's own and has no effect here; ..."),
    "48 a folder elsewhere": Row(
        "output_root=../x",
        "output_root: ../x leads out of the project; another place is named from the root; try: output_root=/.../x",
    ),
    "48 a new target": Row("+x._target_=torch.load", "x._target_: no such key; nothing would read it; ..."),
    "48 a target": Row(
        "optimizer._target_=torch.load",
        "optimizer._target_: 'torch.load' may not be called; allowed: torch.nn, torch.optim, ..., packages in src/",
    ),
    "48 a target that a resolver makes": Row(
        "+trainer.plugins=\"'${oc.create:[{_target_:torch.load}]}'\"",
        "trainer.plugins.0._target_: 'torch.load' may not be called; a resolver made it, ...",
    ),
    "48 a target of a recipe": Row(
        "experiment=borrowed",
        "trainer.plugins.0.of._target_: 'os.system' may not be called; allowed: torch.nn, ..., packages in src/",
    ),
    "48 an object of a recipe": Row("experiment=tagged", "conf: could not determine a constructor for the tag ..."),
    "48 a target that is not there": Row("optimizer._target_='${nope}'", "optimizer._target_: ${nope} is not there"),
    # Typed by people, and each taken in silence, told wrong or answered by a traceback once.
    "an empty word": Row("''", "'': has no key; words are key=value; is a variable of the shell unset?"),
    "an unset variable": Row("seed=", "seed: has no value; is a variable of the shell unset?; try: seed=42"),
    "a choice alone": Row("adam", "adam: has no `=`; words are key=value; try: optimizer=adam"),
    "a colon": Row("optimizer.lr:0.1", "optimizer.lr: is followed by `:`; words are key=value; try: optimizer.lr=0.1"),
    "an option": Row(
        "--batch-size 32", "--batch-size: no such flag; words are key=value, ...; try: datamodule.batch_size=32"
    ),
    "one dash": Row("-optimizer.lr=1", "-optimizer.lr: no such flag; words are key=value, ...; try: optimizer.lr=1"),
    "spaces": Row("optimizer.lr = 0.1", "optimizer.lr: has a space beside `=`; try: optimizer.lr=0.1"),
    "a list in two words": Row(
        "model.widths=[32, 64]", "model.widths: is torn apart at a space; ...; try: 'model.widths=[32, 64]'"
    ),
    "a bracket": Row(
        "model.widths=[32,64",
        "model.widths: cannot read the value '[32,64'; `[` is not closed; try: 'model.widths=[32,64]'",
    ),
    "a quote": Row('name="\'abc"', "name: cannot read the value \"'abc\"; `'` is not closed; try: name=abc"),
    "typographic quotes": Row(
        "optimizer.lr=\N{LEFT DOUBLE QUOTATION MARK}0.1\N{RIGHT DOUBLE QUOTATION MARK}",
        'optimizer.lr: holds a typographic quote at column 14; try: optimizer.lr="0.1"',
    ),
    "a fraction": Row("optimizer.lr=1/1000", "optimizer.lr: expected a number, got '1/1000'; try: optimizer.lr=0.001"),
    "a place for a group": Row(
        "optimizer@x=adam", "optimizer@x: `@` has no effect here; a group has one place; try: optimizer=adam"
    ),
    "a word for true": Row(
        "optimizer.amsgrad=no", "optimizer.amsgrad: expected true or false, got 'no'; try: optimizer.amsgrad=false"
    ),
    "one beta": Row(
        "optimizer.betas=[0.9]", "optimizer.betas: must be two numbers; got [0.9]; try: optimizer.betas=[0.9,0.999]"
    ),
    "a width of nothing": Row("model.widths=[0]", "model.widths.0: must be an integer >= 1; got 0"),
    "a time with a unit": Row(
        "trainer.max_time=90m",
        "trainer.max_time: no time: 90m; it is days:hours:minutes:seconds; try: trainer.max_time=00:01:30:00",
    ),
    "an answer for a path": Row(
        "resume.from=true", "resume.from: there is no checkpoint at 'true'; ...; try: resume.from=auto"
    ),
    "a number for a run": Row("init_from=5", "init_from: no run at '5'; ..."),
    "a folder of Windows": Row(
        r"output_root='C:\runs'", r"output_root: C:\runs is a path of Windows; ...; try: output_root=runs"
    ),
    "checkpoints elsewhere": Row(
        "callbacks.checkpoint_best.dirpath=../x",
        "callbacks.checkpoint_best.dirpath: ../x leads out of the run's folder; ...; try: ...dirpath=null",
    ),
    "a checkpoint's name": Row(
        "callbacks.checkpoint_best.filename=../x",
        "callbacks.checkpoint_best.filename: ../x leads out of the folder; ...; try: ...filename=x",
    ),
}

# Python imports sitecustomize at its start: the process that is tested says itself what it has imported.
WITNESS = """
import atexit, os, pathlib, sys
heavy = ("torch", "pytorch_lightning", "optuna", "matplotlib")
atexit.register(lambda: pathlib.Path(os.environ["WITNESS"]).write_text(" ".join(n for n in heavy if n in sys.modules)))
"""
MINE = {
    "src/mine/data.py": "class Data:\n    def __init__(self, dir, num_workers=0):\n        self.dir = dir\n",
    "conf/datamodule/mine.yaml": "# Data of one's own.\n_target_: mine.data.Data\ndir: ???\nnum_workers: 0\n",
    "conf/experiment/borrowed.yaml": "# @package _global_\ntrainer: {plugins: [{of: {_target_: os.system}}]}\n",
    "conf/experiment/tagged.yaml": "# @package _global_\nseed: !!python/object/apply:os.getpid []\n",
    "src/sitecustomize.py": WITNESS,
}


@pytest.fixture(scope="module")
def project(copy_of_project):
    """A copy of the project: what is made in it or beside it while a line runs, that line has made."""
    folder = copy_of_project(MINE)
    kept = folder / "kept"
    kept.mkdir()
    words = [*KEPT.split(), "trainer.max_epochs=2", "callbacks.progress=null", "logger=none", "name=done"]
    last = stride.run([*words, f"output_root={folder / 'runs of mine'}"]).folder / "checkpoints" / "last.ckpt"
    for name in ("last.ckpt", "epoch=1-step=2.ckpt"):
        shutil.copy(last, kept / name)
    (kept / "cut.ckpt").write_bytes(last.read_bytes()[:5000])
    torch.save({"global_step": 1, "callbacks": {}, "more": Code()}, kept / "code.ckpt")
    return folder


class Code:
    def __reduce__(self):
        return os.system, ("touch it_ran",)


def files(folder):
    """Everything in a folder with its size and a file's time, less bytecode."""
    found = {path: path.stat() for path in folder.rglob("*") if "__pycache__" not in path.parts}
    return {path: (told.st_size, path.is_file() and told.st_mtime_ns) for path, told in found.items()}


def advised(typed, told):
    """The words that were typed, with those after `try:` in the place of the wrong one; none where they are open."""
    _, where, rest = told.rstrip().split(": ", 2)
    advice = shlex.split(rest.partition("; try: ")[2])
    if (
        not advice
        or advice[0] == "python"
        or "(" in rest.partition("; try: ")[2]
        or any("..." in word for word in advice)
    ):
        return []
    keys = {word: word.partition("=")[0].strip("+ ") for word in (*shlex.split(typed), *advice) if "=" in word}
    replaced = {"", where, *(keys[word] for word in advice)}
    return [*(word for word in shlex.split(typed) if keys.get(word, "") not in replaced), *advice]


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_bad_input_is_one_line_that_helps_and_nothing_is_made(row, project, tmp_path, monkeypatch):
    env = {**os.environ, "PYTHONPATH": str(project / "src"), "WITNESS": str(tmp_path / "imported"), "DEBUG": ""}
    env |= {
        "CUDA_VISIBLE_DEVICES": "",
        "HOME": str(project),
        "XDG_CACHE_HOME": str(tmp_path),
        "MPLCONFIGDIR": str(tmp_path),
    }
    before, start = files(project.parent), os.times()
    line = [sys.executable, "train.py", *shlex.split(row.typed)]
    done = subprocess.run(line, cwd=project, env=env, capture_output=True, text=True)
    # The work that it has done and not the time that passed: other processes run on these cores, too.
    seconds = sum(os.times()[2:4]) - sum(start[2:4])

    assert done.returncode == row.code, done.stdout + done.stderr
    told = re.escape(f"error: {row.told}\n").replace(r"\.\.\.", ".*")
    assert re.fullmatch(told, done.stderr), done.stderr
    assert done.stdout == ""
    assert files(project.parent) == before
    if not row.torch:
        assert (tmp_path / "imported").read_text() == ""
        assert seconds < SECONDS
    monkeypatch.chdir(project)
    if words := advised(row.typed, done.stderr):
        assert checked(words)


def test_a_quoted_number_is_a_number():
    """Row 10."""
    assert checked(["optimizer.lr='1e-3'"]).cfg.optimizer.lr == 0.001


def test_a_rate_that_nobody_uses_is_taken_with_a_word_on_it():
    """Row 17."""
    line = checked(["optimizer.lr=10"])
    assert line.cfg.optimizer.lr == 10
    assert check.notes(line.cfg) == ["optimizer.lr=10 is far above what any optimizer here is used with"]


def test_a_whole_number_may_be_written_with_an_exponent():
    """Row 23."""
    size = checked(["datamodule.batch_size=1e3"]).cfg.datamodule.batch_size
    assert (size, type(size)) == (1000, int)
