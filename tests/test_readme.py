"""The README does what it says: its commands are taken, its files train, its refusals are the real ones."""

import json
import re
import shlex
from pathlib import Path

import pytest

from stride.errors import ConfigError
from stride.pipeline import checked

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
OWN = (ROOT / "docs" / "own.md").read_text(encoding="utf-8")
COMMANDS = sorted(set(re.findall(r"(?:`|^)python train\.py ?([^`\n]*)(?:`|$)", README, flags=re.MULTILINE)))
# These need what the reader has: a run, more files, a GPU, Hydra's front end.
ELSEWHERE = re.compile(r"^\.\.\.$|(run|init_from)=runs/NAME|rings|--help|-sc|trainer=ddp trainer.devices=4")


@pytest.mark.parametrize("words", [words for words in COMMANDS if not ELSEWHERE.search(words)])
def test_each_command_of_the_readme_is_taken(words):
    words = shlex.split(words.replace("--cfg job", ""))
    sweep = "-m" in words
    line = checked([word for word in words if word != "-m"], multirun=sweep)
    assert set(line.overrides) == {word for word in words if word != "-m"}


def test_the_refusals_of_the_readme_are_the_real_ones():
    command, *told = re.search(r"\$ python train\.py (.*?)\n```", README, flags=re.DOTALL)[1].splitlines()
    with pytest.raises(ConfigError) as refused:
        checked(shlex.split(command))
    real = str(refused.value).splitlines()
    assert len(real) == len(told)
    for shown, line in zip(told, real, strict=True):
        assert line.startswith(shown.removesuffix("...").rstrip())


def test_a_model_and_data_of_ones_own_train_from_the_files_of_its_page(copy_of_project, command_in):
    files = re.findall(r"^`((?:src|conf)/\S+)`\n\n```\w+\n(.*?)```", OWN, flags=re.DOTALL | re.MULTILINE)
    assert len(files) == 4
    project = copy_of_project(dict(files))
    typed = re.search(r"```bash\npython (train\.py datamodule=rings.*)\n```", OWN)[1]
    done = command_in(project, *shlex.split(typed), "name=mine", "callbacks.progress=null")
    assert done.returncode == 0, done.stderr
    record = json.loads((project / "runs" / "mine" / "run.json").read_text())
    assert record["status"] == "finished"
    assert record["steps"] == 20 * 12
    assert record["scores"]["test/acc"] > 0.95
    assert record["lr"]["used"] == record["lr"]["found"] > 0.01


def test_the_readme_is_one_sitting():
    assert len(README.splitlines()) <= 220
