"""Rules on values, each asked through a whole line."""

import re
from pathlib import Path

import pytest

from stride import check
from stride.errors import ConfigError
from stride.line import read
from stride.pipeline import checked

CONF = Path(__file__).resolve().parents[1] / "conf"


def torchs(name, *arguments):
    return [
        "scheduler=torch",
        f"scheduler._target_=torch.optim.lr_scheduler.{name}",
        *(f"scheduler.{a}" for a in arguments),
    ]


REFUSED = [
    (["optimizer.lr=inf"], "optimizer.lr", "got inf"),
    (["optimizer.lr=0"], "optimizer.lr", "got 0"),
    (["model=mlp", "model.hidden=[64,x]"], "model.hidden.1", "must be an integer >= 1; got x"),
    (["datamodule.shift=9"], "datamodule.shift", "<= 7; got 9"),
    (["datamodule.val_fraction=0.9"], "datamodule.val_fraction", "`val_fraction + test_fraction < 1` must hold"),
    (["optimizer.betas=[0.9,1.0]"], "optimizer.betas.1", ">= 0 and < 1; got 1.0"),
    (["optimizer.weight_decay=-0.1"], "optimizer.weight_decay", ">= 0"),
    (["model.dropout=1.5"], "model.dropout", "< 1; got 1.5"),
    (["seed=-1"], "seed", "<= 4294967295"),
    (["trainer.max_epochs=-1"], "trainer.max_steps", "the run has no length"),
    (["trainer.max_epochs=-1", "trainer.max_time='00:01:00:00'"], "trainer.max_steps", "never the schedule's horizon"),
    (["trainer.precision=bf16"], "trainer.precision", "try: trainer.precision=bf16-mixed"),
    (["trainer.precision=16"], "trainer.precision", "try: trainer.precision=16-mixed"),
    (["trainer.strategy=dpp"], "trainer.strategy", "try: trainer.strategy=ddp"),
    (["trainer.precision=32.0"], "trainer.precision", "no precision 32.0; known: 32-true, "),
    (["trainer.gradient_clip_algorithm=nrom"], "trainer.gradient_clip_algorithm", "known: norm, value; try: trainer.g"),
    (["trainer.profiler=smple"], "trainer.profiler", "try: trainer.profiler=simple"),
    (["trainer.strategy=null"], "trainer.strategy", "no strategy None; known: auto, ddp"),
    (["trainer.devices=0"], "trainer.devices", "auto, or an integer >= 1"),
    (["trainer.devices=true"], "trainer.devices", "True is no number of devices"),
    (["trainer.devices=[]"], "trainer.devices", "[] is no number of devices"),
    (["trainer.accelerator=cpu", "trainer.strategy=fsdp"], "trainer.strategy", "needs a GPU"),
    (["trainer.limit_train_batches=2.5"], "trainer.limit_train_batches", "0.0 to 1.0, or a whole number of batches"),
    (["trainer.val_check_interval=0"], "trainer.val_check_interval", "got 0"),
    (["trainer.max_time=soon"], "trainer.max_time", "it is days:hours:minutes:seconds"),
    (["time_limit=2"], "time_limit", "a number above 0 and its unit; try: time_limit='2 hours'"),
    (["time_limit=5%"], "time_limit", "no time: 5%"),
    (["warmup.length='30 epochs'"], "warmup.length", "30 epochs is longer than the run"),
    (["warmup.length=120%"], "warmup.length", "120% is longer than the run"),
    (["warmup.length='5 apples'"], "warmup.length", "no known unit"),
    (["warmup.length='5 minutes'"], "warmup.length", "wall-clock"),
    (["warmup.length=5"], "warmup.length", "has no unit"),
    (["warmup.length='-5 steps'"], "warmup.length", "`0 <= duration < inf` must hold"),
    (["warmup=untuned", "trainer.max_steps=500"], "warmup.beta2", "try: warmup=linear warmup.length=5%"),
    (
        ["warmup=untuned", "optimizer=sgd"],
        "warmup.beta2",
        "this optimizer has no betas to read it from; try: warmup=linear",
    ),
    (["scheduler.T_max=100"], "scheduler.T_max", "a law is told how long the run is; try: trainer.max_steps=100"),
    (["scheduler.gamma=0.9"], "scheduler.gamma", "takes no such argument; it takes floor"),
    (["scheduler.floor=1.5"], "scheduler.floor", "`0 <= floor <= 1` must hold, but got floor=1.5"),
    (["scheduler=rex", "scheduler.floor=-1"], "scheduler.floor", "`0 <= floor <= 1` must hold"),
    (["scheduler=wsd", "scheduler.decay=120%"], "scheduler.decay", "longer than the run"),
    (["scheduler=step", "scheduler.every='0 steps'"], "scheduler.every", "`every >= 1` must hold, but got every=0"),
    (["scheduler=cyclic", "scheduler.half_cycle=0%"], "scheduler.half_cycle", "`half_cycle >= 1` must hold"),
    (["scheduler=cyclic", "scheduler.low=1.5"], "scheduler.low", "`0 <= low <= 1` must hold, but got low=1.5"),
    (["scheduler=cyclic", "scheduler.momentum=[0.9,0.8]"], "scheduler.momentum", "but got momentum=[0.9, 0.8]"),
    (["scheduler=plateau", "objective.score.name=val/f1"], "objective.score.name", "logged: val/loss, val/acc"),
    (["scheduler=plateau", "objective.score.name=null"], "objective.score.name", "may not be null"),
    (["scheduler=one_cycle", "warmup=linear"], "warmup", "brings its own warm-up"),
    (["scheduler=sequence", "scheduler.parts.1.law=cosin"], "scheduler.parts.1.law", "did you mean `cosine`?"),
    (["scheduler=sequence", "scheduler.parts.1.floor=1.5"], "scheduler.parts.1.floor", "`0 <= floor <= 1` must hold"),
    (
        ["scheduler=sequence", "scheduler.parts.0.length=60%"],
        "scheduler.parts",
        "but got parts=60% + 50%, 110% of the run",
    ),
    (
        ["scheduler=sequence", "scheduler.parts=[{law: wsd, decay: 120%}]"],
        "scheduler.parts.0.decay",
        "120% is longer than the part",
    ),
    (
        ["scheduler=sequence", "scheduler.parts=[{law: cyclic, half_cycle: 10%, low: 0}]"],
        "scheduler",
        "cyclic brings its own",
    ),
    (
        ["scheduler._target_=torch.optim.lr_scheduler.StepLR"],
        "scheduler.floor",
        "try: scheduler=torch scheduler._target_=torch.optim.lr_scheduler.StepLR",
    ),
    (torchs("StepRL"), "scheduler._target_", "did you mean `torch.optim.lr_scheduler.StepLR`?"),
    (torchs("SequentialLR"), "scheduler._target_", "it is made of other schedulers; try: scheduler=sequence"),
    (torchs("ReduceLROnPlateau"), "scheduler._target_", "after each validation; try: scheduler=plateau"),
    (torchs("StepLR"), "scheduler", "StepLR needs step_size; try: scheduler.step_size=30%"),
    (torchs("StepLR", "step_size=9", "step_sze=9"), "scheduler.step_sze", "try: scheduler.step_size=9"),
    (torchs("StepLR", "step_size=9", "last_epoch=9"), "scheduler.last_epoch", "it takes step_size, gamma, interval"),
    (torchs("StepLR", "step_size=0"), "scheduler.step_size", "write a whole number of ticks from 1, or a duration"),
    (torchs("StepLR", "step_size=120%"), "scheduler.step_size", "120% is longer than the run"),
    (torchs("MultiStepLR", "milestones=[30%,0]"), "scheduler.milestones", "write a whole number of ticks from 1"),
    (torchs("StepLR", "step_size=9", "interval=batch"), "scheduler.interval", "`interval in (step, epoch)` must hold"),
    (
        torchs("CyclicLR", "base_lr=1"),
        "scheduler.base_lr",
        "`base_lr <= max_lr` must hold, but got base_lr=1, max_lr=0.001",
    ),
    (
        torchs("OneCycleLR"),
        "scheduler",
        "OneCycleLR brings its own warm-up, and a second one would bend it; try: warmup=none",
    ),
    (
        ["scheduler._target_=stride.lr.schedule.cosin"],
        "scheduler._target_",
        "did you mean `stride.lr.schedule.cosine`?",
    ),
    (["optimizer._target_=torch.nn.functional.torch.load"], "optimizer._target_", "there is no torch.nn.functional.t"),
    (["model._target_=stride.models.head.nn.Linear"], "model._target_", "stride.models.head.nn has no Linear"),
    (["model._target_=stride.run_folder.remove"], "model._target_", "may not be called; it runs the training"),
    (["model._target_=stride.load"], "model._target_", "may not be called; it runs the training"),
    (["model._target_=torch.nn.modules.module._load"], "model._target_", "a name that begins with `_` is private"),
    (["+model._partial_=maybe"], "model._partial_", "says nothing that Hydra could do; got 'maybe'"),
    (["model.widths='\\${seed}'"], "model.widths", "leads to another ${...}"),
    (["model._target_=numpy.load"], "model._target_", "try: STRIDE_ALLOW_TARGETS=numpy python train.py"),
    (
        ["callbacks.early_stopping._target_=lightning.pytorch.callbacks.EarlyStopping"],
        "callbacks.early_stopping._target_",
        "did you mean `pytorch_lightning.callbacks.EarlyStopping`?",
    ),
    (["output_root=''"], "output_root", "names no folder"),
    (["output_root='~/runs'"], "output_root", "`~` is not expanded here; try: output_root=/"),
    (["name=.."], "name", "is no name for a folder"),
    ([f"name={'a' * 81}"], "name", f"try: name={'a' * 80}"),
    (["name=a."], "name", "; try: name=a"),
    (["name=nul.txt"], "name", "no device of Windows; try: name=run-nul.txt"),
    (["name=COM1"], "name", "no device of Windows; try: name=run-COM1"),
    (["name=-rf"], "name", "try: name=rf"),
    (["name='/etc/x'"], "name", "try: name=etc-x"),
    (["logger.tensorboard.name=../../x"], "logger.tensorboard.name", "leads out of the folder"),
    (["logger.tensorboard.version=/x"], "logger.tensorboard.version", "leads out of the folder"),
    (["+logger.tensorboard.sub_dir=a/../../x"], "logger.tensorboard.sub_dir", "leads out of the folder"),
    (["+trainer.default_root_dir=/x"], "trainer.default_root_dir", "its own folder; try: output_root=/x"),
    (["logger.csv.save_dir=logs"], "logger.csv.save_dir", "null is that folder; try: logger.csv.save_dir=null"),
    (["callbacks.early_stopping.patience=7"], "callbacks.early_stopping.patience", "has no unit"),
    (["objective.score.name=val/f1"], "objective.score.name", "logged: val/loss, val/acc"),
    (["objective.score.mode=best"], "objective.score.mode", "min or max"),
    (["+optimizer.amsgard=true"], "optimizer.amsgard", "try: optimizer.amsgrad=true"),
    (["datamodule=text", "datamodule.path=''"], "datamodule.path", "there is no ''"),
    (["datamodule=text", "datamodule.path=no/such/folder"], "datamodule.path", "there is no 'no/such/folder'"),
    (
        ["callbacks.checkpoint_best.save_top_k=3"],
        "callbacks.checkpoint_best.save_top_k",
        "would share the name best.ckpt",
    ),
    (["cv.folds=1"], "cv.folds", "must be an integer >= 2; got 1"),
    (["cv.folds=five"], "cv.folds", "must be an integer >= 2; got five"),
    (["cv.folds=5", "cv.splitter=stratifed"], "cv.splitter", "try: cv.splitter=stratified"),
    (["cv.folds=5", "cv.splitter=repeated"], "cv.splitter", "needs cv.repeats >= 2; got 1"),
    (["cv.folds=5", "cv.repeats=2"], "cv.repeats", "try: cv.splitter=repeated cv.repeats=2"),
    (["cv.folds=5", "cv.fold=5"], "cv.fold", "to cv.folds x cv.repeats - 1; try: cv.fold=4"),
    (["cv.folds=5", "cv.splitter=repeated", "cv.repeats=2", "cv.fold=10"], "cv.fold", "try: cv.fold=9"),
    (["cv.folds=5", "cv.fold=-1"], "cv.fold", "must be an integer >= 0; got -1"),
    (["cv.fold=0"], "cv.fold", "is not read without cv.folds; try: cv.folds=5 cv.fold=0"),
    (["cv.splitter=kfold"], "cv.splitter", "is not read without cv.folds"),
    (["cv.folds=5", "task=tune"], "task", "is of one run, not of 5 folds; try: task=tune cv.fold=0"),
    (["cv.folds=5", "task=plan"], "task", "try: task=plan cv.fold=0"),
    (["cv.folds=5", "task=stability"], "task", "try: task=stability cv.fold=0"),
    (["cv.folds=5", "resume.lr=stretch"], "resume.lr", "follow one plan; got stretch; try: resume.lr=refuse"),
    (["predictions=xml"], "predictions", "formats: csv, npz"),
    (["lr_finder=on", "lr_finder.min_lr=1", "lr_finder.max_lr=0.1"], "lr_finder.max_lr", "`min_lr < max_lr` must hold"),
    (["lr_finder=on", "lr_finder.steps=19"], "lr_finder.steps", "a curve of fewer than 20 points is not read; got 19"),
    (["lr_finder=on", "lr_finder.trial=-1"], "lr_finder.trial", "must be an integer >= 0"),
    (["lr_finder=thorough", "lr_finder.budget=-1"], "lr_finder.budget", "must be a finite number >= 0"),
    (["lr_finder=thorough", "lr_finder.trial=0"], "lr_finder.trial", "lr_finder.budget needs one, but got 0"),
    (["lr_finder=on", "lr_finder.picker=steepst"], "lr_finder.picker", "try: lr_finder.picker=steepest"),
    (
        ["lr_finder=on", "lr_finder.picker=fastai"],
        "lr_finder.picker",
        "no picker 'fastai'; pickers: bottom, steepest, valley, slide, minimum, divergence; try: lr_finder.picker=bot",
    ),
]


