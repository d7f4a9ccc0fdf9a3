"""Secrets of the line, of a YAML and of the environment: in no file that a run or a sweep leaves, and on no screen.

A canary is put wherever a secret can be typed, and is looked for in every file in the forms that a file may hold it in.
The classes here are a user's own, which are handed the secrets.
"""

import argparse
import base64
import contextlib
import ipaddress
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import real_runs
import torch
import yaml
from real_runs import SMALL
from torch import nn

import stride
from stride.datamodules.tabular import Table
from stride.errors import ConfigError
from stride.keys import flat
from stride.models.mlp import MLP
from stride.pipeline import checked
from stride.report.metrics_csv import MetricsCSV
from stride.secret import BLANK, is_secret, shown, without_secret, without_secrets
from stride.sweep.trials import _reason

CONF = Path(stride.__file__).parents[2] / "conf"
CANARY = "cAnArYtWeEt"  # all that is secret below begins so
NUMBER = 823764923117
ENVIRONMENT = {
    "STRIDE_ALLOW_TARGETS": "test_secrets",
    "COLUMNS": "200",
    **{
        name: f"{CANARY}{number}"
        for number, name in enumerate(
            ("API_TOKEN", "HF_TOKEN", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD", "MY_CREDENTIALS")
        )
    },
}
MODEL = {
    "api_token": f"{CANARY}a",
    "apiKey": f"{CANARY}b",
    "stripe_key": f"{CANARY}c",
    "password": NUMBER,
    "auth": "{token:" + f"{CANARY}d,user:me" + "}",
    "services": "[{name:a,api_key:" + f"{CANARY}e" + "}]",
    "client_secrets": f"[{CANARY}f,{CANARY}g]",
    "hf": "'${oc.env:HF_TOKEN}'",
    "again": "'${model.api_token}'",
    "url": f"'https://me:{CANARY}h@host/x?token={CANARY}i&y=1'",
    "shell": f"{CANARY}1",  # HF_TOKEN, as `+model.shell=$HF_TOKEN` puts it
}
TYPED = [
    *SMALL,
    "model._target_=test_secrets.Net",
    *(f"+model.{key}={value}" for key, value in MODEL.items()),
    "datamodule._target_=test_secrets.Data",
    f"+datamodule.token={CANARY}j",
    "optimizer=sgd",
    "optimizer._target_=test_secrets.Sgd",
    f"+optimizer.api_key={CANARY}l",
    "logger=default",
    "logger.csv._target_=test_secrets.Log",
    f"+logger.csv.wandb_api_key={CANARY}k",
]


class Net(MLP):
    """A model that gets what was typed, and goes wrong where the environment says so."""

    def __init__(self, *, api_token, apiKey, stripe_key, password, auth, services, client_secrets, hf, again, url,
                 shell, features, classes=None, targets=None, hidden=(8,), norm="batch", dropout=0.0):  # fmt: skip
        super().__init__(features=features, classes=classes, targets=targets, hidden=hidden, norm=norm, dropout=dropout)
        assert (auth["user"], services[0]["name"], password) == ("me", "a", NUMBER)
        texts = [api_token, apiKey, stripe_key, auth["token"], services[0]["api_key"], *client_secrets, hf, again, url]
        assert all(CANARY in text for text in (*texts, shell))
        self.steps = itertools.count()

    def forward(self, x):
        number = next(self.steps) if self.training else 0
        if number == 12:
            match os.environ.get("GOES_WRONG"):
                case "error":
                    raise RuntimeError("the model broke")
                case "term":
                    os.kill(os.getpid(), signal.SIGTERM)
                case "nan":
                    x = x * float("nan")
        return super().forward(x)


class Sgd(torch.optim.SGD):
    def __init__(self, params, *, lr, momentum=0.0, weight_decay=0.0, nesterov=False, dampening=0.0, api_key):
        super().__init__(params, lr, momentum, dampening, weight_decay, nesterov)
        assert CANARY in api_key


class Data(Table):
    def __init__(self, *, token, **others):
        super().__init__(**others)
        assert CANARY in token


class Log(MetricsCSV):
    def __init__(self, *, wandb_api_key, save_dir, purge_step=None):
        super().__init__(save_dir, purge_step)
        assert CANARY in wandb_api_key


# --- looking for it --------------------------------------------------------------------------------------------


def disguises(text):
    """The bytes that tell a text: as it is, in UTF-16, in hexadecimal digits, in base64 wherever it begins."""
    plain = text.encode()
    yield from (plain, text.encode("utf-16-le"), text.encode("utf-16-be"), plain.hex().encode())
    for before in range(3):  # 4 letters stand for 3 bytes: the first and the last share theirs with what is beside
        coded = base64.b64encode(bytes(before) + plain)
        yield coded[4 if before else 0 : 4 * ((before + len(plain)) // 3)]


NEEDLES = [needle for text in (CANARY, str(NUMBER)) for needle in disguises(text)] + [NUMBER.to_bytes(8, "little")[:5]]


def tells(content):
    return [needle for needle in NEEDLES if needle in content]


def contents(path):
    """A file, and what is packed in it."""
    yield str(path), path.read_bytes()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                yield f"{path}:{name}", archive.read(name)


def leaks(folder):
    """Every file below a folder that tells a canary; names are searched, too."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    found = [name for path in files for name, content in contents(path) if tells(content)]
    return found + [str(path) for path in files if tells(str(path).encode())]


def test_a_canary_is_found_in_whatever_it_hides(tmp_path):
    import pickle

    for number, content in enumerate((CANARY, f"x{CANARY}", f"xy{CANARY}")):
        (tmp_path / f"{number}-64").write_bytes(base64.b64encode(content.encode()))
    (tmp_path / "utf16").write_text(CANARY, encoding="utf-16")
    (tmp_path / "pickle").write_bytes(pickle.dumps({"password": NUMBER}))
    torch.save({"hyper_parameters": {"token": CANARY}}, tmp_path / "zip")
    with zipfile.ZipFile(tmp_path / "deflated", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inside", CANARY * 50)
    (tmp_path / f"name-{CANARY}").touch()
    assert len({leak.partition(":")[0] for leak in leaks(tmp_path)}) == 8


# --- runs ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    with real_runs.started(tmp_path_factory.mktemp("secrets")) as runs:
        yield runs


def lines_of(ended):
    return [line for line in ended.err.splitlines() if line.startswith("error: ")]


@pytest.fixture(scope="module")
def all_ways(runs):
    """How each kind of run ended, by its name."""

    def run(name, *words, wrong="", line=TYPED):
        return runs([*line, *words, f"name={name}"], environment={**ENVIRONMENT, "GOES_WRONG": wrong})

    return {
        "whole": run("whole"),
        "broken": run("broken", wrong="error"),
        "diverged": run("diverged", wrong="nan"),
        "stopped": run("stopped", wrong="term"),
        "resumed": run("stopped"),
        "folds": run("folds", "cv.folds=2"),
        "tuned": run("tuned", "task=tune", "lr_finder.trial=0", "lr_finder.picker=divergence"),
        "planned": run("planned", "task=plan"),
        "other": run("whole", f"+model.client_secret={CANARY}"),
        "again": run("whole"),
        "refused": run("refused", f"+model.apiKee={CANARY}", f"+model.token={CANARY},{CANARY}", f"+x.token={CANARY}"),
    }


def test_every_kind_of_run_gets_the_secrets_and_leaves_none(all_ways, runs):
    codes = {"broken": 1, "diverged": 4, "stopped": 143, "other": 2, "again": 2, "refused": 2}
    for name, ended in all_ways.items():
        assert ended.code == codes.get(name, 0), f"{name}: {ended.err}"
        assert not tells((ended.out + ended.err).encode()), f"{name}: {ended.out + ended.err}"
    assert "RuntimeError: the model broke" in all_ways["broken"].err
    assert "to train:" in all_ways["tuned"].out
    assert len(lines_of(all_ways["refused"])) == 3
    assert (runs.folder / "folds" / "fold-1" / "checkpoints" / "last.ckpt").is_file()
    assert leaks(runs.folder) == []


def test_a_report_by_hand_leaves_none(all_ways, runs, tmp_path):
    line = [sys.executable, "-m", "stride.report", str(runs.folder), "--to", str(tmp_path / "page")]
    done = subprocess.run(line, capture_output=True, text=True, env=os.environ | ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    assert not tells((done.stdout + done.stderr).encode())
    assert leaks(tmp_path) == []


def test_what_is_not_secret_is_kept_and_so_is_where_a_secret_comes_from(all_ways, runs):
    kept = yaml.safe_load((runs.folder / "whole" / "config.yaml").read_text())["model"]
    assert kept["auth"] == {"token": BLANK, "user": "me"}
    assert kept["services"] == [{"name": "a", "api_key": BLANK}]
    assert kept["client_secrets"] == [BLANK, BLANK]
    assert kept["password"] == kept["shell"] == BLANK
    assert kept["url"] == f"https://me:{BLANK}@host/x?token={BLANK}&y=1"
    assert (kept["hf"], kept["again"]) == ("${oc.env:HF_TOKEN}", "${model.api_token}")
    words = json.loads((runs.folder / "whole" / "run.json").read_text())["overrides"]
    assert {"+model.hf='${oc.env:HF_TOKEN}'", "+model.api_token=***", "model.hidden=[8]"} <= set(words)


GIVEN = [f"model.{key}={value}" for key, value in MODEL.items() if key not in ("hf", "again")]


def test_a_run_without_its_secrets_is_refused_and_tested_with_them(all_ways, runs):
    """What was blanked is named, each key with how it is given again; nothing is called with what stands there."""
    line = ["task=test", f"run={runs.folder / 'whole'}"]
    ended = runs(line, environment=ENVIRONMENT)
    assert ended.code == 2
    told = "error: model.api_token: is ***; *** stands for a secret, which no run keeps; give it again"
    assert f"{told}; try: model.api_token='${{oc.env:API_TOKEN}}'" in lines_of(ended)
    keys = {re.split(": ", line)[1] for line in lines_of(ended)}
    assert keys == {
        *("model.api_token", "model.apiKey", "model.stripe_key", "model.password", "model.auth.token", "model.again"),
        *("model.services.0.api_key", "model.client_secrets.0", "model.client_secrets.1", "model.url", "model.shell"),
        *("datamodule.token", "optimizer.api_key"),
    }
    again = [word for word in GIVEN if not word.startswith("model.auth=")] + [f"model.auth.token={CANARY}d"]
    again += [f"datamodule.token={CANARY}j", f"optimizer.api_key={CANARY}l"]
    ended = runs([*line, *again], environment=ENVIRONMENT)
    assert ended.code == 0, ended.err
    assert leaks(runs.folder) == []


def test_a_secret_of_the_environment_is_asked_of_it_again(runs, monkeypatch):
    """Nothing has to be typed where there is the same variable; where there is not, it is named."""
    monkeypatch.setenv("STRIDE_ALLOW_TARGETS", "test_secrets")
    line = [*SMALL, "model._target_=test_secrets.Hub", "+model.hf_token='${oc.env:HF_TOKEN}'", "name=hub"]
    assert runs(line, environment=ENVIRONMENT).code == 0
    folder = runs.folder / "hub"
    assert runs(["task=test", f"run={folder}"], environment=ENVIRONMENT).code == 0
    monkeypatch.setenv("HF_TOKEN", f"{CANARY}of today")
    assert stride.load(folder).network.token == f"{CANARY}of today"
    monkeypatch.delenv("HF_TOKEN")
    told = "^error: model.hf_token: there is no HF_TOKEN in the environment; try: export HF_TOKEN=...$"
    with pytest.raises(ConfigError, match=told):
        stride.load(folder)
    with pytest.raises(ConfigError, match=told):
        checked(["task=test", f"run={folder}"])


class Hub(MLP):
    def __init__(self, *, hf_token, features, classes, targets=None, hidden=(8,), norm="batch", dropout=0.0):
        super().__init__(features=features, classes=classes, targets=targets, hidden=hidden, norm=norm, dropout=dropout)
        self.token = hf_token


class Remembers(Data):
    def __init__(self, *, token, **others):
        super().__init__(token=token, **others)
        self.save_hyperparameters()


def test_what_lightning_saves_of_constructors_has_no_secret(runs):
    """In checkpoints, in TensorBoard's events and in its hparams.yaml."""
    line = [*SMALL, "logger=default", "datamodule._target_=test_secrets.Remembers", f"+datamodule.token={CANARY}"]
    ended = runs([*line, "name=remembers"], environment=ENVIRONMENT)
    assert ended.code == 0, ended.err
    folder = runs.folder / "remembers"
    saved = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["datamodule_hyper_parameters"]
    assert (saved["token"], saved["dataset"]) == (BLANK, "wine")
    assert leaks(folder) == []


@pytest.mark.parametrize("words", [["--cfg", "job", "--resolve"], ["--cfg", "job"], ["sweep.jobs=2"]], ids=" ".join)
def test_what_the_front_prints_has_no_secret(runs, words):
    ended = runs([*TYPED, *words], environment=ENVIRONMENT)
    assert ended.code == (0 if words[0] == "--cfg" else 2)
    assert f"api_token{': ' if words[0] == '--cfg' else '='}" in ended.out + ended.err
    assert not tells((ended.out + ended.err).encode())


def test_a_run_is_not_loaded_with_what_stands_for_a_secret(all_ways, runs, monkeypatch):
    monkeypatch.setenv("STRIDE_ALLOW_TARGETS", "test_secrets")
    monkeypatch.setenv("HF_TOKEN", "today")
    with pytest.raises(
        ConfigError, match=r"error: model.stripe_key: is \*\*\*; .*give it again; try: model.stripe_key="
    ):
        stride.load(runs.folder / "whole")


def test_a_line_that_was_copied_from_a_record_is_refused():
    with pytest.raises(ConfigError, match=r"^error: sweep.storage: is postgresql://me:\*\*\*@host/db; .*give it again"):
        checked(["optimizer.lr=1e-3,1e-2", "sweep.storage=postgresql://me:***@host/db"], multirun=True)


def test_a_secret_is_not_swept():
    """Every value of a sweep is in its study, its report and on the screen."""
    with pytest.raises(ConfigError) as refused:
        checked(
            ["objective.loss._target_=test_secrets.Loss", f"+objective.loss.token={CANARY}1,{CANARY}2"], multirun=True
        )
    assert "error: objective.loss.token: holds a secret by its name, and is not swept" in str(refused.value)
    assert CANARY not in str(refused.value)


class Loss(nn.CrossEntropyLoss):
    def __init__(self, *, token):
        super().__init__()


def test_a_run_goes_on_without_its_secrets_being_compared(all_ways, runs, tmp_path):
    """Another token is the same run, also where it came from the environment and is typed now."""
    other = {"api_token": f"{CANARY}other", "hf": f"{CANARY}other", "client_secrets": f"[{CANARY}other]"}
    line = [f"+model.{key}={value}" for key, value in (MODEL | other).items()]
    line = [*(word for word in TYPED if not word.startswith("+model.")), *line]
    shutil.copytree(runs.folder / "stopped", tmp_path / "stopped")
    record = tmp_path / "stopped" / "run.json"
    record.write_text(record.read_text().replace('"finished"', '"interrupted"'))
    without = {name: value for name, value in ENVIRONMENT.items() if name != "HF_TOKEN"}
    ended = runs([*line, "name=stopped", f"output_root={tmp_path}"], environment=without)
    assert ended.code == 0, ended.err


def test_the_reason_why_a_trial_failed_tells_no_secret(tmp_path, monkeypatch):
    """It goes into the study and the report."""
    monkeypatch.setenv("HF_TOKEN", f"{CANARY}1")
    (tmp_path / "log").write_text(f"HTTPError: 401 for https://host/x?token={CANARY}2 and {CANARY}1\n")
    assert _reason(1, tmp_path / "log") == f"HTTPError: 401 for https://host/x?token={BLANK} and {BLANK}"


@pytest.mark.parametrize(("more", "alone"), [([], True), (["--bind_all"], False)], ids=["as printed", "bind_all"])
def test_the_tensorboard_that_the_card_names_serves_this_machine_alone(all_ways, more, alone):
    from tensorboard import program
    from tensorboard.plugins.core.core_plugin import CorePluginLoader

    words = re.search(r"tensorboard (--logdir \S+)", all_ways["whole"].out)[1].split()
    parser = argparse.ArgumentParser()
    CorePluginLoader().define_flags(parser)
    server = program.WerkzeugServer(lambda environment, start: [], parser.parse_args([*words, *more, "--port", "0"]))
    with contextlib.closing(server.socket) as socket:
        assert ipaddress.ip_address(socket.getsockname()[0]).is_loopback == alone


# --- the rule --------------------------------------------------------------------------------------------------

SECRET = (
    "token hf_token HF_TOKEN apiToken api_tokens tokens hftoken API-KEY api_key apikey wandb_api_key apiKey sshKey key "
    "AWS_SECRET_ACCESS_KEY stripe_key private_key api_key_2 access_key_id secret client_secret secrets secret_name "
    "db_password PGPASSWORD passwd passphrase db_pwd credentials GOOGLE_APPLICATION_CREDENTIALS id_token data_token"
)
NOT_SECRET = (
    "n_tokens num_tokens max_tokens token_dim tokenizer tokenize tokens_per_step token_embedding pad_token eos_token "
    "mask_token special_tokens image_token monkey turkey keyboard keys keypoints key_dim d_key n_key image_key "
    "label_key public_key sort_key query_key key_padding_mask num_key_value_heads secretary author auth path api"
)


@pytest.mark.parametrize("name", SECRET.split())
def test_these_names_hold_a_secret(name):
    assert is_secret(name)


@pytest.mark.parametrize("name", NOT_SECRET.split())
def test_these_names_hold_none(name):
    assert not is_secret(name)


def test_no_key_of_conf_is_taken_for_a_secret():
    nodes = [yaml.safe_load(path.read_text()) for path in CONF.rglob("*.yaml")]
    names = {key.rpartition(".")[2] for node in nodes for key, _ in flat(node)}
    assert len(names) > 150
    assert [name for name in names if is_secret(name)] == []


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("+model.hf_token=x", "+model.hf_token=***"),
        ("+credentials.user=x", "+credentials.user=***"),
        ("+model.auth={token:x,user:me}", "+model.auth={token:***,user:me}"),
        ("+model.auth={'token': 'x y', n: 1}", "+model.auth={'token': ***, n: 1}"),
        ("+model.all=[{api_key:x},{key:[x,y]}]", "+model.all=[{api_key:***},{key:***}]"),
        ("sweep.storage=postgresql://me:s3:cr@t@host:5432/db", "sweep.storage=postgresql://me:***@host:5432/db"),
        ("+model.url=https://host:80/@x?api_key=x&y=1", "+model.url=https://host:80/@x?api_key=***&y=1"),
        ("+model.token='${oc.env:HF_TOKEN}'", "+model.token='${oc.env:HF_TOKEN}'"),
        ("+model.token='${oc.env:HF_TOKEN,x}'", "+model.token=***"),
        ("+model.token=null", "+model.token=null"),
        ("+model.tokens=5000", "+model.tokens=5000"),
        ("model.hidden=[8,8]", "model.hidden=[8,8]"),
        ("sweep.storage=grpc://host:13000", "sweep.storage=grpc://host:13000"),
    ],
)
def test_a_word_is_kept_without_what_is_secret_in_it(word, told):
    assert without_secret(word) == told


def test_a_secret_is_blanked_wherever_its_text_turns_up(monkeypatch):
    monkeypatch.setenv("MY_KEY", "of the environment")
    monkeypatch.setenv("OTHER_KEY", "/path/of/a/file")
    plain = {
        "token": "long enough",
        "short": {"password": "abc", "n": 5, "pin_secret": 1234, "flag_secret": True, "no_secret": None},
        "elsewhere": ["abc", "so long enough it is", "of the environment", "/path/of/a/file"],
        "key": {"_target_": "torch.nn.Linear", "bias": "long"},
    }
    assert without_secrets(plain) == {
        "token": BLANK,
        "short": {"password": BLANK, "n": 5, "pin_secret": BLANK, "flag_secret": True, "no_secret": None},
        "elsewhere": ["abc", f"so {BLANK} it is", BLANK, "/path/of/a/file"],
        "key": {"_target_": "torch.nn.Linear", "bias": "long"},
    }


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("${oc.env:HF_TOKEN}", "${oc.env:HF_TOKEN}"),
        ("${other.token}", "${other.token}"),
        ("https://${oc.env:HF_TOKEN}@host", "https://${oc.env:HF_TOKEN}@host"),
        ("${oc.env:HF_TOKEN,a default may be one, too}", BLANK),
        ("x-secret", BLANK),
    ],
)
def test_an_interpolation_is_kept_in_a_secrets_place_unless_it_tells_something(written, kept):
    plain = {"a": "x-secret", "token": "x-secret"}
    assert without_secrets(plain, {"a": written, "token": "x-secret"})["a"] == kept


