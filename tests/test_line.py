"""Every word that a person can get wrong is answered by one line that names the key and what to type."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stride import check
from stride.errors import ConfigError
from stride.line import read
from stride.pipeline import checked

ROOT = Path(__file__).resolve().parents[1]

# words -> the key that is named, and a part of what is said about it; tests/test_bad_input.py has more of them, each as
# a process of its own
REFUSED = [
    (["model.learning_rate=0.1"], "model.learning_rate", "stride.models.cnn.CNN takes no such argument"),
    (["epochs=3"], "epochs", "try: trainer.max_epochs=3"),
    (["max_epochs=3"], "max_epochs", "try: trainer.max_epochs=3"),
    (["batch_size=3"], "batch_size", "try: datamodule.batch_size=3"),
    (["optimzer=adam"], "optimzer", "try: optimizer=adam"),
    (["Model.dropout=0.1"], "Model.dropout", "did you mean `model.dropout`?"),
    (["optimizer.lr=0.1,0.2"], "optimizer.lr", "a sweep needs -m"),
    (["optimizer.lr=", "0.1"], "optimizer.lr", "has a space beside `=`; try: optimizer.lr=0.1"),
    (["warmup.length=5", "steps"], "warmup.length", "torn apart at a space; quotes keep it together; try: 'warmup.l"),
    (["=0.1"], "'=0.1'", "has no key"),
    (["--lr", "0.1"], "--lr", "try: optimizer.lr=0.1"),
    (["--optimizer=adam"], "--optimizer", "try: optimizer=adam"),
    (["--gpu"], "--gpu", "try: trainer=gpu"),
    (["--multirun=true"], "--multirun", "try: python train.py -m"),
    (["--config-dir=/tmp"], "--config-dir", "a recipe is an experiment"),
    (["hlep"], "hlep", "try: python train.py --help"),
    (["linear"], "linear", "try: lr_scaling=linear, or scheduler=linear, or warmup=linear"),
    (["optimizer"], "optimizer", "has no `=`; choices: adadelta, "),
    (["optimizer.lr=0.1.2"], "optimizer.lr", "expected a number, got '0.1.2'; try: optimizer.lr=0.001"),
    (["optimizer.lr=(0.1)"], "optimizer.lr", "cannot read the value '(0.1)'; try: optimizer.lr=0.001"),
    (["model.dropout=50%"], "model.dropout", "try: model.dropout=0.5"),
    (["trainer.max_epochs=20 epochs"], "trainer.max_epochs", "try: trainer.max_epochs=20"),
    (["trainer.max_time=None"], "trainer.max_time", "try: trainer.max_time=null"),
    (["warmup=5%"], "warmup", "try: warmup.length=5%"),
    (["warmup=500"], "warmup", "try: warmup.length='500 steps'"),
    (["model.widths=32,64"], "model.widths", "a sweep needs -m; try: model.widths=[32,64]"),
    (["scheduler=sequence", "scheduler.parts=5"], "scheduler.parts", "try: scheduler.parts=[{law:constant,length:"),
    (["logger=csv,tensorboard"], "logger", "a sweep needs -m; try: logger=[csv,tensorboard]"),
    (["optimizer.betas=5"], "optimizer.betas", "expected a list"),
    (["callbacks.early_stopping=5"], "callbacks.early_stopping", "set one of them"),
    (["~model"], "~model", "try: model=none"),
    (["~callbacks.progress"], "~callbacks.progress", "try: callbacks.progress=null"),
    (["name=???"], "name", "is required"),
    (["optimizer.lr=${oc.env:STRIDE_NO_SUCH}"], "optimizer.lr", "STRIDE_NO_SUCH"),
    (["seed=[1"], "seed", "cannot read the value"),
    (["seed.x=1"], "seed.x", "no such key"),
    (["name=a:b=c"], "name", "needs quotes of its own"),
    (["name=a/b"], "name", "try: name=a-b"),
    (["task=tets"], "task", "try: task=test"),
    (["task=test"], "run", "task=test needs the folder of a run"),
    (["task=test", "run=no_such_run"], "run", "no run at 'no_such_run'"),
    (["run=runs/a"], "run", "is not read by task=train"),
    (["warmup=none", "warmup.length=5%"], "warmup.length", "warmup=none has nothing to set; try: warmup="),
    (["scheduler=one_cycle", "warmup.length=5%"], "warmup.length", "nothing to set"),
    (["logger=[tensorboard,cvs]"], "logger", "did you mean `csv`?"),
]


@pytest.mark.parametrize(
    ("words", "key", "said"), REFUSED, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_a_wrong_word_is_refused_by_name(words, key, said, refusal):
    assert said in refusal(words, key)


def test_all_faults_of_a_line_are_told_at_once():
    with pytest.raises(ConfigError) as refused:
        checked(["optimizer=nope", "scheduler=cosin", "seed=x", "warmup.length=-5%", "datamodule.batch_size=0"])
    told = {fault.where for fault in refused.value.faults}
    assert told == {"optimizer", "scheduler", "seed", "warmup.length", "datamodule.batch_size"}


@pytest.mark.parametrize(
    ("words", "key", "value"),
    [
        (["optimizer.amsgrad=true"], "optimizer.amsgrad", True),  # no YAML names it, the signature does
        (["+optimizer.amsgrad=true"], "optimizer.amsgrad", True),
        (["callbacks.early_stopping=null"], "callbacks.early_stopping", None),
        (["optimizer=sgd", "optimizer.lr=0.2"], "optimizer.lr", 0.2),
        (["name=run-1.b"], "name", "run-1.b"),
        (["name=007"], "name", "007"),
        (["datamodule=text", "datamodule.pattern='a\N{EN DASH}b'"], "datamodule.pattern", "a\N{EN DASH}b"),
        (["trainer.max_epochs=-1", "trainer.max_steps=50"], "trainer.max_steps", 50),
        (["warmup.length='20 steps'"], "warmup.length", "20 steps"),
        (["callbacks=none"], "callbacks", {}),
        (["scheduler=one_cycle"], "warmup", {}),
    ],
    ids=str,
)
def test_a_right_word_is_taken(words, key, value):
    from omegaconf import OmegaConf

    found = OmegaConf.select(checked(words).cfg, key)
    assert found == value
    assert type(found) is type(value) or isinstance(value, dict)


def test_a_typed_model_beats_the_one_that_the_datamodule_brings():
    line = checked(["datamodule=wine"])
    assert line.cfg.model._target_.endswith(".MLP")
    assert line.cfg.objective._target_.endswith(".Classification")
    assert checked(["datamodule=digits", "model=resnet"]).cfg.model._target_.endswith(".ResNet")


def test_help_and_config_come_without_torch_and_leave_no_folder(tmp_path):
    script = (
        "import sys; from stride.cli import main; code = main(sys.argv[1:]); "
        "print(code, sorted({'torch', 'pytorch_lightning', 'optuna', 'matplotlib'} & set(sys.modules)))"
    )
    for words in (["--help"], ["--cfg", "job"]):
        done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, cwd=tmp_path)
        assert done.stdout.splitlines()[-1] == "0 []", done.stdout + done.stderr
        assert list(tmp_path.iterdir()) == []
    assert "Traceback" not in done.stderr


def test_help_does_not_even_import_hydra():
    script = "import sys; from stride.cli import main; main(['--help']); print('hydra' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "False"
    assert "optimizer     adadelta" in done.stdout


def test_who_reads_the_help_may_stop_before_its_end():
    reads, writes = os.pipe()
    os.close(reads)
    with os.fdopen(writes, "wb") as nobody:
        done = subprocess.run([sys.executable, ROOT / "train.py", "--help"], stdout=nobody, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_typo_in_a_yaml_is_refused_as_on_the_line(tmp_path):
    conf = shutil.copytree(ROOT / "conf", tmp_path / "conf")
    text = "# @package _global_\noptimzer:\n  lr: 1\noptimizer:\n  lrr: 0.1\n"
    (conf / "experiment" / "typo.yaml").write_text(text)
    line, faults = read(["experiment=typo"], conf=conf)
    told = {fault.where: str(fault) for fault in [*faults, *check.faults(line.cfg)]}
    assert "did you mean `optimizer`?" in told["optimzer"]
    assert "did you mean `optimizer.lr`?" in told["optimizer.lrr"]


def test_a_yaml_that_cannot_be_read_is_one_line(tmp_path):
    conf = shutil.copytree(ROOT / "conf", tmp_path / "conf")
    (conf / "model" / "cnn.yaml").write_text("widths: [1, 2\n")
    with pytest.raises(ConfigError, match=r"error: conf: .*cnn"):
        read([], conf=conf)