@pytest.mark.parametrize(
    ("words", "key", "said"), REFUSED, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_a_wrong_value_is_refused_with_its_law(words, key, said, refusal):
    assert said in refusal(words, key)


@pytest.mark.parametrize("environment", ["", ",", " , ", ".", "*", "tor", "os"])
def test_only_whole_packages_are_added_to_those_that_may_be_called(environment, monkeypatch, refusal):
    monkeypatch.setenv("STRIDE_ALLOW_TARGETS", environment)
    assert "'torch.load' may not be called" in refusal(["optimizer._target_=torch.load"], "optimizer._target_")


def test_steps_are_not_called_too_long_where_only_the_data_knows_the_runs_length():
    assert checked(["warmup.length='5000000 steps'"]).cfg.warmup.length == "5000000 steps"


TAKEN = [
    torchs("StepLR", "step_size=30%"),
    torchs("StepLR", "step_size='3 epochs'", "interval=epoch"),
    torchs("StepLR", "step_size='5000000 steps'"),
    [*torchs("CyclicLR", "base_lr=1e-4", "step_size_up='100 steps'"), "warmup=none"],
    torchs("LambdaLR", "lr_lambda={_target_: stride.lr.schedule.constant, total: 1}"),
    ["scheduler=one_cycle", "scheduler.momentum=[]"],
    ["scheduler=sequence", "scheduler.parts=[{law: linear, length: '5 epochs'}, {law: linear, length: '15 epochs'}]"],
    ["scheduler=sequence", "scheduler.parts=[{law: linear, length: '5 steps'}, {law: linear, length: '15 steps'}]"],
    ["warmup=untuned", "optimizer=adafactor", "warmup.beta2=0.9"],
    ["optimizer.betas=[0.9,0.95]", "warmup=untuned", "trainer.max_steps=40"],
]


@pytest.mark.parametrize("words", TAKEN, ids=" ".join)
def test_what_only_the_data_can_refuse_and_what_fits_is_taken(words):
    assert checked(words)


BY_THE_CLOCK = ["trainer.max_epochs=-1", "trainer.max_time='00:00:01:00'"]


@pytest.mark.parametrize(
    ("words", "instead"),
    [
        ([], "scheduler=constant warmup.length=STEPS callbacks.early_stopping.patience=STEPS"),
        (["scheduler=one_cycle"], "scheduler=constant callbacks.early_stopping.patience=STEPS warmup=none"),
        (["scheduler=torch", "callbacks=none", "warmup.length='9 steps'"], "scheduler=constant"),
        (["scheduler=step", "callbacks=none", "warmup=untuned", "optimizer.betas=[0.9,0.99]"], "scheduler=constant"),
        (["scheduler=inverse_sqrt", "callbacks=none", "warmup=none"], "scheduler.timescale=STEPS"),
        (["scheduler=plateau", "callbacks=none"], "warmup.length=STEPS"),
    ],
)
def test_a_run_that_only_the_clock_ends_is_told_all_that_it_has_to_change_and_one_retyped_line_works(
    words, instead, refusal
):
    instead = instead.replace("STEPS", "'500 steps'")
    assert refusal([*BY_THE_CLOCK, *words], "trainer.max_steps").endswith(
        f"; try: trainer.max_steps=1000, or {instead}"
    )
    changed = re.findall(r"[\w.]+=(?:'[^']*'|\S+)", instead)
    kept = [word for word in words if word.partition("=")[0] not in {change.partition("=")[0] for change in changed}]
    assert checked([*BY_THE_CLOCK, *kept, *changed])


@pytest.mark.parametrize("scheduler", ["constant", "none", "inverse_sqrt scheduler.timescale='2 epochs'"])
def test_max_time_alone_runs_what_has_no_end(scheduler):
    rest = ["warmup.length='9 steps'", "callbacks.early_stopping.patience='2 epochs'"]
    assert checked([*BY_THE_CLOCK, *f"scheduler={scheduler}".split(" ", 1), *rest])


def test_the_folds_of_a_run_do_not_start_from_one_checkpoint():
    line, faults = read(["cv.folds=5", "resume.from=."])
    assert faults == []
    (told,) = check.faults(line.cfg)
    assert str(told).startswith("error: resume.from: one checkpoint for all folds")


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(check, "gpus", lambda: 1)
    assert checked(["trainer=gpu"]).cfg.trainer.accelerator == "gpu"
    for devices in ("8", "[0,1,2,3,4,5,6,7]"):
        with pytest.raises(ConfigError, match=r"8 gpu asked for, 1 visible; .*; try: trainer.devices=1"):
            checked(["trainer.accelerator=gpu", f"trainer.devices={devices}"])


def test_hidden_gpus_are_not_counted(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    check.gpus.cache_clear()
    assert check.gpus() == 0
    check.gpus.cache_clear()


def test_each_value_of_a_sweep_is_checked():
    with pytest.raises(ConfigError, match=r"error: optimizer.lr: must be a finite number > 0; got -1"):
        checked(["optimizer.lr=1e-3,-1"], multirun=True)
    with pytest.raises(ConfigError, match="did you mean `cosine`"):
        checked(["scheduler=wsd,cosin"], multirun=True)


def test_what_was_switched_off_is_said():
    assert check.notes(checked(["scheduler=one_cycle"]).cfg) == [
        "scheduler=one_cycle brings its own warm-up: warmup=none"
    ]
    assert check.notes(checked([]).cfg) == []


def test_every_range_is_of_a_key_that_some_config_has():
    files = {path: path.read_text() for path in CONF.rglob("*.yaml")}
    for key in check.RANGES:
        leaf = next(part for part in reversed(key.split(".")) if part != "*" and not part.isdigit())
        group = key.split(".")[0]
        texts = [
            text
            for path, text in files.items()
            if path.parent.name == group or (path.parent == CONF and not (CONF / group).is_dir())
        ]
        if key == "datamodule.num_workers":
            continue  # of users' own datamodules
        assert any(re.search(rf"^ *{leaf}:", text, flags=re.MULTILINE) for text in texts), key


def test_the_front_page_names_every_splitter():
    (comment,) = re.findall(r"^  splitter: auto +# (.*)$", (CONF / "train.yaml").read_text(), flags=re.MULTILINE)
    assert set(check.SPLITTERS) <= set(re.findall(r"\w+", comment))