def test_a_text_for_a_person_is_one_line_that_steers_no_terminal():
    assert (
        shown("a\x1b[31m\nb\u202e")
        == "a\N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}"
    )


# --- sweeps ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_sweep_hands_its_trials_the_secrets_and_leaves_none(tmp_path):
    """Also one whose trials fail, and one that goes on."""
    storage = f"sqlite:///{tmp_path / 'study.db'}?password={CANARY}"
    places = os.pathsep.join(map(str, (real_runs.HERE, Path(stride.__file__).parents[1])))
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": places}

    def sweep(*words, code=0, **more):
        line = [sys.executable, str(real_runs.TRAIN), "-m", *TYPED, *words, f"output_root={tmp_path / 'runs'}"]
        done = subprocess.run(line, capture_output=True, text=True, env=environment | more)
        assert not tells((done.stdout + done.stderr).encode()), done.stdout + done.stderr
        assert done.returncode == code, done.stdout + done.stderr

    rates = "optimizer.lr=1e-3,1e-2"
    sweep(rates, "sweep.jobs=2", "sweep.confirm=2", "name=grid")
    sweep(rates, "sweep.jobs=2", "name=broken", code=1, GOES_WRONG="error")
    sweep("sweep=bayes", "sweep.trials=2", "name=bayes", f"sweep.storage='{storage}'")
    sweep(rates, "task=plan", "name=plan", f"sweep.storage=postgresql://me:{CANARY}@host/db")
    assert leaks(tmp_path) == []
    assert (tmp_path / "runs" / "broken" / "logs" / "0-stderr.log").read_text()
